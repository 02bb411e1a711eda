//! Linux: `/proc`, proc(5), and pidfds.
//!
//! - What is read of one process in one moment belongs together: its `stat` is opened first and read last, and an
//!   opened file of `/proc/PID` fails once its process was reaped. So no two processes are ever mixed up, whichever
//!   took over whose pid in between.
//! - The end of a process watched as [`Watch::Exit`] is told by its pidfd. Where there is none (Linux before 5.3, a
//!   filter of system calls, no descriptor left) nothing is told; [`read`](ProcessSource::read) finds it gone.

mod connector;
mod descriptors;
mod exits;
mod host;
mod kernel;
mod listing;
mod namespaces;
mod oom;
mod own;
mod procfs;
mod program;
mod pss;
mod reader;
mod stat;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, pidfd_open};

use self::connector::Connector;
use self::descriptors::{Descriptors, Files};
use self::exits::Exits;
use self::listing::{Known, KnownProcesses, Listed, Lister};
use self::namespaces::Namespaces;
use self::procfs::{Procfs, TEXT_BYTES};
use self::pss::Pss;
use self::reader::{Reader, since_boot};
use crate::model::{
    BootId, HostPressure, HostReading, Image, InnerPid, Pid, ProcessEvent, ProcessKey, ProcessRow, ProcessState,
    PssCounts, Reading,
};
use crate::process::common::{Images, Wake};
use crate::process::{ProcessSource, ReadError, Scan, ScanCount, Watch};

pub use self::kernel::spare_memory;
pub use self::own::{identify, own_memory_bytes, release_unused};
pub use self::reader::Machine;

/// The processes of this machine.
pub struct LinuxSource {
    root: PathBuf,
    boot: BootId,
    own_pid: Option<Pid>,
    reader: Reader,
    lister: Lister,
    known: KnownProcesses,
    namespaces: Namespaces,
    descriptors: Descriptors,
    /// None under a root that is not this machine's own: pidfds know only that.
    exits: Option<Exits>,
    /// None where the kernel tells no forks, and under a root that is not this machine's own.
    connector: Option<Connector>,
    pss: Pss,
    images: Images,
}

/// How children of members are found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Forks {
    /// The kernel tells of every fork, where it lets us listen.
    Told,
    /// By looking at all processes again and again.
    Scanned,
}

/// Why the source cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Something in `/proc` that cannot be done without.
    #[error("the process table cannot be used")]
    Table(#[from] ReadError),
    /// The thread that waits for the ends of processes.
    #[error("cannot wait for the ends of processes")]
    Exits(#[source] io::Error),
}

impl LinuxSource {
    /// The processes of this machine. `open_files` is how many files the program may have open, as
    /// [`raise_open_files`](super::here::raise_open_files) says.
    ///
    /// # Errors
    /// Without a readable `/proc`, or without descriptors and a thread to wait for exits.
    pub fn new(open_files: usize, forks: Forks, wake: Wake) -> Result<LinuxSource, StartError> {
        let mut source = LinuxSource::rooted(Path::new("/"), Machine::here(), open_files)?;
        if forks == Forks::Told {
            source.connector =
                Connector::start(Arc::clone(&source.reader.procfs), Arc::clone(&wake)).map_err(StartError::Exits)?;
        }
        source.exits = Some(Exits::start(Arc::clone(&source.reader.procfs), wake).map_err(StartError::Exits)?);
        source.own_pid = source.reader.procfs.own_pid();
        Ok(source)
    }

    /// What stands in `proc` and `sys` of the directory `root`, which is of a machine such as `machine`. It has no
    /// pidfds, so no end of a process is told.
    ///
    /// # Errors
    /// Without a readable `proc` there.
    pub fn rooted(root: &Path, machine: Machine, open_files: usize) -> Result<LinuxSource, StartError> {
        let procfs = Arc::new(Procfs::open(root.join("proc"))?);
        Ok(LinuxSource {
            root: root.to_owned(),
            boot: procfs.boot()?,
            own_pid: None,
            images: images(&procfs),
            reader: Reader { procfs, machine },
            lister: Lister::new(),
            known: KnownProcesses::default(),
            namespaces: Namespaces::default(),
            descriptors: Descriptors::new(open_files),
            exits: None,
            connector: None,
            pss: Pss::default(),
        })
    }

    fn pidfds(&self) -> usize {
        self.exits.as_ref().map_or(0, Exits::pidfds)
    }

    /// A pidfd for one more root, if there may be one.
    fn root_pidfd(&mut self, pid: Pid) -> Option<OwnedFd> {
        let pidfds = self.exits.as_ref()?.pidfds();
        if self.descriptors.admit_pidfd(pidfds) { open_pidfd(pid).ok() } else { None }
    }
}

impl ProcessSource for LinuxSource {
    fn boot(&self) -> BootId {
        self.boot.clone()
    }

    fn own_pid(&self) -> Option<Pid> {
        self.own_pid
    }

    fn host(&mut self) -> HostReading {
        host::read(&self.root)
    }

    fn pressure(&mut self) -> HostPressure {
        host::pressure(&self.root)
    }

    /// A New scan opens only processes whose (pid, inode) it does not know.
    fn scan(&mut self, scope: Scan, found: &mut Vec<ProcessRow>) -> Result<ScanCount, ReadError> {
        let mut count = ScanCount::default();
        let listed = self.lister.list(&self.reader.procfs)?;
        let since_boot = since_boot();
        self.known.begin();
        for &Listed { pid, inode } in listed {
            let before = self.known.recall(pid);
            if scope == Scan::New
                && let Some(known) = before
                && known.inode == inode
            {
                count.denied += u64::from(known.start_ticks.is_none());
                self.known.remember(known);
                continue;
            }
            match self.reader.row(pid, since_boot) {
                Ok(row) => {
                    let start_ticks = Some(row.key.start_ticks);
                    self.known.remember(Known { pid, inode, start_ticks });
                    // The kernel may drop the directory of a living process from its cache: a new inode alone is
                    // not a new process.
                    if scope == Scan::All || before.is_none_or(|known| known.start_ticks != start_ticks) {
                        found.push(row);
                    }
                }
                Err(ReadError::Gone) => {}
                Err(ReadError::Denied { .. }) => {
                    count.denied += 1;
                    self.known.remember(Known { pid, inode, start_ticks: None });
                }
                Err(ReadError::Io { .. } | ReadError::Parse { .. }) => {
                    count.failed += 1;
                    before.into_iter().for_each(|known| self.known.remember(known));
                }
            }
        }
        Ok(count)
    }

    /// With hidepid, proc(5), other users' processes seem not to be there; a pidfd shows that they are.
    fn look(&mut self, pid: Pid) -> Result<ProcessRow, ReadError> {
        let pidfd = self.exits.as_ref().map(|_| open_pidfd(pid));
        // The latter two: the number is that of a thread, of which /proc has a directory too.
        if let Some(Err(Errno::SRCH | Errno::INVAL | Errno::NOENT)) = pidfd {
            return Err(ReadError::Gone);
        }
        match self.reader.row(pid, since_boot()) {
            Err(ReadError::Gone) if pidfd.is_some_and(|pidfd| pidfd.is_ok_and(|pidfd| lives(&pidfd))) => {
                Err(ReadError::Denied { path: self.reader.procfs.path().join(pid.to_string()) })
            }
            known => known,
        }
    }

    fn look_inside(&mut self, process: InnerPid) -> Result<ProcessRow, ReadError> {
        self.namespaces.look(process, &self.reader, &mut self.lister)
    }

    fn image(&mut self, process: ProcessKey) -> Result<Image, ReadError> {
        self.images.read(process)
    }

    fn keep(&mut self, process: ProcessKey, watch: Watch) -> Result<(), ReadError> {
        self.release(process);
        let files = Files::open(&self.reader.procfs, process.pid)?;
        let pidfd = if watch == Watch::Exit { self.root_pidfd(process.pid) } else { None };
        // Before its state is read: the exit is told after that is a zombie's, so one of the two takes it out again.
        let known = self.connector.as_ref().is_some_and(|connector| connector.follow(process, watch));
        // Read last: whoever is shown has had this pid since `stat` was opened, so `statm` and the pidfd are its own.
        let mut buffer = [0; TEXT_BYTES];
        let stat = self.reader.procfs.stat_of(&files.stat, process, &mut buffer);
        if let (Some(connector), Ok(ProcessState::Zombie) | Err(_)) =
            (&self.connector, stat.as_ref().map(|stat| stat.state))
        {
            connector.take_back(process, known);
        }
        stat?;
        if let (Some(exits), Some(pidfd)) = (&mut self.exits, pidfd) {
            // A kernel that has no memory for one more is as one that has no pidfd.
            let _ = exits.watch(process, pidfd);
        }
        self.pss.keep(process, watch);
        self.descriptors.insert(process, watch);
        if watch == Watch::Exit {
            self.descriptors.set_oom_counter(process, oom::counter(&self.root, process.pid));
        }
        self.descriptors.offer(process, files, self.pidfds());
        Ok(())
    }

    /// Also of a process that is not kept, at the price of opening its files.
    fn read(&mut self, process: ProcessKey, io: bool) -> Result<Reading, ReadError> {
        let mut kept = self.descriptors.get(process);
        let last = kept.as_ref().and_then(|kept| kept.last);
        let mut opened = None;
        let files = match kept.as_mut().and_then(|kept| kept.files.as_mut()) {
            Some(files) => files,
            None => opened.insert(Files::open(&self.reader.procfs, process.pid)?),
        };
        let (mut reading, last) = self.reader.reading(process, files, last, io)?;
        if let Some(kept) = kept {
            kept.last = Some(last);
        }
        reading.pss = self.pss.of(process);
        if let Some(files) = opened {
            self.descriptors.offer(process, files, self.pidfds());
        }
        Ok(reading)
    }

    fn measure_pss(&mut self, every: Option<Duration>) {
        self.pss.measure(every, &self.reader.procfs, self.descriptors.kept());
    }

    fn pss_counts(&self) -> PssCounts {
        self.pss.counts()
    }

    fn oom_kills(&mut self, process: ProcessKey) -> Option<u64> {
        oom::count(self.descriptors.get(process)?.oom_counter.as_deref()?)
    }

    fn release(&mut self, process: ProcessKey) {
        self.descriptors.remove(process);
        if let Some(exits) = &mut self.exits {
            exits.forget(process);
        }
        if let Some(connector) = &self.connector {
            connector.forget(process);
        }
        self.pss.forget(process);
    }

    /// # Panics
    /// With the panic of a thread of the source, if one had one.
    fn drain(&mut self, events: &mut Vec<ProcessEvent>) {
        if let Some(connector) = &mut self.connector {
            connector.drain(events);
        }
        if let Some(exits) = &mut self.exits {
            exits.drain(events);
        }
        self.pss.check();
    }

    fn tells_forks(&self) -> bool {
        self.connector.is_some()
    }
}

fn images(procfs: &Arc<Procfs>) -> Images {
    let (read, named) = (Arc::clone(procfs), Arc::clone(procfs));
    let place = move |process: ProcessKey| named.path().join(process.pid.to_string()).join("cmdline");
    Images::new(move |process| program::image(&read, process), place)
}

fn open_pidfd(pid: Pid) -> rustix::io::Result<OwnedFd> {
    let number = i32::try_from(pid.get()).ok().and_then(rustix::process::Pid::from_raw).ok_or(Errno::INVAL)?;
    pidfd_open(number, PidfdFlags::empty())
}

/// Whether the process of a pidfd has not ended.
fn lives(pidfd: &OwnedFd) -> bool {
    poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&Timespec::default())) == Ok(0)
}
