use std::sync::Arc;

use crate::config::Config;
use crate::model::{
    AgentId, AgentNumber, AgentView, Batch, ErrorReport, EventReport, LeftoverRow, ProcessView, Record, Recorded,
    Snapshot, Timestamp,
};
use crate::retention::Limits;

/// Every way in which the world can change the monitor's mind, besides the processes themselves.
pub enum Input {
    /// A registry source was read, or could not be.
    Source {
        /// Its place among the configured sources.
        index: usize,
        /// What came of it.
        reading: Result<SourceReading, Arc<str>>,
    },
    /// An agent, or somebody for it, tells something.
    Report {
        /// Whose it is.
        agent: AgentId,
        /// What is told.
        report: Report,
        /// When it happened, by the teller; none: now.
        at: Option<Timestamp>,
        /// Hears what became of it.
        reply: Reply,
    },
    /// The store counted unresolved errors again.
    Unresolved(Vec<(AgentNumber, u64)>),
    /// Somebody wants to see one agent whole.
    Inspect {
        /// Which.
        agent: AgentId,
        /// Hears the answer; `None` for an agent that is not in the lists.
        answer: Answer<Option<AgentDetail>>,
    },
    /// The configuration changed.
    Settings(Arc<Config>),
}

/// What one reading of a registry source gave.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct SourceReading {
    /// The records that can be used, in the order of the source. Shared with the reading before where nothing changed.
    pub records: Arc<[Record]>,
    /// What could not be used, each with its place in the source and the reason.
    pub skipped: Vec<Arc<str>>,
}

/// What an agent tells.
#[derive(Clone, PartialEq, Debug)]
pub enum Report {
    /// An event.
    Event(EventReport),
    /// An occurrence of an error.
    Error(ErrorReport),
}

/// What the monitor wants done.
pub enum Effect {
    /// Store this, all or nothing.
    Store {
        /// What.
        batch: Batch,
        /// Hears what became of it, after it is on disk.
        reply: Option<Reply>,
    },
    /// Delete what is too old, or too much.
    Prune {
        /// How much is kept.
        limits: Limits,
    },
    /// This is how things are now.
    Publish(Arc<Snapshot>),
}

/// Somebody who waits for a report to be stored. Dropped unanswered, it means that the daemon is too busy.
pub type Reply = Answer<Result<Vec<Recorded>, NotRecorded>>;

/// Somebody who waits for a `T`. A closure, so that the heart needs no channel of any runtime.
pub struct Answer<T>(Box<dyn FnOnce(T) + Send>);

impl<T> Answer<T> {
    /// `hear` is called once, or dropped.
    pub fn new(hear: impl FnOnce(T) + Send + 'static) -> Answer<T> {
        Answer(Box::new(hear))
    }

    /// Gives the answer.
    pub fn send(self, value: T) {
        (self.0)(value);
    }
}

/// Why a report was not stored.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotRecorded {
    /// The database cannot be written now.
    #[error("the database cannot be written: {reason}")]
    Storage {
        /// What it said.
        reason: Arc<str>,
    },
    /// There are too many agents that only write.
    #[error("too many agents that are in no registry")]
    TooManyUnregistered,
}

/// One agent whole.
#[derive(Clone, PartialEq, Debug)]
pub struct AgentDetail {
    /// As in the lists.
    pub view: AgentView,
    /// The processes of its tree, the root first.
    pub processes: Vec<ProcessView>,
    /// The processes that outlived it and live.
    pub leftovers: Vec<LeftoverRow>,
}
