//! Deleting what is old.

use std::ops::RangeInclusive;

use rusqlite::{Connection, params};

use super::{accounts, execute};
use crate::model::{AgentNumber, Timestamp};
use crate::retention::{OldTick, ROLLUPS_PER_SLICE, ROWS_PER_SLICE};
use crate::rollup::Resolution;
use crate::store::columns::{first_key, span_key};
use crate::store::{StoreError, query};

/// Remembers how far deleting trusts the clock.
pub(in crate::store) fn believed(connection: &Connection, at: Timestamp) -> Result<(), StoreError> {
    let sql = "insert into retention (only, believed_at, highest_tick) values (0, ?1, 0)
               on conflict (only) do update set believed_at = excluded.believed_at";
    execute(connection, sql, params![at.sql()]).map(drop)
}

/// Deletes the oldest passes, given also as ranges, and their samples. Returns how many rows that were.
pub(in crate::store) fn delete_ticks(
    connection: &Connection,
    ticks: &[OldTick],
    ranges: &[RangeInclusive<u64>],
) -> Result<usize, StoreError> {
    let mut rows = 0;
    for range in ranges {
        let (first, last) = (first_key(*range.start())?, first_key(*range.end() + 1)? - 1);
        rows += execute(connection, "delete from sample where key between ?1 and ?2", params![first, last])?;
        // The ordinals go on from here even when nothing is left.
        let sql = "update retention set highest_tick = max(highest_tick, ?1)";
        execute(connection, sql, params![*range.end()])?;
    }
    // In order of time, they are a range of the table.
    if let Some(last) = ticks.last() {
        let sql = "delete from ticks where (timestamp, tick) <= (?1, ?2)";
        rows += execute(connection, sql, params![last.tick.at.sql(), last.tick.ordinal])?;
    }
    Ok(rows)
}

/// Deletes some rollups of spans that were over before `cutoff`.
pub(in crate::store) fn delete_rollups(
    connection: &Connection,
    rows: Resolution,
    cutoff: Timestamp,
) -> Result<usize, StoreError> {
    let table = query::table(rows);
    let end = span_key(cutoff.unix_ms().div_euclid(rows.span_ms()));
    // A range is deleted at a fifth of the price of rows that were looked up.
    let sql = format!(
        "delete from {table} where key < coalesce(
             (select key from {table} where key < ?1 order by key limit 1 offset {ROLLUPS_PER_SLICE}), ?1)"
    );
    execute(connection, &sql, params![end])
}

/// Deletes entries of the journal.
pub(in crate::store) fn delete_entries(connection: &Connection, ids: &[i64]) -> Result<usize, StoreError> {
    let mut rows = 0;
    for id in ids {
        rows += execute(connection, "delete from journal where id = ?1 or fired = ?1", params![id])?;
    }
    Ok(rows)
}

/// Deletes some rows of `run` or `leftover` that ended before `cutoff`.
pub(in crate::store) fn delete_ended(
    connection: &Connection,
    table: &str,
    cutoff: Timestamp,
) -> Result<usize, StoreError> {
    let sql = format!(
        "delete from {table} where id in (select id from {table} where ended_at < ?1 order by ended_at limit ?2)"
    );
    execute(connection, &sql, params![cutoff.sql(), ROWS_PER_SLICE])
}

/// Deletes some minutes of the host that began before `cutoff`.
pub(in crate::store) fn delete_minutes(connection: &Connection, cutoff: Timestamp) -> Result<usize, StoreError> {
    let sql = "delete from host_minute where timestamp in (
                   select timestamp from host_minute where timestamp < ?1 order by timestamp limit ?2)";
    execute(connection, sql, params![cutoff.sql(), ROWS_PER_SLICE])
}

/// Deletes some agents that were last heard of before `cutoff`, that no registry names, and that left nothing else: no
/// run, no line of the journal, no alert. Samples are as old as the last run.
pub(in crate::store) fn delete_agents(
    connection: &Connection,
    cutoff: Timestamp,
) -> Result<Vec<AgentNumber>, StoreError> {
    let sql = "delete from agent where number in (
                   select number from agent a
                    where registry_status is null and last_seen < ?1
                      and not exists (select 1 from run where agent_number = a.number)
                      and not exists (select 1 from leftover where agent_number = a.number)
                      and not exists (select 1 from journal where agent_number = a.number)
                      and not exists (select 1 from error_group where agent_number = a.number)
                      and not exists (select 1 from alert_state where agent_number = a.number)
                    limit ?2)
               returning number";
    let mut statement = connection.prepare_cached(sql)?;
    let numbers = statement.query_map(params![cutoff.sql(), ROWS_PER_SLICE], |row| row.get(0))?;
    let numbers = numbers.collect::<rusqlite::Result<Vec<u32>>>()?;
    let deleted: Vec<AgentNumber> = numbers.into_iter().filter_map(AgentNumber::new).collect();
    deleted.iter().try_for_each(|agent| accounts::delete(connection, *agent))?;
    Ok(deleted)
}

/// Gives free pages at the end of the file back to the file system.
pub(in crate::store) fn give_back(connection: &Connection, pages: u32) -> Result<(), StoreError> {
    let mut statement = connection.prepare(&format!("pragma incremental_vacuum({pages})"))?;
    let mut rows = statement.query([])?;
    // A row a page.
    while rows.next()?.is_some() {}
    Ok(())
}
