//! What the writer does when the database cannot be used, and until all is well again.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rusqlite::Connection;

use super::{AppliedAll, Failed, Writer, reached, store_all};
use crate::clock::monotonic;
use crate::model::{Batch, Mono, Recorded, Write};
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
const SHORT_PATIENCE: Duration = Duration::from_millis(200);

/// The database cannot be used.
pub(super) struct Outage {
    reason: Arc<str>,
    cause: Cause,
    wait: Duration,
    next_try: Mono,
}

/// What opening it again must begin with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// The database itself is broken.
    Damaged,
    /// There is no room on the disk, or in what this user may take of it.
    Full,
    Other,
}

/// A transaction of which it is not known whether it is on disk: its last step failed, and what of it is in the log already
/// is found there when that is read again.
pub(super) struct Doubt {
    /// How far the database is with it, and only with it.
    far: Reached,
    /// Its entries, with the ids that they have then.
    entries: Vec<Recorded>,
    /// How many of them wait, before all others.
    waiting: usize,
}

impl Doubt {
    pub(super) fn new(batches: &[&Batch], applied: &[apply::Applied], waiting: usize) -> Doubt {
        let far = batches.iter().copied().zip(applied).map(reached).fold(Reached::default(), Reached::max);
        let entries = batches.iter().zip(applied).flat_map(|(batch, applied)| {
            let told = applied.ids.iter().zip(&batch.entries).map(|(id, entry)| (*id, entry));
            let report = match batch.write.as_deref().zip(applied.outcome) {
                Some((Write::Report(told), outcome)) => outcome.new_entry().map(|id| (id, &told.entry)),
                _ => None,
            };
            told.chain(report)
        });
        let entries = entries.map(|(id, entry)| Recorded { id: Some(id), entry: entry.clone() }).collect();
        Doubt { far, entries, waiting }
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
    pub(super) fn interrupt(&mut self, error: &StoreError) {
        self.connection = None;
        self.rolling = None;
        self.pruning = None;
        self.spare = false;
        let reason: Arc<str> = error.chain().into();
        let mut cause = if error.is_damage() {
            Cause::Damaged
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
                if outage.cause == Cause::Damaged {
                    // Until it is replaced, whatever keeps it from being so.
                    cause = Cause::Damaged;
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
            self.interrupt(&StoreError::Damaged { path: self.path(), what: reason });
            self.outage.iter_mut().for_each(Outage::try_now);
        }
    }

    /// In an outage, when it is time: opens the database again and stores what waits. Only when that is on disk the outage
    /// is over, since a full disk can still be opened.
    pub(super) fn mend(&mut self) {
        let Some(outage) = self.outage.as_ref().filter(|outage| outage.next_try <= monotonic()) else { return };
        let (cause, reason) = (outage.cause, Arc::clone(&outage.reason));
        if let Err(error) = self.open_again(cause, &reason) {
            return self.interrupt(&error);
        }
        let probed = self.write(|transaction, _| apply::probe(transaction));
        while probed.is_ok() && self.connection.is_some() && !self.backlog.is_empty(self.spare) {
            self.write_back(Portion::Much);
        }
        let Some(connection) = &self.connection else { return };
        if let Err(error) = connection.busy_timeout(database::PATIENCE) {
            return self.interrupt(&error.into());
        }
        self.outage = None;
        tracing::info!("the database can be used again");
        if cause == Cause::Full {
            self.prune_again();
        }
        self.provide();
    }

    fn open_again(&mut self, cause: Cause, reason: &str) -> Result<(), StoreError> {
        // Those who read must let go of a file that was moved, or will be. Of another they must not: where nothing can be
        // written, it could not be opened again.
        if cause == Cause::Damaged || self.file != FileId::of(&self.path()) {
            self.reader.renew();
        }
        match cause {
            Cause::Damaged => {
                let entries = damage::replace(self.lock.directory(), reason)?;
                // What was found in the old one says nothing of the new one.
                self.reader.renew();
                if let Some(outage) = &mut self.outage {
                    outage.cause = Cause::Other;
                }
                self.shared.tell(Committed { entries, ..Committed::default() });
            }
            Cause::Full if self.reserve.give_up() => {
                self.strained = true;
                self.shared.stats.reserve_bytes.store(0, Ordering::Relaxed);
                tracing::warn!("the disk is full: space that was held in reserve is used");
            }
            Cause::Full | Cause::Other => {}
        }
        let connection = database::reopen(self.lock.directory())?;
        connection.busy_timeout(SHORT_PATIENCE)?;
        if cause == Cause::Full
            && let Err(error) = database::cut_log(&connection)
        {
            // What the log takes could have been used for what comes. Whether it works without shows next.
            tracing::warn!(reason = error.chain(), "the log of the database could not be cut");
        }
        self.resolve(query::reached(&connection)?);
        let entries = mark::go_on(&connection, self.mark.reached())?;
        self.connection = Some(connection);
        self.file = FileId::of(&self.path());
        self.limit_log();
        self.shared.tell(Committed { entries, ..Committed::default() });
        Ok(())
    }

    /// What was in doubt is on disk, if the database is as far as it: then it need not wait any more.
    fn resolve(&mut self, have: Reached) {
        let Some(Doubt { far, entries, waiting }) = self.doubt.take() else { return };
        if far != Reached::default() && have.max(far) == have {
            self.backlog.forget(far.tick, waiting);
            self.mark.reach(far);
            self.shared.tell(Committed { late: entries, ..Committed::default() });
        }
    }

    /// Stores some of what waits, and tells those entries once more, with their ids.
    pub(super) fn write_back(&mut self, portion: Portion) {
        let batches = self.backlog.next(portion, self.spare);
        match self.write(|transaction, words| store_all(transaction, words, batches.iter())) {
            Ok(AppliedAll { applied, unresolved, hour_over }) => {
                self.hour_over |= hour_over;
                let far = batches.iter().zip(&applied).map(reached).fold(Reached::default(), Reached::max);
                self.mark.reach(far);
                let ids = applied.into_iter().flat_map(|applied| applied.ids);
                let entries = batches.into_iter().flat_map(|batch| batch.entries);
                let late = ids.zip(entries).map(|(id, entry)| Recorded { id: Some(id), entry }).collect();
                self.shared.tell(Committed { late, unresolved, ..Committed::default() });
            }
            Err(Failed { error, .. }) if error.blames_data() && portion == Portion::Much => {
                self.backlog.put_back(batches);
                // Until the one is met that is at fault.
                while self.connection.is_some() && !self.backlog.is_empty(self.spare) {
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
                let all: Vec<&Batch> = batches.iter().collect();
                self.doubt = done.map(|done| Doubt::new(&all, &done.applied, entries));
                self.backlog.put_back(batches);
            }
        }
        self.show_backlog();
    }

    /// Sees to the reserve, and says whether all is well.
    pub(super) fn provide(&mut self) {
        if self.outage.is_some() {
            return;
        }
        let wanted = self.limits.map_or(self.reserve.wanted(), |(limits, _)| limits.reserve_bytes());
        if let Err(error) = self.reserve.make(wanted)
            && !self.strained
        {
            tracing::warn!(%error, "no space can be held in reserve for a full disk");
        }
        self.strained &= !self.reserve.is_whole();
        self.shared.stats.reserve_bytes.store(self.reserve.bytes(), Ordering::Relaxed);
        self.say_how_it_is();
    }

    fn say_how_it_is(&self) {
        let log_mib = self.log_bytes() >> 20;
        let trouble = if self.outage.is_some() {
            return;
        } else if self.strained {
            Some("the disk is full: what is stored now is stored in the space that was held in reserve".into())
        } else if self.spare {
            Some(
                format!(
                    "somebody reads the database for so long that its log has grown to {log_mib} MiB: samples wait"
                )
                .into(),
            )
        } else {
            None
        };
        self.shared.stats.set_trouble(trouble);
    }

    /// Sees how large the files are.
    pub(super) fn measure(&self) {
        let length = |path: &Path| std::fs::symlink_metadata(path).map_or(0, |metadata| metadata.len());
        let path = self.path();
        let (database, log) = (length(&path), length(&damage::with(&path, "-wal")));
        self.shared.stats.database_size_bytes.store(database + log, Ordering::Relaxed);
        self.shared.stats.log_bytes.store(log, Ordering::Relaxed);
    }

    fn log_bytes(&self) -> u64 {
        self.shared.stats.log_bytes.load(Ordering::Relaxed)
    }

    /// Sees whether the log grows beyond what it may, when it had `before` bytes before the last transaction.
    pub(super) fn watch_log(&mut self, before: u64) {
        let Some((limits, _)) = self.limits else { return };
        let (log, warn) = (self.log_bytes(), limits.long_log());
        if log >= warn && before < warn {
            tracing::warn!(mib = log >> 20, "the database's log grows: somebody reads the database for very long");
        }
        if log < limits.longest_log() || self.spare {
            return;
        }
        self.spare = true;
        self.shorten_log();
        if self.spare {
            tracing::error!(
                mib = log >> 20,
                "the database's log is too long: samples wait in memory until it can be cut"
            );
            self.say_how_it_is();
        }
    }

    /// Of the database and its log, as they were seen last.
    pub(super) fn size(&self) -> u64 {
        self.shared.stats.database_size_bytes.load(Ordering::Relaxed)
    }

    /// Tries to cut the log that somebody held up; when it is short again, nothing need wait any more.
    pub(super) fn shorten_log(&mut self) {
        let Some(connection) = &self.connection else { return };
        if let Err(error) = cut_now(connection) {
            return self.interrupt(&error);
        }
        self.measure();
        if self.limits.is_none_or(|(limits, _)| self.log_bytes() < limits.long_log()) {
            self.spare = false;
            self.say_how_it_is();
        }
    }

    /// Of the database and its log, the larger one: bytes.
    fn largest_file(&self) -> u64 {
        self.log_bytes().max(self.size().saturating_sub(self.log_bytes()))
    }
}

/// Cuts the log if nobody reads it; waits for nobody.
fn cut_now(connection: &Connection) -> Result<(), StoreError> {
    connection.busy_timeout(Duration::ZERO)?;
    let cut = database::cut_log(connection);
    connection.busy_timeout(database::PATIENCE)?;
    cut
}
