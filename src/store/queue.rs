use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use super::owed::Owed;
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
    /// Too many are waiting. Its entries were told to the listener, its replies dropped.
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
    /// Of batches that were not taken.
    owed: Mutex<Owed>,
    /// Whether the last operation was not taken.
    full: AtomicBool,
}

/// Takes operations to the writer, in order. The writer ends when the last clone is gone.
#[derive(Clone)]
pub struct WriteHandle {
    queue: SyncSender<Op>,
    shared: Arc<Shared>,
}

impl WriteHandle {
    /// Queues an operation, without waiting.
    ///
    /// # Errors
    /// When the queue is full or the writer has ended: then what was to be stored is lost, and counted.
    pub fn submit(&self, mut op: Op) -> Result<(), NotTaken> {
        // Held while sending, so that what is owed goes before everything that is newer.
        let mut owed = self.shared.owed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Op::Store { batch, .. } = &mut op
            && !owed.is_empty()
        {
            std::mem::take(&mut *owed).settle(batch);
        }
        self.shared.stats.queue_length.fetch_add(1, Ordering::Relaxed);
        let sent = self.queue.try_send(op);
        self.shared.full.store(matches!(sent, Err(TrySendError::Full(_))), Ordering::Relaxed);
        let (op, why) = match sent {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(op)) => (op, NotTaken::Busy),
            Err(TrySendError::Disconnected(op)) => (op, NotTaken::Stopped),
        };
        self.shared.stats.queue_length.fetch_sub(1, Ordering::Relaxed);
        if let Op::Store { batch, reply } = op {
            let entries = self.shared.lose(batch, &mut owed);
            drop(owed);
            drop(reply);
            self.shared.tell(Committed { entries, ..Committed::default() });
        }
        Err(why)
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
        Arc::new(Shared { listener, stats: Arc::default(), owed: Mutex::default(), full: AtomicBool::new(false) });
    (WriteHandle { queue: sender, shared: Arc::clone(&shared) }, receiver, shared)
}

impl Shared {
    /// What batches that were not taken still owe.
    pub(super) fn take_owed(&self) -> Owed {
        std::mem::take(&mut *self.owed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts what is lost of a batch, remembers what must be, and returns the entries without ids.
    pub(super) fn lose(&self, mut batch: Batch, owed: &mut Owed) -> Vec<Recorded> {
        add(&self.stats.dropped_samples, batch.samples.len() + batch.host.len());
        if let Some(Write::Report(told)) = batch.write.take().map(|write| *write) {
            batch.entries.push(told.entry);
        }
        add(&self.stats.dropped_entries, batch.entries.len());
        add(&self.stats.dropped_runs, owed.absorb(&mut batch));
        batch.entries.into_iter().map(|entry| Recorded { id: None, entry }).collect()
    }

    /// Tells the listener, if there is something to tell.
    pub(super) fn tell(&self, committed: Committed) {
        if committed != Committed::default() {
            (self.listener)(committed);
        }
    }
}
