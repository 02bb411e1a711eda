//! One of everything that can be stored.

use std::time::Duration;

use agent_monitor::model::{
    AlertKey, AlertState, Batch, Body, Delivered, Entry, EventReport, ExitStatus, HostMinute, HostPressure,
    HostReading, Io, JsonObject, LeftoverRow, MemoryMethod, Metrics, Pid, ProcessKey, RunEnd, RunRow, Sample, Severity,
    StoredAgent, StoredAlert, Tick,
};

use crate::support::{NOON, account_of, after, agent, error, event, number, of_agent, run_of, transition};

/// Something in every column, and null wherever that is possible.
pub(crate) fn full_batch() -> Batch {
    let known = Metrics {
        at: after(10),
        cpu_percent: Some(399.96),
        memory_bytes: Some((1536 << 20) + 4096),
        memory_method: MemoryMethod::Pss,
        process_count: Some(6),
        thread_count: Some(31),
        cpu_us: Some(12_345_678),
        io: Some(Io { read_bytes: 5_000_000_001, written_bytes: 7 }),
        status: "busy \"thinking\"".into(),
        error_count: 3,
        message_count: Some(17),
    };
    let unknown = Metrics::unknown(after(10), "offline".into());
    let key = |rule: &str, agent: Option<u32>| AlertKey { agent: agent.map(number), source: None, rule: rule.into() };
    let firing = AlertState::Firing {
        since: after(10),
        notified_at: after(11),
        severity: Severity::Critical,
        value: Some(99.5),
        threshold: Some(80.0),
        message: "high_cpu fires".into(),
    };
    let pending = AlertState::Pending { since: after(5), held: Duration::from_millis(4_321) };
    let leftover = |agent: u32, ended_at| LeftoverRow {
        agent: number(agent),
        process: ProcessKey { start_ticks: 99, pid: Pid::new(300 + i64::from(agent)).unwrap() },
        boot: "0e4b7c3a-boot".into(),
        name: "mcp-server".into(),
        since: after(9),
        memory_bytes: 50 << 20,
        cpu_us: 2_500_000,
        used_before_us: 7,
        ended_at,
    };
    Batch {
        accounts: vec![account_of(1)],
        leftovers: vec![leftover(1, None), leftover(2, Some(after(10)))],
        host: vec![
            HostMinute { at: NOON, host: strained_host(), pressure: strained() },
            HostMinute { at: after(60), host: HostReading::default(), pressure: HostPressure::default() },
        ],
        tick: Some(Tick { ordinal: 41, at: after(10) }),
        agents: vec![
            StoredAgent {
                name: Some("The planner".into()),
                metadata: JsonObject::parse(r#"{"model":"x"}"#).unwrap(),
                restarts: 2,
                cpu_us: 9_000_000,
                io: Io { read_bytes: 1, written_bytes: 9_000 },
                ..agent(1)
            },
            StoredAgent { registry_status: None, source: "match:claude".into(), ..agent(2) },
        ],
        samples: vec![Sample { agent: number(1), metrics: known }, Sample { agent: number(2), metrics: unknown }],
        runs: vec![
            run_of(1, 100),
            ended(run_of(2, 200), Some(ExitStatus::Signal(9)), Some(true), "error"),
            ended(run_of(2, 201), Some(ExitStatus::Code(3)), None, "error"),
            ended(run_of(2, 202), None, None, "unobserved"),
        ],
        entries: vec![
            of_agent(1, after(1), event("hello")),
            of_agent(2, after(2), error("x is undefined")),
            of_agent(1, after(10), transition("high_cpu", true)),
            Entry { agent: None, at: after(10), body: transition("registry_stale", true) },
            Entry { agent: None, at: after(11), body: transition("registry_stale", false) },
            Entry {
                agent: None,
                at: after(12),
                body: Body::Event(EventReport {
                    event_type: "warning".into(),
                    message: "the clock was set".into(),
                    metadata: JsonObject::default(),
                }),
            },
        ],
        alerts: vec![
            StoredAlert { key: key("high_cpu", Some(1)), state: Some(firing), episode: None },
            StoredAlert { key: key("high_memory", Some(1)), state: Some(pending), episode: None },
            StoredAlert { key: key("registry_stale", None), state: None, episode: None },
        ],
        delivered: vec![
            Delivered { receiver: "left".into(), up_to: Some(7) },
            Delivered { receiver: "left".into(), up_to: None },
            Delivered { receiver: "stays".into(), up_to: Some(1) },
            Delivered { receiver: "stays".into(), up_to: Some(2) },
        ],
        write: None,
    }
}

pub(crate) fn strained_host() -> HostReading {
    HostReading {
        load_1m: Some(7.25),
        load_5m: Some(0.1),
        load_15m: Some(0.0),
        memory_total_bytes: Some(2 << 30),
        memory_available_bytes: Some(100 << 20),
        uptime: None,
        cpu_count: Some(4),
    }
}

pub(crate) fn strained() -> HostPressure {
    HostPressure {
        cpu_some: Some(83.38),
        memory_some: Some(50.0),
        memory_full: Some(0.0),
        io_some: Some(1.17),
        io_full: Some(100.0),
    }
}

pub(crate) fn ended(run: RunRow, status: Option<ExitStatus>, oom_killed: Option<bool>, reason: &str) -> RunRow {
    RunRow { end: Some(RunEnd { at: after(9), status, oom_killed, reason: reason.into() }), ..run }
}
