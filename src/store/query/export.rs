//! History as it is taken out: in order of time, a page at a time, so that no page holds up the log.

use std::ops::Range;

use rusqlite::{Connection, OptionalExtension, params};

use super::super::{Reader, StoreError};
use super::samples::{SAMPLE_COLUMNS, Statuses, metrics};
use super::{agent_id, time};
use crate::model::{AgentId, AgentNumber, Metrics, Tick, Timestamp};
use crate::retention::SAMPLES_PER_SLICE;

/// What is taken out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Selection {
    /// Only this agent's.
    pub agent: Option<AgentId>,
    /// Only of this time.
    pub time: Range<Timestamp>,
}

/// Some of it, oldest first.
#[derive(Clone, PartialEq, Debug)]
pub struct ExportPage {
    /// Each sample with its agent.
    pub rows: Vec<(AgentId, Metrics)>,
    /// Where the next page begins; none after the last.
    pub next: Option<Tick>,
}

impl Reader {
    /// Ids of all agents, in order.
    ///
    /// # Errors
    /// When the database cannot be read in time.
    pub fn agent_ids(&self) -> Result<Vec<AgentId>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("select agent_id from agent order by agent_id")?;
            statement.query_map([], |row| agent_id(row, 0))?.collect()
        })
    }

    /// The samples of a selection that follow this pass; at most 10,000, if no pass alone has more.
    ///
    /// # Errors
    /// When the database cannot be read in time.
    pub fn export(&self, selection: &Selection, after: Option<Tick>) -> Result<ExportPage, StoreError> {
        self.read(|connection| {
            let number = match &selection.agent {
                None => None,
                Some(id) => match number(connection, id)? {
                    None => return Ok(ExportPage { rows: Vec::new(), next: None }),
                    known => known,
                },
            };
            let last = end_of_page(connection, selection, after)?;
            let Some(last) = last else { return Ok(ExportPage { rows: Vec::new(), next: None }) };
            let which = match number {
                None => "s.key between t.tick << 20 and (t.tick << 20) + 1048575 and ?6 is null",
                Some(_) => "s.key = (t.tick << 20) + ?6",
            };
            let sql = format!(
                "select {SAMPLE_COLUMNS}, a.agent_id as agent_id
                   from ticks t cross join sample s on {which}
                   join agent a on a.number = s.key & 1048575
                  where (t.timestamp, t.tick) > (?1, ?2) and (t.timestamp, t.tick) <= (?3, ?4) and t.timestamp >= ?5
                  order by t.timestamp, t.tick, s.key"
            );
            let (at, tick) = after.map_or((String::new(), 0), |tick| (tick.at.sql(), tick.ordinal));
            let from = selection.time.start.sql();
            let values = params![at, tick, last.at.sql(), last.ordinal, from, number.map(AgentNumber::get)];
            let mut statuses = Statuses::new(connection);
            let mut statement = connection.prepare_cached(&sql)?;
            let whose = statement.column_index("agent_id")?;
            let rows = statement.query_map(values, |row| Ok((agent_id(row, whose)?, metrics(row, &mut statuses)?)))?;
            Ok(ExportPage { rows: rows.collect::<rusqlite::Result<_>>()?, next: Some(last) })
        })
    }
}

fn number(connection: &Connection, id: &AgentId) -> rusqlite::Result<Option<AgentNumber>> {
    let sql = "select number from agent where agent_id = ?1";
    connection.prepare_cached(sql)?.query_row([id.as_str()], |row| super::agent_number(row, 0)).optional()
}

/// The last pass of a page; none when nothing is left.
fn end_of_page(connection: &Connection, selection: &Selection, after: Option<Tick>) -> rusqlite::Result<Option<Tick>> {
    let sql = "select timestamp, tick, samples from ticks
                where (timestamp, tick) > (?1, ?2) and timestamp >= ?3 and timestamp < ?4 order by timestamp, tick";
    let (at, tick) = after.map_or((String::new(), 0), |tick| (tick.at.sql(), tick.ordinal));
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![at, tick, selection.time.start.sql(), selection.time.end.sql()])?;
    let (mut last, mut samples) = (None, 0);
    while let Some(row) = rows.next()? {
        samples += row.get::<_, u64>(2)?;
        if last.is_some() && samples > SAMPLES_PER_SLICE {
            break;
        }
        last = Some(Tick { at: time(row, 0)?, ordinal: row.get(1)? });
    }
    Ok(last)
}
