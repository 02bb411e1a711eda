//! Errors and the problems that they are occurrences of.

use rusqlite::{Connection, OptionalExtension, params};

use super::{execute, unless_empty};
use crate::model::{AgentNumber, Entry, ErrorReport, Timestamp, Usage};
use crate::retention::ROWS_PER_SLICE;
use crate::store::StoreError;
use crate::store::columns::{ERROR, kib, tenths};

/// The most occurrences of a problem that are kept, the latest.
const KEPT: u32 = 100;

/// As much of a message as a problem shows, bytes.
const MESSAGE_BYTES: usize = 1_024;

/// Stores an occurrence, and counts it to its problem. One that is dated before its problem was last resolved is
/// resolved with it; any other makes the problem unresolved, again if it was resolved.
pub(super) fn error(
    connection: &Connection,
    entry: &Entry,
    error: &ErrorReport,
    usage: &Usage,
) -> Result<i64, StoreError> {
    let agent = entry.agent.as_ref().map(|(number, _)| number.get());
    let group = agent.map(|agent| count(connection, agent, entry.at, error, usage)).transpose()?;
    let sql = "insert into journal (timestamp, agent_number, kind, type, message, metadata, stack_trace, resolved,
                                    error_group)
               values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    let (metadata, resolved) = (unless_empty(&error.metadata), group.as_ref().is_some_and(|group| group.resolved));
    let id = group.as_ref().map(|group| group.id);
    let at = entry.at.sql();
    execute(
        connection,
        sql,
        params![at, agent, ERROR, error.error_type, error.message, metadata, error.stack, resolved, id],
    )?;
    let row = connection.last_insert_rowid();
    if let Some(group) = group.filter(|group| group.count > KEPT.into()) {
        let sql = "delete from journal where id in (
                       select id from journal where error_group = ?1 order by id desc limit -1 offset ?2)";
        execute(connection, sql, params![group.id, KEPT])?;
    }
    Ok(row)
}

struct Counted {
    id: i64,
    count: u64,
    /// Whether the occurrence belongs to what was resolved before.
    resolved: bool,
}

fn count(
    connection: &Connection,
    agent: u32,
    at: Timestamp,
    error: &ErrorReport,
    usage: &Usage,
) -> Result<Counted, StoreError> {
    let sql = "insert into error_group (agent_number, fingerprint, error_type, message, count, unresolved, first_seen,
                                        last_seen, first_cpu_tenths, first_memory_kib, last_cpu_tenths, last_memory_kib)
               values (?1, ?2, ?3, ?4, 1, 1, ?5, ?5, ?6, ?7, ?6, ?7)
               on conflict (fingerprint, agent_number) do update set
                   count = count + 1,
                   unresolved = unresolved + (resolved_at is null or ?5 >= resolved_at),
                   error_type = iif(?5 >= last_seen, ?3, error_type),
                   message = iif(?5 >= last_seen, ?4, message),
                   last_cpu_tenths = iif(?5 >= last_seen, ?6, last_cpu_tenths),
                   last_memory_kib = iif(?5 >= last_seen, ?7, last_memory_kib),
                   first_cpu_tenths = iif(?5 < first_seen, ?6, first_cpu_tenths),
                   first_memory_kib = iif(?5 < first_seen, ?7, first_memory_kib),
                   last_seen = max(last_seen, ?5),
                   first_seen = min(first_seen, ?5)
               returning id, count, resolved_at is not null and ?5 < resolved_at";
    let end = error.message.floor_char_boundary(MESSAGE_BYTES);
    let values = params![
        agent,
        error.fingerprint.as_deref().unwrap_or_default(),
        error.error_type,
        &error.message[..end],
        at.sql(),
        usage.cpu_percent.and_then(tenths),
        usage.memory_bytes.map(kib),
    ];
    let counted = |row: &rusqlite::Row<'_>| Ok(Counted { id: row.get(0)?, count: row.get(1)?, resolved: row.get(2)? });
    Ok(connection.prepare_cached(sql)?.query_row(values, counted)?)
}

/// Resolves one occurrence. Returns whose it is if that changed something, `None` when there is no such occurrence.
///
/// When the last one that is kept is resolved, so are those that are not: nobody could name them.
pub(super) fn resolve_one(
    connection: &Connection,
    id: i64,
    at: Timestamp,
) -> Result<Option<Option<AgentNumber>>, StoreError> {
    let sql = "select agent_number, resolved, error_group from journal where id = ?1 and kind = ?2";
    let found = connection
        .prepare_cached(sql)?
        .query_row(params![id, ERROR], |row| {
            Ok((row.get::<_, Option<u32>>(0)?, row.get::<_, bool>(1)?, row.get::<_, Option<i64>>(2)?))
        })
        .optional()?;
    let Some((agent, resolved, group)) = found else { return Ok(None) };
    if resolved {
        return Ok(Some(None));
    }
    execute(connection, "update journal set resolved = 1 where id = ?1", params![id])?;
    let sql = "update error_group set unresolved = iif(
                   exists (select 1 from journal where error_group = ?1 and resolved = 0), max(unresolved - 1, 1), 0)
                where id = ?1";
    execute(connection, sql, params![group])?;
    let sql = "update error_group set resolved_at = ?2 where id = ?1 and unresolved = 0";
    execute(connection, sql, params![group, at.sql()])?;
    Ok(Some(agent.and_then(AgentNumber::new)))
}

/// Resolves all occurrences of the problems with this fingerprint, of one agent or of all. Returns whose they were if
/// that changed something, `None` when there is no such problem.
pub(super) fn resolve_all(
    connection: &Connection,
    fingerprint: &str,
    agent: Option<&str>,
    at: Timestamp,
) -> Result<Option<Vec<AgentNumber>>, StoreError> {
    let sql = "select id, agent_number, unresolved from error_group
                where fingerprint = ?1
                  and (?2 is null or agent_number = (select number from agent where agent_id = ?2))";
    let groups: Vec<(i64, u32, u64)> = connection
        .prepare_cached(sql)?
        .query_map(params![fingerprint, agent], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    if groups.is_empty() {
        return Ok(None);
    }
    let mut changed = Vec::new();
    for (id, agent, _) in groups.into_iter().filter(|(_, _, unresolved)| *unresolved > 0) {
        execute(connection, "update journal set resolved = 1 where error_group = ?1 and resolved = 0", params![id])?;
        let sql = "update error_group set unresolved = 0, resolved_at = ?2 where id = ?1";
        execute(connection, sql, params![id, at.sql()])?;
        changed.extend(AgentNumber::new(agent));
    }
    Ok(Some(changed))
}

/// Deletes some problems that were last seen before `cutoff`, and of which no occurrence is left; those that nobody
/// resolved only if they are not to be spared. Returns whose they were.
pub(in crate::store) fn delete_groups(
    connection: &Connection,
    cutoff: Timestamp,
    spare_unresolved: bool,
) -> Result<Vec<AgentNumber>, StoreError> {
    let sql = "delete from error_group where id in (
                   select id from error_group g
                    where (unresolved = 0 or not ?3) and last_seen < ?1
                      and not exists (select 1 from journal where error_group = g.id)
                    limit ?2)
               returning agent_number";
    let mut statement = connection.prepare_cached(sql)?;
    let numbers = statement.query_map(params![cutoff.sql(), ROWS_PER_SLICE, spare_unresolved], |row| row.get(0))?;
    Ok(numbers.collect::<rusqlite::Result<Vec<u32>>>()?.into_iter().filter_map(AgentNumber::new).collect())
}
