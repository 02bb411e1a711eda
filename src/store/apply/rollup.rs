//! Rows per minute and hour, and the stretches of passes that they are still to be made of.

use rusqlite::{Connection, OptionalExtension, params};

use super::execute;
use crate::model::{AgentNumber, Timestamp};
use crate::rollup::{Bucket, Resolution};
use crate::store::columns::{pack, rollup_key};
use crate::store::{StoreError, query};

/// Begins a stretch with this pass, unless the last one goes on: it is of the same hour. Tells whether it did.
pub(super) fn stretch(connection: &Connection, tick: u64, at: &str) -> Result<bool, StoreError> {
    let sql = "insert into stretch (first_tick, hour, next_agent) select ?1, ?2, 0
                where ?2 is not (select hour from stretch order by first_tick desc limit 1)";
    let hour = at.get(..query::HOUR_LENGTH).ok_or(StoreError::Value { what: "a time" })?;
    Ok(execute(connection, sql, params![tick, hour])? > 0)
}

/// Remembers that a stretch is done for agents below this number.
pub(in crate::store) fn reach(connection: &Connection, first_tick: u64, next: AgentNumber) -> Result<(), StoreError> {
    let sql = "update stretch set next_agent = ?2 where first_tick = ?1";
    execute(connection, sql, params![first_tick, next.get()]).map(drop)
}

/// A stretch is done for all agents.
pub(in crate::store) fn end_stretch(connection: &Connection, first_tick: u64) -> Result<(), StoreError> {
    execute(connection, "delete from stretch where first_tick = ?1", params![first_tick]).map(drop)
}

/// Stores rows of an agent, each with the moment at which its minute, or hour, begins. What is stored of that time
/// already, from before the clock was set back, is taken together with it.
pub(in crate::store) fn rollups(
    connection: &Connection,
    rows: Resolution,
    agent: AgentNumber,
    buckets: impl Iterator<Item = (Timestamp, Bucket)>,
) -> Result<(), StoreError> {
    let table = query::table(rows);
    let insert = format!(
        "insert into {table} ({}) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
         on conflict (key) do nothing",
        query::ROLLUP_COLUMNS
    );
    let mut insert = connection.prepare_cached(&insert)?;
    for (at, bucket) in buckets {
        let key = rollup_key(rows, agent, at);
        let mut store = |bucket: &Bucket| {
            let unless_all = |count| (count != bucket.samples).then_some(count);
            insert.execute(params![
                key,
                bucket.samples,
                unless_all(bucket.cpu_tenths.count),
                bucket.cpu_tenths.sum,
                bucket.cpu_tenths.max,
                unless_all(bucket.memory_kib.count),
                bucket.memory_kib.sum,
                bucket.memory_kib.max,
                bucket.memory_last_kib,
                bucket.process_count_max,
                bucket.cpu_ms,
                bucket.read_bytes.map(pack),
                bucket.written_bytes.map(pack),
            ])
        };
        if store(&bucket)? == 0 {
            let sql = format!("delete from {table} where key = ?1 returning {}", query::ROLLUP_COLUMNS);
            let before = connection.prepare_cached(&sql)?.query_row([key], query::bucket).optional()?;
            let mut whole = before.unwrap_or_default();
            whole.merge(&bucket);
            store(&whole)?;
        }
    }
    Ok(())
}
