//! Problems, as they are shown.

use rusqlite::{Row, named_params};

use super::super::columns::{from_kib, from_tenths};
use super::lists::{PAGE_BYTES, bounded, of_agent, of_kind};
use super::{ROW_LIMIT, Reader, StoreError, agent_id, or_null, time};
use crate::model::{AgentId, ErrorGroup, GroupPage, GroupState, Rows, Usage};

impl Reader {
    /// Problems of all agents or of one, the one seen last first.
    ///
    /// # Errors
    /// When the database cannot be read in time.
    pub fn list_groups(&self, page: &GroupPage) -> Result<Rows<ErrorGroup>, StoreError> {
        let whose = of_agent(page.agent.as_ref(), "g.agent_number");
        let kind = of_kind(page.error_type.as_deref(), "g.error_type");
        let states: Vec<&str> = page.states.iter().copied().map(condition).collect();
        let states = if states.is_empty() { "true".to_owned() } else { states.join(" or ") };
        let sql = format!(
            "select g.id, a.agent_id, g.fingerprint, g.error_type, g.message, g.count, g.unresolved, g.first_seen,
                    g.last_seen, g.resolved_at, g.first_cpu_tenths, g.first_memory_kib, g.last_cpu_tenths,
                    g.last_memory_kib
               from error_group g left join agent a on a.number = g.agent_number
              where (g.last_seen, g.id) < (:last_seen, :id) and {whose} and {kind} and ({states})
              order by g.last_seen desc, g.id desc limit :limit"
        );
        let (last_seen, id) = page.before.map_or(("9".to_owned(), i64::MAX), |(at, id)| (at.sql(), id));
        let limit = page.limit.min(ROW_LIMIT);
        let values = named_params! {
            ":last_seen": last_seen,
            ":id": id,
            ":agent": page.agent.as_ref().map(AgentId::as_str),
            ":kind": page.error_type,
            ":limit": limit + 1,
        };
        self.read(|connection| bounded(connection.prepare_cached(&sql)?.query(values)?, limit, PAGE_BYTES, group))
    }
}

fn condition(state: GroupState) -> &'static str {
    match state {
        GroupState::Open => "g.unresolved > 0 and g.resolved_at is null",
        GroupState::Resolved => "g.unresolved = 0",
        GroupState::Regressed => "g.unresolved > 0 and g.resolved_at is not null",
    }
}

fn group(row: &Row<'_>) -> rusqlite::Result<ErrorGroup> {
    let unresolved: u64 = row.get(6)?;
    let resolved_at = or_null(row, 9, time)?;
    let state = match resolved_at {
        _ if unresolved == 0 => GroupState::Resolved,
        None => GroupState::Open,
        Some(_) => GroupState::Regressed,
    };
    Ok(ErrorGroup {
        id: row.get(0)?,
        agent: or_null(row, 1, agent_id)?,
        fingerprint: row.get(2)?,
        error_type: row.get(3)?,
        message: row.get(4)?,
        state,
        count: row.get(5)?,
        unresolved,
        first_seen: time(row, 7)?,
        last_seen: time(row, 8)?,
        resolved_at,
        first_usage: usage(row, 10)?,
        last_usage: usage(row, 12)?,
    })
}

fn usage(row: &Row<'_>, column: usize) -> rusqlite::Result<Usage> {
    Ok(Usage { cpu_percent: from_tenths(row.get(column)?), memory_bytes: from_kib(row.get(column + 1)?) })
}
