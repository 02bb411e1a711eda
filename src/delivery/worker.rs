//! Delivers to one receiver, and tries again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{self, MissedTickBehavior, interval};

use super::Progress;
use super::outbox::{Cursor, Next};
use crate::clock::Clock;
use crate::config::Receiver;
use crate::feed::Feed;
use crate::model::{Batch, Delivered, Recorded};
use crate::notify::{Notification, Notifier, NotifyError, Origin, Outcome};
use crate::store::{Op, Reader, WriteHandle};
use crate::supervise::blocking;
use crate::timers::back_off;

/// The first wait after a failure; each further failure doubles it, …
const BACK_OFF_FIRST: Duration = Duration::from_secs(1);

/// … up to this.
const BACK_OFF_LAST: Duration = Duration::from_secs(300);

/// What could not be delivered for so long is given up.
const GIVEN_UP: Duration = Duration::from_secs(24 * 3600);

/// How often those who want to hear again of what fires do.
const REFRESH: Duration = Duration::from_secs(60);

/// After a start it is not known at once what fires.
const FIRST_REFRESH: Duration = Duration::from_secs(5);

/// At most so many alerts in one message of those.
const REFRESH_AT_ONCE: usize = 500;

/// So many entries of the journal are read at once.
const PAGE: u32 = 100;

/// What the workers have in common.
pub struct Context {
    /// Who tells.
    pub origin: Origin,
    /// The journal.
    pub journal: Reader,
    /// Where progress is kept.
    pub store: WriteHandle,
    /// What fires now.
    pub feed: Feed,
    /// For the age of what waits.
    pub clock: Arc<dyn Clock>,
}

/// Delivers to one receiver. Whatever that does, it is waited for here alone.
pub struct Worker {
    notifier: Notifier,
    /// What the log calls the receiver.
    name: String,
    /// What the database calls it.
    key: Arc<str>,
    progress: Arc<Progress>,
    cursor: Arc<Mutex<Cursor>>,
    context: Arc<Context>,
    seed: u64,
    /// Whether the journal may have what this receiver was not told and the cursor will not show; so at the beginning.
    behind: bool,
}

impl Worker {
    /// For the receiver that the database calls `key`. `cursor` shows what is told from now on; what was told before is read
    /// in the journal. It is the receiver's, not this worker's: the one that replaces it begins with what this one has not
    /// passed, once this one has let go of it. `seed` decides how waits are spread.
    ///
    /// # Errors
    /// When there is no way to the receiver.
    pub fn new(
        receiver: Receiver,
        key: Arc<str>,
        progress: Arc<Progress>,
        cursor: Arc<Mutex<Cursor>>,
        context: Arc<Context>,
        seed: u64,
    ) -> Result<Worker, NotifyError> {
        let name = Notifier::name(&receiver);
        let notifier = Notifier::new(receiver, context.origin.clone())?;
        Ok(Worker { notifier, name, key, progress, cursor, context, seed, behind: true })
    }

    /// Delivers for ever. May be given up at any moment: what was not noted as delivered is delivered again.
    pub async fn run(mut self) {
        let cursor = Arc::clone(&self.cursor);
        let mut cursor = cursor.lock().await;
        let mut refresh = interval(REFRESH);
        refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
        refresh.reset_after(FIRST_REFRESH);
        let mut unread = 0;
        loop {
            if self.behind {
                self.behind = !self.catch_up(&cursor).await;
                unread = if self.behind { unread + 1 } else { 0 };
            }
            let (behind, wait) = (self.behind, self.wait(unread));
            let next = tokio::select! {
                biased; // what happened goes before what goes on
                next = cursor.next() => next,
                () = time::sleep(wait), if behind => continue,
                _ = refresh.tick(), if self.notifier.wants_refreshing() => {
                    self.refresh().await;
                    continue;
                }
            };
            self.count_waiting(&cursor);
            match next {
                Next::Told(told) => {
                    // It was read in the journal already, or will be.
                    let in_journal = told.id.is_some_and(|id| self.behind || id <= self.up_to());
                    if !in_journal {
                        self.deliver(&told, &cursor).await;
                    }
                    cursor.pass();
                }
                // Who is behind reads it in the journal.
                Next::Stored(id) if self.behind || id <= self.up_to() => {}
                Next::Stored(id) => self.come_to(id),
                Next::Missed { unstored } => {
                    add(&self.progress.lost, unstored);
                    self.behind = true;
                }
                Next::Anew => self.progress.up_to.store(0, Ordering::Relaxed),
            }
        }
    }

    fn count_waiting(&self, cursor: &Cursor) {
        self.progress.waiting.store(cursor.waiting(), Ordering::Relaxed);
    }

    fn wait(&self, failures: u32) -> Duration {
        back_off(failures, BACK_OFF_FIRST, BACK_OFF_LAST, self.seed)
    }

    fn up_to(&self) -> i64 {
        self.progress.up_to.load(Ordering::Relaxed)
    }

    /// Delivers what the journal has and this receiver was not told. False if the journal cannot be read now: what is
    /// in no journal must not wait for that.
    async fn catch_up(&mut self, cursor: &Cursor) -> bool {
        loop {
            let (journal, up_to) = (self.context.journal.clone(), self.up_to());
            match blocking(move || journal.alerts_after(up_to, PAGE)).await {
                Ok(page) if page.is_empty() => return true,
                Ok(page) => {
                    for told in page {
                        self.deliver(&told, cursor).await;
                    }
                }
                Err(error) => {
                    let error = error.chain();
                    tracing::warn!(receiver = %self.name, error, "cannot read in the journal what is to be told");
                    return false;
                }
            }
        }
    }

    /// Tells one thing until it is taken, refused, or a day old.
    async fn deliver(&mut self, told: &Recorded, cursor: &Cursor) {
        let Some(notification) = Notification::of(told) else { return };
        let mut failures = 0;
        loop {
            self.count_waiting(cursor);
            match self.notifier.tell(&notification, self.context.clock.now().wall).await {
                Outcome::Taken(_) => {
                    self.works();
                    add(&self.progress.delivered, 1);
                    break;
                }
                Outcome::Refused(reason) => {
                    self.fails(&reason, "a receiver refuses what it is told");
                    add(&self.progress.refused, 1);
                    break;
                }
                Outcome::Failed { reason, retry_after } => {
                    failures += 1;
                    self.fails(&reason, "a receiver cannot be told; it is tried again");
                    if self.context.clock.now().wall.since(notification.at) >= GIVEN_UP {
                        tracing::warn!(receiver = %self.name, alert = %notification.rule, "given up after a day");
                        add(&self.progress.lost, 1);
                        break;
                    }
                    add(&self.progress.retried, 1);
                    time::sleep(self.wait(failures).max(retry_after.unwrap_or_default().min(GIVEN_UP))).await;
                }
            }
        }
        if let Some(id) = told.id {
            self.come_to(id);
        }
    }

    /// Writes down that everything up to this entry of the journal need not be told any more.
    fn come_to(&self, id: i64) {
        self.progress.up_to.store(id, Ordering::Relaxed);
        let delivered = vec![Delivered { receiver: Arc::clone(&self.key), up_to: Some(id) }];
        // What the store cannot take now it remembers.
        let _ = self.context.store.submit(Op::Store { batch: Batch { delivered, ..Batch::default() }, reply: None });
    }

    /// Tells what fires, once: in a minute it is told again in any case.
    async fn refresh(&mut self) {
        let now = self.context.clock.now().wall;
        let snapshot = self.context.feed.present().snapshot;
        for some in snapshot.alerts.chunks(REFRESH_AT_ONCE) {
            let firing: Vec<Notification> = some.iter().map(|alert| Notification::still(alert, now)).collect();
            match self.notifier.refresh(&firing, now).await {
                Outcome::Taken(_) => self.works(),
                Outcome::Refused(reason) | Outcome::Failed { reason, .. } => {
                    self.fails(&reason, "a receiver cannot be told what fires; it is tried again");
                    return;
                }
            }
        }
    }

    fn works(&self) {
        if self.progress.set_trouble(None).is_some() {
            tracing::info!(receiver = %self.name, "the receiver is told again");
        }
    }

    /// Said once, not at each attempt.
    fn fails(&self, reason: &Arc<str>, what: &str) {
        if self.progress.set_trouble(Some(Arc::clone(reason))).is_none() {
            tracing::warn!(receiver = %self.name, %reason, "{what}");
        }
    }
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}
