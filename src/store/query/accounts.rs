//! Accounts, with the members they were made of.

use std::collections::HashMap;

use rusqlite::{Connection, Row};

use super::{agent_number, process};
use crate::model::{AccountRow, AgentNumber, Balance, Held, MemberRow, Mono, Pid, Sums};

/// All of them.
pub(super) fn accounts(connection: &Connection) -> rusqlite::Result<HashMap<AgentNumber, AccountRow>> {
    let mut accounts: HashMap<AgentNumber, AccountRow> = HashMap::new();
    let mut statement = connection.prepare(
        "select agent_number, leftover, boot, scanned_at_ns, cpu_us, cpu_coming, read_bytes, read_coming, written_bytes,
                written_coming
           from account",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let agent = agent_number(row, 0)?;
        let (boot, scanned_at) = (row.get(2)?, Mono(row.get(3)?));
        let account = accounts.entry(agent).or_insert_with(|| AccountRow {
            agent,
            boot,
            scanned_at,
            tree: Sums::default(),
            leftovers: Sums::default(),
            members: Vec::new(),
        });
        let sums = if row.get(1)? { &mut account.leftovers } else { &mut account.tree };
        *sums = Sums { cpu_us: balance(row, 4)?, read_bytes: balance(row, 6)?, written_bytes: balance(row, 8)? };
    }
    let mut statement = connection.prepare(
        "select agent_number, start_ticks, pid, parent, leftover, born, own_us, children_us, late_us, read_bytes,
                read_late, written_bytes, written_late
           from member",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if let Some(account) = accounts.get_mut(&agent_number(row, 0)?) {
            account.members.push(member(row)?);
        }
    }
    Ok(accounts)
}

fn balance(row: &Row<'_>, column: usize) -> rusqlite::Result<Balance> {
    Ok(Balance { total: row.get(column)?, coming: row.get(column + 1)? })
}

fn member(row: &Row<'_>) -> rusqlite::Result<MemberRow> {
    let held = |own: Option<u64>, children: Option<u64>, late: Option<u64>| {
        Some(Held { own: own?, children: children?, late: late? })
    };
    let read = held(Some(0), row.get(9)?, row.get(10)?);
    let written = held(Some(0), row.get(11)?, row.get(12)?);
    Ok(MemberRow {
        process: process(row, 1)?,
        parent: row.get::<_, Option<i64>>(3)?.and_then(Pid::new),
        leftover: row.get(4)?,
        born: row.get(5)?,
        cpu_us: held(row.get(6)?, row.get(7)?, row.get(8)?),
        io_bytes: read.zip(written),
    })
}
