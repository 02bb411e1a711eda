//! The edge that speaks HTTP. It reads the feed, and asks the heart and the store; over the socket it takes what is told.
#![deny(
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unwrap_used,
    clippy::panic,
    clippy::unreachable,
    reason = "no input may end the daemon"
)]

mod agent;
mod error;
mod guard;
mod history;
mod lists;
mod metrics;
mod middleware;
mod openapi;
mod page;
mod render;
mod routes;
mod serve;
mod status;
mod stream;
mod wire;
mod writes;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axum::Router;

use crate::clock::Clock;
use crate::feed::Feed;
use crate::model::{
    AgentId, AlertEpisode, ErrorGroup, GroupPage, History, HostMinute, JournalLine, ListedLeftover, ListedRun, Metrics,
    Page, Recorded, Replay, ReplayQuery, Rows, RunRow, StoredAgent,
};
use crate::monitor::{AgentDetail, Answer};
use middleware::Middleware;

pub use guard::Guard;
pub use history::{HistoryQuery, moment};
pub use serve::{Limits, Listener, serve};
pub use status::{DatabaseFacts, OwnFacts, ReceiverFacts, Reloads};
pub use writes::{Pending, Writes};

/// What the routes answer from. Plain closures, so that this edge knows neither the store nor the engine.
pub struct Sources {
    /// How things are now.
    pub feed: Feed,
    /// For the age of the last tick.
    pub clock: Arc<dyn Clock>,
    /// Time from one sample to the next, as configured now.
    pub interval: Arc<dyn Fn() -> Duration + Send + Sync>,
    /// Whether the database can be written, or what it said.
    pub storage: Arc<dyn Fn() -> Result<(), Arc<str>> + Send + Sync>,
    /// All that an agent's page shows of what is kept; `None` for one that was never seen.
    pub agent: Look<AgentId, Option<AgentHistory>>,
    /// One agent's past in buckets; `None` for one that was never seen.
    pub history: Look<HistoryQuery, Option<History>>,
    /// What is kept of all agents together.
    pub lists: Lists,
    /// Where what is told goes.
    pub writes: Writes,
    /// What a stream missed.
    pub replay: Look<ReplayQuery, Replay>,
    /// The daemon about itself. Must not wait.
    pub own: Arc<dyn Fn() -> OwnFacts + Send + Sync>,
    /// The name of an account; `None` where it has none. May ask a directory over the network, and wait for it.
    pub user_name: Arc<dyn Fn(u32) -> Option<String> + Send + Sync>,
    /// Asks the heart for one agent. Never blocks; drops the answer when the heart cannot be asked now.
    pub inspect: Arc<dyn Fn(AgentId, Answer<Option<AgentDetail>>) + Send + Sync>,
}

/// Looks something up in the database, or tells why it cannot be read. May block.
pub type Look<Q, A> = Arc<dyn Fn(&Q) -> Result<A, String> + Send + Sync>;

/// Looks up pages of everyone's rows.
pub struct Lists {
    /// Events; all have an id.
    pub events: Look<Page, Rows<Recorded>>,
    /// Occurrences of errors; all have an id.
    pub errors: Look<Page, Rows<JournalLine>>,
    /// Problems: errors that have something in common.
    pub groups: Look<GroupPage, Rows<ErrorGroup>>,
    /// Episodes of alerts.
    pub alerts: Look<Page, Rows<AlertEpisode>>,
    /// Runs.
    pub runs: Look<Page, Rows<ListedRun>>,
    /// Processes that outlived their agents.
    pub leftovers: Look<Page, Rows<ListedLeftover>>,
}

/// What is kept of one agent, every list newest first.
#[derive(Clone, PartialEq, Debug)]
pub struct AgentHistory {
    /// The agent itself.
    pub agent: StoredAgent,
    /// Its unresolved errors.
    pub unresolved: u64,
    /// The last hour, at most 3,600.
    pub metrics: Vec<Metrics>,
    /// At most 50.
    pub events: Vec<Recorded>,
    /// At most 20.
    pub errors: Vec<JournalLine>,
    /// At most 20.
    pub runs: Vec<RunRow>,
    /// How the host was when the run of the same place ended; none while that goes on, or where nothing is known.
    pub host: Vec<Option<HostMinute>>,
}

/// The dashboard document of this moment: `GET /api/monitoring/dashboard`.
pub fn dashboard(now: &crate::feed::Present) -> Vec<u8> {
    wire::text(&wire::Dashboard::from(now))
}

/// What this edge lost or refused since the start. They only grow.
#[derive(Default, Debug)]
pub struct Counts {
    /// Requests whose handling panicked: bugs.
    pub panics: AtomicU64,
    /// Requests that the guard turned away, or whose body says that it is too large.
    pub refused: AtomicU64,
    /// Writes refused because there were too many (429).
    pub writes_limited: AtomicU64,
    /// Writes that could not be stored (503).
    pub writes_failed: AtomicU64,
    /// Connections that could not be accepted.
    pub accept_failures: AtomicU64,
    /// Answers that were not sent, because those that were being sent were too much already (503).
    pub answers_refused: AtomicU64,
    /// Streams that were not opened, because there were too many.
    pub streams_refused: AtomicU64,
    /// Clients of streams that were let go, because they did not keep up.
    pub streams_dropped: AtomicU64,
}

/// The routes. Cheap to clone; all clones share what was rendered.
#[derive(Clone)]
pub struct Api {
    shared: Arc<routes::Shared>,
    limits: Limits,
}

impl Api {
    /// Answers from `sources`.
    pub fn new(sources: Sources, limits: Limits) -> Api {
        Api { shared: Arc::new(routes::Shared::new(sources, &limits)), limits }
    }

    /// For a TCP listener: read-only, behind the guard.
    pub fn over_tcp(&self, guard: Guard) -> Router {
        self.router(Some(guard))
    }

    /// For a Unix socket, whose permissions are its guard.
    pub fn over_socket(&self) -> Router {
        self.router(None)
    }

    /// What was lost or refused.
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.shared.counts)
    }

    fn router(&self, guard: Option<Guard>) -> Router {
        let writable = guard.is_none();
        let middleware = Middleware { guard, body_bytes: self.limits.body_bytes, counts: self.counts() };
        middleware.wrap(routes::router(Arc::clone(&self.shared), writable))
    }
}
