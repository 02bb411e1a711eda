//! Everything that is read from the database.

mod accounts;
mod alerts;
mod export;
mod groups;
mod history;
mod host;
mod lists;
mod replay;
mod resume;

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::types::{Type, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::columns::{ERROR, EVENT, rollup_at, unpack_io};
use super::{Reader, StoreError};
use crate::model::{
    AgentId, AgentNumber, Body, Entry, ErrorReport, EventReport, ExitStatus, Io, JsonObject, LeftoverRow, MemoryMethod,
    Metrics, Pid, ProcessKey, Recorded, RunEnd, RunRow, StoredAgent, Tick, Timestamp,
};
use crate::retention::{OldTick, ROWS_PER_SLICE, SAMPLES_PER_SLICE, TICKS_PER_SLICE};
use crate::rollup::Resolution;

pub use export::{ExportPage, Selection};
pub(super) use history::{
    HOUR_LENGTH, ROLLUP_COLUMNS, Stretch, bucket, next_agent, passes, samples_of_pass, stretches, table,
};
pub(super) use resume::{reached, resume};

/// The most rows of one answer, whoever asks.
const ROW_LIMIT: u32 = 10_000;

/// Which lines of the journal, newest first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JournalPage {
    /// Only this agent's.
    pub agent: Option<AgentNumber>,
    /// Only those with a lower id: where the page before ended.
    pub before: Option<i64>,
    /// At most so many.
    pub limit: u32,
}

/// An occurrence of an error, as it is stored.
#[derive(Clone, PartialEq, Debug)]
pub struct ErrorRow {
    /// Its place in the journal.
    pub id: i64,
    /// Whose; none for an agent that is no longer known.
    pub agent: Option<(AgentNumber, AgentId)>,
    /// When it happened.
    pub at: Timestamp,
    /// What was told.
    pub report: ErrorReport,
    /// Whether somebody took care of it.
    pub resolved: bool,
}

impl Reader {
    /// An agent by its id; `None` for one that was never seen, or forgotten.
    ///
    /// # Errors
    /// When the database cannot be read in time.
    pub fn agent(&self, id: &AgentId) -> Result<Option<StoredAgent>, StoreError> {
        let sql = format!("select {AGENT_COLUMNS} from agent where agent_id = ?1");
        self.read(|connection| connection.prepare_cached(&sql)?.query_row(params![id.as_str()], agent).optional())
    }

    /// The numbers of an agent at and after `since`, newest first.
    ///
    /// # Errors
    /// When the database cannot be read in time.
    pub fn metrics(&self, agent: AgentNumber, since: Timestamp, limit: u32) -> Result<Vec<Metrics>, StoreError> {
        // Cross joins keep their order: from the passes of that time to one key each.
        let sql = "select t.timestamp, s.status, s.cpu_tenths, s.memory_kib, s.process_count,
                          s.thread_count, s.cpu_ms, s.read_io, s.written_io, s.error_count, s.message_count
                     from ticks t cross join sample s on s.key = (t.tick << 20) + ?1
                    where t.timestamp >= ?2 order by t.timestamp desc, t.tick desc limit ?3";
        self.read(|connection| {
            let mut statuses = Statuses { connection, known: HashMap::new() };
            let values = params![agent.get(), since.sql(), limit.min(ROW_LIMIT)];
            connection.prepare_cached(sql)?.query_map(values, |row| metrics(row, &mut statuses))?.collect()
        })
    }

    /// Events, newest first.
    ///
    /// # Errors
    /// When the database cannot be read in time.
    pub fn events(&self, page: JournalPage) -> Result<Vec<Recorded>, StoreError> {
        self.read(|connection| journal(connection, EVENT, page, event))
    }

    /// Occurrences of errors, newest first.
    ///
    /// # Errors
    /// When the database cannot be read in time.
    pub fn errors(&self, page: JournalPage) -> Result<Vec<ErrorRow>, StoreError> {
        self.read(|connection| journal(connection, ERROR, page, error))
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

/// The number of a status, if it has one.
pub(super) fn status_number(
    connection: &Connection,
    method: MemoryMethod,
    status: &str,
) -> rusqlite::Result<Option<i64>> {
    let sql = "select id from sample_status where status = ?1 and memory_method = ?2";
    connection.prepare_cached(sql)?.query_row(params![status, method.word()], |row| row.get(0)).optional()
}

/// How far deleting trusted the clock when it last ran.
pub(super) fn believed(connection: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    connection.query_row("select believed_at from retention", [], |row| time(row, 0)).optional()
}

/// The date of the last entry of the journal.
pub(super) fn last_dated(connection: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    let sql = "select timestamp from journal order by id desc limit 1";
    connection.query_row(sql, [], |row| time(row, 0)).optional()
}

/// The passes that are longest ago, as many as a slice may be about.
pub(super) fn oldest_ticks(connection: &Connection) -> rusqlite::Result<Vec<OldTick>> {
    let sql = "select timestamp, tick, samples from ticks order by timestamp, tick limit ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![TICKS_PER_SLICE])?;
    let (mut oldest, mut samples) = (Vec::new(), 0);
    while samples <= SAMPLES_PER_SLICE
        && let Some(row) = rows.next()?
    {
        let old = OldTick { tick: Tick { at: time(row, 0)?, ordinal: row.get(1)? }, samples: row.get(2)? };
        samples += old.samples;
        oldest.push(old);
    }
    Ok(oldest)
}

/// Where a walk along the journal in order of time has come to.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct JournalCursor {
    timestamp: String,
    id: i64,
}

/// Moves the cursor on by some entries before `cutoff`. Returns those of them that may go, `None` after the last.
/// Unresolved errors stay if they are to be spared, and so do alerts that fire or ended only after `cutoff`.
pub(super) fn old_entries(
    connection: &Connection,
    cursor: &mut JournalCursor,
    cutoff: Timestamp,
    spare_unresolved: bool,
) -> rusqlite::Result<Option<Vec<i64>>> {
    let sql = "select timestamp, id,
                      case kind
                      when 1 then resolved = 1 or not ?5
                      when 2 then not exists (select 1 from alert_state where fired = j.id)
                              and not exists (select 1 from journal e where e.fired = j.id and e.timestamp >= ?3)
                      when 3 then not exists (select 1 from journal f where f.id = j.fired and f.timestamp >= ?3)
                      else true end
                 from journal j
                where (timestamp, id) > (?1, ?2) and timestamp < ?3 order by timestamp, id limit ?4";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows =
        statement.query(params![cursor.timestamp, cursor.id, cutoff.sql(), ROWS_PER_SLICE, spare_unresolved])?;
    let (mut seen, mut ids) = (0, Vec::new());
    let mut last = cursor.clone();
    while let Some(row) = rows.next()? {
        last = JournalCursor { timestamp: row.get(0)?, id: row.get(1)? };
        seen += 1;
        if row.get(2)? {
            ids.push(last.id);
        }
    }
    *cursor = last;
    Ok((seen > 0).then_some(ids))
}

/// From when to when the history goes.
pub(super) struct Reach {
    pub(super) oldest_pass: Option<Timestamp>,
    pub(super) newest_pass: Option<Timestamp>,
    pub(super) oldest_minute: Option<Timestamp>,
}

/// See [`Reach`].
pub(super) fn reach(connection: &Connection) -> rusqlite::Result<Reach> {
    let pass = |order: &str| {
        let sql = format!("select timestamp from ticks order by timestamp {order} limit 1");
        connection.query_row(&sql, [], |row| time(row, 0)).optional()
    };
    let minute = connection.query_row("select min(key) from minute", [], |row| row.get::<_, Option<i64>>(0))?;
    Ok(Reach {
        oldest_pass: pass("asc")?,
        newest_pass: pass("desc")?,
        oldest_minute: minute.map(|key| rollup_at(Resolution::Minute, key)),
    })
}

/// The pages of the database, and how many of them are free.
pub(super) fn pages(connection: &Connection) -> rusqlite::Result<(u64, u64)> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get(0));
    Ok((number("page_count")?, number("freelist_count")?))
}

fn journal<T>(
    connection: &Connection,
    kind: i64,
    page: JournalPage,
    item: fn(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    let of = if page.agent.is_some() { "j.agent_number = ?4 and" } else { "?4 is null and" };
    let sql = format!(
        "select {JOURNAL_COLUMNS}
           from journal j left join agent a on a.number = j.agent_number
          where {of} j.kind = ?1 and j.id < ?2 order by j.id desc limit ?3"
    );
    let before = page.before.unwrap_or(i64::MAX);
    let values = params![kind, before, page.limit.min(ROW_LIMIT), page.agent.map(AgentNumber::get)];
    connection.prepare_cached(&sql)?.query_map(values, item)?.collect()
}

/// Of `journal j` and `agent a`.
const JOURNAL_COLUMNS: &str =
    "j.id, j.agent_number, a.agent_id, j.timestamp, j.type, j.message, j.metadata, j.stack_trace, j.resolved,
     (select fingerprint from error_group where id = j.error_group)";

fn event(row: &Row<'_>) -> rusqlite::Result<Recorded> {
    let report = EventReport { event_type: row.get(4)?, message: row.get(5)?, metadata: object(row, 6)? };
    let entry = Entry { agent: owner(row)?, at: time(row, 3)?, body: Body::Event(report) };
    Ok(Recorded { id: Some(row.get(0)?), entry })
}

fn error(row: &Row<'_>) -> rusqlite::Result<ErrorRow> {
    let report = ErrorReport {
        error_type: row.get(4)?,
        message: row.get(5)?,
        metadata: object(row, 6)?,
        stack: row.get(7)?,
        fingerprint: row.get(9)?,
    };
    Ok(ErrorRow { id: row.get(0)?, agent: owner(row)?, at: time(row, 3)?, report, resolved: row.get(8)? })
}

/// Whose line of the journal it is. None for the daemon's own, and for an agent that is no longer known.
fn owner(row: &Row<'_>) -> rusqlite::Result<Option<(AgentNumber, AgentId)>> {
    let Some(id) = row.get::<_, Option<String>>(2)? else { return Ok(None) };
    Ok(Some((agent_number(row, 1)?, agent_id(&id, 2)?)))
}

const AGENT_COLUMNS: &str = "number, agent_id, name, source, registry_status, first_seen, last_seen, metadata,
                             restarts, cpu_us, read_bytes, written_bytes";

fn agent(row: &Row<'_>) -> rusqlite::Result<StoredAgent> {
    Ok(StoredAgent {
        number: agent_number(row, 0)?,
        id: agent_id(&row.get::<_, String>(1)?, 1)?,
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
    let end = match row.get::<_, Option<String>>(5)? {
        None => None,
        Some(_) => Some(RunEnd {
            at: time(row, 5)?,
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
        ended_at: row.get_ref(9)?.as_str_or_null()?.map(|_| time(row, 9)).transpose()?,
    })
}

/// The statuses met in one answer, with their memory methods.
struct Statuses<'c> {
    connection: &'c Connection,
    known: HashMap<i64, (MemoryMethod, Arc<str>)>,
}

impl Statuses<'_> {
    fn status(&mut self, row: &Row<'_>, column: usize) -> rusqlite::Result<(MemoryMethod, Arc<str>)> {
        let number = match row.get_ref(column)? {
            ValueRef::Integer(number) => number,
            rare => {
                let (method, status) = rare.as_str()?.split_once(':').unwrap_or_default();
                return Ok((memory_method(method), status.into()));
            }
        };
        if let Some((method, status)) = self.known.get(&number) {
            return Ok((*method, Arc::clone(status)));
        }
        let sql = "select memory_method, status from sample_status where id = ?1";
        let found: (MemoryMethod, Arc<str>) = self
            .connection
            .prepare_cached(sql)?
            .query_row(params![number], |row| Ok((memory_method(row.get_ref(0)?.as_str()?), row.get(1)?)))?;
        self.known.insert(number, found.clone());
        Ok(found)
    }
}

fn memory_method(word: &str) -> MemoryMethod {
    if word == MemoryMethod::Pss.word() { MemoryMethod::Pss } else { MemoryMethod::Rss }
}

#[expect(clippy::cast_precision_loss, reason = "tenths of a percent are far below 2^53")]
fn metrics(row: &Row<'_>, statuses: &mut Statuses<'_>) -> rusqlite::Result<Metrics> {
    let (memory_method, status) = statuses.status(row, 1)?;
    Ok(Metrics {
        at: time(row, 0)?,
        status,
        memory_method,
        cpu_percent: row.get::<_, Option<i64>>(2)?.map(|tenths| tenths as f64 / 10.0),
        memory_bytes: row.get::<_, Option<u64>>(3)?.map(|kib| kib.saturating_mul(1024)),
        process_count: row.get(4)?,
        thread_count: row.get(5)?,
        cpu_us: row.get::<_, Option<u64>>(6)?.map(|ms| ms.saturating_mul(1000)),
        io: unpack_io(row.get(7)?, row.get(8)?),
        error_count: row.get(9)?,
        message_count: row.get(10)?,
    })
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

fn agent_id(text: &str, column: usize) -> rusqlite::Result<AgentId> {
    AgentId::new(text).map_err(|error| unreadable(column, error))
}

/// Somebody else wrote this.
fn unreadable(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}
