//! Alerts in the database: what is told of them, how they are, and how far their receivers have come.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};

use std::sync::Arc;
use std::time::Duration;

use super::apply::execute;
use super::query::{agent_number, owner, time};
use super::{Reader, StoreError};
use crate::model::{
    AgentNumber, AlertKey, AlertNote, AlertState, Body, Delivered, Entry, Recorded, Severity, StoredAlert, Timestamp,
    Turn,
};

/// Journal kinds, as in the schema.
pub(super) const FIRED: i64 = 2;
pub(super) const ENDED: i64 = 3;
const REPEATED: i64 = 4;

/// The latest ends of runs as `error` that a new daemon is told of.
const CRASHES: u32 = 2_000;

/// Writes down what is told of an alert. One that ends is linked to the entry with which it fired, which its state keeps.
pub(super) fn note(
    connection: &Connection,
    agent: Option<AgentNumber>,
    at: Timestamp,
    note: &AlertNote,
) -> Result<i64, StoreError> {
    let key = AlertKey { agent, source: note.source.clone(), rule: Arc::clone(&note.rule) };
    let (kind, fired) = match note.turn {
        Turn::Fired => (FIRED, None),
        Turn::Repeated => (REPEATED, None),
        Turn::Resolved => (ENDED, fired_entry(connection, &key)?),
    };
    let since = (note.turn != Turn::Fired).then(|| note.since.sql());
    let (rule, agent, source, at) = (&key.rule, key.agent.map(AgentNumber::get), &key.source, at.sql());
    let severity = number(note.severity);
    let sql = "insert into journal (timestamp, agent_number, kind, type, message, severity, value, threshold, fired,
                                    since, source)
               values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    let values =
        params![at, agent, kind, rule, note.message, severity, note.value, note.threshold, fired, since, source];
    execute(connection, sql, values)?;
    let id = connection.last_insert_rowid();
    if note.turn == Turn::Fired {
        let sql = "insert into alert_state (rule, agent_number, source, firing, since, notified_at, severity, value,
                                            threshold, message, fired)
                   values (?1, ?2, ?3, 1, ?4, ?4, ?5, ?6, ?7, ?8, ?9)
                   on conflict (rule, ifnull(agent_number, -1), ifnull(source, '')) do update set
                       firing = 1, since = excluded.since, held_ms = null, notified_at = excluded.notified_at,
                       severity = excluded.severity, value = excluded.value, threshold = excluded.threshold,
                       message = excluded.message, fired = excluded.fired";
        let values = params![rule, agent, source, at, severity, note.value, note.threshold, note.message, id];
        execute(connection, sql, values)?;
    }
    Ok(id)
}

/// Writes down how an alert is.
pub(super) fn state(connection: &Connection, alert: &StoredAlert) -> Result<(), StoreError> {
    let (rule, agent, source) = (&alert.key.rule, alert.key.agent.map(AgentNumber::get), &alert.key.source);
    match &alert.state {
        None => {
            let sql = "delete from alert_state
                        where rule = ?1 and ifnull(agent_number, -1) = ifnull(?2, -1)
                          and ifnull(source, '') = ifnull(?3, '')";
            execute(connection, sql, params![rule, agent, source])?;
        }
        Some(AlertState::Pending { since, held }) => {
            let sql = "insert into alert_state (rule, agent_number, source, firing, since, held_ms)
                       values (?1, ?2, ?3, 0, ?4, ?5)
                       on conflict (rule, ifnull(agent_number, -1), ifnull(source, '')) do update set
                           firing = 0, since = excluded.since, held_ms = excluded.held_ms, notified_at = null,
                           severity = null, value = null, threshold = null, message = null, fired = null";
            let held_ms = i64::try_from(held.as_millis()).map_err(|_| StoreError::Value { what: "a duration" })?;
            execute(connection, sql, params![rule, agent, source, since.sql(), held_ms])?;
        }
        Some(AlertState::Firing { since, notified_at, severity, value, threshold, message }) => {
            let sql =
                "insert into alert_state (rule, agent_number, source, firing, since, notified_at, severity, value,
                                                threshold, message)
                       values (?1, ?2, ?3, 1, ?4, ?5, ?6, ?7, ?8, ?9)
                       on conflict (rule, ifnull(agent_number, -1), ifnull(source, '')) do update set
                           firing = 1, since = excluded.since, held_ms = null, notified_at = excluded.notified_at,
                           severity = excluded.severity, value = excluded.value, threshold = excluded.threshold,
                           message = excluded.message";
            let (since, notified_at, severity) = (since.sql(), notified_at.sql(), number(*severity));
            let values = params![rule, agent, source, since, notified_at, severity, value, threshold, message];
            execute(connection, sql, values)?;
        }
    }
    Ok(())
}

/// Writes down how far a receiver has come.
pub(super) fn delivered(connection: &Connection, delivered: &Delivered) -> Result<(), StoreError> {
    let Some(up_to) = delivered.up_to else {
        let sql = "delete from receiver where receiver = ?1";
        return execute(connection, sql, params![delivered.receiver]).map(drop);
    };
    let sql = "insert into receiver (receiver, up_to) values (?1, ?2)
               on conflict (receiver) do update set up_to = excluded.up_to";
    execute(connection, sql, params![delivered.receiver, up_to]).map(drop)
}

impl Reader {
    /// What was told of alerts after an entry of the journal, the oldest first.
    ///
    /// # Errors
    /// When the database cannot be read in time.
    pub fn alerts_after(&self, entry: i64, limit: u32) -> Result<Vec<Recorded>, StoreError> {
        // By kind, not along the whole journal: the plus keeps the order from deciding.
        let sql =
            "select j.id, j.agent_number, a.agent_id, j.timestamp, j.type, j.kind, j.severity, j.message, j.value,
                          j.threshold, j.since, j.source
                     from journal j left join agent a on a.number = j.agent_number
                    where j.kind in (2, 3, 4) and j.id > ?1 order by +j.id limit ?2";
        self.read(|connection| connection.prepare_cached(sql)?.query_map(params![entry, limit], told)?.collect())
    }
}

fn told(row: &Row<'_>) -> rusqlite::Result<Recorded> {
    let at = time(row, 3)?;
    let turn = match row.get(5)? {
        FIRED => Turn::Fired,
        REPEATED => Turn::Repeated,
        _ => Turn::Resolved,
    };
    let since = row.get_ref(10)?.as_str_or_null()?.map(|_| time(row, 10)).transpose()?;
    let note = AlertNote {
        rule: row.get(4)?,
        source: row.get(11)?,
        severity: severity(row, 6)?,
        turn,
        since: since.unwrap_or(at),
        message: row.get(7)?,
        value: row.get(8)?,
        threshold: row.get(9)?,
    };
    Ok(Recorded { id: Some(row.get(0)?), entry: Entry { agent: owner(row)?, at, body: Body::Alert(note) } })
}

/// The alerts that are pending or firing.
pub(super) fn states(connection: &Connection) -> rusqlite::Result<Vec<StoredAlert>> {
    let sql = "select rule, agent_number, source, firing, since, held_ms, notified_at, severity, value, threshold,
                      message, fired
                 from alert_state";
    let alert = |row: &Row<'_>| {
        let agent = row.get::<_, Option<u32>>(1)?.map(|_| agent_number(row, 1)).transpose()?;
        let since = time(row, 4)?;
        let state = if row.get(3)? {
            AlertState::Firing {
                since,
                notified_at: time(row, 6)?,
                severity: severity(row, 7)?,
                value: row.get(8)?,
                threshold: row.get(9)?,
                message: row.get(10)?,
            }
        } else {
            AlertState::Pending { since, held: Duration::from_millis(row.get(5)?) }
        };
        let key = AlertKey { agent, source: row.get(2)?, rule: row.get(0)? };
        Ok(StoredAlert { key, state: Some(state), episode: row.get(11)? })
    };
    connection.prepare(sql)?.query_map([], alert)?.collect()
}

/// The latest ends of runs as `error`, the last one first.
pub(super) fn crashes(connection: &Connection) -> rusqlite::Result<Vec<(AgentNumber, Timestamp)>> {
    let sql = "select agent_number, ended_at from run
                where ended_at is not null and reason = 'error' order by ended_at desc limit ?1";
    let crash = |row: &Row<'_>| Ok((agent_number(row, 0)?, time(row, 1)?));
    connection.prepare(sql)?.query_map(params![CRASHES], crash)?.collect()
}

/// How far the receivers had come.
pub(super) fn receivers(connection: &Connection) -> rusqlite::Result<Vec<Delivered>> {
    let receiver = |row: &Row<'_>| Ok(Delivered { receiver: row.get(0)?, up_to: Some(row.get(1)?) });
    connection.prepare("select receiver, up_to from receiver")?.query_map([], receiver)?.collect()
}

/// The last entry that the journal ever had; zero when there was none.
pub(super) fn last_entry(connection: &Connection) -> rusqlite::Result<i64> {
    let sql = "select seq from sqlite_sequence where name = 'journal'";
    Ok(connection.query_row(sql, [], |row| row.get(0)).optional()?.unwrap_or(0))
}

/// The journal entry with which an alert fired, if it fires.
fn fired_entry(connection: &Connection, key: &AlertKey) -> rusqlite::Result<Option<i64>> {
    let sql = "select fired from alert_state
                where rule = ?1 and ifnull(agent_number, -1) = ifnull(?2, -1) and ifnull(source, '') = ifnull(?3, '')";
    let values = params![key.rule, key.agent.map(AgentNumber::get), key.source];
    Ok(connection.prepare_cached(sql)?.query_row(values, |row| row.get(0)).optional()?.flatten())
}

/// The order of `Severity` is the order of their numbers in the schema.
fn number(severity: Severity) -> i64 {
    severity as i64
}

pub(super) fn severity(row: &Row<'_>, column: usize) -> rusqlite::Result<Severity> {
    match row.get(column)? {
        0 => Ok(Severity::Info),
        1 => Ok(Severity::Warning),
        2 => Ok(Severity::Critical),
        other => {
            let error = format!("{other} is no severity");
            Err(rusqlite::Error::FromSqlConversionFailure(column, Type::Integer, error.into()))
        }
    }
}
