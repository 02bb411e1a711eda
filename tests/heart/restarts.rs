//! A daemon that goes on where the last one stopped.

use agent_monitor::clock::Clock;
use agent_monitor::model::{ExitStatus, Pid};
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

/// Within the first minute, so that only samples say what was used; and the next daemon ends before it has heard of the agent
/// again.
#[test]
fn what_was_shown_of_a_run_that_ended_with_the_machine_outlives_the_next_daemon() {
    let mut bench = Bench::new(10 * SECOND);
    let pid = bench.host.start("agent");
    let claim = vec![record("a", "online", Some(pid))];
    bench.registry(claim.clone());
    bench.host.burn(pid, 4 * SECOND);
    bench.pass(20 * SECOND);
    bench.host.reboot();
    bench.restart();
    let effects = bench.monitor.handle(Input::Source { index: 0, reading: Err("not yet".into()) }, bench.clock.now());
    bench.perform(effects);
    bench.restart();
    bench.registry(claim);
    bench.pass(10 * SECOND);
    assert_eq!(bench.cpu_seconds("a"), 4.0);
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
    let reading =
        Ok(SourceReading { records: claim.iter().cloned().map(std::sync::Arc::new).collect(), skipped: Vec::new() });
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

/// What it used is written down, although nobody can read it just now.
#[test]
fn what_outlived_an_agent_and_cannot_be_read_is_gone_on_with() {
    let mut bench = Bench::new(10 * SECOND);
    let pid = bench.host.start("agent");
    let child = bench.host.fork(pid);
    bench.registry(vec![record("a", "online", Some(pid))]);
    bench.pass(10 * SECOND);
    bench.host.finish(pid, killed());
    bench.registry(vec![]);
    bench.pass(10 * SECOND);
    bench.host.burn(child, 3 * SECOND);
    bench.pass(10 * SECOND);
    bench.host.set_denied(child, true);
    bench.pass(10 * SECOND);
    assert_eq!(bench.agent("a").leftovers.cpu_us, 3_000_000, "it stays in the lists");
    bench.restart();
    bench.host.set_denied(child, false);
    bench.pass(20 * SECOND);
    assert_eq!(bench.agent("a").leftovers.cpu_us, 3_000_000);
}

/// The leader of a session had ended, unnoticed by what was written down last; a stranger gets its number, makes a
/// session of it, starts something there and is gone. Nothing says that it was not the first leader who started that,
/// unless somebody known is still in the session: then nobody can have got the number.
#[test]
fn what_was_written_down_says_nothing_of_who_has_a_number_now() {
    for empty in [true, false] {
        let mut bench = Bench::new(10 * SECOND);
        let pid = bench.host.start("agent");
        let claim = vec![record("a", "online", Some(pid))];
        bench.registry(claim.clone());
        let leader = bench.host.fork(pid);
        bench.host.set_session(leader);
        let tool = bench.host.fork(leader);
        bench.pass(70 * SECOND);
        bench.host.finish(leader, ExitStatus::Code(0));
        let starter = if empty {
            bench.host.finish(tool, ExitStatus::Code(0));
            bench.pass(30 * SECOND);
            bench.host.set_next_pid(leader);
            bench.host.start("stranger")
        } else {
            bench.host.fork(tool)
        };
        bench.host.set_next_pid(Pid::new(1_000).unwrap());
        let late = bench.host.fork(starter);
        bench.host.finish(starter, ExitStatus::Code(0));
        bench.host.burn(late, SECOND);
        assert_eq!(starter == leader, empty);
        bench.restart();
        bench.registry(claim);
        bench.host.burn(late, SECOND);
        bench.pass(20 * SECOND);
        let expected = if empty { (Some(1), 0.0) } else { (Some(3), 2.0) };
        assert_eq!((bench.agent("a").metrics.process_count, bench.cpu_seconds("a")), expected, "empty: {empty}");
    }
}

/// A root ends while an agent that has just begun waits for its second reading: both are read then. What is shown of the
/// other has to outlive a kill, too.
#[test]
fn what_is_shown_of_one_when_another_ends_outlives_the_daemon() {
    let mut bench = Bench::new(10 * SECOND);
    let (first, second) = (bench.host.start("first"), bench.host.start("second"));
    bench.registry(vec![record("a", "online", Some(first))]);
    bench.pass(2 * SECOND);
    let claims = vec![record("a", "online", Some(first)), record("b", "online", Some(second))];
    bench.registry(claims.clone());
    bench.host.burn(second, SECOND);
    bench.host.finish(first, killed());
    bench.step();
    assert_eq!(bench.cpu_seconds("b"), 1.0);
    bench.host.finish(second, killed());
    bench.restart();
    bench.registry(claims);
    assert_eq!(bench.cpu_seconds("b"), 1.0);
}
