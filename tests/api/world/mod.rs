//! What the daemon knows and shows in these tests: one agent of each kind.

mod database;
mod server;

use std::sync::Arc;
use std::time::Duration;

use agent_monitor::api::AgentHistory;
use agent_monitor::clock::{Clock, ManualClock};
use agent_monitor::feed::{EpisodeKey, Episodes, Feed};
use agent_monitor::model::*;
use agent_monitor::monitor::AgentDetail;

pub(crate) use database::*;
pub(crate) use server::*;

/// How long a client waits for anything.
pub(crate) const GENEROUS: Duration = Duration::from_secs(30);

/// 2026-01-01T00:00:00.000Z
pub(crate) const NEW_YEAR: Timestamp = Timestamp::from_unix_ms(1_767_225_600_000);

pub(crate) fn after(ms: u64) -> Timestamp {
    NEW_YEAR + Duration::from_millis(ms)
}

pub(crate) fn id(text: &str) -> AgentId {
    AgentId::new(text).unwrap()
}

fn number(number: u32) -> AgentNumber {
    AgentNumber::new(number).unwrap()
}

fn pid(number: i64) -> Pid {
    Pid::new(number).unwrap()
}

/// An agent of which everything is known.
pub(crate) fn known() -> AgentView {
    AgentView {
        number: number(1),
        id: id("coder-1"),
        name: Some("Coder".into()),
        source: "file:/run/broker/agents.json".into(),
        status: "working".into(),
        registry_status: Some("working".into()),
        state: Observed::Running,
        state_reason: Some("shares process 7 with planner".into()),
        pid: Some(pid(4242)),
        started_at: Some(after(1)),
        restarts: 3,
        metadata: JsonObject::parse(r#"{"model":"x","deep":{"n":[1,2.50,null]}}"#).unwrap(),
        metrics: Metrics {
            at: after(5_000),
            cpu_percent: Some(123.456),
            memory_bytes: Some(300 * 1_048_576 + 52_429),
            memory_method: MemoryMethod::Pss,
            process_count: Some(6),
            thread_count: Some(17),
            cpu_us: Some(61_234_567),
            io: Some(Io { read_bytes: 1 << 40, written_bytes: 7 }),
            status: "working".into(),
            error_count: 2,
            message_count: Some(9),
        },
        leftovers: Leftovers { process_count: 1, memory_bytes: 1_048_576, cpu_us: 1_500_000 },
        alerts: vec!["high_cpu".into()],
    }
}

/// The agents of a snapshot, with another one in this place.
pub(crate) fn replaced(now: &Snapshot, place: usize, agent: AgentView) -> SharedList<AgentView> {
    let mut agents: Vec<Arc<AgentView>> = now.agents.iter().cloned().collect();
    agents[place] = Arc::new(agent);
    agents.into_iter().collect()
}

/// An agent of which nothing is known that can be unknown.
pub(crate) fn unknown(text: &str) -> AgentView {
    AgentView {
        number: number(2),
        id: id(text),
        name: None,
        source: "match:my-agent".into(),
        status: "unknown".into(),
        registry_status: None,
        state: Observed::NoPid,
        state_reason: None,
        pid: None,
        started_at: None,
        restarts: 0,
        metadata: JsonObject::default(),
        metrics: Metrics::unknown(NEW_YEAR, "unknown".into()),
        leftovers: Leftovers::default(),
        alerts: Vec::new(),
    }
}

pub(crate) fn event(seq: Option<i64>, agent: Option<&str>, message: &str) -> Recorded {
    let metadata = JsonObject::parse(r#"{"reason":"started"}"#).unwrap();
    let body = Body::Event(EventReport { event_type: "started".into(), message: message.into(), metadata });
    Recorded { id: seq, entry: Entry { agent: agent.map(|text| (number(1), id(text))), at: after(7), body } }
}

fn error(seq: i64, agent: Option<&str>, at: Timestamp, report: ErrorReport, resolved: bool) -> JournalLine {
    let entry = Entry { agent: agent.map(|text| (number(1), id(text))), at, body: Body::Error(report) };
    JournalLine { recorded: Recorded { id: Some(seq), entry }, resolved, fired: None }
}

/// One agent of each kind, an alert of each kind, a host of which all is known; the first tick ended at the new year.
pub(crate) fn snapshot() -> Snapshot {
    let alert = |rule: &str, agent: Option<&str>, value, threshold| ActiveAlert {
        rule: rule.into(),
        agent: agent.map(id),
        source: None,
        severity: Severity::Critical,
        message: format!("{rule} fires").into(),
        value,
        threshold,
        since: after(3),
    };
    Snapshot {
        tick: 1,
        at: after(5_001),
        agents: [known(), unknown("a/b <c>")].into_iter().map(Arc::new).collect(),
        alerts: vec![
            alert("high_cpu", Some("coder-1"), Some(123.456), Some(80.0)),
            alert("storage_degraded", None, None, None),
        ],
        host: HostReading {
            load_1m: Some(0.42),
            load_5m: Some(0.5),
            load_15m: None,
            memory_total_bytes: Some(16 << 30),
            memory_available_bytes: Some((8 << 30) + 52_429),
            uptime: Some(Duration::from_millis(86_400_999)),
            cpu_count: Some(8),
        },
        pressure: HostPressure { cpu_some: Some(12.34), memory_some: Some(0.0), ..HostPressure::default() },
        own: OwnState {
            last_tick_at: Some(NEW_YEAR),
            last_tick_mono: Some(clock().now().mono),
            discovery: "events",
            sources: vec![SourceState {
                name: "file:/run/broker/agents.json".into(),
                good_at: Some(NEW_YEAR),
                error: None,
                failing_since: None,
                records: 2,
                skipped: 0,
            }],
            ..OwnState::default()
        },
    }
}

pub(crate) fn feed(snapshot: Snapshot) -> Feed {
    let recent = [event(None, None, "clock jumped"), event(Some(12), Some("coder-1"), "started")];
    let feed = Feed::new(Arc::new(snapshot));
    feed.go_on(
        &recent,
        Episodes::from([(EpisodeKey { rule: "high_cpu".into(), agent: Some(id("coder-1")), source: None }, 11)]),
    );
    feed
}

pub(crate) fn clock() -> ManualClock {
    ManualClock::new(NEW_YEAR)
}

/// What the database has of [`known`].
pub(crate) fn history() -> AgentHistory {
    let root = ProcessKey { start_ticks: 99, pid: pid(4242) };
    let run = |end| RunRow {
        agent: number(1),
        root,
        boot: "b00t".into(),
        started_at: after(1),
        end,
        cpu_us: 1_234_567,
        peak_memory_bytes: Some(2_097_152),
        last_memory_bytes: None,
        memory_method: MemoryMethod::Rss,
    };
    let end =
        |status, oom_killed, reason: &str| Some(RunEnd { at: after(9), status, oom_killed, reason: reason.into() });
    let report = ErrorReport {
        error_type: "TypeError".into(),
        message: "x is not a function".into(),
        stack: Some("at f (a.js:1:2)\nat g".into()),
        metadata: JsonObject::default(),
        fingerprint: Some("00ff".into()),
    };
    let bare = ErrorReport { stack: None, fingerprint: None, ..report.clone() };
    AgentHistory {
        agent: StoredAgent {
            number: number(1),
            id: id("coder-1"),
            name: Some("Coder".into()),
            source: "file:/run/broker/agents.json".into(),
            registry_status: Some("working".into()),
            first_seen: NEW_YEAR,
            last_seen: after(8),
            metadata: JsonObject::default(),
            restarts: 3,
            cpu_us: 5,
            io: Io::default(),
        },
        unresolved: 2,
        metrics: vec![known().metrics, unknown("x").metrics],
        events: vec![event(Some(12), Some("coder-1"), "started")],
        errors: vec![
            error(31, Some("coder-1"), after(4), report, false),
            error(30, Some("coder-1"), after(3), bare, true),
        ],
        runs: vec![
            run(None),
            run(end(Some(ExitStatus::Code(7)), Some(false), "error")),
            run(end(Some(ExitStatus::Signal(9)), Some(true), "error")),
            run(end(None, None, "unobserved")),
        ],
        host: vec![
            None,
            Some(HostMinute { at: NEW_YEAR, host: HostReading::default(), pressure: HostPressure::default() }),
            Some(HostMinute {
                at: NEW_YEAR,
                host: HostReading {
                    load_1m: Some(7.25),
                    load_5m: Some(3.5),
                    load_15m: Some(0.0),
                    memory_total_bytes: Some(16 << 30),
                    memory_available_bytes: Some(52_429),
                    uptime: None,
                    cpu_count: Some(8),
                },
                pressure: HostPressure {
                    cpu_some: Some(0.0),
                    memory_some: Some(98.76),
                    memory_full: Some(45.6),
                    io_some: Some(12.0),
                    io_full: Some(0.04),
                },
            }),
            None,
        ],
    }
}

/// What the heart has of [`known`]. Account 0 has a name everywhere; 4,000,000,000 nowhere.
pub(crate) fn detail() -> AgentDetail {
    let process = |number, parent, uid, name: &str| ProcessView {
        pid: pid(number),
        parent,
        name: name.into(),
        state: ProcessState::Sleeping,
        uid,
        started_at: after(1),
        cpu_percent: parent.map(|_| 0.04),
        memory_bytes: 10 * 1_048_576,
        thread_count: Some(2),
    };
    AgentDetail {
        view: known(),
        run: Some(RunRow { cpu_us: 7_654_321, ..history().runs[0].clone() }),
        processes: vec![
            process(4242, None, Some(0), "node) \u{1b}[31m"),
            process(4243, Some(pid(4242)), Some(4_000_000_000), "sh"),
            process(4244, Some(pid(4242)), None, "<b>"),
        ],
        leftovers: vec![LeftoverRow {
            agent: number(1),
            process: ProcessKey { pid: pid(4250), start_ticks: 1 },
            boot: "boot".into(),
            name: "sleep".into(),
            since: after(3),
            memory_bytes: 1 << 20,
            cpu_us: 1_500_000,
            used_before_us: 0,
            ended_at: None,
        }],
    }
}
