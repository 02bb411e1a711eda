//! The only one who writes: takes what is asked for, in order, and between it keeps the database in shape.

mod log;
mod outage;
mod transaction;
mod upkeep;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};

use rusqlite::Connection;

use super::backlog::{Backlog, Portion};
use super::database::{Contents, FileId};
use super::mark::Mark;
use super::queue::{Op, Overflow, Shared};
use super::reserve::Reserve;
use super::stats::add;
use super::{FILE_NAME, Reader, StateLock, apply, database};
use crate::clock::monotonic;
use crate::monitor::Answer;

use outage::{Doubt, Outage};
use transaction::Awaited;
use upkeep::Upkeep;

/// Operations that share a transaction at most, so that the first of them is answered soon.
const OPS_PER_TRANSACTION: usize = 64;

/// The only one who writes. Trouble with the database never ends it: what is to be stored waits in memory, the database is
/// opened again, and it goes on.
///
/// ```text
///        a transaction fails                            opened again, and what waits is on disk
///  well ────────────────────► outage ──► recovering ──────────────────────────────────────────► well
///    │  a reader or a check meets damage    │ full: gives up the reserve · damaged: a new file
///    │                                      └─► outage, for twice as long
///    └──────► samples wait: somebody keeps the log from being written back, all else is stored
/// ```
pub struct Writer {
    connection: Option<Connection>,
    statuses: apply::StatusNumbers,
    queue: Receiver<Op>,
    shared: Arc<Shared>,
    reader: Reader,
    /// What waits for the database.
    backlog: Backlog,
    outage: Option<Outage>,
    /// What may be on disk or not.
    doubt: Option<Doubt>,
    /// Whether samples wait although the database works, since its log is too long.
    samples_wait: bool,
    /// Which file is written.
    file: Option<FileId>,
    /// How it was after the last transaction: only those change it.
    contents: Option<Contents>,
    /// How far it has come, for the next start.
    mark: Mark,
    reserve: Reserve,
    upkeep: Upkeep,
    /// Who waits for what is in progress.
    flushing: Vec<Answer<()>>,
    /// Last, so that the database is closed before another daemon may open it.
    lock: StateLock,
}

impl Writer {
    pub(super) fn new(
        lock: StateLock,
        connection: Connection,
        queue: Receiver<Op>,
        shared: Arc<Shared>,
        reader: Reader,
        mark: Mark,
    ) -> Writer {
        let path = lock.directory().join(FILE_NAME);
        let mut writer = Writer {
            connection: Some(connection),
            statuses: apply::StatusNumbers::default(),
            queue,
            shared,
            reader,
            backlog: Backlog::default(),
            outage: None,
            doubt: None,
            samples_wait: false,
            file: FileId::of(&path),
            contents: None,
            mark,
            reserve: Reserve::find(lock.directory()),
            upkeep: Upkeep::new(),
            flushing: Vec::new(),
            lock,
        };
        writer.measure();
        writer
    }

    /// Works until every handle is gone and the queue is empty, then closes the database, for reading too.
    pub fn run(mut self) {
        let mut group = Vec::new();
        while self.receive(&mut group) {
            self.look_for_damage();
            self.recover();
            if !group.is_empty() {
                self.perform(&mut group);
            }
            self.take_overflow();
            // Between any two groups at most one slice, so that this holds up nobody. Rows are made first: what is
            // deleted before is in none.
            if self.busy() {
                let begun = monotonic();
                if !self.backlog.is_empty(self.samples_wait) {
                    self.write_back(Portion::Much);
                } else if self.upkeep.hour_over {
                    self.roll();
                } else {
                    self.prune();
                }
                let took = u64::try_from(monotonic().since(begun).as_nanos()).unwrap_or(u64::MAX);
                self.shared.stats.longest_slice_ns.fetch_max(took, Ordering::Relaxed);
            }
            if !self.busy() {
                self.flushing.drain(..).for_each(|answer| answer.send(()));
            }
        }
        self.close();
    }

    /// Whether there is more to do than what is asked for.
    fn busy(&self) -> bool {
        // Neither makes a log shorter that somebody holds up.
        let upkeep = !self.samples_wait && self.upkeep.is_due();
        self.outage.is_none() && (upkeep || !self.backlog.is_empty(self.samples_wait))
    }

    /// Waits for operations: as long as it takes, or until there is something else to do. False after the last.
    fn receive(&mut self, group: &mut Vec<Op>) -> bool {
        let first = if self.busy() {
            match self.queue.try_recv() {
                Ok(op) => Some(op),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => return false,
            }
        } else if let Some(outage) = &self.outage {
            match self.queue.recv_timeout(outage.wait_left()) {
                Ok(op) => Some(op),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        } else {
            match self.queue.recv() {
                Ok(op) => Some(op),
                Err(_) => return false,
            }
        };
        group.extend(first);
        // What came while the last transaction was synced shares the next one.
        while !group.is_empty()
            && group.len() < OPS_PER_TRANSACTION
            && let Ok(op) = self.queue.try_recv()
        {
            group.push(op);
        }
        self.shared.stats.queue_length.fetch_sub(group.len() as u64, Ordering::Relaxed);
        true
    }

    fn perform(&mut self, group: &mut Vec<Op>) {
        let mut batches: Vec<Awaited> = Vec::new();
        for op in group.drain(..) {
            match op {
                Op::Store { batch, reply } => batches.push((batch, reply)),
                Op::Prune { limits, now } => self.begin_pruning(limits, now),
                Op::Flush { answer } => self.flushing.push(answer),
            }
        }
        if !batches.is_empty() {
            self.store(batches);
        }
    }

    /// Takes in what found the queue full.
    fn take_overflow(&mut self) {
        let Overflow { mut backlog, prune } = self.shared.take_overflow();
        while !backlog.is_empty(false) {
            for batch in backlog.next(Portion::Much, false) {
                let dropped = self.backlog.absorb(batch);
                self.shared.count(dropped);
            }
        }
        if let Some((limits, now)) = prune {
            self.begin_pruning(limits, now);
        }
        self.show_backlog();
    }

    fn show_backlog(&self) {
        self.shared.stats.waiting_samples.store(self.backlog.samples() as u64, Ordering::Relaxed);
        self.shared.stats.waiting_entries.store(self.backlog.entries() as u64, Ordering::Relaxed);
    }

    fn path(&self) -> PathBuf {
        self.lock.directory().join(FILE_NAME)
    }

    /// Stores what still waits, writes the log back into the database and removes it, so that the file alone is a copy.
    fn close(mut self) {
        self.take_overflow();
        if let Some(outage) = &mut self.outage {
            outage.try_now();
            self.recover();
        }
        while self.outage.is_none() && !self.backlog.is_empty(false) {
            // However long the log grows: each transaction looks at it anew.
            self.samples_wait = false;
            self.write_back(Portion::Much);
        }
        add(&self.shared.stats.dropped_samples, self.backlog.samples());
        add(&self.shared.stats.dropped_entries, self.backlog.entries());
        if !self.backlog.is_empty(false) {
            let (samples, entries) = (self.backlog.samples(), self.backlog.entries());
            tracing::error!(samples, entries, "what waited for the database is lost");
        }
        let Some(connection) = self.connection.take() else { return };
        self.reader.close();
        if let Err(error) = database::close(connection) {
            let reason = error.chain();
            tracing::warn!(
                reason,
                "the database was not closed in order; nothing is lost, the next start reads its log"
            );
        }
    }
}
