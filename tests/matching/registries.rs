//! Beside sources that name agents.

use agent_monitor::config::Source;
use agent_monitor::model::{AgentId, ExitStatus, Observed, Pid, Record, StartGuard};
use agent_monitor::monitor::Input;

use crate::bench::{Bench, MINUTE, SECOND, file, native, program, record};

#[test]
fn sources_that_name_agents_find_none() {
    let mut bench = Bench::with(vec![file()]);
    bench.host.start("claude");
    bench.registry(Vec::new());
    bench.pass(MINUTE);
    assert_eq!(bench.listed(), [""; 0]);
}

#[test]
fn what_a_registry_names_is_not_found_as_well() {
    let mut bench = Bench::with(vec![file(), program("claude")]);
    let (named, other) = (bench.host.start("claude"), bench.host.start("claude"));
    bench.step();
    bench.pass(5 * SECOND);
    assert_eq!(bench.listed(), [""; 0], "the registry was not heard yet");
    bench.registry(vec![record("planner", Some(named))]);
    bench.pass(30 * SECOND);
    assert_eq!(bench.listed(), ["claude-1", "planner"]);
    assert_eq!((bench.agent("claude-1").pid, bench.agent("planner").pid), (Some(other), Some(named)));
    assert_eq!(bench.alerts(), 0);
}

#[test]
fn a_registry_that_is_silent_or_fails_is_not_waited_for() {
    let mut silent = Bench::with(vec![file(), program("claude")]);
    silent.host.start("claude");
    silent.pass(9 * SECOND);
    assert_eq!(silent.listed(), [""; 0]);
    silent.pass(2 * SECOND);
    assert_eq!(silent.listed(), ["claude-1"]);
    let mut failing = Bench::with(vec![file(), program("claude")]);
    failing.host.start("claude");
    failing.tell(Input::Source { index: 0, reading: Err("no such file".into()) });
    assert_eq!(failing.listed(), ["claude-1"]);
}

#[test]
fn an_agent_that_was_found_makes_way_for_a_registrys() {
    let mut bench = Bench::with(vec![file(), program("claude")]);
    let pid = bench.host.start("claude");
    let child = bench.host.fork(pid);
    bench.host.set_image(child, "bash", native("/usr/bin/bash", "bash"));
    bench.registry(Vec::new());
    bench.pass(20 * SECOND);
    bench.host.burn(child, SECOND);
    bench.pass(20 * SECOND);
    assert_eq!(bench.cpu_seconds("claude-1"), 1);
    // A claim that means another process takes nothing away.
    let stranger = StartGuard { start_ticks: Some(7), ..StartGuard::default() };
    bench.registry(vec![Record { guard: stranger, ..record("planner", Some(pid)) }]);
    bench.pass(20 * SECOND);
    assert_eq!(bench.agent("claude-1").state, Observed::Running);
    assert!(!bench.events().iter().any(|line| line.contains("superseded")), "{:?}", bench.events());
    bench.registry(vec![record("planner", Some(pid))]);
    bench.host.burn(child, 2 * SECOND);
    bench.pass(20 * SECOND);
    assert_eq!(bench.listed(), ["planner"]);
    assert_eq!((bench.agent("planner").state, bench.cpu_seconds("planner")), (Observed::Running, 2));
    assert_eq!(bench.agent("planner").metrics.process_count, Some(2));
    // Its record goes: while it lives it is that agent, and not found again.
    bench.registry(Vec::new());
    bench.pass(MINUTE);
    assert_eq!(bench.agent("planner").state_reason.as_deref(), Some("no longer registered"));
    assert_eq!(bench.listed(), ["planner"]);
}

#[test]
fn a_registry_may_name_the_program_below_a_launcher() {
    let mut bench = Bench::with(vec![file(), program("codex")]);
    bench.registry(Vec::new());
    let (launcher, program) = bench.codex();
    bench.pass(20 * SECOND);
    assert_eq!(bench.agent("codex-1").metrics.process_count, Some(2));
    bench.registry(vec![record("coder", Some(program))]);
    bench.pass(30 * SECOND);
    assert_eq!(bench.listed(), ["coder"]);
    assert_eq!(bench.agent("coder").metrics.process_count, Some(1));
    bench.host.finish(program, ExitStatus::Signal(9));
    bench.host.finish(launcher, ExitStatus::Code(1));
    bench.registry(vec![record("coder", Some(program))]);
    bench.pass(30 * SECOND);
    assert_eq!(bench.agent("coder").state_reason, Some(format!("process {program} ended (SIGKILL)").into()));
}

#[test]
fn an_agent_of_the_command_line_is_not_found_as_well() {
    // The first process after process 1.
    let (mine, pid) = (AgentId::new("mine").unwrap(), Pid::new(2).unwrap());
    let mut bench = Bench::with(vec![Source::Flags(vec![(mine, pid)]), program("claude")]);
    assert_eq!(bench.host.start("claude"), pid);
    bench.step();
    bench.registry(vec![record("mine", Some(pid))]);
    bench.pass(MINUTE);
    assert_eq!(bench.listed(), ["mine"]);
}
