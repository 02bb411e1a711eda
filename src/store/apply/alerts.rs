//! What is told of alerts, how they are, and how far their receivers have come.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

use super::execute;
use crate::model::{AgentNumber, AlertKey, AlertNote, AlertState, Delivered, StoredAlert, Timestamp, Transition};
use crate::store::StoreError;
use crate::store::columns::{ENDED, FIRED, REPEATED, severity_number};

/// Writes down what is told of an alert. One that ends is linked to the entry with which it fired, which its state keeps.
pub(super) fn note(
    connection: &Connection,
    agent: Option<AgentNumber>,
    at: Timestamp,
    note: &AlertNote,
) -> Result<i64, StoreError> {
    let key = AlertKey { agent, source: note.source.clone(), rule: Arc::clone(&note.rule) };
    let (kind, fired) = match note.transition {
        Transition::Fired => (FIRED, None),
        Transition::Repeated => (REPEATED, None),
        Transition::Resolved => (ENDED, fired_entry(connection, &key)?),
    };
    let since = (note.transition != Transition::Fired).then(|| note.since.sql());
    let (rule, agent, source) = (&key.rule, key.agent.map(AgentNumber::get), &key.source);
    let severity = severity_number(note.severity);
    let sql = "insert into journal (timestamp, agent_number, kind, type, message, severity, value, threshold, fired,
                                    since, source)
               values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    let told_at = at.sql();
    let values =
        params![told_at, agent, kind, rule, note.message, severity, note.value, note.threshold, fired, since, source];
    execute(connection, sql, values)?;
    let id = connection.last_insert_rowid();
    if note.transition == Transition::Fired {
        let firing = AlertState::Firing {
            since: at,
            notified_at: at,
            severity: note.severity,
            value: note.value,
            threshold: note.threshold,
            message: Arc::clone(&note.message),
        };
        fires(connection, &key, &firing, Some(id))?;
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
        Some(firing) => fires(connection, &alert.key, firing, None)?,
    }
    Ok(())
}

/// Writes down that an alert fires; `fired` is the entry with which it began to, if that is this one.
fn fires(connection: &Connection, key: &AlertKey, state: &AlertState, fired: Option<i64>) -> Result<(), StoreError> {
    let AlertState::Firing { since, notified_at, severity, value, threshold, message } = state else { return Ok(()) };
    let sql = "insert into alert_state (rule, agent_number, source, firing, since, notified_at, severity, value,
                                        threshold, message, fired)
               values (?1, ?2, ?3, 1, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
               on conflict (rule, ifnull(agent_number, -1), ifnull(source, '')) do update set
                   firing = 1, since = excluded.since, held_ms = null, notified_at = excluded.notified_at,
                   severity = excluded.severity, value = excluded.value, threshold = excluded.threshold,
                   message = excluded.message, fired = ifnull(excluded.fired, fired)";
    let (agent, severity) = (key.agent.map(AgentNumber::get), severity_number(*severity));
    let (since, notified_at) = (since.sql(), notified_at.sql());
    let values = params![key.rule, agent, key.source, since, notified_at, severity, value, threshold, message, fired];
    execute(connection, sql, values).map(drop)
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

/// The journal entry with which an alert fired, if it fires.
fn fired_entry(connection: &Connection, key: &AlertKey) -> rusqlite::Result<Option<i64>> {
    let sql = "select fired from alert_state
                where rule = ?1 and ifnull(agent_number, -1) = ifnull(?2, -1) and ifnull(source, '') = ifnull(?3, '')";
    let values = params![key.rule, key.agent.map(AgentNumber::get), key.source];
    Ok(connection.prepare_cached(sql)?.query_row(values, |row| row.get(0)).optional()?.flatten())
}
