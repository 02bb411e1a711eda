//! Accounts, with the members they were made of.

use rusqlite::{Connection, params};

use super::execute;
use crate::model::{AccountRow, AgentNumber, Held, MemberRow, Pid, Sums};
use crate::store::StoreError;

/// Puts an account with its members in the place of what is stored of that agent's.
pub(super) fn account(connection: &Connection, row: &AccountRow) -> Result<(), StoreError> {
    for (leftover, sums) in [(false, &row.tree), (true, &row.leftovers)] {
        let sql = "insert or replace into account (agent_number, leftover, boot, scanned_at_ns, cpu_us, cpu_coming,
                                                   read_bytes, read_coming, written_bytes, written_coming)
                   values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
        let Sums { cpu_us, read_bytes, written_bytes } = sums;
        let values = params![
            row.agent.get(),
            leftover,
            row.boot,
            row.scanned_at.0,
            cpu_us.total,
            cpu_us.coming,
            read_bytes.total,
            read_bytes.coming,
            written_bytes.total,
            written_bytes.coming,
        ];
        execute(connection, sql, values)?;
    }
    execute(connection, "delete from member where agent_number = ?1", params![row.agent.get()])?;
    row.members.iter().try_for_each(|one| member(connection, row.agent, one))
}

fn member(connection: &Connection, agent: AgentNumber, row: &MemberRow) -> Result<(), StoreError> {
    let sql =
        "insert into member (agent_number, start_ticks, pid, parent, leftover, born, own_us, children_us, late_us,
                                   read_bytes, read_late, written_bytes, written_late)
               values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
    // Storage I/O is all of children: what a process moves itself cannot be told from it.
    let (read, written) = row.io_bytes.unzip();
    let bytes = |held: Option<Held>| held.map(|held| held.own + held.children);
    let values = params![
        agent.get(),
        row.process.start_ticks,
        row.process.pid.get(),
        row.parent.map(Pid::get),
        row.leftover,
        row.born,
        row.cpu_us.map(|held| held.own),
        row.cpu_us.map(|held| held.children),
        row.cpu_us.map(|held| held.late),
        bytes(read),
        read.map(|held| held.late),
        bytes(written),
        written.map(|held| held.late),
    ];
    execute(connection, sql, values).map(drop)
}

/// Deletes what is stored of an agent's, whose number may become another's.
pub(super) fn delete(connection: &Connection, agent: AgentNumber) -> Result<(), StoreError> {
    execute(connection, "delete from account where agent_number = ?1", params![agent.get()])?;
    execute(connection, "delete from member where agent_number = ?1", params![agent.get()]).map(drop)
}
