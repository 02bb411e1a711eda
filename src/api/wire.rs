//! The shapes of answers, and the only types of this edge that become JSON. Summary objects are camelCase, rows of
//! lists carry the column names of the database. What is not known is `null`, never zero.

mod groups;
mod history;
mod host;
mod metrics;
mod rows;
mod status;
mod stream;

use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;

use self::groups::Group;
pub(super) use self::history::History;
use self::host::Host;
use self::metrics::{AgentMetrics, Metric};
use self::rows::{ActiveErrors, Alert, ErrorShape, Event, Id, Leftover, Process, Run, Time};
use self::rows::{error, event, mib, seconds};
pub(super) use self::status::{Refused, Status};
pub(super) use self::stream::{AgentMetricsUpdate, ChangedAgent, Gap, Hello, Typed, line, moment, system_metrics};
use crate::feed::Present;
use crate::model::{
    AgentView, AlertEpisode, ErrorGroup, HostMinute, HostReading, JournalLine, LeftoverRow, Leftovers, ListedLeftover,
    ListedRun, Metrics, Pid, ProcessView, Receipt, Recorded, RunRow,
};

/// Any of these shapes as text.
pub(super) fn text(shape: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(shape).expect("these shapes have string keys and valid raw parts only")
}

/// `GET /api/monitoring/dashboard`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Dashboard<'a> {
    agents: Vec<Agent<'a>>,
    recent_events: Vec<Event<'a>>,
    active_errors: Vec<ActiveErrors<'a>>,
    alerts: Vec<Alert<'a>>,
    system_metrics: SystemMetrics,
    generated_at: Time,
}

impl<'a> From<&'a Present> for Dashboard<'a> {
    fn from(now: &'a Present) -> Dashboard<'a> {
        Dashboard {
            agents: now.snapshot.agents.iter().map(|view| Agent::from(&**view)).collect(),
            recent_events: now.recent.iter().filter_map(event).collect(),
            active_errors: now.snapshot.agents.iter().filter_map(|view| ActiveErrors::of(view)).collect(),
            alerts: now.snapshot.alerts.iter().map(|alert| Alert::new(alert, &now.episodes)).collect(),
            system_metrics: SystemMetrics::from(&now.snapshot.host),
            generated_at: Time(now.snapshot.at),
        }
    }
}

/// `GET /api/monitoring/agents`.
#[derive(Serialize)]
pub(super) struct Agents<'a> {
    pub(super) agents: Vec<Agent<'a>>,
}

/// One agent in a list.
#[derive(Serialize)]
pub(super) struct Agent<'a> {
    #[serde(flatten)]
    head: AgentHead<'a>,
    metrics: AgentMetrics<'a>,
    leftovers: LeftoverTotals,
    alerts: Vec<&'a str>,
}

impl<'a> From<&'a AgentView> for Agent<'a> {
    fn from(view: &'a AgentView) -> Agent<'a> {
        Agent {
            head: AgentHead::from(view),
            metrics: AgentMetrics::from(&view.metrics),
            leftovers: LeftoverTotals::from(&view.leftovers),
            alerts: view.alerts.iter().map(|rule| &**rule).collect(),
        }
    }
}

/// `GET /api/monitoring/agents/{agentId}`. A list that could not be had is `null`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AgentPage<'a> {
    #[serde(flatten)]
    head: AgentHead<'a>,
    latest: AgentMetrics<'a>,
    leftover_totals: LeftoverTotals,
    alerts: Vec<&'a str>,
    metrics: Option<Vec<Metric<'a>>>,
    events: Option<Vec<Event<'a>>>,
    errors: Option<Vec<ErrorShape<'a>>>,
    runs: Option<Vec<Run<'a>>>,
    /// Beside `runs`, place by place: how the host was in the minute of the end.
    host: Option<Vec<Option<Host>>>,
    processes: Option<Vec<Process<'a>>>,
    leftovers: Option<Vec<Leftover<'a>>>,
}

/// What the database has of an agent.
#[derive(Clone, Copy, Default)]
pub(super) struct Kept<'a> {
    pub(super) metrics: &'a [Metrics],
    pub(super) events: &'a [Recorded],
    pub(super) errors: &'a [JournalLine],
    pub(super) runs: &'a [RunRow],
    pub(super) host: &'a [Option<HostMinute>],
}

/// The processes of an agent as they are now: its tree, and what outlived it.
#[derive(Clone, Copy, Default)]
pub(super) struct Living<'a> {
    pub(super) processes: &'a [ProcessView],
    pub(super) leftovers: &'a [LeftoverRow],
}

impl<'a> AgentPage<'a> {
    /// `users` gives the name of the account a process runs under.
    pub(super) fn new(
        view: &'a AgentView,
        kept: Option<Kept<'a>>,
        living: Option<Living<'a>>,
        mut users: impl FnMut(u32) -> String,
    ) -> AgentPage<'a> {
        let Agent { head, metrics: latest, leftovers: leftover_totals, alerts } = Agent::from(view);
        let id = Id(&view.id);
        let process = |one: &'a ProcessView| Process::new(one, one.uid.map(&mut users));
        AgentPage {
            head,
            latest,
            leftover_totals,
            alerts,
            metrics: kept.map(|kept| kept.metrics.iter().map(|metrics| Metric::new(id, metrics)).collect()),
            events: kept.map(|kept| kept.events.iter().filter_map(event).collect()),
            errors: kept.map(|kept| kept.errors.iter().filter_map(error).collect()),
            runs: kept.map(|kept| kept.runs.iter().map(|row| Run::new(id, row)).collect()),
            host: kept.map(|kept| kept.host.iter().map(|minute| minute.as_ref().map(Host::from)).collect()),
            processes: living.map(|now| now.processes.iter().map(process).collect()),
            leftovers: living.map(|now| now.leftovers.iter().map(|one| Leftover::new(id, one)).collect()),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AgentHead<'a> {
    agent_id: Id<'a>,
    name: Option<&'a str>,
    source: &'a str,
    status: &'a str,
    registry_status: Option<&'a str>,
    state: &'static str,
    state_reason: Option<&'a str>,
    pid: Option<u32>,
    started_at: Option<Time>,
    restarts: u64,
    metadata: &'a RawValue,
}

impl<'a> From<&'a AgentView> for AgentHead<'a> {
    fn from(view: &'a AgentView) -> AgentHead<'a> {
        AgentHead {
            agent_id: Id(&view.id),
            name: view.name.as_deref(),
            source: &view.source,
            status: &view.status,
            registry_status: view.registry_status.as_deref(),
            state: view.state.word(),
            state_reason: view.state_reason.as_deref(),
            pid: view.pid.map(Pid::get),
            started_at: view.started_at.map(Time),
            restarts: view.restarts,
            metadata: view.metadata.as_raw(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LeftoverTotals {
    process_count: u32,
    memory_mb: f64,
    cpu_seconds: f64,
}

impl From<&Leftovers> for LeftoverTotals {
    fn from(totals: &Leftovers) -> LeftoverTotals {
        LeftoverTotals {
            process_count: totals.process_count,
            memory_mb: mib(totals.memory_bytes),
            cpu_seconds: seconds(totals.cpu_us),
        }
    }
}

/// The machine. `cpuUsage` is the load over one minute, a number of processes, not a percentage.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SystemMetrics {
    cpu_usage: Option<f64>,
    total_memory: Option<f64>,
    free_memory: Option<f64>,
    uptime: Option<u64>,
    cpu_count: Option<u32>,
}

impl From<&HostReading> for SystemMetrics {
    fn from(host: &HostReading) -> SystemMetrics {
        SystemMetrics {
            cpu_usage: host.load_1m,
            total_memory: host.memory_total_bytes.map(mib),
            free_memory: host.memory_available_bytes.map(mib),
            uptime: host.uptime.as_ref().map(Duration::as_secs),
            cpu_count: host.cpu_count,
        }
    }
}

/// A page of a list. `next` asks for the page after it; none after the last.
#[derive(Serialize)]
struct List<T> {
    items: Vec<T>,
    next: Option<String>,
}

/// `GET /api/monitoring/events`.
pub(super) fn events(rows: &[Recorded], next: Option<String>) -> Vec<u8> {
    text(&List { items: rows.iter().filter_map(event).collect(), next })
}

/// `GET /api/monitoring/errors`.
pub(super) fn errors(rows: &[JournalLine], next: Option<String>) -> Vec<u8> {
    text(&List { items: rows.iter().filter_map(error).collect(), next })
}

/// `GET /api/monitoring/error-groups`.
pub(super) fn groups(rows: &[ErrorGroup], next: Option<String>) -> Vec<u8> {
    text(&List { items: rows.iter().map(Group::from).collect(), next })
}

/// `GET /api/monitoring/alerts`.
pub(super) fn alerts(rows: &[AlertEpisode], next: Option<String>) -> Vec<u8> {
    text(&List { items: rows.iter().map(Alert::episode).collect(), next })
}

/// `GET /api/monitoring/runs`.
pub(super) fn runs(rows: &[ListedRun], next: Option<String>) -> Vec<u8> {
    text(&List { items: rows.iter().map(|listed| Run::new(Id(&listed.agent), &listed.run)).collect(), next })
}

/// `GET /api/monitoring/leftovers`.
pub(super) fn leftovers(rows: &[ListedLeftover], next: Option<String>) -> Vec<u8> {
    let items = rows.iter().map(|listed| Leftover::new(Id(&listed.agent), &listed.leftover));
    text(&List { items: items.collect(), next })
}

/// 201: a report is on disk.
#[derive(Serialize)]
pub(super) struct Created {
    success: bool,
    id: i64,
    /// Only when it had been there before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    duplicate: bool,
}

impl From<Receipt> for Created {
    fn from(Receipt { id, duplicate }: Receipt) -> Created {
        Created { success: true, id, duplicate }
    }
}

/// `GET /readyz`, when it is 200.
#[derive(Serialize)]
pub(super) struct Ready<'a> {
    pub(super) status: &'static str,
    pub(super) checks: &'a RawValue,
}

/// One thing that was looked at.
#[derive(Serialize)]
pub(super) struct Check {
    pub(super) name: String,
    pub(super) status: &'static str,
    pub(super) detail: Option<String>,
}
