//! Lets a world go by under the eyes of a monitor, and holds what that says against the truth.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_monitor::clock::{Clock, ManualClock};
use agent_monitor::model::{AgentId, Batch, Mono, Pid, ProcessKey, ProcessView, Resume, Snapshot, Timestamp};
use agent_monitor::monitor::{AgentDetail, Answer, Effect, Input, Monitor, SourceReading};

use super::bench::shared::resume;
use super::bench::{SECOND, config, record};
use super::mistakes::{Mistake, Onlooker};
use super::world::World;

/// How many moments a world has.
const MOMENTS: u64 = 60;

/// How many agents there may be.
const AGENTS: usize = 5;

struct Agent {
    id: String,
    clan: usize,
    /// The life that its registry names, and its number.
    root: usize,
    pid: Pid,
    /// What was shown last.
    cpu_us: u64,
    left_us: u64,
}

struct Drive {
    clock: Arc<ManualClock>,
    world: Arc<Mutex<World>>,
    monitor: Monitor,
    agents: Vec<Agent>,
    snapshot: Option<Arc<Snapshot>>,
    last_pass: Option<Mono>,
    mistake: Mistake,
    /// What was stored.
    stored: Vec<Batch>,
    /// Whether a root ended: its leftovers' storage is not shown.
    left: bool,
}

/// Goes through one world.
pub(crate) fn drive(seed: u64, mistake: Mistake) -> Result<(), String> {
    drive_telling(seed, mistake, None).0
}

/// What happens in a world, line by line.
pub(crate) fn story(seed: u64) -> String {
    drive_telling(seed, Mistake::None, Some(Vec::new())).1.join("\n")
}

fn drive_telling(seed: u64, mistake: Mistake, story: Option<Vec<String>>) -> (Result<(), String>, Vec<String>) {
    let clock = Arc::new(ManualClock::new(Timestamp::from_unix_ms(1_767_225_600_000)));
    let mut world = World::new(seed, Arc::clone(&clock));
    world.story = story;
    let kind = world.kind;
    let world = Arc::new(Mutex::new(world));
    let source = Onlooker::of(&world, &Arc::default(), mistake);
    let monitor = Monitor::new(Arc::new(config(SECOND)), source, Resume::default(), clock.now());
    let mut drive = Drive {
        clock,
        world,
        monitor,
        agents: Vec::new(),
        snapshot: None,
        last_pass: None,
        mistake,
        stored: Vec::new(),
        left: false,
    };
    drive.clock.advance(SECOND);
    let outcome = drive.go().map_err(|wrong| format!("{wrong} ({kind:?})"));
    let story = drive.world().story.take();
    (outcome, story.unwrap_or_default())
}

impl Drive {
    fn go(&mut self) -> Result<(), String> {
        for _ in 0..3 {
            self.world().start();
        }
        self.new_agent()?;
        for _ in 0..MOMENTS {
            let acts = self.world().chance.below(8);
            for _ in 0..acts {
                self.world().act();
            }
            match self.world_roll(30) {
                0 | 1 if self.agents.len() < AGENTS => self.new_agent()?,
                2 | 3 => self.end_an_agent(),
                4 | 5 => self.replace_an_agent()?,
                6 | 7 if self.world().kind.restarts => self.restart()?,
                _ => {}
            }
            let span = [10, 100, 300, 500, 1_000, 1_500, 2_500][usize::try_from(self.world_roll(7)).unwrap()];
            self.clock.advance(Duration::from_millis(span));
            self.step(true)?;
        }
        // What is on its way arrives at the next two readings; storage is read every ten seconds.
        for _ in 0..24 {
            self.clock.advance(SECOND);
            self.step(false)?;
        }
        self.is_complete()
    }

    fn world(&self) -> std::sync::MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    fn world_roll(&self, below: u64) -> u64 {
        self.world().chance.below(below)
    }

    /// One step of the monitor, in a world that goes on meanwhile or holds its breath.
    fn step(&mut self, awake: bool) -> Result<(), String> {
        self.world().awake = awake;
        self.world().tell(|_| "the monitor looks".to_owned());
        let effects = self.monitor.step(self.clock.now());
        self.world().awake = false;
        self.perform(effects);
        let last_pass = self.snapshot.as_ref().and_then(|snapshot| snapshot.own.last_tick_mono);
        if last_pass != self.last_pass {
            self.last_pass = last_pass;
            self.world().passes += 1;
            self.world().tell(|world| format!("pass {} is over", world.passes));
        }
        self.is_true()
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Publish(snapshot) => self.snapshot = Some(snapshot),
                Effect::Store { batch, .. } => self.stored.push(batch),
                Effect::Prune { .. } => {}
            }
        }
    }

    /// Another daemon goes on, after an orderly end or a kill, and the world went on meanwhile.
    fn restart(&mut self) -> Result<(), String> {
        let how = self.world_roll(3);
        self.world().tell(|_| {
            format!(
                "the daemon ends: {}",
                ["in order", "killed", "killed before it stored"][usize::try_from(how).unwrap()]
            )
        });
        match how {
            0 => {
                let effects = self.monitor.stop(self.clock.now());
                self.perform(effects);
            }
            // What its leftovers used in the last minute is known only as far as they live.
            1 => self.agents.iter_mut().for_each(|agent| agent.left_us = 0),
            // It was killed before it had stored what it showed last.
            _ => {
                self.stored.pop();
                self.agents.iter_mut().for_each(|agent| (agent.cpu_us, agent.left_us) = (0, 0));
            }
        }
        let acts = self.world_roll(12);
        for _ in 0..acts {
            self.world().act();
        }
        self.world().tell(|_| "another daemon begins".to_owned());
        let away = 10 + self.world_roll(2_000);
        self.clock.advance(Duration::from_millis(away));
        let source = Onlooker::of(&self.world, &Arc::default(), self.mistake);
        let resume = self.mistake.spoil(resume(&self.stored));
        self.world().awake = true;
        self.monitor = Monitor::new(Arc::new(config(SECOND)), source, resume, self.clock.now());
        self.world().awake = false;
        if self.world_roll(2) == 0 {
            self.step(true)?;
        }
        self.register()
    }

    /// The registry says what it says now.
    fn register(&mut self) -> Result<(), String> {
        let claimed = self.agents.iter().map(|agent| record(&agent.id, "online", Some(agent.pid)));
        let records = claimed.map(Arc::new).collect();
        self.world().tell(|_| {
            let said = self.agents.iter().map(|agent| format!("{} is {}", agent.id, agent.pid));
            format!("the registry says: {}", said.collect::<Vec<_>>().join(", "))
        });
        let reading = Ok(SourceReading { records, skipped: Vec::new() });
        let effects = self.monitor.handle(Input::Source { index: 0, reading }, self.clock.now());
        self.perform(effects);
        // What burns between the claim and the first reading is nobody's: a tame world waits for that.
        let tame = self.world().kind.tame;
        self.step(!tame)?;
        for _ in 0..if tame { 3 } else { 0 } {
            self.clock.advance(SECOND);
            self.step(false)?;
        }
        Ok(())
    }

    /// An agent begins: a new process of a stranger's, a stranger with all it has started, or, in a nested world,
    /// somebody in another agent's tree.
    fn new_agent(&mut self) -> Result<(), String> {
        let id = format!("agent-{}", self.agents.len());
        let Some((root, clan)) = self.choose_root(None, None) else { return Ok(()) };
        let pid = self.world().lives[root].pid;
        self.world().roots.insert(root);
        self.agents.push(Agent { id, clan, root, pid, cpu_us: 0, left_us: 0 });
        self.register()
    }

    fn choose_root(&mut self, clan: Option<usize>, not: Option<Pid>) -> Option<(usize, usize)> {
        let taken = |who| self.agents.iter().any(|agent| agent.root == who);
        self.world().choose_root(clan, not, taken)
    }

    fn end_an_agent(&mut self) {
        let count = u64::try_from(self.agents.len()).unwrap();
        let root = self.agents[usize::try_from(self.world_roll(count)).unwrap()].root;
        let mut world = self.world();
        if world.lives[root].ended.is_none() {
            world.end(root);
        }
    }

    /// An agent's registry names another process: its own has ended, or is left behind alive.
    fn replace_an_agent(&mut self) -> Result<(), String> {
        let count = u64::try_from(self.agents.len()).unwrap();
        let place = usize::try_from(self.world_roll(count)).unwrap();
        let clan = self.agents[place].clan;
        let not = Some(self.agents[place].pid);
        let Some((root, _)) = self.choose_root(Some(clan), not) else { return Ok(()) };
        let pid = self.world().lives[root].pid;
        self.world().roots.insert(root);
        self.agents[place].root = root;
        self.agents[place].pid = pid;
        self.left = true;
        self.register()
    }

    /// Everything that is shown is possible.
    fn is_true(&mut self) -> Result<(), String> {
        let Some(snapshot) = self.snapshot.clone() else { return Ok(()) };
        let mut world = self.world.lock().unwrap();
        let mut charged = vec![0; world.burned_us.len()];
        let mut read = charged.clone();
        for agent in &mut self.agents {
            let Some(view) = snapshot.agents.iter().find(|view| view.id.as_str() == agent.id) else { continue };
            let (cpu_us, left_us) = (view.metrics.cpu_us.unwrap_or(agent.cpu_us), view.leftovers.cpu_us);
            if cpu_us < agent.cpu_us || left_us < agent.left_us {
                let (was, of_left) = (agent.cpu_us, agent.left_us);
                return Err(format!(
                    "{}: {was} µs and {of_left} of leftovers fell to {cpu_us} and {left_us}",
                    agent.id
                ));
            }
            if (agent.cpu_us, agent.left_us) != (cpu_us, left_us) {
                world.tell(|_| format!("{} is shown with {cpu_us} and {left_us} of leftovers", agent.id));
            }
            (agent.cpu_us, agent.left_us) = (cpu_us, left_us);
            charged[agent.clan] += cpu_us + left_us;
            read[agent.clan] += view.metrics.io.map_or(0, |io| io.read_bytes);
        }
        for (clan, burned) in world.burned_us.iter().enumerate() {
            if charged[clan] > *burned || read[clan] > *burned {
                let (charged, read) = (charged[clan], read[clan]);
                return Err(format!("clan {clan} burned {burned}: {charged} µs and {read} bytes are charged"));
            }
        }
        drop(world);
        let mut owners: BTreeMap<ProcessKey, &str> = BTreeMap::new();
        for agent in &self.agents {
            for process in members(&mut self.monitor, &agent.id, self.clock.as_ref()) {
                if let Some(other) = owners.insert(process, &agent.id) {
                    return Err(format!("process {} is {other}'s and {}'s", process.pid, agent.id));
                }
            }
        }
        Ok(())
    }

    /// All that could be known is shown, now that nothing happens any more.
    fn is_complete(&mut self) -> Result<(), String> {
        let world = self.world.lock().unwrap();
        let mut charged = vec![0; world.burned_us.len()];
        let mut read = charged.clone();
        for agent in &self.agents {
            charged[agent.clan] += agent.cpu_us + agent.left_us;
            for ProcessKey { pid, .. } in members(&mut self.monitor, &agent.id, self.clock.as_ref()) {
                let clan = world.at(pid).and_then(|life| life.clan);
                if clan != Some(agent.clan) {
                    return Err(format!("process {pid} of clan {clan:?} is taken for {}'s", agent.id));
                }
            }
            let view = self.snapshot.as_ref().unwrap().agents.iter().find(|view| view.id.as_str() == agent.id);
            read[agent.clan] += view.and_then(|view| view.metrics.io).map_or(0, |io| io.read_bytes);
        }
        if world.kind.tame && charged != world.burned_us {
            return Err(format!("{charged:?} µs are charged of {:?}, all waited for", world.burned_us));
        }
        let roots_live = self.agents.iter().all(|agent| world.lives[agent.root].ended.is_none());
        if world.kind.tame && roots_live && !self.left && read != world.burned_us {
            return Err(format!("{read:?} bytes are charged of {:?}, all waited for", world.burned_us));
        }
        Ok(())
    }
}

/// The processes that are shown as an agent's, its leftovers included.
fn members(monitor: &mut Monitor, id: &str, clock: &dyn Clock) -> Vec<ProcessKey> {
    let (tell, told) = std::sync::mpsc::channel();
    let answer = Answer::new(move |detail: Option<AgentDetail>| tell.send(detail).unwrap());
    let now = clock.now();
    monitor.handle(Input::Inspect { agent: AgentId::new(id).unwrap(), answer }, now);
    let Some(detail) = told.recv().unwrap() else { return Vec::new() };
    let key = |process: &ProcessView| {
        let age = u64::try_from(now.wall.since(process.started_at).as_nanos()).unwrap();
        ProcessKey { start_ticks: (now.mono.0 - age) / 10_000_000, pid: process.pid }
    };
    detail.processes.iter().map(key).chain(detail.leftovers.iter().map(|leftover| leftover.process)).collect()
}
