//! What the server answers from besides the snapshot: a database with a little of everything.

use std::sync::Arc;
use std::time::Duration;

use agent_monitor::api::{DatabaseFacts, Lists, OwnFacts, ReceiverFacts, Reloads, Sources, Writes};
use agent_monitor::model::*;

use super::*;

/// Everything is well, and `coder-1` has a past.
pub(crate) fn sources() -> Sources {
    Sources {
        feed: feed(snapshot()),
        clock: Arc::new(clock()),
        interval: Arc::new(|| Duration::from_secs(10)),
        storage: Arc::new(|| Ok(())),
        agent: Arc::new(|id| Ok((id.as_str() == "coder-1").then(history))),
        user_name: Arc::new(|uid| (uid == 0).then(|| "root".to_owned())),
        inspect: Arc::new(|id, answer| answer.send((id.as_str() == "coder-1").then(detail))),
        lists: lists(),
        writes: Writes {
            record: Arc::new(|_| Box::pin(async { Ok(Receipt { id: 40, duplicate: false }) })),
            resolve: Arc::new(|_| Box::pin(async { Ok(()) })),
        },
        history: Arc::new(|query| Ok((query.agent.as_str() == "coder-1").then(past_of_known))),
        replay: Arc::new(|missed| Ok(replay(missed, 7))),
        own: Arc::new(own),
    }
}

/// Three minutes, in one of which nothing was observed.
fn past_of_known() -> History {
    let minute = |n: u64| NEW_YEAR + Duration::from_secs(60 * n);
    let seen = HistoryPoint {
        at: minute(0),
        cpu_percent_avg: Some(12.345),
        cpu_percent_max: Some(100.0),
        memory_bytes_avg: Some(1_572_864.5),
        memory_bytes_max: Some(2 << 20),
        process_count_max: Some(3),
    };
    let unseen = HistoryPoint { at: minute(1), ..HistoryPoint::default() };
    let points = vec![seen, unseen, HistoryPoint { at: minute(2), ..seen }];
    History { from: minute(0), to: minute(3), step: Duration::from_secs(60), points }
}

/// A journal with events 1 to `last`, of which none was deleted.
pub(crate) fn replay(missed: &ReplayQuery, last: i64) -> Replay {
    let first = (missed.after + 1).max(last + 1 - i64::from(missed.limit));
    let gap = (first > missed.after + 1).then_some((missed.after + 1, first - 1));
    let line = |id| JournalLine { recorded: event(Some(id), Some("coder-1"), "started"), resolved: false, fired: None };
    Replay { after: missed.after, gap, lines: (first..=last).filter(|_| missed.events).map(line).collect() }
}

/// Rows with the ids from `page.before` down to 1, at most `page.limit`.
fn rows<R>(page: &Page, highest: i64, row: impl FnMut(i64) -> R) -> Rows<R> {
    first(page.limit, (1..=page.before.map_or(highest, |before| before - 1)).rev(), row)
}

/// The first of them.
fn first<R>(limit: u32, mut ids: impl Iterator<Item = i64>, row: impl FnMut(i64) -> R) -> Rows<R> {
    let rows = ids.by_ref().take(limit as usize).map(row).collect();
    Rows { rows, more: ids.next().is_some() }
}

/// A database with seven of everything, which looks at nothing but the page's place and length.
fn lists() -> Lists {
    let kept = history();
    let Body::Error(report) = kept.errors[0].recorded.entry.body.clone() else { panic!("no error") };
    let report = ErrorReport { fingerprint: None, ..report };
    let run = kept.runs[1].clone();
    let left = detail().leftovers.remove(0);
    Lists {
        events: Arc::new(|page| Ok(rows(page, 7, |id| event(Some(id), Some("coder-1"), "started")))),
        errors: Arc::new(move |page| {
            let whose = |row_id| (row_id != 6).then_some("coder-1");
            let row = |row_id| error(row_id, whose(row_id), after(4), report.clone(), row_id % 2 == 0);
            Ok(rows(page, 7, row))
        }),
        groups: Arc::new(|page| Ok(groups(page))),
        alerts: Arc::new(|page| {
            let episode = |row_id| AlertEpisode {
                id: row_id,
                agent: (row_id != 6).then(|| id("coder-1")),
                rule: "high_cpu".into(),
                severity: Severity::Warning,
                firing: row_id == 7,
                message: "coder-1: cpu_percent is 123.5, above 80".into(),
                value: Some(123.456),
                threshold: Some(80.0),
                started_at: after(3),
                ended_at: (row_id < 6).then(|| after(5)),
            };
            Ok(rows(page, 7, episode))
        }),
        runs: Arc::new(move |page| {
            let listed = |row_id| ListedRun { id: row_id, agent: id("coder-1"), run: run.clone() };
            Ok(rows(page, 7, listed))
        }),
        leftovers: Arc::new(move |page| {
            let ended_at = |row_id| (row_id < 7).then(|| after(8));
            let leftover = |row_id| LeftoverRow { ended_at: ended_at(row_id), ..left.clone() };
            let listed = |row_id| ListedLeftover { id: row_id, agent: id("coder-1"), leftover: leftover(row_id) };
            Ok(rows(page, 7, listed))
        }),
    }
}

/// Seven problems, the latest first, one of each state among them.
fn groups(page: &GroupPage) -> Rows<ErrorGroup> {
    let group = |row_id: i64| ErrorGroup {
        id: row_id,
        agent: (row_id != 6).then(|| id("coder-1")),
        fingerprint: format!("{row_id:032x}").into(),
        error_type: "TypeError".into(),
        message: "x is not a function".into(),
        state: GroupState::ALL[usize::try_from(row_id % 3).unwrap()],
        count: 5,
        unresolved: if row_id % 3 == 1 { 0 } else { 2 },
        first_seen: after(1),
        last_seen: after(4),
        resolved_at: (row_id % 3 != 0).then(|| after(3)),
        first_usage: Usage::default(),
        last_usage: Usage { cpu_percent: Some(123.456), memory_bytes: Some(300 << 20) },
    };
    first(page.limit, (1..=page.before.map_or(7, |(_, before)| before - 1)).rev(), group)
}

pub(crate) fn own() -> OwnFacts {
    OwnFacts {
        hostname: "workshop".into(),
        pid: 4711,
        started_at: NEW_YEAR,
        uptime: Duration::from_millis(65_999),
        cpu: Duration::from_micros(1_234_567),
        memory_bytes: Some(9 << 20),
        url: "http://127.0.0.1:7717/".into(),
        socket: "/run/agent-monitor/agent-monitor.sock".into(),
        database: DatabaseFacts {
            path: "/var/lib/agent-monitor/agent-monitor.db".into(),
            size_bytes: 123_456,
            log_bytes: 23_456,
            reserve_bytes: 8_192,
            checked_at: Some(NEW_YEAR),
            longest_pause: Duration::from_micros(1_500),
            samples_waiting: 10,
            entries_waiting: 11,
            queue_length: 1,
            commits: 2,
            expired_rows: 3,
            samples_dropped: 4,
            entries_dropped: 5,
            runs_dropped: 6,
        },
        receivers: vec![ReceiverFacts {
            name: "webhook http://127.0.0.1:9000/hook".into(),
            error: Some("503 Service Unavailable".into()),
            delivered: 9,
            retried: 8,
            refused: 7,
            lost: 6,
            waiting: 5,
        }],
        reloads: Reloads::default(),
        log_lines_dropped: Some(7),
    }
}
