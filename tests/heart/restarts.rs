//! A daemon that goes on where the last one stopped.

use agent_monitor::model::ExitStatus;

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
