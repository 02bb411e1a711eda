//! A machine and a clock that exist only in memory, and a loop that drives the monitor on them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agent_monitor::clock::{Clock, ManualClock};
use agent_monitor::config::{
    Alerts, Api, Config, Ingest, Log, LogFormat, LogLevel, Messages, Registry, Sampling, Source, Storage,
};
use agent_monitor::model::{
    AccountRow, AgentId, AgentView, Batch, Body, Condition, ExitStatus, Io, JsonObject, LeftoverRow, MemoryMethod,
    Metric, Pid, Record, Resume, ResumedAgent, Rule, RunRow, Severity, Snapshot, StartGuard, StoredAgent, StoredAlert,
    Timestamp,
};
use agent_monitor::monitor::{Effect, Input, Monitor, SourceReading};
use agent_monitor::testing::Host;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// A machine, a monitor that watches it, and everything the monitor wanted stored.
pub(crate) struct Bench {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) host: Host,
    pub(crate) monitor: Monitor,
    pub(crate) config: Arc<Config>,
    pub(crate) stored: Vec<Batch>,
    pub(crate) snapshot: Option<Arc<Snapshot>>,
}

fn rule(name: &str, condition: Condition, hold: Duration, severity: Severity) -> Rule {
    let repeat = Duration::from_secs(4 * 3600);
    Rule { name: name.into(), condition, hold, severity, repeat, agents: Vec::new(), enabled: true }
}

pub(crate) fn config(interval: Duration) -> Config {
    let above = |metric, limit, clear| Condition::Above { metric, limit, clear };
    Config {
        registry: Registry {
            refresh: 10 * SECOND,
            stale_after: 300 * SECOND,
            sources: vec![Source::File { path: PathBuf::from("/agents.json") }],
        },
        sampling: Sampling { interval, memory: MemoryMethod::Rss },
        messages: Messages::default(),
        storage: Storage {
            directory: PathBuf::from("/state"),
            retention: 7 * 24 * 3600 * SECOND,
            rollup_retention: 90 * 24 * 3600 * SECOND,
            max_size_bytes: 1 << 30,
        },
        alerts: Alerts {
            interval: 10 * SECOND,
            rules: vec![
                rule("high_cpu", above(Metric::CpuPercent, 80.0, 70.0), 300 * SECOND, Severity::Warning),
                rule("high_memory", above(Metric::MemoryMb, 1024.0, 922.0), 300 * SECOND, Severity::Warning),
                rule("high_errors", above(Metric::ErrorCount, 10.0, 10.0), Duration::ZERO, Severity::Critical),
                rule("agent_down", Condition::AgentDown, 10 * SECOND, Severity::Critical),
            ],
            receivers: Vec::new(),
        },
        api: Api { listen: "127.0.0.1:0".parse().unwrap(), allowed_hosts: Vec::new(), token_file: None },
        ingest: Ingest { socket: PathBuf::from("/socket"), mode: 0o660, group: None },
        log: Log { level: LogLevel::Info, format: LogFormat::Text, directory: None },
    }
}

pub(crate) fn record(id: &str, status: &str, pid: Option<Pid>) -> Record {
    Record {
        id: AgentId::new(id).unwrap(),
        name: None,
        pid,
        pid_namespace: None,
        status: Some(status.into()),
        guard: StartGuard::default(),
        message_count: None,
        metadata: JsonObject::default(),
    }
}

impl Bench {
    pub(crate) fn new(interval: Duration) -> Bench {
        Bench::with(config(interval))
    }

    pub(crate) fn with(config: Config) -> Bench {
        // 2026-01-01T00:00:00Z
        let clock = Arc::new(ManualClock::new(Timestamp::from_unix_ms(1_767_225_600_000)));
        let host = Host::new(Arc::clone(&clock));
        let config = Arc::new(config);
        let monitor = Monitor::new(Arc::clone(&config), host.source(), Resume::default(), clock.now());
        let bench = Bench { clock, host, monitor, config, stored: Vec::new(), snapshot: None };
        bench.clock.advance(SECOND);
        bench
    }

    pub(crate) fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Store { batch, .. } => self.stored.push(batch),
                Effect::Publish(snapshot) => self.snapshot = Some(snapshot),
                Effect::Prune { .. } => {}
            }
        }
    }

    pub(crate) fn step(&mut self) {
        let effects = self.monitor.step(self.clock.now());
        self.perform(effects);
    }

    pub(crate) fn registry(&mut self, records: Vec<Record>) {
        let reading = Ok(SourceReading { records: records.into(), skipped: Vec::new() });
        let effects = self.monitor.handle(Input::Source { index: 0, reading }, self.clock.now());
        self.perform(effects);
        self.step();
    }

    /// Lets time pass, calling the monitor whenever something is due, as the engine does.
    pub(crate) fn pass(&mut self, span: Duration) {
        let end = self.clock.now().mono + span;
        while self.clock.now().mono < end {
            let due = self.monitor.next_due().min(end);
            self.clock.advance(due.since(self.clock.now().mono));
            self.step();
        }
    }

    pub(crate) fn agent(&self, id: &str) -> Arc<AgentView> {
        let snapshot = self.snapshot.as_ref().expect("something was published");
        let found = snapshot.agents.iter().find(|agent| agent.id.as_str() == id);
        Arc::clone(found.unwrap_or_else(|| panic!("{id} is not in the lists")))
    }

    pub(crate) fn events(&self) -> Vec<(String, String)> {
        let entries = self.stored.iter().flat_map(|batch| &batch.entries);
        entries
            .filter_map(|entry| match &entry.body {
                Body::Event(event) => Some((event.event_type.to_string(), event.message.to_string())),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn alerts(&self) -> Vec<(String, bool)> {
        let entries = self.stored.iter().flat_map(|batch| &batch.entries);
        entries
            .filter_map(|entry| match &entry.body {
                Body::Alert(note) => Some((note.rule.to_string(), note.is_firing())),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn leftover_rows(&self) -> Vec<LeftoverRow> {
        self.stored.iter().flat_map(|batch| &batch.leftovers).cloned().collect()
    }

    pub(crate) fn cpu_seconds(&self, id: &str) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "seconds in a test")]
        let seconds = self.agent(id).metrics.cpu_us.expect("known") as f64 / 1e6;
        seconds
    }

    /// Ends this monitor as SIGKILL would, and starts another from what was stored.
    pub(crate) fn restart(&mut self) {
        let resume = resume(&self.stored);
        self.monitor = Monitor::new(Arc::clone(&self.config), self.host.source(), resume, self.clock.now());
    }
}

/// What a store would give back: the last row of everything.
pub(crate) fn resume(stored: &[Batch]) -> Resume {
    let mut agents: BTreeMap<u32, StoredAgent> = BTreeMap::new();
    let mut runs: BTreeMap<u32, RunRow> = BTreeMap::new();
    let mut alerts: BTreeMap<_, StoredAlert> = BTreeMap::new();
    let mut leftovers: BTreeMap<_, LeftoverRow> = BTreeMap::new();
    let mut sampled: BTreeMap<u32, (u64, Option<Io>)> = BTreeMap::new();
    let mut accounts: BTreeMap<u32, AccountRow> = BTreeMap::new();
    let mut last_tick = 0;
    for batch in stored {
        last_tick = batch.tick.map_or(last_tick, |tick| tick.ordinal);
        for agent in &batch.agents {
            agents.insert(agent.number.get(), agent.clone());
        }
        for run in &batch.runs {
            runs.insert(run.agent.get(), run.clone());
        }
        for sample in &batch.samples {
            sampled.extend(sample.metrics.cpu_us.map(|us| (sample.agent.get(), (us, sample.metrics.io))));
        }
        for leftover in &batch.leftovers {
            leftovers.insert((leftover.agent, leftover.process), leftover.clone());
        }
        for account in &batch.accounts {
            accounts.insert(account.agent.get(), account.clone());
        }
        for alert in &batch.alerts {
            alerts.insert(alert.key.clone(), alert.clone());
        }
    }
    let agents = agents.into_values().map(|agent| ResumedAgent {
        run: runs.remove(&agent.number.get()),
        account: accounts.remove(&agent.number.get()),
        sampled_cpu_us: sampled.get(&agent.number.get()).map(|(us, _)| *us),
        sampled_io: sampled.get(&agent.number.get()).and_then(|(_, io)| *io),
        unresolved: 0,
        agent,
    });
    let leftovers = leftovers.into_values().filter(|leftover| leftover.ended_at.is_none()).collect();
    let alerts = alerts.into_values().collect();
    Resume { last_tick, leftovers, agents: agents.collect(), alerts, ..Resume::default() }
}

pub(crate) fn killed() -> ExitStatus {
    ExitStatus::Signal(9)
}
