//! Processes: who they are, what they are doing, what they use.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::Mono;

/// A process id: 1 to `i32::MAX`. Alone it is only a question; [`ProcessKey`] is an identity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Pid(NonZeroU32);

impl Pid {
    /// The lowest: that of the process which a host, or a pid namespace, begins with.
    pub const FIRST: Pid = Pid(NonZeroU32::MIN);

    /// `None` for what can never be a process id: zero, negative, beyond `i32::MAX`.
    pub fn new(number: i64) -> Option<Pid> {
        let number = u32::try_from(i32::try_from(number).ok()?).ok()?;
        NonZeroU32::new(number).map(Pid)
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A process as another pid namespace calls it: pid_namespaces(7).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct InnerPid {
    /// The namespace: the inode number that `/proc/PID/ns/pid` shows, namespaces(7).
    pub namespace: u64,
    /// The process id there.
    pub pid: Pid,
}

/// "17 of pid namespace 4026532001".
impl fmt::Display for InnerPid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of pid namespace {}", self.pid, self.namespace)
    }
}

/// Which boot of the machine: on Linux the text of `/proc/sys/kernel/random/boot_id`, on macOS that of `kern.bootsessionuuid`.
pub type BootId = Arc<str>;

/// A process, told apart from every other of the same boot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ProcessKey {
    /// When it started, in the source's own ticks. On Linux clock ticks since boot: field 22 of `/proc/PID/stat`, proc(5).
    /// On macOS microseconds since the Unix epoch, as they were counted then.
    pub start_ticks: u64,
    /// Its process id.
    pub pid: Pid,
}

/// What a process is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProcessState {
    /// On a processor or waiting for one.
    Running,
    /// Waiting for an event.
    Sleeping,
    /// Waiting for a device, not to be interrupted.
    Waiting,
    /// Stopped by a signal or a tracer.
    Stopped,
    /// Ended, not yet waited for.
    Zombie,
    /// Anything else the kernel may say.
    Other,
}

impl ProcessState {
    /// The word used in answers.
    pub const fn word(self) -> &'static str {
        match self {
            ProcessState::Running => "running",
            ProcessState::Sleeping => "sleeping",
            ProcessState::Waiting => "waiting",
            ProcessState::Stopped => "stopped",
            ProcessState::Zombie => "zombie",
            ProcessState::Other => "other",
        }
    }
}

/// Processor time that the kernel charged to a process, microseconds, since it started. Never falls.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Cpu {
    /// By the process itself, all its threads, user and system: `utime + stime`.
    pub own_us: u64,
    /// By children that ended and that it waited for, and theirs: `cutime + cstime`.
    pub children_us: u64,
}

/// What a look at a process shows: who it is and where it hangs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProcessRow {
    /// Its identity.
    pub key: ProcessKey,
    /// Its parent now; none for the first process and the kernel's own.
    pub parent: Option<Pid>,
    /// Its process group.
    pub group: Option<Pid>,
    /// Its session.
    pub session: Option<Pid>,
    /// What it is doing.
    pub state: ProcessState,
    /// Whether it is a thread of the kernel, which is nobody's agent.
    pub kernel: bool,
    /// Its short name (`comm`), at most 15 bytes, chosen by the process: untrusted text.
    pub name: Box<str>,
    /// The account it runs under: the effective user id.
    pub uid: Option<u32>,
    /// How long ago it started.
    pub age: Duration,
}

/// What is known of the program that a process runs. Untrusted text, and secrets may be in it: never shown, never kept.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Image {
    /// The path of the executable, without what the kernel adds to that of a deleted one; none where it may not be read.
    pub exe: Option<Box<str>>,
    /// The command line, bounded, empty words at its end taken off.
    pub words: Vec<Box<str>>,
    /// The script that an interpreter runs; none where there is none or its folder may not be read.
    pub script: Option<Script>,
}

/// A file that an interpreter runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Script {
    /// Its absolute path, as the process was given it.
    pub path: Box<str>,
    /// The same with every link resolved, as the process sees the file tree; none where that cannot be done.
    pub resolved: Option<Box<str>>,
}

/// Without the arguments: what is printed for finding a mistake must not give a secret away.
impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Image { exe, words, script } = self;
        write!(f, "Image {{ exe: {exe:?}, words: {}, script: {script:?} }}", words.len())
    }
}

/// Bytes that a process caused to be read from and written to storage.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Io {
    /// Read: `read_bytes` of `/proc/PID/io`.
    pub read_bytes: u64,
    /// Written: `write_bytes` of `/proc/PID/io`.
    pub written_bytes: u64,
}

/// What is known of a process's storage I/O at a reading.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IoReading {
    /// The counters, with what children did that it waited for.
    Known(Io),
    /// The counters of the process alone: what its children did is in nobody's.
    Own(Io),
    /// We may not see them, which is not zero.
    Denied,
    /// Not looked at this time; the last known counters stand.
    Skipped,
}

/// What is known of a process's proportional set size: its resident memory, where of a page that n processes map each
/// counts an n-th. `Pss` of `/proc/PID/smaps_rollup`, proc_pid_smaps(5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PssReading {
    /// It was measured.
    Known {
        /// What it was, bytes.
        bytes: u64,
        /// When.
        at: Mono,
    },
    /// We may not see it, which is not zero.
    Denied,
    /// Not measured yet, or nobody asked for it.
    Unknown,
}

/// What became of measuring proportional set sizes. Counts since the start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PssCounts {
    /// Reads that were not permitted.
    pub denied: u64,
    /// Reads that failed other than for want of permission or by the end of the process.
    pub failed: u64,
    /// Reads that took too long and lost their turn: the process's memory lock was held, or it is huge.
    pub overdue: u64,
}

/// The counters of one process at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    /// When it was read.
    pub read_at: Mono,
    /// Its parent then: another than at first once the first one ended.
    pub parent: Option<Pid>,
    /// Its process group then.
    pub group: Option<Pid>,
    /// Its session then.
    pub session: Option<Pid>,
    /// What it was doing.
    pub state: ProcessState,
    /// Its processor time.
    pub cpu: Cpu,
    /// Resident memory, bytes; zero for a zombie.
    pub rss_bytes: u64,
    /// Its proportional set size, of some time before.
    pub pss: PssReading,
    /// Its threads; none where the system does not tell.
    pub threads: Option<u32>,
    /// Its storage I/O.
    pub io: IoReading,
}

/// How a process ended, from a wait status as wait(2) describes it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ExitStatus {
    /// It called `exit` with this code, 0 to 255.
    Code(u8),
    /// A signal of this number ended it, 1 to 127.
    Signal(u8),
}

impl ExitStatus {
    /// Reads a wait status; `None` if it is not that of an ended process.
    pub fn from_wait(status: i32) -> Option<ExitStatus> {
        match status & 0x7f {
            0 => Some(ExitStatus::Code(u8::try_from((status >> 8) & 0xff).expect("masked to a byte"))),
            0x7f => None,
            signal => Some(ExitStatus::Signal(u8::try_from(signal).expect("masked to seven bits"))),
        }
    }

    /// The exit code. `None` when a signal ended it.
    pub fn code(self) -> Option<u8> {
        if let ExitStatus::Code(code) = self { Some(code) } else { None }
    }

    /// The signal's number. `None` when a code ended it.
    pub fn signal(self) -> Option<u8> {
        if let ExitStatus::Signal(number) = self { Some(number) } else { None }
    }

    /// The signal's name, such as `SIGKILL`; real-time signals are `SIGRT<number>`. `None` when a code ended it.
    pub fn signal_name(self) -> Option<String> {
        let ExitStatus::Signal(number) = self else { return None };
        let named = Signal::try_from(i32::from(number));
        Some(named.map_or_else(|_| format!("SIGRT{number}"), |signal| signal.as_str().to_owned()))
    }

    /// Whether it ended as asked: exit 0, 129, 130 or 143, or by SIGHUP, SIGINT or SIGTERM.
    pub fn is_orderly(self) -> bool {
        match self {
            ExitStatus::Code(code) => matches!(code, 0 | 129 | 130 | 143),
            ExitStatus::Signal(number) => [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM]
                .iter()
                .any(|signal| *signal as i32 == i32::from(number)),
        }
    }
}

/// "exit code 7", "SIGKILL".
impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.signal_name()) {
            (_, Some(name)) => f.write_str(&name),
            (ExitStatus::Code(code), None) => write!(f, "exit code {code}"),
            (ExitStatus::Signal(number), None) => write!(f, "signal {number}"),
        }
    }
}

/// What the kernel told us of a process, in the order in which it happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProcessEvent {
    /// `parent` started `child`.
    Forked {
        /// The one that forked.
        parent: Pid,
        /// The new process.
        child: Pid,
        /// When.
        at: Mono,
    },
    /// A process became another program.
    Execed(Pid),
    /// A process ended. Told once when it ends and, if the status was not known then, once more when it is.
    Exited {
        /// Which one.
        process: ProcessKey,
        /// How, where it can be known.
        status: Option<ExitStatus>,
    },
    /// Events were lost: only a full scan tells the truth again.
    Lost,
}
