//! The heart, driven by a loop on a machine and a clock that exist only in memory.
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "heart/host.rs"]
mod host;
#[path = "heart/memory.rs"]
mod memory;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agent_monitor::clock::{Clock, ManualClock};
use agent_monitor::config::{
    Alerts, Api, Config, Ingest, Log, LogFormat, LogLevel, Messages, Registry, Sampling, Source, Storage,
};
use agent_monitor::model::{
    AgentId, AgentView, Batch, Body, Condition, ExitStatus, JsonObject, LeftoverRow, MemoryMethod, Metric, Observed,
    Pid, Record, Resume, ResumedAgent, Rule, RunRow, Severity, Snapshot, StartGuard, StoredAgent, StoredAlert,
    Timestamp,
};
use agent_monitor::monitor::{Effect, Input, Monitor, SourceReading};
use agent_monitor::testing::Host;

const SECOND: Duration = Duration::from_secs(1);

/// A machine, a monitor that watches it, and everything the monitor wanted stored.
struct Bench {
    clock: Arc<ManualClock>,
    host: Host,
    monitor: Monitor,
    config: Arc<Config>,
    stored: Vec<Batch>,
    snapshot: Option<Arc<Snapshot>>,
}

fn rule(name: &str, condition: Condition, hold: Duration, severity: Severity) -> Rule {
    let repeat = Duration::from_secs(4 * 3600);
    Rule { name: name.into(), condition, hold, severity, repeat, agents: Vec::new(), enabled: true }
}

fn config(interval: Duration) -> Config {
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

fn record(id: &str, status: &str, pid: Option<Pid>) -> Record {
    Record {
        id: AgentId::new(id).unwrap(),
        name: None,
        pid,
        status: Some(status.into()),
        guard: StartGuard::default(),
        message_count: None,
        metadata: JsonObject::default(),
    }
}

impl Bench {
    fn new(interval: Duration) -> Bench {
        Bench::with(config(interval))
    }

    fn with(config: Config) -> Bench {
        // 2026-01-01T00:00:00Z
        let clock = Arc::new(ManualClock::new(Timestamp::from_unix_ms(1_767_225_600_000)));
        let host = Host::new(Arc::clone(&clock));
        let config = Arc::new(config);
        let monitor = Monitor::new(Arc::clone(&config), host.source(), Resume::default(), clock.now());
        let bench = Bench { clock, host, monitor, config, stored: Vec::new(), snapshot: None };
        bench.clock.advance(SECOND);
        bench
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

    fn step(&mut self) {
        let effects = self.monitor.step(self.clock.now());
        self.perform(effects);
    }

    fn registry(&mut self, records: Vec<Record>) {
        let reading = Ok(SourceReading { records: records.into(), skipped: Vec::new() });
        let effects = self.monitor.handle(Input::Source { index: 0, reading }, self.clock.now());
        self.perform(effects);
        self.step();
    }

    /// Lets time pass, calling the monitor whenever something is due, as the engine does.
    fn pass(&mut self, span: Duration) {
        let end = self.clock.now().mono + span;
        while self.clock.now().mono < end {
            let due = self.monitor.next_due().min(end);
            self.clock.advance(due.since(self.clock.now().mono));
            self.step();
        }
    }

    fn agent(&self, id: &str) -> Arc<AgentView> {
        let snapshot = self.snapshot.as_ref().expect("something was published");
        let found = snapshot.agents.iter().find(|agent| agent.id.as_str() == id);
        Arc::clone(found.unwrap_or_else(|| panic!("{id} is not in the lists")))
    }

    fn events(&self) -> Vec<(String, String)> {
        let entries = self.stored.iter().flat_map(|batch| &batch.entries);
        entries
            .filter_map(|entry| match &entry.body {
                Body::Event(event) => Some((event.event_type.to_string(), event.message.to_string())),
                _ => None,
            })
            .collect()
    }

    fn alerts(&self) -> Vec<(String, bool)> {
        let entries = self.stored.iter().flat_map(|batch| &batch.entries);
        entries
            .filter_map(|entry| match &entry.body {
                Body::Alert(note) => Some((note.rule.to_string(), note.is_firing())),
                _ => None,
            })
            .collect()
    }

    fn leftover_rows(&self) -> Vec<LeftoverRow> {
        self.stored.iter().flat_map(|batch| &batch.leftovers).cloned().collect()
    }

    fn cpu_seconds(&self, id: &str) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "seconds in a test")]
        let seconds = self.agent(id).metrics.cpu_us.expect("known") as f64 / 1e6;
        seconds
    }

    /// Ends this monitor as SIGKILL would, and starts another from what was stored.
    fn restart(&mut self) {
        let resume = resume(&self.stored);
        self.monitor = Monitor::new(Arc::clone(&self.config), self.host.source(), resume, self.clock.now());
    }
}

/// What a store would give back: the last row of everything.
fn resume(stored: &[Batch]) -> Resume {
    let mut agents: BTreeMap<u32, StoredAgent> = BTreeMap::new();
    let mut runs: BTreeMap<u32, RunRow> = BTreeMap::new();
    let mut alerts: BTreeMap<_, StoredAlert> = BTreeMap::new();
    let mut leftovers: BTreeMap<_, LeftoverRow> = BTreeMap::new();
    let mut sampled: BTreeMap<u32, u64> = BTreeMap::new();
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
            sampled.extend(sample.metrics.cpu_us.map(|us| (sample.agent.get(), us)));
        }
        for leftover in &batch.leftovers {
            leftovers.insert((leftover.agent, leftover.process), leftover.clone());
        }
        for alert in &batch.alerts {
            alerts.insert(alert.key.clone(), alert.clone());
        }
    }
    let agents = agents.into_values().map(|agent| ResumedAgent {
        run: runs.remove(&agent.number.get()),
        sampled_cpu_us: sampled.get(&agent.number.get()).copied(),
        sampled_io: None,
        unresolved: 0,
        agent,
    });
    let leftovers = leftovers.into_values().filter(|leftover| leftover.ended_at.is_none()).collect();
    let alerts = alerts.into_values().collect();
    Resume { last_tick, leftovers, agents: agents.collect(), alerts, ..Resume::default() }
}

fn killed() -> ExitStatus {
    ExitStatus::Signal(9)
}

#[test]
fn a_new_agent_has_a_rate_within_a_second() {
    let mut bench = Bench::new(10 * SECOND);
    let pid = bench.host.start("agent");
    bench.registry(vec![record("a", "busy", Some(pid))]);
    let first = bench.agent("a");
    assert_eq!((first.state, &*first.status, first.metrics.cpu_percent), (Observed::Running, "busy", None));
    bench.host.burn(pid, Duration::from_millis(250));
    bench.pass(Duration::from_millis(600));
    assert_eq!(bench.agent("a").metrics.cpu_percent, Some(50.0));
    assert_eq!(bench.events(), [("started".to_owned(), format!("process {pid} (agent) is running"))]);
}

#[test]
fn a_daemon_knows_how_things_are_from_its_first_step_on() {
    let mut bench = Bench::new(3600 * SECOND);
    bench.step();
    let snapshot = bench.snapshot.as_ref().unwrap();
    assert!(snapshot.own.last_tick_mono.is_some(), "else it is not ready for an hour");
    assert_eq!(snapshot.host.cpu_count, Some(2));
}

#[test]
fn a_claim_that_an_agent_ended_while_it_runs_is_told_once_a_run() {
    let mut bench = Bench::new(10 * SECOND);
    let pid = bench.host.start("agent");
    let say = |status: &str| vec![record("a", status, Some(pid))];
    let denials = |bench: &Bench| bench.events().iter().filter(|(_, text)| text.starts_with("said to be")).count();
    bench.registry(say("online"));
    bench.pass(20 * SECOND);
    bench.registry(say("stopped"));
    bench.pass(9 * SECOND);
    assert_eq!(denials(&bench), 0, "it may be about to end");
    bench.registry(say("online"));
    bench.pass(20 * SECOND);
    bench.registry(say("stopped"));
    bench.pass(60 * SECOND);
    let told = format!("said to be stopped, but process {pid} runs");
    assert_eq!(bench.events().last().unwrap(), &("warning".to_owned(), told.clone()));
    assert_eq!(denials(&bench), 1);
    let agent = bench.agent("a");
    assert_eq!(
        (&*agent.status, agent.state, agent.state_reason.as_deref()),
        ("stopped", Observed::Running, Some(&*told))
    );
    bench.registry(say("online"));
    bench.pass(20 * SECOND);
    bench.registry(say("stopped"));
    bench.pass(60 * SECOND);
    bench.restart();
    bench.registry(say("stopped"));
    bench.pass(60 * SECOND);
    assert_eq!(denials(&bench), 1, "once a run, whatever happens to the daemon");
    let again = bench.host.start("agent");
    bench.registry(vec![record("a", "stopped", Some(again))]);
    bench.pass(60 * SECOND);
    assert_eq!(denials(&bench), 2, "another run");
}

#[test]
fn a_claim_that_moves_on_leaves_the_old_process_behind() {
    let mut bench = Bench::new(10 * SECOND);
    let (first, second) = (bench.host.start("agent"), bench.host.start("agent"));
    bench.registry(vec![record("a", "online", Some(first)), record("b", "online", Some(second))]);
    bench.pass(20 * SECOND);
    // To a process that another agent has.
    bench.registry(vec![record("a", "online", Some(second)), record("b", "online", Some(second))]);
    bench.pass(20 * SECOND);
    let agent = bench.agent("a");
    assert_eq!(agent.state_reason.as_deref(), Some(&*format!("shares process {second} with b")));
    assert_eq!((agent.metrics.cpu_percent, agent.metrics.process_count), (None, None), "resources are the owner's");
    assert_eq!(agent.leftovers.process_count, 1);
    // Both at once to what the other one has.
    bench.registry(vec![record("a", "online", Some(second)), record("b", "online", Some(first))]);
    bench.pass(20 * SECOND);
    assert_eq!((bench.agent("a").state_reason.clone(), bench.agent("b").state_reason.clone()), (None, None));
    assert_eq!(bench.agent("a").metrics.process_count, Some(1));
    // To one that is not there.
    bench.registry(vec![record("a", "online", Pid::new(4_000)), record("b", "online", Some(first))]);
    bench.pass(20 * SECOND);
    let agent = bench.agent("a");
    assert_eq!((agent.state, agent.metrics.process_count, agent.leftovers.process_count), (Observed::Exited, None, 1));
    let runs: Vec<_> = bench.stored.iter().flat_map(|batch| &batch.runs).collect();
    assert!(runs.iter().filter(|run| run.agent == agent.number).all(|run| run.end.is_some() || run.cpu_us == 0));
}

#[test]
fn the_monitor_itself_is_in_no_tree() {
    let mut bench = Bench::new(10 * SECOND);
    let shell = bench.host.start("shell");
    let own = bench.host.fork(shell);
    let helper = bench.host.fork(own);
    bench.host.set_own(own);
    let resume = Resume::default();
    bench.monitor = Monitor::new(Arc::clone(&bench.config), bench.host.source(), resume, bench.clock.now());
    bench.registry(vec![record("outer", "online", Some(shell)), record("own", "online", Some(own))]);
    bench.host.burn(own, 7 * SECOND);
    bench.host.burn(helper, 7 * SECOND);
    bench.host.burn(shell, SECOND);
    bench.pass(20 * SECOND);
    assert_eq!(bench.agent("outer").metrics.process_count, Some(1));
    assert_eq!(bench.cpu_seconds("outer"), 1.0);
    let ourselves = bench.agent("own");
    assert_eq!((&*ourselves.status, ourselves.state, ourselves.metrics.cpu_us), ("online", Observed::Running, None));
    assert!(ourselves.state_reason.as_deref().unwrap().contains("agent-monitor itself"));
    // A program that embeds the monitor starts its agents itself.
    bench.registry(vec![record("outer", "online", Some(shell)), record("inner", "online", Some(helper))]);
    bench.host.burn(helper, 2 * SECOND);
    bench.pass(20 * SECOND);
    assert_eq!((bench.cpu_seconds("outer"), bench.cpu_seconds("inner")), (1.0, 2.0));
}

#[test]
fn an_alert_waits_for_a_registry_that_was_not_read_yet() {
    let mut bench = Bench::new(10 * SECOND);
    let pid = bench.host.start("agent");
    let claim = || vec![record("a", "online", Some(pid))];
    bench.registry(claim());
    bench.pass(20 * SECOND);
    bench.host.finish(pid, killed());
    bench.pass(20 * SECOND);
    bench.registry(claim());
    bench.pass(30 * SECOND);
    assert_eq!(bench.alerts(), [("agent_down".to_owned(), true)]);
    bench.restart();
    bench.pass(60 * SECOND);
    assert_eq!(bench.snapshot.as_ref().unwrap().alerts.len(), 1);
    bench.registry(claim());
    bench.pass(60 * SECOND);
    assert_eq!(bench.alerts(), [("agent_down".to_owned(), true)], "told once");
    bench.registry(Vec::new());
    bench.pass(60 * SECOND);
    assert_eq!(bench.alerts().last(), Some(&("agent_down".to_owned(), false)));
}

#[test]
fn a_tree_is_charged_for_children_that_no_tick_saw() {
    let mut bench = Bench::new(10 * SECOND);
    let pid = bench.host.start("agent");
    bench.registry(vec![record("a", "online", Some(pid))]);
    bench.pass(5 * SECOND);
    let child = bench.host.fork(pid);
    bench.host.burn(child, Duration::from_millis(500));
    bench.host.finish(child, ExitStatus::Code(0));
    bench.pass(10 * SECOND);
    assert_eq!(bench.cpu_seconds("a"), 0.5);
}

#[test]
fn what_a_process_burned_before_it_was_known_is_nobodys() {
    let mut bench = Bench::new(10 * SECOND);
    let pid = bench.host.start("agent");
    let child = bench.host.fork(pid);
    bench.host.burn(pid, 100 * SECOND);
    bench.host.burn(child, 100 * SECOND);
    bench.pass(20 * SECOND);
    bench.registry(vec![record("a", "online", Some(pid))]);
    bench.pass(20 * SECOND);
    assert_eq!(bench.cpu_seconds("a"), 0.0);
    assert_eq!(bench.agent("a").metrics.process_count, Some(2));
}

#[test]
fn a_member_stays_the_agents_when_its_parent_ends() {
    let mut bench = Bench::new(10 * SECOND);
    let pid = bench.host.start("agent");
    bench.registry(vec![record("a", "online", Some(pid))]);
    let shell = bench.host.fork(pid);
    let worker = bench.host.fork(shell);
    bench.pass(10 * SECOND);
    bench.host.finish(shell, ExitStatus::Code(0));
    bench.pass(10 * SECOND);
    bench.host.burn(worker, 3 * SECOND);
    let grandchild = bench.host.fork(worker);
    bench.host.burn(grandchild, SECOND);
    bench.pass(10 * SECOND);
    assert_eq!(bench.agent("a").metrics.process_count, Some(3));
    assert_eq!(bench.cpu_seconds("a"), 4.0);
}

#[test]
fn a_killed_agent_is_offline_at_once_and_down_after_its_time() {
    let mut bench = Bench::new(10 * SECOND);
    let pid = bench.host.start("agent");
    let claim = || vec![record("a", "online", Some(pid))];
    bench.registry(claim());
    bench.pass(30 * SECOND);
    bench.host.burn(pid, SECOND);
    bench.host.end(pid, killed());
    bench.step();
    let zombie = bench.agent("a");
    assert_eq!(
        (&*zombie.status, zombie.state, zombie.registry_status.as_deref()),
        ("offline", Observed::Zombie, Some("online"))
    );
    assert_eq!(bench.cpu_seconds("a"), 1.0, "a zombie's last counters are read");
    assert_eq!(bench.events().last().unwrap(), &("error".to_owned(), format!("process {pid} ended: SIGKILL")));
    bench.host.reap(pid);
    bench.pass(10 * SECOND);
    let gone = bench.agent("a");
    assert_eq!((gone.state, gone.metrics.cpu_percent, gone.metrics.memory_bytes), (Observed::Exited, None, None));
    assert_eq!(gone.state_reason.as_deref(), Some(&*format!("process {pid} ended (SIGKILL)")));
    bench.pass(60 * SECOND);
    assert_eq!(bench.alerts(), [], "its registry has not been read since");
    for _ in 0..3 {
        bench.registry(claim());
        bench.pass(10 * SECOND);
    }
    assert_eq!(bench.alerts(), [("agent_down".to_owned(), true)]);
    assert_eq!(bench.agent("a").alerts, ["agent_down".into()]);
    let again = bench.host.start("agent");
    bench.registry(vec![record("a", "online", Some(again))]);
    bench.pass(20 * SECOND);
    assert_eq!(bench.alerts().last(), Some(&("agent_down".to_owned(), false)));
    let back = bench.agent("a");
    assert_eq!((back.state, back.restarts), (Observed::Running, 1));
    assert_eq!(bench.cpu_seconds("a"), 1.0, "its history goes on");
}

#[test]
fn a_kill_for_memory_is_told_from_other_kills() {
    for (how, expected) in [("memory", Some(true)), ("kill", Some(false)), ("hidden", None), ("exit", Some(false))] {
        let mut bench = Bench::new(10 * SECOND);
        let (pid, other) = (bench.host.start("agent"), bench.host.start("other"));
        bench.registry(vec![record("a", "online", Some(pid))]);
        bench.host.kill_for_memory(other);
        bench.pass(100 * SECOND);
        match how {
            "memory" => bench.host.kill_for_memory(pid),
            "exit" => bench.host.end(pid, ExitStatus::Code(1)),
            "hidden" => {
                bench.host.hide_memory_kills();
                bench.host.end(pid, killed());
            }
            _ => bench.host.end(pid, killed()),
        }
        bench.step();
        let mut ends = bench.stored.iter().flat_map(|batch| &batch.runs).filter_map(|run| run.end.clone());
        assert_eq!(ends.next_back().unwrap().oom_killed, expected, "{how}");
    }
}

#[test]
fn an_end_on_request_is_no_error() {
    for (status, expected) in
        [(ExitStatus::Code(0), "stopped"), (ExitStatus::Signal(15), "stopped"), (ExitStatus::Code(1), "error")]
    {
        let mut bench = Bench::new(10 * SECOND);
        let pid = bench.host.start("agent");
        bench.registry(vec![record("a", "online", Some(pid))]);
        bench.pass(20 * SECOND);
        bench.host.finish(pid, status);
        bench.pass(20 * SECOND);
        assert_eq!(bench.events().last().unwrap().0, expected, "{status}");
    }
}

#[test]
fn a_status_that_comes_after_the_process_is_gone_is_told() {
    let mut bench = Bench::new(10 * SECOND);
    let (quick, slow) = (bench.host.start("agent"), bench.host.start("agent"));
    bench.registry(vec![record("quick", "online", Some(quick)), record("slow", "online", Some(slow))]);
    bench.pass(20 * SECOND);
    let errors = |bench: &Bench| -> Vec<String> {
        bench.events().into_iter().filter(|(kind, _)| kind == "error").map(|(_, text)| text).collect()
    };
    // Ended and waited for before anybody looked: both are told at once, and it cannot be read any more.
    bench.host.end_hidden(quick, killed());
    bench.host.reap(quick);
    bench.step();
    assert_eq!(errors(&bench), [format!("process {quick} ended: SIGKILL")]);
    bench.host.end_hidden(slow, killed());
    bench.step();
    assert_eq!(bench.agent("slow").state, Observed::Zombie);
    bench.pass(SECOND / 2);
    assert_eq!(errors(&bench).len(), 1, "it waits for the status");
    bench.host.reap(slow);
    bench.step();
    assert_eq!(errors(&bench)[1], format!("process {slow} ended: SIGKILL"));
    assert_eq!(bench.agent("slow").state_reason.as_deref(), Some(&*format!("process {slow} ended (SIGKILL)")));
}

#[test]
fn storage_is_counted_whatever_other_agents_do() {
    let mut bench = Bench::new(7 * SECOND);
    let (steady, mut restless) = (bench.host.start("agent"), bench.host.start("agent"));
    let claims =
        |restless| vec![record("steady", "online", Some(steady)), record("restless", "online", Some(restless))];
    bench.registry(claims(restless));
    for round in 1..=60 {
        bench.host.transfer(steady, 1_000, 0);
        bench.host.transfer(restless, 10, 0);
        bench.pass(SECOND);
        bench.host.finish(restless, killed());
        bench.step();
        restless = bench.host.start("agent");
        bench.registry(claims(restless));
        // A turn comes every ten seconds, and is taken at the next regular pass.
        let read = bench.agent("steady").metrics.io.unwrap().read_bytes;
        assert!(read + 18_000 >= round * 1_000, "{read} bytes after {round} s");
    }
}

#[test]
fn what_outlives_its_agent_is_charged_to_an_account_of_its_own() {
    let mut bench = Bench::new(10 * SECOND);
    let pid = bench.host.start("agent");
    bench.registry(vec![record("a", "online", Some(pid))]);
    let child = bench.host.fork(pid);
    bench.host.set_session(child);
    bench.pass(20 * SECOND);
    bench.host.burn(child, SECOND);
    bench.host.finish(pid, killed());
    bench.pass(10 * SECOND);
    bench.host.burn(child, 5 * SECOND);
    bench.pass(10 * SECOND);
    let agent = bench.agent("a");
    assert_eq!((agent.leftovers.process_count, agent.leftovers.cpu_us), (1, 5_000_000));
    assert_eq!(bench.cpu_seconds("a"), 1.0);
    let told = |bench: &Bench| bench.events().iter().filter(|(_, text)| text.contains("outlived")).count();
    assert_eq!(told(&bench), 1);
    bench.pass(60 * SECOND);
    // Known again after a restart of the daemon, with its owner and what it used.
    bench.restart();
    bench.registry(vec![record("a", "online", Some(pid))]);
    bench.pass(10 * SECOND);
    bench.host.burn(child, 2 * SECOND);
    bench.pass(70 * SECOND);
    assert_eq!(bench.agent("a").leftovers.process_count, 1);
    let last = bench.leftover_rows().pop().unwrap();
    assert_eq!((last.process.pid, last.cpu_us, last.ended_at), (child, 7_000_000, None));
    bench.host.finish(child, ExitStatus::Code(0));
    bench.pass(10 * SECOND);
    assert_eq!(bench.agent("a").leftovers.process_count, 0);
    assert!(bench.leftover_rows().pop().unwrap().ended_at.is_some());
    assert_eq!(told(&bench), 1, "told once");
}

#[test]
fn a_reused_pid_is_another_process() {
    let mut bench = Bench::new(10 * SECOND);
    let pid = bench.host.start("agent");
    bench.registry(vec![record("a", "online", Some(pid))]);
    bench.pass(20 * SECOND);
    bench.host.finish(pid, killed());
    bench.pass(5 * SECOND);
    bench.host.set_next_pid(pid);
    assert_eq!(bench.host.start("stranger"), pid);
    bench.host.burn(pid, 50 * SECOND);
    bench.pass(30 * SECOND);
    let agent = bench.agent("a");
    assert_eq!((&*agent.status, agent.state), ("offline", Observed::Replaced));
    assert_eq!(bench.cpu_seconds("a"), 0.0);
    assert!(bench.events().iter().any(|(kind, text)| kind == "warning" && text.contains("another one")));
}

#[test]
fn two_agents_never_own_one_process() {
    let mut bench = Bench::new(10 * SECOND);
    let pid = bench.host.start("agent");
    let inner = bench.host.fork(pid);
    let shared =
        vec![record("b", "online", Some(pid)), record("a", "online", Some(pid)), record("c", "online", Some(inner))];
    bench.registry(shared);
    bench.pass(20 * SECOND);
    bench.host.burn(pid, SECOND);
    bench.host.burn(inner, 2 * SECOND);
    bench.pass(20 * SECOND);
    assert_eq!((bench.cpu_seconds("a"), bench.cpu_seconds("c")), (1.0, 2.0));
    let sharer = bench.agent("b");
    assert_eq!(sharer.state_reason.as_deref(), Some(&*format!("shares process {pid} with a")));
    assert_eq!((sharer.metrics.cpu_us, sharer.metrics.memory_bytes), (None, None));
    // The outer one waits for the inner one: what that used must not count again.
    bench.host.finish(inner, ExitStatus::Code(0));
    bench.pass(20 * SECOND);
    assert_eq!((bench.cpu_seconds("a"), bench.cpu_seconds("c")), (1.0, 2.0));
}

#[test]
fn high_cpu_fires_after_five_minutes_and_survives_a_restart() {
    let mut bench = Bench::new(10 * SECOND);
    let pid = bench.host.start("agent");
    let claim = vec![record("a", "online", Some(pid))];
    bench.registry(claim.clone());
    for _ in 0..29 {
        bench.host.burn(pid, 9 * SECOND);
        bench.pass(10 * SECOND);
    }
    assert_eq!(bench.alerts(), []);
    for _ in 0..5 {
        bench.host.burn(pid, 9 * SECOND);
        bench.pass(10 * SECOND);
    }
    assert_eq!(bench.alerts(), [("high_cpu".to_owned(), true)]);
    bench.restart();
    bench.registry(claim);
    bench.pass(SECOND);
    for _ in 0..5 {
        bench.host.burn(pid, 9 * SECOND);
        bench.pass(10 * SECOND);
    }
    assert_eq!(bench.alerts(), [("high_cpu".to_owned(), true)], "told once");
    assert_eq!(bench.agent("a").alerts, ["high_cpu".into()]);
    bench.pass(20 * SECOND);
    assert_eq!(bench.alerts(), [("high_cpu".to_owned(), true), ("high_cpu".to_owned(), false)]);
}

#[test]
fn a_restart_of_the_daemon_is_no_restart_of_the_agent() {
    let mut bench = Bench::new(10 * SECOND);
    let pid = bench.host.start("agent");
    let child = bench.host.fork(pid);
    let claim = vec![record("a", "online", Some(pid))];
    bench.registry(claim.clone());
    bench.pass(20 * SECOND);
    bench.host.burn(pid, 10 * SECOND);
    bench.host.burn(child, 7 * SECOND);
    bench.pass(55 * SECOND);
    // While nobody looks: the child ends and is waited for, the root works on.
    bench.host.finish(child, ExitStatus::Code(0));
    bench.host.burn(pid, 4 * SECOND);
    bench.restart();
    bench.registry(claim);
    bench.pass(20 * SECOND);
    let agent = bench.agent("a");
    assert_eq!((agent.restarts, bench.events().len()), (0, 1));
    assert_eq!(bench.cpu_seconds("a"), 21.0);
}

#[test]
fn a_run_that_ended_unobserved_says_so() {
    let mut bench = Bench::new(10 * SECOND);
    let pid = bench.host.start("agent");
    bench.registry(vec![record("a", "online", Some(pid))]);
    bench.pass(30 * SECOND);
    bench.host.finish(pid, killed());
    bench.restart();
    let again = bench.host.start("agent");
    bench.registry(vec![record("a", "online", Some(again))]);
    bench.pass(10 * SECOND);
    let ends: Vec<String> = bench
        .stored
        .iter()
        .flat_map(|batch| &batch.runs)
        .filter_map(|run| run.end.as_ref().map(|end| end.reason.to_string()))
        .collect();
    assert_eq!(ends, ["unobserved"]);
    assert_eq!(bench.agent("a").restarts, 1);
}

#[test]
fn a_failed_source_keeps_its_list_and_an_empty_one_means_none() {
    let mut bench = Bench::new(10 * SECOND);
    let pid = bench.host.start("agent");
    bench.registry(vec![record("a", "online", Some(pid)), record("b", "online", None)]);
    let failure = Input::Source { index: 0, reading: Err("syntax error at line 1".into()) };
    let effects = bench.monitor.handle(failure, bench.clock.now());
    bench.perform(effects);
    bench.pass(20 * SECOND);
    assert_eq!(bench.snapshot.as_ref().unwrap().agents.len(), 2);
    assert_eq!(bench.snapshot.as_ref().unwrap().own.sources[0].error.as_deref(), Some("syntax error at line 1"));
    bench.registry(Vec::new());
    bench.pass(20 * SECOND);
    let left: Vec<_> = bench.snapshot.as_ref().unwrap().agents.iter().map(|agent| agent.id.to_string()).collect();
    assert_eq!(left, ["a"], "its process still lives");
    let agent = bench.agent("a");
    assert_eq!((agent.registry_status.clone(), agent.state_reason.as_deref()), (None, Some("no longer registered")));
}

#[test]
fn an_agent_that_may_not_be_read_is_unknown_and_not_down() {
    let mut bench = Bench::new(10 * SECOND);
    let pid = bench.host.start("agent");
    bench.host.set_denied(pid, true);
    bench.registry(vec![record("a", "online", Some(pid))]);
    bench.pass(60 * SECOND);
    bench.registry(vec![record("a", "online", Some(pid))]);
    bench.pass(60 * SECOND);
    let agent = bench.agent("a");
    assert_eq!((agent.state, &*agent.status, agent.metrics.memory_bytes), (Observed::Unknown, "online", None));
    assert_eq!(bench.alerts(), []);
    bench.host.set_denied(pid, false);
    bench.pass(20 * SECOND);
    assert_eq!(bench.agent("a").state, Observed::Running);
}

#[test]
fn a_daemon_that_is_reparented_at_once_is_found_where_forks_are_told() {
    for told in [true, false] {
        let mut bench = Bench::new(10 * SECOND);
        if told {
            bench.host.tell_forks();
        }
        let pid = bench.host.start("agent");
        bench.registry(vec![record("a", "online", Some(pid))]);
        bench.pass(25 * SECOND);
        // cmd & from a shell that ends at once, twice over, each in a session of its own.
        let shell = bench.host.fork(pid);
        let between = bench.host.fork(shell);
        bench.host.set_session(between);
        let daemon = bench.host.fork(between);
        bench.host.set_session(daemon);
        bench.host.finish(between, ExitStatus::Code(0));
        bench.host.finish(shell, ExitStatus::Code(0));
        bench.pass(10 * SECOND);
        bench.host.burn(daemon, 2 * SECOND);
        let child = bench.host.fork(daemon);
        bench.host.burn(child, SECOND);
        bench.pass(20 * SECOND);
        let expected = if told { (Some(3), 3.0) } else { (Some(1), 0.0) };
        assert_eq!((bench.agent("a").metrics.process_count, bench.cpu_seconds("a")), expected, "told: {told}");
    }
}

#[test]
fn lost_events_are_mended_by_a_scan() {
    let mut bench = Bench::new(10 * SECOND);
    bench.host.tell_forks();
    let pid = bench.host.start("agent");
    bench.registry(vec![record("a", "online", Some(pid))]);
    bench.pass(25 * SECOND);
    let child = bench.host.fork(pid);
    bench.host.lose_events();
    bench.host.burn(child, SECOND);
    bench.pass(20 * SECOND);
    assert_eq!((bench.agent("a").metrics.process_count, bench.cpu_seconds("a")), (Some(2), 1.0));
    assert_eq!(bench.snapshot.as_ref().unwrap().own.events_lost, 1);
}

#[test]
fn a_day_of_twenty_agents_adds_up() {
    for told in [true, false] {
        a_day(told);
    }
}

fn a_day(told: bool) {
    let mut bench = Bench::new(10 * SECOND);
    if told {
        bench.host.tell_forks();
    }
    let roots: Vec<Pid> = (0..20).map(|_| bench.host.start("agent")).collect();
    let records: Vec<Record> =
        roots.iter().enumerate().map(|(n, pid)| record(&format!("agent-{n:02}"), "online", Some(*pid))).collect();
    bench.registry(records);
    let mut long_lived: Vec<Option<Pid>> = vec![None; roots.len()];
    for round in 0..8640_u64 {
        for (place, root) in roots.iter().enumerate() {
            let pick = (round * 31 + place as u64 * 17) % 97;
            if pick < 20 {
                let child = bench.host.fork(*root);
                bench.host.burn(child, Duration::from_millis(100 + pick));
                bench.host.finish(child, ExitStatus::Code(0));
            } else if pick < 30 {
                match long_lived[place].take() {
                    Some(child) => bench.host.finish(child, ExitStatus::Code(0)),
                    None => long_lived[place] = Some(bench.host.fork(*root)),
                }
            } else if let Some(child) = long_lived[place] {
                bench.host.burn(child, Duration::from_millis(pick));
            } else {
                bench.host.burn(*root, Duration::from_millis(pick));
            }
        }
        bench.pass(10 * SECOND);
        bench.stored.retain(|batch| !batch.entries.is_empty());
    }
    bench.pass(30 * SECOND);
    let charged: u64 = bench.snapshot.as_ref().unwrap().agents.iter().map(|agent| agent.metrics.cpu_us.unwrap()).sum();
    assert_eq!(charged, bench.host.burned_us());
    assert_eq!(bench.snapshot.as_ref().unwrap().own.ticks_skipped, 0);
}
