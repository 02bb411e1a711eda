//! Samples, one by one.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::super::columns::{from_kib, from_tenths, unpack_io};
use super::{ROW_LIMIT, Reader, StoreError, memory_method, time};
use crate::model::{AgentNumber, MemoryMethod, Metrics, Timestamp};

/// Of `ticks t` and `sample s`, as [`metrics`] reads them.
pub(super) const SAMPLE_COLUMNS: &str = "t.timestamp, s.status, s.cpu_tenths, s.memory_kib, s.process_count,
    s.thread_count, s.cpu_ms, s.read_io, s.written_io, s.error_count, s.message_count";

impl Reader {
    /// The numbers of an agent at and after `since`, newest first.
    ///
    /// # Errors
    /// When the database cannot be read in time.
    pub fn metrics(&self, agent: AgentNumber, since: Timestamp, limit: u32) -> Result<Vec<Metrics>, StoreError> {
        // Cross joins keep their order: from the passes of that time to one key each.
        let sql = format!(
            "select {SAMPLE_COLUMNS}
               from ticks t cross join sample s on s.key = (t.tick << 20) + ?1
              where t.timestamp >= ?2 order by t.timestamp desc, t.tick desc limit ?3"
        );
        self.read(|connection| {
            let mut statuses = Statuses::new(connection);
            let values = params![agent.get(), since.sql(), limit.min(ROW_LIMIT)];
            connection.prepare_cached(&sql)?.query_map(values, |row| metrics(row, &mut statuses))?.collect()
        })
    }
}

/// The number of a status, if it has one.
pub(in crate::store) fn status_number(
    connection: &Connection,
    method: MemoryMethod,
    status: &str,
) -> rusqlite::Result<Option<i64>> {
    let sql = "select id from sample_status where status = ?1 and memory_method = ?2";
    connection.prepare_cached(sql)?.query_row(params![status, method.word()], |row| row.get(0)).optional()
}

pub(super) fn metrics(row: &Row<'_>, statuses: &mut Statuses<'_>) -> rusqlite::Result<Metrics> {
    let (memory_method, status) = statuses.status(row, 1)?;
    Ok(Metrics {
        at: time(row, 0)?,
        status,
        memory_method,
        cpu_percent: from_tenths(row.get(2)?),
        memory_bytes: from_kib(row.get(3)?),
        process_count: row.get(4)?,
        thread_count: row.get(5)?,
        cpu_us: row.get::<_, Option<u64>>(6)?.map(|ms| ms.saturating_mul(1000)),
        io: unpack_io(row.get(7)?, row.get(8)?),
        error_count: row.get(9)?,
        message_count: row.get(10)?,
    })
}

/// The statuses met in one answer, with their memory methods.
pub(super) struct Statuses<'c> {
    connection: &'c Connection,
    known: HashMap<i64, (MemoryMethod, Arc<str>)>,
}

impl<'c> Statuses<'c> {
    pub(super) fn new(connection: &'c Connection) -> Statuses<'c> {
        Statuses { connection, known: HashMap::new() }
    }

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
