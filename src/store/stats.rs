use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// How the store is doing. Counters since the start, written by the writer and the handles, read by anyone.
#[derive(Debug, Default)]
pub struct StoreStats {
    /// Transactions that are on disk.
    pub commits: AtomicU64,
    /// Operations that wait for the writer.
    pub queue_length: AtomicU64,
    /// Samples that could not be stored.
    pub dropped_samples: AtomicU64,
    /// Journal entries that could not be stored.
    pub dropped_entries: AtomicU64,
    /// Runs that could not be stored. Other runs, agents and alert states that meet trouble are stored after it.
    pub dropped_runs: AtomicU64,
    /// Rows that retention deleted.
    pub expired_rows: AtomicU64,
    /// The longest that one slice of deleting, or of summing up, kept the writer from what was asked for, nanoseconds.
    pub longest_slice_ns: AtomicU64,
    /// The database and its log together, bytes, after the last transaction.
    pub database_size_bytes: AtomicU64,
    trouble: Mutex<Option<Arc<str>>>,
}

impl StoreStats {
    /// What the database said when it last refused; `None` when all is well, as it is again after the next transaction
    /// that succeeds.
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
