//! Each rule of the table: when it fires, what it says, when it is over, and what a restart does to it.

use agent_monitor::model::{Pid, Severity};
use agent_monitor::monitor::Input;

use super::bench::{Bench, MINUTE, SECOND, config, crash, record};

const MIB: u64 = 1 << 20;

/// An agent that crashes and is started again, this often, each time after `pause`.
fn crashes(bench: &mut Bench, times: usize) -> Pid {
    let mut pid = bench.host.start("agent");
    bench.read(0, &[record("a", pid)]);
    bench.pass(20 * SECOND);
    for _ in 0..times {
        bench.host.finish(pid, crash());
        bench.step();
        pid = bench.host.start("agent");
        bench.read(0, &[record("a", pid)]);
        bench.pass(20 * SECOND);
    }
    pid
}

#[test]
fn three_crashes_are_a_loop_and_silence_the_ends() {
    let mut bench = Bench::new("");
    let pid = crashes(&mut bench, 2);
    assert_eq!(bench.heard(), [] as [String; 0]);
    bench.host.finish(pid, crash());
    bench.pass(10 * SECOND);
    let told = bench.told();
    assert_eq!((told.len(), &*told[0].rule, told[0].severity), (1, "crash_loop", Severity::Critical));
    assert_eq!((told[0].value, told[0].threshold), (Some(3.0), Some(3.0)));
    let message = &told[0].message;
    assert!(
        message.starts_with("a: 3 runs ended as errors within 10m, the last one with SIGSEGV, since 2026-01-01T"),
        "{message}"
    );
    // It stays down, which is said already; a new daemon knows that too.
    bench.pass_reading(2 * MINUTE, &[record("a", pid)]);
    bench.restart();
    bench.pass_reading(5 * MINUTE, &[record("a", pid)]);
    assert_eq!(bench.heard(), [] as [String; 0]);
    assert_eq!(bench.firing().len(), 1);
    bench.pass_reading(4 * MINUTE, &[record("a", pid)]);
    assert_eq!(bench.heard(), ["crash_loop of a resolved", "agent_down of a fired"]);
}

#[test]
fn crashes_of_the_last_daemon_count() {
    let mut bench = Bench::new("");
    let pid = crashes(&mut bench, 2);
    bench.restart();
    bench.read(0, &[record("a", pid)]);
    bench.pass(20 * SECOND);
    bench.host.finish(pid, crash());
    bench.pass(20 * SECOND);
    assert_eq!(bench.heard(), ["crash_loop of a fired"]);
    let mut bench = Bench::new("");
    let pid = crashes(&mut bench, 2);
    bench.pass(11 * MINUTE);
    bench.restart();
    bench.read(0, &[record("a", pid)]);
    bench.pass(20 * SECOND);
    bench.host.finish(pid, crash());
    bench.pass(20 * SECOND);
    assert!(!bench.heard().iter().any(|told| told.starts_with("crash_loop")), "too long ago");
}

#[test]
fn what_is_left_behind_for_a_minute_is_told_with_its_names() {
    let mut bench = Bench::new("");
    let pid = bench.host.start("agent");
    let child = bench.host.fork(pid);
    bench.host.set_memory(child, 300 * MIB);
    bench.read(0, &[record("a", pid)]);
    bench.pass(20 * SECOND);
    bench.host.finish(pid, crash());
    bench.read(0, &[]);
    bench.read(1, &[]);
    bench.pass(50 * SECOND);
    assert_eq!(bench.heard(), [] as [String; 0]);
    bench.pass(30 * SECOND);
    let told = bench.told();
    assert_eq!((told.len(), &*told[0].rule, told[0].value), (1, "leftovers", Some(1.0)));
    let message = &told[0].message;
    assert!(message.starts_with("a: leftover_processes 1.0 above 0 for 1m, since "), "{message}");
    assert!(message.ends_with(&format!("; heaviest: agent ({child}) 300.0 MiB")), "{message}");
    bench.host.finish(child, crash());
    bench.pass(20 * SECOND);
    let told = bench.told();
    assert_eq!((told.len(), &*told[0].rule), (1, "leftovers"));
    assert!(told[0].message.starts_with("a: leftovers is over after "), "{}", told[0].message);
}

#[test]
fn memory_that_grows_is_told_after_a_whole_window() {
    let mut bench = Bench::new("");
    let pid = bench.host.start("agent");
    let other = bench.host.fork(pid);
    let claim = [record("a", pid)];
    bench.host.set_memory(other, 10 * MIB);
    for minute in 0..14 {
        bench.host.set_memory(pid, (200 + 20 * minute) * MIB);
        bench.pass_reading(MINUTE, &claim);
    }
    assert_eq!(bench.heard(), [] as [String; 0], "no whole window yet");
    for minute in 14..17 {
        bench.host.set_memory(pid, (200 + 20 * minute) * MIB);
        bench.pass_reading(MINUTE, &claim);
    }
    let told = bench.told();
    assert_eq!((told.len(), &*told[0].rule), (1, "memory_growth"));
    let (value, threshold) = (told[0].value.unwrap(), told[0].threshold.unwrap());
    assert!(value > threshold && threshold > 210.0 + 128.0, "{value} {threshold}");
    let message = &told[0].message;
    assert!(message.starts_with("a: memory_mb grew from ") && message.contains(" within 15m, above "), "{message}");
    assert!(message.contains(&format!("; heaviest: agent ({pid}) ")), "{message}");
    // A new daemon has no window, and nothing is over for that.
    bench.restart();
    bench.pass_reading(14 * MINUTE, &claim);
    assert_eq!(bench.heard(), [] as [String; 0]);
    assert_eq!(bench.firing().len(), 1);
    bench.pass_reading(2 * MINUTE, &claim);
    assert_eq!(bench.heard(), ["memory_growth of a resolved"], "it grows no more");
}

#[test]
fn each_source_is_stale_for_itself_and_silences_its_own_agents() {
    let mut bench = Bench::new("");
    let (one, two) = (bench.host.start("agent"), bench.host.start("agent"));
    let claims = ([record("one", one)], [record("two", two)]);
    bench.read(0, &claims.0);
    bench.read(1, &claims.1);
    let rounds = |bench: &mut Bench, span: std::time::Duration| {
        for _ in 0..span.as_secs() / 10 {
            bench.fail(0);
            bench.read(1, &claims.1);
            bench.pass(10 * SECOND);
        }
    };
    rounds(&mut bench, 5 * MINUTE);
    assert_eq!(bench.heard(), [] as [String; 0]);
    rounds(&mut bench, 20 * SECOND);
    let told = bench.told();
    assert_eq!((told.len(), &*told[0].rule, told[0].source.as_deref()), (1, "registry_stale", Some("file:/one.json")));
    let message = &told[0].message;
    assert!(message.starts_with("registry source file:/one.json: no good read for 3"), "{message}");
    assert!(message.contains("s, limit 5m: cannot open it, since "), "{message}");
    // A source that says nothing any more cannot be asked whether it still expects them.
    bench.read(0, &claims.0);
    bench.host.finish(one, crash());
    bench.host.finish(two, crash());
    rounds(&mut bench, 30 * SECOND);
    assert_eq!(bench.heard(), ["registry_stale of file:/one.json resolved", "agent_down of two fired"]);
    // A new daemon does not take its own short look for news.
    rounds(&mut bench, 5 * MINUTE);
    assert_eq!(bench.heard(), ["registry_stale of file:/one.json fired"]);
    bench.restart();
    rounds(&mut bench, 4 * MINUTE);
    rounds(&mut bench, 4 * MINUTE);
    assert_eq!(bench.heard(), [] as [String; 0]);
    // One that is no longer configured has nothing to say.
    let mut config = config("");
    config.registry.sources.remove(0);
    bench.reconfigure(config);
    assert_eq!(bench.heard(), ["registry_stale of file:/one.json resolved"]);
}

#[test]
fn a_stale_source_silences_the_ends_of_its_agents() {
    let mut bench = Bench::new("[[alerts.rule]]\nname = \"agent_down\"\nfor = \"10m\"\n");
    let pid = bench.host.start("agent");
    bench.read(0, &[record("a", pid)]);
    bench.read(1, &[]);
    bench.pass(10 * SECOND);
    bench.host.finish(pid, crash());
    bench.step();
    bench.pass(SECOND);
    bench.read(0, &[record("a", pid)]);
    let fail = |bench: &mut Bench, span: std::time::Duration| {
        for _ in 0..span.as_secs() / 10 {
            bench.fail(0);
            bench.read(1, &[]);
            bench.pass(10 * SECOND);
        }
    };
    fail(&mut bench, 12 * MINUTE);
    assert_eq!(bench.heard(), ["registry_stale of file:/one.json fired"]);
    bench.read(0, &[record("a", pid)]);
    bench.pass(10 * SECOND);
    assert_eq!(bench.heard(), ["registry_stale of file:/one.json resolved", "agent_down of a fired"]);
}

/// What lives of it then is no part of what went down.
#[test]
fn an_agent_that_is_down_is_told_with_what_it_left_behind() {
    let mut bench = Bench::new("[[alerts.rule]]\nname = \"agent_down\"\nfor = \"10s\"\n");
    let pid = bench.host.start("agent");
    let child = bench.host.fork(pid);
    bench.host.set_memory(child, 300 * MIB);
    bench.read(0, &[record("a", pid)]);
    bench.read(1, &[]);
    bench.pass(20 * SECOND);
    bench.host.finish(pid, crash());
    bench.step();
    bench.pass(SECOND);
    bench.read(0, &[record("a", pid)]);
    bench.pass(20 * SECOND);
    let told = bench.told();
    assert_eq!((told.len(), &*told[0].rule), (1, "agent_down"));
    let message = &told[0].message;
    assert!(message.ends_with(&format!("; left behind: agent ({child}) 300.0 MiB")), "{message}");
}

#[test]
fn an_agent_that_is_down_is_not_also_busy() {
    let rules = "[[alerts.rule]]\nname = \"high_memory\"\nmetric = \"message_count\"\nabove = 10\nfor = \"0s\"\n\
                 [[alerts.rule]]\nname = \"others\"\nmetric = \"message_count\"\nabove = 10\n";
    let mut bench = Bench::new(rules);
    let pid = bench.host.start("agent");
    let with = |count| {
        let mut claim = record("a", pid);
        claim.message_count = Some(count);
        [claim]
    };
    bench.pass_reading(20 * SECOND, &with(1));
    bench.host.finish(pid, crash());
    bench.pass_reading(30 * SECOND, &with(1));
    assert_eq!(bench.heard(), ["agent_down of a fired"]);
    bench.pass_reading(30 * SECOND, &with(11));
    assert_eq!(bench.heard(), ["others of a fired"], "only the rules of these names");
}

#[test]
fn trouble_of_the_daemon_itself_is_told() {
    let mut bench = Bench::new("");
    bench.tell(Input::Storage(Err("disk I/O error".into())));
    bench.pass(10 * SECOND);
    let told = bench.told();
    assert_eq!((told.len(), &*told[0].rule, told[0].severity), (1, "storage_degraded", Severity::Critical));
    assert!(told[0].message.starts_with("agent-monitor cannot store: disk I/O error, since "), "{}", told[0].message);
    bench.tell(Input::Storage(Ok(())));
    bench.pass(10 * SECOND);
    assert_eq!(bench.heard(), ["storage_degraded resolved"]);

    bench.pass(2 * MINUTE);
    // Two passes late is no reason to complain, three are.
    bench.clock.advance(29 * SECOND);
    bench.step();
    bench.pass(10 * SECOND);
    assert_eq!(bench.heard(), [] as [String; 0]);
    bench.clock.advance(29 * SECOND);
    bench.step();
    bench.pass(10 * SECOND);
    let told = bench.told();
    assert_eq!((told.len(), &*told[0].rule, told[0].threshold), (1, "monitor_lagging", Some(3.0)));
    bench.pass(40 * SECOND);
    assert_eq!(bench.heard(), [] as [String; 0]);
    bench.pass(30 * SECOND);
    assert_eq!(bench.heard(), ["monitor_lagging resolved"]);
}

#[test]
fn rules_change_for_one_agent_and_for_all() {
    let rules = "[[alerts.rule]]\nname = \"agent_down\"\nseverity = \"info\"\nrepeat = \"1m\"\n\
                 [[alerts.rule]]\nname = \"agent_down\"\nagents = [\"quiet-*\"]\nenabled = false\n\
                 [[alerts.rule]]\nname = \"agent_down\"\nagents = [\"quiet-but-dear\"]\nenabled = true\nseverity = \"critical\"\n";
    let mut bench = Bench::new(rules);
    let ids = ["a", "quiet-1", "quiet-but-dear"];
    let pids = ids.map(|_| bench.host.start("agent"));
    let claims: Vec<_> = ids.iter().zip(pids).map(|(id, pid)| record(id, pid)).collect();
    bench.pass_reading(20 * SECOND, &claims);
    for pid in pids {
        bench.host.finish(pid, crash());
    }
    bench.pass_reading(30 * SECOND, &claims);
    let told = bench.told();
    let severities: Vec<Severity> = told.iter().map(|note| note.severity).collect();
    assert_eq!(severities, [Severity::Info, Severity::Critical]);
    bench.pass_reading(60 * SECOND, &claims);
    assert_eq!(bench.heard(), ["agent_down of a repeated", "agent_down of quiet-but-dear repeated"]);
    // What fired keeps its severity; what nobody looks after any more is over.
    bench.reconfigure(config(
        "[[alerts.rule]]\nname = \"agent_down\"\nseverity = \"warning\"\n\
                              [[alerts.rule]]\nname = \"agent_down\"\nagents = [\"a\"]\nenabled = false\n",
    ));
    let told = bench.told();
    assert_eq!((told.len(), told[0].severity), (1, Severity::Info));
    assert_eq!(&*told[0].message, "a: agent_down is over: it is no longer configured");
    bench.read(0, &[]);
    bench.read(1, &[]);
    bench.pass(20 * SECOND);
    let told = bench.told();
    let over: Vec<_> = told.iter().map(|note| (note.is_firing(), note.severity)).collect();
    assert!(over.contains(&(false, Severity::Critical)), "{told:?}");
}
