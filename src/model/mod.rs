//! Plain values: what the program talks about. No behaviour beyond arithmetic and formatting, no I/O, no clock.

mod account;
mod agent;
mod alert;
mod error;
mod history;
mod host;
mod journal;
mod list;
mod process;
mod sample;
mod shared_list;
mod snapshot;
mod time;
mod write;

pub use account::{AccountRow, Balance, Held, MemberRow, Sums};
pub use agent::{AgentId, AgentNumber, InvalidAgentId, JsonObject, NotAnObject, Record, StartGuard};
pub(crate) use agent::{NO_LONGER_REGISTERED, UNREGISTERED};
pub use alert::{AgentPattern, AlertKey, AlertState, Condition, Metric, Rule, Severity, StoredAlert, Transition};
pub use error::in_one_line;
pub use history::{History, HistoryPoint, Step};
pub use host::{HostMinute, HostPressure, HostReading};
pub use journal::{AlertNote, Body, Entry, ErrorReport, EventReport, Recorded};
pub use list::{AlertEpisode, JournalLine, ListedLeftover, ListedRun, Page, Replay, ReplayQuery, Rows};
pub use process::{
    BootId, Cpu, ExitStatus, Image, InnerPid, Io, IoReading, Pid, ProcessEvent, ProcessKey, ProcessRow, ProcessState,
    PssCounts, PssReading, Reading, Script,
};
pub use sample::{
    Batch, Delivered, LeftoverRow, MemoryMethod, Metrics, Resume, ResumedAgent, RunEnd, RunRow, Sample, StoredAgent,
    Tick,
};
pub use shared_list::SharedList;
pub use snapshot::{
    ActiveAlert, AgentView, Leftovers, MessagesState, Observed, OwnState, ProcessView, Snapshot, SourceState,
};
pub use time::{Mono, Now, ParseTimeError, Timestamp};
pub use write::{ErrorGroup, GroupPage, GroupState, Receipt, Report, Resolve, StoredReport, Submission, Usage, Write};
