//! The lists of everyone's rows: filtered, newest first, a page at a time.

use rusqlite::{Connection, Row, named_params};

use super::super::columns::{ERROR, EVENT, FIRED, severity};
use super::{
    LEFTOVER_COLUMNS, ROW_LIMIT, RUN_COLUMNS, Reader, StoreError, agent_id, journal, leftover, or_null, run, time,
};
use crate::model::{AgentId, AlertEpisode, JournalLine, ListedLeftover, ListedRun, Page, Recorded, Rows};

/// Bytes of the texts of a page, about: rows may be as long as a body each.
pub(super) const PAGE_BYTES: usize = 1 << 20;

impl Reader {
    /// Events of all agents.
    ///
    /// # Errors
    /// When the database cannot be read in time.
    pub fn list_events(&self, page: &Page) -> Result<Rows<Recorded>, StoreError> {
        self.read(|connection| entries(connection, EVENT, page, PAGE_BYTES, journal::recorded))
    }

    /// Occurrences of errors of all agents; open are those that are unresolved.
    ///
    /// # Errors
    /// When the database cannot be read in time.
    pub fn list_errors(&self, page: &Page) -> Result<Rows<JournalLine>, StoreError> {
        self.read(|connection| entries(connection, ERROR, page, PAGE_BYTES, journal::line))
    }

    /// The latest events of an agent, or of all, however long they are.
    ///
    /// # Errors
    /// When the database cannot be read in time.
    pub fn latest_events(&self, agent: Option<&AgentId>, limit: u32) -> Result<Vec<Recorded>, StoreError> {
        let page = Page { agent: agent.cloned(), limit, ..Page::default() };
        self.read(|connection| Ok(entries(connection, EVENT, &page, usize::MAX, journal::recorded)?.rows))
    }

    /// The latest occurrences of errors of an agent, however long they are.
    ///
    /// # Errors
    /// When the database cannot be read in time.
    pub fn latest_errors(&self, agent: &AgentId, limit: u32) -> Result<Vec<JournalLine>, StoreError> {
        let page = Page { agent: Some(agent.clone()), limit, ..Page::default() };
        self.read(|connection| Ok(entries(connection, ERROR, &page, usize::MAX, journal::line)?.rows))
    }

    /// Episodes of alerts; open are those that fire.
    ///
    /// # Errors
    /// When the database cannot be read in time.
    pub fn list_alerts(&self, page: &Page) -> Result<Rows<AlertEpisode>, StoreError> {
        let state = match page.open {
            None => "",
            Some(true) => "and f.id in (select fired from alert_state)",
            Some(false) => "and f.id not in (select fired from alert_state where fired is not null)",
        };
        let filters = filters(page, "f.agent_number", "f.type");
        // An episode that is neither open nor has an end recorded is over: its end could not be stored.
        let sql = format!(
            "select f.id, a.agent_id, f.type, f.severity, s.fired is not null and e.id is null, f.message, f.value,
                    f.threshold, f.timestamp, e.timestamp
               from journal f
               left join agent a on a.number = f.agent_number
               left join journal e on e.fired = f.id
               left join alert_state s on s.fired = f.id
              where f.kind = {FIRED} and f.id < :before and {filters} {state} order by f.id desc limit :limit"
        );
        self.read(|connection| rows(connection, &sql, page, PAGE_BYTES, alert))
    }

    /// Runs of all agents; open are those that go on.
    ///
    /// # Errors
    /// When the database cannot be read in time.
    pub fn list_runs(&self, page: &Page) -> Result<Rows<ListedRun>, StoreError> {
        let (filters, state) = (filters(page, "agent_number", "reason"), ended(page));
        let sql = format!(
            "select {RUN_COLUMNS}, id, (select agent_id from agent where number = agent_number)
               from run where id < :before and {filters} {state} order by id desc limit :limit"
        );
        self.read(|connection| rows(connection, &sql, page, PAGE_BYTES, listed_run))
    }

    /// Processes that outlived their agents; open are those that live. Their type is their command.
    ///
    /// # Errors
    /// When the database cannot be read in time.
    pub fn list_leftovers(&self, page: &Page) -> Result<Rows<ListedLeftover>, StoreError> {
        let (filters, state) = (filters(page, "agent_number", "command"), ended(page));
        let sql = format!(
            "select {LEFTOVER_COLUMNS}, id, (select agent_id from agent where number = agent_number)
               from leftover where id < :before and {filters} {state} order by id desc limit :limit"
        );
        self.read(|connection| rows(connection, &sql, page, PAGE_BYTES, listed_leftover))
    }
}

fn entries<T>(
    connection: &Connection,
    kind: i64,
    page: &Page,
    bytes: usize,
    item: fn(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Rows<T>> {
    // Literals, so that the index of unresolved errors can be used.
    let state = match page.open {
        None => "",
        Some(true) => "and j.resolved = 0",
        Some(false) => "and j.resolved = 1",
    };
    let filters = filters(page, "j.agent_number", "j.type");
    let rest = format!("j.kind = {kind} and j.id < :before and {filters} {state} order by j.id desc limit :limit");
    rows(connection, &journal::select(&rest), page, bytes, item)
}

fn ended(page: &Page) -> &'static str {
    match page.open {
        None => "",
        Some(true) => "and ended_at is null",
        Some(false) => "and ended_at is not null",
    }
}

/// Whose rows a page asks for, and of which type. Both parameters are named in any case: what is bound must be.
fn filters(page: &Page, agent: &str, kind: &str) -> String {
    format!("{} and {}", of_agent(page.agent.as_ref(), agent), of_kind(page.kind.as_deref(), kind))
}

pub(super) fn of_agent(agent: Option<&AgentId>, column: &str) -> String {
    match agent {
        Some(_) => format!("{column} = (select number from agent where agent_id = :agent)"),
        None => ":agent is null".to_owned(),
    }
}

pub(super) fn of_kind(kind: Option<&str>, column: &str) -> String {
    if kind.is_some() { format!("{column} = :kind") } else { ":kind is null".to_owned() }
}

/// Asks `sql`, which names `:before`, `:agent`, `:kind` and `:limit`.
fn rows<T>(
    connection: &Connection,
    sql: &str,
    page: &Page,
    bytes: usize,
    item: fn(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Rows<T>> {
    let limit = page.limit.min(ROW_LIMIT);
    let values = named_params! {
        ":before": page.before.unwrap_or(i64::MAX),
        ":agent": page.agent.as_ref().map(AgentId::as_str),
        ":kind": page.kind,
        ":limit": limit + 1,
    };
    bounded(connection.prepare_cached(sql)?.query(values)?, limit, bytes, item)
}

/// At most `limit` of these rows, and fewer where their texts are longer than `bytes` together, but at least one.
pub(super) fn bounded<T>(
    mut rows: rusqlite::Rows<'_>,
    limit: u32,
    bytes: usize,
    item: fn(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Rows<T>> {
    let (mut found, mut left) = (Vec::new(), bytes);
    while let Some(row) = rows.next()? {
        let columns = 0..row.as_ref().column_count();
        let size: usize = columns.filter_map(|column| row.get_ref(column).ok()?.as_bytes().ok()).map(<[u8]>::len).sum();
        if found.len() == limit as usize || (size > left && !found.is_empty()) {
            return Ok(Rows { rows: found, more: true });
        }
        left = left.saturating_sub(size);
        found.push(item(row)?);
    }
    Ok(Rows { rows: found, more: false })
}

fn alert(row: &Row<'_>) -> rusqlite::Result<AlertEpisode> {
    Ok(AlertEpisode {
        id: row.get(0)?,
        agent: or_null(row, 1, agent_id)?,
        rule: row.get(2)?,
        severity: severity(row, 3)?,
        firing: row.get(4)?,
        message: row.get(5)?,
        value: row.get(6)?,
        threshold: row.get(7)?,
        started_at: time(row, 8)?,
        ended_at: or_null(row, 9, time)?,
    })
}

fn listed_run(row: &Row<'_>) -> rusqlite::Result<ListedRun> {
    Ok(ListedRun { id: row.get(14)?, agent: agent_id(row, 15)?, run: run(row)? })
}

fn listed_leftover(row: &Row<'_>) -> rusqlite::Result<ListedLeftover> {
    Ok(ListedLeftover { id: row.get(10)?, agent: agent_id(row, 11)?, leftover: leftover(row)? })
}
