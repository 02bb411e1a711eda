//! History on disk: one SQLite database in the state directory, written by one thread, read by a few connections.
//!
//! The order of a start is [`StateLock::acquire`], then [`open`]; the [`Writer`] goes to a thread of its own, and the
//! lock with it.

mod apply;
mod backlog;
mod check;
mod columns;
mod damage;
mod database;
mod expire;
mod lock;
mod mark;
mod migrate;
mod owed;
mod query;
mod queue;
mod reader;
mod reserve;
mod rolling;
mod stats;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::model::{AgentNumber, Recorded, Resume};
use crate::sqlite;

use reserve::Reserve;

pub use database::{FILE_NAME, examine};
pub use lock::StateLock;
pub use query::{ExportPage, Selection};
pub use queue::{NotTaken, Op, WriteHandle};
pub use reader::Reader;
pub use stats::StoreStats;
pub use writer::Writer;

/// How the database is opened by those who only read it.
const READ_ONLY: OpenFlags = sqlite::READ_ONLY.union(OpenFlags::SQLITE_OPEN_NOFOLLOW);

/// The version of the SQLite in this program, such as `3.50.1`.
pub fn sqlite_version() -> &'static str {
    rusqlite::version()
}

/// Everything that a store is made of.
pub struct Opened {
    /// To be run on a thread of its own.
    pub writer: Writer,
    /// Where what is to be written goes.
    pub handle: WriteHandle,
    /// Where questions go.
    pub reader: Reader,
    /// What the last daemon left behind.
    pub resume: Resume,
    /// How the store is doing.
    pub stats: Arc<StoreStats>,
}

/// What came of a transaction, told after it.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Committed {
    /// What was recorded, in order, with its ids; without ids if it could not be stored, or not yet.
    pub entries: Vec<Recorded>,
    /// What was told without ids, waited, and is on disk now, in order.
    pub late: Vec<Recorded>,
    /// The unresolved errors of every agent whose errors changed.
    pub unresolved: Vec<(AgentNumber, u64)>,
    /// Agents that were deleted: nothing is stored of them any more.
    pub deleted: Vec<AgentNumber>,
}

/// Hears of every transaction, on the writer's thread; of what found the queue full, on the thread that brought it. It
/// must not wait for either.
pub type Listener = Box<dyn Fn(Committed) + Send + Sync>;

/// Opens the database in the locked directory, making it if it is missing.
///
/// # Errors
/// [`StoreError::Foreign`] and [`StoreError::Newer`] leave the file as it is; the others are trouble with the disk or
/// the rights to it.
pub fn open(lock: StateLock, listener: Listener) -> Result<Opened, StoreError> {
    let mark = mark::Mark::open(lock.directory());
    let (connection, resume) = match open_and_resume(&lock, &mark) {
        // The index of the log alone takes space.
        Err(error) if (error.is_full() || error.is_io()) && Reserve::find(lock.directory()).give_up() => {
            tracing::warn!(reason = error.chain(), "the database cannot be opened: space held in reserve is used");
            open_and_resume(&lock, &mark)?
        }
        Err(error) => {
            let Some(what) = error.damage() else { return Err(error) };
            damage::replace(lock.directory(), &what)?;
            open_and_resume(&lock, &mark)?
        }
        Ok(opened) => opened,
    };
    let reader = Reader::new(lock.directory());
    let (handle, queue, shared) = queue::queue(listener);
    let stats = Arc::clone(&shared.stats);
    let writer = Writer::new(lock, connection, queue, shared, reader.clone(), mark);
    Ok(Opened { writer, handle, reader, resume, stats })
}

/// Writes a copy of the database in `directory` as it is now, also while a daemon writes it. The copy is whole or not
/// there, and only its owner may read it. `progress` hears now and then how many bytes are written, and how many the
/// database has: the copy may have fewer.
///
/// # Errors
/// When there is no database, a file of the copy's name is there, or the disk refuses.
pub fn backup(directory: &Path, to: &Path, progress: impl FnMut(u64, u64) + Send + 'static) -> Result<(), StoreError> {
    let path = directory.join(FILE_NAME);
    std::fs::symlink_metadata(&path).map_err(|source| StoreError::Io { doing: "find", path: path.clone(), source })?;
    let mut connection = Connection::open_with_flags(&path, READ_ONLY)?;
    database::tell_of_copying(&mut connection, to, progress)?;
    database::copy(&connection, to)
}

fn open_and_resume(lock: &StateLock, mark: &mark::Mark) -> Result<(Connection, Resume), StoreError> {
    let connection = database::open(&lock.directory().join(FILE_NAME))?;
    mark::go_on(&connection, mark.reached())?;
    let resume = query::resume(&connection)
        .map_err(|source| StoreError::Sqlite { doing: "read what the last daemon left behind", source })?;
    Ok((connection, resume))
}

/// Why the store cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another daemon has the state directory.
    #[error("another daemon{} holds the state directory {}: stop it, or use another with --state-dir", pid.map(|pid| format!(" (process {pid})")).unwrap_or_default(), directory.display())]
    Locked {
        /// Which.
        directory: PathBuf,
        /// Its holder, where that could be read.
        pid: Option<u32>,
    },
    /// The directory or the database could be changed by others.
    #[error("{} {problem}: {remedy}", path.display())]
    Untrusted {
        /// Which.
        path: PathBuf,
        /// Why it cannot be trusted.
        problem: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// A newer version of this program wrote the database. It was left as it is.
    #[error("the database {} has schema {found}, this version knows {known}: use a newer agent-monitor, or another state directory with --state-dir", path.display())]
    Newer {
        /// Which.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// The highest we know.
        known: u32,
    },
    /// An older version wrote the database, and no daemon of this one has had it since. It was left as it is.
    #[error("the database {} has schema {found}, this version reads {known}: it cannot be read until the daemon is started, which brings it up to date", path.display())]
    Older {
        /// Which.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// The one that is read.
        known: u32,
    },
    /// The file is no database of ours. It was left as it is.
    #[error("{} {what}: move it away, or use another state directory with --state-dir", path.display())]
    Foreign {
        /// Which.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// It is a database of ours, but not whole.
    #[error("the database {} is damaged: {what}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What was found.
        what: Arc<str>,
    },
    /// It is no longer where it was opened.
    #[error("the database {} was moved, replaced or deleted", path.display())]
    Moved {
        /// Where it was.
        path: PathBuf,
    },
    /// Somebody else wrote into it, where it was opened.
    #[error("the database {} was written by somebody else", path.display())]
    Overwritten {
        /// Which.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// SQLite refused.
    #[error("cannot {doing}")]
    Sqlite {
        /// What was tried.
        doing: &'static str,
        /// Why it failed.
        source: rusqlite::Error,
    },
    /// A number that the database cannot hold.
    #[error("{what} does not fit into the database")]
    Value {
        /// Which.
        what: &'static str,
    },
    /// It is in trouble and closed until the next try, or the writer has ended.
    #[error("the database is closed")]
    Closed,
    /// A question took too long, or all connections were busy for too long.
    #[error("the answer took too long")]
    Deadline,
}

impl StoreError {
    /// Whether what was to be stored is at fault, so that the same database takes other things. Everything else is
    /// trouble with the database, which anything to be stored would meet.
    pub fn blames_data(&self) -> bool {
        match self {
            StoreError::Value { .. } => true,
            // A number beyond i64.
            StoreError::Sqlite { source: rusqlite::Error::ToSqlConversionFailure(_), .. } => true,
            _ => matches!(
                self.code(),
                Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch)
            ),
        }
    }

    /// What was found if the database itself is broken, so that opening it again would not help.
    pub(crate) fn damage(&self) -> Option<Arc<str>> {
        match self {
            StoreError::Damaged { what, .. } => Some(Arc::clone(what)),
            _ => matches!(self.code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
                .then(|| self.chain().into()),
        }
    }

    /// Whether there is no room on the disk.
    pub(crate) fn is_full(&self) -> bool {
        self.code() == Some(ErrorCode::DiskFull)
            || matches!(self, StoreError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull)
    }

    /// Whether the operating system refused to read or to write.
    pub(crate) fn is_io(&self) -> bool {
        self.code() == Some(ErrorCode::SystemIoFailure) || matches!(self, StoreError::Io { .. })
    }

    fn code(&self) -> Option<ErrorCode> {
        match self {
            StoreError::Sqlite { source, .. } => source.sqlite_error_code(),
            _ => None,
        }
    }

    /// The error with its causes, on one line.
    pub fn chain(&self) -> String {
        match self {
            StoreError::Io { source, .. } => format!("{self}: {source}"),
            StoreError::Sqlite { source, .. } => format!("{self}: {source}"),
            _ => self.to_string(),
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(source: rusqlite::Error) -> StoreError {
        StoreError::Sqlite { doing: "use the database", source }
    }
}
