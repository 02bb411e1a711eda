//! The heart: takes inputs and the time, returns effects. No async, thread, file, SQL or clock in it.
//!
//! [`Monitor::handle`] takes in what the world says, [`Monitor::step`] does what is due. Both return what is to be done
//! about it. A thread drives it in the daemon, a loop drives years of it in a simulation.

mod account;
mod agent;
mod agents;
mod claims;
mod conditions;
mod evaluate;
mod events;
mod exchange;
mod gone;
mod host;
mod journal;
mod leftovers;
mod matching;
mod members;
mod memory;
mod messages;
mod program;
mod register;
mod report;
mod resume;
mod roster;
mod runs;
mod tick;
mod view;
mod wording;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

pub use exchange::{AgentDetail, Answer, Effect, Input, Messages, NotRecorded, Reply, SourceReading, Stored};

use crate::alerts::{self, Recent};
use crate::config::Config;
use crate::model::{
    AgentView, AlertKey, AlertState, Batch, BootId, Mono, Now, OwnState, ProcessEvent, ProcessKey, ProcessRow, Resume,
    SharedList,
};
use crate::process::{ProcessSource, ReadError};
use crate::retention::Limits;
use crate::timers::Timer;
use crate::tree::{AgentIndex, Forest};

use agent::Agent;
use agents::Agents;
use host::Host;
use matching::Matching;
use members::Scans;
use roster::Roster;

/// How often totals and last observations are written down besides the samples.
const UPKEEP: Duration = Duration::from_secs(60);

/// How often what is too old is deleted.
const PRUNE: Duration = Duration::from_secs(600);

/// How soon after the first reading of an agent the second follows: only two make a rate.
const SECOND_READING: Duration = Duration::from_millis(500);

/// Storage I/O costs a read of its own for each process, and changes slowly: at most this often.
const IO_PERIOD: Duration = Duration::from_secs(10);

/// Watches agents: who they are, what they use, how they end.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use agent_monitor::clock::{Clock, ManualClock};
/// use agent_monitor::config::{Config, Directories};
/// use agent_monitor::model::{AgentId, Resume, Timestamp};
/// use agent_monitor::monitor::{Effect, Input, Monitor};
/// use agent_monitor::testing::Host;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // A machine that exists only in memory, with a process on it.
/// let clock = Arc::new(ManualClock::new(Timestamp::from_unix_ms(0)));
/// let host = Host::new(Arc::clone(&clock));
/// let pid = host.start("agent");
///
/// let config = Arc::new(Config::defaults(&Directories { state: "/state".into(), runtime: "/run".into() }));
/// let mut monitor = Monitor::new(config, host.source(), Resume::default(), clock.now());
/// let reading = agent_monitor::discovery::flags(&[(AgentId::new("coder")?, pid)]);
/// monitor.handle(Input::Source { index: 0, reading: Ok(reading) }, clock.now());
/// monitor.step(clock.now());
///
/// // Half a second of processor time in one second.
/// host.burn(pid, Duration::from_millis(500));
/// clock.advance(Duration::from_secs(1));
/// let seen = monitor.step(clock.now()).into_iter().find_map(|effect| match effect {
///     Effect::Publish(snapshot) => snapshot.agents[0].metrics.cpu_percent,
///     _ => None,
/// });
/// assert_eq!(seen, Some(50.0));
/// # Ok(())
/// # }
/// ```
pub struct Monitor {
    config: Arc<Config>,
    processes: Box<dyn ProcessSource>,
    /// Which boot of the machine they are of.
    boot: BootId,
    /// What registries say.
    roster: Roster,
    /// What finds agents by their programs; none where nothing is configured to.
    matching: Option<Matching>,
    agents: Agents,
    roots: Roots,
    /// Which the next pass, even one for a few, is to read. Beside them, so that the end of one does not touch all.
    due: Vec<bool>,
    forest: Forest,
    /// Those that are pending or fire.
    alerts: BTreeMap<AlertKey, AlertState>,
    /// Messages by agent, where a broker's database counts them.
    messages: Option<Messages>,
    timers: Timers,
    /// When the next pass for a few agents is due.
    early: Option<Mono>,
    scans: Scans,
    /// Whether agents have begun inside other agents' trees.
    nested: bool,
    next_tick: u64,
    next_number: u32,
    host: Host,
    /// What the clocks said at the last step.
    clocks: Now,
    own: OwnState,
    /// What this step leads to.
    outcome: Outcome,
    /// The agents of the snapshot that was published last.
    views: SharedList<AgentView>,
    /// When alerts were last evaluated.
    evaluated_at: Mono,
    /// When ticks were skipped.
    skips: Recent,
    /// Why the database cannot be written, if it cannot.
    storage_trouble: Option<Arc<str>>,
    began_at: Mono,
    /// Empty between two scans: only the memory is kept.
    rows: Vec<ProcessRow>,
    /// The same for events.
    events: Vec<ProcessEvent>,
}

/// The agents' root processes.
#[derive(Default)]
struct Roots {
    /// Whose they are: of those that ended too, until their ends are told and they are gone.
    by_key: HashMap<ProcessKey, AgentIndex>,
    /// Whose runs ended, and wait for their causes.
    ending: Vec<AgentIndex>,
    /// Those that are gone, and until when it may still be told how they ended.
    parting: Vec<(ProcessKey, Mono)>,
}

/// What a step leads to, gathered until its end.
#[derive(Default)]
struct Outcome {
    /// What is to be stored.
    batch: Batch,
    /// Effects besides that.
    effects: Vec<Effect>,
    /// Whose accounts are to be written down.
    unsaved: Vec<AgentIndex>,
    /// Who was read, and is to have a sample of it.
    unsampled: Vec<AgentIndex>,
    /// Whether the snapshot that was published last is out of date.
    changed: bool,
}

struct Timers {
    tick: Timer,
    io: Timer,
    alerts: Timer,
    upkeep: Timer,
    prune: Timer,
}

impl Monitor {
    /// A monitor that goes on where the last one stopped.
    pub fn new(config: Arc<Config>, processes: Box<dyn ProcessSource>, resume: Resume, now: Now) -> Monitor {
        let timers = Timers {
            // At once: whoever asks is not to wait for a whole interval until there is an answer.
            tick: Timer::new(config.sampling.interval, now.mono),
            io: Timer::new(IO_PERIOD, now.mono),
            alerts: Timer::new(config.alerts.interval, now.mono + config.alerts.interval),
            upkeep: Timer::new(UPKEEP, now.mono + UPKEEP),
            prune: Timer::new(PRUNE, now.mono + UPKEEP),
        };
        let discovery = if processes.tells_forks() { "events" } else { "scan" };
        let forest = Forest::new(processes.own_pid());
        let mut monitor = Monitor {
            boot: processes.boot(),
            roster: Roster::new(&config.registry.sources, now.mono),
            matching: Matching::new(&config.registry, now.mono),
            config,
            processes,
            agents: Agents::default(),
            roots: Roots::default(),
            due: Vec::new(),
            forest,
            alerts: BTreeMap::new(),
            messages: None,
            timers,
            early: None,
            scans: Scans::default(),
            nested: false,
            next_tick: resume.last_tick + 1,
            next_number: 0,
            host: Host::default(),
            clocks: now,
            own: OwnState { discovery, ..OwnState::default() },
            outcome: Outcome { changed: true, ..Outcome::default() },
            views: SharedList::default(),
            evaluated_at: now.mono,
            skips: Recent::default(),
            storage_trouble: None,
            began_at: now.mono,
            rows: Vec::new(),
            events: Vec::new(),
        };
        monitor.ask_for_pss();
        monitor.resume(resume, now);
        monitor
    }

    /// Takes in what the world says. A step should follow.
    pub fn handle(&mut self, input: Input, now: Now) -> Vec<Effect> {
        match input {
            Input::Source { index, reading } => self.read_source(index, reading, now),
            Input::Report { submission, reply } => self.report(submission, reply, now),
            Input::Resolve { what, reply } => self.resolve(what, reply, now),
            Input::Storage(works) => self.storage_trouble = works.err(),
            Input::Unresolved(counts) => self.count_errors(&counts),
            Input::Messages(counted) => self.count_messages(counted, now),
            Input::Deleted(numbers) => self.forget(&numbers, now),
            Input::Inspect { agent, answer } => answer.send(self.inspect(&agent)),
            Input::Settings(config) => self.reconfigure(config, now),
        }
        self.finish(now)
    }

    /// Does what is due: takes in what happened to processes, samples, evaluates the alert rules.
    pub fn step(&mut self, now: Now) -> Vec<Effect> {
        self.compare_clocks(now);
        self.take_events(now);
        self.tell_overdue_ends(now);
        self.release_parting(now);
        let search = self.search_if_due(now);
        if let Some(missed) = self.timers.tick.fire(now.mono) {
            self.own.ticks_skipped += missed;
            self.skips.note(missed, now.mono);
            self.sample_all(now);
        } else if search || self.early.is_some_and(|due| due <= now.mono) {
            self.sample_due(now);
        }
        if self.timers.alerts.fire(now.mono).is_some() {
            self.evaluate(now);
        }
        if self.timers.upkeep.fire(now.mono).is_some() {
            self.let_writers_go(now);
            self.write_down(now);
        }
        if self.timers.prune.fire(now.mono).is_some() {
            let storage = &self.config.storage;
            let (samples, rollups, size_bytes) = (storage.retention, storage.rollup_retention, storage.max_size_bytes);
            self.outcome.effects.push(Effect::Prune { limits: Limits { samples, rollups, size_bytes } });
        }
        self.finish(now)
    }

    /// Samples now, whatever is due.
    pub fn sample_now(&mut self, now: Now) -> Vec<Effect> {
        self.sample_all(now);
        self.finish(now)
    }

    /// Writes down what would be lost if nothing came after: for an orderly end.
    pub fn stop(&mut self, now: Now) -> Vec<Effect> {
        self.write_down(now);
        self.finish(now)
    }

    /// When [`step`](Monitor::step) has something to do next, if nothing happens before.
    pub fn next_due(&self) -> Mono {
        let timers = [&self.timers.tick, &self.timers.alerts, &self.timers.upkeep, &self.timers.prune];
        let timer = timers.iter().map(|timer| timer.due()).min().expect("the list is not empty");
        let ends = self.roots.ending.iter().filter_map(|index| self.agents[*index].awaited()).map(|end| end.deadline);
        let parting = self.roots.parting.iter().map(|(_, until)| *until);
        ends.chain(parting).chain(self.early).chain(self.search_due()).fold(timer, Mono::min)
    }

    fn finish(&mut self, now: Now) -> Vec<Effect> {
        self.sample_read(now);
        self.save_accounts(now);
        let mut effects = std::mem::take(&mut self.outcome.effects);
        if !self.outcome.batch.is_empty() {
            effects.insert(0, Effect::Store { batch: std::mem::take(&mut self.outcome.batch), reply: None });
        }
        if self.outcome.changed {
            self.outcome.changed = false;
            // First: who hears of an event that is stored, and asks, must find what it says.
            effects.insert(0, Effect::Publish(Arc::new(self.snapshot(now))));
        }
        effects
    }

    fn agent(&mut self, index: AgentIndex) -> &mut Agent {
        &mut self.agents[index]
    }

    fn reconfigure(&mut self, config: Arc<Config>, now: Now) {
        if config.registry != self.config.registry {
            self.matching = Matching::new(&config.registry, now.mono);
        }
        self.timers.tick.change(config.sampling.interval, now.mono);
        self.timers.alerts.change(config.alerts.interval, now.mono);
        let before = std::mem::replace(&mut self.config, config);
        if self.config.sampling != before.sampling {
            self.ask_for_pss();
        }
        let mut like = None;
        for index in self.agents.indices() {
            let agent = &mut self.agents[index];
            agent.rules = alerts::rules_for(&self.config.alerts.rules, agent.stored.id.as_str(), like.as_ref());
            like = Some(Arc::clone(&agent.rules));
        }
        if self.config.registry.sources != before.registry.sources {
            self.roster.change(&self.config.registry.sources, now.mono);
            self.take_claims(now);
        }
        self.end_orphaned_alerts(now);
        self.outcome.changed = true;
    }

    /// Writes down totals and last observations, from which another daemon would go on.
    fn write_down(&mut self, now: Now) {
        for index in self.agents.indices() {
            let agent = &mut self.agents[index];
            let Some(root) = agent.root() else { continue };
            if let Some(run) = &mut agent.run {
                // So that a kill of long ago, of another process of that cgroup, is not taken for this one's.
                run.oom_kills = self.processes.oom_kills(root);
            }
            self.write_agent(index, now);
            self.write_run(index);
        }
        let leftovers = self.all_leftovers();
        self.outcome.batch.leftovers.extend(leftovers);
        // Also of those whose members could not be read just now: what they used goes on from what was read last.
        self.outcome.unsaved.extend(self.forest.agents());
        self.write_host();
    }
}

/// Counts a read that failed, other than by the end of its process.
fn count_failure(own: &mut OwnState, error: &ReadError) {
    let denied = matches!(error, ReadError::Denied { .. });
    *(if denied { &mut own.reads_denied } else { &mut own.read_errors }) += 1;
}
