mod log;
mod outage;
mod upkeep;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::backlog::{Backlog, Portion};
use super::database::{Contents, FileId};
use super::expire::Pruning;
use super::mark::{Mark, Reached};
use super::queue::{Op, Overflow, Shared};
use super::reserve::Reserve;
use super::rolling::Rolling;
use super::stats::add;
use super::{Committed, FILE_NAME, Reader, StateLock, StoreError, apply, database, query};
use crate::clock::monotonic;
use crate::model::{AgentNumber, Batch, Now, Recorded, Timestamp};
use crate::monitor::{Answer, NotRecorded, Reply, Stored};
use crate::retention::{Believed, Limits};

use outage::{Doubt, Outage};

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
    /// Whether the reserve was given up, and is to be made again before all is well.
    reserve_used: bool,
    believed: Option<Believed>,
    /// Whether there may be hours that are over and have no rows yet.
    hour_over: bool,
    rolling: Option<Rolling>,
    pruning: Option<Pruning>,
    /// How much is kept, and the time when that was last asked for; none before the first time.
    limits: Option<(Limits, Timestamp)>,
    /// What was asked for when nothing could be deleted.
    unpruned: Option<(Limits, Now)>,
    /// Who waits for what is in progress.
    flushing: Vec<Answer<()>>,
    /// Last, so that the database is closed before another daemon may open it.
    lock: StateLock,
}

/// A batch and who waits for it.
type Awaited = (Batch, Option<Reply>);

/// What batches did.
struct AppliedAll {
    /// Each of them.
    applied: Vec<apply::Applied>,
    /// The unresolved errors of every agent whose errors changed.
    unresolved: Vec<(AgentNumber, u64)>,
    /// Whether an hour is over.
    hour_over: bool,
    /// How far the database has come with them.
    reached: Reached,
}

/// A transaction that failed.
struct Failed<T> {
    error: StoreError,
    /// What it did, if only its last step failed: then it may be on disk all the same.
    done: Option<T>,
}

impl<T> From<StoreError> for Failed<T> {
    fn from(error: StoreError) -> Failed<T> {
        Failed { error, done: None }
    }
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
            reserve_used: false,
            believed: None,
            hour_over: true,
            rolling: None,
            pruning: None,
            limits: None,
            unpruned: None,
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
                } else if self.hour_over {
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
        let upkeep = !self.samples_wait && (self.hour_over || self.pruning.is_some());
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

    /// Stores batches in one transaction; one by one if one of them cannot be stored.
    fn store(&mut self, mut batches: Vec<Awaited>) {
        // What waits is older.
        while self.outage.is_none() && !self.backlog.is_empty(self.samples_wait) {
            self.write_back(Portion::Much);
        }
        if self.samples_wait {
            for (batch, _) in &mut batches {
                let dropped = self.backlog.absorb_pass(batch);
                self.shared.count(dropped);
            }
            self.shorten_log();
            batches.retain(|(batch, reply)| reply.is_some() || !batch.is_empty());
            if batches.is_empty() {
                return;
            }
        }
        let stored = self
            .write(|transaction, statuses| store_all(transaction, statuses, batches.iter().map(|(batch, _)| batch)));
        match stored {
            Err(Failed { error, .. }) if error.blames_data() && batches.len() > 1 => {
                for one in batches {
                    self.store(vec![one]);
                }
            }
            Err(Failed { error, done }) => {
                if let Some(done) = done {
                    let waiting = batches.iter().filter(|(_, reply)| reply.is_none());
                    let waiting = waiting.map(|(batch, _)| batch.entries.len()).sum();
                    self.doubt = Some(Doubt::new(batches.iter().map(|(batch, _)| batch), &done, waiting));
                }
                self.defer(batches, &error);
            }
            Ok(AppliedAll { applied, unresolved, hour_over, reached }) => {
                self.hour_over |= hour_over;
                self.prune_if_full();
                if self.reserve_used {
                    self.keep_reserve();
                }
                self.mark.reach(reached);
                self.answer(batches, applied, unresolved);
            }
        }
    }

    /// Tells what is on disk, to everybody and to whoever waits.
    fn answer(&self, batches: Vec<Awaited>, applied: Vec<apply::Applied>, unresolved: Vec<(AgentNumber, u64)>) {
        let mut all = Vec::new();
        let mut replies = Vec::new();
        for ((batch, reply), applied) in batches.into_iter().zip(applied) {
            let recorded = apply::recorded(applied.ids, batch.entries);
            let answer = match batch.write.zip(applied.outcome) {
                Some((write, outcome)) => {
                    let (new, answer) = outcome.told(*write);
                    all.extend(recorded.chain(new));
                    answer
                }
                None if reply.is_some() => {
                    let entries: Vec<Recorded> = recorded.collect();
                    all.extend_from_slice(&entries);
                    Ok(Stored { entries, duplicate: false })
                }
                None => {
                    all.extend(recorded);
                    continue;
                }
            };
            replies.extend(reply.map(|reply| (reply, answer)));
        }
        self.shared.tell(Committed { entries: all, unresolved, ..Committed::default() });
        for (reply, answer) in replies {
            reply.send(answer);
        }
    }

    /// Lets batches wait that met trouble, and tells those who wait for them that they are not stored. Of one that is itself
    /// at fault what happened is lost, and what it says of how things are is tried once more.
    fn defer(&mut self, batches: Vec<Awaited>, error: &StoreError) {
        let (reason, full) = self.outage.as_ref().map_or_else(|| (error.chain().into(), false), Outage::told);
        let at_fault = error.blames_data();
        if at_fault {
            tracing::error!(%reason, "something could not be stored");
        }
        let mut entries = Vec::new();
        let mut replies = Vec::new();
        for (batch, reply) in batches {
            entries.extend(self.shared.defer(batch, at_fault || reply.is_some(), &mut self.backlog));
            replies.extend(reply);
        }
        self.show_backlog();
        self.shared.tell(Committed { entries, ..Committed::default() });
        for reply in replies {
            reply.send(Err(NotRecorded::Storage { reason: Arc::clone(&reason), full }));
        }
    }

    /// Does `work` as one transaction. Trouble with the database begins an outage.
    fn write<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>, &mut apply::StatusNumbers) -> Result<T, StoreError>,
    ) -> Result<T, Failed<T>> {
        let path = self.path();
        if self.connection.is_some() && self.file != FileId::of(&path) {
            let moved = self.put_back();
            self.begin_outage(&moved);
            return Err(moved.into());
        }
        let Some(connection) = &mut self.connection else { return Err(StoreError::Closed.into()) };
        if self.contents != Contents::of(&path) {
            self.reader.suspect();
        }
        let done = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|error| Failed::from(StoreError::from(error)))
            // Dropped when `work` fails, and thereby rolled back.
            .and_then(|transaction| {
                let done = work(&transaction, &mut self.statuses)?;
                match transaction.commit() {
                    Ok(()) => Ok(done),
                    Err(error) => Err(Failed { error: error.into(), done: Some(done) }),
                }
            });
        match &done {
            Ok(_) => {
                add(&self.shared.stats.commits, 1);
                let before = self.shared.stats.log_bytes.load(Ordering::Relaxed);
                self.measure();
                self.watch_log(before);
            }
            Err(Failed { error, .. }) => {
                // Some of them may have been made in what was rolled back.
                self.statuses = apply::StatusNumbers::default();
                if !error.blames_data() {
                    self.begin_outage(error);
                }
            }
        }
        done
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
        self.samples_wait = false;
        while self.outage.is_none() && !self.backlog.is_empty(false) {
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

fn store_all<'b>(
    transaction: &Transaction<'_>,
    statuses: &mut apply::StatusNumbers,
    batches: impl Iterator<Item = &'b Batch>,
) -> Result<AppliedAll, StoreError> {
    let (mut applied, mut errors_of) = (Vec::new(), BTreeSet::new());
    let (mut hour_over, mut reached) = (false, Reached::default());
    for batch in batches {
        let mut one = apply::batch(transaction, statuses, batch)?;
        errors_of.append(&mut one.errors_of);
        hour_over |= one.hour_over;
        reached = reached.max(one.reached);
        applied.push(one);
    }
    Ok(AppliedAll { applied, unresolved: unresolved(transaction, errors_of)?, hour_over, reached })
}

/// How many errors of each of these agents are unresolved.
fn unresolved(connection: &Connection, agents: BTreeSet<AgentNumber>) -> rusqlite::Result<Vec<(AgentNumber, u64)>> {
    agents.into_iter().map(|agent| Ok((agent, query::unresolved(connection, agent)?))).collect()
}
