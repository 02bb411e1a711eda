//! Gives the page a past to show: thirty days of five agents on a machine that exists only in memory, watched by the
//! monitor and stored by the writer of the real daemon.
//!
//! ```text
//! past STATE-DIRECTORY REGISTRY-FILE
//! ```
#![allow(clippy::unwrap_used, reason = "it has nobody to tell")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use agent_monitor::clock::{Clock, ManualClock, SystemClock};
use agent_monitor::config::{Config, Directories, Source};
use agent_monitor::model::{
    AgentId, EventReport, ExitStatus, JsonObject, Pid, Record, Report, Resume, StartGuard, Submission,
};
use agent_monitor::monitor::{Answer, Effect, Input, Monitor, SourceReading};
use agent_monitor::store::{self, Op, StateLock, WriteHandle};
use agent_monitor::testing::Host;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// Until then samples are a minute apart; after it a second, as those of the daemon that goes on.
const CLOSELY: u64 = MINUTES - 2 * 60;
const MINUTES: u64 = 30 * 24 * 60;
const MIB: f64 = 1_048_576.0;
/// So many operations go to the writer before it is waited for.
const AT_ONCE: u64 = 100;

/// The machine was suspended then: from which minute, for how many.
const AWAY: (u64, u64) = (MINUTES - 4 * 1440 + 90, 400);

/// One of the agents. Their ids are those of `scene.js`.
struct Agent {
    id: &'static str,
    pid: Pid,
    /// When this run began.
    since: u64,
    /// How much it does now, 0 to 1.
    activity: f64,
}

/// Numbers without a pattern, the same in each run (Knuth's MMIX).
struct Random(u64);

impl Random {
    /// From 0 to 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from(u32::try_from(self.0 >> 33).unwrap()) / f64::from(1u32 << 31)
    }
}

impl Agent {
    /// What it does in this minute: processor seconds, and memory in MiB.
    fn works(&mut self, minute: u64, random: &mut Random) -> (f64, f64) {
        #[expect(clippy::cast_precision_loss, reason = "minutes of a month")]
        let (hour, age) = ((minute % 1440) as f64 / 60.0, (minute - self.since) as f64);
        // Busiest three hours before now, each day.
        let from_noon = ((hour - 21.0).abs()).min(24.0 - (hour - 21.0).abs());
        let by_day = (-(from_noon / 4.5).powi(2)).exp();
        let noise = random.next();
        // What it does goes on for a while, and ends sooner than it began.
        let wanted = match self.id {
            "coder" => by_day * (0.3 + 0.9 * noise),
            "tester" if (2.0..3.5).contains(&hour) => 0.8 + 0.2 * noise,
            "tester" => 0.05 * noise,
            "reviewer" => by_day * noise * noise * 0.7,
            _ => 0.1 + 0.1 * noise,
        };
        self.activity += (wanted - self.activity) * 0.25;
        let (cpu, memory) = match self.id {
            "coder" => (50.0, 22.0 + 30.0 * self.activity),
            "tester" => (110.0, 14.0 + 60.0 * self.activity),
            "indexer" => (12.0, 30.0 + age * 0.068 + 2.0 * noise),
            "reviewer" => (30.0, 18.0 + 12.0 * self.activity),
            _ => (4.0, 12.0 + noise),
        };
        (cpu * self.activity, memory)
    }

    /// How its run ends in this minute, if it does.
    fn end(&self, minute: u64) -> Option<ExitStatus> {
        let (age, last) = (minute - self.since, MINUTES - minute);
        match self.id {
            "indexer" if age == 26 * 60 => Some(ExitStatus::Signal(15)),
            "planner" if [21 * 1440, 5 * 1440 + 300, 2 * 1440 + 700].contains(&last) => Some(ExitStatus::Signal(9)),
            "coder" if age == 5 * 1440 => Some(ExitStatus::Code(0)),
            _ => None,
        }
    }

    /// For how many minutes it is away when its run has ended.
    fn pause(&self) -> u64 {
        if self.id == "planner" { 25 } else { 1 }
    }
}

fn main() {
    let mut words = std::env::args_os().skip(1).map(PathBuf::from);
    let (directory, registry) = (words.next().unwrap(), words.next().unwrap());
    std::fs::create_dir_all(&directory).unwrap();

    let end = SystemClock.now().wall;
    let clock = Arc::new(ManualClock::new(end - MINUTE * u32::try_from(MINUTES).unwrap()));
    let mut config = Config::defaults(&Directories { state: directory.clone(), runtime: directory.clone() });
    config.registry.sources = vec![Source::File { path: registry }];
    let closely = Arc::new(at_interval(&config, SECOND));
    let opened = store::open(StateLock::acquire(&directory).unwrap(), Box::new(|_| ())).unwrap();
    let writer = std::thread::spawn(move || opened.writer.run());
    let host = Host::new(Arc::clone(&clock));
    let mut history = History {
        monitor: Monitor::new(Arc::new(at_interval(&config, MINUTE)), host.source(), Resume::default(), clock.now()),
        store: opened.handle,
        submitted: 0,
        clock,
    };
    pass_days(&mut history, &host, &closely);
    drop(history);
    writer.join().unwrap();
}

fn at_interval(config: &Config, interval: Duration) -> Config {
    let mut config = config.clone();
    config.sampling.interval = interval;
    config.alerts.interval = MINUTE;
    config
}

fn pass_days(history: &mut History, host: &Host, closely: &Arc<Config>) {
    let ids = ["coder", "indexer", "reviewer", "planner", "tester"];
    let mut agents = ids.map(|id| Agent { id, pid: host.start(id), since: 0, activity: 0.0 });
    let mut random = Random(1);
    for minute in 0..MINUTES {
        if (AWAY.0..AWAY.0 + AWAY.1).contains(&minute) {
            history.clock.advance(MINUTE);
            continue;
        }
        if minute == CLOSELY {
            history.tell(Input::Settings(Arc::clone(closely)));
        }
        let mut burning = Vec::new();
        for agent in &mut agents {
            if minute < agent.since {
                continue;
            }
            if minute == agent.since && minute > 0 {
                agent.pid = host.start(agent.id);
            }
            if let Some(status) = agent.end(minute) {
                host.finish(agent.pid, status);
                agent.since = minute + agent.pause();
                continue;
            }
            let (cpu, memory) = agent.works(minute, &mut random);
            burning.push((agent.pid, cpu));
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some MiB")]
            host.set_memory(agent.pid, (memory * MIB) as u64);
        }
        let records = agents.iter().map(|agent| Arc::new(record(agent.id, agent.pid))).collect();
        let reading = Ok(SourceReading { records, skipped: Vec::new() });
        history.tell(Input::Source { index: 0, reading });
        if minute % 400 == 399 {
            history.tell(task(minute / 400));
        }
        let steps = if minute < CLOSELY { 1 } else { 60 };
        for _ in 0..steps {
            for (pid, cpu) in &burning {
                host.burn(*pid, Duration::from_secs_f64(*cpu) / steps);
            }
            history.pass(MINUTE / steps);
        }
    }
}

fn record(id: &str, pid: Pid) -> Record {
    Record {
        id: AgentId::new(id).unwrap(),
        name: None,
        pid: Some(pid),
        pid_namespace: None,
        status: Some("online".into()),
        guard: StartGuard::default(),
        message_count: None,
        metadata: JsonObject::default(),
    }
}

/// What the coder tells of its work.
fn task(number: u64) -> Input {
    let report = EventReport {
        event_type: "task".into(),
        message: format!("Finished task {number}").into(),
        metadata: JsonObject::default(),
    };
    let submission = Submission::new(AgentId::new("coder").unwrap(), Report::Event(report));
    Input::Report { submission, reply: Answer::new(drop) }
}

/// The monitor in a time of its own, and where what it says is kept.
struct History {
    monitor: Monitor,
    store: WriteHandle,
    submitted: u64,
    clock: Arc<ManualClock>,
}

impl History {
    fn tell(&mut self, input: Input) {
        let effects = self.monitor.handle(input, self.clock.now());
        self.perform(effects);
    }

    /// Lets time pass, in which the monitor does what is due.
    fn pass(&mut self, span: Duration) {
        let end = self.clock.now().mono + span;
        while self.clock.now().mono < end {
            let due = self.monitor.next_due().min(end);
            self.clock.advance(due.since(self.clock.now().mono));
            let effects = self.monitor.step(self.clock.now());
            self.perform(effects);
        }
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            let op = match effect {
                Effect::Store { batch, reply } => Op::Store { batch, reply },
                Effect::Prune { limits } => Op::Prune { limits, now: self.clock.now() },
                Effect::Publish(_) => continue,
            };
            self.store.submit(op).unwrap();
            self.submitted += 1;
            if self.submitted.is_multiple_of(AT_ONCE) {
                let (tell, told) = sync_channel(1);
                self.store.submit(Op::Flush { answer: Answer::new(move |()| tell.send(()).unwrap()) }).unwrap();
                told.recv().unwrap();
            }
        }
    }
}
