//! Which agents are known, and when they are forgotten.

use std::time::Duration;

use agent_monitor::clock::Clock;
use agent_monitor::model::AgentNumber;
use agent_monitor::monitor::Input;

use super::bench::{Bench, SECOND, record};

const DAY: Duration = Duration::from_secs(24 * 3600);

impl Bench {
    /// The rows of agents that were stored, by id and number, the latest of each.
    fn known(&self, id: &str) -> Option<AgentNumber> {
        let rows = self.stored.iter().flat_map(|batch| &batch.agents);
        rows.rev().find(|agent| agent.id.as_str() == id).map(|agent| agent.number)
    }

    /// The store says that it has nothing of these any more.
    fn deleted(&mut self, ids: &[&str]) {
        let numbers = ids.iter().map(|id| self.known(id).unwrap()).collect();
        let effects = self.monitor.handle(Input::Deleted(numbers), self.clock.now());
        self.perform(effects);
    }
}

#[test]
fn who_is_deleted_is_forgotten_and_gives_place_and_number_to_the_next() {
    let mut bench = Bench::new(10 * SECOND);
    let pids = ["a", "b"].map(|id| (id, bench.host.start("agent")));
    bench.registry(pids.iter().map(|(id, pid)| record(id, "online", Some(*pid))).collect());
    bench.pass(20 * SECOND);
    bench.host.burn(pids[0].1, SECOND);
    bench.pass(20 * SECOND);
    for (_, pid) in pids {
        bench.host.finish(pid, super::bench::killed());
    }
    bench.registry(Vec::new());
    bench.pass(100 * SECOND);
    bench.deleted(&["a"]);

    // Another one, and the same again: it begins anew, under the next number.
    let number = bench.known("a").unwrap();
    let [new, again] = ["agent"; 2].map(|name| bench.host.start(name));
    bench.registry(vec![record("c", "online", Some(new)), record("a", "online", Some(again))]);
    bench.pass(20 * SECOND);
    let numbers = ["a", "b", "c"].map(|id| bench.known(id).unwrap().get());
    assert!(numbers.iter().all(|one| numbers.iter().filter(|other| *other == one).count() == 1), "{numbers:?}");
    assert!(numbers[0] == number.get() || numbers[2] == number.get(), "{numbers:?}");
    assert_eq!((bench.cpu_seconds("a"), bench.agent("a").restarts), (0.0, 0), "nothing of its past is left");
    bench.host.burn(new, SECOND);
    bench.pass(20 * SECOND);
    assert_eq!((bench.cpu_seconds("a"), bench.cpu_seconds("c")), (0.0, 1.0));
}

#[test]
fn who_came_back_while_it_was_deleted_is_stored_again() {
    let mut bench = Bench::new(10 * SECOND);
    let pid = bench.host.start("agent");
    bench.registry(vec![record("a", "online", Some(pid))]);
    bench.pass(20 * SECOND);
    let before = bench.stored.len();
    bench.deleted(&["a"]);
    assert!(bench.stored[before..].iter().any(|batch| batch.agents.iter().any(|agent| agent.id.as_str() == "a")));
    assert_eq!(bench.agent("a").pid, Some(pid));
}

#[test]
fn who_has_a_process_that_nobody_waits_for_is_not_forgotten_with_it() {
    let mut bench = Bench::new(10 * SECOND);
    let [root, other] = ["agent"; 2].map(|name| bench.host.start(name));
    bench.registry(vec![record("a", "online", Some(root))]);
    bench.pass(20 * SECOND);
    bench.host.end(root, super::bench::killed());
    bench.registry(Vec::new());
    bench.pass(100 * SECOND);
    assert_eq!(bench.listed(), [] as [&str; 0]);
    bench.deleted(&["a"]);
    bench.registry(vec![record("b", "online", Some(other))]);
    bench.pass(20 * SECOND);
    let pids: Vec<_> = bench.detail("b").unwrap().processes.iter().map(|process| process.pid).collect();
    assert_eq!(pids, [other], "the dead one is nobody else's");

    // When somebody has waited for it, its place is free.
    bench.host.reap(root);
    bench.registry(Vec::new());
    bench.pass(100 * SECOND);
    let number = bench.known("a");
    bench.deleted(&["a"]);
    bench.registry(vec![record("c", "online", Some(bench.host.start("agent")))]);
    assert_eq!(bench.known("c"), number);
}

#[test]
fn a_registry_that_makes_up_ids_is_bounded_and_told_once() {
    let mut bench = Bench::new(10 * SECOND);
    let names = |from: u32, to: u32| (from..to).map(|n| record(&format!("agent-{n}"), "online", None)).collect();
    for round in 0..3 {
        bench.registry(names(round * 20_000, (round + 1) * 20_000));
        bench.pass(10 * SECOND);
    }
    assert_eq!(bench.snapshot.as_ref().unwrap().own.agents_refused, 10_000);
    let told = bench.events().into_iter().filter(|(_, message)| message.contains("is not watched")).count();
    assert_eq!(told, 1);
    // When some are forgotten there is room again.
    bench.registry(Vec::new());
    bench.pass(100 * SECOND);
    bench.deleted(&["agent-0", "agent-1"]);
    bench.registry(vec![record("late", "online", None)]);
    bench.pass(10 * SECOND);
    assert_eq!(&*bench.agent("late").status, "online");
}

#[test]
fn who_only_writes_leaves_the_lists_with_what_it_wrote() {
    let mut bench = Bench::new(10 * SECOND);
    bench.report("writer");
    bench.report("failing");
    let counts = vec![(bench.known("failing").unwrap(), 1)];
    let effects = bench.monitor.handle(Input::Unresolved(counts), bench.clock.now());
    bench.perform(effects);
    bench.pass(6 * DAY);
    let listed = |bench: &Bench| -> Vec<String> {
        bench.snapshot.as_ref().unwrap().agents.iter().map(|agent| agent.id.to_string()).collect()
    };
    assert_eq!(listed(&bench), ["failing", "writer"]);
    bench.pass(2 * DAY);
    assert_eq!(listed(&bench), ["failing"], "what nobody dealt with stays");
    bench.report("writer");
    bench.pass(10 * SECOND);
    assert_eq!(listed(&bench), ["failing", "writer"], "it has more to say");
}
