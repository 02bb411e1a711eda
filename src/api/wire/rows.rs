//! Rows of lists, and the values that all shapes are made of.

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::feed::Episodes;
use crate::model::{
    ActiveAlert, AgentId, AgentView, AlertEpisode, AlertNote, Body, ErrorReport, EventReport, ExitStatus, JournalLine,
    LeftoverRow, Pid, ProcessView, Recorded, RunRow, Timestamp,
};

#[derive(Serialize)]
pub(super) struct ActiveErrors<'a> {
    agent_id: Id<'a>,
    count: u64,
}

impl<'a> ActiveErrors<'a> {
    /// `None` for an agent without unresolved errors.
    pub(super) fn of(view: &'a AgentView) -> Option<ActiveErrors<'a>> {
        let count = view.metrics.error_count;
        (count > 0).then_some(ActiveErrors { agent_id: Id(&view.id), count })
    }
}

/// EVENT. `id` is null when it could not be stored.
#[derive(Serialize)]
pub(super) struct Event<'a> {
    id: Option<i64>,
    agent_id: Option<Id<'a>>,
    event_type: &'a str,
    message: &'a str,
    metadata: &'a RawValue,
    timestamp: Time,
}

/// `None` for entries of the journal that are no events.
pub(super) fn event(recorded: &Recorded) -> Option<Event<'_>> {
    let Body::Event(EventReport { event_type, message, metadata }) = &recorded.entry.body else { return None };
    Some(Event {
        id: recorded.id,
        agent_id: recorded.entry.agent.as_ref().map(|(_, id)| Id(id)),
        event_type,
        message,
        metadata: metadata.as_raw(),
        timestamp: Time(recorded.entry.at),
    })
}

/// ERROR. `id` is null when it could not be stored.
#[derive(Serialize)]
pub(super) struct ErrorShape<'a> {
    id: Option<i64>,
    agent_id: Option<Id<'a>>,
    error_type: &'a str,
    message: &'a str,
    stack_trace: Option<&'a str>,
    timestamp: Time,
    resolved: bool,
    fingerprint: Option<&'a str>,
}

/// `None` for entries of the journal that are no errors.
pub(super) fn error(line: &JournalLine) -> Option<ErrorShape<'_>> {
    let Recorded { id, entry } = &line.recorded;
    let Body::Error(ErrorReport { error_type, message, stack, metadata: _, fingerprint }) = &entry.body else {
        return None;
    };
    Some(ErrorShape {
        id: *id,
        agent_id: entry.agent.as_ref().map(|(_, id)| Id(id)),
        error_type,
        message,
        stack_trace: stack.as_deref(),
        timestamp: Time(entry.at),
        resolved: line.resolved,
        fingerprint: fingerprint.as_deref(),
    })
}

/// ALERT.
#[derive(Serialize)]
pub(super) struct Alert<'a> {
    /// Where in the journal it fired; none if that could not be stored.
    id: Option<i64>,
    agent_id: Option<Id<'a>>,
    r#type: &'a str,
    severity: &'static str,
    state: &'static str,
    message: &'a str,
    value: Option<f64>,
    threshold: Option<f64>,
    started_at: Time,
    resolved_at: Option<Time>,
}

impl<'a> Alert<'a> {
    pub(super) fn new(alert: &'a ActiveAlert, episodes: &Episodes) -> Alert<'a> {
        Alert {
            id: episodes.get(&alert.into()).copied(),
            agent_id: alert.agent.as_ref().map(Id),
            r#type: &alert.rule,
            severity: alert.severity.word(),
            state: "firing",
            message: &alert.message,
            value: alert.value.map(one_decimal),
            threshold: alert.threshold,
            started_at: Time(alert.since),
            resolved_at: None,
        }
    }

    pub(super) fn episode(episode: &'a AlertEpisode) -> Alert<'a> {
        Alert {
            id: Some(episode.id),
            agent_id: episode.agent.as_ref().map(Id),
            r#type: &episode.rule,
            severity: episode.severity.word(),
            state: if episode.firing { "firing" } else { "resolved" },
            message: &episode.message,
            value: episode.value.map(one_decimal),
            threshold: episode.threshold,
            started_at: Time(episode.started_at),
            resolved_at: episode.ended_at.map(Time),
        }
    }

    /// As a stream tells it: the episode, with the words and the number of this turn.
    pub(super) fn transition(line: &'a JournalLine, note: &'a AlertNote) -> Alert<'a> {
        let entry = &line.recorded.entry;
        Alert {
            id: line.fired,
            agent_id: entry.agent.as_ref().map(|(_, id)| Id(id)),
            r#type: &note.rule,
            severity: note.severity.word(),
            state: if note.is_firing() { "firing" } else { "resolved" },
            message: &note.message,
            value: note.value.map(one_decimal),
            threshold: note.threshold,
            started_at: Time(note.since),
            resolved_at: (!note.is_firing()).then_some(Time(entry.at)),
        }
    }
}

/// RUN.
#[derive(Serialize)]
pub(super) struct Run<'a> {
    agent_id: Id<'a>,
    pid: u32,
    started_at: Time,
    ended_at: Option<Time>,
    exit_code: Option<u8>,
    exit_signal: Option<String>,
    oom_killed: Option<bool>,
    reason: Option<&'a str>,
    cpu_seconds: f64,
    peak_memory_mb: Option<f64>,
    last_memory_mb: Option<f64>,
}

impl<'a> Run<'a> {
    pub(super) fn new(agent_id: Id<'a>, row: &'a RunRow) -> Run<'a> {
        let end = row.end.as_ref();
        let status = end.and_then(|end| end.status);
        Run {
            agent_id,
            pid: row.root.pid.get(),
            started_at: Time(row.started_at),
            ended_at: end.map(|end| Time(end.at)),
            exit_code: status.and_then(ExitStatus::code),
            exit_signal: status.and_then(ExitStatus::signal_name),
            oom_killed: end.and_then(|end| end.oom_killed),
            reason: end.map(|end| &*end.reason),
            cpu_seconds: seconds(row.cpu_us),
            peak_memory_mb: row.peak_memory_bytes.map(mib),
            last_memory_mb: row.last_memory_bytes.map(mib),
        }
    }
}

/// PROCESS.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Process<'a> {
    pid: u32,
    ppid: Option<u32>,
    command: &'a str,
    state: &'static str,
    user: Option<String>,
    started_at: Time,
    cpu_percent: Option<f64>,
    memory_mb: f64,
    thread_count: Option<u32>,
}

impl<'a> Process<'a> {
    pub(super) fn new(view: &'a ProcessView, user: Option<String>) -> Process<'a> {
        Process {
            pid: view.pid.get(),
            ppid: view.parent.map(Pid::get),
            command: &view.name,
            state: view.state.word(),
            user,
            started_at: Time(view.started_at),
            cpu_percent: view.cpu_percent.map(one_decimal),
            memory_mb: mib(view.memory_bytes),
            thread_count: view.thread_count,
        }
    }
}

/// LEFTOVER.
#[derive(Serialize)]
pub(super) struct Leftover<'a> {
    agent_id: Id<'a>,
    pid: u32,
    command: &'a str,
    since: Time,
    memory_mb: f64,
    cpu_seconds: f64,
    ended_at: Option<Time>,
}

impl<'a> Leftover<'a> {
    pub(super) fn new(agent_id: Id<'a>, row: &'a LeftoverRow) -> Leftover<'a> {
        Leftover {
            agent_id,
            pid: row.process.pid.get(),
            command: &row.name,
            since: Time(row.since),
            memory_mb: mib(row.memory_bytes),
            cpu_seconds: seconds(row.cpu_us),
            ended_at: row.ended_at.map(Time),
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Id<'a>(pub(super) &'a AgentId);

impl Serialize for Id<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

/// RFC 3339, UTC, milliseconds.
pub(super) struct Time(pub(super) Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// Not a number and the infinities become `null`, as JSON has no word for them.
pub(super) fn one_decimal(number: f64) -> f64 {
    (number * 10.0).round() / 10.0 + 0.0 // and no "-0.0"
}

/// MiB, one decimal.
pub(super) fn mib(bytes: u64) -> f64 {
    one_decimal(bytes as f64 / 1_048_576.0)
}

/// Seconds, three decimals.
pub(super) fn seconds(us: u64) -> f64 {
    (us / 1_000) as f64 / 1_000.0
}
