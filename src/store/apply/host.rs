//! What is written of the host.

use rusqlite::{Connection, params};

use super::execute;
use crate::model::HostMinute;
use crate::store::StoreError;
use crate::store::columns::{hundredths, kib};

/// Stores what was seen of a minute. What is there already, from before or from an earlier daemon, gets worse by it.
pub(super) fn minute(connection: &Connection, minute: &HostMinute) -> Result<(), StoreError> {
    let HostMinute { at, host, pressure } = minute;
    let highest = |column: &str| {
        format!("{column} = max(ifnull({column}, excluded.{column}), ifnull(excluded.{column}, {column}))")
    };
    let worse: Vec<String> = [
        "load_1m_hundredths",
        "load_5m_hundredths",
        "load_15m_hundredths",
        "cpu_some_hundredths",
        "memory_some_hundredths",
        "memory_full_hundredths",
        "io_some_hundredths",
        "io_full_hundredths",
    ]
    .map(highest)
    .into();
    let sql = format!(
        "insert into host_minute (timestamp, load_1m_hundredths, load_5m_hundredths, load_15m_hundredths, cpu_count,
                                  memory_total_kib, memory_available_kib, cpu_some_hundredths, memory_some_hundredths,
                                  memory_full_hundredths, io_some_hundredths, io_full_hundredths)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
         on conflict (timestamp) do update set
             {},
             memory_available_kib = min(ifnull(memory_available_kib, excluded.memory_available_kib),
                                        ifnull(excluded.memory_available_kib, memory_available_kib)),
             memory_total_kib = ifnull(excluded.memory_total_kib, memory_total_kib),
             cpu_count = ifnull(excluded.cpu_count, cpu_count)",
        worse.join(", ")
    );
    let values = params![
        at.sql(),
        host.load_1m.and_then(hundredths),
        host.load_5m.and_then(hundredths),
        host.load_15m.and_then(hundredths),
        host.cpu_count,
        host.memory_total_bytes.map(kib),
        host.memory_available_bytes.map(kib),
        pressure.cpu_some.and_then(hundredths),
        pressure.memory_some.and_then(hundredths),
        pressure.memory_full.and_then(hundredths),
        pressure.io_some.and_then(hundredths),
        pressure.io_full.and_then(hundredths),
    ];
    execute(connection, &sql, values).map(drop)
}
