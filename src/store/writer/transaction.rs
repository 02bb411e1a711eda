//! What becomes of batches: one transaction for all of a group, and answers to who waits for them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::Writer;
use super::outage::{Doubt, Outage};
use crate::model::{AgentNumber, Batch, Recorded};
use crate::monitor::{NotRecorded, Reply, Stored};
use crate::store::backlog::Portion;
use crate::store::database::{Contents, FileId};
use crate::store::mark::Reached;
use crate::store::stats::add;
use crate::store::{Committed, StoreError, apply, query};

/// A batch and who waits for it.
pub(super) type Awaited = (Batch, Option<Reply>);

/// What batches did.
pub(super) struct AppliedAll {
    /// Each of them.
    pub(super) applied: Vec<apply::Applied>,
    /// The unresolved errors of every agent whose errors changed.
    pub(super) unresolved: Vec<(AgentNumber, u64)>,
    /// Whether an hour is over.
    pub(super) hour_over: bool,
    /// How far the database has come with them.
    pub(super) reached: Reached,
}

/// A transaction that failed.
pub(super) struct Failed<T> {
    pub(super) error: StoreError,
    /// What it did, if only its last step failed: then it may be on disk all the same.
    pub(super) done: Option<T>,
}

impl<T> From<StoreError> for Failed<T> {
    fn from(error: StoreError) -> Failed<T> {
        Failed { error, done: None }
    }
}

impl Writer {
    /// Stores batches in one transaction; one by one if one of them cannot be stored.
    pub(super) fn store(&mut self, mut batches: Vec<Awaited>) {
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
                self.upkeep.hour_over |= hour_over;
                self.prune_if_full();
                if self.reserve.was_used() {
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
    pub(super) fn write<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>, &mut apply::StatusNumbers) -> Result<T, StoreError>,
    ) -> Result<T, Failed<T>> {
        let path = self.path();
        if self.connection.is_some() && self.file != FileId::of(&path) {
            let moved = self.put_back();
            self.begin_outage(&moved);
            return Err(moved.into());
        }
        if self.connection.is_some() && self.contents != Contents::of(&path) {
            let overwritten = StoreError::Overwritten { path };
            self.begin_outage(&overwritten);
            return Err(overwritten.into());
        }
        let Some(connection) = &mut self.connection else { return Err(StoreError::Closed.into()) };
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
}

pub(super) fn store_all<'b>(
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
pub(super) fn unresolved(
    connection: &Connection,
    agents: BTreeSet<AgentNumber>,
) -> rusqlite::Result<Vec<(AgentNumber, u64)>> {
    agents.into_iter().map(|agent| Ok((agent, query::unresolved(connection, agent)?))).collect()
}
