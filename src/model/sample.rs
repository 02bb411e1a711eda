//! An agent's numbers, and what is kept of it.

use std::sync::Arc;

use super::{
    AccountRow, AgentId, AgentNumber, BootId, Entry, ExitStatus, HostMinute, Io, JsonObject, ProcessKey, StoredAlert,
    Timestamp, Write,
};

/// How an agent's memory was added up.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum MemoryMethod {
    /// Sum of resident pages: pages that members share are counted once for each.
    #[default]
    Rss,
    /// Proportional set size: exact for trees that share pages.
    Pss,
}

impl MemoryMethod {
    /// The word used in configuration and answers.
    pub const fn word(self) -> &'static str {
        match self {
            MemoryMethod::Rss => "rss",
            MemoryMethod::Pss => "pss",
        }
    }
}

/// An agent's numbers at one moment, its whole process tree together. `None`: not known, which is not zero.
#[derive(Clone, PartialEq, Debug)]
pub struct Metrics {
    /// When they were taken.
    pub at: Timestamp,
    /// Percent of one core since the reading before.
    pub cpu_percent: Option<f64>,
    /// Memory, bytes.
    pub memory_bytes: Option<u64>,
    /// How it was added up.
    pub memory_method: MemoryMethod,
    /// Processes.
    pub process_count: Option<u32>,
    /// Threads.
    pub thread_count: Option<u32>,
    /// Processor time of all its runs since it was first seen, microseconds. Never falls.
    pub cpu_us: Option<u64>,
    /// Storage I/O of all its runs since it was first seen. Never falls.
    pub io: Option<Io>,
    /// The reported status.
    pub status: Arc<str>,
    /// Unresolved errors.
    pub error_count: u64,
    /// Messages, where something counts them.
    pub message_count: Option<u64>,
}

impl Metrics {
    /// Nothing known yet but the status.
    pub fn unknown(at: Timestamp, status: Arc<str>) -> Metrics {
        Metrics {
            at,
            cpu_percent: None,
            memory_bytes: None,
            memory_method: MemoryMethod::default(),
            process_count: None,
            thread_count: None,
            cpu_us: None,
            io: None,
            status,
            error_count: 0,
            message_count: None,
        }
    }
}

/// One row of an agent's history.
#[derive(Clone, PartialEq, Debug)]
pub struct Sample {
    /// Whose.
    pub agent: AgentNumber,
    /// Its numbers. `at` is the tick's.
    pub metrics: Metrics,
}

/// One sampling pass. The ordinal only grows, whatever the clocks do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tick {
    /// Its place in the order of all ticks ever.
    pub ordinal: u64,
    /// What the wall clock said.
    pub at: Timestamp,
}

/// What is kept of an agent itself.
#[derive(Clone, PartialEq, Debug)]
pub struct StoredAgent {
    /// The database's name for it.
    pub number: AgentNumber,
    /// Its id.
    pub id: AgentId,
    /// What people call it.
    pub name: Option<Arc<str>>,
    /// Where we have it from.
    pub source: Arc<str>,
    /// The registry's last word.
    pub registry_status: Option<Arc<str>>,
    /// When it was first heard of.
    pub first_seen: Timestamp,
    /// When it was last heard of or observed.
    pub last_seen: Timestamp,
    /// The rest of its record.
    pub metadata: JsonObject,
    /// Restarts ever.
    pub restarts: u64,
    /// Processor time of all its runs up to `last_seen`, microseconds.
    pub cpu_us: u64,
    /// Storage I/O of all its runs up to `last_seen`.
    pub io: Io,
}

/// One life of an agent's root process.
#[derive(Clone, PartialEq, Debug)]
pub struct RunRow {
    /// Whose.
    pub agent: AgentNumber,
    /// The root process that it began with: a launcher may end before the program that it started.
    pub root: ProcessKey,
    /// The boot it lived in.
    pub boot: BootId,
    /// When it started.
    pub started_at: Timestamp,
    /// How it ended; none while it goes on.
    pub end: Option<RunEnd>,
    /// Processor time of its tree while it was observed, microseconds.
    pub cpu_us: u64,
    /// The most memory its tree was seen to hold, bytes.
    pub peak_memory_bytes: Option<u64>,
    /// The memory its tree held when it was last seen, bytes.
    pub last_memory_bytes: Option<u64>,
    /// How both were added up: the exact way, from the first time on that it could be used. They never mix the two.
    pub memory_method: MemoryMethod,
}

/// The end of a run.
#[derive(Clone, PartialEq, Debug)]
pub struct RunEnd {
    /// When we learned of it.
    pub at: Timestamp,
    /// How it ended, where that could be known.
    pub status: Option<ExitStatus>,
    /// Whether the kernel killed it for memory, where that could be known.
    pub oom_killed: Option<bool>,
    /// `stopped`, `error`, `superseded`, `unobserved`.
    pub reason: Arc<str>,
}

/// A process that outlived its agent.
#[derive(Clone, PartialEq, Debug)]
pub struct LeftoverRow {
    /// Whose it was.
    pub agent: AgentNumber,
    /// Which process.
    pub process: ProcessKey,
    /// The boot it lives in.
    pub boot: BootId,
    /// Its short name: untrusted text.
    pub name: Arc<str>,
    /// When its agent ended.
    pub since: Timestamp,
    /// Resident memory when it was last read, bytes.
    pub memory_bytes: u64,
    /// What it and the children it waited for used since then, microseconds.
    pub cpu_us: u64,
    /// What they had used before, microseconds.
    pub used_before_us: u64,
    /// When it ended; none while it lives.
    pub ended_at: Option<Timestamp>,
}

/// What one step wants stored, all or nothing.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Batch {
    /// The sampling pass the samples belong to; none when there are none.
    pub tick: Option<Tick>,
    /// New and changed agents. Stored first: everything else refers to them.
    pub agents: Vec<StoredAgent>,
    /// Rows of history.
    pub samples: Vec<Sample>,
    /// New and changed runs, told apart by agent, boot and root.
    pub runs: Vec<RunRow>,
    /// New and changed leftovers, told apart by agent, boot and process.
    pub leftovers: Vec<LeftoverRow>,
    /// Accounts with their members, each in place of what is stored of that agent's.
    pub accounts: Vec<AccountRow>,
    /// The host, in minutes that are over or in which an agent died: what is stored of a minute already gets worse by it.
    pub host: Vec<HostMinute>,
    /// Lines of the journal, in order.
    pub entries: Vec<Entry>,
    /// Alerts whose state changed.
    pub alerts: Vec<StoredAlert>,
    /// What comes from outside: at most one, since it is answered by itself.
    pub write: Option<Box<Write>>,
    /// How far receivers of alerts have come.
    pub delivered: Vec<Delivered>,
}

/// How far a receiver of alerts has come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivered {
    /// Which: a digest of what makes it this one.
    pub receiver: Arc<str>,
    /// The last entry of the journal it need not be told any more. None: it is no receiver any more.
    pub up_to: Option<i64>,
}

impl Batch {
    /// Whether there is nothing to store.
    pub fn is_empty(&self) -> bool {
        self.tick.is_none()
            && self.agents.is_empty()
            && self.samples.is_empty()
            && self.runs.is_empty()
            && self.leftovers.is_empty()
            && self.accounts.is_empty()
            && self.host.is_empty()
            && self.entries.is_empty()
            && self.alerts.is_empty()
            && self.write.is_none()
            && self.delivered.is_empty()
    }
}

/// What the last daemon left behind: where a new one goes on.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Resume {
    /// The highest tick ever stored; zero when there is none.
    pub last_tick: u64,
    /// The agents that are still in the database.
    pub agents: Vec<ResumedAgent>,
    /// Leftovers that had not ended.
    pub leftovers: Vec<LeftoverRow>,
    /// Alerts that were pending or firing.
    pub alerts: Vec<StoredAlert>,
    /// The latest ends of runs as `error`, the last one first; bounded.
    pub crashes: Vec<(AgentNumber, Timestamp)>,
    /// How far receivers of alerts had come.
    pub delivered: Vec<Delivered>,
    /// The last entry that the journal ever had; zero when there was none.
    pub last_entry: i64,
}

/// An agent as the last daemon left it.
#[derive(Clone, PartialEq, Debug)]
pub struct ResumedAgent {
    /// The agent, with its totals as they were written down last.
    pub agent: StoredAgent,
    /// Its processor time in its newest sample, which may be younger, microseconds.
    pub sampled_cpu_us: Option<u64>,
    /// Its storage I/O there.
    pub sampled_io: Option<Io>,
    /// Its last run, if there was one.
    pub run: Option<RunRow>,
    /// Its accounts.
    pub account: Option<AccountRow>,
    /// Its unresolved errors.
    pub unresolved: u64,
}
