//! A daemon that goes on where the last one stopped.

use agent_monitor::clock::Clock;
use agent_monitor::model::ExitStatus;
use agent_monitor::monitor::{Input, SourceReading};

use super::bench::{Bench, SECOND, killed, record};

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

/// Two daemons after one another, each of which sees little: nothing is charged twice, and nothing that was waited for is
/// lost.
#[test]
fn a_second_restart_soon_after_charges_nothing_again() {
    let mut bench = Bench::new(10 * SECOND);
    let pid = bench.host.start("agent");
    let child = bench.host.fork(pid);
    let claim = vec![record("a", "online", Some(pid))];
    bench.registry(claim.clone());
    bench.pass(20 * SECOND);
    for _ in 0..3 {
        bench.host.burn(pid, SECOND);
        bench.host.burn(child, 2 * SECOND);
        bench.restart();
        bench.registry(claim.clone());
        bench.restart();
    }
    bench.registry(claim);
    bench.host.finish(child, ExitStatus::Code(0));
    bench.pass(20 * SECOND);
    assert_eq!(bench.cpu_seconds("a"), 9.0);
}

/// What the tree of a new agent had used before is nobody's, also if its daemon ends before it has read any of it.
#[test]
fn a_daemon_that_ends_before_its_first_reading_charges_nothing() {
    let mut bench = Bench::new(10 * SECOND);
    let pid = bench.host.start("agent");
    let child = bench.host.fork(pid);
    bench.host.burn(child, 5 * SECOND);
    bench.clock.advance(60 * SECOND);
    let claim = vec![record("a", "online", Some(pid))];
    let reading = Ok(SourceReading { records: claim.clone().into(), skipped: Vec::new() });
    let effects = bench.monitor.handle(Input::Source { index: 0, reading }, bench.clock.now());
    bench.perform(effects);
    bench.restart();
    bench.registry(claim);
    bench.host.finish(child, ExitStatus::Code(0));
    bench.host.burn(pid, SECOND);
    bench.pass(20 * SECOND);
    assert_eq!(bench.cpu_seconds("a"), 1.0);
}

#[test]
fn what_left_its_agents_tree_is_known_again() {
    for told in [true, false] {
        let mut bench = Bench::new(10 * SECOND);
        if told {
            bench.host.tell_forks();
        }
        let pid = bench.host.start("agent");
        let claim = vec![record("a", "online", Some(pid))];
        bench.registry(claim.clone());
        let shell = bench.host.fork(pid);
        let daemon = bench.host.fork(shell);
        bench.pass(20 * SECOND);
        bench.host.set_session(daemon);
        bench.host.finish(shell, ExitStatus::Code(0));
        bench.pass(80 * SECOND);
        bench.host.burn(daemon, 2 * SECOND);
        bench.restart();
        bench.registry(claim);
        bench.host.burn(daemon, SECOND);
        bench.pass(20 * SECOND);
        assert_eq!((bench.agent("a").metrics.process_count, bench.cpu_seconds("a")), (Some(2), 3.0), "told: {told}");
    }
}

#[test]
fn what_outlived_an_agent_that_ended_unseen_is_its_leftovers() {
    let mut bench = Bench::new(10 * SECOND);
    let pid = bench.host.start("agent");
    let child = bench.host.fork(pid);
    bench.registry(vec![record("a", "online", Some(pid))]);
    bench.pass(20 * SECOND);
    bench.host.burn(child, SECOND);
    bench.host.finish(pid, killed());
    bench.restart();
    bench.pass(20 * SECOND);
    let agent = bench.agent("a");
    // It used that in its agent's tree, as far as anybody saw.
    assert_eq!((agent.metrics.cpu_us, agent.leftovers.process_count, agent.leftovers.cpu_us), (Some(1_000_000), 1, 0));
    assert!(bench.events().iter().any(|(_, message)| message.contains("outlived the agent")));
    // Their sum is not that of the living: it goes on, too.
    bench.host.burn(child, 3 * SECOND);
    bench.pass(20 * SECOND);
    bench.host.finish(child, killed());
    bench.pass(20 * SECOND);
    bench.restart();
    bench.registry(vec![record("a", "online", Some(pid))]);
    assert_eq!(bench.agent("a").leftovers.cpu_us, 3_000_000);
}
