//! The shape of `GET /api/monitoring/status`.

use std::time::Duration;

use serde::Serialize;

use super::host::HostNow;
use super::rows::{Time, mib, seconds};
use crate::api::{OwnFacts, ReceiverFacts, Reloads};
use crate::feed::Present;
use crate::model::{MessagesState, SourceState, Timestamp};

/// `GET /api/monitoring/status`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct Status<'a> {
    /// As in `/readyz`: `ready`, `degraded`, or `failing` where that answers 503.
    status: &'static str,
    version: &'static str,
    hostname: String,
    pid: u32,
    url: String,
    socket: String,
    started_at: Time,
    generated_at: Time,
    /// Seconds.
    uptime: u64,
    cpu_seconds: f64,
    memory_mb: Option<f64>,
    sampling: Sampling,
    host: HostNow,
    registry: Vec<Source<'a>>,
    /// Where messages are counted in a broker's database.
    messages: Option<Messages<'a>>,
    database: Database<'a>,
    receivers: Vec<Receiver>,
    config: Config,
    agents: usize,
    alerts_firing: usize,
    /// Open now.
    streams: usize,
    counters: Counters<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Sampling {
    /// Seconds.
    interval: f64,
    last_tick_at: Option<Time>,
    tick: u64,
    /// Seconds that the last regular pass took.
    tick_duration: Option<f64>,
    /// How children are found: `events` where the kernel tells of every fork, else `scan`; null before the first step.
    discovery: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Source<'a> {
    source: &'a str,
    /// `ok`, `failing`, or `waiting` before the first reading.
    status: &'static str,
    error: Option<&'a str>,
    failing_since: Option<Time>,
    /// The last good read.
    read_at: Option<Time>,
    /// Seconds since then.
    age: Option<u64>,
    records: usize,
    records_skipped: usize,
}

impl<'a> Source<'a> {
    fn new(state: &'a SourceState, now: Timestamp) -> Source<'a> {
        Source {
            source: &state.name,
            status: match (&state.error, state.good_at) {
                (Some(_), _) => "failing",
                (None, Some(_)) => "ok",
                (None, None) => "waiting",
            },
            error: state.error.as_deref(),
            failing_since: state.failing_since.map(Time),
            read_at: state.good_at.map(Time),
            age: state.good_at.map(|at| now.since(at).as_secs()),
            records: state.records,
            records_skipped: state.skipped,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Database<'a> {
    path: String,
    status: &'static str,
    error: Option<&'a str>,
    size_bytes: u64,
    log_bytes: u64,
    reserve_bytes: u64,
    checked_at: Option<Time>,
    /// Seconds.
    longest_pause: f64,
    samples_waiting: u64,
    entries_waiting: u64,
    queue_length: u64,
    commits: u64,
    expired_rows: u64,
}

/// A receiver of alerts. Its error is what came back from the last attempt: untrusted text.
#[derive(Serialize)]
struct Receiver {
    receiver: String,
    /// `ok` or `failing`.
    status: &'static str,
    error: Option<String>,
    delivered: u64,
    retried: u64,
    refused: u64,
    lost: u64,
    waiting: u64,
}

impl From<ReceiverFacts> for Receiver {
    fn from(facts: ReceiverFacts) -> Receiver {
        Receiver {
            receiver: facts.name,
            status: if facts.error.is_some() { "failing" } else { "ok" },
            error: facts.error.as_deref().map(str::to_owned),
            delivered: facts.delivered,
            retried: facts.retried,
            refused: facts.refused,
            lost: facts.lost,
            waiting: facts.waiting,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Messages<'a> {
    status: &'static str,
    error: Option<&'a str>,
    counted_at: Option<Time>,
}

impl<'a> From<&'a MessagesState> for Messages<'a> {
    fn from(state: &'a MessagesState) -> Messages<'a> {
        Messages {
            status: if state.error.is_some() { "failing" } else { "ok" },
            error: state.error.as_deref(),
            counted_at: state.counted_at.map(Time),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    last_reload_successful: bool,
    last_reload_at: Option<Time>,
    error: Option<String>,
    /// Keys whose new value takes effect at the next start.
    need_restart: Vec<&'static str>,
}

impl From<&Reloads> for Config {
    fn from(reloads: &Reloads) -> Config {
        Config {
            // What was read at the start could be used, or there would be nobody to ask.
            last_reload_successful: reloads.error.is_none(),
            last_reload_at: reloads.last_at.map(Time),
            error: reloads.error.as_deref().map(str::to_owned),
            need_restart: reloads.need_restart.clone(),
        }
    }
}

/// What was lost, skipped or refused since the start.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Counters<'a> {
    ticks_skipped: u64,
    read_errors: u64,
    reads_denied: u64,
    events_lost: u64,
    /// Agents that were not watched for want of room, as often as their registry named them.
    agents_refused: u64,
    pss_reads_denied: u64,
    pss_reads_failed: u64,
    /// Those that took too long and lost their turn.
    pss_reads_overdue: u64,
    samples_dropped: u64,
    entries_dropped: u64,
    runs_dropped: u64,
    log_lines_dropped: Option<u64>,
    reloads: u64,
    reloads_failed: u64,
    #[serde(flatten)]
    refused: &'a Refused,
}

/// What this edge itself counts: the streams that are open, and what it refused or lost since the start.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct Refused {
    #[serde(skip)]
    pub(in crate::api) streams_open: usize,
    pub(in crate::api) requests_refused: u64,
    pub(in crate::api) requests_panicked: u64,
    pub(in crate::api) writes_limited: u64,
    pub(in crate::api) writes_failed: u64,
    pub(in crate::api) connections_failed: u64,
    pub(in crate::api) answers_refused: u64,
    pub(in crate::api) streams_refused: u64,
    pub(in crate::api) streams_dropped: u64,
}

impl<'a> Status<'a> {
    /// `trouble` is what the database said when it last refused.
    pub(in crate::api) fn new(
        status: &'static str,
        now: Timestamp,
        interval: Duration,
        present: &'a Present,
        own: OwnFacts,
        trouble: Option<&'a str>,
        refused: &'a Refused,
    ) -> Status<'a> {
        let snapshot = &present.snapshot;
        let (sampled, kept) = (&snapshot.own, &own.database);
        Status {
            status,
            version: env!("CARGO_PKG_VERSION"),
            hostname: own.hostname,
            pid: own.pid,
            started_at: Time(own.started_at),
            generated_at: Time(now),
            uptime: own.uptime.as_secs(),
            cpu_seconds: seconds(u64::try_from(own.cpu.as_micros()).unwrap_or(u64::MAX)),
            memory_mb: own.memory_bytes.map(mib),
            sampling: Sampling {
                interval: interval.as_secs_f64(),
                last_tick_at: sampled.last_tick_at.map(Time),
                tick: snapshot.tick,
                tick_duration: present.tick_took.map(|took| took.as_secs_f64()),
                discovery: Some(sampled.discovery).filter(|way| !way.is_empty()),
            },
            host: HostNow::new(&snapshot.host, &snapshot.pressure),
            registry: sampled.sources.iter().map(|state| Source::new(state, now)).collect(),
            messages: sampled.messages.as_ref().map(Messages::from),
            database: Database {
                path: kept.path.display().to_string(),
                status: if trouble.is_some() { "failing" } else { "ok" },
                error: trouble,
                size_bytes: kept.size_bytes,
                log_bytes: kept.log_bytes,
                reserve_bytes: kept.reserve_bytes,
                checked_at: kept.checked_at.map(Time),
                longest_pause: kept.longest_pause.as_secs_f64(),
                samples_waiting: kept.samples_waiting,
                entries_waiting: kept.entries_waiting,
                queue_length: kept.queue_length,
                commits: kept.commits,
                expired_rows: kept.expired_rows,
            },
            receivers: own.receivers.into_iter().map(Receiver::from).collect(),
            config: Config::from(&own.reloads),
            agents: snapshot.agents.len(),
            alerts_firing: snapshot.alerts.len(),
            streams: refused.streams_open,
            counters: Counters {
                ticks_skipped: sampled.ticks_skipped,
                read_errors: sampled.read_errors,
                reads_denied: sampled.reads_denied,
                events_lost: sampled.events_lost,
                agents_refused: sampled.agents_refused,
                pss_reads_denied: sampled.pss.denied,
                pss_reads_failed: sampled.pss.failed,
                pss_reads_overdue: sampled.pss.overdue,
                samples_dropped: kept.samples_dropped,
                entries_dropped: kept.entries_dropped,
                runs_dropped: kept.runs_dropped,
                log_lines_dropped: own.log_lines_dropped,
                reloads: own.reloads.done,
                reloads_failed: own.reloads.failed,
                refused,
            },
            socket: own.socket.display().to_string(),
            url: own.url,
        }
    }
}
