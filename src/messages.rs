//! Counts agents' messages in the broker's own SQLite database: the rows of its table `tickets` that are from an agent or
//! for it. Reads only, seldom and briefly.
#![deny(
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unwrap_used,
    clippy::panic,
    clippy::unreachable,
    reason = "no input may end the daemon"
)]

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};

use crate::model::AgentId;
use crate::sqlite::{self, Deadline};

/// How long the database may be busy with us, or keep us waiting for its locks.
const DEADLINE: Duration = Duration::from_millis(200);

/// Pages kept, KiB.
const CACHE_KIB: i32 = 512;

/// The most agents that are counted.
const AGENTS: usize = 20_000;

/// A message that an agent sends itself is one.
const COUNT: &str = "select cast(agent as text), sum(messages)
      from (select target_agent as agent, count(*) as messages from tickets group by 1
            union all
            select origin_agent, count(*) from tickets where origin_agent is not target_agent group by 1)
     where agent is not null
     group by 1 limit ?1";

/// Messages by agent. Who is not in it has none.
pub(crate) type Counts = BTreeMap<AgentId, u64>;

/// A broker's database. Holds it open, without a lock, to see cheaply whether it has changed.
pub(crate) struct Counter {
    path: PathBuf,
    open: Option<Open>,
    /// The version that was counted; none before the first count, and after a failure.
    counted: Option<i64>,
}

struct Open {
    connection: Connection,
    /// Which file it is: another may take its place.
    file: (u64, u64),
    deadline: Deadline,
}

impl Counter {
    /// Of the database at `path`, which need not be there yet.
    pub(crate) fn new(path: PathBuf) -> Counter {
        Counter { path, open: None, counted: None }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Counts again next time, even if nothing has changed.
    pub(crate) fn forget(&mut self) {
        self.counted = None;
    }

    /// Counts, if the database has changed since it was counted last; `None` if it has not. Blocks for a fraction of a
    /// second at most, unless the file system itself hangs.
    ///
    /// # Errors
    /// Says why there is no count.
    pub(crate) fn read(&mut self) -> Option<Result<Counts, String>> {
        let read = self.try_read();
        if let Err(reason) = read {
            (self.open, self.counted) = (None, None);
            return Some(Err(reason));
        }
        read.transpose()
    }

    fn try_read(&mut self) -> Result<Option<Counts>, String> {
        let metadata = std::fs::metadata(&self.path).map_err(|error| format!("cannot be read: {error}"))?;
        if !metadata.is_file() {
            return Err("is not a regular file".to_owned());
        }
        let file = (metadata.dev(), metadata.ino());
        if self.open.as_ref().is_some_and(|open| open.file != file) {
            (self.open, self.counted) = (None, None);
        }
        let open = match &mut self.open {
            Some(open) => open,
            place => place.insert(Open::new(&self.path, file).map_err(|error| explain(&self.path, &metadata, &error))?),
        };
        open.deadline.set(DEADLINE);
        let failed = |error: rusqlite::Error| explain(&self.path, &metadata, &error);
        // Another number than before: another connection has written, sqlite.org/pragma.html#pragma_data_version.
        let version = open.connection.pragma_query_value(None, "data_version", |row| row.get(0)).map_err(failed)?;
        if self.counted == Some(version) {
            return Ok(None);
        }
        let counts = open.count().map_err(failed)?;
        if counts.len() > AGENTS {
            return Err(format!("its messages are of more than {AGENTS} agents"));
        }
        self.counted = Some(version);
        // What is no agent's id is nobody's.
        let of_agent = |(id, count): (Vec<u8>, u64)| Some((AgentId::new(str::from_utf8(&id).ok()?).ok()?, count));
        Ok(Some(counts.into_iter().filter_map(of_agent).collect()))
    }
}

impl Open {
    fn new(path: &Path, file: (u64, u64)) -> rusqlite::Result<Open> {
        let deadline = Deadline::never();
        let late = deadline.clone();
        let connection = sqlite::open(path, sqlite::READ_ONLY, CACHE_KIB, DEADLINE, move || late.is_over())?;
        Ok(Open { connection, file, deadline })
    }

    /// With ids as they are there, whatever that is.
    fn count(&self) -> rusqlite::Result<Vec<(Vec<u8>, u64)>> {
        let mut statement = self.connection.prepare(COUNT)?;
        let row = |row: &rusqlite::Row<'_>| Ok((row.get_ref(0)?.as_bytes()?.to_vec(), row.get(1)?));
        statement.query_map([AGENTS + 1], row)?.collect()
    }
}

fn explain(path: &Path, metadata: &Metadata, error: &rusqlite::Error) -> String {
    match error.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) => {
            format!(
                "counting takes longer than {DEADLINE:?}: indices on tickets (target_agent) and (origin_agent) help"
            )
        }
        Some(ErrorCode::DatabaseBusy) => "is locked by somebody who writes".to_owned(),
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly) if is_in_wal_mode(path) => format!(
            "is in WAL mode and nobody has it open: until the broker (user {}) opens it again, no other user can read it",
            metadata.uid()
        ),
        _ => format!("cannot be counted: {error}"),
    }
}

/// Whether a database keeps its changes in a log beside it: the version to read it is 2,
/// sqlite.org/fileformat2.html#file_format_version_numbers.
fn is_in_wal_mode(path: &Path) -> bool {
    let mut header = [0; 20];
    File::open(path).and_then(|mut file| file.read_exact(&mut header)).is_ok() && header[19] == 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::monotonic;

    const TABLE: &str = "create table tickets (id integer primary key, target_agent, origin_agent);";

    struct Broker {
        directory: tempfile::TempDir,
        connection: Connection,
    }

    impl Broker {
        fn new(sql: &str) -> Broker {
            let directory = tempfile::tempdir().unwrap();
            let connection = Connection::open(directory.path().join("broker.db")).unwrap();
            connection.execute_batch(sql).unwrap();
            Broker { directory, connection }
        }

        fn counter(&self) -> Counter {
            Counter::new(self.directory.path().join("broker.db"))
        }
    }

    fn counts(read: Option<Result<Counts, String>>) -> Vec<(String, u64)> {
        read.expect("it changed").unwrap().into_iter().map(|(id, count)| (id.as_str().to_owned(), count)).collect()
    }

    fn reason(read: Option<Result<Counts, String>>) -> String {
        read.expect("a failure is told each time").unwrap_err()
    }

    #[test]
    fn counts_once_for_each_change() {
        for mode in ["delete", "wal"] {
            let broker = Broker::new(&format!("pragma journal_mode = {mode}; {TABLE}"));
            let add = |target: &str, origin: &str| {
                let sql = format!("insert into tickets (target_agent, origin_agent) values ({target}, {origin})");
                broker.connection.execute_batch(&sql).unwrap();
            };
            for (target, origin) in
                [("'a'", "'b'"), ("'a'", "null"), ("'c'", "'c'"), ("null", "null"), ("7", "''"), ("x'ff'", "null")]
            {
                add(target, origin);
            }
            let mut counter = broker.counter();
            let expected = [("7", 1), ("a", 2), ("b", 1), ("c", 1)].map(|(id, count)| (id.to_owned(), count));
            assert_eq!(counts(counter.read()), expected, "{mode}");
            assert_eq!(counter.read(), None, "{mode}: nothing has changed");
            add("'d'", "'a'");
            let more = counts(counter.read());
            assert!(more.contains(&("a".to_owned(), 3)) && more.contains(&("d".to_owned(), 1)), "{mode}: {more:?}");
            counter.forget();
            assert_eq!(counts(counter.read()), more);
        }
    }

    #[test]
    fn another_file_in_its_place_is_read() {
        let broker = Broker::new(&format!("{TABLE} insert into tickets (target_agent) values ('a')"));
        let mut counter = broker.counter();
        assert_eq!(counts(counter.read()), [("a".to_owned(), 1)]);
        let other = Broker::new(&format!("{TABLE} insert into tickets (target_agent) values ('b')"));
        std::fs::rename(other.directory.path().join("broker.db"), counter.path()).unwrap();
        assert_eq!(counts(counter.read()), [("b".to_owned(), 1)]);
        std::fs::remove_file(counter.path()).unwrap();
        assert!(reason(counter.read()).contains("No such file"));
    }

    #[test]
    fn says_why_not() {
        let broker = Broker::new("create table other (x)");
        assert!(reason(broker.counter().read()).contains("no such table: tickets"));
        let locked = Broker::new(TABLE);
        locked.connection.execute_batch("begin exclusive").unwrap();
        let asked = monotonic();
        assert!(reason(locked.counter().read()).contains("locked by somebody"));
        assert!(monotonic().since(asked) < DEADLINE * 20, "SQLite by itself would wait longer");
        let endless = Broker::new(
            "create view tickets as with recursive n (i) as (select 1 union all select i + 1 from n)
             select 'a' as target_agent, 'b' as origin_agent from n",
        );
        let mut counter = endless.counter();
        assert!(reason(counter.read()).contains("longer than 200ms"));
        assert!(reason(counter.read()).contains("longer than 200ms"), "and again, on a new connection");
        let mut folder = Counter::new(broker.directory.path().to_owned());
        assert!(reason(folder.read()).contains("not a regular file"));
        let text = broker.directory.path().join("text");
        std::fs::write(&text, "not a database, but long enough to be looked at as if it were one").unwrap();
        assert!(reason(Counter::new(text).read()).contains("not a database"));
    }

    #[test]
    fn the_broker_is_not_held_up() {
        let broker = Broker::new(&format!("pragma journal_mode = wal; {TABLE}"));
        let mut counter = broker.counter();
        counter.read();
        broker.connection.execute_batch("insert into tickets (target_agent) values ('a')").unwrap();
        counter.read();
        let busy: i64 = broker.connection.query_row("pragma wal_checkpoint(truncate)", [], |row| row.get(0)).unwrap();
        assert_eq!(busy, 0, "nobody reads any more");
        broker.connection.execute_batch("begin exclusive; commit; vacuum").unwrap();
    }
}
