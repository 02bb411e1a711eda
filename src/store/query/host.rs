//! How the host was.

use std::time::Duration;

use rusqlite::{OptionalExtension, Row, params};

use super::super::columns::{from_hundredths, from_kib};
use super::{Reader, StoreError, time};
use crate::model::{HostMinute, HostPressure, HostReading, Timestamp};

/// How long before a moment a minute may have begun and still tell of it: the moment's own, or the one before.
const NEAR: Duration = Duration::from_secs(120);

impl Reader {
    /// How the host was at each of these moments: in the minute it is in or, where nothing was seen in that, in the one
    /// before. `None` where nothing is known.
    ///
    /// # Errors
    /// When the database cannot be read in time.
    pub fn host_at(&self, moments: &[Option<Timestamp>]) -> Result<Vec<Option<HostMinute>>, StoreError> {
        let sql = "select timestamp, load_1m_hundredths, load_5m_hundredths, load_15m_hundredths, cpu_count,
                          memory_total_kib, memory_available_kib, cpu_some_hundredths, memory_some_hundredths,
                          memory_full_hundredths, io_some_hundredths, io_full_hundredths
                     from host_minute where timestamp between ?1 and ?2 order by timestamp desc limit 1";
        self.read(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let at = |moment: &Option<Timestamp>| {
                let Some(moment) = moment else { return Ok(None) };
                statement.query_row(params![(*moment - NEAR).sql(), moment.sql()], minute).optional()
            };
            moments.iter().map(at).collect()
        })
    }
}

fn minute(row: &Row<'_>) -> rusqlite::Result<HostMinute> {
    let hundredths = |column: usize| row.get(column).map(from_hundredths);
    Ok(HostMinute {
        at: time(row, 0)?,
        host: HostReading {
            load_1m: hundredths(1)?,
            load_5m: hundredths(2)?,
            load_15m: hundredths(3)?,
            cpu_count: row.get(4)?,
            memory_total_bytes: from_kib(row.get(5)?),
            memory_available_bytes: from_kib(row.get(6)?),
            uptime: None,
        },
        pressure: HostPressure {
            cpu_some: hundredths(7)?,
            memory_some: hundredths(8)?,
            memory_full: hundredths(9)?,
            io_some: hundredths(10)?,
            io_full: hundredths(11)?,
        },
    })
}
