//! A database of ours that is damaged: what can be read of it goes into a new one, and the old one is kept beside it.

use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rusqlite::types::ToSqlOutput;
use rusqlite::{Connection, OpenFlags, Row, params_from_iter};

use super::database::{self, FILE_NAME, with_suffix};
use super::{READ_ONLY, StoreError, apply};
use crate::clock::{Clock, SystemClock};
use crate::model::Recorded;

/// Rows that are copied in one transaction.
const ROWS_PER_COPY: u64 = 20_000;

/// How often reading goes on behind a damaged place of one table.
const JUMPS: u32 = 1_000;

/// Of a file whose header is lost: how much is looked at for our schema, which stands at its beginning.
const LOOKED_AT: u64 = 1 << 18;

/// Whether a file that has no header of SQLite was a database of ours: the text of our schema is in it.
pub(super) fn was_ours(path: &Path) -> bool {
    let mut beginning = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(LOOKED_AT).read_to_end(&mut beginning));
    let mark = b"CREATE TABLE sample_status";
    read.is_ok() && beginning.windows(mark.len()).any(|window| window.eq_ignore_ascii_case(mark))
}

/// Makes a new database of what can be read of the damaged one, puts that aside with its log as `…corrupt-<UTC>`, and
/// the new one in its place. Returns what the new one's journal tells of it.
///
/// # Errors
/// When the new one cannot be made: then the damaged one is left where it is.
pub(super) fn replace(directory: &Path, why: &str) -> Result<Recorded, StoreError> {
    let path = directory.join(FILE_NAME);
    let at = SystemClock.now().wall;
    let new = with_suffix(&path, "-new");
    remove_all(&new)?;
    tracing::error!(path = %path.display(), %why, "the database is damaged: what can be read of it is saved");
    let connection = database::open(&new)?;
    let headed = with_header(&path);
    let saved = salvage(headed.as_deref().unwrap_or(&path), &connection);
    if let Some(copy) = headed {
        remove_all(&copy)?;
    }
    let (rows, damaged) = saved?;
    let aside = aside(&path, &at.to_string().replace([':', '-'], "").replace(".000", ""));
    let lost = if damaged.is_empty() { String::new() } else { format!("; parts are lost of {}", damaged.join(", ")) };
    let message =
        format!("the database was damaged ({why}) and is kept as {}: {rows} rows were saved{lost}", aside.display());
    let facts = [
        ("reason", "database_damaged".into()),
        ("kept_as", aside.display().to_string().into()),
        ("rows_saved", rows.into()),
    ];
    let told = apply::warning(&connection, at, &message, facts)?;
    database::close(connection)?;

    // The log, or the journal, first: beside the new database it would be taken for that one's.
    for rest in ["-wal", "-journal"] {
        rename(&with_suffix(&path, rest), &with_suffix(&aside, rest))?;
    }
    remove(&with_suffix(&path, "-shm"))?;
    rename(&path, &aside)?;
    rename(&new, &path)?;
    let _ = fs::File::open(directory).and_then(|directory| directory.sync_all());
    tracing::error!(kept_as = %aside.display(), rows, "the damaged database was replaced");
    Ok(told)
}

/// A name that is free.
fn aside(path: &Path, when: &str) -> PathBuf {
    let name = with_suffix(path, &format!(".corrupt-{when}"));
    let numbered = (2..).map(|n| with_suffix(&name, &format!("-{n}")));
    std::iter::once(name.clone()).chain(numbered).find(|name| !name.exists()).unwrap_or(name)
}

/// Of a database that has lost its header, a copy with another one: all else may be whole. None when it has one, or there is
/// no room for a copy; the original stays as it is.
fn with_header(path: &Path) -> Option<PathBuf> {
    let mut magic = [0; 16];
    fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic)).ok()?;
    if magic == *database::MAGIC {
        return None;
    }
    let copy = with_suffix(path, "-headed");
    let made = remove_all(&copy).is_ok()
        && fs::copy(path, &copy).is_ok()
        && (fs::copy(with_suffix(path, "-wal"), with_suffix(&copy, "-wal")).is_ok()
            || !with_suffix(path, "-wal").exists());
    let headed = made.then(|| fs::File::options().write(true).open(&copy)).and_then(Result::ok).is_some_and(|file| {
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        file.write_all_at(&database::header(length), 0).is_ok()
    });
    if !headed {
        let _ = remove_all(&copy);
    }
    headed.then_some(copy)
}

/// Removes a database, with what belongs to it.
fn remove_all(path: &Path) -> Result<(), StoreError> {
    ["", "-wal", "-journal", "-shm"].iter().try_for_each(|rest| remove(&with_suffix(path, rest)))
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(StoreError::Io { doing: "remove", path: path.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(StoreError::Io { doing: "rename", path: from.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

/// Opens a database as it is without its log: <https://sqlite.org/uri.html#uriimmutable>.
fn without_log(path: &Path) -> rusqlite::Result<Connection> {
    // Every byte, so that none means anything.
    let path: String = path.as_os_str().as_bytes().iter().map(|byte| format!("%{byte:02x}")).collect();
    Connection::open_with_flags(format!("file:{path}?immutable=1"), READ_ONLY | OpenFlags::SQLITE_OPEN_URI)
}

fn is_whole(connection: &Connection) -> bool {
    connection
        .query_row("pragma integrity_check(1)", [], |row| row.get::<_, String>(0))
        .is_ok_and(|found| found == "ok")
}

/// Copies what can be read. Returns how many rows that was, and the tables of which not all could be.
fn salvage(damaged: &Path, into: &Connection) -> Result<(u64, Vec<String>), StoreError> {
    let tables: Vec<(String, bool)> = into
        .prepare("select name, wr from pragma_table_list where schema = 'main' and type = 'table' and name not like 'sqlite_%'")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    // Not for writing: what is kept is kept as it is. Its log is read as far as it is whole, and not at all where the file
    // is whole without it only: then that was put there, and the log is of the one before.
    let with_log = Connection::open_with_flags(damaged, READ_ONLY);
    let belongs = with_log.as_ref().is_ok_and(is_whole);
    let alone = if belongs { None } else { without_log(damaged).ok().filter(is_whole) };
    let readable = alone
        .map_or(with_log, Ok)
        .and_then(|from| from.pragma_update(None, "trusted_schema", false).map(|()| from))
        // Without this, a file that is shorter than its header says is not read at all.
        .and_then(|from| from.pragma_update(None, "writable_schema", true).map(|()| from));
    let Ok(from) = readable else { return Ok((0, tables.into_iter().map(|(name, _)| name).collect())) };
    let (mut rows, mut incomplete) = (0, Vec::new());
    for (name, without_rowid) in tables {
        let known = columns(&from, &name).unwrap_or_default();
        let shared = columns(into, &name)?.into_iter().filter(|column| known.contains(column)).collect();
        let mut copy = Copy { from: &from, into, table: &name, columns: shared, rows: 0 };
        let whole = copy.run(without_rowid)?;
        rows += copy.rows;
        if !whole {
            incomplete.push(name);
        }
    }
    // A sample without its pass would never be seen, nor ever go.
    into.execute("delete from sample where key >> 20 not in (select tick from ticks)", [])?;
    // An account without one of its members would be charged for that one again.
    into.execute_batch("delete from account; delete from member;")?;
    Ok((rows, incomplete))
}

fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare("select name from pragma_table_info(?1) order by cid")?
        .query_map([table], |row| row.get(0))?
        .collect()
}

/// The copying of one table.
struct Copy<'c> {
    from: &'c Connection,
    into: &'c Connection,
    table: &'c str,
    columns: Vec<String>,
    rows: u64,
}

impl Copy<'_> {
    /// Reads forwards up to a damaged place, then backwards from the end, then between. False when something is lost.
    fn run(&mut self, without_rowid: bool) -> Result<bool, StoreError> {
        if self.columns.is_empty() {
            return Ok(false);
        }
        let order = if without_rowid { self.columns[..2].join(", ") } else { "rowid".to_owned() };
        let mut last = i64::MIN;
        if self.take(&format!("true order by {order}"), &mut last)? {
            return Ok(true);
        }
        let backwards = if without_rowid { order.replace(", ", " desc, ") } else { order };
        let mut first = i64::MAX;
        self.take(&format!("true order by {backwards} desc"), &mut first)?;
        let (mut jumps, mut width) = (0, 1_i64);
        while !without_rowid && last < first && jumps < JUMPS {
            jumps += 1;
            let from = last.saturating_add(width);
            let mut reached = from;
            let whole = self.take(&format!("rowid > {from} and rowid < {first} order by rowid"), &mut reached)?;
            if whole || reached > from {
                // What was jumped over, as far as it can be reached from here.
                let between = format!("rowid > {last} and rowid <= {from} order by rowid desc");
                self.take(&between, &mut { i64::MAX })?;
            }
            if whole {
                break;
            }
            // Behind what was read; wider where nothing was.
            (last, width) = if reached > from { (reached, 1) } else { (last, width.saturating_mul(2)) };
        }
        Ok(false)
    }

    /// Copies rows up to the end, or to a damaged place: then false. `reached` is the last row's id.
    fn take(&mut self, which: &str, reached: &mut i64) -> Result<bool, StoreError> {
        let names = self.columns.join(", ");
        let places = vec!["?"; self.columns.len()].join(", ");
        let id = if which.contains("rowid") { "rowid" } else { "0" };
        let mut insert =
            self.into.prepare(&format!("insert or ignore into {} ({names}) values ({places})", self.table))?;
        let Ok(mut select) = self.from.prepare(&format!("select {names}, {id} from {} where {which}", self.table))
        else {
            return Ok(false);
        };
        let Ok(mut found) = select.query([]) else { return Ok(false) };
        self.into.execute_batch("begin")?;
        let whole = loop {
            let row = match found.next() {
                Ok(Some(row)) => row,
                Ok(None) => break true,
                Err(_) => break false,
            };
            let Ok(values) = values(row, self.columns.len()) else { break false };
            // One that does not fit is damaged.
            let taken = insert.execute(params_from_iter(values));
            match taken {
                Ok(rows) => self.rows += rows as u64,
                Err(error) => {
                    let error = StoreError::from(error);
                    if !error.blames_data() {
                        return Err(error);
                    }
                }
            }
            *reached = row.get(self.columns.len()).unwrap_or(*reached);
            if self.rows.is_multiple_of(ROWS_PER_COPY) {
                self.into.execute_batch("commit; begin")?;
            }
        };
        self.into.execute_batch("commit")?;
        Ok(whole)
    }
}

fn values<'r>(row: &'r Row<'_>, count: usize) -> rusqlite::Result<Vec<ToSqlOutput<'r>>> {
    (0..count).map(|column| row.get_ref(column).map(ToSqlOutput::Borrowed)).collect()
}
