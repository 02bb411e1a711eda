//! How memory is added up, and what a run keeps of it.

use std::sync::Arc;
use std::time::Duration;

use agent_monitor::clock::Clock;
use agent_monitor::config::{Config, Sampling};
use agent_monitor::model::{ExitStatus, MemoryMethod, Mono, Pid, PssReading};
use agent_monitor::monitor::Input;

use super::bench::{Bench, SECOND, config, killed, record};

const MIB: u64 = 1 << 20;

/// A configuration that wants memory added up in this way.
fn wanting(memory: MemoryMethod) -> Config {
    let config = config(10 * SECOND);
    Config { sampling: Sampling { memory, ..config.sampling }, ..config }
}

/// An agent of two processes that share pages: each holds 100 MiB, 60 MiB in proportion.
struct Pair {
    bench: Bench,
    root: Pid,
    child: Pid,
}

impl Pair {
    /// Started and looked at once; nothing was measured yet.
    fn new(memory: MemoryMethod) -> Pair {
        let mut bench = Bench::with(wanting(memory));
        let root = bench.host.start("agent");
        let child = bench.host.fork(root);
        for pid in [root, child] {
            bench.host.set_memory(pid, 100 * MIB);
        }
        bench.registry(vec![record("a", "online", Some(root))]);
        Pair { bench, root, child }
    }

    fn measure(&self, pid: Pid, mib: u64) {
        let at = self.bench.clock.now().mono;
        self.bench.host.set_pss(pid, PssReading::Known { bytes: mib * MIB, at });
    }

    fn measure_both(&self, mib: u64) {
        self.measure(self.root, mib);
        self.measure(self.child, mib);
    }

    /// MiB and method after the next pass, which is also a sample.
    fn memory(&mut self) -> (u64, MemoryMethod) {
        self.bench.pass(10 * SECOND);
        let metrics = &self.bench.agent("a").metrics;
        let shown = (metrics.memory_bytes.unwrap() / MIB, metrics.memory_method);
        let stored = self.bench.stored.iter().rev().find_map(|batch| batch.samples.last()).unwrap();
        assert_eq!((stored.metrics.memory_bytes.unwrap() / MIB, stored.metrics.memory_method), shown);
        shown
    }

    fn reload(&mut self, memory: MemoryMethod) {
        let config = Arc::new(wanting(memory));
        self.bench.config = Arc::clone(&config);
        let effects = self.bench.monitor.handle(Input::Settings(config), self.bench.clock.now());
        self.bench.perform(effects);
    }

    /// Peak and last MiB of its run, and their method, as they are shown now: the last row of it is older.
    fn run(&mut self) -> (Option<u64>, Option<u64>, MemoryMethod) {
        let run = self.bench.detail("a").unwrap().run.unwrap();
        let mib = |bytes: Option<u64>| bytes.map(|bytes| bytes / MIB);
        (mib(run.peak_memory_bytes), mib(run.last_memory_bytes), run.memory_method)
    }

    fn denials(&self) -> usize {
        self.bench.events().iter().filter(|(_, text)| text.contains("may not be seen")).count()
    }
}

use MemoryMethod::{Pss, Rss};

#[test]
fn memory_is_exact_only_when_every_member_was_measured_lately() {
    let mut pair = Pair::new(Pss);
    assert_eq!(pair.memory(), (200, Rss), "nothing was measured yet");
    pair.measure(pair.root, 60);
    assert_eq!(pair.memory(), (200, Rss), "one of two");
    pair.measure(pair.child, 60);
    assert_eq!(pair.memory(), (120, Pss));
    pair.bench.pass(Duration::from_secs(270));
    pair.measure(pair.child, 70);
    assert_eq!(pair.memory(), (130, Pss), "the other one was measured not quite five minutes ago");
    assert_eq!(pair.memory(), (200, Rss), "and now more");
    pair.measure(pair.root, 60);
    assert_eq!(pair.memory(), (130, Pss));

    // A zombie holds nothing, and cannot be measured.
    pair.bench.host.end(pair.child, ExitStatus::Code(0));
    pair.bench.host.set_pss(pair.child, PssReading::Unknown);
    assert_eq!(pair.memory(), (60, Pss));
    assert_eq!(pair.denials(), 0);
}

#[test]
fn nobody_who_did_not_ask_gets_exact_memory() {
    let mut pair = Pair::new(Rss);
    pair.measure_both(60);
    assert_eq!(pair.memory(), (200, Rss));
    assert_eq!(pair.run(), (Some(200), Some(200), Rss));
}

#[test]
fn a_member_that_may_not_be_measured_is_told_once() {
    let mut pair = Pair::new(Pss);
    pair.measure(pair.root, 60);
    pair.bench.host.set_pss(pair.child, PssReading::Denied);
    for _ in 0..5 {
        pair.measure(pair.root, 60);
        assert_eq!(pair.memory(), (200, Rss));
    }
    assert_eq!(pair.denials(), 1, "{:?}", pair.bench.events());
    pair.measure_both(60);
    assert_eq!(pair.memory(), (120, Pss));
    pair.bench.host.set_pss(pair.child, PssReading::Denied);
    assert_eq!(pair.memory(), (200, Rss));
    assert_eq!(pair.denials(), 2, "it had worked meanwhile");
}

#[test]
fn the_peak_of_a_run_is_of_one_kind() {
    let mut pair = Pair::new(Pss);
    assert_eq!((pair.memory(), pair.run()), ((200, Rss), (Some(200), Some(200), Rss)));
    pair.measure_both(60);
    assert_eq!((pair.memory(), pair.run()), ((120, Pss), (Some(120), Some(120), Pss)), "not what pages counted twice");
    pair.measure_both(80);
    pair.memory();
    pair.measure_both(50);
    assert_eq!((pair.memory(), pair.run()), ((100, Pss), (Some(160), Some(100), Pss)));
    pair.bench.host.set_pss(pair.child, PssReading::Unknown);
    assert_eq!((pair.memory(), pair.run()), ((200, Rss), (Some(160), Some(100), Pss)), "a gap is no peak");

    // Another daemon begins with sums of resident pages, since nothing is measured yet.
    let effects = pair.bench.monitor.stop(pair.bench.clock.now());
    pair.bench.perform(effects);
    pair.bench.restart();
    pair.bench.registry(vec![record("a", "online", Some(pair.root))]);
    assert_eq!((pair.memory(), pair.run()), ((200, Rss), (Some(160), Some(100), Pss)));
    pair.measure_both(55);
    assert_eq!((pair.memory(), pair.run()), ((110, Pss), (Some(160), Some(110), Pss)));

    pair.bench.host.finish(pair.root, killed());
    pair.bench.step();
    let ended = pair.bench.stored.iter().flat_map(|batch| &batch.runs).next_back().unwrap();
    assert!(ended.end.is_some());
    assert_eq!((ended.peak_memory_bytes, ended.last_memory_bytes), (Some(160 * MIB), Some(110 * MIB)));
}

#[test]
fn another_configuration_applies_at_once() {
    let mut pair = Pair::new(Rss);
    pair.measure_both(60);
    pair.memory();
    pair.reload(Pss);
    pair.measure_both(60);
    assert_eq!((pair.memory(), pair.run()), ((120, Pss), (Some(120), Some(120), Pss)));
    pair.reload(Rss);
    assert_eq!((pair.memory(), pair.run()), ((200, Rss), (Some(200), Some(200), Rss)));
}

/// Measuring goes on beside the readings.
#[test]
fn a_value_measured_during_the_pass_is_fresh() {
    let mut pair = Pair::new(Pss);
    let Mono(now) = pair.bench.clock.now().mono;
    for pid in [pair.root, pair.child] {
        pair.bench.host.set_pss(pid, PssReading::Known { bytes: 60 * MIB, at: Mono(now + 20_000_000_000) });
    }
    assert_eq!(pair.memory(), (120, Pss));
}
