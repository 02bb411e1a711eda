//! Other systems, by the crate sysinfo. On Linux and macOS the tests alone have it: the former hold it to `/proc`.
//!
//! It is the least that the trait promises. What sysinfo does not tell, or not so that it can be believed, is not known:
//! - A process began in some second: who takes over a number within the same one is not told apart from who had it.
//! - Processor time of children that a process waited for is not told: what lives and ends between two readings is
//!   missed, and the sum of a tree is less than the truth. Its own time has milliseconds. (What sysinfo calls the usage of
//!   processors has rules of its own about when it was asked before: it is not looked at.)
//! - Storage I/O is zero where it may not be seen, and is counted in blocks on some systems: it is not looked at.
//! - No end is told, so none has a status; [`read`](ProcessSource::read) finds the process a zombie, or gone.
//! - Who may not be looked at is as one who is not there.
//! - Threads are told on some systems, kills for memory, namespaces, proportional set sizes and pressure on none.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sysinfo::{CpuRefreshKind, Process, ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System, UpdateKind};

use crate::clock::monotonic;
use crate::model::{
    BootId, Cpu, HostPressure, HostReading, Image, InnerPid, IoReading, Pid, ProcessEvent, ProcessKey, ProcessRow,
    ProcessState, PssCounts, PssReading, Reading, Script,
};
use crate::process::common::{Shown, groups, line};
use crate::process::{ProcessSource, ReadError, Scan, ScanCount, Watch};
use crate::recognise;

/// The processes of this machine.
pub struct PortableSource {
    system: System,
    boot: BootId,
    own_pid: Option<Pid>,
    shown: Shown,
}

/// Why the source cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Something that cannot be done without; on a system that sysinfo does not know, anything.
    #[error("the system does not tell {what}")]
    Untold {
        /// What it does not.
        what: &'static str,
        /// Why.
        source: sysinfo::Error,
    },
}

impl PortableSource {
    /// The processes of this machine.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn new() -> Result<PortableSource, StartError> {
        let mut system = system()?;
        system.refresh_cpu_list(CpuRefreshKind::nothing());
        let own_pid = Pid::new(i64::from(std::process::id()));
        Ok(PortableSource { system, boot: boot()?, own_pid, shown: Shown::default() })
    }

    /// Asks about one process; which may be any that has the number now.
    fn ask(&mut self, pid: Pid, what: ProcessRefreshKind) -> Result<&Process, ReadError> {
        ask(&mut self.system, pid, what)
    }

    /// The same, about one that is known.
    fn ask_known(&mut self, process: ProcessKey, what: ProcessRefreshKind) -> Result<&Process, ReadError> {
        let found = self.ask(process.pid, what)?;
        if key(found) == Some(process) { Ok(found) } else { Err(ReadError::Gone) }
    }
}

impl ProcessSource for PortableSource {
    /// The second of the boot. Some systems move it when the clock is set: then another daemon sees another boot, and
    /// goes on with nothing.
    fn boot(&self) -> BootId {
        self.boot.clone()
    }

    fn own_pid(&self) -> Option<Pid> {
        self.own_pid
    }

    fn host(&mut self) -> HostReading {
        self.system.refresh_memory();
        let load = System::load_average().ok();
        // A machine without any has not said.
        let total = Some(self.system.total_memory()).filter(|bytes| *bytes > 0);
        HostReading {
            load_1m: load.as_ref().map(|load| load.one),
            load_5m: load.as_ref().map(|load| load.five),
            load_15m: load.as_ref().map(|load| load.fifteen),
            memory_total_bytes: total,
            memory_available_bytes: total.map(|_| self.system.available_memory()),
            uptime: System::uptime().ok().map(Duration::from_secs),
            cpu_count: u32::try_from(self.system.cpus().len()).ok().filter(|count| *count > 0),
        }
    }

    /// Not known.
    fn pressure(&mut self) -> HostPressure {
        HostPressure::default()
    }

    fn scan(&mut self, scope: Scan, found: &mut Vec<ProcessRow>) -> Result<ScanCount, ReadError> {
        self.system.refresh_processes_specifics(ProcessesToUpdate::All, true, who());
        self.shown.begin();
        for process in self.system.processes().values() {
            let Some(row) = row(process) else { continue };
            if self.shown.is_new(row.key) || scope == Scan::All {
                found.push(row);
            }
        }
        Ok(ScanCount::default())
    }

    fn look(&mut self, pid: Pid) -> Result<ProcessRow, ReadError> {
        row(self.ask(pid, who())?).ok_or(ReadError::Gone)
    }

    /// Not known: nothing is ever there.
    fn look_inside(&mut self, _: InnerPid) -> Result<ProcessRow, ReadError> {
        Err(ReadError::Gone)
    }

    fn image(&mut self, process: ProcessKey) -> Result<Image, ReadError> {
        let always = UpdateKind::Always;
        let what = ProcessRefreshKind::nothing().with_exe(always).with_cmd(always).with_cwd(always);
        let found = self.ask_known(process, what)?;
        if state(found.status()) == ProcessState::Zombie {
            return Err(ReadError::Gone);
        }
        let text = |path: &Path| -> Box<str> { path.to_string_lossy().into() };
        let exe = found.exe().map(text);
        let bytes: Vec<&[u8]> = found.cmd().iter().map(|word| word.as_bytes()).collect();
        let words = line::words(&bytes.join(&0));
        if words.is_empty() {
            return Err(ReadError::Denied { path: PathBuf::from(format!("command line of process {}", process.pid)) });
        }
        let script = recognise::script(exe.as_deref(), &words).and_then(|word| {
            let path = line::absolute(word, || Some(found.cwd()?.as_os_str().as_bytes().to_vec()))?;
            let resolved = std::fs::canonicalize(&path).ok();
            Some(Script { path: path.into(), resolved: resolved.as_deref().map(text) })
        });
        Ok(Image { exe, words, script })
    }

    /// Nothing is kept, and no end is told.
    fn keep(&mut self, process: ProcessKey, _: Watch) -> Result<(), ReadError> {
        self.ask_known(process, ProcessRefreshKind::nothing()).map(drop)
    }

    fn read(&mut self, process: ProcessKey, io: bool) -> Result<Reading, ReadError> {
        let what = ProcessRefreshKind::nothing().with_cpu().with_memory().with_tasks();
        let found = self.ask_known(process, what)?;
        let state = state(found.status());
        // Those beside the first one.
        let threads = found.tasks().and_then(|tasks| u32::try_from(tasks.len() + 1).ok());
        Ok(Reading {
            read_at: monotonic(),
            parent: found.parent().and_then(|parent| Pid::new(parent.as_u32().into())),
            group: groups::group(process.pid),
            session: groups::session(process.pid),
            state,
            cpu: Cpu { own_us: found.accumulated_cpu_time().saturating_mul(1_000), children_us: 0 },
            rss_bytes: if state == ProcessState::Zombie { 0 } else { found.memory() },
            pss: PssReading::Unknown,
            threads,
            io: if io { IoReading::Denied } else { IoReading::Skipped },
        })
    }

    /// Not known: memory is added up as resident pages.
    fn measure_pss(&mut self, _: Option<Duration>) {}

    fn pss_counts(&self) -> PssCounts {
        PssCounts::default()
    }

    /// Not known.
    fn oom_kills(&mut self, _: ProcessKey) -> Option<u64> {
        None
    }

    fn release(&mut self, _: ProcessKey) {}

    fn drain(&mut self, _: &mut Vec<ProcessEvent>) {}

    fn tells_forks(&self) -> bool {
        false
    }
}

/// Which process has this pid now, and in which boot of the machine.
///
/// # Errors
/// As [`look`](ProcessSource::look).
pub fn identify(pid: Pid) -> Result<(ProcessKey, BootId), ReadError> {
    let unknown =
        |error: StartError| ReadError::Io { path: "this system".into(), source: std::io::Error::other(error) };
    let mut system = system().map_err(unknown)?;
    let key = key(ask(&mut system, pid, ProcessRefreshKind::nothing())?).ok_or(ReadError::Gone)?;
    Ok((key, boot().map_err(unknown)?))
}

/// The resident memory of this process, bytes.
///
/// # Errors
/// When the system does not say.
pub fn own_memory_bytes() -> Result<u64, ReadError> {
    let pid = Pid::new(i64::from(std::process::id())).ok_or(ReadError::Gone)?;
    let mut system = system().map_err(|_| ReadError::Gone)?;
    Ok(ask(&mut system, pid, ProcessRefreshKind::nothing().with_memory())?.memory())
}

fn system() -> Result<System, StartError> {
    System::new().map_err(|source| StartError::Untold { what: "of its processes", source })
}

fn boot() -> Result<BootId, StartError> {
    let second = System::boot_time().map_err(|source| StartError::Untold { what: "when it was booted", source })?;
    Ok(format!("booted at {second}").into())
}

/// What a look wants to know.
fn who() -> ProcessRefreshKind {
    ProcessRefreshKind::nothing().with_user(UpdateKind::Always)
}

fn ask(system: &mut System, pid: Pid, what: ProcessRefreshKind) -> Result<&Process, ReadError> {
    let number = sysinfo::Pid::from_u32(pid.get());
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[number]), true, what);
    system.process(number).ok_or(ReadError::Gone)
}

fn key(process: &Process) -> Option<ProcessKey> {
    Some(ProcessKey { start_ticks: process.start_time(), pid: Pid::new(process.pid().as_u32().into())? })
}

/// None for a thread, which some systems list among the processes.
fn row(process: &Process) -> Option<ProcessRow> {
    /// Both moments are cut to seconds, so that an age may be said to be up to one less: rounded up, nobody is taken to
    /// have been born when he was not, and to have used since then what he used before.
    const CUT: Duration = Duration::from_secs(1);
    if matches!(process.thread_kind(), Some(sysinfo::ThreadKind::Userland)) {
        return None;
    }
    let key = key(process)?;
    Some(ProcessRow {
        key,
        parent: process.parent().and_then(|parent| Pid::new(parent.as_u32().into())),
        // sysinfo's group is that of the account.
        group: groups::group(key.pid),
        session: groups::session(key.pid),
        state: state(process.status()),
        kernel: matches!(process.thread_kind(), Some(sysinfo::ThreadKind::Kernel)),
        name: process.name().to_string_lossy().into(),
        uid: process.effective_user_id().map(|uid| **uid),
        age: Duration::from_secs(process.run_time()) + CUT,
    })
}

fn state(status: ProcessStatus) -> ProcessState {
    match status {
        ProcessStatus::Run => ProcessState::Running,
        ProcessStatus::Sleep | ProcessStatus::Idle => ProcessState::Sleeping,
        ProcessStatus::UninterruptibleDiskSleep => ProcessState::Waiting,
        ProcessStatus::Stop | ProcessStatus::Tracing => ProcessState::Stopped,
        ProcessStatus::Zombie | ProcessStatus::Dead => ProcessState::Zombie,
        _ => ProcessState::Other,
    }
}

#[cfg(test)]
mod tests;
