//! One process, as its files in `/proc` show it.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::descriptors::Files;
use super::procfs::{Procfs, TEXT_BYTES};
use super::stat::{self, MemorySign, Stat, WorkSign};
use crate::clock::monotonic;
use crate::model::{IoReading, Pid, ProcessKey, ProcessRow, ProcessState, PssReading, Reading};
use crate::process::ReadError;

/// The constants of a machine that the numbers in `/proc` depend on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Machine {
    /// Bytes of a page, the unit of `statm`.
    pub page_bytes: u64,
    /// Clock ticks per second, the unit of times in `stat`: `sysconf(_SC_CLK_TCK)`.
    pub ticks_per_second: NonZeroU64,
}

impl Machine {
    /// Those of this machine.
    pub fn here() -> Machine {
        Machine {
            page_bytes: u64::try_from(rustix::param::page_size()).unwrap_or(4096),
            ticks_per_second: NonZeroU64::new(rustix::param::clock_ticks_per_second())
                .unwrap_or(NonZeroU64::new(100).expect("not zero")),
        }
    }
}

/// For how many askings in a row storage counters stand in, while nothing shows that they are others.
const IO_STANDS_IN: u8 = 5;

/// What was read of a process before. Most processes sleep most of the time: as long as `stat` shows no sign of a change,
/// it costs no file of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastRead {
    pages: u64,
    memory: MemorySign,
    /// Whether memory stays so while its sign does.
    settled: bool,
    /// What storage showed, once it was asked for.
    io: Option<LastIo>,
}

#[derive(Clone, Copy, Debug)]
struct LastIo {
    reading: IoReading,
    /// Taken before that was read.
    work: WorkSign,
    stood_in: u8,
}

impl LastRead {
    /// The same once more, if it stands for what is asked.
    fn again(self, stat: &Stat<'_>, io: bool) -> Option<LastRead> {
        let io = if io { Some(self.io?.again(stat.work)?) } else { self.io };
        (self.settled && self.memory == stat.memory).then_some(LastRead { io, ..self })
    }

    /// Once refused, storage is not asked for again.
    fn io_is_denied(&self) -> bool {
        self.io.is_some_and(|io| io.reading == IoReading::Denied)
    }
}

impl LastIo {
    fn again(self, work: WorkSign) -> Option<LastIo> {
        if self.reading == IoReading::Denied {
            return Some(self);
        }
        let stands = self.work == work && self.stood_in < IO_STANDS_IN && self.reading != IoReading::Skipped;
        stands.then_some(LastIo { stood_in: self.stood_in + 1, ..self })
    }
}

/// Reads and understands the files of one process.
pub(super) struct Reader {
    pub(super) procfs: Arc<Procfs>,
    pub(super) machine: Machine,
}

impl Reader {
    pub(super) fn row(&self, pid: Pid, since_boot: Duration) -> Result<ProcessRow, ReadError> {
        let file = self.procfs.open_file(pid, "stat")?;
        let credentials = self.procfs.credentials(pid);
        // Read last: whoever is shown was not reaped before, so the credentials are its own.
        let mut buffer = [0; TEXT_BYTES];
        let stat = self.procfs.stat(file, pid, &mut buffer)?;
        Ok(ProcessRow {
            key: ProcessKey { start_ticks: stat.start_ticks, pid },
            parent: stat.parent,
            group: stat.group,
            session: stat.session,
            state: stat.state,
            kernel: stat.kernel,
            name: String::from_utf8_lossy(stat.name).into(),
            uid: credentials.ok().map(|credentials| credentials.uid),
            age: since_boot.saturating_sub(self.after_boot(stat.start_ticks)),
        })
    }

    /// `last`: of the reading before.
    pub(super) fn reading(
        &self,
        process: ProcessKey,
        files: &mut Files,
        last: Option<LastRead>,
        io: bool,
    ) -> Result<(Reading, LastRead), ReadError> {
        let pid = process.pid;
        let mut buffer = [0; TEXT_BYTES];
        let mut last_io = last.and_then(|last| last.io);
        let mut has_memory = true;
        if io || last.is_some_and(|last| last.settled) {
            let stat = self.procfs.stat_of(&files.stat, process, &mut buffer)?;
            if let Some(last) = last.and_then(|last| last.again(&stat, io)) {
                return Ok((self.counters(&stat, &last, io), last));
            }
            has_memory = stat.state != ProcessState::Zombie;
            if io {
                let work = stat.work;
                let denied = last.is_some_and(|last| last.io_is_denied());
                let reading = if denied { IoReading::Denied } else { self.io(pid, &mut buffer)? };
                last_io = Some(LastIo { reading, work, stood_in: 0 });
            }
        }
        let pages = if has_memory { self.pages(pid, files, &mut buffer)? } else { 0 };
        let stat = self.procfs.stat_of(&files.stat, process, &mut buffer)?;
        // It was read between two readings that show no sign of a change.
        let settled = last.is_some_and(|before| before.memory == stat.memory);
        if settled {
            files.close_statm();
        }
        let last = LastRead { pages, memory: stat.memory, settled, io: last_io };
        Ok((self.counters(&stat, &last, io), last))
    }

    fn counters(&self, stat: &Stat<'_>, last: &LastRead, io: bool) -> Reading {
        Reading {
            read_at: monotonic(),
            parent: stat.parent,
            group: stat.group,
            session: stat.session,
            state: stat.state,
            cpu: stat.cpu.at(self.machine.ticks_per_second),
            rss_bytes: last.pages.saturating_mul(self.machine.page_bytes),
            pss: PssReading::Unknown,
            threads: Some(stat.threads),
            io: last.io.filter(|_| io).map_or(IoReading::Skipped, |io| io.reading),
        }
    }

    fn pages(&self, pid: Pid, files: &mut Files, buffer: &mut [u8; TEXT_BYTES]) -> Result<u64, ReadError> {
        let text = self.procfs.read(files.statm(&self.procfs, pid)?, buffer, pid, "statm")?;
        stat::resident_pages(text).map_err(|what| self.procfs.parse_error(what, pid, "statm"))
    }

    /// Not finding the file is as being refused: a kernel without I/O accounting has none.
    fn io(&self, pid: Pid, buffer: &mut [u8; TEXT_BYTES]) -> Result<IoReading, ReadError> {
        let file = self.procfs.open_file(pid, "io");
        match file.and_then(|file| self.procfs.read(file, buffer, pid, "io")) {
            Ok(text) => {
                stat::storage_io(text).map(IoReading::Known).map_err(|what| self.procfs.parse_error(what, pid, "io"))
            }
            Err(ReadError::Denied { .. } | ReadError::Gone) => Ok(IoReading::Denied),
            Err(_) => Ok(IoReading::Skipped),
        }
    }

    /// From boot to the start of a process.
    fn after_boot(&self, start_ticks: u64) -> Duration {
        let per_second = self.machine.ticks_per_second.get();
        let nanoseconds = u128::from(start_ticks % per_second) * 1_000_000_000 / u128::from(per_second);
        Duration::new(start_ticks / per_second, u32::try_from(nanoseconds).expect("less than a second"))
    }
}

/// Since boot, suspended time included, which is what start ticks count: `CLOCK_BOOTTIME`, clock_gettime(2).
pub(super) fn since_boot() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
}
