//! Lists of everyone's rows, held against what sqlite3 says of the promised views.

use std::collections::BTreeSet;

use agent_monitor::model::{
    AlertKey, AlertState, Batch, Body, LeftoverRow, Page, Pid, ProcessKey, ReplayQuery, RunEnd, RunRow, Severity,
    StoredAlert,
};

use crate::support::{Store, after, agent, ask, error, event, number, of_agent, pass, run_of, transition};

const ALL: u32 = 100;

/// Two agents with everything, in turns; the second error is resolved by hand, as nothing resolves errors yet.
fn filled(directory: &std::path::Path) -> Store {
    let store = Store::start(directory);
    let entries = (0..12).map(|n| {
        let body = match n % 3 {
            0 => event(&format!("event {n}")),
            1 => error(&format!("error {n}")),
            _ => transition(if n < 6 { "high_cpu" } else { "agent_down" }, true),
        };
        of_agent(1 + n % 2, after(u64::from(n)), body)
    });
    let firing = |rule: &str, n| StoredAlert {
        key: AlertKey { agent: Some(number(n)), source: None, rule: rule.into() },
        state: Some(AlertState::Firing {
            since: after(2),
            notified_at: after(2),
            severity: Severity::Critical,
            value: None,
            threshold: None,
            message: "fires".into(),
        }),
        episode: None,
    };
    let alerts = vec![firing("high_cpu", 1), firing("high_cpu", 2), firing("agent_down", 1), firing("agent_down", 2)];
    let ended = RunEnd { at: after(9), status: None, oom_killed: None, reason: "error".into() };
    let runs = vec![run_of(1, 100), run_of(2, 200), RunRow { end: Some(ended), ..run_of(1, 101) }];
    let agents = vec![agent(1), agent(2)];
    store.store(Batch { agents, alerts, runs, entries: entries.collect(), ..Batch::default() }).unwrap();
    let over = of_agent(1, after(20), transition("high_cpu", false));
    let none = StoredAlert { state: None, ..firing("high_cpu", 1) };
    store.store(Batch { entries: vec![over], alerts: vec![none], ..Batch::default() }).unwrap();
    store.flush();
    let connection = rusqlite::Connection::open(directory.join(agent_monitor::store::FILE_NAME)).unwrap();
    assert_eq!(connection.execute("update journal set resolved = 1 where message = 'error 4'", []).unwrap(), 1);
    store
}

fn page(agent: Option<&str>, kind: Option<&str>, open: Option<bool>) -> Page {
    Page {
        agent: agent.map(|id| agent_monitor::model::AgentId::new(id).unwrap()),
        kind: kind.map(Into::into),
        open,
        before: None,
        limit: ALL,
    }
}

/// The list, and `sqlite3`'s answer to the same question, as ids.
fn compare(listed: &[i64], directory: &std::path::Path, sql: &str, at_least: usize) {
    let told: Vec<i64> = ask(directory, sql).iter().map(|id| id.parse().unwrap()).collect();
    assert_eq!(listed, told, "{sql}");
    assert!(listed.len() >= at_least, "{sql}: {listed:?}");
}

#[test]
fn lists_say_what_the_views_say() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().canonicalize().unwrap();
    let store = filled(&path);
    let reader = &store.reader;
    for (agent, kind) in [(None, None), (Some("agent-1"), None), (None, Some("started")), (Some("agent-2"), Some("no"))]
    {
        let whose = agent.map_or("1".to_owned(), |id| format!("agent_id = '{id}'"));
        let what = |column| kind.map_or("1".to_owned(), |kind| format!("{column} = '{kind}'"));
        let events: Vec<i64> =
            reader.list_events(&page(agent, kind, None)).unwrap().rows.iter().map(|row| row.id.unwrap()).collect();
        let sql = format!("select id from agent_events where {whose} and {} order by id desc", what("event_type"));
        compare(&events, &path, &sql, if kind == Some("no") { 0 } else { 2 });
    }
    for (open, state) in [(None, "1"), (Some(true), "resolved = 0"), (Some(false), "resolved = 1")] {
        let errors = reader.list_errors(&page(None, Some("TypeError"), open)).unwrap().rows;
        assert!(errors.iter().all(|row| open.is_none_or(|open| row.resolved != open)), "{errors:?}");
        let sql = format!("select id from error_logs where {state} order by id desc");
        compare(&errors.iter().map(|row| row.recorded.id.unwrap()).collect::<Vec<_>>(), &path, &sql, 1);
    }
    for (open, state) in [(None, "1"), (Some(true), "state = 'firing'"), (Some(false), "state = 'resolved'")] {
        for (kind, rule) in [(None, "1"), (Some("high_cpu"), "type = 'high_cpu'")] {
            let alerts = reader.list_alerts(&page(None, kind, open)).unwrap().rows;
            assert!(alerts.iter().all(|alert| open.is_none_or(|open| alert.firing == open)), "{alerts:?}");
            let sql = format!("select id from alerts where {state} and {rule} order by id desc");
            compare(&alerts.iter().map(|alert| alert.id).collect::<Vec<_>>(), &path, &sql, 1);
        }
    }
    let over = reader.list_alerts(&page(Some("agent-1"), Some("high_cpu"), Some(false))).unwrap().rows;
    assert_eq!((over[0].ended_at, over[0].value, over[0].threshold), (Some(after(20)), Some(99.5), Some(80.0)));

    let pids = |page: &Page| -> Vec<String> {
        reader.list_runs(page).unwrap().rows.iter().map(|listed| listed.run.root.pid.to_string()).collect()
    };
    assert_eq!(pids(&page(None, None, None)), ["101", "200", "100"]);
    assert_eq!(pids(&page(Some("agent-1"), None, None)), ["101", "100"]);
    assert_eq!(pids(&page(None, None, Some(true))), ["200", "100"]);
    assert_eq!(pids(&page(None, Some("error"), Some(false))), ["101"]);
    assert_eq!(pids(&page(Some("nobody"), None, None)), [""; 0]);
    store.stop();
}

#[test]
fn pages_follow_one_another_without_gap_or_overlap() {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(&directory.path().canonicalize().unwrap());
    let all: Vec<i64> =
        store.reader.list_alerts(&page(None, None, None)).unwrap().rows.iter().map(|row| row.id).collect();
    assert_eq!((all.len(), all.iter().collect::<BTreeSet<_>>().len()), (4, 4));
    let mut walked = Vec::new();
    loop {
        let before = walked.last().copied();
        let next = store.reader.list_alerts(&Page { before, limit: 3, ..Page::default() }).unwrap();
        assert!(next.rows.len() <= 3);
        walked.extend(next.rows.iter().map(|row| row.id));
        if !next.more {
            break;
        }
    }
    assert_eq!(walked, all);
    store.stop();
}

fn missed(after: i64, limit: u32) -> ReplayQuery {
    ReplayQuery { after, agent: None, events: true, errors: true, alerts: true, limit }
}

/// The gap, and the ids after it.
fn told(store: &Store, missed: &ReplayQuery) -> (Option<(i64, i64)>, Vec<i64>) {
    let replay = store.reader.replay(missed).unwrap();
    (replay.gap, replay.lines.iter().map(|line| line.recorded.id.unwrap()).collect())
}

#[test]
fn what_a_stream_missed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().canonicalize().unwrap();
    let store = filled(&path);
    assert_eq!(told(&store, &missed(0, ALL)), (None, (1..=13).collect()));
    assert_eq!(told(&store, &missed(11, ALL)), (None, vec![12, 13]));
    assert_eq!(told(&store, &missed(13, ALL)), (None, vec![]));
    assert_eq!(told(&store, &missed(4, 3)), (Some((5, 10)), vec![11, 12, 13]));
    assert_eq!(told(&store, &missed(99, ALL)), (None, (1..=13).collect()), "of another database");
    let agent = page(Some("agent-2"), None, None).agent;
    assert_eq!(told(&store, &ReplayQuery { agent, ..missed(5, ALL) }), (None, vec![6, 8, 10, 12]));
    let nobody = page(Some("nobody"), None, None).agent;
    assert_eq!(told(&store, &ReplayQuery { agent: nobody, ..missed(0, ALL) }), (None, vec![]));
    assert_eq!(
        told(&store, &ReplayQuery { errors: false, alerts: false, ..missed(0, ALL) }),
        (None, vec![1, 4, 7, 10])
    );

    // The end of an alert knows where it began; an error, whether it is resolved.
    let replay = store.reader.replay(&missed(0, ALL)).unwrap();
    let of = |id: usize| &replay.lines[id - 1];
    assert_eq!((of(3).fired, of(13).fired, of(12).fired), (Some(3), Some(3), Some(12)));
    let since = |id: usize| matches!(&of(id).recorded.entry.body, Body::Alert(note) if note.since == after(0));
    assert!(since(13), "when it fired comes along");
    assert_eq!((of(2).resolved, of(5).resolved, of(1).fired), (false, true, None));

    // Retention took the oldest, but neither an unresolved error nor an alert that fires.
    let connection = rusqlite::Connection::open(path.join(agent_monitor::store::FILE_NAME)).unwrap();
    connection.execute("delete from journal where id < 7 and id not in (2, 3)", []).unwrap();
    assert_eq!(told(&store, &missed(2, ALL)).0, Some((3, 6)));
    assert_eq!(told(&store, &missed(5, ALL)), (Some((6, 6)), (7..=13).collect()));
    assert_eq!(told(&store, &missed(6, ALL)).0, None);
    connection.execute("delete from journal where kind not in (1, 2)", []).unwrap();
    assert_eq!(told(&store, &missed(6, ALL)).0, Some((7, 12)), "where only those are left");
    store.stop();
}

/// A thousand lines of 60 kB would be more than one answer should hold.
#[test]
fn what_is_shown_at_once_is_bounded_in_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::start(&directory.path().canonicalize().unwrap());
    for tick in 1..=20 {
        let entries = vec![of_agent(1, after(tick), event(&"x".repeat(60_000))); 10];
        store.store(Batch { entries, ..pass(tick, after(tick), &[1]) }).unwrap();
    }
    let (gap, ids) = told(&store, &missed(3, 1_000));
    assert_eq!((ids.len(), ids.last()), ((8 << 20) / 60_100, Some(&200)));
    assert_eq!((gap, ids[0]), (Some((4, ids[0] - 1)), 200 - i64::try_from(ids.len()).unwrap() + 1));
    assert_eq!(told(&store, &missed(ids[0] - 1, 1_000)), (None, ids), "all of that can be told");

    // A page of a list as well, which says that there are more.
    let (mut walked, mut pages, mut before) = (Vec::new(), 0, None);
    loop {
        let next = store.reader.list_events(&Page { before, limit: 150, ..Page::default() }).unwrap();
        walked.extend(next.rows.iter().map(|row| row.id.unwrap()));
        (pages, before) = (pages + 1, walked.last().copied());
        if !next.more {
            break;
        }
    }
    assert_eq!(walked, (1..=200).rev().collect::<Vec<_>>(), "none twice, none left out");
    assert_eq!(pages, 200_u32.div_ceil((1 << 20) / 60_100));
    store.stop();
}

#[test]
fn leftovers_of_all_agents() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().canonicalize().unwrap();
    let store = Store::start(&path);
    let left = |n, pid: i64, name: &str, ended_at| LeftoverRow {
        agent: number(n),
        process: ProcessKey { start_ticks: 5, pid: Pid::new(pid).unwrap() },
        boot: "boot".into(),
        name: name.into(),
        since: after(1),
        memory_bytes: 1 << 20,
        cpu_us: 1_500_000,
        used_before_us: 7,
        ended_at,
    };
    let rows = [left(1, 10, "sleep", None), left(2, 20, "sleep", None), left(1, 11, "node", Some(after(3)))];
    let agents = vec![agent(1), agent(2)];
    store.store(Batch { agents, leftovers: rows.to_vec(), ..Batch::default() }).unwrap();
    let list = |page: &Page| store.reader.list_leftovers(page).unwrap().rows;
    let pids =
        |page: &Page| -> Vec<i64> { list(page).iter().map(|one| i64::from(one.leftover.process.pid.get())).collect() };
    assert_eq!(list(&page(None, None, None)).iter().map(|one| one.leftover.clone()).collect::<Vec<_>>(), {
        let mut newest = rows.to_vec();
        newest.reverse();
        newest
    });
    assert_eq!(pids(&page(Some("agent-1"), None, None)), [11, 10]);
    assert_eq!(pids(&page(None, Some("sleep"), Some(true))), [20, 10]);
    assert_eq!(pids(&page(None, None, Some(false))), [11]);
    assert_eq!(pids(&Page { before: Some(3), limit: 1, ..Page::default() }), [20]);
    store.stop();
}
