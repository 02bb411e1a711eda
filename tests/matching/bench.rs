//! The bench with sources that recognise programs, and the programs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agent_monitor::clock::{Clock, ManualClock};
use agent_monitor::config::{Config, Directories, MatchBy, Source};
use agent_monitor::model::{AgentId, Body, Image, Pid, Record, RunRow, Script};

#[path = "../bench/mod.rs"]
mod shared;

use shared::NEW_YEAR;
pub(crate) use shared::{Bench, MINUTE, SECOND};

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
    shared::record(id, "online", pid)
}

impl Bench {
    /// With the built-in rules.
    pub(crate) fn new() -> Bench {
        Bench::with(Vec::new())
    }

    pub(crate) fn with(sources: Vec<Source>) -> Bench {
        let clock = Arc::new(ManualClock::new(NEW_YEAR));
        clock.advance(60 * MINUTE);
        Bench::at(clock, sources)
    }

    /// What comes of this machine when it is started again, after `away`.
    pub(crate) fn rebooted(self, away: Duration) -> Bench {
        let clock = Arc::new(ManualClock::new(self.clock.now().wall + away));
        let mut bench = Bench { stored: self.stored, ..Bench::at(clock, Vec::new()) };
        bench.restart(|bench| bench.host.reboot());
        bench
    }

    fn at(clock: Arc<ManualClock>, sources: Vec<Source>) -> Bench {
        let mut config = Config::defaults(&Directories { state: "/state".into(), runtime: "/run".into() });
        config.registry.sources = sources;
        Bench::watching(clock, config)
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

    /// What the daemon told: the agent, the event's type and its message.
    pub(crate) fn events(&self) -> Vec<String> {
        let line = |(body, agent): (&Body, Option<&AgentId>)| match body {
            Body::Event(event) => {
                let who = agent.map_or("-", |id| id.as_str());
                Some(format!("{who} {}: {}", event.event_type, event.message))
            }
            _ => None,
        };
        self.entries().filter_map(|entry| line((&entry.body, entry.agent.as_ref().map(|(_, id)| id)))).collect()
    }

    pub(crate) fn alerts(&self) -> usize {
        self.entries().filter(|entry| matches!(entry.body, Body::Alert(_))).count()
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
        self.start_again();
        self.step();
    }
}
