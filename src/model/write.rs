//! What is told from outside, and what comes of it.

use std::sync::Arc;

use super::{AgentId, Body, Entry, ErrorReport, EventReport, Timestamp};

/// What an agent tells.
#[derive(Clone, PartialEq, Debug)]
pub enum Report {
    /// An event.
    Event(EventReport),
    /// An occurrence of an error.
    Error(ErrorReport),
}

impl From<Report> for Body {
    fn from(report: Report) -> Body {
        match report {
            Report::Event(event) => Body::Event(event),
            Report::Error(error) => Body::Error(error),
        }
    }
}

/// A report, and what is said about the telling of it. Untrusted.
#[derive(Clone, PartialEq, Debug)]
pub struct Submission {
    /// Whose it is.
    pub agent: AgentId,
    /// What is told.
    pub report: Report,
    /// When it happened, by the teller; none: now.
    pub at: Option<Timestamp>,
    /// The teller's own name for it, 1 to 128 bytes: told twice, it is stored once.
    pub client_id: Option<Arc<str>>,
    /// The account of the teller; none for a program that embeds the daemon.
    pub uid: Option<u32>,
}

impl Submission {
    /// A report of this moment, without a name of its own.
    pub fn new(agent: AgentId, report: Report) -> Submission {
        Submission { agent, report, at: None, client_id: None, uid: None }
    }
}

/// What of the errors is dealt with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Resolve {
    /// One occurrence.
    Error {
        /// Its place in the journal.
        id: i64,
    },
    /// All occurrences of a problem.
    Group {
        /// Its fingerprint.
        fingerprint: Arc<str>,
        /// Only of this agent: a fingerprint that writers give may be that of several.
        agent: Option<AgentId>,
    },
}

/// Something from outside that is to be stored and answered.
#[derive(Clone, PartialEq, Debug)]
pub enum Write {
    /// A report.
    Report(StoredReport),
    /// Something is dealt with.
    Resolve {
        /// What.
        what: Resolve,
        /// When.
        at: Timestamp,
    },
}

/// A report as it is stored.
#[derive(Clone, PartialEq, Debug)]
pub struct StoredReport {
    /// The line of the journal.
    pub entry: Entry,
    /// The teller's own name for it.
    pub client_id: Option<Arc<str>>,
    /// The account of the teller.
    pub uid: Option<u32>,
    /// What the agent used then.
    pub usage: Usage,
}

/// What an agent used when something was told of it. `None`: not known.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct Usage {
    /// Percent of one core.
    pub cpu_percent: Option<f64>,
    /// Memory, bytes.
    pub memory_bytes: Option<u64>,
}

/// That a report is on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// Its place in the journal.
    pub id: i64,
    /// Whether it had been there before, under the same name.
    pub duplicate: bool,
}

/// A problem of an agent: occurrences of an error that share a fingerprint.
#[derive(Clone, PartialEq, Debug)]
pub struct ErrorGroup {
    /// Its place in the order of all groups.
    pub id: i64,
    /// Whose; none for an agent that is no longer known.
    pub agent: Option<AgentId>,
    /// What its occurrences have in common.
    pub fingerprint: Arc<str>,
    /// The error's class or name, at its latest occurrence.
    pub error_type: Arc<str>,
    /// The beginning of its message, at its latest occurrence.
    pub message: Arc<str>,
    /// How it stands.
    pub state: GroupState,
    /// Occurrences ever; only the latest are kept.
    pub count: u64,
    /// Those of them that nobody dealt with.
    pub unresolved: u64,
    /// When it was seen first.
    pub first_seen: Timestamp,
    /// When it was seen last.
    pub last_seen: Timestamp,
    /// When none of it was unresolved any more, last; none if that never was.
    pub resolved_at: Option<Timestamp>,
    /// What the agent used at its first occurrence.
    pub first_usage: Usage,
    /// What the agent used at its latest occurrence.
    pub last_usage: Usage,
}

/// How a problem stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GroupState {
    /// Nobody dealt with it.
    Open,
    /// None of its occurrences is unresolved.
    Resolved,
    /// It was, and came back.
    Regressed,
}

impl GroupState {
    /// All of them.
    pub const ALL: [GroupState; 3] = [GroupState::Open, GroupState::Resolved, GroupState::Regressed];

    /// The word used in answers.
    pub const fn word(self) -> &'static str {
        match self {
            GroupState::Open => "open",
            GroupState::Resolved => "resolved",
            GroupState::Regressed => "regressed",
        }
    }
}

/// Which groups, the one seen last first.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct GroupPage {
    /// Only this agent's.
    pub agent: Option<AgentId>,
    /// Only of this type of error.
    pub error_type: Option<Arc<str>>,
    /// Only those that stand so; none of them: all.
    pub states: Vec<GroupState>,
    /// Only those after this one: where the page before ended.
    pub before: Option<(Timestamp, i64)>,
    /// At most so many.
    pub limit: u32,
}
