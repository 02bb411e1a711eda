//! A database that grows old: days of agents through the real writer, with what is too old deleted as it comes to be, and
//! asked meanwhile, with sqlite3 too. In the gate one day of 20 agents; with AGENT_MONITOR_TEST_DAYS so many of 200, and
//! held to the budgets of time as well.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use agent_monitor::clock::{monotonic, own_cpu_time};
use agent_monitor::model::{Batch, Io, Mono, Now, Step};
use agent_monitor::retention::Limits;
use agent_monitor::store::{FILE_NAME, Op};

use crate::support::{Store, after, ask, event, number, of_agent, opened, pass};

const DAY: u64 = 86_400;
/// Seconds between two passes.
const INTERVAL: u64 = 30;
/// The most that may wait in the queue, so that nothing finds it full.
const WAITING: u64 = 128;

/// One pass in which everybody does something else.
fn moment(tick: u64, seconds: u64, agents: &[u32]) -> Batch {
    let mut batch = pass(tick, after(seconds), agents);
    if tick > 1 {
        batch.agents.clear();
    }
    for sample in &mut batch.samples {
        let noise = (tick ^ u64::from(sample.agent.get()) << 7).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        let numbers = &mut sample.metrics;
        numbers.cpu_percent = Some(f64::from(u32::try_from(noise % 2_000).unwrap()) / 10.0);
        numbers.memory_bytes = Some((200 << 20) + noise % 4096 * 4096);
        numbers.cpu_us = Some(7_200_000_000 + tick * 700_000);
        numbers.io = Some(Io { read_bytes: (1 << 30) + tick * 4096, written_bytes: (1 << 28) + tick * 4096 });
    }
    if tick.is_multiple_of(20) {
        batch.entries.push(of_agent(agents[0], after(seconds), event("every ten minutes")));
    }
    batch
}

/// What a user asks with the real program, while the daemon writes. Its rows, and how long it says that took it.
fn newest(directory: &Path) -> (usize, Duration) {
    let mut command = Command::new("sqlite3");
    command.arg("-readonly").arg(directory.join(FILE_NAME)).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut asked = command.stderr(Stdio::piped()).spawn().expect("sqlite3 is installed");
    let sql = b".timer on\nselect * from agent_metrics order by timestamp desc limit 3;\n";
    asked.stdin.take().unwrap().write_all(sql).unwrap();
    let asked = asked.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&asked.stdout);
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    let (times, rows): (Vec<&str>, Vec<&str>) = said.lines().partition(|line| line.starts_with("Run Time:"));
    let real = times.last().and_then(|line| line.split_whitespace().nth(3)).and_then(|seconds| seconds.parse().ok());
    (rows.len(), Duration::from_secs_f64(real.unwrap_or_else(|| panic!("{said}"))))
}

#[test]
fn it_grows_old() {
    let days = std::env::var_os("AGENT_MONITOR_TEST_DAYS").map(|text| text.to_str().unwrap().parse::<u64>().unwrap());
    let agents: Vec<u32> = (1..=if days.is_some() { 200 } else { 20 }).collect();
    let (strict, days) = (days.is_some(), days.unwrap_or(1));
    // In the gate the size is what bounds it, else the ages.
    let size_bytes = if strict { 1 << 30 } else { 4 << 20 };
    let limits = Limits { samples: Duration::from_secs(7 * DAY), rollups: Duration::from_secs(90 * DAY), size_bytes };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let store = Store::start(path);
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let clocks = |seconds| Now { wall: after(seconds), mono: Mono(0) + Duration::from_secs(seconds) };
    let (mut largest, mut asked) = (0, Vec::new());
    let before = own_cpu_time();
    for (tick, seconds) in (1..).zip((0..days * DAY).step_by(usize::try_from(INTERVAL).unwrap())) {
        store.bring(moment(tick, seconds, &agents));
        if seconds % 600 == 0 {
            store.handle.submit(Op::Prune { limits, now: clocks(seconds) }).unwrap();
        }
        // After the first pass there is something to be asked for, however slow the disk is.
        if tick == 1 || count(&store.stats.queue_length) > WAITING {
            store.flush();
        }
        largest = largest.max(count(&store.stats.database_size_bytes));
        if tick % (days * DAY / INTERVAL / 20) == 0 {
            let (rows, took) = newest(path);
            assert_eq!(rows, 3);
            asked.push(took);
        }
    }
    store.flush();
    let rows = days * DAY / INTERVAL * agents.len() as u64;
    let cpu = own_cpu_time().saturating_sub(before);
    assert_eq!(count(&store.stats.dropped_samples) + count(&store.stats.dropped_entries), 0);
    assert!(largest <= size_bytes, "{largest} bytes");
    assert!(strict || count(&store.stats.expired_rows) > 0, "the bound was never met");
    let end = after(days * DAY);
    let asking = own_cpu_time();
    let step = Step::Auto { interval: Duration::from_secs(INTERVAL) };
    let history = store.reader.history(number(7), end - limits.samples, end, step).unwrap();
    let asking = own_cpu_time().saturating_sub(asking);
    let observed = history.points.iter().filter(|point| point.process_count_max.is_some()).count();
    assert!(observed > 0, "the history is there");
    let pause = Duration::from_nanos(count(&store.stats.longest_slice_ns));
    store.reader.check(true).unwrap();
    store.stop();

    let bytes = path.join(FILE_NAME).metadata().unwrap().len();
    let begun = monotonic();
    drop(opened(path).unwrap());
    let opening = monotonic().since(begun);
    let newest_tick = ask(path, "select max(tick) from ticks");
    assert_eq!(newest_tick, [(days * DAY / INTERVAL).to_string()]);
    asked.sort_unstable();
    let (typical, slowest) = (asked[asked.len() / 2], asked[asked.len() - 1]);
    println!(
        "{days} days of {} agents, {rows} samples: {} MB, at most {} MB with its log; {:.2} µs a sample with all of this \
         test; longest pause {pause:?}; sqlite3 {typical:?}, {slowest:?} at most; history of {observed} points \
         {asking:?}; opened in {opening:?}",
        agents.len(),
        bytes >> 20,
        largest >> 20,
        cpu.as_secs_f64() * 1e6 / f64::from(u32::try_from(rows).unwrap()),
    );
    if strict {
        assert!(typical <= Duration::from_millis(50), "sqlite3 took {typical:?}");
        assert!(asking <= Duration::from_millis(5), "the history took {asking:?}");
        assert!(opening <= Duration::from_millis(300), "opening took {opening:?}");
    }
}
