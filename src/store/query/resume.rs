//! What the last daemon left behind.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use super::super::columns::unpack_io;
use super::super::mark::Reached;
use super::accounts::accounts;
use super::{AGENT_COLUMNS, LEFTOVER_COLUMNS, RUN_COLUMNS, agent, agent_number, alerts, leftover, run};
use crate::model::{AgentNumber, LeftoverRow, Resume, ResumedAgent, RunRow};

/// How many of the newest samples are looked through for the totals of agents that ran when the last daemon ended.
const RESUME_SAMPLES: u32 = 100_000;

/// What the last daemon left behind.
pub(in crate::store) fn resume(connection: &Connection) -> rusqlite::Result<Resume> {
    // A process that is claimed once more goes on with its row, which is not the last one then.
    let last = "select coalesce(max(id) filter (where ended_at is null), max(id)) from run group by agent_number";
    let mut runs: HashMap<AgentNumber, RunRow> = connection
        .prepare(&format!("select {RUN_COLUMNS} from run where id in ({last})"))?
        .query_map([], |row| run(row).map(|run| (run.agent, run)))?
        .collect::<rusqlite::Result<_>>()?;
    let errors: HashMap<AgentNumber, u64> = connection
        .prepare("select agent_number, sum(unresolved) from error_group where unresolved > 0 group by 1")?
        .query_map([], |row| Ok((agent_number(row, 0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut accounts = accounts(connection)?;
    let mut agents: Vec<ResumedAgent> = connection
        .prepare(&format!("select {AGENT_COLUMNS} from agent order by number"))?
        .query_map([], |row| {
            let agent = agent(row)?;
            let (run, account) = (runs.remove(&agent.number), accounts.remove(&agent.number));
            let unresolved = errors.get(&agent.number).copied().unwrap_or(0);
            Ok(ResumedAgent { agent, run, account, unresolved, sampled_cpu_us: None, sampled_io: None })
        })?
        .collect::<rusqlite::Result<_>>()?;
    take_totals(connection, &mut agents)?;
    let leftovers = leftovers(connection)?;
    Ok(Resume {
        leftovers,
        last_tick: last_tick(connection)?,
        agents,
        alerts: alerts::states(connection)?,
        crashes: alerts::crashes(connection)?,
        delivered: alerts::receivers(connection)?,
        last_entry: alerts::last_entry(connection)?,
    })
}

/// Adds the totals of their newest samples to agents that were running. An agent that runs has a sample in nearly every
/// pass, so the search ends soon; the totals of the others were stored when they ended.
fn take_totals(connection: &Connection, agents: &mut [ResumedAgent]) -> rusqlite::Result<()> {
    let mut running: HashMap<i64, &mut ResumedAgent> = agents
        .iter_mut()
        .filter(|resumed| resumed.run.as_ref().is_some_and(|run| run.end.is_none()))
        .map(|resumed| (i64::from(resumed.agent.number.get()), resumed))
        .collect();
    let sql = "select key & ?1, cpu_ms, read_io, written_io from sample order by key desc limit ?2";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query(params![AgentNumber::COUNT - 1, RESUME_SAMPLES])?;
    while !running.is_empty() {
        let Some(row) = rows.next()? else { break };
        // Without processor time it tells nothing; an earlier one may.
        let Some(cpu_ms) = row.get::<_, Option<u64>>(1)? else { continue };
        let Some(resumed) = running.remove(&row.get(0)?) else { continue };
        resumed.sampled_cpu_us = Some(cpu_ms.saturating_mul(1000));
        resumed.sampled_io = unpack_io(row.get(2)?, row.get(3)?);
    }
    Ok(())
}

fn leftovers(connection: &Connection) -> rusqlite::Result<Vec<LeftoverRow>> {
    let sql = format!("select {LEFTOVER_COLUMNS} from leftover where ended_at is null");
    connection.prepare(&sql)?.query_map([], leftover)?.collect()
}

/// How far the database has come.
pub(in crate::store) fn reached(connection: &Connection) -> rusqlite::Result<Reached> {
    Ok(Reached { entry: alerts::last_entry(connection)?, tick: last_tick(connection)? })
}

fn last_tick(connection: &Connection) -> rusqlite::Result<u64> {
    let sql = "select max(coalesce((select max(key) >> 20 from sample), 0),
                          coalesce((select highest_tick from retention), 0))";
    connection.query_row(sql, [], |row| row.get(0))
}
