//! A machine that exists only in memory, and a monitor that watches it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agent_monitor::clock::{Clock, ManualClock};
use agent_monitor::config::{Config, Directories, MatchBy, Source};
use agent_monitor::model::{
    AccountRow, AgentId, AgentView, Batch, Body, Image, JsonObject, Pid, Record, Resume, ResumedAgent, RunRow, Script,
    Snapshot, StartGuard, StoredAgent, Timestamp,
};
use agent_monitor::monitor::{Effect, Input, Monitor, SourceReading};
use agent_monitor::process::ProcessSource;
use agent_monitor::testing::Host;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

pub(crate) struct Bench {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) host: Host,
    pub(crate) monitor: Monitor,
    pub(crate) config: Arc<Config>,
    pub(crate) stored: Vec<Batch>,
    snapshot: Option<Arc<Snapshot>>,
}

pub(crate) fn file() -> Source {
    Source::File { path: PathBuf::from("/agents.json") }
}

pub(crate) fn program(agent: &str) -> Source {
    Source::Match { agent: agent.to_owned(), by: MatchBy::Program(agent.to_owned()) }
}

/// An executable at `path`, with this command line.
pub(crate) fn native(path: &str, line: &str) -> Image {
    Image { exe: Some(path.into()), words: line.split(' ').map(Into::into).collect(), script: None }
}

/// A script under Node, whose path resolves to `resolved`.
pub(crate) fn node(line: &str, resolved: &str) -> Image {
    let path = line.split(' ').find(|word| word.starts_with('/')).expect("an absolute script").into();
    Image { script: Some(Script { path, resolved: Some(resolved.into()) }), ..native("/usr/bin/node", line) }
}

pub(crate) const CODEX_JS: &str = "/usr/lib/node_modules/@openai/codex/bin/codex.js";

pub(crate) fn record(id: &str, pid: Option<Pid>) -> Record {
    Record {
        id: AgentId::new(id).unwrap(),
        name: None,
        pid,
        pid_namespace: None,
        status: Some("online".into()),
        guard: StartGuard::default(),
        message_count: None,
        metadata: JsonObject::default(),
    }
}

impl Bench {
    /// With the built-in rules.
    pub(crate) fn new() -> Bench {
        Bench::with(Vec::new())
    }

    pub(crate) fn with(sources: Vec<Source>) -> Bench {
        Bench::on(sources, Host::source)
    }

    /// Looking at the machine through a source of its own.
    pub(crate) fn on(sources: Vec<Source>, look: impl FnOnce(&Host) -> Box<dyn ProcessSource>) -> Bench {
        // 2026-01-01T00:00:00Z
        let clock = Arc::new(ManualClock::new(Timestamp::from_unix_ms(1_767_225_600_000)));
        clock.advance(60 * MINUTE);
        Bench::at(clock, sources, look)
    }

    /// What comes of this machine when it is started again, after `away`.
    pub(crate) fn rebooted(self, away: Duration) -> Bench {
        let clock = Arc::new(ManualClock::new(self.clock.now().wall + away));
        let mut bench = Bench { stored: self.stored, ..Bench::at(clock, Vec::new(), Host::source) };
        bench.restart(|bench| bench.host.reboot());
        bench
    }

    fn at(clock: Arc<ManualClock>, sources: Vec<Source>, look: impl FnOnce(&Host) -> Box<dyn ProcessSource>) -> Bench {
        let host = Host::new(Arc::clone(&clock));
        let mut config = Config::defaults(&Directories { state: "/state".into(), runtime: "/run".into() });
        config.registry.sources = sources;
        let config = Arc::new(config);
        let monitor = Monitor::new(Arc::clone(&config), look(&host), Resume::default(), clock.now());
        Bench { clock, host, monitor, config, stored: Vec::new(), snapshot: None }
    }

    /// A process below the first one, in a session of its own, that is this program.
    pub(crate) fn start(&self, name: &str, image: Image) -> Pid {
        let pid = self.host.start(name);
        self.host.set_image(pid, name, image);
        pid
    }

    /// A child of a process, in its session, that is this program.
    pub(crate) fn spawn(&self, parent: Pid, name: &str, image: Image) -> Pid {
        let pid = self.host.fork(parent);
        self.host.set_image(pid, name, image);
        pid
    }

    /// A launcher under Node and its program.
    pub(crate) fn codex(&self) -> (Pid, Pid) {
        let shell = self.host.start("bash");
        let launcher = self.spawn(shell, "node", node("node /usr/bin/codex", CODEX_JS));
        (launcher, self.spawn(launcher, "codex", native("/opt/bin/codex", "/opt/bin/codex")))
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

    pub(crate) fn tell(&mut self, input: Input) {
        let effects = self.monitor.handle(input, self.clock.now());
        self.perform(effects);
        self.step();
    }

    pub(crate) fn registry(&mut self, records: Vec<Record>) {
        self.tell(Input::Source {
            index: 0,
            reading: Ok(SourceReading { records: records.into(), skipped: Vec::new() }),
        });
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

    /// The ids in the lists.
    pub(crate) fn listed(&self) -> Vec<String> {
        let snapshot = self.snapshot.as_ref().expect("something was published");
        snapshot.agents.iter().map(|agent| agent.id.to_string()).collect()
    }

    pub(crate) fn snapshot(&self) -> &Snapshot {
        self.snapshot.as_ref().expect("something was published")
    }

    pub(crate) fn agent(&self, id: &str) -> Arc<AgentView> {
        let found = self.snapshot().agents.iter().find(|agent| agent.id.as_str() == id);
        Arc::clone(found.unwrap_or_else(|| panic!("{id} is not among {:?}", self.listed())))
    }

    /// What the daemon told: the agent, the event's type and its message.
    pub(crate) fn events(&self) -> Vec<String> {
        let entries = self.stored.iter().flat_map(|batch| &batch.entries);
        let line = |(body, agent): (&Body, Option<&AgentId>)| match body {
            Body::Event(event) => {
                let who = agent.map_or("-", |id| id.as_str());
                Some(format!("{who} {}: {}", event.event_type, event.message))
            }
            _ => None,
        };
        entries.filter_map(|entry| line((&entry.body, entry.agent.as_ref().map(|(_, id)| id)))).collect()
    }

    pub(crate) fn alerts(&self) -> usize {
        let entries = self.stored.iter().flat_map(|batch| &batch.entries);
        entries.filter(|entry| matches!(entry.body, Body::Alert(_))).count()
    }

    /// The runs as a store would have them, oldest first: their last rows.
    pub(crate) fn runs(&self) -> Vec<RunRow> {
        let mut runs = BTreeMap::new();
        for run in self.stored.iter().flat_map(|batch| &batch.runs) {
            runs.insert((run.root, run.agent.get()), run.clone());
        }
        runs.into_values().collect()
    }

    pub(crate) fn cpu_seconds(&self, id: &str) -> u64 {
        self.agent(id).metrics.cpu_us.expect("known") / 1_000_000
    }

    /// Ends this monitor as SIGKILL would; `meanwhile` happens; another goes on from what was stored.
    pub(crate) fn restart(&mut self, meanwhile: impl FnOnce(&Bench)) {
        meanwhile(self);
        let mut agents: BTreeMap<u32, StoredAgent> = BTreeMap::new();
        let mut runs: BTreeMap<u32, RunRow> = BTreeMap::new();
        let mut accounts: BTreeMap<u32, AccountRow> = BTreeMap::new();
        for batch in &self.stored {
            agents.extend(batch.agents.iter().map(|agent| (agent.number.get(), agent.clone())));
            runs.extend(batch.runs.iter().map(|run| (run.agent.get(), run.clone())));
            accounts.extend(batch.accounts.iter().map(|account| (account.agent.get(), account.clone())));
        }
        let agents = agents.into_values().map(|agent| ResumedAgent {
            run: runs.remove(&agent.number.get()),
            account: accounts.remove(&agent.number.get()),
            sampled_cpu_us: None,
            sampled_io: None,
            unresolved: 0,
            agent,
        });
        let resume = Resume { agents: agents.collect(), ..Resume::default() };
        self.monitor = Monitor::new(Arc::clone(&self.config), self.host.source(), resume, self.clock.now());
        self.step();
    }
}
