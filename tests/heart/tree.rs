//! Which process is whose.

use std::sync::Arc;

use agent_monitor::clock::Clock;
use agent_monitor::model::{ExitStatus, Observed, Pid, Resume};
use agent_monitor::monitor::Monitor;

use super::bench::{Bench, SECOND, killed, record};

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

/// The leader of a member's session ends; a stranger gets its number, makes a session of it, starts something there and
/// is gone, all between two looks. Without events nothing but the number is left to see.
#[test]
fn the_session_of_a_stranger_that_got_a_members_number_is_its_own() {
    for empty in [true, false] {
        let mut bench = Bench::new(10 * SECOND);
        let pid = bench.host.start("agent");
        bench.registry(vec![record("a", "online", Some(pid))]);
        let leader = bench.host.fork(pid);
        bench.host.set_session(leader);
        let tool = bench.host.fork(leader);
        bench.pass(20 * SECOND);
        bench.host.finish(leader, ExitStatus::Code(0));
        if !empty {
            // As long as the session lives, its number means what it meant.
            bench.pass(20 * SECOND);
            let late = bench.host.fork(tool);
            bench.host.finish(tool, ExitStatus::Code(0));
            bench.host.burn(late, SECOND);
            bench.pass(20 * SECOND);
            assert_eq!((bench.agent("a").metrics.process_count, bench.cpu_seconds("a")), (Some(2), 1.0));
            continue;
        }
        bench.host.finish(tool, ExitStatus::Code(0));
        bench.pass(20 * SECOND);
        bench.host.set_next_pid(leader);
        let stranger = bench.host.start("stranger");
        assert_eq!(stranger, leader);
        bench.host.set_next_pid(Pid::new(1_000).unwrap());
        let theirs = bench.host.fork(stranger);
        bench.host.finish(stranger, ExitStatus::Code(0));
        bench.host.burn(theirs, SECOND);
        bench.pass(20 * SECOND);
        assert_eq!((bench.agent("a").metrics.process_count, bench.cpu_seconds("a")), (Some(1), 0.0));
    }
}

/// At the last reading of a tree, a child is gone that its parent had not waited for when that was read. What others'
/// children used comes up at the same time: it is not that. It arrives when the parent is one of the leftovers.
#[test]
fn what_is_on_its_way_hides_nothing_when_its_tree_falls_apart() {
    let mut bench = Bench::new(10 * SECOND);
    let pid = bench.host.start("agent");
    bench.registry(vec![record("a", "online", Some(pid))]);
    let parent = bench.host.fork(pid);
    let child = bench.host.fork(parent);
    bench.host.burn(child, SECOND);
    bench.pass(20 * SECOND);
    let brief = bench.host.fork(pid);
    bench.host.burn(brief, 5 * SECOND);
    bench.host.finish(brief, ExitStatus::Code(0));
    bench.host.finish_when_read(child, ExitStatus::Code(0));
    bench.host.end(pid, killed());
    bench.pass(20 * SECOND);
    let agent = bench.agent("a");
    assert_eq!((agent.metrics.cpu_us, agent.leftovers.cpu_us), (Some(6_000_000), 0));
}

/// A member was found in a session that it has left since. So nobody is in that any more, and its leader's number is
/// free: a stranger gets it, makes a session of it, starts something there and is gone.
#[test]
fn who_left_a_session_does_not_hold_its_number() {
    let mut bench = Bench::new(10 * SECOND);
    let pid = bench.host.start("agent");
    bench.registry(vec![record("a", "online", Some(pid))]);
    let leader = bench.host.fork(pid);
    bench.host.set_session(leader);
    let tool = bench.host.fork(leader);
    bench.pass(20 * SECOND);
    bench.host.set_session(tool);
    bench.host.finish(leader, ExitStatus::Code(0));
    bench.pass(30 * SECOND);
    bench.host.set_next_pid(leader);
    let stranger = bench.host.start("stranger");
    assert_eq!(stranger, leader);
    bench.host.set_next_pid(Pid::new(1_000).unwrap());
    let theirs = bench.host.fork(stranger);
    bench.host.finish(stranger, ExitStatus::Code(0));
    bench.host.burn(theirs, SECOND);
    bench.pass(20 * SECOND);
    assert_eq!((bench.agent("a").metrics.process_count, bench.cpu_seconds("a")), (Some(2), 0.0));
}

/// A root that takes orphans in waits for a child whose parent, still a zombie, never did: that is not late.
#[test]
fn what_another_took_in_is_not_expected_of_the_dead() {
    let mut bench = Bench::new(10 * SECOND);
    let pid = bench.host.start("agent");
    bench.host.set_reaper(pid);
    bench.registry(vec![record("a", "online", Some(pid))]);
    let parent = bench.host.fork(pid);
    let child = bench.host.fork(parent);
    bench.host.burn(child, 3 * SECOND);
    bench.pass(20 * SECOND);
    bench.host.end(parent, ExitStatus::Code(0));
    bench.host.finish(child, ExitStatus::Code(0));
    bench.pass(20 * SECOND);
    assert_eq!(bench.cpu_seconds("a"), 3.0);
}

/// A child of one agent ends, and before anybody has noticed another agent starts something that gets its number, starts
/// something in turn, and is gone.
#[test]
fn a_number_that_came_round_unnoticed_is_whose_it_is_now() {
    let mut bench = Bench::new(10 * SECOND);
    bench.host.tell_forks();
    let (first, second) = (bench.host.start("first"), bench.host.start("second"));
    bench.registry(vec![record("a", "online", Some(first)), record("b", "online", Some(second))]);
    let child = bench.host.fork(first);
    bench.pass(25 * SECOND);
    bench.host.finish(child, ExitStatus::Code(0));
    bench.host.set_next_pid(child);
    assert_eq!(bench.host.fork(second), child);
    bench.host.set_next_pid(Pid::new(1_000).unwrap());
    let late = bench.host.fork(child);
    bench.host.finish(child, ExitStatus::Code(0));
    bench.host.burn(late, SECOND);
    bench.pass(20 * SECOND);
    assert_eq!((bench.cpu_seconds("a"), bench.cpu_seconds("b")), (0.0, 1.0));
}

/// A scan mends what was lost: what it has shown is not new, however often events are lost afterwards.
#[test]
fn what_is_lost_again_and_again_makes_nobody_new() {
    let mut bench = Bench::new(10 * SECOND);
    bench.host.tell_forks();
    let pid = bench.host.start("agent");
    let claim = record("a", "online", Some(pid));
    bench.registry(vec![claim.clone()]);
    bench.pass(20 * SECOND);
    let stranger = bench.host.start("stranger");
    let child = bench.host.fork(stranger);
    bench.host.burn(child, 5 * SECOND);
    for _ in 0..4 {
        bench.host.lose_events();
        bench.pass(10 * SECOND);
    }
    bench.host.lose_events();
    bench.registry(vec![claim, record("b", "online", Some(stranger))]);
    bench.pass(20 * SECOND);
    assert_eq!(bench.cpu_seconds("b"), 0.0);
}

#[test]
fn what_ends_while_neither_it_nor_its_parent_can_be_read_comes_up_once() {
    let mut bench = Bench::new(SECOND);
    let root = bench.host.start("agent");
    let child = bench.host.fork(root);
    bench.registry(vec![record("a", "online", Some(root))]);
    bench.pass(SECOND);
    let before = bench.cpu_seconds("a");
    bench.host.burn(child, SECOND / 2);
    bench.pass(2 * SECOND);
    for pid in [root, child] {
        bench.host.set_denied(pid, true);
    }
    bench.pass(3 * SECOND);
    bench.host.finish(child, killed());
    bench.pass(3 * SECOND);
    bench.host.set_denied(root, false);
    bench.pass(3 * SECOND);
    assert!((bench.cpu_seconds("a") - before - 0.5).abs() < 1e-9, "{}", bench.cpu_seconds("a"));
}
