//! Agents in one another's trees, and what is on its way through them.

use agent_monitor::model::{ExitStatus, Pid, Record};

use super::bench::{Bench, SECOND, killed, record};

const DONE: ExitStatus = ExitStatus::Code(0);

/// An outer agent, and an inner one that it started.
fn nested() -> (Bench, Pid, Pid, Vec<Record>) {
    let mut bench = Bench::new(10 * SECOND);
    let outer = bench.host.start("outer");
    let inner = bench.host.fork(outer);
    let claims = vec![record("outer", "online", Some(outer)), record("inner", "online", Some(inner))];
    bench.registry(claims.clone());
    bench.pass(20 * SECOND);
    (bench, outer, inner, claims)
}

/// The daemon is killed, and the inner agent ends before the next one begins: the outer one waits for it.
#[test]
fn what_was_shown_of_an_inner_agent_comes_up_in_no_other_after_a_kill() {
    let (mut bench, _, inner, claims) = nested();
    bench.host.burn(inner, 8 * SECOND);
    bench.pass(20 * SECOND);
    assert_eq!((bench.cpu_seconds("outer"), bench.cpu_seconds("inner")), (0.0, 8.0));
    bench.host.finish(inner, killed());
    bench.restart();
    bench.registry(claims);
    bench.pass(20 * SECOND);
    assert_eq!((bench.cpu_seconds("outer"), bench.cpu_seconds("inner")), (0.0, 8.0));
}

/// The same, with a process that the inner one had started since accounts were last written down each minute, and that
/// lives in a session of the outer one's: it stays the inner one's.
#[test]
fn what_an_inner_agent_started_lately_is_its_own_after_a_kill() {
    let (mut bench, _, inner, claims) = nested();
    let worker = bench.host.fork(inner);
    bench.host.burn(worker, 8 * SECOND);
    bench.pass(20 * SECOND);
    bench.host.finish(inner, killed());
    bench.host.burn(worker, SECOND);
    bench.restart();
    bench.registry(claims);
    bench.pass(20 * SECOND);
    let left = bench.agent("inner").leftovers.cpu_us;
    assert_eq!((bench.cpu_seconds("outer"), bench.cpu_seconds("inner"), left), (0.0, 9.0, 0));
}

/// An inner agent's child and its parent end between two looks, and the outer agent takes the orphan in. What that had was
/// charged to the inner one, though its nearest ancestor, which grows too, is not who waited for it; the same when it is
/// waited for only after the outer one was read.
#[test]
fn an_orphan_that_an_outer_agent_waits_for_counts_once() {
    for while_read in [false, true] {
        let (mut bench, outer, inner, _) = nested();
        bench.host.set_reaper(outer);
        let parent = bench.host.fork(inner);
        let child = bench.host.fork(parent);
        bench.host.burn(parent, SECOND);
        bench.host.burn(child, 5 * SECOND);
        bench.pass(20 * SECOND);
        assert_eq!((bench.cpu_seconds("outer"), bench.cpu_seconds("inner")), (0.0, 6.0));
        bench.host.finish(parent, DONE);
        if while_read {
            bench.host.finish_when_read(child, DONE);
        } else {
            bench.host.finish(child, DONE);
        }
        bench.pass(30 * SECOND);
        assert_eq!((bench.cpu_seconds("outer"), bench.cpu_seconds("inner")), (0.0, 6.0), "while read: {while_read}");
    }
}

/// A parent dies after it was read, and before it has waited for its child: the outer agent takes that in, and waits for it
/// in the same pass. So it was not late below the parent.
#[test]
fn what_the_dying_left_to_an_outer_agent_counts_once() {
    let (mut bench, outer, inner, _) = nested();
    bench.host.set_reaper(outer);
    let parent = bench.host.fork(inner);
    let child = bench.host.fork(parent);
    bench.host.burn(child, 5 * SECOND);
    bench.pass(20 * SECOND);
    bench.host.end_once_read(parent, DONE);
    bench.host.finish_when_read(child, DONE);
    bench.pass(30 * SECOND);
    assert_eq!((bench.cpu_seconds("outer"), bench.cpu_seconds("inner")), (0.0, 5.0));
}

/// The same, but the one that took the orphan in dies, too, before anybody has read its counter.
#[test]
fn an_orphan_counts_once_when_two_above_it_end() {
    for last in ["middle", "guardian"] {
        let mut bench = Bench::new(10 * SECOND);
        let pid = bench.host.start("agent");
        bench.registry(vec![record("a", "online", Some(pid))]);
        let guardian = bench.host.fork(pid);
        bench.host.set_reaper(guardian);
        let middle = bench.host.fork(guardian);
        let parent = bench.host.fork(middle);
        let child = bench.host.fork(parent);
        bench.host.burn(child, 4 * SECOND);
        bench.pass(20 * SECOND);
        bench.host.finish(parent, DONE);
        bench.host.finish_when_read(child, DONE);
        bench.pass(10 * SECOND);
        // What it waited for last is on its way one reading longer.
        bench.host.finish_when_read(if last == "middle" { middle } else { guardian }, DONE);
        bench.pass(30 * SECOND);
        assert_eq!(bench.cpu_seconds("a"), 4.0, "{last} ends");
    }
}

/// A child is late below its parent when the next one is late, too: what comes up of the first is not the second.
#[test]
fn what_is_late_again_is_awaited_again() {
    let mut bench = Bench::new(10 * SECOND);
    let pid = bench.host.start("agent");
    bench.registry(vec![record("a", "online", Some(pid))]);
    let parent = bench.host.fork(pid);
    let [first, second] = [3, 4].map(|seconds| {
        let child = bench.host.fork(parent);
        bench.host.burn(child, seconds * SECOND);
        child
    });
    bench.pass(20 * SECOND);
    for one in [first, second, parent] {
        bench.host.finish_when_read(one, DONE);
        bench.pass(10 * SECOND);
    }
    bench.pass(20 * SECOND);
    assert_eq!(bench.cpu_seconds("a"), 7.0);
}

/// A process that takes orphans in waits for one whose parent is dead and was never waited for. Then the agent ends: nothing
/// of that is on its way to its leftovers.
#[test]
fn what_came_up_above_the_dead_hides_nothing_of_leftovers() {
    let mut bench = Bench::new(10 * SECOND);
    let pid = bench.host.start("agent");
    bench.registry(vec![record("a", "online", Some(pid))]);
    let guardian = bench.host.fork(pid);
    bench.host.set_reaper(guardian);
    let parent = bench.host.fork(guardian);
    let child = bench.host.fork(parent);
    bench.host.burn(child, 3 * SECOND);
    bench.pass(20 * SECOND);
    bench.host.end(parent, DONE);
    bench.host.finish(child, DONE);
    bench.host.end(pid, killed());
    bench.step();
    let brief = bench.host.fork(guardian);
    bench.host.burn(brief, 2 * SECOND);
    bench.host.finish(brief, DONE);
    bench.pass(20 * SECOND);
    let agent = bench.agent("a");
    assert_eq!((agent.metrics.cpu_us, agent.leftovers.cpu_us), (Some(3_000_000), 2_000_000));
}
