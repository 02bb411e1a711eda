//! Where facts about processes come from.

pub(crate) mod common;
pub mod here;
#[cfg(target_os = "linux")]
pub mod linux;
#[cfg(any(target_os = "macos", test))]
pub mod macos;
#[cfg(any(not(any(target_os = "linux", target_os = "macos")), test))]
pub mod portable;

use std::path::PathBuf;
use std::time::Duration;

use crate::model::{
    BootId, HostPressure, HostReading, Image, InnerPid, Pid, ProcessEvent, ProcessKey, ProcessRow, PssCounts, Reading,
};

/// Facts about the processes of one machine.
///
/// Implemented by the source of Linux, that of macOS, the portable one for other systems, and the table of the tests. A source only watches: it never signals, traces or
/// stops a process.
pub trait ProcessSource: Send {
    /// Which boot of the machine start ticks belong to.
    fn boot(&self) -> BootId;

    /// The process that this runs in, which is never watched; none where the processes are not of this machine.
    fn own_pid(&self) -> Option<Pid>;

    /// The machine as a whole.
    fn host(&mut self) -> HostReading;

    /// How much tasks of the machine had to wait in the last ten seconds.
    fn pressure(&mut self) -> HostPressure;

    /// Appends to `found` the processes that exist now: all of them, or those that no scan before has shown, in no
    /// particular order. A look at one does not count: whoever looked may have had no use for it. Processes that may not
    /// be read are left out and counted in the result.
    ///
    /// # Errors
    /// When the list itself cannot be had.
    fn scan(&mut self, scope: Scan, found: &mut Vec<ProcessRow>) -> Result<ScanCount, ReadError>;

    /// Looks at one process.
    ///
    /// # Errors
    /// [`ReadError::Gone`] when there is none of that pid, [`ReadError::Denied`] when there is one that may not be read.
    fn look(&mut self, pid: Pid) -> Result<ProcessRow, ReadError>;

    /// Looks at the process that another pid namespace calls so. Dear when it is not there.
    ///
    /// # Errors
    /// As [`look`](ProcessSource::look); [`ReadError::Denied`] also when there is one of that pid whose namespace may not
    /// be known.
    fn look_inside(&mut self, process: InnerPid) -> Result<ProcessRow, ReadError>;

    /// What is known of the program that a process runs. Dear: asked once for a process, and when it may have changed.
    ///
    /// # Errors
    /// [`ReadError::Gone`] when it has ended or its pid is another process now, [`ReadError::Denied`] when not even its
    /// command line may be read.
    fn image(&mut self, process: ProcessKey) -> Result<Image, ReadError>;

    /// From now on this process will be read at every tick, until [`release`](ProcessSource::release). The end of one
    /// watched as [`Watch::Exit`] is told by [`drain`](ProcessSource::drain).
    ///
    /// # Errors
    /// [`ReadError::Gone`] when it has ended or its pid is another process now.
    fn keep(&mut self, process: ProcessKey, watch: Watch) -> Result<(), ReadError>;

    /// Reads the counters of a kept process; those of storage only if `io`. These, and memory, may be those of up to a minute
    /// ago, as long as nothing shows that the process did anything.
    ///
    /// # Errors
    /// [`ReadError::Gone`] when it has been reaped, [`ReadError::Denied`] when it may not be read.
    fn read(&mut self, process: ProcessKey, io: bool) -> Result<Reading, ReadError>;

    /// From now on readings tell the proportional set size of kept processes, each measured again no sooner than `every`
    /// after the last time; with `None` no longer. Measuring is dear and may wait for the process, so it goes on beside
    /// the readings, which take what is known and never wait for it.
    fn measure_pss(&mut self, every: Option<Duration>);

    /// What became of measuring proportional set sizes.
    fn pss_counts(&self) -> PssCounts;

    /// How many processes of its cgroup were killed for memory, ever: of the cgroup that a process kept as
    /// [`Watch::Exit`] is or was in. `None` where that cannot be known.
    fn oom_kills(&mut self, process: ProcessKey) -> Option<u64>;

    /// Ends what [`keep`](ProcessSource::keep) began. A process that was not kept is no mistake.
    fn release(&mut self, process: ProcessKey);

    /// Appends what happened since the last call, in order. Never waits.
    fn drain(&mut self, events: &mut Vec<ProcessEvent>);

    /// Whether every fork is told by [`drain`](ProcessSource::drain), so that no scan is needed to find children.
    fn tells_forks(&self) -> bool;
}

/// How much a scan looks at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scan {
    /// Every process.
    All,
    /// Those that no scan has shown yet.
    New,
}

/// What a scan passed over.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ScanCount {
    /// Processes that may not be read.
    pub denied: u64,
    /// Processes whose reading failed in another way than by their end.
    pub failed: u64,
}

/// How closely a kept process is watched: whoever is watched more closely comes first where there is not room for all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Watch {
    /// Its end too, with the cause: the root of a tree.
    Exit,
    /// Its counters only: a member of a tree.
    Counters,
}

/// Why a process could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not there any more, or never was. Normal.
    #[error("there is no such process")]
    Gone,
    /// It is there, and may not be read by this user.
    #[error("not permitted to read {}", path.display())]
    Denied {
        /// What was to be read.
        path: PathBuf,
    },
    /// Reading failed.
    #[error("cannot read {}", path.display())]
    Io {
        /// What was to be read.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The kernel said something that we do not understand.
    #[error("cannot understand {}: {what}", path.display())]
    Parse {
        /// What was read.
        path: PathBuf,
        /// Which part of it, and what is wrong.
        what: &'static str,
    },
}
