//! Opening the database for writing.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::StoreError;
use super::damage::was_ours;
use super::lock::{check_owner, untrusted};
use super::migrate::{VERSION, migrate};
use crate::retention::Limits;

/// The database's name in the state directory.
pub const FILE_NAME: &str = "agent-monitor.db";

/// How long a lock of somebody else is waited for: who looks at the database with sqlite3 may hold one for a moment.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How many instructions of SQLite's machine go by before a copy says again how far it has come.
const INSTRUCTIONS_PER_WORD: i32 = 100_000;

/// Marks a database as ours: "agmo", <https://sqlite.org/fileformat2.html#application_id>.
const APPLICATION_ID: u32 = u32::from_be_bytes(*b"agmo");

/// How a database in SQLite's format begins, <https://sqlite.org/fileformat2.html#magic_header_string>.
pub(super) const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// What a database of ours of this length begins with, its free pages not counted: to read one that has lost it,
/// <https://sqlite.org/fileformat2.html#the_database_header>.
pub(super) fn header(length: u64) -> [u8; 100] {
    const PAGE_BYTES: u16 = 4096;
    let mut header = [0; 100];
    header[..16].copy_from_slice(MAGIC);
    header[16..18].copy_from_slice(&PAGE_BYTES.to_be_bytes());
    // With a log; the fractions of a page that SQLite demands.
    header[18..24].copy_from_slice(&[2, 2, 0, 64, 32, 32]);
    let mut number = |at: usize, value: u32| header[at..at + 4].copy_from_slice(&value.to_be_bytes());
    number(24, 1); // the change that the length is of: as at 92
    number(28, u32::try_from(length / u64::from(PAGE_BYTES)).unwrap_or(u32::MAX));
    number(40, 1); // any schema
    number(44, 4); // its format
    number(52, 1); // incremental vacuum: there are pages that say what the others are for, …
    number(56, 1); // UTF-8
    number(60, VERSION);
    number(64, 1); // … and this too
    number(68, APPLICATION_ID);
    number(92, 1);
    number(96, 3_054_000);
    header
}

/// What tells one file from another.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The one that is there now.
    pub(super) fn of(path: &Path) -> Option<FileId> {
        let metadata = std::fs::symlink_metadata(path).ok()?;
        Some(FileId { device: metadata.dev(), inode: metadata.ino() })
    }
}

/// What is no longer the same when somebody wrote into a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Contents {
    bytes: u64,
    modified: (i64, i64),
}

impl Contents {
    /// Of the file that is there now.
    pub(super) fn of(path: &Path) -> Option<Contents> {
        let metadata = std::fs::symlink_metadata(path).ok()?;
        Some(Contents { bytes: metadata.len(), modified: (metadata.mtime(), metadata.mtime_nsec()) })
    }

    /// Its length.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Opens this file as our database, for writing; makes it if it is missing or empty.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    // Looked at before SQLite does, since opening can already change a database that has a log.
    let file = open_private(path).map_err(|source| StoreError::Io { doing: "open", path: path.to_owned(), source })?;
    let new = judge(path, file, nix::unistd::Uid::effective().as_raw())?;
    connect(path, new)
}

/// Writes the log back into the database and removes it, so that the file alone is whole.
pub(super) fn close(connection: Connection) -> Result<(), StoreError> {
    cut_log(&connection)?;
    Ok(connection.close().map_err(|(_, error)| error)?)
}

/// Writes the log back and cuts it to nothing, unless somebody reads for longer than locks are waited for.
pub(super) fn cut_log(connection: &Connection) -> Result<(), StoreError> {
    Ok(connection.pragma_update_and_check(None, "wal_checkpoint", "truncate", |_| Ok(()))?)
}

/// The path of a file beside another one: its log, a copy.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// What a copy is called while it is being written.
fn part_of(to: &Path) -> PathBuf {
    with_suffix(to, &format!("-part-{}", std::process::id()))
}

/// Has `progress` hear, from time to time while this connection copies to `to`, how many bytes are written, and how many
/// there are to be copied at most.
///
/// # Errors
/// When the database cannot be read.
pub(super) fn tell_of_copying(
    connection: &mut Connection,
    to: &Path,
    mut progress: impl FnMut(u64, u64) + Send + 'static,
) -> rusqlite::Result<()> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, u64>(0));
    let (part, all) = (part_of(to), number("page_count")? * number("page_size")?);
    let tell = move || {
        progress(std::fs::metadata(&part).map_or(0, |metadata| metadata.len()), all);
        false
    };
    connection.progress_handler(INSTRUCTIONS_PER_WORD, Some(tell))
}

/// Writes all that a connection sees into a new file, whole or not at all. The connection may go on reading and writing.
///
/// # Errors
/// When there is a file of that name already, or the disk refuses.
pub(super) fn copy(connection: &Connection, to: &Path) -> Result<(), StoreError> {
    let failed = |doing, source| StoreError::Io { doing, path: to.to_owned(), source };
    let part = part_of(to);
    let part = part.as_path();
    // Made here, so that nobody else may ever read it.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(part).map_err(|error| failed("make", error))?;
    let written = connection
        .execute("vacuum into ?1", [part.to_str().ok_or(StoreError::Value { what: "a path that is not UTF-8" })?])
        .map_err(|source| StoreError::Sqlite { doing: "copy the database", source })
        .and_then(|_| File::open(part).and_then(|file| file.sync_all()).map_err(|error| failed("sync", error)))
        // Never over another file, unlike a renaming.
        .and_then(|()| std::fs::hard_link(part, to).map_err(|error| failed("make", error)));
    let removed = std::fs::remove_file(part).map_err(|error| failed("finish", error));
    written.and(removed)
}

/// Opens it once more, while this process may have other connections to it. Those hold POSIX locks, which a process
/// loses when it closes any descriptor of the file: so here nobody but SQLite opens it,
/// <https://sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_>.
pub(super) fn reopen(path: &Path) -> Result<Connection, StoreError> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) => connect(path, metadata.len() == 0),
        Err(error) if error.kind() == ErrorKind::NotFound => open(path),
        Err(source) => Err(StoreError::Io { doing: "open", path: path.to_owned(), source }),
    }
}

fn connect(path: &Path, new: bool) -> Result<Connection, StoreError> {
    let failed = |source| StoreError::Sqlite { doing: "open the database", source };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    // Until it is known to be ours, closing must not write its log back into it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(failed)?;
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, u32>(0)).map_err(failed);
    // What was begun and never finished by a daemon that made it is taken back by SQLite, and nothing is left.
    configure(&connection, new || number("page_count")? == 0).map_err(failed)?;
    // Once more, since what is in the log counts, and only SQLite can read that.
    check_application(path, number("application_id")?)?;
    check_version(path, number("user_version")?)?;
    connection.pragma_update_and_check(None, "journal_mode", journal_mode(path), |_| Ok(())).map_err(failed)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(failed)?;
    migrate(&mut connection)?;
    Ok(connection)
}

/// With a log, those who read hold up nobody. SQLite maps the index of it into memory, though, and on a file system that
/// never writes where it read, a mapped page may find no room when it is written: then the kernel ends the program. There,
/// what a transaction changes is kept in a journal instead, which is not mapped, until it is on disk.
fn journal_mode(path: &Path) -> &'static str {
    if is_on_btrfs(path) { "truncate" } else { "wal" }
}

#[cfg(target_os = "linux")]
fn is_on_btrfs(path: &Path) -> bool {
    /// statfs(2).
    const BTRFS_SUPER_MAGIC: i128 = 0x9123_683e;
    rustix::fs::statfs(path).is_ok_and(|disk| i128::from(disk.f_type) == BTRFS_SUPER_MAGIC)
}

#[cfg(not(target_os = "linux"))]
fn is_on_btrfs(_: &Path) -> bool {
    false
}

/// Keeps the log short enough for what it and the database may be together.
pub(super) fn limit_log(connection: &Connection, limits: Limits) -> rusqlite::Result<()> {
    let page_bytes: u64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    let pages = limits.log_pages(page_bytes);
    connection.pragma_update_and_check(None, "wal_autocheckpoint", pages, |_| Ok(()))?;
    // What a reader held up is cut off when it is written back.
    let bytes = (u64::from(pages) * page_bytes * 2).cast_signed();
    connection.pragma_update_and_check(None, "journal_size_limit", bytes, |_| Ok(()))
}

fn configure(connection: &Connection, new: bool) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // A 2xx means that it is on disk: NORMAL would lose the last commits with the power.
    connection.pragma_update(None, "synchronous", "full")?;
    // What is in the file, put there by whomever, calls no function that could do harm.
    connection.pragma_update(None, "trusted_schema", false)?;
    // A damaged page is noticed when it is read, not when it has spread.
    connection.pragma_update(None, "cell_size_check", true)?;
    // An I/O error on a mapped file is a signal that ends the process, instead of an error code.
    connection.pragma_update(None, "mmap_size", 0)?;
    // After a reader held up the log for long, it shrinks again.
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    // More than there are statements, so that each is prepared once.
    connection.set_prepared_statement_cache_capacity(64);
    if new {
        // One transaction, and in the file itself, not in its log: from the first byte on it says whose it is. The mode
        // would take a rewrite of the file later; with it, deleted history shrinks the file.
        connection.execute_batch(&format!(
            "begin; pragma auto_vacuum = incremental; pragma application_id = {APPLICATION_ID}; commit"
        ))?;
    }
    Ok(())
}

/// Looks at the database in `directory` and changes nothing, as a doctor does. Tells whether there is one.
///
/// # Errors
/// As [`open`](super::open) would refuse it in a daemon of this user.
pub fn examine(directory: &Path, user: u32) -> Result<bool, StoreError> {
    let path = directory.join(FILE_NAME);
    match OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(&path) {
        Ok(file) => judge(&path, file, user).map(|new| !new),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(source) => Err(StoreError::Io { doing: "open", path, source }),
    }
}

/// Whether the file is new; refuses what is not ours.
fn judge(path: &Path, file: File, ours: u32) -> Result<bool, StoreError> {
    let failed = |source| StoreError::Io { doing: "open", path: path.to_owned(), source };
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(untrusted(path, "is not a regular file", "move it away"));
    }
    check_owner(path, &metadata, ours)?;
    if metadata.nlink() > 1 {
        // Each name would have a log of its own, https://sqlite.org/howtocorrupt.html#_multiple_links_to_the_same_file
        return Err(untrusted(path, "has another name", "remove that hard link, or copy the file"));
    }
    let mut header = Vec::new();
    file.take(100).read_to_end(&mut header).map_err(failed)?;
    if header.is_empty() {
        return Ok(true);
    }
    let number = |at: usize| -> Option<u32> { Some(u32::from_be_bytes(*header.get(at..)?.first_chunk()?)) };
    let (true, Some(version), Some(application)) = (header.starts_with(MAGIC), number(60), number(68)) else {
        if was_ours(path) {
            return Err(StoreError::Damaged { path: path.to_owned(), what: "it has lost its header".into() });
        }
        return Err(StoreError::Foreign { path: path.to_owned(), what: "is not an SQLite database" });
    };
    check_application(path, application)?;
    check_version(path, version)?;
    Ok(false)
}

/// Opens the file, made with mode 0600 if it is missing: SQLite gives its log the same.
fn open_private(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    match options.open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => options.create_new(true).open(path),
        known => known,
    }
}

fn check_application(path: &Path, found: u32) -> Result<(), StoreError> {
    if found == APPLICATION_ID {
        return Ok(());
    }
    Err(StoreError::Foreign { path: path.to_owned(), what: "is another program's database" })
}

pub(super) fn check_version(path: &Path, found: u32) -> Result<(), StoreError> {
    if found > VERSION {
        return Err(StoreError::Newer { path: path.to_owned(), found, known: VERSION });
    }
    Ok(())
}
