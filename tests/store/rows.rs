//! What goes in comes out.

use std::time::Duration;

use agent_monitor::model::{
    AccountRow, AgentId, Batch, Delivered, ExitStatus, HostMinute, HostPressure, HostReading, Io, JournalLine,
    MemoryMethod, Metrics, Mono, Page, Recorded, Resume, ResumedAgent, Rows, RunRow, StoredAgent, StoredAlert, Sums,
};

use crate::full::{ended, full_batch, strained, strained_host};
use crate::support::{NOON, Store, account_of, after, agent, ask, metrics, number, of_agent, pass, run_of, transition};

#[test]
fn everything_shows_in_the_views() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::start(directory.path());
    let recorded = store.store(full_batch()).unwrap();
    assert_eq!(recorded.iter().map(|recorded| recorded.id).collect::<Vec<_>>(), (1..=6).map(Some).collect::<Vec<_>>());
    let told = store.told.recv().unwrap();
    assert_eq!((told.entries, told.unresolved), (recorded, vec![(number(2), 1)]));

    // While the daemon runs.
    let view = |name: &str| ask(directory.path(), &format!("select * from {name}"));
    assert_eq!(
        view("agents"),
        [
            r#"agent-1|The planner|file:/run/agents.json|online|2026-01-01 12:00:00.000|2026-01-01 12:00:00.000|{"model":"x"}"#,
            "agent-2|null|match:claude|null|2026-01-01 12:00:00.000|2026-01-01 12:00:00.000|{}",
        ]
    );
    assert_eq!(
        view("agent_metrics"),
        [
            "agent-1|2026-01-01 12:00:10.000|400.0|1536.0|pss|busy \"thinking\"|3|17|6|31|12.345|5000000001|7",
            "agent-2|2026-01-01 12:00:10.000|null|null|rss|offline|0|null|null|null|null|null|null",
        ]
    );
    assert_eq!(
        view("agent_events"),
        [
            r#"1|agent-1|started|hello|{"reason":"started"}|2026-01-01 12:00:01.000"#,
            "6|null|warning|the clock was set|{}|2026-01-01 12:00:12.000",
        ]
    );
    assert_eq!(
        view("error_logs"),
        ["2|agent-2|TypeError|x is undefined|at main|2026-01-01 12:00:02.000|0|x is undefined"]
    );
    assert_eq!(
        view("alerts"),
        [
            "3|agent-1|high_cpu|critical|firing|high_cpu fires|99.5|80.0|2026-01-01 12:00:10.000|null",
            "4|null|registry_stale|critical|resolved|registry_stale fires|99.5|80.0|2026-01-01 12:00:10.000|2026-01-01 12:00:11.000",
        ]
    );
    let (start, end) = ("2026-01-01 12:00:00.000", "2026-01-01 12:00:09.000");
    assert_eq!(
        view("agent_runs"),
        [
            format!("agent-1|100|{start}|null|null|null|null|null|1.5|100.0|null"),
            format!("agent-2|200|{start}|{end}|null|SIGKILL|1|error|1.5|100.0|null"),
            format!("agent-2|201|{start}|{end}|3|null|null|error|1.5|100.0|null"),
            format!("agent-2|202|{start}|{end}|null|null|null|unobserved|1.5|100.0|null"),
        ]
    );
    assert_eq!(
        view("leftovers"),
        [
            format!("agent-1|301|mcp-server|{end}|50.0|2.5|null"),
            format!("agent-2|302|mcp-server|{end}|50.0|2.5|2026-01-01 12:00:10.000"),
        ]
    );
    assert_eq!(
        view("host_minutes"),
        [
            "2026-01-01 12:00:00.000|7.25|0.1|0.0|4|2048.0|100.0|83.38|50.0|0.0|1.17|100.0",
            "2026-01-01 12:01:00.000|null|null|null|null|null|null|null|null|null|null|null",
        ]
    );
    store.stop();
}

/// An earlier daemon, or an earlier death, may have written of the same minute.
#[test]
fn a_minute_of_the_host_only_gets_worse() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::start(directory.path());
    let better = HostReading {
        load_1m: Some(1.0),
        load_15m: Some(0.5),
        memory_available_bytes: Some(200 << 20),
        ..HostReading::default()
    };
    let pressure = HostPressure { memory_some: Some(60.0), ..HostPressure::default() };
    let nothing = (HostReading::default(), HostPressure::default());
    for (host, pressure) in [nothing, (strained_host(), strained()), (better, pressure), nothing] {
        let host = vec![HostMinute { at: NOON, host, pressure }];
        store.store(Batch { host, ..Batch::default() }).unwrap();
    }
    let expected = HostMinute {
        at: NOON,
        host: HostReading { load_15m: Some(0.5), ..strained_host() },
        pressure: HostPressure { memory_some: Some(60.0), ..strained() },
    };
    let at = [Some(NOON), None, Some(after(119)), Some(after(121)), Some(NOON - Duration::from_millis(1))];
    assert_eq!(store.reader.host_at(&at).unwrap(), [Some(expected), None, Some(expected), None, None]);
    store.store(Batch { host: vec![HostMinute { at: after(60), ..expected }], ..Batch::default() }).unwrap();
    let found = store.reader.host_at(&[Some(after(59)), Some(after(61))]).unwrap();
    assert_eq!(found.iter().map(|minute| minute.unwrap().at).collect::<Vec<_>>(), [NOON, after(60)]);
    store.stop();
}

#[test]
fn the_columns_are_those_of_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    Store::start(directory.path()).stop();
    for (view, columns) in [
        ("agents", "agent_id, name, source, registry_status, first_seen, last_seen, metadata"),
        (
            "agent_metrics",
            "agent_id, timestamp, cpu_percent, memory_mb, memory_method, status, error_count, message_count, \
             process_count, thread_count, cpu_seconds, read_bytes, written_bytes",
        ),
        (
            "agent_metrics_minute",
            "agent_id, timestamp, samples, cpu_percent_avg, cpu_percent_max, memory_mb_avg, memory_mb_max, \
             memory_mb_last, process_count_max, cpu_seconds, read_bytes, written_bytes",
        ),
        (
            "agent_metrics_hour",
            "agent_id, timestamp, samples, cpu_percent_avg, cpu_percent_max, memory_mb_avg, memory_mb_max, \
             memory_mb_last, process_count_max, cpu_seconds, read_bytes, written_bytes",
        ),
        ("leftovers", "agent_id, pid, command, since, memory_mb, cpu_seconds, ended_at"),
        ("agent_events", "id, agent_id, event_type, message, metadata, timestamp"),
        ("error_logs", "id, agent_id, error_type, message, stack_trace, timestamp, resolved, fingerprint"),
        ("alerts", "id, agent_id, type, severity, state, message, value, threshold, started_at, resolved_at"),
        (
            "agent_runs",
            "agent_id, pid, started_at, ended_at, exit_code, exit_signal, oom_killed, reason, cpu_seconds, \
             peak_memory_mb, last_memory_mb",
        ),
        (
            "host_minutes",
            "timestamp, load1, load5, load15, cpu_count, memory_total_mb, memory_available_mb, cpu_pressure, \
             memory_pressure, memory_pressure_full, io_pressure, io_pressure_full",
        ),
    ] {
        let found = ask(directory.path(), &format!("select name from pragma_table_info('{view}')"));
        assert_eq!(found.join(", "), columns, "{view}");
    }
}

#[test]
fn a_new_daemon_goes_on_where_the_last_one_ended() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::start(directory.path());
    assert_eq!(store.resume, Resume::default(), "nothing is there yet");
    let batch = full_batch();
    store.store(batch.clone()).unwrap();
    store.stop();

    let store = Store::start(directory.path());
    let alerts: Vec<StoredAlert> = batch.alerts[..2].to_vec();
    let alerts = vec![StoredAlert { episode: Some(3), ..alerts[0].clone() }, alerts[1].clone()];
    assert_eq!(
        store.resume,
        Resume {
            leftovers: batch.leftovers[..1].to_vec(),
            last_tick: 41,
            agents: vec![
                // The totals of the agent that runs stand beside those of its newest sample.
                ResumedAgent {
                    agent: batch.agents[0].clone(),
                    sampled_cpu_us: Some(12_345_000),
                    sampled_io: Some(Io { read_bytes: 5_000_000_001, written_bytes: 7 }),
                    run: Some(batch.runs[0].clone()),
                    account: Some(batch.accounts[0].clone()),
                    unresolved: 0,
                },
                ResumedAgent {
                    agent: batch.agents[1].clone(),
                    sampled_cpu_us: None,
                    sampled_io: None,
                    run: Some(batch.runs[3].clone()),
                    account: None,
                    unresolved: 1,
                },
            ],
            alerts,
            crashes: vec![(number(2), after(9)); 2],
            delivered: vec![Delivered { receiver: "stays".into(), up_to: Some(2) }],
            last_entry: 6,
        }
    );

    // What is stored of an account stands in place of what was.
    let mut next = AccountRow { scanned_at: Mono(5), leftovers: Sums::default(), ..account_of(1) };
    next.members.remove(1);
    store.store(Batch { accounts: vec![account_of(1), next.clone()], ..Batch::default() }).unwrap();

    // The alert that fired before the restart ends after it: one episode.
    let over = StoredAlert { key: batch.alerts[0].key.clone(), state: None, episode: None };
    let entries = vec![of_agent(1, after(60), transition("high_cpu", false))];
    store.store(Batch { entries, alerts: vec![over], ..Batch::default() }).unwrap();
    let episodes = ask(directory.path(), "select id, state, resolved_at from alerts where agent_id = 'agent-1'");
    assert_eq!(episodes, ["3|resolved|2026-01-01 12:01:00.000"]);
    store.stop();
    let store = Store::start(directory.path());
    assert_eq!(store.resume.agents[0].account, Some(next));
    store.stop();
}

#[test]
fn a_new_daemon_goes_on_with_the_run_that_goes_on_though_another_began_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::start(directory.path());
    let (first, second) = (run_of(1, 10), run_of(1, 20));
    let superseded = |run: &RunRow| ended(run.clone(), None, None, "superseded");
    // The registry named another process for a while.
    let runs = vec![first.clone(), superseded(&first), second.clone(), superseded(&second), first.clone()];
    for run in runs {
        store.store(Batch { agents: vec![agent(1)], runs: vec![run], ..Batch::default() }).unwrap();
    }
    store.stop();
    let store = Store::start(directory.path());
    assert_eq!(store.resume.agents[0].run, Some(first));
    store.stop();
}

#[test]
fn questions() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::start(directory.path());
    let batch = full_batch();
    store.store(batch.clone()).unwrap();
    for tick in 42..52 {
        store.store(pass(tick, after(10 * (tick - 40)), &[1])).unwrap();
    }

    let found = store.reader.agent(&AgentId::new("agent-2").unwrap()).unwrap();
    assert_eq!(found, Some(batch.agents[1].clone()));
    assert_eq!(store.reader.agent(&AgentId::new("agent-3").unwrap()).unwrap(), None);

    let ats = |since, limit| -> Vec<_> {
        store.reader.metrics(number(1), after(since), limit).unwrap().iter().map(|metrics| metrics.at).collect()
    };
    assert_eq!(ats(100, 50), [after(110), after(100)], "newest first, and no older ones");
    assert_eq!(ats(0, 3), [after(110), after(100), after(90)]);
    let oldest = store.reader.metrics(number(1), NOON, 50).unwrap().pop().unwrap();
    let stored = &batch.samples[0].metrics;
    assert_eq!(oldest, Metrics { cpu_percent: Some(400.0), cpu_us: Some(12_345_000), ..stored.clone() });
    assert_eq!(store.reader.metrics(number(2), NOON, 50).unwrap(), [batch.samples[1].metrics.clone()]);

    let stored = |index: usize| Recorded { id: Some(index as i64 + 1), entry: batch.entries[index].clone() };
    let events = |agent: Option<&str>, limit| {
        store.reader.latest_events(agent.map(|id| AgentId::new(id).unwrap()).as_ref(), limit).unwrap()
    };
    assert_eq!(events(None, 50), [stored(5), stored(0)]);
    assert_eq!(events(None, 1), [stored(5)]);
    assert_eq!(events(Some("agent-2"), 50), []);
    assert_eq!(events(Some("agent-1"), 50), [stored(0)]);
    let page = Page { before: Some(6), limit: 50, ..Page::default() };
    assert_eq!(store.reader.list_events(&page).unwrap(), Rows { rows: vec![stored(0)], more: false });

    let errors = store.reader.latest_errors(&AgentId::new("agent-2").unwrap(), 50).unwrap();
    assert_eq!(errors, [JournalLine { recorded: stored(1), resolved: false, fired: None }]);

    let mut runs = batch.runs[1..].to_vec();
    runs.reverse();
    assert_eq!(store.reader.runs(number(2), 50).unwrap(), runs, "the last one first");
    assert_eq!(store.reader.runs(number(2), 1).unwrap(), runs[..1]);
    store.stop();
}

#[test]
fn what_is_stored_again_is_changed() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::start(directory.path());
    store.store(full_batch()).unwrap();
    let renamed = StoredAgent { name: Some("Coder".into()), restarts: 3, ..agent(1) };
    let over = ended(run_of(1, 100), Some(ExitStatus::Code(0)), Some(false), "stopped");
    store.store(Batch { agents: vec![renamed.clone()], runs: vec![over.clone()], ..Batch::default() }).unwrap();
    assert_eq!(store.reader.agent(&renamed.id).unwrap(), Some(renamed));
    assert_eq!(store.reader.runs(number(1), 50).unwrap(), [over]);
    store.stop();
}

#[test]
fn words_beyond_the_table_are_kept_too() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::start(directory.path());
    let status = |tick: u64| if tick == 400 { "12".to_owned() } else { format!("word {tick}") };
    for tick in 1..=400 {
        let mut batch = pass(tick, after(tick), &[1]);
        let memory_method = if tick % 2 == 0 { MemoryMethod::Pss } else { MemoryMethod::Rss };
        batch.samples[0].metrics = Metrics { status: status(tick).into(), memory_method, ..metrics(after(tick)) };
        store.store(batch).unwrap();
    }
    let expected: Vec<String> = (1..=400).map(status).collect();
    assert_eq!(ask(directory.path(), "select status from agent_metrics order by timestamp"), expected);
    let read = store.reader.metrics(number(1), NOON, 500).unwrap();
    assert_eq!(read.iter().rev().map(|metrics| metrics.status.to_string()).collect::<Vec<_>>(), expected);
    let pss = read.iter().filter(|metrics| metrics.memory_method == MemoryMethod::Pss).count();
    assert_eq!(pss, 200);
    let method = "select count(*) from agent_metrics where memory_method = 'pss'";
    assert_eq!(ask(directory.path(), method), ["200"]);
    assert_eq!(ask(directory.path(), "select count(*) from sample_status"), ["250"], "the table does not grow");
    store.stop();
}

/// Milliseconds, however large it is: no plan may sort, or look at every sample.
#[test]
fn the_metrics_view_is_read_from_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::start(directory.path());
    for tick in 1..=50 {
        store.store(pass(tick, after(tick), &[1, 2, 3])).unwrap();
    }
    store.stop();
    for (question, passes, samples) in [
        ("select * from agent_metrics order by timestamp desc limit 3", "SCAN t", "rowid>? AND rowid<?"),
        ("select * from agent_metrics where timestamp > '2026' limit 3", "SEARCH t", "rowid>? AND rowid<?"),
        ("select * from agent_metrics where agent_id = 'agent-1' order by timestamp desc limit 3", "SCAN t", "rowid=?"),
        (
            "select * from agent_metrics where agent_id = 'agent-1' and timestamp > '2026' order by timestamp",
            "SEARCH t",
            "rowid=?",
        ),
    ] {
        let plan = ask(directory.path(), &format!("explain query plan {question}")).join("\n");
        assert!(plan.contains(passes), "{question}\n{plan}");
        assert!(plan.contains(&format!("SEARCH s USING INTEGER PRIMARY KEY ({samples})")), "{question}\n{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{question}\n{plan}");
    }
    let newest = ask(directory.path(), "select agent_id, timestamp from agent_metrics order by timestamp desc limit 3");
    assert!(newest.iter().all(|line| line.ends_with("2026-01-01 12:00:50.000")), "{newest:?}");
}
