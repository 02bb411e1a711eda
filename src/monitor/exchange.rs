//! What goes into the monitor, and what it wants done.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::Config;
use crate::intake::Invalid;
use crate::model::{
    AgentId, AgentNumber, AgentView, Batch, LeftoverRow, ProcessView, Record, Recorded, Resolve, RunRow, Snapshot,
    Submission,
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
        /// What is told.
        submission: Submission,
        /// Hears what became of it.
        reply: Reply,
    },
    /// Somebody dealt with errors.
    Resolve {
        /// With which.
        what: Resolve,
        /// Hears what became of it.
        reply: Reply,
    },
    /// Whether the database can be written: else why not.
    Storage(Result<(), Arc<str>>),
    /// The store counted unresolved errors again.
    Unresolved(Vec<(AgentNumber, u64)>),
    /// Messages were counted in a broker's database, or could not be; none: nobody counts them.
    Messages(Option<Result<Messages, Arc<str>>>),
    /// The store has nothing any more of these agents, not even their names.
    Deleted(Vec<AgentNumber>),
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

/// Messages by agent; who is not in it has none.
pub type Messages = Arc<BTreeMap<AgentId, u64>>;

/// What one reading of a registry source gave.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct SourceReading {
    /// The records that can be used, in the order of the source. Shared with the reading before where nothing changed.
    pub records: Arc<[Arc<Record>]>,
    /// What could not be used, each with its place in the source and the reason.
    pub skipped: Vec<Arc<str>>,
}

/// What the monitor wants done.
#[expect(clippy::large_enum_variant, reason = "one or two a step, each taken apart at once")]
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

/// Somebody who waits for something to be stored. Dropped unanswered, it means that the daemon is too busy.
pub type Reply = Answer<Result<Stored, NotRecorded>>;

/// What is on disk now.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Stored {
    /// The lines of the journal, with their ids.
    pub entries: Vec<Recorded>,
    /// Whether the report had been there before, under the same name.
    pub duplicate: bool,
}

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

/// Why something told was not recorded.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotRecorded {
    /// Too much is waiting already: try again.
    #[error("the daemon is too busy")]
    Busy,
    /// The daemon has ended.
    #[error("the daemon has ended")]
    Stopped,
    /// The database cannot be written now.
    #[error("the database cannot be written: {reason}")]
    Storage {
        /// What it said.
        reason: Arc<str>,
        /// Whether the disk is full.
        full: bool,
    },
    /// It is not as it must be.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// There are too many agents that only write.
    #[error("too many agents that are in no registry")]
    TooManyUnregistered,
    /// This agent writes too much: try again.
    #[error("an agent writes at most 50 reports a second, and 500 at once")]
    TooFast,
    /// Something else was told under this name.
    #[error("something else was told under this id")]
    Conflict,
    /// There is no such error.
    #[error("there is no such error")]
    Unknown,
}

/// One agent whole.
#[derive(Clone, PartialEq, Debug)]
pub struct AgentDetail {
    /// As in the lists.
    pub view: AgentView,
    /// The run that goes on, as of the last pass; its row in the database is older.
    pub run: Option<RunRow>,
    /// The processes of its tree, the root first.
    pub processes: Vec<ProcessView>,
    /// The processes that outlived it and live.
    pub leftovers: Vec<LeftoverRow>,
}
