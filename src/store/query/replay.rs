//! What a stream missed while nobody listened.

use rusqlite::{Connection, Row, ToSql, named_params, params};

use super::super::columns::{ENDED, FIRED, severity};
use super::lists::bounded;
use super::{ERROR, EVENT, ROW_LIMIT, Reader, StoreError, object, owner, time};
use crate::model::{
    AgentId, AlertNote, Body, Entry, ErrorReport, EventReport, Missed, Recorded, Replay, Retold, Rows, Turn,
};

/// Bytes of texts told again at once, about: a few hundred lines that are as long as lines may be.
const TEXT_BYTES: usize = 8 << 20;

impl Reader {
    /// Lines of the journal after a place, with what can no longer be had of them.
    ///
    /// # Errors
    /// When the database cannot be read in time.
    pub fn replay(&self, missed: &Missed) -> Result<Replay, StoreError> {
        self.read(|connection| replay(connection, missed))
    }
}

fn replay(connection: &Connection, missed: &Missed) -> rusqlite::Result<Replay> {
    let last: Option<i64> = connection.query_row("select max(id) from journal", [], |row| row.get(0))?;
    let after = if last.is_some_and(|last| missed.after <= last) { missed.after } else { 0 };
    let limit = missed.limit.min(ROW_LIMIT);
    let Rows { rows: mut told, more } = lines(connection, missed, after, limit)?;
    told.reverse();
    let kept = if more { told.first().and_then(|line| line.recorded.id) } else { oldest_kept(connection, after)? };
    let gap = kept.filter(|kept| *kept > after + 1).map(|kept| (after + 1, kept - 1));
    Ok(Replay { after, gap, told })
}

/// How far back the journal is whole, if it may not be so right after `after`. Unresolved errors outlive everything
/// else, so they say nothing about it.
fn oldest_kept(connection: &Connection, after: i64) -> rusqlite::Result<Option<i64>> {
    let there: bool =
        connection
            .query_row("select exists (select 1 from journal where id = ?1)", params![after + 1], |row| row.get(0))?;
    if there {
        return Ok(None);
    }
    let sql = "select min(id) from journal where kind = ?1";
    let mut oldest = None;
    for kind in [EVENT, FIRED, ENDED] {
        let of_kind: Option<i64> = connection.prepare_cached(sql)?.query_row(params![kind], |row| row.get(0))?;
        oldest = oldest.into_iter().chain(of_kind).min();
    }
    Ok(oldest)
}

/// The newest lines, newest first, and whether there are more of them.
fn lines(connection: &Connection, missed: &Missed, after: i64, limit: u32) -> rusqlite::Result<Rows<Retold>> {
    let of = if missed.agent.is_some() {
        "and j.agent_number = (select number from agent where agent_id = :agent)"
    } else {
        ""
    };
    let wanted = [(missed.events, EVENT), (missed.errors, ERROR), (missed.alerts, FIRED), (missed.alerts, ENDED)];
    let kinds: Vec<String> = wanted.iter().filter(|(wanted, _)| *wanted).map(|(_, kind)| kind.to_string()).collect();
    let sql = format!(
        "select j.id, j.agent_number, a.agent_id, j.timestamp, j.kind, j.type, j.message, j.metadata, j.stack_trace,
                j.resolved, j.severity, j.value, j.threshold, g.fingerprint, j.since, j.source,
                case j.kind when {FIRED} then j.id when {ENDED} then j.fired end
           from journal j
           left join agent a on a.number = j.agent_number
           left join error_group g on g.id = j.error_group
          where j.id > :after and j.kind in ({}) {of} order by j.id desc limit :limit",
        kinds.join(", ")
    );
    let agent = missed.agent.as_ref().map(AgentId::as_str);
    let one_more = limit + 1;
    let mut values: Vec<(&str, &dyn ToSql)> = named_params! { ":after": after, ":limit": one_more }.to_vec();
    if agent.is_some() {
        values.push((":agent", &agent));
    }
    bounded(connection.prepare_cached(&sql)?.query(&*values)?, limit, TEXT_BYTES, line)
}

fn line(row: &Row<'_>) -> rusqlite::Result<Retold> {
    let kind: i64 = row.get(4)?;
    let body = match kind {
        EVENT => Body::Event(EventReport { event_type: row.get(5)?, message: row.get(6)?, metadata: object(row, 7)? }),
        ERROR => Body::Error(ErrorReport {
            error_type: row.get(5)?,
            message: row.get(6)?,
            metadata: object(row, 7)?,
            stack: row.get(8)?,
            fingerprint: row.get(13)?,
        }),
        _ => Body::Alert(AlertNote {
            rule: row.get(5)?,
            source: row.get(15)?,
            severity: severity(row, 10)?,
            turn: if kind == FIRED { Turn::Fired } else { Turn::Resolved },
            since: time(row, if kind == FIRED { 3 } else { 14 })?,
            message: row.get(6)?,
            value: row.get(11)?,
            threshold: row.get(12)?,
        }),
    };
    let recorded = Recorded { id: Some(row.get(0)?), entry: Entry { agent: owner(row)?, at: time(row, 3)?, body } };
    Ok(Retold { recorded, resolved: row.get::<_, Option<bool>>(9)?.unwrap_or(false), fired: row.get(16)? })
}
