//! What there is to delete, and how much of the database is in use.

use rusqlite::{Connection, OptionalExtension, params};

use super::super::columns::rollup_at;
use super::time;
use crate::model::{Tick, Timestamp};
use crate::retention::{OldTick, ROWS_PER_SLICE, SAMPLES_PER_SLICE, TICKS_PER_SLICE};
use crate::rollup::Resolution;

/// How far deleting trusted the clock when it last ran.
pub(in crate::store) fn believed(connection: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    connection.query_row("select believed_at from retention", [], |row| time(row, 0)).optional()
}

/// The date of the last entry of the journal.
pub(in crate::store) fn last_dated(connection: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    let sql = "select timestamp from journal order by id desc limit 1";
    connection.query_row(sql, [], |row| time(row, 0)).optional()
}

/// The passes that are longest ago, as many as a slice may be about.
pub(in crate::store) fn oldest_ticks(connection: &Connection) -> rusqlite::Result<Vec<OldTick>> {
    let sql = "select timestamp, tick, samples from ticks order by timestamp, tick limit ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![TICKS_PER_SLICE])?;
    let (mut oldest, mut samples) = (Vec::new(), 0);
    while samples <= SAMPLES_PER_SLICE
        && let Some(row) = rows.next()?
    {
        let old = OldTick { tick: Tick { at: time(row, 0)?, ordinal: row.get(1)? }, samples: row.get(2)? };
        samples += old.samples;
        oldest.push(old);
    }
    Ok(oldest)
}

/// Where a walk along the journal in order of time has come to.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(in crate::store) struct JournalCursor {
    timestamp: String,
    id: i64,
}

/// Moves the cursor on by some entries before `cutoff`. Returns those of them that may go, `None` after the last.
/// Unresolved errors stay if they are to be spared, and so do alerts that fire or ended only after `cutoff`. The end of one goes
/// with its beginning, never before it: the clock may have been set back in between.
pub(in crate::store) fn old_entries(
    connection: &Connection,
    cursor: &mut JournalCursor,
    cutoff: Timestamp,
    spare_unresolved: bool,
) -> rusqlite::Result<Option<Vec<i64>>> {
    let sql = "select timestamp, id,
                      case kind
                      when 1 then resolved = 1 or not ?5
                      when 2 then not exists (select 1 from alert_state where fired = j.id)
                              and not exists (select 1 from journal e where e.fired = j.id and e.timestamp >= ?3)
                      when 3 then not exists (select 1 from journal f where f.id = j.fired)
                      else true end
                 from journal j
                where (timestamp, id) > (?1, ?2) and timestamp < ?3 order by timestamp, id limit ?4";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows =
        statement.query(params![cursor.timestamp, cursor.id, cutoff.sql(), ROWS_PER_SLICE, spare_unresolved])?;
    let (mut seen, mut ids) = (0, Vec::new());
    let mut last = cursor.clone();
    while let Some(row) = rows.next()? {
        last = JournalCursor { timestamp: row.get(0)?, id: row.get(1)? };
        seen += 1;
        if row.get(2)? {
            ids.push(last.id);
        }
    }
    *cursor = last;
    Ok((seen > 0).then_some(ids))
}

/// From when to when the history goes.
pub(in crate::store) struct Reach {
    pub(in crate::store) oldest_pass: Option<Timestamp>,
    pub(in crate::store) oldest_minute: Option<Timestamp>,
    pub(in crate::store) oldest_entry: Option<Timestamp>,
    /// Of passes and entries.
    pub(in crate::store) newest: Option<Timestamp>,
}

/// See [`Reach`].
pub(in crate::store) fn reach(connection: &Connection) -> rusqlite::Result<Reach> {
    let first = |table: &str, order: &str| {
        let sql = format!("select timestamp from {table} order by timestamp {order} limit 1");
        connection.query_row(&sql, [], |row| time(row, 0)).optional()
    };
    let minute = connection.query_row("select min(key) from minute", [], |row| row.get::<_, Option<i64>>(0))?;
    Ok(Reach {
        oldest_pass: first("ticks", "asc")?,
        oldest_entry: first("journal", "asc")?,
        oldest_minute: minute.map(|key| rollup_at(Resolution::Minute, key)),
        newest: first("ticks", "desc")?.max(first("journal", "desc")?),
    })
}

/// The pages of the database, and how many of them are free.
pub(in crate::store) fn pages(connection: &Connection) -> rusqlite::Result<(u64, u64)> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get(0));
    Ok((number("page_count")?, number("freelist_count")?))
}
