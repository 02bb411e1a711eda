//! The daemon about itself, and whether all is well with it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::Sources;
use super::error::Problem;
use super::render::json;
use super::routes::Shared;
use super::wire::{self, Check, Ready, Refused};
use crate::model::Timestamp;
use crate::timers::late_after;

/// What the daemon knows of itself beside its snapshot.
#[derive(Clone, PartialEq, Debug)]
pub struct OwnFacts {
    /// The name by which this host tells itself from others.
    pub hostname: String,
    /// Its process.
    pub pid: u32,
    /// When it began to work.
    pub started_at: Timestamp,
    /// For how long it has.
    pub uptime: Duration,
    /// Processor time that it used.
    pub cpu: Duration,
    /// Memory that it holds, bytes.
    pub memory_bytes: Option<u64>,
    /// The dashboard's address.
    pub url: String,
    /// The Unix socket.
    pub socket: PathBuf,
    /// The database.
    pub database: DatabaseFacts,
    /// The receivers of alerts.
    pub receivers: Vec<ReceiverFacts>,
    /// What became of reloads of the configuration.
    pub reloads: Reloads,
    /// Lines of its log that were lost; none where nobody counts them.
    pub log_lines_dropped: Option<u64>,
}

/// How the database is doing. Counts since the start.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct DatabaseFacts {
    /// Where it is.
    pub path: PathBuf,
    /// With its log, bytes.
    pub size_bytes: u64,
    /// Its log alone, bytes.
    pub log_bytes: u64,
    /// Space that is held in reserve for a full disk, bytes.
    pub reserve_bytes: u64,
    /// When all of it was last found whole; none: not since the start.
    pub checked_at: Option<Timestamp>,
    /// The longest that deleting or summing up kept the writer from what was asked for.
    pub longest_pause: Duration,
    /// Samples that wait in memory until they can be stored.
    pub samples_waiting: u64,
    /// Events, errors and alert transitions that wait in memory until they can be stored.
    pub entries_waiting: u64,
    /// Operations that wait to be written.
    pub queue_length: u64,
    /// Transactions.
    pub commits: u64,
    /// Rows deleted for their age, or because the database was full.
    pub expired_rows: u64,
    /// Samples, and minutes of the host, that could not be stored.
    pub samples_dropped: u64,
    /// Events, errors and alert transitions that could not be stored.
    pub entries_dropped: u64,
    /// Runs and leftovers that could not be stored.
    pub runs_dropped: u64,
}

/// How delivery to one receiver of alerts is doing. Counts since the start, or since it was configured.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ReceiverFacts {
    /// Its kind and address, without user and query.
    pub name: String,
    /// What came back from the last attempt, if it was not taken.
    pub error: Option<Arc<str>>,
    /// Messages that it took.
    pub delivered: u64,
    /// Attempts that failed and were made again.
    pub retried: u64,
    /// Messages that it refused for good.
    pub refused: u64,
    /// Messages that were given up after a day, or lost.
    pub lost: u64,
    /// Messages that wait behind the one that is being delivered.
    pub waiting: u64,
}

/// What became of reloads of the configuration.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Reloads {
    /// Those that took effect.
    pub done: u64,
    /// Those that changed nothing, because the new configuration could not be used.
    pub failed: u64,
    /// When the last one was; none before the first.
    pub last_at: Option<Timestamp>,
    /// Why it failed, if it did.
    pub error: Option<Arc<str>>,
    /// Keys whose new value takes effect at the next start.
    pub need_restart: Vec<&'static str>,
}

pub(super) async fn status(State(shared): State<Arc<Shared>>) -> Response {
    let Sources { feed, clock, own, interval, .. } = &shared.sources;
    let health = Health::of(&shared.sources);
    let counts = &shared.counts;
    let refused = Refused {
        streams_open: shared.hub.len(),
        requests_refused: counts.refused.load(Ordering::Relaxed),
        requests_panicked: counts.panics.load(Ordering::Relaxed),
        writes_limited: counts.writes_limited.load(Ordering::Relaxed),
        writes_failed: counts.writes_failed.load(Ordering::Relaxed),
        connections_failed: counts.accept_failures.load(Ordering::Relaxed),
        answers_refused: counts.answers_refused.load(Ordering::Relaxed),
        streams_refused: counts.streams_refused.load(Ordering::Relaxed),
        streams_dropped: counts.streams_dropped.load(Ordering::Relaxed),
    };
    let trouble = (shared.sources.storage)().err();
    let now = clock.now().wall;
    let present = feed.present();
    let shape = wire::Status::new(health.word(), now, interval(), &present, own(), trouble.as_deref(), &refused);
    json(StatusCode::OK, wire::text(&shape))
}

pub(super) async fn readyz(State(shared): State<Arc<Shared>>) -> Result<Response, Problem> {
    let health = Health::of(&shared.sources);
    let checks = serde_json::value::to_raw_value(&health.checks).expect("strings always have a JSON form");
    match &health.late {
        None => Ok(json(StatusCode::OK, wire::text(&Ready { status: health.word(), checks: &checks }))),
        Some(reason) => Err(Problem::unavailable(reason.as_str()).with_checks(checks)),
    }
}

/// What was looked at, and what came of it.
struct Health {
    /// Why nothing is known of the present.
    late: Option<String>,
    checks: Vec<Check>,
}

impl Health {
    fn of(Sources { feed, clock, interval, storage, .. }: &Sources) -> Health {
        let own = &feed.present().snapshot.own;
        let limit = late_after(interval());
        let late = match own.last_tick_mono {
            None => Some("no sampling pass has ended yet".to_owned()),
            Some(at) if clock.now().mono.since(at) > limit => {
                Some(format!("no complete sampling pass for more than {}", humantime::format_duration(limit)))
            }
            Some(_) => None,
        };
        let check = |name: String, trouble: Option<String>| {
            let status = if trouble.is_some() { "failing" } else { "ok" };
            Check { name, status, detail: trouble }
        };
        let storage = storage().err().map(|reason| (*reason).to_owned());
        let mut checks = vec![check("sampling".into(), late.clone()), check("storage".into(), storage)];
        checks.extend(
            own.sources
                .iter()
                .map(|source| check(format!("registry {}", source.name), source.error.as_deref().map(str::to_owned))),
        );
        if let Some(messages) = &own.messages {
            checks.push(check("messages".into(), messages.error.as_deref().map(str::to_owned)));
        }
        Health { late, checks }
    }

    fn word(&self) -> &'static str {
        match &self.late {
            Some(_) => "failing",
            None if self.checks.iter().any(|check| check.detail.is_some()) => "degraded",
            None => "ready",
        }
    }
}
