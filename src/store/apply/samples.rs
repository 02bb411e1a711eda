//! Samples: the rows that there are most of.

use std::collections::{HashMap, hash_map};
use std::sync::Arc;

use rusqlite::types::Value;
use rusqlite::{Connection, params};

use super::execute;
use crate::model::{MemoryMethod, Sample, Tick};
use crate::store::columns::{first_key, pack, tenths};
use crate::store::{StoreError, query};

/// The most statuses kept in a table of their own; a registry that makes up a new word each time must not grow it for
/// ever. Those beyond are written out in each sample, and go with it.
const STATUS_LIMIT: usize = 250;

/// Samples that one statement inserts: a statement has a price of its own, a fifth of that of a row.
const SAMPLES_PER_STATEMENT: usize = 16;

/// How status and memory method of a sample are stored, as far as they were met: one map a method. To be forgotten after
/// a rollback.
#[derive(Default)]
pub(in crate::store) struct Words([HashMap<Arc<str>, Value>; 2]);

/// Stores a sampling pass. Tells whether a stretch begins with it, so that the one before is over.
pub(super) fn samples(
    connection: &Connection,
    words: &mut Words,
    tick: Tick,
    samples: &[Sample],
) -> Result<bool, StoreError> {
    let sql = "insert into ticks (timestamp, tick, samples) values (?1, ?2, ?3)";
    let count = samples.len();
    let at = tick.at.sql();
    execute(connection, sql, params![at, tick.ordinal, count])?;
    let begun = super::rollup::stretch(connection, tick.ordinal, &at)?;
    for some in samples.chunks(SAMPLES_PER_STATEMENT) {
        insert_samples(connection, words, first_key(tick.ordinal)?, some)?;
    }
    Ok(begun)
}

fn insert_samples(
    connection: &Connection,
    words: &mut Words,
    first_key: u64,
    samples: &[Sample],
) -> Result<(), StoreError> {
    let rows = vec!["(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"; samples.len()].join(", ");
    let mut statement = connection.prepare_cached(&format!(
        "insert into sample (key, status, cpu_tenths, memory_kib, process_count, thread_count, cpu_ms, read_io,
                             written_io, error_count, message_count)
         values {rows}"
    ))?;
    let mut parameter = 1;
    for sample in samples {
        let metrics = &sample.metrics;
        statement.raw_bind_parameter(parameter, first_key + u64::from(sample.agent.get()))?;
        let status = words.status(connection, metrics.memory_method, &metrics.status)?;
        statement.raw_bind_parameter(parameter + 1, status)?;
        let numbers = [
            metrics.cpu_percent.and_then(tenths),
            metrics.memory_bytes.map(|bytes| bytes / 1024),
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

impl Words {
    /// The number of a status, or its text if there are too many already.
    fn status(
        &mut self,
        connection: &Connection,
        method: MemoryMethod,
        status: &Arc<str>,
    ) -> Result<&Value, StoreError> {
        let known = &mut self.0[method as usize];
        if known.len() >= 2 * STATUS_LIMIT {
            known.clear();
        }
        // Arc is cheap to clone, and most samples find theirs.
        match known.entry(Arc::clone(status)) {
            hash_map::Entry::Occupied(found) => Ok(found.into_mut()),
            hash_map::Entry::Vacant(place) => {
                // From 0: 0 and 1, the numbers of nearly all samples, take no room in a row.
                let sql = "insert into sample_status (id, memory_method, status)
                           select count(*), ?1, ?2 from sample_status having count(*) < ?3
                           on conflict (status, memory_method) do nothing";
                execute(connection, sql, params![method.word(), status, STATUS_LIMIT])?;
                let number = query::status_number(connection, method, status)?;
                let text = || Value::Text(format!("{}:{status}", method.word()));
                Ok(place.insert(number.map_or_else(text, Value::Integer)))
            }
        }
    }
}
