//! Watches the AI agents of one host: what the kernel shows of them, beside what their broker's registry claims.
//!
//! The program `agent-monitor` is this crate with a command line. Another program can have the same daemon inside: its
//! own process is never a member of a tree, its children may be.
//!
//! ```
//! use agent_monitor::config::{Directories, Source};
//! use agent_monitor::daemon::Parts;
//! use agent_monitor::model::{AgentId, EventReport, Pid};
//! use agent_monitor::{Config, Daemon};
//! use tokio::sync::oneshot;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let directory = directory.path();
//! let mut child = std::process::Command::new("sleep").arg("60").spawn()?;
//! let (agent, pid) = (AgentId::new("coder")?, Pid::new(child.id().into()).ok_or("no pid")?);
//!
//! let mut config = Config::defaults(&Directories { state: directory.join("state"), runtime: directory.into() });
//! config.registry.sources = vec![Source::Flags(vec![(agent.clone(), pid)])];
//! config.api.listen.set_port(0); // any that is free
//!
//! let daemon = Daemon::bind(config, Parts::system()).await?;
//! let handle = daemon.handle();
//! let (stop, stopped) = oneshot::channel::<()>();
//! let running = tokio::spawn(daemon.run(async { drop(stopped.await) }));
//!
//! let receipt = handle.record_event(agent.clone(), EventReport::new("task", "ticket 7 begins")).await?;
//! let kept = handle.history(agent).await?.ok_or("never seen")?;
//! assert!(kept.events.iter().any(|event| event.id == Some(receipt.id)));
//!
//! drop(stop);
//! running.await??;
//! # child.kill()?;
//! # child.wait()?;
//! # Ok(())
//! # }
//! ```
//!
//! `examples/embedded.rs` has the whole of it: two children, all that is told of them, the dashboard. It needs a runtime of
//! tokio with I/O and time; threads of its own watch and store, so that the runtime is never held up.
//!
//! # Coming from the monitoring service of the broker
//!
//! | There | Here |
//! |---|---|
//! | `start()` | [`Daemon::bind`], which says what is in the way, then [`Daemon::run`] |
//! | `stop()` | the future that [`Daemon::run`] was given completes; it returns when all parts have ended |
//! | `logEvent(agentId, type, message, metadata)` | [`Handle::record_event`], done when it is on disk |
//! | `logError(agentId, error, metadata)` | [`Handle::record_error`], and [`Handle::resolve`] when it is dealt with |
//! | `getDashboardData()` | [`Handle::latest`] as values, [`Handle::dashboard`] as the same JSON |
//! | `getAgentDashboard(agentId)` | [`Handle::history`], and the agent in [`Handle::latest`] |
//! | `checkAlerts()` | nothing to call: rules are looked at each [`Alerts::interval`](config::Alerts::interval); what fires is in [`Snapshot::alerts`] |
//! | `cleanup()` | nothing to call: what is older than [`Storage::retention`](config::Storage::retention), or too much, goes by itself |
//! | `on('metrics')` | [`Handle::subscribe`]: [`Update::Snapshot`](feed::Update::Snapshot), when anything changed |
//! | `on('event')`, `on('error')`, `on('alert')` | the same: [`Update::Recorded`](feed::Update::Recorded), with a [`Body`](model::Body) of that kind |
//!
//! Agents come and go with the configuration's sources: a registry file, a URL, or [`Handle::reload`] with others.
//!
//! # Without the daemon
//!
//! [`Monitor`] is the heart alone, without threads, files or a clock: it takes what a [`ProcessSource`] shows and the time, and
//! returns what is to be stored and said. [`testing`] has a machine in memory to drive it on.

pub mod alerts;
pub mod api;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod delivery;
pub mod discovery;
pub mod endpoint;
mod engine;
pub mod feed;
pub mod fingerprint;
pub mod ingest;
pub mod intake;
mod ledger;
mod messages;
pub mod model;
pub mod monitor;
pub mod notify;
pub mod openmetrics;
pub mod process;
pub mod recognise;
pub mod redact;
pub mod registry;
pub mod retention;
mod rollup;
mod sqlite;
pub mod store;
pub mod supervise;
pub mod testing;
mod timers;
mod tree;
pub mod verdict;
pub mod web;

pub use clock::Clock;
pub use config::Config;
pub use daemon::{Daemon, Handle};
pub use model::Snapshot;
pub use monitor::Monitor;
pub use process::ProcessSource;
