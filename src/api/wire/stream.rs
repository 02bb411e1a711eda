//! The shapes of what streams tell.

use std::time::Duration;

use serde::Serialize;

use super::SystemMetrics;
use super::metrics::AgentMetrics;
use super::rows::{Alert, ErrorShape, Event, Id, Time, error, event, mib, one_decimal};
use crate::model::{AgentView, Body, HostReading, JournalLine, Timestamp};

/// The first message of a stream of Server-Sent Events.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct Hello {
    version: &'static str,
    /// When the daemon began: another one than before means that everything should be asked for again.
    started_at: Time,
    /// Seconds from one sample to the next.
    interval: f64,
}

impl Hello {
    pub(in crate::api) fn new(started_at: Timestamp, interval: Duration) -> Hello {
        let version = env!("CARGO_PKG_VERSION");
        Hello { version, started_at: Time(started_at), interval: interval.as_secs_f64() }
    }
}

/// Lines of the journal that are not told again, the first and the last.
#[derive(Serialize)]
pub(in crate::api) struct Gap {
    pub(in crate::api) from: i64,
    pub(in crate::api) to: i64,
}

/// A message of a WebSocket.
#[derive(Serialize)]
pub(in crate::api) struct Typed<'a, T> {
    pub(in crate::api) r#type: &'a str,
    pub(in crate::api) data: &'a T,
}

/// An agent in a `metrics_update` of Server-Sent Events.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct ChangedAgent<'a> {
    agent_id: Id<'a>,
    status: &'a str,
    state: &'static str,
    metrics: AgentMetrics<'a>,
}

impl<'a> From<&'a AgentView> for ChangedAgent<'a> {
    fn from(view: &'a AgentView) -> ChangedAgent<'a> {
        ChangedAgent {
            agent_id: Id(&view.id),
            status: &view.status,
            state: view.state.word(),
            metrics: AgentMetrics::from(&view.metrics),
        }
    }
}

/// `metrics_update` of a WebSocket.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct AgentMetricsUpdate<'a> {
    agent_id: Id<'a>,
    cpu_percent: Option<f64>,
    memory_mb: Option<f64>,
    status: &'a str,
    error_count: u64,
    message_count: Option<u64>,
}

impl<'a> From<&'a AgentView> for AgentMetricsUpdate<'a> {
    fn from(view: &'a AgentView) -> AgentMetricsUpdate<'a> {
        AgentMetricsUpdate {
            agent_id: Id(&view.id),
            cpu_percent: view.metrics.cpu_percent.map(one_decimal),
            memory_mb: view.metrics.memory_bytes.map(mib),
            status: &view.status,
            error_count: view.metrics.error_count,
            message_count: view.metrics.message_count,
        }
    }
}

pub(in crate::api) fn moment(at: Timestamp) -> impl Serialize {
    Time(at)
}

pub(in crate::api) fn system_metrics(host: &HostReading) -> impl Serialize {
    SystemMetrics::from(host)
}

/// A line of the journal: EVENT, ERROR or ALERT.
pub(in crate::api) fn line(line: &JournalLine) -> impl Serialize {
    match &line.recorded.entry.body {
        Body::Event(_) => Line::Event(event(&line.recorded)),
        Body::Error(_) => Line::Error(error(line)),
        Body::Alert(note) => Line::Alert(Alert::transition(line, note)),
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Line<'a> {
    Event(Option<Event<'a>>),
    Error(Option<ErrorShape<'a>>),
    Alert(Alert<'a>),
}
