//! Everything that changes the database, one function a statement.

use std::collections::{BTreeSet, HashMap, hash_map};
use std::ops::RangeInclusive;
use std::sync::Arc;

use rusqlite::types::Value;
use rusqlite::{Connection, ToSql, params};

use super::StoreError;
use crate::model::{
    AgentNumber, AlertKey, AlertNote, AlertState, Batch, Body, Entry, ExitStatus, JsonObject, LeftoverRow,
    MemoryMethod, RunRow, Sample, StoredAgent, StoredAlert, Tick, Timestamp,
};
use crate::retention::{OldTick, ROWS_PER_SLICE};

/// Journal kinds, as in the schema.
pub(super) const EVENT: i64 = 0;
pub(super) const ERROR: i64 = 1;
pub(super) const FIRED: i64 = 2;
const ENDED: i64 = 3;

/// The most statuses kept in a table of their own; a registry that makes up a new word each time must not grow it for
/// ever. Those beyond are written out in each sample, and go with it.
const STATUS_LIMIT: usize = 250;

/// Samples that one statement inserts: a statement has a price of its own, a fifth of that of a row.
const SAMPLES_PER_STATEMENT: usize = 16;

/// What a batch did that others want to know.
pub(super) struct Applied {
    /// The ids of its entries, in order.
    pub(super) ids: Vec<i64>,
    /// Agents whose errors changed.
    pub(super) errors_of: BTreeSet<AgentNumber>,
}

/// How status and memory method of a sample are stored, as far as they were met: one map a method. To be forgotten after
/// a rollback.
#[derive(Default)]
pub(super) struct Words([HashMap<Arc<str>, Value>; 2]);

/// Stores all of a batch, in the caller's transaction.
pub(super) fn batch(connection: &Connection, words: &mut Words, batch: &Batch) -> Result<Applied, StoreError> {
    for stored in &batch.agents {
        agent(connection, stored)?;
    }
    if let Some(tick) = batch.tick {
        samples(connection, words, tick, &batch.samples)?;
    }
    for row in &batch.runs {
        run(connection, row)?;
    }
    for row in &batch.leftovers {
        leftover(connection, row)?;
    }
    let mut applied = Applied { ids: Vec::with_capacity(batch.entries.len()), errors_of: BTreeSet::new() };
    for item in &batch.entries {
        applied.ids.push(entry(connection, item)?);
        if let (Body::Error(_), Some((number, _))) = (&item.body, &item.agent) {
            applied.errors_of.insert(*number);
        }
    }
    // After the entries: an alert that fires has the entry with which it did.
    for stored in &batch.alerts {
        alert(connection, stored)?;
    }
    Ok(applied)
}

fn agent(connection: &Connection, agent: &StoredAgent) -> Result<(), StoreError> {
    let sql = "insert into agent (number, agent_id, name, source, registry_status, first_seen, last_seen, metadata,
                                  restarts, cpu_us, read_bytes, written_bytes)
               values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
               on conflict (number) do update set
                   agent_id = excluded.agent_id, name = excluded.name, source = excluded.source,
                   registry_status = excluded.registry_status, first_seen = excluded.first_seen,
                   last_seen = excluded.last_seen, metadata = excluded.metadata, restarts = excluded.restarts,
                   cpu_us = excluded.cpu_us, read_bytes = excluded.read_bytes, written_bytes = excluded.written_bytes";
    let values = params![
        agent.number.get(),
        agent.id.as_str(),
        agent.name,
        agent.source,
        agent.registry_status,
        agent.first_seen.sql(),
        agent.last_seen.sql(),
        agent.metadata.as_str(),
        agent.restarts,
        agent.cpu_us,
        agent.io.read_bytes,
        agent.io.written_bytes,
    ];
    execute(connection, sql, values).map(drop)
}

fn samples(connection: &Connection, words: &mut Words, tick: Tick, samples: &[Sample]) -> Result<(), StoreError> {
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
                let number = super::query::status_number(connection, method, status)?;
                let text = || Value::Text(format!("{}:{status}", method.word()));
                Ok(place.insert(number.map_or_else(text, Value::Integer)))
            }
        }
    }
}

fn run(connection: &Connection, run: &RunRow) -> Result<(), StoreError> {
    let sql = "insert into run (agent_number, boot, start_ticks, pid, started_at, ended_at, exit_code,
                                exit_signal_number, exit_signal, oom_killed, reason, cpu_us, peak_memory_bytes,
                                last_memory_bytes, root_own_us, root_children_us, others_us)
               values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
               on conflict (agent_number, start_ticks, pid, boot) do update set
                   started_at = excluded.started_at, ended_at = excluded.ended_at, exit_code = excluded.exit_code,
                   exit_signal_number = excluded.exit_signal_number, exit_signal = excluded.exit_signal,
                   oom_killed = excluded.oom_killed, reason = excluded.reason, cpu_us = excluded.cpu_us,
                   peak_memory_bytes = excluded.peak_memory_bytes, last_memory_bytes = excluded.last_memory_bytes,
                   root_own_us = excluded.root_own_us, root_children_us = excluded.root_children_us,
                   others_us = excluded.others_us";
    let end = run.end.as_ref();
    let status = end.and_then(|end| end.status);
    let (code, signal) = match status {
        Some(ExitStatus::Code(code)) => (Some(code), None),
        Some(ExitStatus::Signal(number)) => (None, Some(number)),
        None => (None, None),
    };
    let values = params![
        run.agent.get(),
        run.boot,
        run.root.start_ticks,
        run.root.pid.get(),
        run.started_at.sql(),
        end.map(|end| end.at.sql()),
        code,
        signal,
        status.and_then(ExitStatus::signal_name),
        end.and_then(|end| end.oom_killed),
        end.map(|end| &end.reason),
        run.cpu_us,
        run.peak_memory_bytes,
        run.last_memory_bytes,
        run.root_cpu.own_us,
        run.root_cpu.children_us,
        run.others_us,
    ];
    execute(connection, sql, values).map(drop)
}

fn leftover(connection: &Connection, leftover: &LeftoverRow) -> Result<(), StoreError> {
    let sql = "insert into leftover (agent_number, boot, start_ticks, pid, command, since, memory_bytes, cpu_us,
                                     used_before_us, ended_at)
               values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
               on conflict (agent_number, start_ticks, pid, boot) do update set
                   command = excluded.command, since = excluded.since, memory_bytes = excluded.memory_bytes,
                   cpu_us = excluded.cpu_us, ended_at = excluded.ended_at";
    let values = params![
        leftover.agent.get(),
        leftover.boot,
        leftover.process.start_ticks,
        leftover.process.pid.get(),
        leftover.name,
        leftover.since.sql(),
        leftover.memory_bytes,
        leftover.cpu_us,
        leftover.used_before_us,
        leftover.ended_at.map(Timestamp::sql),
    ];
    execute(connection, sql, values).map(drop)
}

fn entry(connection: &Connection, entry: &Entry) -> Result<i64, StoreError> {
    let number = entry.agent.as_ref().map(|(number, _)| *number);
    let (at, agent) = (entry.at.sql(), number.map(AgentNumber::get));
    match &entry.body {
        Body::Event(event) => {
            let sql = "insert into journal (timestamp, agent_number, kind, type, message, metadata)
                       values (?1, ?2, ?3, ?4, ?5, ?6)";
            let metadata = unless_empty(&event.metadata);
            execute(connection, sql, params![at, agent, EVENT, event.event_type, event.message, metadata])?;
        }
        Body::Error(error) => {
            let sql =
                "insert into journal (timestamp, agent_number, kind, type, message, metadata, stack_trace, resolved)
                       values (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0)";
            let metadata = unless_empty(&error.metadata);
            let values = params![at, agent, ERROR, error.error_type, error.message, metadata, error.stack];
            execute(connection, sql, values)?;
        }
        Body::Alert(note) => {
            let key = AlertKey { rule: Arc::clone(&note.rule), agent: number };
            return transition(connection, &key, entry.at, note);
        }
    }
    Ok(connection.last_insert_rowid())
}

/// An alert's turn. One that ends is linked to the entry with which it fired, which its state keeps.
fn transition(connection: &Connection, key: &AlertKey, at: Timestamp, note: &AlertNote) -> Result<i64, StoreError> {
    let sql = "insert into journal (timestamp, agent_number, kind, type, message, severity, value, threshold, fired)
               values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    let (kind, fired) = if note.firing { (FIRED, None) } else { (ENDED, super::query::fired_entry(connection, key)?) };
    let (rule, agent, at) = (&key.rule, key.agent.map(AgentNumber::get), at.sql());
    // The order of `Severity` is the order of their numbers in the schema.
    let values = params![at, agent, kind, rule, note.message, note.severity as i64, note.value, note.threshold, fired];
    execute(connection, sql, values)?;
    let id = connection.last_insert_rowid();
    if note.firing {
        let sql = "insert into alert_state (rule, agent_number, firing, since, notified_at, value, message, fired)
                   values (?1, ?2, 1, ?3, ?3, ?4, ?5, ?6)
                   on conflict (rule, ifnull(agent_number, -1)) do update set
                       firing = 1, since = excluded.since, held_ms = null, notified_at = excluded.notified_at,
                       value = excluded.value, message = excluded.message, fired = excluded.fired";
        execute(connection, sql, params![rule, agent, at, note.value, note.message, id])?;
    }
    Ok(id)
}

fn alert(connection: &Connection, alert: &StoredAlert) -> Result<(), StoreError> {
    let (rule, agent) = (&alert.key.rule, alert.key.agent.map(AgentNumber::get));
    match &alert.state {
        None => {
            let sql = "delete from alert_state where rule = ?1 and ifnull(agent_number, -1) = ifnull(?2, -1)";
            execute(connection, sql, params![rule, agent])?;
        }
        Some(AlertState::Pending { since, held }) => {
            let sql = "insert into alert_state (rule, agent_number, firing, since, held_ms) values (?1, ?2, 0, ?3, ?4)
                       on conflict (rule, ifnull(agent_number, -1)) do update set
                           firing = 0, since = excluded.since, held_ms = excluded.held_ms, notified_at = null,
                           value = null, message = null, fired = null";
            let held_ms = i64::try_from(held.as_millis()).map_err(|_| StoreError::Value { what: "a duration" })?;
            execute(connection, sql, params![rule, agent, since.sql(), held_ms])?;
        }
        Some(AlertState::Firing { since, notified_at, value, message }) => {
            let sql = "insert into alert_state (rule, agent_number, firing, since, notified_at, value, message)
                       values (?1, ?2, 1, ?3, ?4, ?5, ?6)
                       on conflict (rule, ifnull(agent_number, -1)) do update set
                           firing = 1, since = excluded.since, held_ms = null, notified_at = excluded.notified_at,
                           value = excluded.value, message = excluded.message";
            execute(connection, sql, params![rule, agent, since.sql(), notified_at.sql(), value, message])?;
        }
    }
    Ok(())
}

/// Remembers how far deleting trusts the clock.
pub(super) fn believed(connection: &Connection, at: Timestamp) -> Result<(), StoreError> {
    let sql = "insert into retention (only, believed_at, highest_tick) values (0, ?1, 0)
               on conflict (only) do update set believed_at = excluded.believed_at";
    execute(connection, sql, params![at.sql()]).map(drop)
}

/// Deletes passes, given also as ranges, and their samples. Returns how many rows that were.
pub(super) fn delete_ticks(
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
    for old in ticks {
        let sql = "delete from ticks where timestamp = ?1 and tick = ?2";
        rows += execute(connection, sql, params![old.tick.at.sql(), old.tick.ordinal])?;
    }
    Ok(rows)
}

/// Deletes entries of the journal.
pub(super) fn delete_entries(connection: &Connection, ids: &[i64]) -> Result<usize, StoreError> {
    let mut rows = 0;
    for id in ids {
        rows += execute(connection, "delete from journal where id = ?1", params![id])?;
    }
    Ok(rows)
}

/// Deletes some runs that ended before `cutoff`.
pub(super) fn delete_runs(connection: &Connection, cutoff: Timestamp) -> Result<usize, StoreError> {
    let sql = "delete from run where id in (select id from run where ended_at < ?1 order by ended_at limit ?2)";
    execute(connection, sql, params![cutoff.sql(), ROWS_PER_SLICE])
}

/// Deletes some leftovers that ended before `cutoff`.
pub(super) fn delete_leftovers(connection: &Connection, cutoff: Timestamp) -> Result<usize, StoreError> {
    let sql =
        "delete from leftover where id in (select id from leftover where ended_at < ?1 order by ended_at limit ?2)";
    execute(connection, sql, params![cutoff.sql(), ROWS_PER_SLICE])
}

/// Deletes some agents that were last heard of before `cutoff`, that no registry names, and that left nothing else: no
/// run, no line of the journal, no alert. Samples are as old as the last run.
pub(super) fn delete_agents(connection: &Connection, cutoff: Timestamp) -> Result<usize, StoreError> {
    let sql = "delete from agent where number in (
                   select number from agent a
                    where registry_status is null and last_seen < ?1
                      and not exists (select 1 from run where agent_number = a.number)
                      and not exists (select 1 from leftover where agent_number = a.number)
                      and not exists (select 1 from journal where agent_number = a.number)
                      and not exists (select 1 from alert_state where agent_number = a.number)
                    limit ?2)";
    execute(connection, sql, params![cutoff.sql(), ROWS_PER_SLICE])
}

/// Gives free pages at the end of the file back to the file system.
pub(super) fn give_back(connection: &Connection, pages: u32) -> Result<(), StoreError> {
    let mut statement = connection.prepare(&format!("pragma incremental_vacuum({pages})"))?;
    let mut rows = statement.query([])?;
    // A row a page.
    while rows.next()?.is_some() {}
    Ok(())
}

/// Writes something that changes nothing, to see whether the disk takes it.
pub(super) fn probe(connection: &Connection) -> Result<(), StoreError> {
    let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(connection.pragma_update(None, "user_version", version)?)
}

fn execute(connection: &Connection, sql: &str, values: &[&dyn ToSql]) -> Result<usize, StoreError> {
    Ok(connection.prepare_cached(sql)?.execute(values)?)
}

fn unless_empty(metadata: &JsonObject) -> Option<&str> {
    Some(metadata.as_str()).filter(|text| *text != "{}")
}

/// The lowest key of a pass.
fn first_key(tick: u64) -> Result<u64, StoreError> {
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
