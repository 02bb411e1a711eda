//! A launcher and its program are one agent.

use agent_monitor::config::Config;
use agent_monitor::model::{ExitStatus, Observed};
use agent_monitor::monitor::Input;

use crate::bench::{Bench, CODEX_JS, MINUTE, SECOND, native, node};

const KILLED: ExitStatus = ExitStatus::Signal(9);

#[test]
fn a_launcher_and_its_program_are_one_agent() {
    let mut bench = Bench::new();
    let (launcher, program) = bench.codex();
    bench.host.burn(launcher, SECOND);
    bench.pass(20 * SECOND);
    bench.host.burn(program, 2 * SECOND);
    bench.pass(20 * SECOND);
    assert_eq!(bench.listed(), ["codex-1"]);
    let agent = bench.agent("codex-1");
    assert_eq!((agent.pid, agent.metrics.process_count), (Some(launcher), Some(2)));
    assert!(agent.metadata.as_str().contains(&format!("\"programPid\":{program}")), "{:?}", agent.metadata);
    assert_eq!(bench.cpu_seconds("codex-1"), 2, "what it used before it was seen is nobody's");
}

#[test]
fn the_cause_of_an_end_is_the_programs() {
    for (programs, launchers, word) in [
        (KILLED, ExitStatus::Code(1), "error: process {} ended: SIGKILL"),
        (ExitStatus::Signal(15), ExitStatus::Code(1), "stopped: process {} ended: SIGTERM"),
        (ExitStatus::Code(3), ExitStatus::Code(0), "error: process {} ended: exit code 3"),
    ] {
        let mut bench = Bench::new();
        let (launcher, program) = bench.codex();
        bench.pass(20 * SECOND);
        bench.host.finish(program, programs);
        bench.step();
        bench.pass(SECOND);
        bench.host.finish(launcher, launchers);
        bench.step();
        bench.pass(20 * SECOND);
        let expected = format!("codex-1 {}", word.replace("{}", &launcher.to_string()));
        assert_eq!(bench.events().last(), Some(&expected));
        assert_eq!(bench.runs().len(), 1);
        assert_eq!(bench.runs()[0].end.as_ref().unwrap().status, Some(programs));
    }
}

#[test]
fn a_program_that_ended_long_before_is_no_cause() {
    let mut bench = Bench::new();
    let (launcher, program) = bench.codex();
    bench.pass(20 * SECOND);
    bench.host.finish(program, KILLED);
    bench.pass(MINUTE);
    assert_eq!(bench.agent("codex-1").state, Observed::Running);
    bench.host.finish(launcher, ExitStatus::Code(0));
    bench.pass(20 * SECOND);
    assert!(bench.events().last().unwrap().contains("stopped"), "{:?}", bench.events());
}

#[test]
fn a_launcher_may_start_its_program_again() {
    let mut bench = Bench::new();
    let (launcher, program) = bench.codex();
    bench.pass(20 * SECOND);
    bench.host.finish(program, ExitStatus::Code(0));
    let again = bench.spawn(launcher, "codex", native("/opt/bin/codex", "/opt/bin/codex"));
    bench.pass(20 * SECOND);
    bench.host.end(again, KILLED);
    bench.host.end(launcher, ExitStatus::Code(1));
    bench.pass(20 * SECOND);
    assert_eq!(bench.runs()[0].end.as_ref().unwrap().status, Some(KILLED));
}

/// The agent goes on in the same run, whether or not the program was known as such.
#[test]
fn an_agent_goes_on_when_its_launcher_dies_first() {
    for known in [true, false] {
        let mut bench = Bench::new();
        if !known {
            // No look at the processes between the start and the launcher's end but the one that finds it.
            let mut config = Config::clone(&bench.config);
            config.registry.refresh = 60 * MINUTE;
            bench.tell(Input::Settings(config.into()));
        }
        let shell = bench.host.start("bash");
        let image = node("node /usr/bin/codex", CODEX_JS);
        let launcher = bench.spawn(shell, "node", image);
        bench.pass(if known { 20 } else { 61 * 60 } * SECOND);
        let program = bench.spawn(launcher, "codex", native("/opt/bin/codex", "/opt/bin/codex"));
        bench.pass(20 * SECOND);
        let noted = bench.agent("codex-1").metadata.as_str().contains("programPid");
        assert_eq!(noted, known, "{:?}", bench.agent("codex-1"));
        bench.host.burn(program, SECOND);
        bench.pass(10 * SECOND);

        bench.host.finish(launcher, KILLED);
        bench.step();
        let agent = bench.agent("codex-1");
        assert_eq!((agent.state, agent.pid, agent.restarts), (Observed::Running, Some(program), 0));
        bench.host.burn(program, 2 * SECOND);
        bench.pass(20 * SECOND);
        let agent = bench.agent("codex-1");
        assert_eq!((bench.listed().len(), agent.metrics.process_count), (1, Some(1)));
        assert_eq!((agent.leftovers.process_count, bench.cpu_seconds("codex-1")), (0, 3));
        assert!(bench.events().last().unwrap().starts_with("codex-1 warning: its launcher"), "{:?}", bench.events());

        bench.host.finish(program, ExitStatus::Signal(15));
        bench.pass(20 * SECOND);
        assert_eq!(bench.agent("codex-1").state, Observed::Exited);
        let runs = bench.runs();
        assert_eq!((runs.len(), runs[0].root.pid), (1, launcher), "one run, that of its launcher");
        assert_eq!(runs[0].end.as_ref().unwrap().status, Some(ExitStatus::Signal(15)));
        assert_eq!(runs[0].cpu_us, 3_000_000);
        assert!(bench.events().last().unwrap().contains("stopped"), "{:?}", bench.events());
    }
}

#[test]
fn a_launcher_that_dies_while_the_processes_are_listed_leaves_no_second_agent() {
    let mut bench = Bench::new();
    let (launcher, program) = bench.codex();
    bench.pass(15 * SECOND);
    bench.host.finish_when_listed(launcher, KILLED);
    bench.pass(30 * SECOND);
    assert_eq!((bench.listed(), bench.agent("codex-1").pid), (vec!["codex-1".to_owned()], Some(program)));
}

#[test]
fn a_tool_is_no_program() {
    let mut bench = Bench::new();
    let agent = bench.host.start("claude");
    let tool = bench.spawn(agent, "bash", native("/usr/bin/bash", "bash"));
    bench.pass(20 * SECOND);
    bench.host.finish(agent, KILLED);
    bench.pass(20 * SECOND);
    let ended = bench.agent("claude-1");
    assert_eq!((ended.state, ended.leftovers.process_count), (Observed::Exited, 1));
    bench.host.burn(tool, SECOND);
}

// ---- another daemon

#[test]
fn a_daemon_finds_the_agents_of_the_last_one_again() {
    let mut bench = Bench::new();
    let first = bench.host.start("claude");
    let second = bench.host.start("claude");
    let (launcher, _) = bench.codex();
    bench.pass(20 * SECOND);
    bench.host.finish(first, KILLED);
    bench.pass(3 * MINUTE);
    bench.restart(|_| ());
    bench.host.start("claude");
    bench.pass(20 * SECOND);
    assert_eq!(bench.listed(), ["claude-1", "claude-2", "claude-3", "codex-1"]);
    assert_eq!((bench.agent("claude-2").pid, bench.agent("codex-1").pid), (Some(second), Some(launcher)));
    let started = bench.events().iter().filter(|line| line.contains(" started:")).count();
    assert_eq!(started, 4, "nobody started twice: {:?}", bench.events());
    bench.pass(6 * MINUTE);
    assert!(bench.listed().contains(&"claude-1".to_owned()), "ten minutes are not over");
    bench.pass(MINUTE);
    assert!(!bench.listed().contains(&"claude-1".to_owned()), "they count from its end");
}

#[test]
fn a_daemon_goes_on_where_the_launcher_died() {
    for before in [true, false] {
        let mut bench = Bench::new();
        let (launcher, program) = bench.codex();
        bench.pass(20 * SECOND);
        bench.host.burn(program, SECOND);
        if before {
            bench.host.finish(launcher, KILLED);
        }
        bench.pass(2 * MINUTE);
        bench.restart(|bench| {
            bench.host.burn(program, 2 * SECOND);
            if !before {
                bench.host.finish(launcher, KILLED);
            }
        });
        bench.host.burn(program, 4 * SECOND);
        bench.pass(20 * SECOND);
        let agent = bench.agent("codex-1");
        assert_eq!((agent.state, agent.pid, agent.restarts), (Observed::Running, Some(program), 0));
        assert_eq!(bench.cpu_seconds("codex-1"), 7, "what it used unseen, too");
        assert_eq!(bench.listed(), ["codex-1"]);
        bench.host.finish(program, KILLED);
        bench.pass(20 * SECOND);
        let runs = bench.runs();
        assert_eq!((runs.len(), runs[0].end.as_ref().unwrap().status), (1, Some(KILLED)));
    }
}

/// A daemon that never saw the first form of a launcher's command line knows it by what the last one wrote down.
#[test]
fn a_launcher_with_a_title_keeps_its_program() {
    let mut bench = Bench::new();
    let (launcher, program) = bench.codex();
    bench.pass(20 * SECOND);
    bench.restart(|bench| bench.host.set_image(launcher, "node", native("/usr/bin/node", "codex:busy")));
    bench.pass(20 * SECOND);
    assert_eq!(bench.listed(), ["codex-1"]);
    bench.host.finish(program, KILLED);
    bench.host.finish(launcher, ExitStatus::Code(1));
    bench.step();
    assert_eq!(bench.runs()[0].end.as_ref().unwrap().status, Some(KILLED));
}

#[test]
fn what_ended_long_before_a_reboot_is_not_listed_after_it() {
    for (away, listed) in [(MINUTE, 1), (60 * MINUTE, 0)] {
        let mut bench = Bench::new();
        let pid = bench.host.start("claude");
        bench.pass(20 * SECOND);
        bench.host.finish(pid, KILLED);
        bench.pass(20 * SECOND);
        assert_eq!(bench.rebooted(away).listed().len(), listed);
    }
}

#[test]
fn a_reboot_ends_what_was_found() {
    let mut bench = Bench::new();
    bench.host.start("claude");
    bench.pass(20 * SECOND);
    bench.restart(|bench| bench.host.reboot());
    bench.pass(20 * SECOND);
    assert_eq!(bench.agent("claude-1").state, Observed::Exited);
    assert_eq!(&*bench.runs()[0].end.as_ref().unwrap().reason, "unobserved");
}
