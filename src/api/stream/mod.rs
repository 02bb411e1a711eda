//! What happens, told as it happens. One task renders each thing once for all clients of a format; every client has a
//! short queue of its own, and is let go when it does not keep up. With no client there is no task.

mod filter;
mod message;
mod sse;
mod ws;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Bytes;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc};
use tokio::time::{MissedTickBehavior, interval};

use super::error::Problem;
use super::routes::Shared;
use super::{Counts, Limits};
use crate::feed::{Feed, Present, Update};
use crate::model::{Body, JournalLine, Replay, Snapshot, Transition};
use crate::supervise::blocking;
use filter::Filter;
use message::{Format, Message};

pub(super) use sse::sse;
pub(super) use ws::ws;

/// Messages that may wait for one client.
const QUEUE: usize = 256;
/// Bytes that may wait for one client beside the message it is at.
const QUEUE_BYTES: usize = 4 << 20;
/// How many missed lines of the journal are told again.
const REPLAY: u32 = 1_000;
/// With more changed agents than these, rendering must not hold up requests.
const MANY: usize = 50;

/// All streams.
pub(super) struct Hub {
    feed: Feed,
    seats: Arc<Semaphore>,
    heartbeat: Duration,
    clients: Mutex<Clients>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Clients {
    list: Vec<Client>,
    /// Whether a task tells them.
    told: bool,
}

/// A client, from the side of the one who tells.
struct Client {
    format: Format,
    filter: Filter,
    queue: mpsc::Sender<Arc<Message>>,
    waiting_bytes: Arc<AtomicUsize>,
}

/// A client, from the side of the one who listens. Dropped, it gives its seat back.
struct Subscription {
    filter: Filter,
    queue: mpsc::Receiver<Arc<Message>>,
    waiting_bytes: Arc<AtomicUsize>,
    /// The last line of the journal that it was told already.
    seen: i64,
    _seat: OwnedSemaphorePermit,
}

impl Hub {
    pub(super) fn new(feed: Feed, limits: &Limits, counts: Arc<Counts>) -> Hub {
        let seats = Arc::new(Semaphore::new(limits.streams));
        Hub { feed, seats, heartbeat: limits.heartbeat, clients: Mutex::default(), counts }
    }

    /// How many listen.
    pub(super) fn len(&self) -> usize {
        self.lock().list.iter().filter(|client| !client.queue.is_closed()).count()
    }

    /// A further client hears everything from now on.
    fn join(self: &Arc<Self>, format: Format, filter: Filter) -> Result<Subscription, Problem> {
        let Ok(seat) = Arc::clone(&self.seats).try_acquire_owned() else {
            self.counts.streams_refused.fetch_add(1, Ordering::Relaxed);
            return Err(Problem::unavailable("too many streams are open"));
        };
        let (queue, receiver) = mpsc::channel(QUEUE);
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let client = Client { format, filter: filter.clone(), queue, waiting_bytes: Arc::clone(&waiting_bytes) };
        let mut clients = self.lock();
        clients.list.push(client);
        if !std::mem::replace(&mut clients.told, true) {
            let (now, updates) = self.feed.follow();
            tokio::spawn(Broadcaster::new(Arc::clone(self), &now).run(updates));
        }
        Ok(Subscription { filter, queue: receiver, waiting_bytes, seen: 0, _seat: seat })
    }

    /// Whether somebody listens; if not, the task that asks must end.
    fn is_heard(&self) -> bool {
        let mut clients = self.lock();
        clients.list.retain(|client| !client.queue.is_closed());
        clients.told = !clients.list.is_empty();
        clients.told
    }

    fn listens(&self, format: Format) -> bool {
        self.lock().list.iter().any(|client| client.format == format)
    }

    fn tell(&self, format: Format, message: Message) {
        let message = Arc::new(message);
        let mut dropped = 0;
        self.lock().list.retain(|client| {
            let keeps = client.format != format || client.take(&message);
            dropped += u64::from(!keeps && !client.queue.is_closed());
            keeps
        });
        self.counts.streams_dropped.fetch_add(dropped, Ordering::Relaxed);
    }

    /// Lets everyone go: something was missed, and who comes back is told it from the database.
    fn drop_all(&self) {
        let gone = std::mem::take(&mut self.lock().list);
        self.counts.streams_dropped.fetch_add(gone.len() as u64, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().expect("no holder of this lock panics")
    }
}

impl Client {
    /// Whether it goes on listening.
    fn take(&self, message: &Arc<Message>) -> bool {
        if !self.filter.takes(message) {
            return !self.queue.is_closed();
        }
        let bytes = message.text.len();
        let waiting = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        (waiting == 0 || waiting + bytes <= QUEUE_BYTES) && self.queue.try_send(Arc::clone(message)).is_ok()
    }
}

impl Subscription {
    /// The next message that it was not told before; none when it was let go.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Arc<Message>>> {
        loop {
            let Some(message) = ready!(self.queue.poll_recv(cx)) else { return Poll::Ready(None) };
            self.waiting_bytes.fetch_sub(message.text.len(), Ordering::Relaxed);
            if message.id.is_none_or(|id| id > self.seen) {
                return Poll::Ready(Some(message));
            }
        }
    }

    async fn next(&mut self) -> Option<Arc<Message>> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// What was missed after this line, rendered in one piece each; from then on nothing of it is told again.
    async fn catch_up(&mut self, after: Option<i64>, format: Format, shared: &Shared) -> Result<Vec<Bytes>, Problem> {
        let Some(after) = after else { return Ok(Vec::new()) };
        let (look, missed) = (Arc::clone(&shared.sources.replay), self.filter.missed(after, REPLAY));
        let rendered = shared.answers.look_up("what a stream missed", move || {
            let Replay { after, gap, lines } = look(&missed)?;
            // The database knows of a line before the feed does: what the client has may be told again there.
            let last = lines.last().and_then(|line| line.recorded.id).unwrap_or(after);
            let gap = gap.map(|(from, to)| message::gap(format, from, to));
            let texts = lines.iter().map(|line| Message::line(format, line).text);
            Ok((last, gap.into_iter().chain(texts).collect()))
        });
        let (last, texts) = rendered.await?;
        self.seen = last;
        shared.answers.admit(texts)
    }
}

/// Tells the clients of a hub, as long as there are any.
struct Broadcaster {
    hub: Arc<Hub>,
    /// What the clients know.
    known: Arc<Snapshot>,
}

impl Broadcaster {
    fn new(hub: Arc<Hub>, now: &Present) -> Broadcaster {
        Broadcaster { hub, known: Arc::clone(&now.snapshot) }
    }

    async fn run(mut self, mut updates: broadcast::Receiver<Update>) {
        let mut heartbeat = interval(self.hub.heartbeat);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        heartbeat.reset(); // not at once
        loop {
            tokio::select! {
                update = updates.recv() => match update {
                    Ok(Update::Snapshot(snapshot)) => self.tell_changes(snapshot).await,
                    Ok(Update::Recorded(lines)) => lines.iter().for_each(|line| self.tell_line(line)),
                    Err(RecvError::Lagged(_) | RecvError::Closed) => self.hub.drop_all(),
                },
                _ = heartbeat.tick() => for format in Format::ALL {
                    self.hub.tell(format, Message::heartbeat(format));
                },
            }
            if !self.hub.is_heard() {
                return;
            }
        }
    }

    async fn tell_changes(&mut self, now: Arc<Snapshot>) {
        let before = std::mem::replace(&mut self.known, now);
        let now = Arc::clone(&self.known);
        let changes = message::Changes::between(&before, now);
        if changes.is_empty() {
            return;
        }
        let formats = Format::ALL.map(|format| self.hub.listens(format).then_some(format));
        let many = changes.agents.len() > MANY;
        let render = move || formats.map(|format| format.map(|format| (format, Message::changes(format, &changes))));
        let messages = if many { blocking(render).await } else { render() };
        for (format, message) in messages.into_iter().flatten() {
            self.hub.tell(format, message);
        }
    }

    fn tell_line(&self, line: &JournalLine) {
        // A reminder is for receivers: nothing has changed.
        if matches!(&line.recorded.entry.body, Body::Alert(note) if note.transition == Transition::Repeated) {
            return;
        }
        for format in Format::ALL {
            if self.hub.listens(format) {
                self.hub.tell(format, Message::line(format, line));
            }
        }
    }
}
