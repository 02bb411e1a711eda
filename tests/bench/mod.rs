//! A machine and a clock that exist only in memory, a monitor that watches the machine, and a loop that drives it. Each of
//! the targets that use it has its own configuration, and adds what it asks, in its `bench.rs`.
#![allow(dead_code, reason = "no target uses all of it")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agent_monitor::clock::{Clock, ManualClock};
use agent_monitor::config::Config;
use agent_monitor::model::{
    AccountRow, AgentId, AgentView, Batch, Entry, Io, JsonObject, LeftoverRow, Pid, Record, Resume, ResumedAgent,
    RunRow, Snapshot, StartGuard, StoredAgent, StoredAlert, Timestamp,
};
use agent_monitor::monitor::{AgentDetail, Answer, Effect, Input, Monitor, SourceReading};
use agent_monitor::testing::Host;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// 2026-01-01T00:00:00Z
pub(crate) const NEW_YEAR: Timestamp = Timestamp::from_unix_ms(1_767_225_600_000);

/// A machine, a monitor that watches it, and everything the monitor wanted stored.
pub(crate) struct Bench {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) host: Host,
    pub(crate) monitor: Monitor,
    pub(crate) config: Arc<Config>,
    pub(crate) stored: Vec<Batch>,
    /// How many of its entries were looked at.
    pub(crate) heard: usize,
    pub(crate) snapshot: Option<Arc<Snapshot>>,
}

impl Bench {
    pub(crate) fn watching(clock: Arc<ManualClock>, config: Config) -> Bench {
        let host = Host::new(Arc::clone(&clock));
        let config = Arc::new(config);
        let monitor = Monitor::new(Arc::clone(&config), host.source(), Resume::default(), clock.now());
        Bench { clock, host, monitor, config, stored: Vec::new(), heard: 0, snapshot: None }
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

    /// What a source says now.
    pub(crate) fn read(&mut self, index: usize, records: &[Record]) {
        let reading =
            Ok(SourceReading { records: records.iter().cloned().map(Arc::new).collect(), skipped: Vec::new() });
        self.tell(Input::Source { index, reading });
    }

    /// What the only source says now.
    #[expect(clippy::needless_pass_by_value, reason = "a list that is made for this")]
    pub(crate) fn registry(&mut self, records: Vec<Record>) {
        self.read(0, &records);
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

    pub(crate) fn snapshot(&self) -> &Snapshot {
        self.snapshot.as_ref().expect("something was published")
    }

    pub(crate) fn agent(&self, id: &str) -> Arc<AgentView> {
        let agents = &self.snapshot().agents;
        let found = agents.iter().find(|agent| agent.id.as_str() == id);
        Arc::clone(found.unwrap_or_else(|| panic!("{id} is not among {:?}", self.listed())))
    }

    /// One agent whole; none if it is not in the lists.
    pub(crate) fn detail(&mut self, id: &str) -> Option<AgentDetail> {
        let (tell, told) = std::sync::mpsc::channel();
        let answer = Answer::new(move |detail| tell.send(detail).unwrap());
        let inspect = Input::Inspect { agent: AgentId::new(id).unwrap(), answer };
        let effects = self.monitor.handle(inspect, self.clock.now());
        self.perform(effects);
        told.recv().unwrap()
    }

    /// The ids in the lists.
    pub(crate) fn listed(&self) -> Vec<String> {
        self.snapshot().agents.iter().map(|agent| agent.id.to_string()).collect()
    }

    /// Everything that the monitor wanted in the journal.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.stored.iter().flat_map(|batch| &batch.entries)
    }

    /// Ends this monitor as SIGKILL would, and starts another from what was stored.
    pub(crate) fn start_again(&mut self) {
        let resume = resume(&self.stored);
        self.monitor = Monitor::new(Arc::clone(&self.config), self.host.source(), resume, self.clock.now());
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

/// What a store would give back: the last row of everything.
pub(crate) fn resume(stored: &[Batch]) -> Resume {
    let mut agents: BTreeMap<u32, StoredAgent> = BTreeMap::new();
    let mut runs: BTreeMap<u32, RunRow> = BTreeMap::new();
    let mut alerts: BTreeMap<_, StoredAlert> = BTreeMap::new();
    let mut leftovers: BTreeMap<_, LeftoverRow> = BTreeMap::new();
    let mut sampled: BTreeMap<u32, (u64, Option<Io>)> = BTreeMap::new();
    let mut accounts: BTreeMap<u32, AccountRow> = BTreeMap::new();
    let mut crashes = Vec::new();
    let mut last_tick = 0;
    for batch in stored {
        last_tick = batch.tick.map_or(last_tick, |tick| tick.ordinal);
        agents.extend(batch.agents.iter().map(|agent| (agent.number.get(), agent.clone())));
        alerts.extend(batch.alerts.iter().map(|alert| (alert.key.clone(), alert.clone())));
        leftovers.extend(batch.leftovers.iter().map(|left| ((left.agent, left.process), left.clone())));
        accounts.extend(batch.accounts.iter().map(|account| (account.agent.get(), account.clone())));
        for run in &batch.runs {
            runs.insert(run.agent.get(), run.clone());
            let end = run.end.as_ref().filter(|end| &*end.reason == "error");
            crashes.extend(end.map(|end| (run.agent, end.at)));
        }
        for sample in &batch.samples {
            sampled.extend(sample.metrics.cpu_us.map(|us| (sample.agent.get(), (us, sample.metrics.io))));
        }
    }
    // The totals of those whose run is over stand in their own rows.
    sampled.retain(|number, _| runs.get(number).is_some_and(|run| run.end.is_none()));
    crashes.reverse();
    let agents = agents.into_values().map(|agent| ResumedAgent {
        run: runs.remove(&agent.number.get()),
        account: accounts.remove(&agent.number.get()),
        sampled_cpu_us: sampled.get(&agent.number.get()).map(|(us, _)| *us),
        sampled_io: sampled.get(&agent.number.get()).and_then(|(_, io)| *io),
        unresolved: 0,
        agent,
    });
    let agents = agents.collect();
    let leftovers = leftovers.into_values().filter(|leftover| leftover.ended_at.is_none()).collect();
    Resume { last_tick, leftovers, agents, alerts: alerts.into_values().collect(), crashes, ..Resume::default() }
}
