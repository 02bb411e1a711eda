//! Problems, as they are shown.

use rusqlite::{Row, ToSql, named_params};

use super::{PAGE_BYTES, ROW_LIMIT, Reader, StoreError, agent_id, bounded, time};
use crate::model::{AgentId, ErrorGroup, GroupPage, GroupState, Rows, Usage};

impl Reader {
    /// Problems of all agents or of one, the one seen last first.
    ///
    /// # Errors
    /// When the database cannot be read in time.
    pub fn list_groups(&self, page: &GroupPage) -> Result<Rows<ErrorGroup>, StoreError> {
        let (agent, kind) = (page.agent.as_ref().map(AgentId::as_str), page.error_type.as_deref());
        let (last_seen, id) = page.before.map_or(("9".to_owned(), i64::MAX), |(at, id)| (at.sql(), id));
        let limit = page.limit.min(ROW_LIMIT);
        let one_more = limit + 1;
        let mut values: Vec<(&str, &dyn ToSql)> =
            named_params! { ":last_seen": last_seen, ":id": id, ":limit": one_more }.to_vec();
        let mut filters = String::new();
        if agent.is_some() {
            filters.push_str(" and g.agent_number = (select number from agent where agent_id = :agent)");
            values.push((":agent", &agent));
        }
        if kind.is_some() {
            filters.push_str(" and g.error_type = :kind");
            values.push((":kind", &kind));
        }
        if !page.states.is_empty() {
            let states: Vec<&str> = page.states.iter().copied().map(condition).collect();
            filters = format!("{filters} and ({})", states.join(" or "));
        }
        let sql = format!(
            "select g.id, a.agent_id, g.fingerprint, g.error_type, g.message, g.count, g.unresolved, g.first_seen,
                    g.last_seen, g.resolved_at, g.first_cpu_tenths, g.first_memory_kib, g.last_cpu_tenths,
                    g.last_memory_kib
               from error_group g left join agent a on a.number = g.agent_number
              where (g.last_seen, g.id) < (:last_seen, :id) {filters}
              order by g.last_seen desc, g.id desc limit :limit"
        );
        self.read(|connection| bounded(connection.prepare_cached(&sql)?.query(&*values)?, limit, PAGE_BYTES, group))
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
    let agent = row.get::<_, Option<String>>(1)?;
    let unresolved: u64 = row.get(6)?;
    let resolved_at = row.get_ref(9)?.as_str_or_null()?.map(|_| time(row, 9)).transpose()?;
    let state = match resolved_at {
        _ if unresolved == 0 => GroupState::Resolved,
        None => GroupState::Open,
        Some(_) => GroupState::Regressed,
    };
    Ok(ErrorGroup {
        id: row.get(0)?,
        agent: agent.map(|id| agent_id(&id, 1)).transpose()?,
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

#[expect(clippy::cast_precision_loss, reason = "tenths of a percent are far below 2^53")]
fn usage(row: &Row<'_>, column: usize) -> rusqlite::Result<Usage> {
    Ok(Usage {
        cpu_percent: row.get::<_, Option<i64>>(column)?.map(|tenths| tenths as f64 / 10.0),
        memory_bytes: row.get::<_, Option<u64>>(column + 1)?.map(|kib| kib.saturating_mul(1024)),
    })
}
