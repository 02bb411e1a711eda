//! What can be changed while everything runs, and what is told about it.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use tokio::sync::watch;

use super::ReloadError;
use super::discover::Discovery;
use super::dispatch::{Dispatch, Route};
use crate::api::{Guard, ReceiverFacts, Reloads};
use crate::clock::Clock;
use crate::config::{Config, is_guarded};
use crate::ingest::Socket;
use crate::model::in_one_line;
use crate::notify::Notifier;
use crate::web::read_secret;

/// The configuration in force, and those who hear of another one.
pub(super) struct Live {
    config: Mutex<Arc<Config>>,
    /// Held for one reload after the other.
    turn: Mutex<()>,
    reloads: Mutex<Reloads>,
    clock: Arc<dyn Clock>,
    discovery: Arc<Discovery>,
    dispatch: Arc<Dispatch>,
    guard: Guard,
    /// The broker's database in which messages are counted.
    messages: watch::Sender<Option<PathBuf>>,
    /// Gone when the daemon has ended.
    socket: Weak<Socket>,
    log_lines_dropped: OnceLock<Box<dyn Fn() -> u64 + Send + Sync>>,
}

impl Live {
    pub(super) fn new(
        config: Arc<Config>,
        clock: Arc<dyn Clock>,
        discovery: Arc<Discovery>,
        dispatch: Arc<Dispatch>,
        guard: Guard,
        socket: &Arc<Socket>,
    ) -> Live {
        let socket = Arc::downgrade(socket);
        let messages = watch::Sender::new(config.messages.database.clone());
        let (reloads, log_lines_dropped) = (Mutex::default(), OnceLock::new());
        Live {
            config: Mutex::new(config),
            turn: Mutex::default(),
            reloads,
            clock,
            discovery,
            dispatch,
            guard,
            messages,
            socket,
            log_lines_dropped,
        }
    }

    /// The configuration in force.
    pub(super) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.lock().expect("no holder of this lock panics"))
    }

    /// Brings another configuration into force. Returns the keys whose new value must wait for the next start.
    pub(super) fn reload(&self, config: Config) -> Result<Vec<&'static str>, ReloadError> {
        let _turn = self.turn.lock().expect("no holder of this lock panics");
        let outcome = self.apply(config);
        let mut reloads = self.reloads.lock().expect("no holder of this lock panics");
        reloads.last_at = Some(self.clock.now().wall);
        match outcome {
            Ok(need_restart) => {
                reloads.done += 1;
                reloads.error = None;
                reloads.need_restart.clone_from(&need_restart);
                Ok(need_restart)
            }
            Err(error) => {
                reloads.failed += 1;
                reloads.error = Some(in_one_line(&error));
                Err(error)
            }
        }
    }

    /// Counts a reload that did not come this far.
    pub(super) fn reload_failed(&self, reason: &str) {
        let mut reloads = self.reloads.lock().expect("no holder of this lock panics");
        reloads.last_at = Some(self.clock.now().wall);
        reloads.failed += 1;
        reloads.error = Some(reason.into());
    }

    fn apply(&self, mut config: Config) -> Result<Vec<&'static str>, ReloadError> {
        let running = self.config();
        let socket = self.socket.upgrade().ok_or(ReloadError::Stopped)?;
        let mut need_restart = Vec::new();
        keep(&mut config.storage.directory, &running.storage.directory, "storage.directory", &mut need_restart);
        keep(&mut config.api.listen, &running.api.listen, "api.listen", &mut need_restart);
        keep(&mut config.ingest.socket, &running.ingest.socket, "ingest.socket", &mut need_restart);
        let token = config.api.token_file.as_deref().map(read_secret).transpose()?;
        if !is_guarded(config.api.listen, token.is_some()) {
            return Err(ReloadError::Unguarded { listen: config.api.listen });
        }
        socket.permit(config.ingest.mode, config.ingest.group.as_deref())?;
        let config = Arc::new(config);
        if let Err(error) = self.discovery.change(&config) {
            let _ = socket.permit(running.ingest.mode, running.ingest.group.as_deref()); // as it was
            return Err(error.into());
        }
        self.dispatch.change(&config.alerts.receivers);
        self.guard.change(&config.api.allowed_hosts, token);
        self.messages.send_if_modified(|database| {
            let changed = *database != config.messages.database;
            database.clone_from(&config.messages.database);
            changed
        });
        *self.config.lock().expect("no holder of this lock panics") = config;
        Ok(need_restart)
    }

    /// Where messages are counted, now and from now on.
    pub(super) fn message_database(&self) -> watch::Receiver<Option<PathBuf>> {
        self.messages.subscribe()
    }

    /// How delivery of alerts is doing, receiver by receiver.
    pub(super) fn receivers(&self) -> Vec<ReceiverFacts> {
        let facts = |route: Route| ReceiverFacts {
            name: Notifier::name(&route.receiver),
            error: route.progress.trouble(),
            delivered: route.progress.delivered.load(Ordering::Relaxed),
            retried: route.progress.retried.load(Ordering::Relaxed),
            refused: route.progress.refused.load(Ordering::Relaxed),
            lost: route.progress.lost.load(Ordering::Relaxed),
            waiting: route.progress.waiting.load(Ordering::Relaxed),
        };
        self.dispatch.routes().into_iter().map(facts).collect()
    }

    pub(super) fn reloads(&self) -> Reloads {
        self.reloads.lock().expect("no holder of this lock panics").clone()
    }

    /// From now on this counts the lines of the log that are lost. The first one stays.
    pub(super) fn count_lost_log_lines(&self, count: impl Fn() -> u64 + Send + Sync + 'static) {
        let _ = self.log_lines_dropped.set(Box::new(count));
    }

    pub(super) fn log_lines_dropped(&self) -> Option<u64> {
        self.log_lines_dropped.get().map(|count| count())
    }
}

/// Keeps the running value of what cannot be changed while running, and names it.
fn keep<T: Clone + PartialEq>(new: &mut T, running: &T, key: &'static str, need_restart: &mut Vec<&'static str>) {
    if new != running {
        new.clone_from(running);
        need_restart.push(key);
    }
}
