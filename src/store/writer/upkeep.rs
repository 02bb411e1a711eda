//! What the writer does between what is asked for: summing up, and deleting.

use super::Writer;
use super::transaction::unresolved;
use crate::model::{Now, Timestamp};
use crate::retention::{Believed, Limits};
use crate::store::expire::{Pruning, used_bytes};
use crate::store::rolling::Rolling;
use crate::store::stats::add;
use crate::store::{Committed, apply, query};

/// What is to be summed up or deleted, and how far that is.
pub(super) struct Upkeep {
    believed: Option<Believed>,
    /// Whether there may be hours that are over and have no rows yet.
    pub(super) hour_over: bool,
    pub(super) rolling: Option<Rolling>,
    pub(super) pruning: Option<Pruning>,
    /// How much is kept, and the time when that was last asked for; none before the first time.
    pub(super) limits: Option<(Limits, Timestamp)>,
    /// What was asked for when nothing could be deleted.
    pub(super) unpruned: Option<(Limits, Now)>,
}

impl Upkeep {
    /// Nothing was asked for yet; what the last daemon left may be an hour without rows.
    pub(super) fn new() -> Upkeep {
        Upkeep { believed: None, hour_over: true, rolling: None, pruning: None, limits: None, unpruned: None }
    }

    /// Whether there is something to do.
    pub(super) fn is_due(&self) -> bool {
        self.hour_over || self.pruning.is_some()
    }
}

impl Writer {
    /// Makes one slice of the rows of an hour that is over.
    pub(super) fn roll(&mut self) {
        let begun = match (self.upkeep.rolling.take(), &self.connection) {
            (None, Some(connection)) => Rolling::find(connection),
            (begun, _) => Ok(begun),
        };
        let rolled = begun.and_then(|begun| match begun {
            None => Ok(None),
            Some(mut stretch) => {
                let more = self.write(|transaction, _| stretch.slice(transaction)).map_err(|failed| failed.error)?;
                Ok(Some((stretch, more)))
            }
        });
        match rolled {
            Ok(None) => self.upkeep.hour_over = false,
            Ok(Some((stretch, more))) => self.upkeep.rolling = more.then_some(stretch),
            // To be tried again after an outage, or when the next hour is over.
            Err(error) => {
                self.upkeep.hour_over = self.outage.is_some();
                tracing::warn!(reason = error.chain(), "samples could not be summed up");
            }
        }
    }

    pub(super) fn begin_pruning(&mut self, limits: Limits, now: Now) {
        let mut believed = self.upkeep.believed;
        let begun = self.write(|transaction, _| {
            let stored = query::believed(transaction)?;
            let at = believed.get_or_insert_with(|| Believed::new(stored, now)).advance(now);
            apply::believed(transaction, at)?;
            Ok(at)
        });
        self.upkeep.believed = believed;
        let Ok(at) = begun else {
            self.upkeep.unpruned = Some((limits, now));
            return;
        };
        self.upkeep.unpruned = None;
        self.upkeep.limits = Some((limits, at));
        self.limit_log();
        self.keep_reserve();
        self.upkeep.pruning = Some(Pruning::new(limits, at));
    }

    /// Begins to delete as soon as the database is full, not only when that is due.
    pub(super) fn prune_if_full(&mut self) {
        if self.upkeep.pruning.is_none() && self.is_full() {
            self.prune_again();
        }
    }

    /// Whether what is kept is too large. A large file with free pages is not, nor is a long log.
    fn is_full(&self) -> bool {
        let (Some((limits, _)), Some(connection)) = (self.upkeep.limits, &self.connection) else { return false };
        self.size() > limits.full() && used_bytes(connection).is_ok_and(|used| used > limits.full())
    }

    /// Begins to delete between two times when that is due, by the time of the last. Not by a later one than that of what
    /// was written last: else the clock was set back meanwhile, and all that is new would be too old.
    pub(super) fn prune_again(&mut self) {
        let (Some((limits, at)), Some(connection)) = (self.upkeep.limits, &self.connection) else { return };
        match query::last_dated(connection) {
            Ok(last) => self.upkeep.pruning = Some(Pruning::new(limits, last.map_or(at, |last| last.min(at)))),
            Err(error) => tracing::warn!(%error, "what is too old could not be deleted"),
        }
    }

    /// Deletes one slice, if a deletion is in progress.
    pub(super) fn prune(&mut self) {
        let Some(mut pruning) = self.upkeep.pruning.take() else { return };
        let deleted = self.write(|transaction, _| {
            let Some(gone) = pruning.slice(transaction)? else { return Ok(None) };
            let unresolved = unresolved(transaction, gone.problems_of.into_iter().collect())?;
            Ok(Some((gone.rows, Committed { unresolved, deleted: gone.agents, ..Committed::default() })))
        });
        match deleted {
            Ok(Some((rows, committed))) => {
                add(&self.shared.stats.expired_rows, rows);
                self.shared.tell(committed);
                self.upkeep.pruning = Some(pruning);
            }
            Ok(None) => self.end_pruning(),
            Err(failed) => tracing::warn!(reason = failed.error.chain(), "what is too old could not be deleted"),
        }
    }

    fn end_pruning(&mut self) {
        if self.upkeep.limits.is_some_and(|(limits, _)| self.size() > limits.size_bytes) {
            // A file that gave pages back is cut when its log is written back.
            self.shorten_log();
        }
        if self.reserve.was_used() {
            // What was deleted may have made room again.
            self.keep_reserve();
        } else if self.is_full() {
            // Nothing is left: to be tried again when that is asked for the next time.
            self.upkeep.limits = None;
        }
    }
}
