//! Entries of the journal, of all kinds.

use rusqlite::Row;

use super::super::columns::{ENDED, ERROR, EVENT, FIRED, REPEATED, severity};
use super::{agent_id, agent_number, object, or_null, time};
use crate::model::{AlertNote, Body, Entry, ErrorReport, EventReport, JournalLine, Recorded, Transition};

/// The question for entries of `journal j` that [`line`] reads; `rest` says which, in which order, how many.
pub(super) fn select(rest: &str) -> String {
    format!(
        "select j.id, j.agent_number, a.agent_id, j.timestamp, j.kind, j.type, j.message, j.metadata, j.stack_trace,
                j.resolved, g.fingerprint, j.severity, j.value, j.threshold, j.since, j.source,
                case j.kind when {FIRED} then j.id when {ENDED} then j.fired end
           from journal j
           left join agent a on a.number = j.agent_number
           left join error_group g on g.id = j.error_group
          where {rest}"
    )
}

pub(super) fn line(row: &Row<'_>) -> rusqlite::Result<JournalLine> {
    let at = time(row, 3)?;
    // None for the daemon's own, and for an agent that is no longer known.
    let agent = match or_null(row, 2, agent_id)? {
        Some(id) => Some((agent_number(row, 1)?, id)),
        None => None,
    };
    let body = match row.get(4)? {
        EVENT => Body::Event(EventReport { event_type: row.get(5)?, message: row.get(6)?, metadata: object(row, 7)? }),
        ERROR => Body::Error(ErrorReport {
            error_type: row.get(5)?,
            message: row.get(6)?,
            metadata: object(row, 7)?,
            stack: row.get(8)?,
            fingerprint: row.get(10)?,
        }),
        alert => Body::Alert(AlertNote {
            rule: row.get(5)?,
            source: row.get(15)?,
            severity: severity(row, 11)?,
            transition: match alert {
                FIRED => Transition::Fired,
                REPEATED => Transition::Repeated,
                _ => Transition::Resolved,
            },
            since: or_null(row, 14, time)?.unwrap_or(at),
            message: row.get(6)?,
            value: row.get(12)?,
            threshold: row.get(13)?,
        }),
    };
    let recorded = Recorded { id: Some(row.get(0)?), entry: Entry { agent, at, body } };
    Ok(JournalLine { recorded, resolved: row.get::<_, Option<bool>>(9)?.unwrap_or(false), fired: row.get(16)? })
}

pub(super) fn recorded(row: &Row<'_>) -> rusqlite::Result<Recorded> {
    line(row).map(|line| line.recorded)
}
