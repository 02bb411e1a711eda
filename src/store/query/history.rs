//! The past in buckets: from rollups as far as they reach, then from samples.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::super::columns::{first_key, key_agent, key_span, rollup_at, rollup_key, span_key, unpack};
use super::super::{Reader, StoreError};
use super::time;
use crate::model::{AgentNumber, History, Step, Timestamp};
use crate::rollup::{Bucket, Resolution, Series, Spread};

/// The columns of both tables, as [`bucket`] reads them.
pub(in crate::store) const ROLLUP_COLUMNS: &str = "key, samples, cpu_samples, cpu_sum, cpu_max, memory_samples,
    memory_sum, memory_max, memory_last, process_count_max, cpu_ms, read_io, written_io";

/// The beginning of a time in the database, up to its hour: `YYYY-MM-DD HH`.
pub(in crate::store) const HOUR_LENGTH: usize = 13;

/// The table of these rows.
pub(in crate::store) fn table(rows: Resolution) -> &'static str {
    match rows {
        Resolution::Minute => "minute",
        Resolution::Hour => "hour",
    }
}

impl Reader {
    /// The past of an agent in [from, to), in at most 2,000 buckets that begin at multiples of their length since the
    /// Unix epoch. The resolution is chosen by what the buckets need: samples for those that are no whole minutes, else
    /// rows per minute or hour, and samples again for the last hour, of which there are no rows yet. Where the samples
    /// of the time are gone, the answer is in whole minutes.
    ///
    /// # Errors
    /// When the database cannot be read in time.
    pub fn history(
        &self,
        agent: AgentNumber,
        from: Timestamp,
        to: Timestamp,
        step: Step,
    ) -> Result<History, StoreError> {
        self.read(|connection| {
            let mut series = Series::new(from, to, step);
            if series.resolution().is_none() && samples_are_gone(connection, agent, &series)? {
                series = series.in_minutes();
            }
            if let Some(rows) = series.resolution() {
                add_rollups(connection, agent, rows, &mut series)?;
                for stretch in stretches(connection)?.iter().filter(|stretch| stretch.next_agent <= agent.get()) {
                    add_samples(connection, agent, Some(stretch), &mut series)?;
                }
            } else {
                add_samples(connection, agent, None, &mut series)?;
            }
            Ok(series.history())
        })
    }
}

/// Whether there are rows per minute of a time in the range, but no samples any more.
fn samples_are_gone(connection: &Connection, agent: AgentNumber, series: &Series) -> rusqlite::Result<bool> {
    let oldest = connection
        .prepare_cached("select timestamp from ticks order by timestamp limit 1")?
        .query_row([], |row| time(row, 0))
        .optional()?;
    let end = oldest.map_or(series.to(), |oldest| oldest.min(series.to()));
    if series.from() >= end {
        return Ok(false);
    }
    let mut gone = Series::new(series.from(), end, Step::Exactly(std::time::Duration::from_secs(3600)));
    add_rollups(connection, agent, Resolution::Hour, &mut gone)?;
    let points = gone.history().points;
    // The hour in which samples begin may have a row for them alone.
    Ok(points.iter().any(|point| point.memory_bytes_max.is_some() && point.at + HOUR <= end))
}

const HOUR: std::time::Duration = std::time::Duration::from_secs(3600);

/// Adds the rows of an agent, a span after the other: those without any row are skipped.
fn add_rollups(
    connection: &Connection,
    agent: AgentNumber,
    rows: Resolution,
    series: &mut Series,
) -> rusqlite::Result<()> {
    let (first, last) = (rollup_key(rows, agent, series.from()), rollup_key(rows, agent, series.to()));
    let mut next = connection.prepare_cached(&format!("select min(key) from {} where key >= ?1", table(rows)))?;
    let mut select = connection.prepare_cached(&format!(
        "select key, samples, cpu_samples, cpu_sum, cpu_max, memory_samples, memory_sum, memory_max, process_count_max
           from {} where key between ?1 and ?2",
        table(rows)
    ))?;
    let mut span = key_span(first);
    while span <= key_span(last) {
        let Some(key) = next.query_row([span_key(span)], |row| row.get::<_, Option<i64>>(0))? else { break };
        span = key_span(key);
        let begin = Timestamp::from_unix_ms(span.saturating_mul(rows.span_ms()));
        let mine = rollup_key(rows, agent, begin);
        let mut found = select.query([mine, mine + rows.slots() - 1])?;
        while let Some(row) = found.next()? {
            let (samples, process_count_max) = (row.get(1)?, row.get(8)?);
            let (cpu_tenths, memory_kib) = (spread(row, 2, samples)?, spread(row, 5, samples)?);
            let bucket = Bucket { samples, cpu_tenths, memory_kib, process_count_max, ..Bucket::default() };
            series.add(rollup_at(rows, row.get(0)?), &bucket);
        }
        span += 1;
    }
    Ok(())
}

/// Adds samples of an agent: those of a stretch, or all.
fn add_samples(
    connection: &Connection,
    agent: AgentNumber,
    stretch: Option<&Stretch>,
    series: &mut Series,
) -> rusqlite::Result<()> {
    // Cross joins keep their order: from the passes of that time to one key each.
    let sql = "select t.timestamp, s.cpu_tenths, s.memory_kib, s.process_count
                 from ticks t cross join sample s on s.key = (t.tick << 20) + ?1
                where t.timestamp >= ?2 and t.timestamp < ?3 and t.tick >= ?4 and t.tick < ?5";
    let (mut from, mut to) = (series.from().sql(), series.to().sql());
    if let Some(stretch) = stretch {
        from = from.max(format!("{}:", stretch.hour));
        to = to.min(format!("{};", stretch.hour));
    }
    let (first, end) = stretch.map_or((0, i64::MAX), |stretch| (stretch.first_tick, stretch.end_tick));
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![agent.get(), from, to, first, end])?;
    while let Some(row) = rows.next()? {
        series.add(time(row, 0)?, &sampled(row)?);
    }
    Ok(())
}

fn sampled(row: &Row<'_>) -> rusqlite::Result<Bucket> {
    let memory = row.get(2)?;
    Ok(Bucket {
        samples: 1,
        cpu_tenths: Spread::of(row.get(1)?),
        memory_kib: Spread::of(memory),
        memory_last_kib: memory,
        process_count_max: row.get(3)?,
        ..Bucket::default()
    })
}

/// How many of the samples knew it, sum and maximum, from this column on.
fn spread(row: &Row<'_>, column: usize, samples: u64) -> rusqlite::Result<Spread> {
    let count = row.get::<_, Option<u64>>(column)?.unwrap_or(samples);
    Ok(Spread { count, sum: row.get(column + 1)?, max: row.get(column + 2)? })
}

/// A rollup, from [`ROLLUP_COLUMNS`].
pub(in crate::store) fn bucket(row: &Row<'_>) -> rusqlite::Result<Bucket> {
    let samples = row.get(1)?;
    Ok(Bucket {
        samples,
        cpu_tenths: spread(row, 2, samples)?,
        memory_kib: spread(row, 5, samples)?,
        memory_last_kib: row.get(8)?,
        process_count_max: row.get(9)?,
        cpu_ms: row.get(10)?,
        read_bytes: row.get::<_, Option<i64>>(11)?.map(unpack),
        written_bytes: row.get::<_, Option<i64>>(12)?.map(unpack),
    })
}

/// Passes of one hour that are not rolled up for all agents.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::store) struct Stretch {
    /// Its first pass.
    pub(in crate::store) first_tick: i64,
    /// Where the next stretch begins; the highest number while it goes on.
    pub(in crate::store) end_tick: i64,
    /// Its hour, as the times in it begin.
    pub(in crate::store) hour: String,
    /// Agents with lower numbers are done.
    pub(in crate::store) next_agent: u32,
}

/// All stretches, oldest first.
pub(in crate::store) fn stretches(connection: &Connection) -> rusqlite::Result<Vec<Stretch>> {
    let sql = "select first_tick, lead(first_tick, 1, ?1) over (order by first_tick), hour, next_agent from stretch";
    let stretch = |row: &Row<'_>| {
        Ok(Stretch { first_tick: row.get(0)?, end_tick: row.get(1)?, hour: row.get(2)?, next_agent: row.get(3)? })
    };
    connection.prepare_cached(sql)?.query_map([i64::MAX], stretch)?.collect()
}

/// The passes of a stretch, in order of their ordinals, each with its minute of the hour.
pub(in crate::store) fn passes(connection: &Connection, stretch: &Stretch) -> rusqlite::Result<Vec<(u64, usize)>> {
    let sql = "select tick, cast(substr(timestamp, 15, 2) as integer) from ticks
                where timestamp >= ?1 || ':' and timestamp < ?1 || ';' and tick >= ?2 and tick < ?3 order by tick";
    let values = params![stretch.hour, stretch.first_tick, stretch.end_tick];
    connection.prepare_cached(sql)?.query_map(values, |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// The lowest number of an agent from this one on.
pub(in crate::store) fn next_agent(connection: &Connection, from: u32) -> rusqlite::Result<Option<u32>> {
    let sql = "select min(number) from agent where number >= ?1";
    connection.prepare_cached(sql)?.query_row([from], |row| row.get(0))
}

/// Calls `take` with the number and the sample of each agent of a range that has one in this pass.
pub(in crate::store) fn samples_of_pass(
    connection: &Connection,
    tick: u64,
    agents: &std::ops::RangeInclusive<u32>,
    mut take: impl FnMut(u32, Bucket),
) -> Result<(), StoreError> {
    let sql = "select key, cpu_tenths, memory_kib, process_count, cpu_ms, read_io, written_io from sample
                where key between ?1 and ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let key = |agent: &u32| Ok::<_, StoreError>(first_key(tick)? + u64::from(*agent));
    let mut rows = statement.query(params![key(agents.start())?, key(agents.end())?])?;
    while let Some(row) = rows.next()? {
        let bucket = Bucket {
            cpu_ms: row.get(4)?,
            read_bytes: row.get::<_, Option<i64>>(5)?.map(unpack),
            written_bytes: row.get::<_, Option<i64>>(6)?.map(unpack),
            ..sampled(row)?
        };
        take(key_agent(row.get(0)?), bucket);
    }
    Ok(())
}
