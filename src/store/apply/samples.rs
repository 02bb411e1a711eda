//! Samples: the rows that there are most of.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::types::Value;
use rusqlite::{CachedStatement, Connection, params};

use super::execute;
use crate::model::{MemoryMethod, Sample, Tick};
use crate::store::columns::{first_key, kib, pack, tenths};
use crate::store::{StoreError, query};

/// The most statuses kept in a table of their own; a registry that makes up a new word each time must not grow it for
/// ever. Those beyond are written out in each sample, and go with it.
const STATUS_LIMIT: usize = 250;

/// Samples that one statement inserts: a statement has a price of its own, a fifth of that of a row.
const SAMPLES_PER_STATEMENT: usize = 16;

/// How status and memory method of a sample are stored, as far as they were met. To be forgotten after a rollback.
#[derive(Default)]
pub(in crate::store) struct StatusNumbers {
    /// One map a method.
    known: [HashMap<Arc<str>, Value>; 2],
    /// The last one: nearly all samples of a pass have the same.
    last: Option<(MemoryMethod, Arc<str>, Value)>,
}

/// Stores a sampling pass. Tells whether a stretch begins with it, so that the one before is over.
pub(super) fn samples(
    connection: &Connection,
    statuses: &mut StatusNumbers,
    tick: Tick,
    samples: &[Sample],
) -> Result<bool, StoreError> {
    let sql = "insert into ticks (timestamp, tick, samples) values (?1, ?2, ?3)";
    let count = samples.len();
    let at = tick.at.sql();
    execute(connection, sql, params![at, tick.ordinal, count])?;
    let begun = super::rollup::stretch(connection, tick.ordinal, &at)?;
    let first_key = first_key(tick.ordinal)?;
    let chunks = samples.chunks_exact(SAMPLES_PER_STATEMENT);
    let rest = chunks.remainder();
    if samples.len() >= SAMPLES_PER_STATEMENT {
        // Looked up once a pass: its text is long.
        let mut statement = statement(connection, SAMPLES_PER_STATEMENT)?;
        for some in chunks {
            insert(&mut statement, connection, statuses, first_key, some)?;
        }
    }
    if !rest.is_empty() {
        insert(&mut statement(connection, rest.len())?, connection, statuses, first_key, rest)?;
    }
    Ok(begun)
}

/// Inserts so many samples.
fn statement(connection: &Connection, count: usize) -> rusqlite::Result<CachedStatement<'_>> {
    let rows = vec!["(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"; count].join(", ");
    connection.prepare_cached(&format!(
        "insert into sample (key, status, cpu_tenths, memory_kib, process_count, thread_count, cpu_ms, read_io,
                             written_io, error_count, message_count)
         values {rows}"
    ))
}

fn insert(
    statement: &mut CachedStatement<'_>,
    connection: &Connection,
    statuses: &mut StatusNumbers,
    first_key: u64,
    samples: &[Sample],
) -> Result<(), StoreError> {
    let mut parameter = 1;
    for sample in samples {
        let metrics = &sample.metrics;
        statement.raw_bind_parameter(parameter, first_key + u64::from(sample.agent.get()))?;
        let status = statuses.status(connection, metrics.memory_method, &metrics.status)?;
        statement.raw_bind_parameter(parameter + 1, status)?;
        let numbers = [
            metrics.cpu_percent.and_then(tenths),
            metrics.memory_bytes.map(kib),
            metrics.process_count.map(u64::from),
            metrics.thread_count.map(u64::from),
            metrics.cpu_us.map(|us| us / 1000),
        ];
        parameter += 2;
        for number in numbers {
            statement.raw_bind_parameter(parameter, number)?;
            parameter += 1;
        }
        statement.raw_bind_parameter(parameter, metrics.io.map(|io| pack(io.read_bytes)))?;
        statement.raw_bind_parameter(parameter + 1, metrics.io.map(|io| pack(io.written_bytes)))?;
        statement.raw_bind_parameter(parameter + 2, metrics.error_count)?;
        statement.raw_bind_parameter(parameter + 3, metrics.message_count)?;
        parameter += 4;
    }
    statement.raw_execute()?;
    Ok(())
}

impl StatusNumbers {
    /// The number of a status, or its text if there are too many already.
    fn status(
        &mut self,
        connection: &Connection,
        method: MemoryMethod,
        status: &Arc<str>,
    ) -> Result<&Value, StoreError> {
        if self.last.as_ref().is_none_or(|(as_method, text, _)| *as_method != method || text != status) {
            let value = self.look_up(connection, method, status)?;
            self.last = Some((method, Arc::clone(status), value));
        }
        let (_, _, value) = self.last.as_ref().expect("just set");
        Ok(value)
    }

    fn look_up(
        &mut self,
        connection: &Connection,
        method: MemoryMethod,
        status: &Arc<str>,
    ) -> Result<Value, StoreError> {
        let known = &mut self.known[method as usize];
        if let Some(value) = known.get(status) {
            return Ok(value.clone());
        }
        if known.len() >= 2 * STATUS_LIMIT {
            known.clear();
        }
        // From 0: 0 and 1, the numbers of nearly all samples, take no room in a row.
        let sql = "insert into sample_status (id, memory_method, status)
                   select count(*), ?1, ?2 from sample_status having count(*) < ?3
                   on conflict (status, memory_method) do nothing";
        execute(connection, sql, params![method.word(), status, STATUS_LIMIT])?;
        let number = query::status_number(connection, method, status)?;
        let text = || Value::Text(format!("{}:{status}", method.word()));
        let value = number.map_or_else(text, Value::Integer);
        known.insert(Arc::clone(status), value.clone());
        Ok(value)
    }
}
