//! Answers questions about what is stored, beside the one who writes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};

use super::database::check_version;
use super::migrate::VERSION;
use super::{FILE_NAME, READ_ONLY, StoreError};
use crate::sqlite::{self, Deadline};

/// The most connections. Each may hold a megabyte and a half of pages.
const CONNECTIONS: usize = 3;

/// The longest that a question may take, and the longest that it waits for a connection. A long read keeps the log from
/// being written back, and lets it grow.
const DEADLINE: Duration = Duration::from_secs(2);

/// Only while a log is being recovered or cut.
const PATIENCE: Duration = Duration::from_secs(1);

/// Pages kept by each connection, KiB: so much the last hour of an agent takes, a page for each of 360 passes.
const CACHE_KIB: i32 = 1_600;

/// Answers questions, at most three at a time, from connections of its own that cannot write. Cheap to clone; all
/// clones are one. Its methods wait for the disk: not for an async task.
#[derive(Clone)]
pub struct Reader(Arc<Pool>);

struct Pool {
    path: PathBuf,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Default)]
struct State {
    idle: Vec<Pooled>,
    lent: usize,
    /// Connections of an earlier generation are not used again.
    generation: u64,
    closed: bool,
    /// What was met of damage, until the writer takes it.
    damage: Option<Arc<str>>,
    /// Whether somebody else wrote into the file, so that it may not be whole.
    suspected: bool,
}

/// A connection of the pool.
struct Pooled {
    connection: Connection,
    generation: u64,
    deadline: Deadline,
}

impl Reader {
    /// Reads the database in `directory`. Connections are made when they are needed.
    pub fn new(directory: &Path) -> Reader {
        let state = Mutex::new(State::default());
        Reader(Arc::new(Pool { path: directory.join(FILE_NAME), state, freed: Condvar::new() }))
    }

    /// Closes all connections, for all clones: the last to close a database in WAL mode removes its log, and only one
    /// that can write is able to, <https://sqlite.org/wal.html#read_only_databases>. Waits for questions under way.
    pub(super) fn close(&self) {
        let mut state = self.0.lock();
        state.closed = true;
        self.close_all(state);
    }

    /// From now on questions are asked of the file that is in its place now, and nothing is known of it. Waits for questions
    /// under way.
    pub(super) fn renew(&self) {
        let mut state = self.0.lock();
        (state.damage, state.suspected) = (None, false);
        self.close_all(state);
    }

    /// Closes all connections; the next questions have others. Waits for questions under way.
    pub(super) fn let_go(&self) {
        self.close_all(self.0.lock());
    }

    fn close_all(&self, mut state: MutexGuard<'_, State>) {
        state.generation += 1;
        state.idle.clear();
        drop(self.0.freed.wait_timeout_while(state, DEADLINE, |state| state.lent > 0));
    }

    /// Notes that somebody else wrote into the file.
    pub(crate) fn suspect(&self) {
        self.0.lock().suspected = true;
    }

    /// Whether somebody else wrote into the file since this was asked for the last time: then all of it is to be looked at.
    pub fn take_suspicion(&self) -> bool {
        std::mem::take(&mut self.0.lock().suspected)
    }

    /// What those who read met of damage since this was asked for the last time.
    pub(super) fn take_damage(&self) -> Option<Arc<str>> {
        self.0.lock().damage.take()
    }

    /// Keeps what the error says of damage for the writer, unless the file was replaced meanwhile.
    fn note_damage(&self, generation: u64, error: StoreError) -> StoreError {
        let damage = error.damage();
        let mut state = self.0.lock();
        if damage.is_some() && state.generation == generation {
            state.damage = damage;
        }
        error
    }

    /// Asks something long of a connection that is none of those that answer questions. It is given up when the file is
    /// replaced.
    pub(super) fn read_apart<T>(
        &self,
        question: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let generation = {
            let state = self.0.lock();
            if state.closed {
                return Err(StoreError::Closed);
            }
            state.generation
        };
        let pool = Arc::clone(&self.0);
        let given_up = move || {
            let state = pool.lock();
            state.closed || state.generation != generation
        };
        let answer = open(&self.0.path, given_up).and_then(|connection| question(&connection));
        answer.map_err(|error| self.note_damage(generation, error))
    }

    /// Asks one question, as one transaction.
    pub(super) fn read<T>(&self, question: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let mut loan = self.0.lend()?;
        let pooled = loan.pooled.take().map_or_else(|| Pooled::open(&self.0.path, loan.generation), Ok);
        let answer = pooled.and_then(|pooled| {
            pooled.deadline.set(DEADLINE);
            // After trouble a new connection is worth more than this one.
            let answer = transaction(&pooled.connection, question).map_err(failed)?;
            loan.pooled = Some(pooled);
            Ok(answer)
        });
        answer.map_err(|error| self.note_damage(loan.generation, error))
    }
}

fn transaction<T>(
    connection: &Connection,
    question: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let transaction = connection.unchecked_transaction()?;
    let answer = question(&transaction)?;
    transaction.commit()?;
    Ok(answer)
}

impl Pooled {
    fn open(path: &Path, generation: u64) -> Result<Pooled, StoreError> {
        let deadline = Deadline::never();
        let late = deadline.clone();
        Ok(Pooled { connection: open(path, move || late.is_over())?, generation, deadline })
    }
}

/// Opens a database of this version's schema: questions are asked in no other, and who only reads brings none up to date.
fn open(path: &Path, given_up: impl FnMut() -> bool + Send + 'static) -> Result<Connection, StoreError> {
    let connection = sqlite::open(path, READ_ONLY, CACHE_KIB, PATIENCE, given_up).map_err(failed)?;
    let found = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    check_version(path, found)?;
    if found < VERSION {
        return Err(StoreError::Older { path: path.to_owned(), found, known: VERSION });
    }
    Ok(connection)
}

fn failed(source: rusqlite::Error) -> StoreError {
    match source.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) => StoreError::Deadline,
        _ => StoreError::Sqlite { doing: "read the database", source },
    }
}

/// The right to use one connection; goes back when dropped, with the connection if there is one.
struct Loan<'p> {
    pool: &'p Pool,
    generation: u64,
    pooled: Option<Pooled>,
}

impl Pool {
    fn lend(&self) -> Result<Loan<'_>, StoreError> {
        let full = |state: &mut State| state.lent >= CONNECTIONS && !state.closed;
        let (mut state, _) =
            self.freed.wait_timeout_while(self.lock(), DEADLINE, full).unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return Err(StoreError::Closed);
        }
        if full(&mut state) {
            return Err(StoreError::Deadline);
        }
        state.lent += 1;
        Ok(Loan { pool: self, generation: state.generation, pooled: state.idle.pop() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        let pooled = self.pooled.take().filter(|pooled| !state.closed && pooled.generation == state.generation);
        state.idle.extend(pooled);
        state.lent -= 1;
        drop(state);
        // All: besides those who wait for a connection, there may be one who waits for all of them.
        self.pool.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::monotonic;

    fn database() -> (tempfile::TempDir, Reader) {
        let directory = tempfile::tempdir().unwrap();
        let connection = Connection::open(directory.path().join(FILE_NAME)).unwrap();
        connection.execute_batch("create table t (x); insert into t values (7);").unwrap();
        connection.pragma_update(None, "user_version", VERSION).unwrap();
        let reader = Reader::new(&directory.path().canonicalize().unwrap());
        (directory, reader)
    }

    #[test]
    fn an_endless_question_ends() {
        let (_directory, reader) = database();
        let endless = "with recursive n (i) as (select 1 union all select i + 1 from n) select count(*) from n";
        let before = monotonic();
        let answer = reader.read(|connection| connection.query_row(endless, [], |row| row.get::<_, i64>(0)));
        assert!(matches!(answer, Err(StoreError::Deadline)), "{answer:?}");
        assert!(monotonic().since(before) < DEADLINE * 2);
        let seven: i64 =
            reader.read(|connection| connection.query_row("select x from t", [], |row| row.get(0))).unwrap();
        assert_eq!(seven, 7, "and the next one is answered");
    }

    #[test]
    fn another_schema_is_named() {
        let (directory, reader) = database();
        for (version, expected) in
            [(VERSION - 1, "until the daemon is started"), (VERSION + 1, "use a newer agent-monitor")]
        {
            let connection = Connection::open(directory.path().join(FILE_NAME)).unwrap();
            connection.pragma_update(None, "user_version", version).unwrap();
            let refused = reader.read(|_| Ok(())).unwrap_err().to_string();
            assert!(refused.contains(expected), "{refused}");
        }
    }

    #[test]
    fn nothing_can_be_written() {
        let (_directory, reader) = database();
        let written = reader.read(|connection| connection.execute("insert into t values (8)", []));
        assert!(matches!(written, Err(StoreError::Sqlite { .. })), "{written:?}");
    }

    #[test]
    fn connections_are_counted_and_come_back() {
        let (_directory, reader) = database();
        let loans: Vec<Loan<'_>> = (0..CONNECTIONS).map(|_| reader.0.lend().unwrap()).collect();
        assert!(matches!(reader.0.lend(), Err(StoreError::Deadline)), "one too many waits, then is refused");
        drop(loans);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            reader.read(|_| -> rusqlite::Result<()> { panic!("a question that panics") })
        }));
        assert!(panicked.is_err());
        assert_eq!(reader.0.lock().lent, 0);
    }

    #[test]
    fn closing_waits_for_a_question_and_ends_all_others() {
        let (_directory, reader) = database();
        let clone = reader.clone();
        let (asked, told) = std::sync::mpsc::channel();
        let answer = std::thread::spawn(move || {
            clone.read(|connection| {
                asked.send(()).unwrap();
                // Long enough that closing has begun, should it not wait.
                let long = "with recursive n (i) as (select 1 union all select i + 1 from n limit 100000)
                            select count(*) from n";
                connection.query_row(long, [], |row| row.get::<_, i64>(0))
            })
        });
        told.recv().unwrap();
        reader.close();
        let state = reader.0.lock();
        assert_eq!((state.lent, state.idle.len()), (0, 0));
        drop(state);
        assert_eq!(answer.join().unwrap().unwrap(), 100_000);
        let refused = reader.read(|_| Ok(()));
        assert!(matches!(refused, Err(StoreError::Closed)), "{refused:?}");
    }
}
