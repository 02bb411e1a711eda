//! Samples: the rows that there are most of.

use std::collections::{HashMap, hash_map};
use std::sync::Arc;

use rusqlite::types::Value;
use rusqlite::{Connection, params};

use super::execute;
use crate::model::{AgentNumber, MemoryMethod, Sample, Tick};
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

/// Stores a sampling pass.
pub(super) fn samples(
    connection: &Connection,
    words: &mut Words,
    tick: Tick,
    samples: &[Sample],
) -> Result<(), StoreError> {
    let sql = "insert into ticks (timestamp, tick, samples) values (?1, ?2, ?3)";
    let count = samples.len();
    execute(connection, sql, params![tick.at.sql(), tick.ordinal, count])?;

    for some in samples.chunks(SAMPLES_PER_STATEMENT) {
        insert_samples(connection, words, first_key(tick.ordinal)?, some)?;
    }
    Ok(())
}

fn insert_samples(
    connection: &Connection,
    words: &mut Words,
    first_key: u64,
    samples: &[Sample],
) -> Result<(), StoreError> {
    let rows = vec!["(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"; samples.len()].join(", ");
    let mut statement = connection.prepare_cached(&format!(
        "insert into sample (key, status, cpu_tenths, memory_kib, process_count, thread_count, cpu_ms, read_bytes,
                             written_bytes, error_count, message_count)
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
            metrics.io.map(|io| io.read_bytes),
            metrics.io.map(|io| io.written_bytes),
            Some(metrics.error_count),
            metrics.message_count,
        ];
        parameter += 2;
        for number in numbers {
            statement.raw_bind_parameter(parameter, number)?;
            parameter += 1;
        }
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

/// The lowest key of a pass.
pub(super) fn first_key(tick: u64) -> Result<u64, StoreError> {
    let fits = |key: &u64| i64::try_from(*key).is_ok();
    tick.checked_mul(AgentNumber::COUNT.into()).filter(fits).ok_or(StoreError::Value { what: "a tick" })
}

/// A percentage in tenths; what is no number is not known.
fn tenths(percent: f64) -> Option<u64> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float's `as` saturates")]
    percent.is_finite().then(|| (percent * 10.0).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(first_key(3).unwrap(), 3 << 20);
        assert!(first_key(1 << 43).is_err() && first_key(u64::MAX).is_err());
        assert_eq!((tenths(12.34), tenths(399.96), tenths(f64::NAN)), (Some(123), Some(4000), None));
    }
}
