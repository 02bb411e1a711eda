//! What a registry claims, against what is there.

use agent_monitor::clock::Clock;
use agent_monitor::model::{ExitStatus, InnerPid, LeftoverRow, Observed, Pid, Record};
use agent_monitor::monitor::Input;

use super::bench::{Bench, SECOND, killed, record};

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

/// One that ended unheard is found gone in the midst of a pass: for all who share it.
#[test]
fn a_shared_process_ends_for_all_at_once() {
    let mut bench = Bench::new(10 * SECOND);
    let pid = bench.host.start("agent");
    bench.registry(vec![record("a", "online", Some(pid)), record("b", "online", Some(pid))]);
    bench.pass(20 * SECOND);
    assert_eq!([bench.agent("a").state, bench.agent("b").state], [Observed::Running; 2]);
    bench.host.finish(pid, killed());
    bench.host.lose_events();
    bench.pass(10 * SECOND);
    assert_eq!([bench.agent("a").state, bench.agent("b").state], [Observed::Exited; 2]);
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

/// What its record says is the pid of the agent's own pid namespace.
#[test]
fn an_agent_in_a_container_is_found_by_the_pid_that_it_has_there() {
    let mut bench = Bench::new(10 * SECOND);
    let inner = |namespace, number| InnerPid { namespace, pid: Pid::new(number).unwrap() };
    let claim =
        |status: &str, at: InnerPid| Record { pid_namespace: Some(at.namespace), ..record("a", status, Some(at.pid)) };
    let stranger = bench.host.start("stranger");
    let named = inner(42, i64::from(stranger.get()));
    bench.registry(vec![claim("online", named)]);
    bench.pass(20 * SECOND);
    let agent = bench.agent("a");
    assert_eq!((agent.state, agent.pid, &*agent.status), (Observed::Exited, None, "offline"));
    assert_eq!(agent.state_reason.as_deref(), Some(&*format!("there is no process {stranger} of pid namespace 42")));

    let pid = bench.host.start("agent");
    bench.host.set_inner(pid, named);
    bench.pass(20 * SECOND);
    bench.host.burn(pid, 2 * SECOND);
    bench.host.burn(stranger, 50 * SECOND);
    bench.pass(10 * SECOND);
    assert_eq!((bench.agent("a").pid, bench.cpu_seconds("a")), (Some(pid), 2.0));

    // Other words about the same process, a second record that names it as the host does, another daemon.
    let both = vec![claim("busy", named), record("b", "online", Some(pid))];
    bench.registry(both.clone());
    bench.pass(10 * SECOND);
    assert_eq!(bench.agent("b").state_reason.as_deref(), Some(&*format!("shares process {pid} with a")));
    bench.restart();
    bench.registry(both);
    bench.pass(10 * SECOND);
    let agent = bench.agent("a");
    assert_eq!((agent.pid, agent.restarts, agent.state), (Some(pid), 0, Observed::Running));

    // What is known of its end stays known, also when its broker changes its word.
    bench.host.finish(pid, killed());
    bench.pass(20 * SECOND);
    let how = format!("process {pid} ended (SIGKILL)");
    assert_eq!(bench.agent("a").state_reason.as_deref(), Some(&*how));
    bench.registry(vec![claim("failed", named)]);
    bench.pass(20 * SECOND);
    assert_eq!((&*bench.agent("a").status, bench.agent("a").state_reason.as_deref()), ("failed", Some(&*how)));
    bench.restart();
    bench.registry(vec![claim("failed", named)]);
    bench.pass(20 * SECOND);
    assert_eq!(bench.agent("a").state_reason.as_deref(), Some(&*how));

    // The number came up again in its namespace; then it is started again in another.
    let next = bench.host.start("agent");
    bench.host.set_inner(next, inner(43, 1));
    bench.registry(vec![claim("online", inner(43, 1))]);
    bench.pass(10 * SECOND);
    assert_eq!((bench.agent("a").pid, bench.agent("a").restarts), (Some(next), 1));
    bench.host.finish(next, ExitStatus::Code(0));
    let other = bench.host.start("other");
    bench.host.set_inner(other, inner(43, 1));
    bench.pass(20 * SECOND);
    bench.host.burn(other, 50 * SECOND);
    bench.pass(20 * SECOND);
    let agent = bench.agent("a");
    assert_eq!((agent.state, agent.restarts, bench.cpu_seconds("a")), (Observed::Replaced, 1, 2.0));
    let ends: Vec<String> = bench
        .stored
        .iter()
        .flat_map(|batch| &batch.runs)
        .filter_map(|run| run.end.as_ref())
        .map(|end| end.reason.to_string())
        .collect();
    assert_eq!(ends, ["error", "stopped"], "no run was given up for another word");
}

#[test]
fn a_dead_process_of_another_start_is_not_the_one_that_is_meant() {
    let mut bench = Bench::new(10 * SECOND);
    let pid = bench.host.start("stranger");
    bench.host.end(pid, killed());
    let mut claim = record("a", "online", Some(pid));
    claim.guard.start_ticks = Some(1);
    bench.registry(vec![claim]);
    bench.pass(20 * SECOND);
    assert_eq!(bench.agent("a").state, Observed::Replaced);
    bench.registry(vec![record("a", "online", Some(pid))]);
    bench.pass(20 * SECOND);
    assert_eq!(bench.agent("a").state, Observed::Zombie, "without a guard it is");
}

#[test]
fn a_zombie_is_one_for_the_next_daemon_too_until_somebody_waits_for_it() {
    let mut bench = Bench::new(10 * SECOND);
    let pid = bench.host.start("agent");
    let claim = vec![record("a", "online", Some(pid))];
    bench.registry(claim.clone());
    bench.pass(20 * SECOND);
    bench.host.end(pid, killed());
    bench.pass(20 * SECOND);
    for _ in 0..2 {
        assert_eq!(bench.agent("a").state, Observed::Zombie);
        bench.restart();
        bench.registry(claim.clone());
        bench.pass(20 * SECOND);
    }
    bench.host.reap(pid);
    bench.pass(20 * SECOND);
    let agent = bench.agent("a");
    let reason = format!("process {pid} ended (SIGKILL)");
    assert_eq!((agent.state, agent.state_reason.as_deref()), (Observed::Exited, Some(&*reason)));
}

#[test]
fn what_becomes_of_the_process_before_says_nothing_of_the_one_that_is_claimed() {
    let mut bench = Bench::new(10 * SECOND);
    let (before, now) = (bench.host.start("agent"), bench.host.start("agent"));
    bench.registry(vec![record("a", "online", Some(before))]);
    bench.pass(20 * SECOND);
    bench.host.end(before, killed());
    bench.host.end(now, killed());
    bench.pass(20 * SECOND);
    bench.registry(vec![record("a", "online", Some(now))]);
    bench.pass(20 * SECOND);
    bench.host.reap(before);
    bench.pass(20 * SECOND);
    assert_eq!(bench.agent("a").state, Observed::Zombie);
}

#[test]
fn a_leftover_that_becomes_another_agents_process_is_left_over_no_more() {
    let mut bench = Bench::new(10 * SECOND);
    let pid = bench.host.start("agent");
    let child = bench.host.fork(pid);
    bench.registry(vec![record("a", "online", Some(pid))]);
    bench.pass(20 * SECOND);
    bench.host.finish(pid, killed());
    bench.pass(20 * SECOND);
    let number = bench.agent("a").number;
    bench.registry(vec![record("a", "online", Some(pid)), record("b", "online", Some(child))]);
    bench.pass(20 * SECOND);
    let rows = bench.leftover_rows();
    let of_child = |row: &&LeftoverRow| row.process.pid == child;
    let last = rows.iter().rfind(of_child).expect("it was left over");
    assert!(last.agent == number && last.ended_at.is_some(), "{last:?}");
}
