//! A machine, a monitor with the built-in rules that watches it, and everything that the monitor wanted stored.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agent_monitor::clock::{Clock, ManualClock};
use agent_monitor::config::{Config, Directories, Source};
use agent_monitor::model::{
    ActiveAlert, AgentId, AlertNote, Batch, Body, ExitStatus, JsonObject, Pid, Record, Resume, ResumedAgent, RunRow,
    Snapshot, StartGuard, StoredAgent, StoredAlert, Timestamp, Turn,
};
use agent_monitor::monitor::{Effect, Input, Monitor, SourceReading};
use agent_monitor::testing::Host;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

pub(crate) struct Bench {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) host: Host,
    pub(crate) config: Arc<Config>,
    monitor: Monitor,
    stored: Vec<Batch>,
    /// How many of its entries were looked at.
    heard: usize,
    snapshot: Option<Arc<Snapshot>>,
}

/// The built-in rules with these changes, and two sources.
pub(crate) fn config(rules: &str) -> Config {
    let directories = Directories { state: PathBuf::from("/state"), runtime: PathBuf::from("/run") };
    let mut config = Config::parse(rules, Path::new("test"), &directories).unwrap();
    config.registry.sources =
        ["/one.json", "/two.json"].map(|path| Source::File { path: PathBuf::from(path) }).to_vec();
    config
}

pub(crate) fn record(id: &str, pid: Pid) -> Record {
    Record {
        id: AgentId::new(id).unwrap(),
        name: None,
        pid: Some(pid),

        pid_namespace: None,
        status: Some("busy".into()),
        guard: StartGuard::default(),
        message_count: None,
        metadata: JsonObject::default(),
    }
}

pub(crate) fn crash() -> ExitStatus {
    ExitStatus::Signal(11)
}

impl Bench {
    pub(crate) fn new(rules: &str) -> Bench {
        let clock = Arc::new(ManualClock::new(Timestamp::from_unix_ms(1_767_225_600_000)));
        // As long after the boot as an alert can look back.
        clock.advance(60 * MINUTE);
        let host = Host::new(Arc::clone(&clock));
        let config = Arc::new(config(rules));
        let monitor = Monitor::new(Arc::clone(&config), host.source(), Resume::default(), clock.now());
        Bench { clock, host, config, monitor, stored: Vec::new(), heard: 0, snapshot: None }
    }

    fn perform(&mut self, effects: Vec<Effect>) {
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

    pub(crate) fn input(&mut self, input: Input) {
        let effects = self.monitor.handle(input, self.clock.now());
        self.perform(effects);
        self.step();
    }

    /// What a source says now.
    pub(crate) fn read(&mut self, index: usize, records: &[Record]) {
        let reading = Ok(SourceReading { records: records.into(), skipped: Vec::new() });
        self.input(Input::Source { index, reading });
    }

    pub(crate) fn fail(&mut self, index: usize) {
        self.input(Input::Source { index, reading: Err("cannot open it".into()) });
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

    /// Lets time pass, and the sources be read every ten seconds: the first says this, the second nothing.
    pub(crate) fn pass_reading(&mut self, span: Duration, records: &[Record]) {
        for _ in 0..span.as_secs() / 10 {
            self.read(0, records);
            self.read(1, &[]);
            self.pass(10 * SECOND);
        }
    }

    /// Ends this monitor as SIGKILL would, and starts another from what was stored.
    pub(crate) fn restart(&mut self) {
        let resume = resume(&self.stored);
        self.monitor = Monitor::new(Arc::clone(&self.config), self.host.source(), resume, self.clock.now());
    }

    pub(crate) fn reconfigure(&mut self, config: Config) {
        self.config = Arc::new(config);
        self.input(Input::Settings(Arc::clone(&self.config)));
    }

    fn notes(&self) -> Vec<(Option<String>, AlertNote)> {
        let entries = self.stored.iter().flat_map(|batch| &batch.entries);
        let note = |entry: &agent_monitor::model::Entry| match &entry.body {
            Body::Alert(note) => Some((entry.agent.as_ref().map(|(_, id)| id.as_str().to_owned()), note.clone())),
            _ => None,
        };
        entries.filter_map(note).collect()
    }

    /// What was told since this was asked last.
    pub(crate) fn told(&mut self) -> Vec<AlertNote> {
        let notes = self.notes();
        let new = notes[self.heard..].iter().map(|(_, note)| note.clone()).collect();
        self.heard = notes.len();
        new
    }

    /// The same in short: `agent_down of a fired`.
    pub(crate) fn heard(&mut self) -> Vec<String> {
        let notes = self.notes();
        let short = |(agent, note): &(Option<String>, AlertNote)| {
            let whose = agent.as_deref().or(note.source.as_deref()).map(|whose| format!(" of {whose}"));
            let turn = match note.turn {
                Turn::Fired => "fired",
                Turn::Repeated => "repeated",
                Turn::Resolved => "resolved",
            };
            format!("{}{} {turn}", note.rule, whose.unwrap_or_default())
        };
        let new = notes[self.heard..].iter().map(short).collect();
        self.heard = notes.len();
        new
    }

    pub(crate) fn firing(&self) -> Vec<ActiveAlert> {
        self.snapshot.as_ref().unwrap().alerts.clone()
    }
}

/// What a store would give back.
fn resume(stored: &[Batch]) -> Resume {
    let mut agents: BTreeMap<u32, StoredAgent> = BTreeMap::new();
    let mut runs: BTreeMap<u32, RunRow> = BTreeMap::new();
    let mut alerts: BTreeMap<_, StoredAlert> = BTreeMap::new();
    let mut crashes = Vec::new();
    let mut last_tick = 0;
    for batch in stored {
        last_tick = batch.tick.map_or(last_tick, |tick| tick.ordinal);
        agents.extend(batch.agents.iter().map(|agent| (agent.number.get(), agent.clone())));
        alerts.extend(batch.alerts.iter().map(|alert| (alert.key.clone(), alert.clone())));
        for run in &batch.runs {
            runs.insert(run.agent.get(), run.clone());
            let end = run.end.as_ref().filter(|end| &*end.reason == "error");
            crashes.extend(end.map(|end| (run.agent, end.at)));
        }
    }
    crashes.reverse();
    let agents = agents.into_values().map(|agent| ResumedAgent {
        account: None,
        run: runs.remove(&agent.number.get()),
        sampled_cpu_us: None,
        sampled_io: None,
        unresolved: 0,
        agent,
    });
    let agents = agents.collect();
    Resume { last_tick, agents, alerts: alerts.into_values().collect(), crashes, ..Resume::default() }
}
