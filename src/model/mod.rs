//! Plain values: what the program talks about. No behaviour beyond arithmetic and formatting, no I/O, no clock.

mod agent;
mod alert;
mod history;
mod host;
mod journal;
mod list;
mod process;
mod sample;
mod snapshot;
mod time;

pub use agent::{AgentId, AgentNumber, InvalidAgentId, JsonObject, NotAnObject, Record, StartGuard};
pub use alert::{AgentPattern, AlertKey, AlertState, Condition, Metric, Rule, Severity, StoredAlert};
pub use history::{History, HistoryPoint, Step};
pub use host::HostReading;
pub use journal::{AlertNote, Body, Entry, ErrorReport, EventReport, Recorded};
pub use list::{AlertEpisode, Fired, ListedLeftover, ListedRun, Missed, Page, Replay, Told};
pub use process::{
    BootId, Cpu, ExitStatus, Image, Io, IoReading, Pid, ProcessEvent, ProcessKey, ProcessRow, ProcessState, Reading,
    Script,
};
pub use sample::{
    Batch, LeftoverRow, MemoryMethod, Metrics, Resume, ResumedAgent, RunEnd, RunRow, Sample, StoredAgent, Tick,
};
pub use snapshot::{ActiveAlert, AgentView, Leftovers, Observed, OwnState, ProcessView, Snapshot, SourceState};
pub use time::{Mono, Now, ParseTimeError, Timestamp};
