//! Lists of the past, a page at a time.

use std::sync::Arc;

use super::{AgentId, LeftoverRow, Recorded, RunRow, Severity, Timestamp};

/// Which rows of a list, newest first.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Page {
    /// Only this agent's.
    pub agent: Option<AgentId>,
    /// Only this type: of event, of error, or the alert's rule.
    pub kind: Option<Arc<str>>,
    /// Only what is still open, or only what is not: an error unresolved, an alert firing, a run or leftover not ended.
    pub open: Option<bool>,
    /// Only rows with a lower id: where the page before ended.
    pub before: Option<i64>,
    /// At most so many.
    pub limit: u32,
}

/// A page of a list.
#[derive(Clone, PartialEq, Debug)]
pub struct Rows<R> {
    /// At most as many as were asked for; fewer where they are long.
    pub rows: Vec<R>,
    /// Whether there are more behind them.
    pub more: bool,
}

/// One episode of an alert, from when it fired.
#[derive(Clone, PartialEq, Debug)]
pub struct AlertEpisode {
    /// Where in the journal it fired.
    pub id: i64,
    /// Whose; none for the daemon's own, and for an agent that is no longer known.
    pub agent: Option<AgentId>,
    /// The rule's name.
    pub rule: Arc<str>,
    /// How much it matters.
    pub severity: Severity,
    /// Whether it fires still.
    pub firing: bool,
    /// What was told when it fired.
    pub message: Arc<str>,
    /// The number that made it fire.
    pub value: Option<f64>,
    /// The number it was held against.
    pub threshold: Option<f64>,
    /// When it fired.
    pub started_at: Timestamp,
    /// When it was over; none while it fires, and for one whose end could not be stored.
    pub ended_at: Option<Timestamp>,
}

/// A run in a list of runs of all agents.
#[derive(Clone, PartialEq, Debug)]
pub struct ListedRun {
    /// Its place in the order of all runs.
    pub id: i64,
    /// Whose.
    pub agent: AgentId,
    /// The run.
    pub run: RunRow,
}

/// A leftover in a list of those of all agents.
#[derive(Clone, PartialEq, Debug)]
pub struct ListedLeftover {
    /// Its place in the order in which leftovers were found.
    pub id: i64,
    /// Whose.
    pub agent: AgentId,
    /// The process.
    pub leftover: LeftoverRow,
}

/// Which lines of the journal a stream wants that it missed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReplayQuery {
    /// Those with a higher id. One that this database never gave counts as zero.
    pub after: i64,
    /// Only this agent's.
    pub agent: Option<AgentId>,
    /// Whether events are wanted.
    pub events: bool,
    /// Whether errors are wanted.
    pub errors: bool,
    /// Whether alerts are wanted.
    pub alerts: bool,
    /// At most so many: the newest.
    pub limit: u32,
}

/// What of it can be had.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Replay {
    /// After which line: the one asked for, or zero for one that this database never gave.
    pub after: i64,
    /// The first and last id of lines that are too many, or were deleted.
    pub gap: Option<(i64, i64)>,
    /// The lines, oldest first. All have an id.
    pub lines: Vec<JournalLine>,
}

/// A line of the journal with what belongs to it.
#[derive(Clone, PartialEq, Debug)]
pub struct JournalLine {
    /// The line.
    pub recorded: Recorded,
    /// Whether somebody said that this error is dealt with.
    pub resolved: bool,
    /// The id of the line with which the alert fired that this one is about; none if it is not stored yet, or is gone.
    pub fired: Option<i64>,
}
