//! Three trees, the end of one of them, the end of the daemon, and what is known afterwards.

use std::os::unix::process::ExitStatusExt;

use serde_json::{Value, json};

use super::harness::{BRISK, Daemon, Place, Way, until};
use super::tree::{Tree, child};

fn cpu_seconds(daemon: &Daemon, id: &str) -> f64 {
    daemon.agent(id)["metrics"]["cpuSeconds"].as_f64().unwrap()
}

/// The processes of an agent's tree.
fn processes(daemon: &Daemon, id: &str) -> Vec<Value> {
    daemon.page(id)["processes"].as_array().unwrap().clone()
}

#[test]
fn what_happens_to_three_trees_survives_the_daemon() {
    Way::each(three_trees);
}

fn three_trees(way: Way) {
    let (mut quick, mut orphaned, mut killed) = (Tree::start(), Tree::start(), Tree::start());
    let place = Place::of(way);
    place.configure(BRISK);
    place.register(&json!([
        { "agentId": "quick", "pid": quick.pid(), "status": "busy" },
        { "agentId": "orphaned", "pid": orphaned.pid() },
        { "agentId": "killed", "pid": killed.pid() },
    ]));
    let daemon = place.start_with_registry();
    for id in ["quick", "orphaned", "killed"] {
        daemon.until_known(id);
    }

    // A child that began after one reading and was waited for before the next.
    let before = cpu_seconds(&daemon, "quick");
    daemon.readings("quick", 1);
    quick.ask(&format!("{}; echo done", child("burn 50")));
    daemon.readings("quick", 2);
    let used = cpu_seconds(&daemon, "quick") - before;
    assert!((0.5..1.0).contains(&used), "{used} s charged for a child that used 0.5 s");
    assert_eq!(daemon.agent("quick")["metrics"]["processCount"], 1);

    // A member whose parent ended.
    let pids = orphaned.ask("sh -c 'sleep 1000 & echo $$ $!; wait' &");
    let (middle, worker) = pids.split_once(' ').unwrap();
    let (middle, worker): (u32, u32) = (middle.parse().unwrap(), worker.parse().unwrap());
    until("the grandchild is a member", || {
        let seen = processes(&daemon, "orphaned");
        if seen.iter().any(|process| process["pid"] == worker) { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    orphaned.ask(&format!("{{ kill {middle}; wait {middle}; }} 2>/dev/null; echo gone"));
    let member = until("it has another parent", || {
        let seen = processes(&daemon, "orphaned");
        let found = seen.iter().find(|process| process["pid"] == worker && process["ppid"] != middle);
        found.cloned().ok_or_else(|| format!("{seen:?}"))
    });
    assert_ne!(member["ppid"], orphaned.pid());
    assert_eq!(daemon.agent("orphaned")["metrics"]["processCount"], 2);

    // A root that is killed, while its registry goes on to claim it.
    killed.kill();
    let zombie = daemon.until("killed", "it is a zombie", |agent| agent["state"] == "zombie");
    assert_eq!((&zombie["status"], &zombie["registryStatus"]), (&json!("offline"), &json!("online")));
    assert_eq!(killed.wait().signal(), Some(9));
    let gone = daemon.until("killed", "its alert fires", |agent| agent["alerts"] == json!(["agent_down"]));
    assert_eq!((&gone["status"], &gone["state"]), (&json!("offline"), &json!("exited")));
    assert_eq!(gone["stateReason"], format!("process {} ended (SIGKILL)", killed.pid()));
    assert_eq!((&gone["metrics"]["cpuPercent"], &gone["metrics"]["memoryMb"]), (&Value::Null, &Value::Null));
    let error = until("its end is told", || {
        let now = daemon.dashboard();
        let events = now["recentEvents"].as_array().unwrap();
        events.iter().find(|event| event["event_type"] == "error").cloned().ok_or_else(|| now.to_string())
    });
    assert_eq!((&error["agent_id"], &error["metadata"]["exit_signal"]), (&json!("killed"), &json!("SIGKILL")));
    let now = daemon.dashboard();
    assert_eq!(now["alerts"][0]["type"], "agent_down");
    assert_eq!((&now["alerts"][0]["agent_id"], &now["alerts"][0]["state"]), (&json!("killed"), &json!("firing")));
    let told = "select count(*) from alerts where agent_id = 'killed' and type = 'agent_down'";
    place.until_stored(&format!("{told} and state = 'firing'"), 1);

    let before = cpu_seconds(&daemon, "quick");
    daemon.kill();
    for id in ["quick", "orphaned", "killed"] {
        let samples = place.count(&format!("select count(*) from agent_metrics where agent_id = '{id}'"));
        assert!(samples >= 2, "{samples} samples of {id}");
    }
    let end = "select count(*) from agent_events where agent_id = 'killed' and event_type = 'error'
               and json_extract(metadata, '$.exit_signal') = 'SIGKILL'";
    assert_eq!(place.count(end), 1);
    assert_eq!(place.count(&format!("{told} and state = 'firing'")), 1);

    // Nobody looks for a while.
    quick.ask(&format!("{}; echo done", child("burn 30")));
    let daemon = place.start_with_registry();
    let resumed = daemon.until_known("quick");
    assert!(resumed["metrics"]["cpuSeconds"].as_f64().unwrap() >= before + 0.3 - 0.011, "{before}, then {resumed:#}");
    let seen = processes(&daemon, "orphaned");
    assert!(seen.iter().any(|process| process["pid"] == worker), "it is in the group that the root leads: {seen:?}");
    daemon.until("killed", "its alert still fires", |agent| agent["alerts"] == json!(["agent_down"]));
    daemon.readings("quick", 4);
    assert_eq!(daemon.agent("killed")["alerts"], json!(["agent_down"]));
    assert_eq!(daemon.agent("quick")["restarts"], 0);
    daemon.stop();
    assert_eq!(place.count(told), 1, "an alert is told once");
    for id in ["quick", "orphaned", "killed"] {
        let births = format!(
            "select count(*) from agent_events where agent_id = '{id}' and event_type in ('started', 'restarted')"
        );
        assert_eq!(place.count(&births), 1, "{id}");
    }
    let fell =
        "select count(*) from (select cpu_seconds < lag(cpu_seconds) over (partition by agent_id order by timestamp)
                as fell from agent_metrics) where fell";
    assert_eq!(place.count(fell), 0, "cpu_seconds never falls");
}
