//! What a stream missed while nobody listened.

use rusqlite::{Connection, named_params, params};

use super::super::columns::{ENDED, ERROR, EVENT, FIRED};
use super::lists::{bounded, of_agent};
use super::{ROW_LIMIT, Reader, StoreError, journal};
use crate::model::{AgentId, JournalLine, Replay, ReplayQuery, Rows};

/// Bytes of texts told again at once, about: a few hundred lines that are as long as lines may be.
const TEXT_BYTES: usize = 8 << 20;

impl Reader {
    /// Lines of the journal after a place, with what can no longer be had of them.
    ///
    /// # Errors
    /// When the database cannot be read in time.
    pub fn replay(&self, missed: &ReplayQuery) -> Result<Replay, StoreError> {
        self.read(|connection| replay(connection, missed))
    }
}

fn replay(connection: &Connection, missed: &ReplayQuery) -> rusqlite::Result<Replay> {
    let last: Option<i64> = connection.query_row("select max(id) from journal", [], |row| row.get(0))?;
    let after = if last.is_some_and(|last| missed.after <= last) { missed.after } else { 0 };
    let limit = missed.limit.min(ROW_LIMIT);
    let Rows { rows: mut lines, more } = lines(connection, missed, after, limit)?;
    lines.reverse();
    let kept =
        if more { lines.first().and_then(|line| line.recorded.id) } else { oldest_kept(connection, after, last)? };
    let gap = kept.filter(|kept| *kept > after + 1).map(|kept| (after + 1, kept - 1));
    Ok(Replay { after, gap, lines })
}

/// Where the journal is whole from, if something after `after` may be gone. Unresolved errors and alerts that fire outlive
/// everything else, so they say nothing about it.
fn oldest_kept(connection: &Connection, after: i64, last: Option<i64>) -> rusqlite::Result<Option<i64>> {
    let sql = "select min(id) from journal where kind = ?1";
    let mut oldest = None;
    for kind in [EVENT, ENDED] {
        let of_kind: Option<i64> = connection.prepare_cached(sql)?.query_row(params![kind], |row| row.get(0))?;
        oldest = oldest.into_iter().chain(of_kind).min();
    }
    let oldest = oldest.or(last.map(|last| last + 1));
    let Some(oldest) = oldest.filter(|oldest| *oldest > after + 1) else { return Ok(None) };
    let sql = "select count(*) from journal where id > ?1 and id < ?2";
    let there: i64 = connection.query_row(sql, params![after, oldest], |row| row.get(0))?;
    Ok((there < oldest - after - 1).then_some(oldest))
}

/// The newest lines, newest first, and whether there are more of them.
fn lines(connection: &Connection, missed: &ReplayQuery, after: i64, limit: u32) -> rusqlite::Result<Rows<JournalLine>> {
    let wanted = [(missed.events, EVENT), (missed.errors, ERROR), (missed.alerts, FIRED), (missed.alerts, ENDED)];
    let kinds: Vec<String> = wanted.iter().filter(|(wanted, _)| *wanted).map(|(_, kind)| kind.to_string()).collect();
    let (kinds, whose) = (kinds.join(", "), of_agent(missed.agent.as_ref(), "j.agent_number"));
    let rest = format!("j.id > :after and j.kind in ({kinds}) and {whose} order by j.id desc limit :limit");
    let agent = missed.agent.as_ref().map(AgentId::as_str);
    let values = named_params! { ":after": after, ":agent": agent, ":limit": limit + 1 };
    let mut statement = connection.prepare_cached(&journal::select(&rest))?;
    bounded(statement.query(values)?, limit, TEXT_BYTES, journal::line)
}
