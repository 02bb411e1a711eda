//! Everything that is read from the database.

mod accounts;
mod alerts;
mod expire;
mod export;
mod groups;
mod history;
mod host;
mod journal;
mod lists;
mod replay;
mod resume;
mod samples;

use rusqlite::types::{Type, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Reader, StoreError};
use crate::model::{
    AgentId, AgentNumber, ExitStatus, Io, JsonObject, LeftoverRow, MemoryMethod, Pid, ProcessKey, RunEnd, RunRow,
    StoredAgent, Timestamp,
};

pub(super) use expire::{JournalCursor, believed, last_dated, old_entries, oldest_ticks, pages, reach};
pub use export::{ExportPage, Selection};
pub(super) use history::{
    HOUR_LENGTH, ROLLUP_COLUMNS, Stretch, bucket, next_agent, passes, samples_of_pass, stretches, table,
};
pub(super) use resume::{reached, resume};
pub(super) use samples::status_number;

/// The most rows of one answer, whoever asks.
const ROW_LIMIT: u32 = 10_000;

impl Reader {
    /// An agent by its id; `None` for one that was never seen, or forgotten.
    ///
    /// # Errors
    /// When the database cannot be read in time.
    pub fn agent(&self, id: &AgentId) -> Result<Option<StoredAgent>, StoreError> {
        let sql = format!("select {AGENT_COLUMNS} from agent where agent_id = ?1");
        self.read(|connection| connection.prepare_cached(&sql)?.query_row(params![id.as_str()], agent).optional())
    }

    /// How many errors of an agent are unresolved.
    ///
    /// # Errors
    /// When the database cannot be read in time.
    pub fn unresolved(&self, agent: AgentNumber) -> Result<u64, StoreError> {
        self.read(|connection| unresolved(connection, agent))
    }

    /// The runs of an agent, the last one first.
    ///
    /// # Errors
    /// When the database cannot be read in time.
    pub fn runs(&self, agent: AgentNumber, limit: u32) -> Result<Vec<RunRow>, StoreError> {
        let sql = format!("select {RUN_COLUMNS} from run where agent_number = ?1 order by id desc limit ?2");
        self.read(|connection| {
            connection.prepare_cached(&sql)?.query_map(params![agent.get(), limit.min(ROW_LIMIT)], run)?.collect()
        })
    }
}

/// The unresolved errors of an agent.
pub(super) fn unresolved(connection: &Connection, agent: AgentNumber) -> rusqlite::Result<u64> {
    let sql = "select coalesce(sum(unresolved), 0) from error_group where agent_number = ?1 and unresolved > 0";
    connection.prepare_cached(sql)?.query_row(params![agent.get()], |row| row.get(0))
}

const AGENT_COLUMNS: &str = "number, agent_id, name, source, registry_status, first_seen, last_seen, metadata,
                             restarts, cpu_us, read_bytes, written_bytes";

fn agent(row: &Row<'_>) -> rusqlite::Result<StoredAgent> {
    Ok(StoredAgent {
        number: agent_number(row, 0)?,
        id: agent_id(row, 1)?,
        name: row.get(2)?,
        source: row.get(3)?,
        registry_status: row.get(4)?,
        first_seen: time(row, 5)?,
        last_seen: time(row, 6)?,
        metadata: object(row, 7)?,
        restarts: row.get(8)?,
        cpu_us: row.get(9)?,
        io: Io { read_bytes: row.get(10)?, written_bytes: row.get(11)? },
    })
}

const RUN_COLUMNS: &str = "agent_number, boot, start_ticks, pid, started_at, ended_at, exit_code, exit_signal_number,
                           oom_killed, reason, cpu_us, peak_memory_bytes, last_memory_bytes, memory_method";

fn run(row: &Row<'_>) -> rusqlite::Result<RunRow> {
    let end = match or_null(row, 5, time)? {
        None => None,
        Some(at) => Some(RunEnd {
            at,
            status: match (row.get(6)?, row.get(7)?) {
                (Some(code), _) => Some(ExitStatus::Code(code)),
                (None, Some(number)) => Some(ExitStatus::Signal(number)),
                (None, None) => None,
            },
            oom_killed: row.get(8)?,
            reason: row.get(9)?,
        }),
    };
    Ok(RunRow {
        agent: agent_number(row, 0)?,
        root: process(row, 2)?,
        boot: row.get(1)?,
        started_at: time(row, 4)?,
        end,
        cpu_us: row.get(10)?,
        peak_memory_bytes: row.get(11)?,
        last_memory_bytes: row.get(12)?,
        memory_method: memory_method(row.get_ref(13)?.as_str()?),
    })
}

const LEFTOVER_COLUMNS: &str = "agent_number, start_ticks, pid, boot, command, since, memory_bytes, cpu_us,
                                used_before_us, ended_at";

fn leftover(row: &Row<'_>) -> rusqlite::Result<LeftoverRow> {
    Ok(LeftoverRow {
        agent: agent_number(row, 0)?,
        process: process(row, 1)?,
        boot: row.get(3)?,
        name: row.get(4)?,
        since: time(row, 5)?,
        memory_bytes: row.get(6)?,
        cpu_us: row.get(7)?,
        used_before_us: row.get(8)?,
        ended_at: or_null(row, 9, time)?,
    })
}

fn memory_method(word: &str) -> MemoryMethod {
    if word == MemoryMethod::Pss.word() { MemoryMethod::Pss } else { MemoryMethod::Rss }
}

/// A process, from its start ticks in this column and its pid in the next.
fn process(row: &Row<'_>, column: usize) -> rusqlite::Result<ProcessKey> {
    let number: i64 = row.get(column + 1)?;
    let pid = Pid::new(number).ok_or(rusqlite::Error::IntegralValueOutOfRange(column + 1, number))?;
    Ok(ProcessKey { start_ticks: row.get(column)?, pid })
}

fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    let text = row.get_ref(column)?.as_str()?;
    Timestamp::parse(text).map_err(|error| unreadable(column, error))
}

fn object(row: &Row<'_>, column: usize) -> rusqlite::Result<JsonObject> {
    match row.get_ref(column)?.as_str_or_null()? {
        None | Some("{}") => Ok(JsonObject::default()),
        Some(text) => JsonObject::parse(text).map_err(|error| unreadable(column, error)),
    }
}

fn agent_number(row: &Row<'_>, column: usize) -> rusqlite::Result<AgentNumber> {
    let number: u32 = row.get(column)?;
    AgentNumber::new(number).ok_or(rusqlite::Error::IntegralValueOutOfRange(column, i64::from(number)))
}

fn agent_id(row: &Row<'_>, column: usize) -> rusqlite::Result<AgentId> {
    let text = row.get_ref(column)?.as_str()?;
    AgentId::new(text).map_err(|error| unreadable(column, error))
}

/// What `read` makes of a column; `None` where that is null.
fn or_null<T>(
    row: &Row<'_>,
    column: usize,
    read: fn(&Row<'_>, usize) -> rusqlite::Result<T>,
) -> rusqlite::Result<Option<T>> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        _ => read(row, column).map(Some),
    }
}

/// Somebody else wrote this.
fn unreadable(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}
