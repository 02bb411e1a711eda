//! How the store is doing.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::Timestamp;

/// How the store is doing. Counters since the start, written by the writer and the handles, read by anyone.
#[derive(Debug, Default)]
pub struct StoreStats {
    /// Transactions that are on disk.
    pub commits: AtomicU64,
    /// Operations that wait for the writer.
    pub queue_length: AtomicU64,
    /// Samples, and minutes of the host, that could not be stored.
    pub dropped_samples: AtomicU64,
    /// Journal entries that could not be stored.
    pub dropped_entries: AtomicU64,
    /// Runs and leftovers that could not be stored. Others, and agents and alert states, that meet trouble are stored after it.
    pub dropped_runs: AtomicU64,
    /// Rows that retention deleted.
    pub expired_rows: AtomicU64,
    /// The longest that one slice of deleting, or of summing up, kept the writer from what was asked for, nanoseconds.
    pub longest_slice_ns: AtomicU64,
    /// The database and its log together, bytes, after the last transaction.
    pub database_size_bytes: AtomicU64,
    /// The log alone, bytes.
    pub log_bytes: AtomicU64,
    /// Space that is held in reserve for a full disk, bytes.
    pub reserve_bytes: AtomicU64,
    /// Samples that wait in memory until they can be stored.
    pub waiting_samples: AtomicU64,
    /// Journal entries that wait in memory until they can be stored.
    pub waiting_entries: AtomicU64,
    /// When all of the database was last found whole, milliseconds since 1970; 0: not since the start.
    checked_at_ms: AtomicI64,
    trouble: Mutex<Option<Arc<str>>>,
}

impl StoreStats {
    /// When all of the database was last found whole; `None`: not since the start.
    pub fn checked_at(&self) -> Option<Timestamp> {
        let ms = self.checked_at_ms.load(Ordering::Relaxed);
        (ms != 0).then(|| Timestamp::from_unix_ms(ms))
    }

    /// Notes that all of the database was found whole.
    pub fn set_checked(&self, at: Timestamp) {
        self.checked_at_ms.store(at.unix_ms(), Ordering::Relaxed);
    }

    /// What is wrong: what the database said when it last refused, or why less is stored than should be; `None` when all
    /// is well.
    pub fn trouble(&self) -> Option<Arc<str>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_trouble(&self, trouble: Option<Arc<str>>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}

/// Adds to a counter that nothing else is ordered by.
pub(super) fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
}
