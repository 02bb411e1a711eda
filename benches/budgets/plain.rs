//! What plain SQLite takes for the same rows with the same promises: the floor of what B8 can be.

use std::path::Path;
use std::time::Duration;

use agent_monitor::clock::monotonic;
use agent_monitor::model::Batch;
use agent_monitor::store::FILE_NAME;
use rusqlite::{Connection, params_from_iter};
use rustix::time::ClockId;

use super::storage::cpu_us;

/// Samples that one statement inserts, and rows that one transaction deletes, as the daemon does it.
const SAMPLES_PER_STATEMENT: usize = 16;
const PASSES_PER_SLICE: i64 = 25;

/// Columns of a sample.
const COLUMNS: usize = 11;

/// A database of that schema, opened as the daemon opens it.
fn open(directory: &Path, new: bool) -> Connection {
    let connection = Connection::open(directory.join(FILE_NAME)).unwrap();
    if new {
        connection.execute_batch("pragma auto_vacuum = incremental").unwrap();
    }
    connection
        .execute_batch("pragma journal_mode = wal; pragma synchronous = full; pragma wal_autocheckpoint = 256")
        .unwrap();
    if new {
        connection.execute_batch(include_str!("../../migrations/0001_initial.sql")).unwrap();
    }
    connection
}

/// Processor time of this thread for each sample, one transaction a pass: no rollups, nothing else; microseconds.
pub(crate) fn inserting(passes: impl Iterator<Item = Batch>) -> f64 {
    let directory = tempfile::tempdir_in("target").unwrap();
    let connection = open(directory.path(), true);
    let row = format!("({})", ["?"; COLUMNS].join(", "));
    let sql = |rows| format!("insert into sample values {}", vec![&*row; rows].join(", "));
    let statements: Vec<String> = (0..=SAMPLES_PER_STATEMENT).map(sql).collect();
    let (mut us, mut rows) = (0.0, 0);
    for batch in passes {
        let numbers: Vec<[Option<i64>; COLUMNS]> = batch.samples.iter().map(|sample| columns(&batch, sample)).collect();
        let before = cpu_us(ClockId::ThreadCPUTime);
        connection.execute_batch("begin immediate").unwrap();
        for some in numbers.chunks(SAMPLES_PER_STATEMENT) {
            let mut insert = connection.prepare_cached(&statements[some.len()]).unwrap();
            insert.execute(params_from_iter(some.iter().flatten())).unwrap();
        }
        connection.execute_batch("commit").unwrap();
        us += cpu_us(ClockId::ThreadCPUTime) - before;
        rows += numbers.len();
    }
    us / rows as f64
}

/// In the order and the units of the table.
fn columns(batch: &Batch, sample: &agent_monitor::model::Sample) -> [Option<i64>; COLUMNS] {
    let metrics = &sample.metrics;
    let io = metrics.io.unwrap();
    let number = |number: u64| Some(number.cast_signed());
    #[expect(clippy::cast_possible_truncation, reason = "tenths of a percent")]
    let cpu_tenths = metrics.cpu_percent.map(|percent| (percent * 10.0) as i64);
    [
        number(batch.tick.unwrap().ordinal << 20 | u64::from(sample.agent.get())),
        Some(0),
        cpu_tenths,
        number(metrics.memory_bytes.unwrap() / 1024),
        metrics.process_count.map(i64::from),
        metrics.thread_count.map(i64::from),
        number(metrics.cpu_us.unwrap() / 1000),
        number(io.read_bytes / 512),
        number(io.written_bytes / 512),
        Some(0),
        None,
    ]
}

/// Processor time of this thread to read the numbers of one agent's rows per minute, of so many hours before `end`, hours
/// since 1970; milliseconds, and rows.
pub(crate) fn reading(directory: &Path, agent: i64, hours: i64, end: i64) -> (f64, usize) {
    let connection = open(directory, false);
    let sql = "select key, samples, cpu_samples, cpu_sum, cpu_max, memory_samples, memory_sum, memory_max,
                      process_count_max from minute where key between ?1 and ?2";
    let mut select = connection.prepare(sql).unwrap();
    let (us, rows) = super::storage::timed(|| {
        let mut count = 0;
        connection.execute_batch("begin").unwrap();
        for hour in end - hours..end {
            let first = hour << 26 | agent << 6;
            let mut rows = select.query([first, first + 59]).unwrap();
            while let Some(row) = rows.next().unwrap() {
                count += (0..9).filter(|column| row.get_ref(*column).unwrap().as_i64().is_ok()).count().min(1);
            }
        }
        connection.execute_batch("commit").unwrap();
        count
    });
    (us / 1000.0, rows)
}

/// Processor time of this thread to read the numbers of one agent's samples of these passes; milliseconds, and rows.
pub(crate) fn last_hour(directory: &Path, agent: i64, ticks: std::ops::RangeInclusive<i64>) -> (f64, usize) {
    let connection = open(directory, false);
    let mut select = connection.prepare("select * from sample where key = ?1").unwrap();
    let (us, rows) = super::storage::timed(|| {
        let mut count = 0;
        connection.execute_batch("begin").unwrap();
        for tick in ticks.clone() {
            let mut rows = select.query([tick << 20 | agent]).unwrap();
            while let Some(row) = rows.next().unwrap() {
                count += (0..COLUMNS).filter(|column| row.get_ref(*column).unwrap().as_i64().is_ok()).count().min(1);
            }
        }
        connection.execute_batch("commit").unwrap();
        count
    });
    (us / 1000.0, rows)
}

/// Processor time of this thread to delete the samples of so many of the oldest passes, for 144,000, and the longest that one
/// transaction took by the clock; milliseconds.
pub(crate) fn deleting(directory: &Path, passes: i64) -> (f64, f64) {
    let connection = open(directory, false);
    let first: i64 = connection.query_row("select min(key) >> 20 from sample", [], |row| row.get(0)).unwrap();
    let mut delete = connection.prepare("delete from sample where key between ?1 and ?2").unwrap();
    let before = cpu_us(ClockId::ThreadCPUTime);
    let (mut rows, mut longest) = (0, Duration::ZERO);
    for tick in (first..first + passes).step_by(usize::try_from(PASSES_PER_SLICE).unwrap()) {
        let begun = monotonic();
        connection.execute_batch("begin immediate").unwrap();
        rows += delete.execute([tick << 20, ((tick + PASSES_PER_SLICE) << 20) - 1]).unwrap();
        connection.execute_batch("commit").unwrap();
        longest = longest.max(monotonic().since(begun));
    }
    ((cpu_us(ClockId::ThreadCPUTime) - before) / rows as f64 * 144.0, longest.as_secs_f64() * 1000.0)
}
