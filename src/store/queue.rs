//! The way to the writer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use super::backlog::{Backlog, Dropped};
use super::stats::add;
use super::{Committed, Listener, StoreStats};
use crate::model::{Batch, Now, Recorded, Write};
use crate::monitor::{Answer, Reply};
use crate::retention::Limits;

/// Operations that may wait. The heart sends one a step; a burst of reports sends one each.
const QUEUE_LENGTH: usize = 256;

/// Something to be done to the database.
#[expect(clippy::large_enum_variant, reason = "nearly all are the large one")]
pub enum Op {
    /// Store this, all or nothing.
    Store {
        /// What.
        batch: Batch,
        /// Hears what became of it, after it is on disk.
        reply: Option<Reply>,
    },
    /// Delete what is too old, if the clock can be believed, and what is too much, in between the other operations.
    Prune {
        /// How much is kept.
        limits: Limits,
        /// When this was asked for.
        now: Now,
    },
    /// Say when everything before this is done: on disk, or told to be lost; deleted.
    Flush {
        /// Hears it.
        answer: Answer<()>,
    },
}

/// Why an operation was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotTaken {
    /// Too many are waiting. Its entries were told to the listener, its reply dropped.
    #[error("the database is too slow: too much waits to be written")]
    Busy,
    /// The writer has ended.
    #[error("the writer of the database has ended")]
    Stopped,
}

/// What the handles and the writer have in common.
pub(super) struct Shared {
    listener: Listener,
    pub(super) stats: Arc<StoreStats>,
    /// What found the queue full, to be done when the queue is empty.
    overflow: Mutex<Overflow>,
    /// Whether the last operation was not taken.
    full: AtomicBool,
}

/// What found the queue full.
#[derive(Default)]
pub(super) struct Overflow {
    /// To be stored.
    pub(super) backlog: Backlog,
    /// What deleting was asked for, last.
    pub(super) prune: Option<(Limits, Now)>,
}

/// Takes operations to the writer, in order. The writer ends when the last clone is gone.
#[derive(Clone)]
pub struct WriteHandle {
    queue: SyncSender<Op>,
    shared: Arc<Shared>,
}

impl WriteHandle {
    /// Queues an operation, without waiting. What finds the queue full waits elsewhere, as much as there is room for,
    /// unless somebody waits for it: that one is told at once.
    ///
    /// # Errors
    /// When the queue is full and somebody waits, or the writer has ended: then what happened is told, and counted as lost.
    pub fn submit(&self, op: Op) -> Result<(), NotTaken> {
        // Held while sending, so that nothing overtakes what waits.
        let mut overflow = self.shared.overflow.lock().unwrap_or_else(PoisonError::into_inner);
        let behind = matches!(op, Op::Store { .. }) && !overflow.backlog.is_empty(false);
        let sent = if behind {
            Err(TrySendError::Full(op))
        } else {
            self.shared.stats.queue_length.fetch_add(1, Ordering::Relaxed);
            let sent = self.queue.try_send(op);
            if sent.is_err() {
                self.shared.stats.queue_length.fetch_sub(1, Ordering::Relaxed);
            }
            sent
        };
        self.shared.full.store(matches!(sent, Err(TrySendError::Full(_))), Ordering::Relaxed);
        let (op, why) = match sent {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(op)) => (op, NotTaken::Busy),
            Err(TrySendError::Disconnected(op)) => (op, NotTaken::Stopped),
        };
        let (batch, reply) = match op {
            Op::Store { batch, reply } => (batch, reply),
            Op::Prune { limits, now } if why == NotTaken::Busy => {
                overflow.prune = Some((limits, now));
                return Ok(());
            }
            Op::Prune { .. } | Op::Flush { .. } => return Err(why),
        };
        let waits = reply.is_none() && why == NotTaken::Busy;
        let entries = self.shared.defer(batch, !waits, &mut overflow.backlog);
        drop(overflow);
        drop(reply);
        self.shared.tell(Committed { entries, ..Committed::default() });
        if waits { Ok(()) } else { Err(why) }
    }

    /// Whether what is submitted is stored.
    ///
    /// # Errors
    /// Why not.
    pub fn works(&self) -> Result<(), Arc<str>> {
        if let Some(reason) = self.shared.stats.trouble() {
            return Err(reason);
        }
        if self.shared.full.load(Ordering::Relaxed) {
            return Err(NotTaken::Busy.to_string().into());
        }
        Ok(())
    }
}

/// A queue, its two ends, and what they share.
pub(super) fn queue(listener: Listener) -> (WriteHandle, Receiver<Op>, Arc<Shared>) {
    let (sender, receiver) = sync_channel(QUEUE_LENGTH);
    let shared =
        Arc::new(Shared { listener, stats: Arc::default(), overflow: Mutex::default(), full: AtomicBool::new(false) });
    (WriteHandle { queue: sender, shared: Arc::clone(&shared) }, receiver, shared)
}

impl Shared {
    /// What found the queue full, once all that is older was taken from that.
    pub(super) fn take_overflow(&self) -> Overflow {
        let mut overflow = self.overflow.lock().unwrap_or_else(PoisonError::into_inner);
        // Nothing is put into the queue while this is held.
        let emptied = self.stats.queue_length.load(Ordering::Relaxed) == 0;
        if emptied { std::mem::take(&mut *overflow) } else { Overflow::default() }
    }

    /// Lets a batch wait, as far as there is room, and returns what happened, to be told without ids. Of one that is
    /// `refused`, because somebody hears so, only what it says of how things are waits.
    pub(super) fn defer(&self, mut batch: Batch, refused: bool, backlog: &mut Backlog) -> Vec<Recorded> {
        let mut told = Vec::new();
        if refused {
            told.append(&mut batch.entries);
            add(&self.stats.dropped_samples, batch.samples.len());
            (batch.tick, batch.samples) = (None, Vec::new());
        }
        if let Some(Write::Report(report)) = batch.write.take().map(|write| *write) {
            told.push(report.entry);
        }
        add(&self.stats.dropped_entries, told.len());
        told.extend_from_slice(&batch.entries);
        self.count(backlog.absorb(batch));
        told.into_iter().map(|entry| Recorded { id: None, entry }).collect()
    }

    /// Counts what found no room.
    pub(super) fn count(&self, dropped: Dropped) {
        add(&self.stats.dropped_samples, dropped.samples);
        add(&self.stats.dropped_entries, dropped.entries);
        add(&self.stats.dropped_runs, dropped.runs);
    }

    /// Tells the listener, if there is something to tell.
    pub(super) fn tell(&self, committed: Committed) {
        if committed != Committed::default() {
            (self.listener)(committed);
        }
    }
}
