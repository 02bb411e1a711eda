//! What happened: events, errors, what was told of alerts.

use std::sync::Arc;

use super::{AgentId, AgentNumber, JsonObject, Severity, Timestamp, Transition};

/// One line of the journal: an event, an occurrence of an error, or what is told of an alert.
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    /// Whose; none for the daemon's own.
    pub agent: Option<(AgentNumber, AgentId)>,
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub body: Body,
}

/// What a journal entry tells.
#[derive(Clone, PartialEq, Debug)]
pub enum Body {
    /// Something happened.
    Event(EventReport),
    /// Something went wrong inside an agent.
    Error(ErrorReport),
    /// An alert fired, was told again, or ended.
    Alert(AlertNote),
}

/// An event, as an agent or the daemon itself tells it. Untrusted text.
#[derive(Clone, PartialEq, Debug)]
pub struct EventReport {
    /// `started`, `stopped`, `error`, `warning`, or any word.
    pub event_type: Arc<str>,
    /// One sentence.
    pub message: Arc<str>,
    /// The rest.
    pub metadata: JsonObject,
}

impl EventReport {
    /// An event of this type, and a sentence about it.
    pub fn new(event_type: impl Into<Arc<str>>, message: impl Into<Arc<str>>) -> EventReport {
        EventReport { event_type: event_type.into(), message: message.into(), metadata: JsonObject::default() }
    }
}

/// One occurrence of an error inside an agent. Untrusted text.
#[derive(Clone, PartialEq, Debug)]
pub struct ErrorReport {
    /// The error's class or name.
    pub error_type: Arc<str>,
    /// Its message.
    pub message: Arc<str>,
    /// Its stack trace, if there was one.
    pub stack: Option<Arc<str>>,
    /// The rest.
    pub metadata: JsonObject,
    /// What it has in common with other occurrences of the same problem: what the writer gave, 1 to 128 bytes, else
    /// worked out ([`fingerprint`](crate::fingerprint)). None: not yet.
    pub fingerprint: Option<Arc<str>>,
}

impl ErrorReport {
    /// An error of this name, and what it said.
    pub fn new(error_type: impl Into<Arc<str>>, message: impl Into<Arc<str>>) -> ErrorReport {
        ErrorReport {
            error_type: error_type.into(),
            message: message.into(),
            stack: None,
            metadata: JsonObject::default(),
            fingerprint: None,
        }
    }
}

/// What is told of an alert.
#[derive(Clone, PartialEq, Debug)]
pub struct AlertNote {
    /// The rule's name.
    pub rule: Arc<str>,
    /// The registry source, where it is about one.
    pub source: Option<Arc<str>>,
    /// How much it matters.
    pub severity: Severity,
    /// What happened.
    pub transition: Transition,
    /// When it fired.
    pub since: Timestamp,
    /// Agent, value, threshold, since when and the heaviest processes, in words.
    pub message: Arc<str>,
    /// The number that was seen, where the rule has one.
    pub value: Option<f64>,
    /// The number it was held against, where the rule has one.
    pub threshold: Option<f64>,
}

impl AlertNote {
    /// Whether it fires (else it is over).
    pub fn is_firing(&self) -> bool {
        self.transition != Transition::Resolved
    }
}

/// An entry that went through the store.
#[derive(Clone, PartialEq, Debug)]
pub struct Recorded {
    /// Its place in the one sequence of the journal; none if it could not be stored.
    pub id: Option<i64>,
    /// The entry.
    pub entry: Entry,
}
