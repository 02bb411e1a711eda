//! How SQLite databases are opened that are only read, whoever wrote them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::clock::monotonic;

/// Neither written nor shared between threads.
pub(crate) const READ_ONLY: OpenFlags = OpenFlags::SQLITE_OPEN_READ_ONLY.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

/// How many of SQLite's instructions run between two looks at whether to go on: some tens of microseconds.
const INSTRUCTIONS_PER_LOOK: i32 = 1_000;

/// Opens the database at `path`, and believes nothing that is in it. It keeps so many KiB of pages, waits for locks with
/// `patience`, and fails a question as soon as `given_up` says so.
///
/// # Errors
/// When it cannot be opened.
pub(crate) fn open(
    path: &Path,
    flags: OpenFlags,
    cache_kib: i32,
    patience: Duration,
    given_up: impl FnMut() -> bool + Send + 'static,
) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open_with_flags(path, flags)?;
    // First: some of the others read the schema, and would wait for a lock as long as rusqlite has it by default.
    connection.busy_timeout(patience)?;
    connection.progress_handler(INSTRUCTIONS_PER_LOOK, Some(given_up))?;
    // A second bar beside the way it was opened.
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "mmap_size", 0)?;
    // Negative: KiB, not pages, sqlite.org/pragma.html#pragma_cache_size.
    connection.pragma_update(None, "cache_size", -cache_kib)?;
    Ok(connection)
}

/// Until when a question is waited for. Clones are one.
#[derive(Clone, Debug)]
pub(crate) struct Deadline(Arc<AtomicU64>);

impl Deadline {
    /// As long as it takes.
    pub(crate) fn never() -> Deadline {
        Deadline(Arc::new(AtomicU64::new(u64::MAX)))
    }

    /// So long from now.
    pub(crate) fn set(&self, after: Duration) {
        self.0.store((monotonic() + after).0, Ordering::Relaxed);
    }

    /// Whether it is over.
    pub(crate) fn is_over(&self) -> bool {
        monotonic().0 > self.0.load(Ordering::Relaxed)
    }
}
