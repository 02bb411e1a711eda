//! What is old goes; what is not, or must not, stays.

use std::sync::atomic::Ordering;
use std::time::Duration;

use agent_monitor::model::{
    AlertKey, AlertState, Batch, Entry, HostMinute, HostPressure, HostReading, Mono, Now, RunEnd, RunRow, Severity,
    Step, StoredAgent, StoredAlert, Timestamp,
};
use agent_monitor::retention::Limits;
use agent_monitor::store::Op;

use crate::support::{
    NOON, Store, account_of, after, agent, ask, error, event, in_memory, number, of_agent, pass, run_of, transition,
};

pub(crate) const HOUR: u64 = 3600;
pub(crate) const RETENTION: Duration = Duration::from_secs(24 * HOUR);

pub(crate) const LIMITS: Limits =
    Limits { samples: RETENTION, rollups: Duration::from_secs(10_000 * HOUR), size_bytes: 1 << 30 };

/// Deletes at a time at which the wall clock shows `wall` and the monotonic one `mono_hours`.
fn prune(store: &Store, wall: Timestamp, mono_hours: u64) -> u64 {
    let before = store.stats.expired_rows.load(Ordering::Relaxed);
    let now = Now { wall, mono: Mono(0) + Duration::from_secs(mono_hours * HOUR) };
    store.handle.submit(Op::Prune { limits: LIMITS, now }).unwrap();
    store.flush();
    store.stats.expired_rows.load(Ordering::Relaxed) - before
}

/// One agent, one pass an hour for two days.
fn two_days(store: &Store) {
    for hour in 0..48 {
        store.store(pass(hour + 1, after(hour * HOUR), &[1, 2])).unwrap();
    }
}

pub(crate) fn count(directory: &tempfile::TempDir, table: &str) -> u64 {
    ask(directory.path(), &format!("select count(*) from {table}"))[0].parse().unwrap()
}

#[test]
fn passes_go_by_age() {
    let directory = in_memory();
    let store = Store::start(directory.path());
    two_days(&store);
    let now = after(47 * HOUR);
    assert_eq!(prune(&store, now, 1), 23 * 3, "23 hours of two samples and a pass");
    assert_eq!((count(&directory, "agent_metrics"), count(&directory, "ticks")), (50, 25));
    let oldest = ask(directory.path(), "select min(timestamp) from agent_metrics");
    assert_eq!(oldest, [(now - RETENTION).sql()], "the day before is left, whole");
    assert_eq!(prune(&store, now, 1), 0, "and stays");
    store.stop();
}

#[test]
fn the_ordinals_go_on_when_nothing_is_left() {
    let directory = in_memory();
    let store = Store::start(directory.path());
    two_days(&store);
    assert_eq!(prune(&store, after(1000 * HOUR), 1), 48 * 3);
    store.stop();
    let store = Store::start(directory.path());
    assert_eq!((store.resume.last_tick, count(&directory, "ticks")), (48, 0));
    store.stop();
}

#[test]
fn a_wall_clock_that_jumps_empties_nothing() {
    let directory = in_memory();
    let store = Store::start(directory.path());
    two_days(&store);
    let (now, ten_years) = (after(47 * HOUR), Duration::from_secs(87_600 * HOUR));
    prune(&store, now, 1);
    assert_eq!(prune(&store, now + ten_years, 1), 0, "no time has passed");
    assert_eq!(prune(&store, now + ten_years, 2), 4 * 3, "an hour, at four times the pace");
    store.stop();

    // A new daemon knows nothing of clocks, but what the last one believed.
    let store = Store::start(directory.path());
    assert_eq!(prune(&store, now + ten_years, 100), 0);
    assert_eq!(count(&directory, "agent_metrics"), 42);
    let put_right = after(54 * HOUR);
    assert_eq!(prune(&store, put_right, 103), 3 * 3, "set back, it is believed");
    store.stop();
}

#[test]
fn the_journal_goes_by_age_but_not_what_is_open() {
    let directory = in_memory();
    let store = Store::start(directory.path());
    let key = |rule: &str| AlertKey { agent: None, source: None, rule: rule.into() };
    let firing = |rule: &str| {
        let (severity, message) = (Severity::Critical, "…".into());
        let state =
            AlertState::Firing { since: NOON, notified_at: NOON, severity, value: None, threshold: None, message };
        StoredAlert { key: key(rule), state: Some(state), episode: None }
    };
    let own = |at, rule: &str, fires| Entry { agent: None, at, body: transition(rule, fires) };
    let old = vec![
        of_agent(1, after(0), event("old")),
        of_agent(1, after(1), error("old, unresolved")),
        of_agent(1, after(2), error("old, resolved")),
        own(after(3), "over", true),
        own(after(4), "over lately", true),
        own(after(5), "open", true),
        own(after(6), "over", false),
    ];
    let alerts =
        vec![firing("open"), firing("over lately"), StoredAlert { key: key("over"), state: None, episode: None }];
    let agents = vec![agent(1)];
    store.store(Batch { agents, entries: old, alerts, ..Batch::default() }).unwrap();
    let new = vec![of_agent(1, after(40 * HOUR), event("new")), own(after(40 * HOUR), "over lately", false)];
    let alerts = vec![StoredAlert { key: key("over lately"), state: None, episode: None }];
    store.store(Batch { entries: new, alerts, ..Batch::default() }).unwrap();
    let connection = rusqlite::Connection::open(directory.path().join("agent-monitor.db")).unwrap();
    connection.execute("update journal set resolved = 1 where message = 'old, resolved'", []).unwrap();

    assert_eq!(prune(&store, after(48 * HOUR), 1), 4);
    let left = ask(directory.path(), "select message from journal order by id");
    assert_eq!(left, ["old, unresolved", "over lately fires", "open fires", "new", "over lately is over"]);
    let episodes = ask(directory.path(), "select type, state from alerts order by id");
    assert_eq!(episodes, ["over lately|resolved", "open|firing"]);
    assert_eq!(ask(directory.path(), "select message from error_logs where resolved = 0"), ["old, unresolved"]);
    store.stop();
}

#[test]
fn the_end_of_an_episode_does_not_go_before_its_beginning() {
    let directory = in_memory();
    let store = Store::start(directory.path());
    // The clock was set back by two days in between.
    let own = |at, fires| Entry { agent: None, at, body: transition("over", fires) };
    let key = AlertKey { agent: None, source: None, rule: "over".into() };
    store.store(Batch { entries: vec![own(after(48 * HOUR), true)], ..Batch::default() }).unwrap();
    let alerts = vec![StoredAlert { key, state: None, episode: None }];
    store.store(Batch { entries: vec![own(after(0), false)], alerts, ..Batch::default() }).unwrap();
    assert_eq!(prune(&store, after(48 * HOUR), 1), 0);
    assert_eq!(ask(directory.path(), "select type, state from alerts"), ["over|resolved"]);
    assert_eq!(prune(&store, after(80 * HOUR), 50), 2, "both together");

    // Nor does it where no more goes than must: in order of time it comes first.
    let fat = |n| of_agent(1, after(48 * HOUR - 1), event(&format!("{n} {}", "x".repeat(12_000))));
    let mut entries: Vec<Entry> = (0..400).map(fat).collect();
    entries.extend([own(after(48 * HOUR), true), own(after(0), false)]);
    store.store(pass(1, after(25 * HOUR), &[1])).unwrap();
    store.store(Batch { entries, ..pass(2, after(49 * HOUR), &[1]) }).unwrap();
    let limits = Limits { size_bytes: 5 << 20, ..LIMITS };
    store.handle.submit(Op::Prune { limits, now: Now { wall: after(0), mono: Mono(0) } }).unwrap();
    store.flush();
    let left = count(&directory, "agent_events");
    assert!((1..200).contains(&left), "{left} of 400 others are left");
    let ends = ask(directory.path(), "select resolved_at from alerts");
    assert_eq!(ends, [after(0).sql()]);
    store.stop();
}

#[test]
fn what_is_written_after_the_clock_was_set_back_is_not_too_old() {
    let directory = in_memory();
    let store = Store::start(directory.path());
    let limits = Limits { size_bytes: 4 << 20, ..LIMITS };
    store.handle.submit(Op::Prune { limits, now: Now { wall: after(1000 * HOUR), mono: Mono(0) } }).unwrap();
    // A file that is full is made smaller at once, by the time of the last deletion.
    let (mut most, mut least_after) = (0, u64::MAX);
    for n in 0..400 {
        let told = event(&format!("{n} {}", "x".repeat(8_000)));
        let batch = Batch { agents: vec![agent(1)], entries: vec![of_agent(1, after(n), told)], ..Batch::default() };
        store.store(batch).unwrap();
        store.flush();
        let left = count(&directory, "journal");
        most = most.max(left);
        if left < most {
            least_after = least_after.min(left);
        }
    }
    println!("at most {most} entries; {least_after} when it had been made smaller");
    assert!(least_after < most, "it was full");
    assert!(least_after > most / 3, "no more goes than must");
    store.stop();
}

#[test]
fn runs_and_agents_go_when_they_ended() {
    let directory = in_memory();
    let store = Store::start(directory.path());
    let ended = |run: RunRow, at| RunRow {
        end: Some(RunEnd { at, status: None, oom_killed: None, reason: "stopped".into() }),
        ..run
    };
    let gone = |n| StoredAgent { registry_status: None, ..agent(n) };
    let batch = Batch {
        // 1 is registered, 2 still runs, 3 has an unresolved error, 4 ended lately, 5 is history.
        agents: vec![agent(1), gone(2), gone(3), gone(4), gone(5)],
        runs: vec![
            ended(run_of(1, 10), after(0)),
            run_of(2, 20),
            ended(run_of(3, 30), after(0)),
            ended(run_of(4, 40), after(40 * HOUR)),
            ended(run_of(5, 50), after(0)),
        ],
        entries: vec![of_agent(3, after(0), error("unresolved"))],
        accounts: vec![account_of(2), account_of(5)],
        ..Batch::default()
    };
    store.store(batch).unwrap();
    assert_eq!(prune(&store, after(48 * HOUR), 1), 3, "three runs");
    // Agents go with the rows per hour.
    let now = Now { wall: after(49 * HOUR), mono: Mono(0) + Duration::from_secs(2 * HOUR) };
    store.handle.submit(Op::Prune { limits: Limits { rollups: RETENTION, ..LIMITS }, now }).unwrap();
    store.flush();
    assert_eq!(ask(directory.path(), "select pid from agent_runs order by pid"), ["20", "40"]);
    let left = ask(directory.path(), "select agent_id from agents order by 1");
    assert_eq!(left, ["agent-1", "agent-2", "agent-3", "agent-4"]);
    assert_eq!(store.reader.runs(number(5), 5).unwrap(), []);
    for table in ["account", "member"] {
        let whose = ask(directory.path(), &format!("select distinct agent_number from {table}"));
        assert_eq!(whose, ["2"], "the number of 5 becomes another's");
    }
    store.stop();
}

#[test]
fn minutes_of_the_host_go_with_the_samples() {
    let directory = in_memory();
    let store = Store::start(directory.path());
    let minute = |hours: u64| HostMinute {
        at: after(hours * HOUR),
        host: HostReading::default(),
        pressure: HostPressure::default(),
    };
    store.store(Batch { host: [0, 23, 25].map(minute).into(), ..Batch::default() }).unwrap();
    assert_eq!(prune(&store, after(48 * HOUR), 1), 2);
    assert_eq!(ask(directory.path(), "select timestamp from host_minutes"), ["2026-01-02 13:00:00.000"]);
    store.stop();
}

#[test]
fn rollups_outlive_their_samples() {
    let directory = in_memory();
    let store = Store::start(directory.path());
    for (tick, minute) in (1..).zip((0..48 * 60).step_by(10)) {
        store.store(pass(tick, after(minute * 60), &[1, 2])).unwrap();
    }
    let rollups = Duration::from_secs(36 * HOUR);
    let now = Now { wall: after(48 * HOUR), mono: Mono(0) };
    store.handle.submit(Op::Prune { limits: Limits { rollups, ..LIMITS }, now }).unwrap();
    store.flush();
    let oldest = |table: &str| ask(directory.path(), &format!("select min(timestamp) from {table}"))[0].clone();
    assert_eq!(oldest("agent_metrics"), after(24 * HOUR).sql());
    assert_eq!(oldest("agent_metrics_minute"), after(12 * HOUR).sql());
    assert_eq!(oldest("agent_metrics_hour"), after(12 * HOUR).sql(), "the first whole day");
    // What was asked for in seconds is answered in minutes where only these are left.
    let step = Step::Exactly(Duration::from_secs(30));
    let history = store.reader.history(number(1), after(13 * HOUR), after(14 * HOUR), step).unwrap();
    assert_eq!(history.step, Duration::from_secs(60));
    assert_eq!(history.points.iter().filter(|point| point.cpu_percent_avg == Some(12.5)).count(), 6);
    store.stop();
}
