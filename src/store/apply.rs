//! Everything that changes the database, one function a statement.

mod accounts;
mod alerts;
mod expire;
mod groups;
mod host;
mod rollup;
mod samples;
mod writes;

use std::collections::BTreeSet;

use rusqlite::{Connection, ToSql, params};

use super::StoreError;
use super::columns::EVENT;
use super::mark::Reached;
use crate::model::{
    AgentNumber, Batch, Body, Entry, EventReport, ExitStatus, JsonObject, LeftoverRow, Recorded, RunRow, StoredAgent,
    Timestamp, Usage,
};

pub(super) use expire::{
    believed, delete_agents, delete_ended, delete_entries, delete_minutes, delete_rollups, delete_ticks, give_back,
};
pub(super) use groups::delete_groups;
pub(super) use rollup::{end_stretch, reach, rollups};
pub(super) use samples::StatusNumbers;
pub(super) use writes::Outcome;

/// What a batch did that others want to know.
pub(super) struct Applied {
    /// The ids of its entries, in order.
    pub(super) ids: Vec<i64>,
    /// Agents whose errors changed.
    pub(super) errors_of: BTreeSet<AgentNumber>,
    /// Whether an hour is over, of which rows can be made.
    pub(super) hour_over: bool,
    /// What became of what came from outside.
    pub(super) outcome: Option<Outcome>,
    /// How far the database has come with it.
    pub(super) reached: Reached,
}

/// Stores all of a batch, in the caller's transaction.
pub(super) fn batch(
    connection: &Connection,
    statuses: &mut StatusNumbers,
    batch: &Batch,
) -> Result<Applied, StoreError> {
    for stored in &batch.agents {
        agent(connection, stored)?;
    }
    let hour_over = match batch.tick {
        Some(tick) => samples::samples(connection, statuses, tick, &batch.samples)?,
        None => false,
    };
    for row in &batch.runs {
        run(connection, row)?;
    }
    for row in &batch.leftovers {
        leftover(connection, row)?;
    }
    for row in &batch.accounts {
        accounts::account(connection, row)?;
    }
    for minute in &batch.host {
        host::minute(connection, minute)?;
    }
    let ids = Vec::with_capacity(batch.entries.len());
    // A pass without samples leaves no trace by which the next start could tell that it is missing.
    let tick = batch.tick.filter(|_| !batch.samples.is_empty()).map_or(0, |tick| tick.ordinal);
    let reached = Reached { entry: 0, tick };
    let mut applied = Applied { ids, errors_of: BTreeSet::new(), hour_over, outcome: None, reached };
    for item in &batch.entries {
        applied.ids.push(entry(connection, item)?);
        if let (Body::Error(_), Some((number, _))) = (&item.body, &item.agent) {
            applied.errors_of.insert(*number);
        }
    }
    // After the entries: an alert that fires has the entry with which it did.
    for stored in &batch.alerts {
        alerts::state(connection, stored)?;
    }
    for delivered in &batch.delivered {
        alerts::delivered(connection, delivered)?;
    }
    if let Some(write) = &batch.write {
        applied.outcome = Some(writes::write(connection, write, &mut applied.errors_of)?);
    }
    let new = applied.outcome.and_then(Outcome::new_entry);
    applied.reached.entry = applied.ids.iter().copied().chain(new).max().unwrap_or(0);
    Ok(applied)
}

/// Entries that were stored, with their ids.
pub(super) fn recorded(ids: Vec<i64>, entries: Vec<Entry>) -> impl Iterator<Item = Recorded> {
    ids.into_iter().zip(entries).map(|(id, entry)| Recorded { id: Some(id), entry })
}

/// Tells in the journal what became of the database itself.
pub(super) fn warning<const N: usize>(
    connection: &Connection,
    at: Timestamp,
    message: &str,
    facts: [(&str, serde_json::Value); N],
) -> Result<Recorded, StoreError> {
    let metadata = facts.into_iter().map(|(name, value)| (name.to_owned(), value));
    let metadata = metadata.collect::<serde_json::Map<_, _>>().into();
    let body = Body::Event(EventReport { event_type: "warning".into(), message: message.into(), metadata });
    let warning = Entry { agent: None, at, body };
    Ok(Recorded { id: Some(entry(connection, &warning)?), entry: warning })
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
                                last_memory_bytes, memory_method)
               values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
               on conflict (agent_number, start_ticks, pid, boot) do update set
                   started_at = excluded.started_at, ended_at = excluded.ended_at, exit_code = excluded.exit_code,
                   exit_signal_number = excluded.exit_signal_number, exit_signal = excluded.exit_signal,
                   oom_killed = excluded.oom_killed, reason = excluded.reason, cpu_us = excluded.cpu_us,
                   peak_memory_bytes = excluded.peak_memory_bytes, last_memory_bytes = excluded.last_memory_bytes,
                   memory_method = excluded.memory_method";
    let end = run.end.as_ref();
    let status = end.and_then(|end| end.status);
    let values = params![
        run.agent.get(),
        run.boot,
        run.root.start_ticks,
        run.root.pid.get(),
        run.started_at.sql(),
        end.map(|end| end.at.sql()),
        status.and_then(ExitStatus::code),
        status.and_then(ExitStatus::signal),
        status.and_then(ExitStatus::signal_name),
        end.and_then(|end| end.oom_killed),
        end.map(|end| &end.reason),
        run.cpu_us,
        run.peak_memory_bytes,
        run.last_memory_bytes,
        run.memory_method.word(),
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
        Body::Error(error) => return groups::error(connection, entry, error, &Usage::default()),
        Body::Alert(note) => return alerts::note(connection, number, entry.at, note),
    }
    Ok(connection.last_insert_rowid())
}

/// Writes something that changes nothing, to see whether the disk takes it.
pub(super) fn probe(connection: &Connection) -> Result<(), StoreError> {
    let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(connection.pragma_update(None, "user_version", version)?)
}

/// Goes on after this entry of the journal and this pass, whether they are there or not.
pub(super) fn skip_to(connection: &Connection, reached: Reached, now: Timestamp) -> Result<(), StoreError> {
    let sql = "update sqlite_sequence set seq = max(seq, ?1) where name = 'journal'";
    if execute(connection, sql, params![reached.entry])? == 0 {
        execute(connection, "insert into sqlite_sequence (name, seq) values ('journal', ?1)", params![reached.entry])?;
    }
    let sql = "insert into retention (only, believed_at, highest_tick) values (0, ?1, ?2)
               on conflict (only) do update set highest_tick = max(highest_tick, excluded.highest_tick)";
    execute(connection, sql, params![now.sql(), reached.tick]).map(drop)
}

fn execute(connection: &Connection, sql: &str, values: &[&dyn ToSql]) -> Result<usize, StoreError> {
    Ok(connection.prepare_cached(sql)?.execute(values)?)
}

fn unless_empty(metadata: &JsonObject) -> Option<&str> {
    Some(metadata.as_str()).filter(|text| *text != "{}")
}
