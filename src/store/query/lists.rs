//! The lists of everyone's rows: filtered, newest first, a page at a time.

use rusqlite::{Connection, Row, ToSql, named_params};

use super::super::columns::{FIRED, severity};
use super::{
    ERROR, EVENT, ErrorRow, JOURNAL_COLUMNS, LEFTOVER_COLUMNS, ROW_LIMIT, RUN_COLUMNS, Reader, StoreError, agent_id,
    error, event, leftover, run, time,
};
use crate::model::{AlertEpisode, ListedLeftover, ListedRun, Page, Recorded, Rows, RunRow};

/// Bytes of the texts of a page, about: rows may be as long as a body each.
pub(super) const PAGE_BYTES: usize = 1 << 20;

impl Reader {
    /// Events of all agents.
    ///
    /// # Errors
    /// When the database cannot be read in time.
    pub fn list_events(&self, page: &Page) -> Result<Rows<Recorded>, StoreError> {
        self.read(|connection| journal(connection, EVENT, page, event))
    }

    /// Occurrences of errors of all agents; open are those that are unresolved.
    ///
    /// # Errors
    /// When the database cannot be read in time.
    pub fn list_errors(&self, page: &Page) -> Result<Rows<ErrorRow>, StoreError> {
        self.read(|connection| journal(connection, ERROR, page, error))
    }

    /// Episodes of alerts; open are those that fire.
    ///
    /// # Errors
    /// When the database cannot be read in time.
    pub fn list_alerts(&self, page: &Page) -> Result<Rows<AlertEpisode>, StoreError> {
        let filters = format!(
            "{} {} {}",
            of_agent(page, "f.agent_number"),
            when(page.kind.is_some(), "and f.type = :kind"),
            match page.open {
                None => "",
                Some(true) => "and f.id in (select fired from alert_state)",
                Some(false) => "and f.id not in (select fired from alert_state where fired is not null)",
            }
        );
        // An episode that is neither open nor has an end recorded is over: its end could not be stored.
        let sql = format!(
            "select f.id, a.agent_id, f.type, f.severity, s.fired is not null and e.id is null, f.message, f.value,
                    f.threshold, f.timestamp, e.timestamp
               from journal f
               left join agent a on a.number = f.agent_number
               left join journal e on e.fired = f.id
               left join alert_state s on s.fired = f.id
              where f.kind = {FIRED} and f.id < :before {filters} order by f.id desc limit :limit"
        );
        self.read(|connection| rows(connection, &sql, page, alert))
    }

    /// Runs of all agents; open are those that go on.
    ///
    /// # Errors
    /// When the database cannot be read in time.
    pub fn list_runs(&self, page: &Page) -> Result<Rows<ListedRun>, StoreError> {
        let filters = format!(
            "{} {} {}",
            of_agent(page, "agent_number"),
            when(page.kind.is_some(), "and reason = :kind"),
            match page.open {
                None => "",
                Some(true) => "and ended_at is null",
                Some(false) => "and ended_at is not null",
            }
        );
        let sql = format!(
            "select {RUN_COLUMNS}, id, (select agent_id from agent where number = agent_number)
               from run where id < :before {filters} order by id desc limit :limit"
        );
        self.read(|connection| rows(connection, &sql, page, listed_run))
    }

    /// Processes that outlived their agents; open are those that live. Their type is their command.
    ///
    /// # Errors
    /// When the database cannot be read in time.
    pub fn list_leftovers(&self, page: &Page) -> Result<Rows<ListedLeftover>, StoreError> {
        let filters = format!(
            "{} {} {}",
            of_agent(page, "agent_number"),
            when(page.kind.is_some(), "and command = :kind"),
            match page.open {
                None => "",
                Some(true) => "and ended_at is null",
                Some(false) => "and ended_at is not null",
            }
        );
        let sql = format!(
            "select {LEFTOVER_COLUMNS}, id, (select agent_id from agent where number = agent_number)
               from leftover where id < :before {filters} order by id desc limit :limit"
        );
        self.read(|connection| rows(connection, &sql, page, listed_leftover))
    }
}

fn journal<T>(
    connection: &Connection,
    kind: i64,
    page: &Page,
    item: fn(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Rows<T>> {
    let filters = format!(
        "{} {} {}",
        of_agent(page, "j.agent_number"),
        when(page.kind.is_some(), "and j.type = :kind"),
        // Literals, so that the index of unresolved errors can be used.
        match page.open {
            None => "",
            Some(true) => "and j.resolved = 0",
            Some(false) => "and j.resolved = 1",
        }
    );
    let sql = format!(
        "select {JOURNAL_COLUMNS}
           from journal j left join agent a on a.number = j.agent_number
          where j.kind = {kind} and j.id < :before {filters} order by j.id desc limit :limit"
    );
    rows(connection, &sql, page, item)
}

fn of_agent(page: &Page, column: &str) -> String {
    when(page.agent.is_some(), &format!("and {column} = (select number from agent where agent_id = :agent)")).to_owned()
}

fn when(given: bool, condition: &str) -> &str {
    if given { condition } else { "" }
}

/// Asks `sql`, which names `:before` and `:limit`, and `:agent` and `:kind` where the page does.
fn rows<T>(
    connection: &Connection,
    sql: &str,
    page: &Page,
    item: fn(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Rows<T>> {
    let before = page.before.unwrap_or(i64::MAX);
    let limit = page.limit.min(ROW_LIMIT);
    let one_more = limit + 1;
    let agent = page.agent.as_ref().map(crate::model::AgentId::as_str);
    let mut values: Vec<(&str, &dyn ToSql)> = named_params! { ":before": before, ":limit": one_more }.to_vec();
    if agent.is_some() {
        values.push((":agent", &agent));
    }
    if page.kind.is_some() {
        values.push((":kind", &page.kind));
    }
    bounded(connection.prepare_cached(sql)?.query(&*values)?, limit, PAGE_BYTES, item)
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
    let agent = row.get::<_, Option<String>>(1)?;
    Ok(AlertEpisode {
        id: row.get(0)?,
        agent: agent.map(|id| agent_id(&id, 1)).transpose()?,
        rule: row.get(2)?,
        severity: severity(row, 3)?,
        firing: row.get(4)?,
        message: row.get(5)?,
        value: row.get(6)?,
        threshold: row.get(7)?,
        started_at: time(row, 8)?,
        ended_at: row.get_ref(9)?.as_str_or_null()?.map(|_| time(row, 9)).transpose()?,
    })
}

fn listed_run(row: &Row<'_>) -> rusqlite::Result<ListedRun> {
    let run: RunRow = run(row)?;
    Ok(ListedRun { id: row.get(14)?, agent: agent_id(&row.get::<_, String>(15)?, 15)?, run })
}

fn listed_leftover(row: &Row<'_>) -> rusqlite::Result<ListedLeftover> {
    Ok(ListedLeftover { id: row.get(10)?, agent: agent_id(&row.get::<_, String>(11)?, 11)?, leftover: leftover(row)? })
}
