//! Everything that changes the database, one function a statement.

mod expire;
mod rollup;
mod samples;

use std::collections::BTreeSet;
use std::sync::Arc;

use rusqlite::{Connection, ToSql, params};

use super::StoreError;
use crate::model::{
    AgentNumber, AlertKey, AlertNote, AlertState, Batch, Body, Entry, ExitStatus, JsonObject, LeftoverRow, RunRow,
    StoredAgent, StoredAlert, Timestamp,
};

pub(super) use expire::{
    believed, delete_agents, delete_entries, delete_leftovers, delete_runs, delete_ticks, give_back,
};
pub(super) use rollup::{end_stretch, reach, rollups};
pub(super) use samples::Words;

/// Journal kinds, as in the schema.
pub(super) const EVENT: i64 = 0;
pub(super) const ERROR: i64 = 1;
pub(super) const FIRED: i64 = 2;
pub(super) const ENDED: i64 = 3;

/// What a batch did that others want to know.
pub(super) struct Applied {
    /// The ids of its entries, in order.
    pub(super) ids: Vec<i64>,
    /// Agents whose errors changed.
    pub(super) errors_of: BTreeSet<AgentNumber>,
    /// Whether an hour is over, of which rows can be made.
    pub(super) hour_over: bool,
}

/// Stores all of a batch, in the caller's transaction.
pub(super) fn batch(connection: &Connection, words: &mut Words, batch: &Batch) -> Result<Applied, StoreError> {
    for stored in &batch.agents {
        agent(connection, stored)?;
    }
    let hour_over = match batch.tick {
        Some(tick) => samples::samples(connection, words, tick, &batch.samples)?,
        None => false,
    };
    for row in &batch.runs {
        run(connection, row)?;
    }
    for row in &batch.leftovers {
        leftover(connection, row)?;
    }
    let mut applied = Applied { ids: Vec::with_capacity(batch.entries.len()), errors_of: BTreeSet::new(), hour_over };
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
