//! What the writer does when the database cannot be used, and until all is well again.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::Writer;
use super::transaction::{AppliedAll, Failed, store_all, unresolved};
use crate::clock::monotonic;
use crate::model::{AgentNumber, Batch, Mono, Recorded, Write};
use crate::store::backlog::Portion;
use crate::store::database::FileId;
use crate::store::mark::Reached;
use crate::store::reserve::refuses;
use crate::store::stats::add;
use crate::store::{Committed, StoreError, apply, damage, database, mark, query};

/// After trouble the database is opened again this much later, then twice as much, …
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// … up to this.
const LONGEST_WAIT: Duration = Duration::from_secs(8);

/// How long a lock of somebody else is waited for in an outage. Who asks meanwhile is to hear no, not to wait.
const SHORT_BUSY_TIMEOUT: Duration = Duration::from_millis(200);

/// The database cannot be used.
pub(super) struct Outage {
    reason: Arc<str>,
    cause: Cause,
    wait: Duration,
    next_try: Mono,
}

/// What opening it again must begin with.
#[derive(Clone, PartialEq, Eq)]
enum Cause {
    /// The database itself is broken: what was found.
    Damaged(Arc<str>),
    /// Somebody else wrote into the file.
    Overwritten,
    /// There is no room on the disk, or in what this user may take of it.
    Full,
    Other,
}

/// A transaction of which it is not known whether it is on disk: its last step failed, and what of it is in the log already
/// is found there when that is read again.
pub(super) struct Doubt {
    /// How far the database is with it, and only with it.
    reached: Reached,
    /// Its entries, with the ids that they have then.
    entries: Vec<Recorded>,
    /// How many of them wait, before all others.
    waiting: usize,
    /// Whose errors changed.
    errors_of: BTreeSet<AgentNumber>,
    /// Whether an hour was over with it.
    hour_over: bool,
}

impl Doubt {
    pub(super) fn new<'b>(batches: impl Iterator<Item = &'b Batch>, done: &AppliedAll, waiting: usize) -> Doubt {
        let entries = batches.zip(&done.applied).flat_map(|(batch, applied)| {
            let told = applied.ids.iter().copied().zip(&batch.entries);
            let report = match batch.write.as_deref().zip(applied.outcome) {
                Some((Write::Report(told), outcome)) => outcome.new_entry().map(|id| (id, &told.entry)),
                _ => None,
            };
            told.chain(report)
        });
        let entries = entries.map(|(id, entry)| Recorded { id: Some(id), entry: entry.clone() }).collect();
        let errors_of = done.unresolved.iter().map(|(agent, _)| *agent).collect();
        Doubt { reached: done.reached, entries, waiting, errors_of, hour_over: done.hour_over }
    }
}

impl Outage {
    pub(super) fn wait_left(&self) -> Duration {
        self.next_try.since(monotonic())
    }

    pub(super) fn try_now(&mut self) {
        self.next_try = Mono::default();
    }

    /// What is told of it: why, and whether the disk is full.
    pub(super) fn told(&self) -> (Arc<str>, bool) {
        (Arc::clone(&self.reason), self.cause == Cause::Full)
    }
}

impl Writer {
    /// The file that is written is no longer in its place. As long as it is open, all that was in it can be read: where
    /// nothing else is, it is written there once more. Another file there is left as it is, and looked at when it is
    /// opened.
    pub(super) fn put_back(&self) -> StoreError {
        let path = self.path();
        if let Some(connection) = &self.connection
            && std::fs::symlink_metadata(&path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
        {
            match database::copy(connection, &path) {
                Ok(()) => tracing::error!(path = %path.display(), "the database was gone, and was written once more"),
                Err(error) => tracing::error!(reason = error.chain(), "the database is gone"),
            }
        }
        StoreError::Moved { path }
    }

    /// Begins an outage, or lets it go on: whatever state the connection is in, it is not used again.
    pub(super) fn begin_outage(&mut self, error: &StoreError) {
        let overwritten = matches!(error, StoreError::Overwritten { .. });
        if let Some(connection) = self.connection.take()
            && (overwritten || error.damage().is_some())
        {
            // The file is kept as it is: closing would write its log back into it, by what was known of both.
            let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        }
        self.upkeep.rolling = None;
        self.upkeep.pruning = None;
        self.samples_wait = false;
        let reason: Arc<str> = error.chain().into();
        let mut cause = if let Some(what) = error.damage() {
            Cause::Damaged(what)
        } else if overwritten {
            Cause::Overwritten
        } else if error.is_full() || error.is_io() && refuses(self.lock.directory(), self.largest_file()) {
            Cause::Full
        } else {
            Cause::Other
        };
        let wait = match &self.outage {
            None => {
                tracing::error!(%reason, "the database cannot be used; what is to be stored waits");
                FIRST_WAIT
            }
            Some(outage) => {
                match (&outage.cause, &cause) {
                    // Until it is replaced, or looked at anew, whatever keeps it from being so.
                    (Cause::Damaged(_), _) | (Cause::Overwritten, Cause::Full | Cause::Other) => {
                        cause = outage.cause.clone();
                    }
                    _ => {}
                }
                (outage.wait * 2).min(LONGEST_WAIT)
            }
        };
        self.shared.stats.set_trouble(Some(Arc::clone(&reason)));
        self.outage = Some(Outage { reason, cause, wait, next_try: monotonic() + wait });
    }

    /// Somebody who read the database may have met damage, or looked for it.
    pub(super) fn look_for_damage(&mut self) {
        if let Some(reason) = self.reader.take_damage()
            && self.outage.is_none()
        {
            self.begin_outage(&StoreError::Damaged { path: self.path(), what: reason });
            self.outage.iter_mut().for_each(Outage::try_now);
        }
    }

    /// In an outage, when it is time: opens the database again and stores what waits. Only when that is on disk the outage
    /// is over, since a full disk can still be opened.
    pub(super) fn recover(&mut self) {
        let Some(outage) = self.outage.as_ref().filter(|outage| outage.next_try <= monotonic()) else { return };
        let cause = outage.cause.clone();
        if let Err(error) = self.open_again(&cause) {
            return self.begin_outage(&error);
        }
        let probed = self.write(|transaction, _| apply::probe(transaction));
        while probed.is_ok() && self.connection.is_some() && !self.backlog.is_empty(self.samples_wait) {
            self.write_back(Portion::Much);
        }
        let Some(connection) = &self.connection else { return };
        if let Err(error) = connection.busy_timeout(database::BUSY_TIMEOUT) {
            return self.begin_outage(&error.into());
        }
        self.outage = None;
        tracing::info!("the database can be used again");
        if let Some((limits, then)) = self.upkeep.unpruned.take() {
            // Not left until the next time: until the first one there is no limit.
            self.begin_pruning(limits, then);
        } else {
            // It may have been interrupted; and where the disk is full, it makes room.
            self.prune_again();
        }
        self.keep_reserve();
    }

    fn open_again(&mut self, cause: &Cause) -> Result<(), StoreError> {
        // Those who read must let go of a file that was moved, or will be. Of another they must not: where nothing can be
        // written, it could not be opened again.
        if *cause == Cause::Overwritten {
            self.reader.let_go();
        } else if matches!(cause, Cause::Damaged(_)) || self.file != FileId::of(&self.path()) {
            self.reader.renew();
        }
        match cause {
            Cause::Damaged(what) => {
                let told = damage::replace(self.lock.directory(), what)?;
                // What was found in the old one says nothing of the new one.
                self.reader.renew();
                self.outage.iter_mut().for_each(|outage| outage.cause = Cause::Other);
                self.shared.tell(Committed { entries: vec![told], ..Committed::default() });
            }
            Cause::Full if self.reserve.give_up() => {
                self.shared.stats.reserve_bytes.store(0, Ordering::Relaxed);
                tracing::warn!("the disk is full: space that was held in reserve is used");
            }
            Cause::Full | Cause::Overwritten | Cause::Other => {}
        }
        let connection = database::reopen(&self.path())?;
        connection.busy_timeout(SHORT_BUSY_TIMEOUT)?;
        if *cause == Cause::Full
            && let Err(error) = database::cut_log(&connection)
        {
            // What the log takes could have been used for what comes. Whether it works without shows next.
            tracing::warn!(reason = error.chain(), "the log of the database could not be cut");
        }
        if *cause == Cause::Overwritten {
            // Nobody had it open, so SQLite has read its log from the beginning, and writes all of it back once more:
            // https://sqlite.org/walformat.html#recovery. Whether that makes the file whole is for a look at all of it to say.
            self.reader.suspect();
            self.outage.iter_mut().for_each(|outage| outage.cause = Cause::Other);
        }
        self.settle_doubt(&connection)?;
        let entries = mark::go_on(&connection, self.mark.reached())?.into_iter().collect();
        self.connection = Some(connection);
        self.file = FileId::of(&self.path());
        self.measure();
        self.limit_log();
        self.shared.tell(Committed { entries, ..Committed::default() });
        Ok(())
    }

    /// What was in doubt is on disk, if the database is as far as it: then it need not wait any more.
    fn settle_doubt(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let have = query::reached(connection)?;
        let Some(Doubt { reached, entries, waiting, errors_of, hour_over }) = self.doubt.take() else { return Ok(()) };
        // What was dealt with adds no entry to know it by: whose errors may have changed are counted, changed or not.
        let unresolved = unresolved(connection, errors_of)?;
        self.upkeep.hour_over |= hour_over;
        let mut late = Vec::new();
        if reached != Reached::default() && have.max(reached) == have {
            self.backlog.forget(reached.tick, waiting);
            self.mark.reach(reached);
            late = entries;
        }
        self.shared.tell(Committed { late, unresolved, ..Committed::default() });
        Ok(())
    }

    /// Stores some of what waits, and tells those entries once more, with their ids.
    pub(super) fn write_back(&mut self, portion: Portion) {
        let batches = self.backlog.next(portion, self.samples_wait);
        match self.write(|transaction, statuses| store_all(transaction, statuses, batches.iter())) {
            Ok(AppliedAll { applied, unresolved, hour_over, reached }) => {
                self.upkeep.hour_over |= hour_over;
                self.mark.reach(reached);
                let stored = applied.into_iter().zip(batches);
                let late = stored.flat_map(|(applied, batch)| apply::recorded(applied.ids, batch.entries)).collect();
                self.shared.tell(Committed { late, unresolved, ..Committed::default() });
            }
            Err(Failed { error, .. }) if error.blames_data() && portion == Portion::Much => {
                self.backlog.put_back(batches);
                // Until the one is met that is at fault.
                while self.connection.is_some() && !self.backlog.is_empty(self.samples_wait) {
                    self.write_back(Portion::Least);
                }
            }
            Err(Failed { error, .. }) if error.blames_data() => {
                tracing::error!(reason = error.chain(), "something that waited cannot be stored at all");
                for batch in batches {
                    add(&self.shared.stats.dropped_samples, batch.samples.len() + batch.host.len());
                    add(&self.shared.stats.dropped_entries, batch.entries.len());
                    add(&self.shared.stats.dropped_runs, batch.runs.len() + batch.leftovers.len());
                }
            }
            Err(Failed { done, .. }) => {
                let entries = batches.iter().map(|batch| batch.entries.len()).sum();
                self.doubt = done.map(|done| Doubt::new(batches.iter(), &done, entries));
                self.backlog.put_back(batches);
            }
        }
        self.show_backlog();
    }

    /// Holds as much space in reserve as there should be, and shows whether all is well.
    pub(super) fn keep_reserve(&mut self) {
        if self.outage.is_some() {
            return;
        }
        let wanted = self.upkeep.limits.map_or(self.reserve.wanted(), |(limits, _)| limits.reserve_bytes());
        if let Err(error) = self.reserve.make(wanted)
            && !self.reserve.was_used()
        {
            tracing::warn!(%error, "no space can be held in reserve for a full disk");
        }
        self.shared.stats.reserve_bytes.store(self.reserve.bytes(), Ordering::Relaxed);
        self.show_trouble();
    }

    pub(super) fn show_trouble(&self) {
        let trouble = if self.outage.is_some() {
            return;
        } else if self.reserve.was_used() {
            Some("the disk is full: what is stored now is stored in the space that was held in reserve".into())
        } else if self.samples_wait {
            let mib = self.log_bytes() >> 20;
            let what = format!("somebody reads the database for so long that its log has grown to {mib} MiB");
            Some(format!("{what}: samples wait").into())
        } else {
            None
        };
        self.shared.stats.set_trouble(trouble);
    }
}
