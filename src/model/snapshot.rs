//! How things are at one moment.

use std::sync::Arc;

use super::{
    AgentId, AgentNumber, HostPressure, HostReading, JsonObject, Metrics, Mono, Pid, ProcessState, PssCounts, Severity,
    SharedList, Timestamp,
};

/// What was observed of an agent's process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Observed {
    /// It lives.
    Running,
    /// It ended, and its parent has not asked how.
    Zombie,
    /// It ended.
    Exited,
    /// The pid is another process now.
    Replaced,
    /// We may not look.
    Unknown,
    /// There is no pid to look at.
    NoPid,
}

impl Observed {
    /// The word used in answers.
    pub const fn word(self) -> &'static str {
        match self {
            Observed::Running => "running",
            Observed::Zombie => "zombie",
            Observed::Exited => "exited",
            Observed::Replaced => "replaced",
            Observed::Unknown => "unknown",
            Observed::NoPid => "no_pid",
        }
    }
}

/// What outlived an agent's root process and still lives. Counters over all such processes since first seen.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Leftovers {
    /// How many.
    pub process_count: u32,
    /// Their memory, bytes.
    pub memory_bytes: u64,
    /// What they burned since their agent ended, microseconds.
    pub cpu_us: u64,
}

/// One agent, claim and fact reconciled.
#[derive(Clone, PartialEq, Debug)]
pub struct AgentView {
    /// The database's name for it.
    pub number: AgentNumber,
    /// Its id.
    pub id: AgentId,
    /// What people call it.
    pub name: Option<Arc<str>>,
    /// Where we have it from.
    pub source: Arc<str>,
    /// The verdict.
    pub status: Arc<str>,
    /// The registry's word; none without a claim.
    pub registry_status: Option<Arc<str>>,
    /// What was observed.
    pub state: Observed,
    /// Why `status` or `state` is what it is, where that needs a word.
    pub state_reason: Option<Arc<str>>,
    /// The process claimed or found.
    pub pid: Option<Pid>,
    /// When that process started.
    pub started_at: Option<Timestamp>,
    /// Restarts ever.
    pub restarts: u64,
    /// The rest of its record.
    pub metadata: JsonObject,
    /// Its numbers.
    pub metrics: Metrics,
    /// What it left behind.
    pub leftovers: Leftovers,
    /// Names of the rules that fire for it.
    pub alerts: Vec<Arc<str>>,
}

/// An alert that fires now.
#[derive(Clone, PartialEq, Debug)]
pub struct ActiveAlert {
    /// The rule's name.
    pub rule: Arc<str>,
    /// Whose; none for the daemon's own.
    pub agent: Option<AgentId>,
    /// The registry source, where it is about one.
    pub source: Option<Arc<str>>,
    /// How much it matters.
    pub severity: Severity,
    /// What was told.
    pub message: Arc<str>,
    /// The number that made it fire.
    pub value: Option<f64>,
    /// The number it was held against.
    pub threshold: Option<f64>,
    /// When it fired.
    pub since: Timestamp,
}

/// One process of an agent's tree.
#[derive(Clone, PartialEq, Debug)]
pub struct ProcessView {
    /// Its process id.
    pub pid: Pid,
    /// Its parent when it was last looked at.
    pub parent: Option<Pid>,
    /// Its short name: untrusted text.
    pub name: Box<str>,
    /// What it is doing.
    pub state: ProcessState,
    /// The account it runs under, as a number.
    pub uid: Option<u32>,
    /// When it started.
    pub started_at: Timestamp,
    /// Percent of one core since the reading before.
    pub cpu_percent: Option<f64>,
    /// Resident memory, bytes.
    pub memory_bytes: u64,
    /// Its threads; none where the system does not tell.
    pub thread_count: Option<u32>,
}

/// Everything there is to say at one moment.
#[derive(Clone, PartialEq, Debug)]
pub struct Snapshot {
    /// The last sampling pass that went into it; zero before the first.
    pub tick: u64,
    /// When it was made.
    pub at: Timestamp,
    /// Every agent in the lists, by id. Shared with the snapshot before where nothing changed.
    pub agents: SharedList<AgentView>,
    /// Every alert that fires, the gravest first.
    pub alerts: Vec<ActiveAlert>,
    /// The machine.
    pub host: HostReading,
    /// How much had to wait there, when that was last looked at.
    pub pressure: HostPressure,
    /// The daemon about itself.
    pub own: OwnState,
}

impl Snapshot {
    /// Before anything was looked at.
    pub fn empty(at: Timestamp) -> Snapshot {
        let (host, pressure) = (HostReading::default(), HostPressure::default());
        let own = OwnState::default();
        Snapshot { tick: 0, at, agents: SharedList::default(), alerts: Vec::new(), host, pressure, own }
    }
}

/// The daemon about itself, for `/readyz` and `status`.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct OwnState {
    /// When the last complete sampling pass began; none before the first.
    pub last_tick_at: Option<Timestamp>,
    /// The same moment on the monotonic clock: its age must not depend on who sets the wall clock.
    pub last_tick_mono: Option<Mono>,
    /// Sampling passes that were due while one was late, and were not made up for.
    pub ticks_skipped: u64,
    /// Reads of processes that failed other than by their end or for want of permission.
    pub read_errors: u64,
    /// Reads of processes that were not permitted.
    pub reads_denied: u64,
    /// What became of measuring proportional set sizes.
    pub pss: PssCounts,
    /// Agents of registries that were not watched for want of room, each as often as its registry named it.
    pub agents_refused: u64,
    /// How children of members are found: `events` (the kernel tells of every fork) or `scan`; empty before the
    /// first step.
    pub discovery: &'static str,
    /// How often events of processes were lost, and a full scan made up for it.
    pub events_lost: u64,
    /// The registry sources, in order of precedence.
    pub sources: Vec<SourceState>,
    /// The broker's database in which messages are counted; none where none is configured.
    pub messages: Option<MessagesState>,
}

/// The database in which messages are counted.
#[derive(Clone, PartialEq, Debug)]
pub struct MessagesState {
    /// When they were counted last; none before the first time.
    pub counted_at: Option<Timestamp>,
    /// Why they cannot be counted now.
    pub error: Option<Arc<str>>,
}

/// One registry source.
#[derive(Clone, PartialEq, Debug)]
pub struct SourceState {
    /// `file:PATH`, a URL, `match:NAME`, `flag`.
    pub name: Arc<str>,
    /// The last good read; none before the first.
    pub good_at: Option<Timestamp>,
    /// What went wrong since then, if anything.
    pub error: Option<Arc<str>>,
    /// When it began to go wrong; none while it is well.
    pub failing_since: Option<Timestamp>,
    /// Records in its last good list.
    pub records: usize,
    /// Records of that list that could not be used.
    pub skipped: usize,
}
