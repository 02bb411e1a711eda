//! Claims that no registry should make, and that some do.

use std::fs;
use std::os::unix::process::CommandExt;
use std::sync::mpsc::channel;

use serde_json::{Value, json};

use super::harness::{BRISK, NOBODY, Place, Way, agent, is_root, outcome, program, until};
use super::tree::{Tree, child, shell};

/// State and reason of an agent.
fn said(agent: &Value) -> (&str, &str) {
    (agent["state"].as_str().unwrap(), agent["stateReason"].as_str().unwrap_or(""))
}

#[test]
fn pids_that_are_no_agents() {
    Way::each(odd_pids);
}

fn odd_pids(way: Way) {
    let tree = Tree::start();
    let (tell, told) = channel();
    let (stop, stopped) = channel::<()>();
    let thread = std::thread::spawn(move || {
        tell.send(rustix::thread::gettid().as_raw_nonzero().get()).unwrap();
        let _ = stopped.recv();
    });
    let place = Place::of(way);
    place.configure(BRISK);
    place.register(&json!([]));
    let daemon = place.start_with_registry();
    place.register(&json!([
        { "id": "first", "pid": 1 },
        { "id": "itself", "pid": daemon.pid() },
        { "id": "kernel", "pid": 2 },
        { "id": "thread", "pid": told.recv().unwrap() },
        { "id": "b", "pid": tree.pid() },
        { "id": "a", "pid": tree.pid() },
        { "id": "nowhere", "pid": i32::MAX },
        { "id": "without" },
        { "id": "zero", "pid": 0 },
        { "id": "text", "pid": "12x" },
    ]));
    let first = daemon.until_known("first");
    assert!(first["metrics"]["processCount"].as_u64().unwrap() >= 1, "{first:#}");
    let page = daemon.page("first");
    let processes = page["processes"].as_array().unwrap();
    for stranger in [daemon.pid(), tree.pid()] {
        assert!(processes.iter().all(|process| process["pid"] != stranger), "{stranger} is not of process 1's tree");
    }
    let itself = daemon.agent("itself");
    assert_eq!(said(&itself).0, "running");
    assert!(said(&itself).1.contains("agent-monitor itself"), "{itself:#}");
    assert_eq!((&itself["metrics"]["cpuSeconds"], &itself["metrics"]["memoryMb"]), (&Value::Null, &Value::Null));
    if fs::read_to_string("/proc/2/comm").is_ok_and(|name| name == "kthreadd\n") {
        let kernel = daemon.agent("kernel");
        assert_eq!(said(&kernel), ("replaced", "process 2 is a thread of the kernel"));
        assert_eq!(kernel["status"], "offline");
    }
    for id in ["thread", "nowhere"] {
        let agent = daemon.agent(id);
        assert_eq!(said(&agent), ("exited", &*format!("there is no process {}", agent["pid"])));
    }
    let (owner, sharer) = (daemon.until_known("a"), daemon.agent("b"));
    assert_eq!(said(&owner), ("running", ""));
    assert_eq!(said(&sharer), ("running", &*format!("shares process {} with a", tree.pid())));
    assert_eq!((&sharer["pid"], &sharer["metrics"]["memoryMb"]), (&json!(tree.pid()), &Value::Null));
    for id in ["without", "zero", "text"] {
        assert_eq!(daemon.agent(id)["state"], "no_pid", "{id}");
    }
    drop(stop);
    thread.join().unwrap();
    daemon.stop();
    assert_eq!(place.count("select count(*) from agent_runs where agent_id in ('b', 'itself', 'kernel', 'thread')"), 0);
}

#[test]
fn nested_agents_and_one_that_is_said_to_have_ended() {
    Way::each(nested_agents);
}

fn nested_agents(way: Way) {
    let mut outer = Tree::start();
    let inner = outer.spawn(&child("burn 60; sleep 1000"));
    let place = Place::of(way);
    place.configure(BRISK);
    place.register(
        &json!([{ "id": "outer", "pid": outer.pid() }, { "id": "inner", "pid": inner, "status": "completed" }]),
    );
    let daemon = place.start_with_registry();
    let inner_view = daemon.until("inner", "what it used is its own", |agent| {
        agent["metrics"]["processCount"] == 2 && agent["metrics"]["cpuPercent"].as_f64() < Some(5.0)
    });
    assert_eq!((&inner_view["status"], &inner_view["registryStatus"]), (&json!("completed"), &json!("completed")));
    assert_eq!(said(&inner_view), ("running", &*format!("said to be completed, but process {inner} runs")));
    let outer_view = daemon.until_known("outer");
    assert_eq!(outer_view["metrics"]["processCount"], 1);
    let used = outer_view["metrics"]["cpuSeconds"].as_f64().unwrap();
    daemon.readings("inner", 3);
    let denials = "select count(*) from agent_events where agent_id = 'inner' and event_type = 'warning'
                   and json_extract(metadata, '$.reason') = 'claimed_ended_but_running'";
    place.until_stored(denials, 1);

    // The outer one waits for the inner one: what that used counts once.
    outer.ask(&format!("{{ kill {inner}; wait {inner}; }} 2>/dev/null; echo gone"));
    let ended = daemon.until("inner", "it has ended", |agent| agent["state"] == "exited");
    assert_eq!(ended["status"], "completed");
    daemon.readings("outer", 3);
    let after = daemon.agent("outer")["metrics"]["cpuSeconds"].as_f64().unwrap();
    assert!(after - used < 0.1, "{used} s, then {after} s");
    let page = daemon.until_listed("inner", "what is left is told", |page| {
        page["events"][0]["metadata"]["reason"] == "leftovers_found"
    });
    let reasons: Vec<&Value> =
        page["events"].as_array().unwrap().iter().take(2).map(|event| &event["metadata"]["reason"]).collect();
    assert_eq!(reasons, ["leftovers_found", "stopped"], "its registry said so: {page:#}");
    assert_eq!(page["leftovers"].as_array().unwrap().len(), 1);
    daemon.stop();
    assert_eq!(place.count(denials), 1, "told once");
}

#[test]
fn an_agent_that_starts_the_daemon_is_not_charged_for_it() {
    Way::each(an_agent_above_the_daemon);
}

fn an_agent_above_the_daemon(way: Way) {
    let mut outer = Tree::start();
    let place = Place::of(way);
    let url = outer.ask(&format!("{} --interval 1s --agent outer=$$ 2>/dev/null &", place.command_line()));
    assert!(url.starts_with("http://"), "{url}");
    let view = || agent(&place.get("/api/monitoring/dashboard"), "outer");
    let mut asked = 0;
    let mut seen = Vec::new();
    until("it was read a few times", || {
        // What the daemon uses for these answers is not the agent's.
        for _ in 0..50 {
            place.get("/api/monitoring/agents/outer");
            asked += 1;
        }
        let at = view()["metrics"]["timestamp"].clone();
        if !seen.contains(&at) {
            seen.push(at);
        }
        if seen.len() > 4 { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    let view = view();
    assert_eq!(view["metrics"]["processCount"], 1, "{view:#}");
    assert!(view["metrics"]["cpuSeconds"].as_f64().unwrap() < 0.05, "after {asked} questions: {view:#}");
}

/// A process chooses its own name, and what it chooses is text.
#[test]
fn a_name_that_looks_like_something_else() {
    Way::each(odd_name);
}

fn odd_name(way: Way) {
    let name = ") R 1 (\u{1b}[2J\n";
    let mut tree = Tree::start();
    tree.ask(r"printf ') R 1 (\033[2J\n' >/proc/$$/comm; echo done");
    let worker = tree.spawn(&child(r"printf ') Z 0 <b>' >/proc/\$\$/comm; sleep 1000 & wait"));
    let place = Place::of(way);
    let daemon = place.start(&[&format!("--agent=a={}", tree.pid())]);
    let view = daemon.until("a", "its tree is known", |agent| agent["metrics"]["processCount"] == 3);
    assert_eq!((&view["pid"], &view["state"]), (&json!(tree.pid()), &json!("running")));
    let page = daemon.page("a");
    let name_of = |pid: u32| {
        let processes = page["processes"].as_array().unwrap();
        processes.iter().find(|process| process["pid"] == pid).unwrap()["command"].clone()
    };
    assert_eq!((name_of(tree.pid()), name_of(worker)), (json!(name), json!(") Z 0 <b>")), "as it is, in JSON");
    let (code, text, log) = outcome(program().args(["agent", "a", "--socket"]).arg(place.path("s")));
    assert_eq!(code, Some(0), "{log}");
    assert!(text.contains(") R 1 (\u{fffd}[2J") && !text.contains('\u{1b}'), "nothing steers a terminal: {text:?}");
}

/// The daemon as a user who may not see everything, and agents of other users.
#[test]
fn other_users() {
    if !is_root() {
        return println!("not root: cannot be somebody else");
    }
    Way::each(agents_of_others);
}

fn agents_of_others(way: Way) {
    let place = Place::of_user(way, NOBODY);
    let (roots, mut theirs) = (Tree::start(), Tree::of(shell().uid(NOBODY - 1).gid(NOBODY)));
    let claims = [format!("--agent=root={}", roots.pid()), format!("--agent=other={}", theirs.pid())];
    let daemon = place.start(&[&claims[0], &claims[1]]);
    for id in ["root", "other"] {
        let agent = daemon.until_known(id);
        assert!(agent["metrics"]["memoryMb"].as_f64().unwrap() > 0.0, "{agent:#}");
        // /proc/PID/io is not for everybody: that is not zero.
        assert_eq!((&agent["metrics"]["readBytes"], &agent["metrics"]["writtenBytes"]), (&Value::Null, &Value::Null));
        assert_eq!(agent["state"], "running");
    }
    theirs.ask(&format!("{}; echo done", child("burn 20")));
    daemon.until("other", "what its child used", |agent| agent["metrics"]["cpuSeconds"].as_f64() >= Some(0.19));
    theirs.kill();
    theirs.wait();
    let gone = daemon.until("other", "it has ended", |agent| agent["state"] == "exited");
    let reasons = ["ended (SIGKILL)", "ended; how is not known"].map(|how| format!("process {} {how}", theirs.pid()));
    // Linux 6.15 tells everybody; before, only some.
    let reason = gone["stateReason"].as_str().unwrap();
    assert!(reasons.iter().any(|expected| expected == reason), "{reason}");
    daemon.stop();

    // And root watches somebody else's.
    let theirs = Tree::of(shell().uid(NOBODY).gid(NOBODY));
    let place = Place::of(way);
    let daemon = place.start(&[&format!("--agent=theirs={}", theirs.pid())]);
    let agent = daemon.until_known("theirs");
    assert!(agent["metrics"]["readBytes"].is_number(), "{agent:#}");
    let page = daemon.page("theirs");
    assert_ne!(page["processes"][0]["user"], "root", "{page:#}");
}
