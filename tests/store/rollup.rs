//! Rows per minute and hour, and the past in buckets: held against the samples themselves.

use std::time::Duration;

use agent_monitor::model::{Batch, HistoryPoint, Io, Metrics, Sample, Step, Timestamp};

use crate::support::{Store, after, ask, in_memory, metrics, number, opened, pass};

const HOUR: u64 = 3600;
const MINUTE: Duration = Duration::from_secs(60);

/// A pass whose numbers differ from sample to sample, with gaps.
fn varied(tick: u64, at: Timestamp, agents: &[u32]) -> Batch {
    let mut batch = pass(tick, at, agents);
    batch.samples = agents
        .iter()
        .filter(|n| !(tick + u64::from(**n)).is_multiple_of(11))
        .map(|n| {
            let x = tick * 7 + u64::from(*n) * 13;
            let known = !x.is_multiple_of(5);
            let metrics = Metrics {
                cpu_percent: known.then_some((x % 977) as f64 / 10.0),
                memory_bytes: (!x.is_multiple_of(3)).then_some((x % 101) << 20),
                process_count: known.then_some(u32::try_from(x % 9).unwrap()),
                cpu_us: Some(tick * 1_000_000),
                io: Some(Io { read_bytes: tick * 512, written_bytes: tick * 1000 + 1 }),
                ..metrics(at)
            };
            Sample { agent: number(*n), metrics }
        })
        .collect();
    batch
}

/// What SQLite makes of the samples themselves, in the form of the view.
fn expected(directory: &std::path::Path, length: usize, rest: &str) -> Vec<String> {
    ask(
        directory,
        &format!(
            "select agent_id, substr(timestamp, 1, {length}) || '{rest}' as at, count(*), round(avg(cpu_percent), 1),
                    max(cpu_percent), round(avg(memory_mb), 1), max(memory_mb),
                    (select memory_mb from agent_metrics l where l.agent_id = m.agent_id and memory_mb is not null
                        and substr(l.timestamp, 1, {length}) = substr(m.timestamp, 1, {length})
                      order by l.cpu_seconds desc limit 1),
                    max(process_count), max(cpu_seconds), max(read_bytes), max(written_bytes)
               from agent_metrics m group by agent_id, substr(timestamp, 1, {length}) order by 1, 2"
        ),
    )
}

fn assert_rows(directory: &std::path::Path) {
    for (view, length, rest) in [("agent_metrics_minute", 16, ":00.000"), ("agent_metrics_hour", 13, ":00:00.000")] {
        let rows = ask(directory, &format!("select * from {view} order by agent_id, timestamp"));
        let wanted = expected(directory, length, rest);
        assert!(!rows.is_empty());
        assert_eq!(rows.len(), wanted.len(), "{view}");
        // The mean of what was rounded to be shown may round the other way.
        let near = |a: f64, b: f64| (a - b).abs() < 0.1001;
        let same = |(a, b): (&str, &str)| a == b || a.parse().is_ok_and(|a| b.parse().is_ok_and(|b| near(a, b)));
        let wrong = rows.iter().zip(&wanted).find(|(a, b)| !a.split('|').zip(b.split('|')).all(same));
        assert_eq!(wrong, None, "{view}");
    }
}

fn count(directory: &std::path::Path, table: &str) -> usize {
    ask(directory, &format!("select count(*) from {table}"))[0].parse().unwrap()
}

#[test]
fn rows_are_those_of_the_samples_over_gaps_and_restarts() {
    let directory = in_memory();
    let path = directory.path();
    let mut store = Store::start(path);
    // 11:50 to 15:10, with a gap, restarts within an hour, and one after an hour that was over when nobody ran.
    let times = (0..900).map(|n| 12 * n).filter(|s| !(2_000..2_700).contains(s)).chain(4 * HOUR..4 * HOUR + 60);
    for (tick, at) in (1..).zip(times) {
        if tick % 311 == 0 || at == 4 * HOUR {
            store.stop();
            store = Store::start(path);
        }
        store.store(varied(tick, after(at), &[1, 2, 7, 400])).unwrap();
        if tick % 97 == 0 {
            assert_rows(path);
        }
    }
    store.flush();
    assert_eq!(ask(path, "select hour from stretch"), ["2026-01-01 16"], "only the hour that goes on has no rows");
    assert_eq!(
        ask(path, "select count(distinct key >> 26), min(key) >> 26, max(key) >> 26 from minute"),
        ["3|490908|490910"]
    );
    assert_rows(path);
    store.stop();
}

#[test]
fn a_clock_that_is_set_back_duplicates_nothing() {
    let directory = in_memory();
    let path = directory.path();
    let store = Store::start(path);
    // Two hours, then back by one and a half, then on.
    let times = (0..2 * HOUR).chain(HOUR / 2..3 * HOUR).step_by(30);
    for (tick, at) in (1..).zip(times) {
        store.store(varied(tick, after(at), &[1, 2])).unwrap();
    }
    store.store(varied(10_000, after(4 * HOUR), &[1])).unwrap();
    store.flush();
    assert_eq!(count(path, "stretch"), 1);
    assert_eq!(count(path, "minute"), 2 * 180, "a row a minute");
    assert_rows(path);
    store.stop();
}

/// Between any two slices the daemon may be killed: what is stored is then gone on with, never taken twice.
#[test]
fn an_hour_half_done_goes_on_where_it_was() {
    let directory = in_memory();
    let path = directory.path();
    let store = Store::start(path);
    let agents: Vec<u32> = (0..100).collect();
    for (tick, at) in (1..).zip((0..HOUR).step_by(10)) {
        store.store(varied(tick, after(at), &agents)).unwrap();
    }
    store.store(varied(5_000, after(HOUR), &agents)).unwrap();
    // Stops with the queue: at most some slices are done.
    store.stop();
    let reached: Vec<String> = ask(path, "select next_agent from stretch order by first_tick");
    assert_eq!(reached.len(), 2, "not done: {reached:?}");
    assert_rows(path);
    let (half, _told) = opened(path).unwrap();
    let next: u32 = reached[0].parse().unwrap();
    for agent in [next.saturating_sub(1), next] {
        let history = half.reader.history(number(agent), after(0), after(HOUR), Step::Exactly(MINUTE)).unwrap();
        assert_close(&history.points, &plain(path, agent, after(0), after(HOUR), 60), &format!("agent {agent}"));
    }
    drop(half);
    let store = Store::start(path);
    store.flush();
    assert_eq!(count(path, "stretch"), 1);
    assert_rows(path);
    store.stop();
}

/// The buckets, made the simple way.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small whole numbers")]
fn plain(path: &std::path::Path, agent: u32, from: Timestamp, to: Timestamp, step: u64) -> Vec<HistoryPoint> {
    let samples = ask(
        path,
        &format!(
            "select cast(strftime('%s', timestamp) as integer), cpu_percent, memory_mb, process_count
               from agent_metrics where agent_id = 'agent-{agent}'"
        ),
    );
    let samples: Vec<Vec<Option<f64>>> =
        samples.iter().map(|line| line.split('|').map(|cell| cell.parse().ok()).collect()).collect();
    let step_ms = i64::try_from(step).unwrap() * 1000;
    let starts = (from.unix_ms().div_euclid(step_ms)..).map(|n| n * step_ms).take_while(|ms| *ms < to.unix_ms());
    let point = |ms: i64| {
        let inside = samples
            .iter()
            .filter(|row| (ms..ms + step_ms).contains(&(row[0].unwrap() as i64 * 1000)))
            .collect::<Vec<_>>();
        let known = |column: usize| inside.iter().filter_map(|row| row[column]).collect::<Vec<f64>>();
        let max = |column| known(column).into_iter().reduce(f64::max);
        let mean =
            |column| Some(known(column)).filter(|k| !k.is_empty()).map(|k| k.iter().sum::<f64>() / k.len() as f64);
        HistoryPoint {
            at: Timestamp::from_unix_ms(ms),
            cpu_percent_avg: mean(1),
            cpu_percent_max: max(1),
            memory_bytes_avg: mean(2).map(|mib| mib * 1_048_576.0),
            memory_bytes_max: max(2).map(|mib| (mib * 1_048_576.0) as u64),
            process_count_max: max(3).map(|n| n as u32),
        }
    };
    starts.map(point).collect()
}

fn assert_close(found: &[HistoryPoint], wanted: &[HistoryPoint], what: &str) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    let near = |a: Option<f64>, b: Option<f64>| match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() < 1e-6 * (1.0 + b.abs()),
        (a, b) => a.is_none() && b.is_none(),
    };
    for (a, b) in found.iter().zip(wanted) {
        let same = a.at == b.at
            && near(a.cpu_percent_avg, b.cpu_percent_avg)
            && near(a.memory_bytes_avg, b.memory_bytes_avg)
            && (a.cpu_percent_max, a.memory_bytes_max, a.process_count_max)
                == (b.cpu_percent_max, b.memory_bytes_max, b.process_count_max);
        assert!(same, "{what}\n{a:?}\n{b:?}");
    }
}

#[test]
fn the_past_in_buckets_is_that_of_the_samples_at_any_resolution() {
    let directory = in_memory();
    let path = directory.path();
    let store = Store::start(path);
    let times = (0..3 * HOUR + 500).filter(|s| s % 15 == 0 && !(5_000..6_000).contains(s));
    for (tick, at) in (1..).zip(times) {
        store.store(varied(tick, after(at), &[1, 2])).unwrap();
    }
    store.flush();
    let (from, to) = (after(0) - Duration::from_secs(1_234), after(3 * HOUR + 200));
    for step in [20, 60, 300, 1_800, HOUR, 2 * HOUR, 5_400, 86_400] {
        let history = store.reader.history(number(2), from, to, Step::Exactly(Duration::from_secs(step))).unwrap();
        assert_eq!(history.step, Duration::from_secs(step));
        assert!(history.points.iter().any(|point| point.cpu_percent_avg.is_some()));
        if step < HOUR {
            assert!(
                history.points.iter().any(|point| *point == HistoryPoint { at: point.at, ..HistoryPoint::default() })
            );
        }
        assert_close(&history.points, &plain(path, 2, history.from, history.to, step), &format!("step {step}"));
    }
    let nobody = store.reader.history(number(9), from, to, Step::Auto { interval: Duration::from_secs(10) }).unwrap();
    assert!(nobody.points.iter().all(|point| point.memory_bytes_max.is_none()));

    // Without the samples: whole minutes instead of what was asked for.
    let connection = rusqlite::Connection::open(path.join("agent-monitor.db")).unwrap();
    let step = Step::Exactly(Duration::from_secs(20));
    let before = store.reader.history(number(2), from, to, Step::Exactly(Duration::from_secs(60))).unwrap();
    connection.execute_batch("delete from ticks where timestamp < '2026-01-01 15'; delete from sample where key >> 20 not in (select tick from ticks)").unwrap();
    let after = store.reader.history(number(2), from, to, step).unwrap();
    assert_eq!(after.step, Duration::from_secs(60));
    assert_eq!(after, before);
    store.stop();
}

/// A question about one agent must not look at the rows of all.
#[test]
fn the_views_find_one_agent_directly() {
    let directory = in_memory();
    let store = Store::start(directory.path());
    store.store(varied(1, after(0), &[1, 2])).unwrap();
    store.stop();
    for view in ["agent_metrics_minute", "agent_metrics_hour"] {
        let plan =
            ask(directory.path(), &format!("explain query plan select * from {view} where agent_id = 'agent-1'"));
        let plan = plan.join("\n");
        assert!(plan.contains("SEARCH r USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"), "{plan}");
        assert!(plan.contains("SEARCH s USING INTEGER PRIMARY KEY (rowid=?)"), "{plan}");
        assert_eq!(plan.matches("SEARCH a USING").count(), 2, "{plan}");
    }
}
