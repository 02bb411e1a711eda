//! The bench with every limit of its own, and what the heart is asked.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agent_monitor::clock::ManualClock;
use agent_monitor::config::{
    Alerts, Api, Config, Ingest, Log, LogFormat, LogLevel, Messages, Registry, Sampling, Source, Storage,
};
use agent_monitor::model::{Body, Condition, ExitStatus, LeftoverRow, MemoryMethod, Metric, Rule, Severity};

#[path = "../bench/mod.rs"]
pub(crate) mod shared;

use shared::NEW_YEAR;
pub(crate) use shared::{Bench, SECOND, record};

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

impl Bench {
    pub(crate) fn new(interval: Duration) -> Bench {
        Bench::with(config(interval))
    }

    pub(crate) fn with(config: Config) -> Bench {
        let bench = Bench::watching(Arc::new(ManualClock::new(NEW_YEAR)), config);
        bench.clock.advance(SECOND);
        bench
    }

    pub(crate) fn events(&self) -> Vec<(String, String)> {
        let told = self.entries().filter_map(|entry| match &entry.body {
            Body::Event(event) => Some((event.event_type.to_string(), event.message.to_string())),
            _ => None,
        });
        told.collect()
    }

    pub(crate) fn alerts(&self) -> Vec<(String, bool)> {
        let told = self.entries().filter_map(|entry| match &entry.body {
            Body::Alert(note) => Some((note.rule.to_string(), note.is_firing())),
            _ => None,
        });
        told.collect()
    }

    pub(crate) fn leftover_rows(&self) -> Vec<LeftoverRow> {
        self.stored.iter().flat_map(|batch| &batch.leftovers).cloned().collect()
    }

    pub(crate) fn cpu_seconds(&self, id: &str) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "seconds in a test")]
        let seconds = self.agent(id).metrics.cpu_us.expect("known") as f64 / 1e6;
        seconds
    }

    pub(crate) fn restart(&mut self) {
        self.start_again();
    }
}

pub(crate) fn killed() -> ExitStatus {
    ExitStatus::Signal(9)
}
