//! Keeps a worker delivering to each receiver of alerts that the configuration names, and replaces workers as it changes.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio_util::sync::CancellationToken;

use crate::config::Receiver;
use crate::delivery::{Context, Cursor, Outbox, Progress, Worker};
use crate::model::{Batch, Delivered, in_one_line};
use crate::notify::{self, Notifier, NotifyError};
use crate::store::{Op, WriteHandle};
use crate::supervise::{Failure, keep_at_work};

/// The receivers in force, and how far each has come.
pub(super) struct Dispatch {
    outbox: Outbox,
    routes: Mutex<Vec<Route>>,
    changed: watch::Sender<()>,
}

/// The way to one receiver.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) receiver: Receiver,
    key: Arc<str>,
    pub(super) progress: Arc<Progress>,
    /// Its place in the outbox, which outlives its workers: what could not be stored is nowhere else.
    cursor: Arc<AsyncMutex<Cursor>>,
}

impl Dispatch {
    /// Goes on where the last daemon stopped. Receivers that are new hear what happens from now on: where they begin is
    /// written down before anything that could be told, so that nothing is lost should this daemon end soon.
    pub(super) fn new(receivers: &[Receiver], known: Vec<Delivered>, outbox: Outbox, store: &WriteHandle) -> Dispatch {
        let mut known: HashMap<Arc<str>, i64> =
            known.into_iter().filter_map(|one| Some((one.receiver, one.up_to?))).collect();
        let last = outbox.last_entry();
        let routes = routes(receivers, |receiver, key| {
            // Never beyond the end: the database may have been put back to an earlier state.
            let up_to = known.remove(&key).map_or(last, |up_to| up_to.min(last));
            Route::new(receiver, key, up_to, &outbox)
        });
        note(store, &routes, known.into_keys());
        Dispatch { outbox, routes: Mutex::new(routes), changed: watch::Sender::new(()) }
    }

    /// Other receivers are configured. Those that stay go on where they are.
    pub(super) fn change(&self, receivers: &[Receiver]) {
        let mut present = self.lock();
        let last = self.outbox.last_entry();
        let before = std::mem::take(&mut *present);
        *present = routes(receivers, |receiver, key| match before.iter().find(|route| route.key == key) {
            Some(route) => Route { receiver, ..route.clone() },
            None => Route::new(receiver, key, last, &self.outbox),
        });
        drop(present);
        self.changed.send_replace(());
    }

    /// The receivers in force.
    pub(super) fn routes(&self) -> Vec<Route> {
        self.lock().clone()
    }

    /// Runs the workers until `stop` fires.
    ///
    /// # Errors
    /// When one of them panics.
    pub(super) async fn run(self: Arc<Self>, context: Context, stop: CancellationToken) -> Result<(), Failure> {
        let context = Arc::new(context);
        // Those of the start are written down by then.
        let mut noted: Option<Vec<Arc<str>>> = None;
        let wanted = || {
            let routes = self.routes();
            if let Some(before) = noted.replace(routes.iter().map(|route| Arc::clone(&route.key)).collect()) {
                let gone = before.into_iter().filter(|key| routes.iter().all(|route| route.key != *key));
                note(&context.store, &routes, gone);
            }
            // A receiver of which something else changed needs another worker, and goes on where it was.
            routes.into_iter().map(|route| ((Arc::clone(&route.key), route.receiver.clone()), route)).collect()
        };
        let mut seed = u64::from(std::process::id());
        let begin = |route: Route, stop: CancellationToken| {
            seed += 1;
            let worker = route.worker(&context, seed).inspect_err(|error| {
                let (receiver, reason) = (Notifier::name(&route.receiver), in_one_line(error));
                tracing::error!(receiver, %reason, "a receiver cannot be used");
                route.progress.set_trouble(Some(reason));
            });
            let worker = worker.ok()?;
            Some(async move {
                stop.run_until_cancelled(worker.run()).await;
                Ok(())
            })
        };
        keep_at_work(self.changed.subscribe(), stop, wanted, begin).await
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Route>> {
        self.routes.lock().expect("no holder of this lock panics")
    }
}

impl Route {
    /// To one that was told everything up to this entry of the journal, and hears what is put into the outbox from now on.
    fn new(receiver: Receiver, key: Arc<str>, up_to: i64, outbox: &Outbox) -> Route {
        let (progress, cursor) = (Arc::new(Progress::new(up_to)), Arc::new(AsyncMutex::new(outbox.cursor())));
        Route { receiver, key, progress, cursor }
    }

    fn worker(&self, context: &Arc<Context>, seed: u64) -> Result<Worker, NotifyError> {
        let (progress, cursor) = (Arc::clone(&self.progress), Arc::clone(&self.cursor));
        Worker::new(self.receiver.clone(), Arc::clone(&self.key), progress, cursor, Arc::clone(context), seed)
    }
}

/// One for each receiver; the same kind and address twice is one receiver.
fn routes(receivers: &[Receiver], mut route: impl FnMut(Receiver, Arc<str>) -> Route) -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::new();
    for receiver in receivers {
        let key = notify::key(receiver);
        if routes.iter().all(|route| route.key != key) {
            routes.push(route(receiver.clone(), key));
        }
    }
    routes
}

/// Writes down where receivers are, and forgets others.
fn note(store: &WriteHandle, routes: &[Route], gone: impl Iterator<Item = Arc<str>>) {
    let place = |route: &Route| Delivered {
        receiver: Arc::clone(&route.key),
        up_to: Some(route.progress.up_to.load(Ordering::Relaxed)),
    };
    let gone = gone.map(|receiver| Delivered { receiver, up_to: None });
    let delivered: Vec<Delivered> = routes.iter().map(place).chain(gone).collect();
    if !delivered.is_empty() {
        // What the store cannot take now it remembers.
        let _ = store.submit(Op::Store { batch: Batch { delivered, ..Batch::default() }, reply: None });
    }
}
