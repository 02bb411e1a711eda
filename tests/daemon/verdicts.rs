//! What is claimed of an agent against what is so, each with real processes.

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::harness::{BRISK, Daemon, NOBODY, Place, Way, agent, is_root, signal, until};
use super::tree::{Tree, child, container};

/// For a shell: says field 22 of `/proc/PID/stat`, proc(5), of a process whose name has no blank.
fn start_of(pid: u32) -> String {
    format!("read -r a b c d e f g h i j k l m n o p q r s t u start rest </proc/{pid}/stat; echo $start")
}

/// Status, state and reason.
fn said(agent: &Value) -> (&str, &str, &str) {
    let word = |name: &str| agent[name].as_str().unwrap_or("");
    (word("status"), word("state"), word("stateReason"))
}

#[test]
fn every_claim_against_every_fact() {
    Way::each(claims_and_facts);
}

fn claims_and_facts(way: Way) {
    let place = Place::of(way);
    place.configure(BRISK);
    place.register(&json!([]));
    let daemon = place.start_with_registry();
    let (mut runs, mut killed): (Vec<Tree>, Vec<Tree>) = (Vec::new(), Vec::new());
    let mut records = Vec::new();
    let mut expected: Vec<(String, String, &str, String)> = Vec::new();
    for word in ["busy", "completed"] {
        let (run, dead) = (Tree::start(), Tree::start());
        dead.kill();
        let down = if word == "busy" { "offline" } else { word };
        let (lives, ends, itself) = (run.pid(), dead.pid(), daemon.pid());
        let denial = format!("said to be completed, but process {lives} runs");
        let no_contradiction = |text: String| if word == "busy" { text } else { denial.clone() };
        let of_itself = if word == "busy" {
            format!("process {itself} is agent-monitor itself, which is not watched")
        } else {
            format!("said to be completed, but process {itself} runs")
        };
        for (fact, pid, guard, status, state, reason) in [
            ("a running", Some(lives), Value::Null, word, "running", no_contradiction(String::new())),
            (
                "a shared",
                Some(lives),
                Value::Null,
                word,
                "running",
                format!("shares process {lives} with {word} a running"),
            ),
            (
                "a zombie",
                Some(ends),
                Value::Null,
                down,
                "zombie",
                format!("process {ends} ended and its parent has not waited for it"),
            ),
            (
                "never there",
                Some(i32::MAX as u32),
                Value::Null,
                down,
                "exited",
                format!("there is no process {}", i32::MAX),
            ),
            (
                "another one",
                Some(lives),
                json!(7),
                down,
                "replaced",
                format!("process {lives} is another one: its start differs"),
            ),
            (
                "a kernel thread",
                Some(2),
                Value::Null,
                down,
                "replaced",
                "process 2 is a thread of the kernel".to_owned(),
            ),
            ("the daemon", Some(itself), Value::Null, word, "running", of_itself),
            ("no pid", None, Value::Null, word, "no_pid", "no process id is known".to_owned()),
        ] {
            let id = format!("{word} {fact}");
            records.push(json!({ "id": id, "pid": pid, "status": word, "procStart": guard }));
            expected.push((id, status.to_owned(), state, reason));
        }
        runs.push(run);
        killed.push(dead);
    }
    assert!(fs::read_to_string("/proc/2/comm").unwrap().starts_with("kthreadd"), "process 2 is the kernel's");
    place.register(&json!(records));
    for word in ["busy", "completed"] {
        daemon.until_known(&format!("{word} a running"));
    }
    let now = daemon.dashboard();
    let down: Vec<&String> = expected.iter().filter(|(_, status, ..)| status == "offline").map(|(id, ..)| id).collect();
    for (id, status, state, reason) in &expected {
        let view = agent(&now, id);
        assert_eq!(said(&view), (&**status, *state, &**reason), "{way:?}, {id}: {view:#}");
        assert_eq!(view["registryStatus"], id.split(' ').next().unwrap(), "the registry's own word");
        let owns = id.ends_with("a running");
        assert_eq!(view["metrics"]["memoryMb"].is_number(), owns, "{id}: {view:#}");
        assert_eq!(view["metrics"]["cpuSeconds"].is_number(), owns, "{id}: {view:#}");
    }
    until("those who should run and do not are down, and nobody else", || {
        let now = daemon.dashboard();
        let all = now["agents"].as_array().unwrap().iter();
        let firing: Vec<&str> = all
            .filter(|agent| agent["alerts"] == json!(["agent_down"]))
            .map(|agent| agent["agentId"].as_str().unwrap())
            .collect();
        let mut expected: Vec<&str> = down.iter().map(|id| id.as_str()).collect();
        expected.sort_unstable();
        if firing == expected { Ok(()) } else { Err(format!("{firing:?}, not {expected:?}")) }
    });
}

/// In a pid namespace of its own, where the numbers can be chosen and nobody else takes them.
#[test]
fn a_pid_that_is_used_again_is_another_process() {
    if !is_root() {
        return println!("NOT TESTED: only root can make a pid namespace");
    }
    let place = Place::new();
    place.configure(BRISK);
    place.register(&json!([]));
    let mut world = container();
    let registry = place.path("agents.json");
    let start = format!("{} --interval 1s --registry '{}' 2>/dev/null &", place.command_line(), registry.display());
    assert!(world.ask(&start).starts_with("http://"));
    let daemon = world.ask("echo $!");
    let until_agent = |what: &str, seen: &dyn Fn(&Value) -> bool| {
        until(what, || {
            let view = agent(&place.get("/api/monitoring/dashboard"), "a");
            if seen(&view) { Ok(view) } else { Err(format!("{view:#}")) }
        })
    };
    let known = |view: &Value| view["state"] == "running" && view["metrics"]["cpuPercent"].is_number();
    let first = world.spawn("sleep 1000");
    place.register(&json!([{ "id": "a", "pid": first }]));
    until_agent("it runs", &known);
    assert_eq!(place.get("/api/monitoring/status")["sampling"]["discovery"], "scan", "nothing is told in here");

    // Between two looks of the daemon.
    let again = format!("echo {} >/proc/sys/kernel/ns_last_pid", first - 1);
    let stranger = child("burn 100; sleep 1000");
    world.tell(&format!("kill -STOP {daemon}; {{ kill -9 {first}; wait {first}; }} 2>/dev/null; {again}"));
    assert_eq!(world.spawn(&stranger), first);
    world.tell(&format!("kill -CONT {daemon}"));
    let view = until_agent("it is another one", &|view| view["state"] == "replaced");
    let expected = format!("process {first} is another one: its start differs");
    assert_eq!(said(&view), ("offline", "replaced", &*expected));
    let view = until_agent("that is down", &|view| view["alerts"] == json!(["agent_down"]));
    assert!(view["metrics"]["cpuSeconds"].as_f64().unwrap() < 0.1, "not what the stranger burns: {view:#}");
    assert_eq!((&view["metrics"]["memoryMb"], &view["metrics"]["processCount"]), (&Value::Null, &Value::Null));
    let page = place.get("/api/monitoring/agents/a");
    let reasons = page["events"].as_array().unwrap().iter().map(|event| event["metadata"]["reason"].as_str().unwrap());
    assert_eq!(reasons.collect::<Vec<_>>(), ["pid_replaced", "error", "started"], "{page:#}");
    assert_eq!(page["runs"][0]["exit_signal"], "SIGKILL");

    // Its registry means the new one: the start is its.
    let ticks = world.ask(&start_of(first));
    place.register(&json!([{ "id": "a", "pid": first, "procStart": ticks }]));
    let view = until_agent("it runs", &known);
    assert_eq!(view["restarts"], 1);
    world.tell(&format!("kill {daemon}"));
}

/// hidepid of proc(5), on a `/proc` of the daemon's own.
#[test]
fn who_may_not_be_looked_at_is_unknown_and_not_down() {
    if !is_root() {
        return println!("NOT TESTED: only root can be somebody else");
    }
    for hidepid in ["noaccess", "invisible"] {
        Way::each(|way| hidden(way, hidepid));
    }
}

fn hidden(way: Way, hidepid: &str) {
    let mut tree = Tree::start();
    let mut place = Place::of_user(way, NOBODY);
    place.change_world("--mount", &format!("mount -t proc -o hidepid={hidepid} proc /proc"));
    place.configure(BRISK);
    let daemon = place.start(&[&format!("--agent=a={}", tree.pid())]);
    let reason = format!("not permitted to look at process {}", tree.pid());
    let view = daemon.until("a", "it is not known", |view| view["state"] == "unknown");
    assert_eq!(said(&view), ("online", "unknown", &*reason), "{way:?}, {hidepid}");
    assert_eq!(view["pid"], tree.pid());
    for name in ["cpuPercent", "memoryMb", "processCount", "threadCount", "cpuSeconds", "readBytes"] {
        assert_eq!(view["metrics"][name], Value::Null, "{name}: what is not known is not zero");
    }
    // Longer than an agent may be down before that is told.
    let denied = || daemon.get("/api/monitoring/status")["counters"]["readsDenied"].as_u64().unwrap();
    let before = denied();
    until("it was tried a few times", || if denied() >= before + 4 { Ok(()) } else { Err(format!("{}", denied())) });
    let view = daemon.agent("a");
    assert_eq!((said(&view).1, &view["alerts"]), ("unknown", &json!([])), "{view:#}");
    tree.kill();
    tree.wait();
    daemon.until("a", "that it is gone can be seen", |view| view["state"] == "exited" && view["status"] == "offline");
}

/// An agent in a container, whose registry writes the pid that it has there: here that is a stranger's.
#[test]
fn a_pid_of_another_namespace() {
    if !is_root() {
        return println!("NOT TESTED: only root can make a pid namespace");
    }
    Way::each(inner_pid);
}

fn inner_pid(way: Way) {
    let mut stranger = Tree::start();
    let number = stranger.pid();
    let mut inside = container();
    let shell = inside.ask("readlink /proc/self/ns/pid");
    let namespace = shell.strip_prefix("pid:[").unwrap().trim_end_matches(']').to_owned();
    // A start is told in hundredths of a second: theirs must differ.
    inside.ask("burn 3; echo");
    inside.tell(&format!("echo {} >/proc/sys/kernel/ns_last_pid", number - 1));
    assert_eq!(inside.spawn("sleep 1000"), number);
    let ticks = inside.ask(&start_of(number));
    let record = |id: &str, more: &Value| {
        let mut record = json!({ "id": id, "pid": number });
        record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        record
    };
    let records = json!([
        record("guarded", &json!({ "procStart": ticks })),
        record("named", &json!({ "metadata": { "pidNs": namespace } })),
        record("same", &json!({ "pidNs": shell, "procStart": ticks, "status": "completed" })),
        record("elsewhere", &json!({ "pidNs": 7 })),
        record("odd", &json!({ "pidNs": "x" })),
        { "id": "absent", "pid": i32::MAX, "pidNs": namespace },
    ]);
    let place = Place::of(way);
    place.configure(BRISK);
    place.register(&records);
    let daemon = place.start_with_registry();
    let named = daemon.until_known("named");
    let host = named["pid"].as_u64().unwrap();
    assert_ne!(host, u64::from(number));
    let status = fs::read_to_string(format!("/proc/{host}/status")).unwrap();
    assert!(status.contains(&format!("NSpid:\t{host}\t{number}\n")), "{status}");
    let no_namespace = format!("there is no process {number} of pid namespace 7");
    let absent = format!("there is no process {} of pid namespace {namespace}", i32::MAX);
    let replaced = format!("process {number} is another one: its start differs");
    let shares = format!("shares process {host} with named");
    let view = |id: &str| daemon.agent(id);
    for (id, status, state, reason) in [
        ("guarded", "offline", "replaced", &*replaced),
        ("elsewhere", "offline", "exited", &no_namespace),
        ("absent", "offline", "exited", &absent),
        ("odd", "online", "no_pid", "no process id is known"),
    ] {
        assert_eq!(said(&view(id)), (status, state, reason), "{way:?}, {id}");
        assert_eq!(view(id)["metrics"]["memoryMb"], Value::Null, "{id}: never the stranger's");
    }
    // Of two that mean the same process one has it.
    let same = view("same");
    assert_eq!((said(&same), &same["pid"]), (("completed", "running", &*shares), &json!(host)));
    assert_eq!(same["metrics"]["memoryMb"], Value::Null);
    // What the stranger of that number burns is not the agent's, and what the agent's own process does is.
    let before = view("named")["metrics"]["cpuSeconds"].as_f64().unwrap();
    stranger.ask(&format!("{}; echo done", child("burn 50")));
    daemon.readings("named", 2);
    let after = view("named")["metrics"]["cpuSeconds"].as_f64().unwrap();
    assert!(after - before < 0.1, "{before}, then {after}");

    // Another daemon finds it again; how it ends is told with the host's number.
    daemon.stop();
    let daemon = place.start_with_registry();
    let named = daemon.until_known("named");
    assert_eq!((&named["pid"], &named["restarts"]), (&json!(host), &json!(0)));
    signal(host.try_into().unwrap(), Signal::KILL);
    inside.tell(&format!("wait {number}"));
    let ended = daemon.until("named", "it has ended", |view| view["state"] == "exited");
    assert_eq!(said(&ended).2, format!("process {host} ended (SIGKILL)"));
    daemon.passes(2);
    assert_eq!(said(&daemon.agent("named")).2, format!("process {host} ended (SIGKILL)"), "and that stays known");
    daemon.stop();
    assert_eq!(place.count("select count(*) from agent_runs where agent_id in ('named', 'same')"), 1);
}

/// Which namespace another user's process is in may not be known: that is said, and nothing guessed.
#[test]
fn a_namespace_that_may_not_be_seen() {
    if !is_root() {
        return println!("NOT TESTED: only root can make a pid namespace");
    }
    let mut inside = container();
    let namespace = inside.ask("readlink /proc/self/ns/pid");
    let inner = inside.spawn("sleep 1000");
    let place = Place::of_user(Way::Told, NOBODY);
    place.register(&json!([{ "id": "a", "pid": inner, "pidNs": namespace }]));
    let daemon: Daemon = place.start_with_registry();
    let view = daemon.until("a", "something is said", |view| view["state"] != "exited" && view["state"].is_string());
    let number = namespace.strip_prefix("pid:[").unwrap().trim_end_matches(']');
    let reason = format!("not permitted to look at process {inner} of pid namespace {number}");
    assert_eq!(said(&view), ("online", "unknown", &*reason));
    assert_eq!(view["pid"], Value::Null);
}
