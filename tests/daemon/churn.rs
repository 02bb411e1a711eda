//! Many agents that come and go.

use std::fs;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::harness::{BRISK, Daemon, Place, Way, until};
use super::tree::Tree;

/// Waits until this many agents are in this state.
fn until_all(daemon: &Daemon, count: usize, what: &str, seen: impl Fn(&Value) -> bool) {
    until(what, || {
        let now = daemon.dashboard();
        let agents = now["agents"].as_array().unwrap();
        let so = agents.iter().filter(|agent| seen(agent)).count();
        let other = agents.iter().find(|agent| !seen(agent));
        if so == count { Ok(()) } else { Err(format!("{so} of {}, not {other:?}", agents.len())) }
    });
}

/// Resident memory of the daemon in KiB, and how many files it has open.
fn held(daemon: &Daemon) -> (u64, usize) {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let files = fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count();
    (resident.trim().trim_end_matches(" kB").parse().unwrap(), files)
}

/// A process that fails as soon as its standard input ends.
fn failing() -> Child {
    Command::new("sh").args(["-c", "read -r line; exit 3"]).stdin(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_crash_loop_of_fifty_agents_loses_nothing() {
    Way::each(a_crash_loop);
}

fn a_crash_loop(way: Way) {
    const AGENTS: usize = 50;
    const ROUNDS: usize = 5;
    let place = Place::of(way);
    place.configure(BRISK);
    place.register(&json!([]));
    let daemon = place.start_with_registry();
    let (_, files_before) = held(&daemon);
    let mut memory_before = None;
    for _ in 0..ROUNDS {
        let mut children: Vec<Child> = (0..AGENTS).map(|_| failing()).collect();
        let pids: Vec<u32> = children.iter().map(Child::id).collect();
        let record = |(number, pid): (usize, &u32)| json!({ "agentId": format!("agent-{number:02}"), "pid": pid });
        place.register(&pids.iter().enumerate().map(record).collect());
        until_all(&daemon, AGENTS, "they run", |agent| {
            agent["state"] == "running" && pids.iter().any(|pid| agent["pid"] == *pid)
        });
        for child in &mut children {
            child.stdin = None;
            assert_eq!(child.wait().unwrap().code(), Some(3));
        }
        until_all(&daemon, AGENTS, "they have ended", |agent| {
            agent["state"] == "exited"
                && agent["status"] == "offline"
                && agent["stateReason"].as_str().unwrap().ends_with("(exit code 3)")
        });
        memory_before.get_or_insert_with(|| held(&daemon).0);
    }
    until_all(&daemon, AGENTS, "each was started again", |agent| agent["restarts"] == ROUNDS - 1);
    let (before, after) = (memory_before.unwrap(), held(&daemon).0);
    assert!(after < before + 4 * 1024, "resident memory grew from {before} to {after} KiB");
    // One that stays open for each agent would make fifty; the database's readers and the last requests are a few.
    until("what was opened for them is closed", || match held(&daemon).1 {
        files if files < files_before + AGENTS / 2 => Ok(()),
        files => Err(format!("{files_before} files, then {files}")),
    });
    daemon.stop();
    let each = |what: &str| {
        place.count(&format!("select min(n) = max(n) and count(*) = {AGENTS} and min(n) = {ROUNDS} from ({what})"))
    };
    let runs = "select count(*) as n from agent_runs where exit_code = 3 and reason = 'error' group by agent_id";
    assert_eq!(each(runs), 1, "a run for each life");
    // Where the cause comes late, on a busy machine, it is told without and the run learns of it.
    let ends = "select count(*) as n from agent_events where event_type = 'error'
                and coalesce(json_extract(metadata, '$.exit_code'), 3) = 3 group by agent_id";
    assert_eq!(each(ends), 1, "an event for each end");
    let starts =
        "select count(*) as n from agent_events where event_type in ('started', 'restarted') group by agent_id";
    assert_eq!(each(starts), 1, "an event for each start");
}

#[test]
fn hundreds_of_agents_at_once() {
    Way::each(hundreds_of_agents);
}

fn hundreds_of_agents(way: Way) {
    const AGENTS: usize = 400;
    let mut tree = Tree::start();
    tree.tell(&format!("i=0; while [ $i -lt {AGENTS} ]; do sleep 1000 & echo $!; i=$((i + 1)); done"));
    let pids: Vec<u32> = (0..AGENTS).map(|_| tree.hear().parse().unwrap()).collect();
    let place = Place::of(way);
    place.configure(BRISK);
    let record = |(number, pid): (usize, &u32)| json!({ "agentId": format!("agent-{number}"), "pid": pid });
    place.register(&json!({ "agents": pids.iter().enumerate().map(record).collect::<Value>() }));
    let daemon = place.start_with_registry();
    until_all(&daemon, AGENTS, "they run and have a rate", |agent| {
        agent["state"] == "running" && agent["metrics"]["cpuPercent"].is_number()
    });
    let samples = "select count(distinct agent_id) from agent_metrics where memory_mb > 0";
    until("all are stored", || match usize::try_from(place.count(samples)).unwrap() {
        AGENTS => Ok(()),
        count => Err(format!("{count}")),
    });
    // All at once: the shell waits for none of them in particular.
    tree.tell(&format!("kill -9 {}; wait", pids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ")));
    until_all(&daemon, AGENTS, "all were killed", |agent| {
        agent["stateReason"].as_str().is_some_and(|reason| reason.ends_with("(SIGKILL)"))
    });
    assert_eq!(daemon.get("/readyz")["status"], "ready");
    daemon.stop();
    let killed = "select count(*) from agent_runs where exit_signal = 'SIGKILL'";
    assert_eq!(place.count(killed), i64::try_from(AGENTS).unwrap());
    let ends = "select count(*) from agent_events where json_extract(metadata, '$.exit_signal') = 'SIGKILL'";
    assert_eq!(place.count(ends), i64::try_from(AGENTS).unwrap());
}
