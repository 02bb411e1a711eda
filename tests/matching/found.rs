//! Who is found, what they are called, when they go.

use std::sync::Arc;

use agent_monitor::config::{Config, MatchBy, Source};
use agent_monitor::model::{ExitStatus, Image, Observed};
use agent_monitor::monitor::Input;

use crate::bench::{Bench, CODEX_JS, MINUTE, SECOND, file, native, node, program};

const KILLED: ExitStatus = ExitStatus::Signal(9);

#[test]
fn an_agent_is_found_at_the_first_pass_and_claims_nothing() {
    let mut bench = Bench::new();
    let shell = bench.host.start("bash");
    let pid = bench.spawn(shell, "claude", native("/home/me/.local/share/claude/versions/2.1.197", "claude"));
    bench.step();
    assert_eq!(bench.listed(), ["claude-1"]);
    let agent = bench.agent("claude-1");
    assert_eq!((&*agent.source, &*agent.status, agent.registry_status.clone()), ("match:claude", "online", None));
    assert_eq!((agent.state, agent.pid, agent.state_reason.clone()), (Observed::Running, Some(pid), None));
    assert_eq!(bench.events(), [format!("claude-1 started: process {pid} (claude) is running")]);
    let source = &bench.snapshot().own.sources[0];
    assert_eq!((&*source.name, source.records, source.good_at.is_some()), ("match", 1, true));
    // What it uses and starts is its.
    let child = bench.host.fork(pid);
    bench.host.burn(child, 2 * SECOND);
    bench.pass(20 * SECOND);
    assert_eq!((bench.agent("claude-1").metrics.process_count, bench.cpu_seconds("claude-1")), (Some(2), 2));
    assert_eq!(bench.listed(), ["claude-1"], "a copy of itself is no other agent");
}

#[test]
fn one_that_starts_later_is_found_within_a_refresh() {
    let mut bench = Bench::new();
    bench.pass(25 * SECOND);
    bench.host.start("claude");
    bench.pass(10 * SECOND);
    assert_eq!(bench.listed(), ["claude-1"]);
}

#[test]
fn numbers_are_the_lowest_that_are_free() {
    let mut bench = Bench::new();
    let pids: Vec<_> = (0..3).map(|_| bench.host.start("claude")).collect();
    bench.pass(20 * SECOND);
    assert_eq!(bench.listed(), ["claude-1", "claude-2", "claude-3"]);
    assert_eq!(bench.agent("claude-2").pid, Some(pids[1]), "the oldest first");
    bench.host.finish(pids[1], KILLED);
    bench.pass(MINUTE);
    assert_eq!((&*bench.agent("claude-2").status, bench.agent("claude-2").state), ("offline", Observed::Exited));
    bench.host.start("claude");
    bench.pass(10 * SECOND);
    assert_eq!(bench.listed(), ["claude-1", "claude-2", "claude-3", "claude-4"], "2 is still in the lists");
    bench.pass(8 * MINUTE + 40 * SECOND);
    assert!(bench.listed().contains(&"claude-2".to_owned()), "ten minutes are not over");
    bench.pass(20 * SECOND);
    assert_eq!(bench.listed(), ["claude-1", "claude-3", "claude-4"]);
    let again = bench.host.start("claude");
    bench.pass(20 * SECOND);
    let reused = bench.agent("claude-2");
    assert_eq!((reused.pid, reused.restarts), (Some(again), 0), "somebody else, not the same again");
    let told = bench.events().into_iter().filter(|line| line.starts_with("claude-2")).collect::<Vec<_>>();
    assert_eq!(told.len(), 3, "started, error, started: {told:?}");
    assert!(told[2].starts_with("claude-2 started"));
    assert_eq!(bench.alerts(), 0, "nobody expects it to run");
}

#[test]
fn one_with_leftovers_stays_in_the_lists() {
    let mut bench = Bench::new();
    let pid = bench.host.start("claude");
    let server = bench.spawn(pid, "server", native("/usr/bin/server", "server"));
    bench.host.set_session(server);
    bench.pass(20 * SECOND);
    bench.host.finish(pid, KILLED);
    bench.pass(15 * MINUTE);
    assert_eq!(bench.agent("claude-1").leftovers.process_count, 1);
    bench.host.vanish(server);
    bench.pass(20 * SECOND);
    assert_eq!(bench.listed(), [""; 0]);
}

/// What a process runs is asked when it may have become another: its name changed, it execed, it was young.
#[test]
fn a_process_is_asked_again_when_it_may_have_become_another() {
    let claude = || native("/usr/bin/claude", "claude");
    let mut bench = Bench::new();
    let (execs, renames, quiet) = (bench.host.start("claude-x"), bench.host.start("bash"), bench.host.start("claude"));
    for pid in [execs, renames, quiet] {
        bench.host.set_image(pid, "claude", native("/usr/bin/bash", "bash"));
    }
    bench.host.set_image(renames, "bash", native("/usr/bin/bash", "bash"));
    bench.pass(30 * SECOND);
    assert_eq!(bench.listed(), [""; 0]);
    bench.host.exec(execs, "claude", claude());
    bench.host.set_image(renames, "claude", claude());
    bench.host.set_image(quiet, "claude", claude());
    bench.pass(20 * SECOND);
    let pids: Vec<_> = bench.snapshot().agents.iter().map(|agent| agent.pid.unwrap()).collect();
    assert_eq!(pids, [execs, renames], "the third gave no sign: it is not read at every look");
    // In the middle of an exec there is no command line.
    bench.host.exec(quiet, "claude", Image { words: Vec::new(), ..claude() });
    bench.pass(10 * SECOND);
    bench.host.set_image(quiet, "claude", claude());
    bench.pass(10 * SECOND);
    assert_eq!(bench.agent("claude-3").pid, Some(quiet));
    let young = bench.start("claude", native("/usr/bin/bash", "bash"));
    bench.pass(9 * SECOND);
    bench.host.set_image(young, "claude", claude());
    bench.pass(11 * SECOND);
    assert_eq!(bench.agent("claude-4").pid, Some(young));
}

#[test]
fn a_title_changes_nothing() {
    let mut bench = Bench::new();
    let entry = "/usr/lib/node_modules/@mariozechner/pi-coding-agent/dist/cli.js";
    let pi = bench.start("node", node("node /usr/bin/pi -p x", entry));
    let gemini =
        bench.start("node", node("node /usr/bin/gemini", "/usr/lib/node_modules/@google/gemini-cli/bundle/gemini.js"));
    bench.pass(20 * SECOND);
    bench.host.set_image(pi, "pi", native("/usr/bin/node", "pi"));
    let title = Image { words: vec!["gemini: busy".into()], ..native("/usr/bin/node", "") };
    bench.host.set_image(gemini, "gemini: busy", title);
    let claude = bench.host.start("claude");
    bench.pass(20 * SECOND);
    bench.host.set_image(claude, "busy", native("/usr/bin/claude", "busy"));
    bench.pass(20 * SECOND);
    let pids = ["pi-1", "gemini-1", "claude-1"].map(|id| bench.agent(id)).map(|agent| (agent.pid, agent.state));
    assert_eq!(pids, [pi, gemini, claude].map(|pid| (Some(pid), Observed::Running)));
    // Also to a daemon that has never seen the first form.
    bench.restart(|_| ());
    bench.pass(20 * SECOND);
    assert_eq!(bench.listed(), ["claude-1", "gemini-1", "pi-1"]);
    assert_eq!(bench.events().len(), 3, "{:?}", bench.events());
}

#[test]
fn a_root_that_becomes_another_program_is_no_agent_any_more() {
    let mut bench = Bench::new();
    let pid = bench.host.start("claude");
    bench.pass(20 * SECOND);
    bench.host.exec(pid, "bash", native("/usr/bin/bash", "bash"));
    bench.pass(20 * SECOND);
    assert_eq!(bench.agent("claude-1").state, Observed::NoPid);
    assert_eq!(&*bench.runs()[0].end.as_ref().unwrap().reason, "superseded");
    bench.host.exec(pid, "claude", native("/usr/bin/claude", "claude"));
    bench.pass(20 * SECOND);
    assert_eq!(bench.agent("claude-2").pid, Some(pid));
}

#[test]
fn an_agent_started_by_another_agents_tool_is_one_of_its_own() {
    let mut bench = Bench::new();
    let outer = bench.host.start("claude");
    let tool = bench.spawn(outer, "bash", native("/usr/bin/bash", "bash -c claude"));
    bench.host.set_session(tool);
    let inner = bench.spawn(tool, "claude", native("/usr/bin/claude", "claude -p x"));
    let direct = bench.spawn(outer, "codex", native("/opt/bin/codex", "codex exec x"));
    bench.pass(20 * SECOND);
    assert_eq!(bench.listed(), ["claude-1", "claude-2", "codex-1"]);
    for (pid, seconds) in [(outer, 1), (tool, 2), (inner, 4), (direct, 8)] {
        bench.host.burn(pid, seconds * SECOND);
    }
    bench.pass(20 * SECOND);
    let used = ["claude-1", "claude-2", "codex-1"].map(|id| bench.cpu_seconds(id));
    assert_eq!(used, [3, 4, 8]);
    bench.host.finish(inner, ExitStatus::Code(0));
    bench.pass(20 * SECOND);
    assert_eq!(bench.cpu_seconds("claude-1"), 3, "what its tool waited for was another agent");
}

#[test]
fn a_helper_is_no_agent_and_a_member_where_it_hangs() {
    let mut bench = Bench::new();
    bench.start("claude", native("/usr/bin/claude", "claude mcp serve"));
    let agent = bench.start("codex", native("/opt/bin/codex", "codex"));
    bench.spawn(agent, "codex", native("/opt/bin/codex", "codex --version"));
    bench.pass(20 * SECOND);
    assert_eq!(bench.listed(), ["codex-1"]);
    assert_eq!(bench.agent("codex-1").metrics.process_count, Some(2));
}

/// Several windows of codex share a daemon, which the first one started and which outlives it.
#[test]
fn the_daemon_of_codex_is_an_agent_with_its_keeper() {
    let mut bench = Bench::new();
    let home = "/home/me/.codex/packages/app-server-daemon/releases/1/bin/codex";
    let (launcher, window) = bench.codex();
    bench.pass(5 * SECOND);
    let daemon = bench.spawn(window, "codex", native(home, "codex app-server --listen unix:// --managed-daemon"));
    bench.host.set_session(daemon);
    let keeper = bench.spawn(window, "codex", native(home, "codex app-server daemon pid-update-loop"));
    bench.host.set_session(keeper);
    let tool = bench.spawn(daemon, "bash", native("/usr/bin/bash", "bash"));
    bench.pass(20 * SECOND);
    let trees = |bench: &Bench| ["codex-1", "codex-daemon-1"].map(|id| bench.agent(id).metrics.process_count);
    assert_eq!(trees(&bench), [Some(2), Some(3)], "{:?}", bench.listed());
    bench.host.burn(keeper, SECOND);
    bench.host.burn(tool, 2 * SECOND);
    bench.host.finish(window, ExitStatus::Code(0));
    bench.host.finish(launcher, ExitStatus::Code(0));
    bench.pass(20 * SECOND);
    assert_eq!(bench.agent("codex-1").leftovers.process_count, 0);
    assert_eq!((bench.agent("codex-daemon-1").state, bench.cpu_seconds("codex-daemon-1")), (Observed::Running, 3));
    // Another daemon finds both without the window.
    bench.stored.clear();
    bench.restart(|_| ());
    bench.pass(20 * SECOND);
    assert_eq!(bench.listed(), ["codex-daemon-1"]);
    assert_eq!(bench.agent("codex-daemon-1").metrics.process_count, Some(3));
}

#[test]
fn users_own_rules_replace_the_built_in_ones() {
    let line = Source::Match { agent: "py".to_owned(), by: MatchBy::CommandLine("^/srv/[a-z]+ --serve".to_owned()) };
    let mut bench = Bench::with(vec![program("mine"), line]);
    bench.host.start("claude");
    bench.host.start("mine");
    bench.start("node", node("node /usr/bin/mine", "/opt/mine/dist/index.js"));
    bench.start("srv", native("/srv/thing", "thing --serve x"));
    bench.pass(10 * SECOND);
    assert_eq!(bench.listed(), ["mine-1", "mine-2", "py-1"]);
    let sources: Vec<_> = bench.snapshot().own.sources.iter().map(|source| (&*source.name, source.records)).collect();
    assert_eq!(sources, [("match:mine", 2), ("match:py", 1)]);
    // Without its rule an agent that runs is not lost sight of; nobody new is found.
    let mut config = Config::clone(&bench.config);
    config.registry.sources = vec![program("other")];
    bench.tell(Input::Settings(Arc::new(config)));
    bench.host.start("mine");
    bench.host.start("other");
    bench.pass(20 * SECOND);
    assert_eq!(bench.listed(), ["mine-1", "mine-2", "other-1", "py-1"]);
}

#[test]
fn those_that_ended_leave_the_lists_when_nobody_is_looked_for_any_more() {
    let mut bench = Bench::new();
    bench.host.tell_forks();
    let pid = bench.host.start("claude");
    bench.pass(20 * SECOND);
    let mut config = Config::clone(&bench.config);
    config.registry.sources = vec![file()];
    bench.tell(Input::Settings(Arc::new(config)));
    bench.host.finish(pid, KILLED);
    bench.pass(9 * MINUTE);
    assert_eq!(bench.listed(), ["claude-1"]);
    bench.pass(2 * MINUTE);
    assert_eq!(bench.listed(), [""; 0]);
}

#[test]
fn what_may_not_be_read_is_counted_and_not_found() {
    let mut bench = Bench::new();
    let pid = bench.host.start("claude");
    bench.host.set_denied(pid, true);
    bench.pass(20 * SECOND);
    assert_eq!(bench.listed(), [""; 0]);
    assert!(bench.snapshot().own.reads_denied > 0);
}

#[test]
fn two_looks_at_the_wrapper_of_one_that_execs_are_one_agent() {
    let mut bench = Bench::new();
    let pid = bench.start("node", node("node /usr/bin/codex", CODEX_JS));
    bench.pass(5 * SECOND);
    bench.host.exec(pid, "codex", native("/opt/bin/codex", "/opt/bin/codex"));
    bench.pass(20 * SECOND);
    assert_eq!((bench.listed().len(), bench.agent("codex-1").pid), (1, Some(pid)));
    assert_eq!(bench.events().len(), 1);
}
