//! The database's log: how long it is, and what is done when somebody keeps it from being written back.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rusqlite::Connection;

use super::Writer;
use crate::store::database::{Contents, with_suffix};
use crate::store::{StoreError, database};

impl Writer {
    /// Sees how large the files are, and how the database is after what was just done to it.
    pub(super) fn measure(&mut self) {
        let path = self.path();
        self.contents = Contents::of(&path);
        let [database, log] = [self.contents, Contents::of(&with_suffix(&path, "-wal"))]
            .map(|contents| contents.map_or(0, |contents| contents.bytes()));
        self.shared.stats.database_size_bytes.store(database + log, Ordering::Relaxed);
        self.shared.stats.log_bytes.store(log, Ordering::Relaxed);
    }

    /// Of the log, as it was seen last.
    pub(super) fn log_bytes(&self) -> u64 {
        self.shared.stats.log_bytes.load(Ordering::Relaxed)
    }

    /// Of the database and its log, as they were seen last.
    pub(super) fn size(&self) -> u64 {
        self.shared.stats.database_size_bytes.load(Ordering::Relaxed)
    }

    /// Of the database and its log, the larger one: bytes.
    pub(super) fn largest_file(&self) -> u64 {
        self.log_bytes().max(self.size().saturating_sub(self.log_bytes()))
    }

    /// Keeps the log in proportion to what it and the database may be together.
    pub(super) fn limit_log(&self) {
        if let (Some(connection), Some((limits, _))) = (&self.connection, self.upkeep.limits)
            && let Err(error) = database::limit_log(connection, limits)
        {
            tracing::warn!(%error, "the length of the database's log could not be limited");
        }
    }

    /// Sees whether the log grows beyond what it may, when it had `before` bytes before the last transaction.
    pub(super) fn watch_log(&mut self, before: u64) {
        let Some((limits, _)) = self.upkeep.limits else { return };
        let (log, warn) = (self.log_bytes(), limits.long_log());
        if log >= warn && before < warn {
            tracing::warn!(mib = log >> 20, "the database's log grows: somebody reads the database for very long");
        }
        if log < limits.longest_log() || self.samples_wait {
            return;
        }
        self.samples_wait = true;
        self.shorten_log();
        if self.samples_wait {
            tracing::error!(
                mib = log >> 20,
                "the database's log is too long: samples wait in memory until it can be cut"
            );
            self.show_trouble();
        }
    }

    /// Tries to cut the log that somebody held up; when it is short again, nothing need wait any more.
    pub(super) fn shorten_log(&mut self) {
        let Some(connection) = &self.connection else { return };
        if let Err(error) = cut_now(connection) {
            return self.begin_outage(&error);
        }
        self.measure();
        if self.upkeep.limits.is_none_or(|(limits, _)| self.log_bytes() < limits.long_log()) {
            self.samples_wait = false;
            self.show_trouble();
        }
    }
}

/// Cuts the log if nobody reads it; waits for nobody.
fn cut_now(connection: &Connection) -> Result<(), StoreError> {
    connection.busy_timeout(Duration::ZERO)?;
    let cut = database::cut_log(connection);
    connection.busy_timeout(database::BUSY_TIMEOUT)?;
    cut
}
