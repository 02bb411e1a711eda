//! Alerts: what was told of them, how they are, and how far their receivers have come.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::super::columns::{ENDED, FIRED, REPEATED, severity};
use super::{Reader, StoreError, agent_number, journal, or_null, time};
use crate::model::{AgentNumber, AlertKey, AlertState, Delivered, Recorded, StoredAlert, Timestamp};

/// The latest ends of runs as `error` that a new daemon is told of.
const CRASHES: u32 = 2_000;

impl Reader {
    /// What was told of alerts after an entry of the journal, the oldest first.
    ///
    /// # Errors
    /// When the database cannot be read in time.
    pub fn alerts_after(&self, entry: i64, limit: u32) -> Result<Vec<Recorded>, StoreError> {
        // By kind, not along the whole journal: the plus keeps the order from deciding.
        let kinds = format!("j.kind in ({FIRED}, {ENDED}, {REPEATED})");
        let sql = journal::select(&format!("{kinds} and j.id > ?1 order by +j.id limit ?2"));
        let values = params![entry, limit];
        self.read(|connection| connection.prepare_cached(&sql)?.query_map(values, journal::recorded)?.collect())
    }
}

/// The alerts that are pending or firing.
pub(super) fn states(connection: &Connection) -> rusqlite::Result<Vec<StoredAlert>> {
    let sql = "select rule, agent_number, source, firing, since, held_ms, notified_at, severity, value, threshold,
                      message, fired
                 from alert_state";
    let alert = |row: &Row<'_>| {
        let agent = or_null(row, 1, agent_number)?;
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
