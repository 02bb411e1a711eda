//! What the broker's dashboard reads.

use serde_json::Value;

use super::harness::{Daemon, Place, agent, until};
use super::tree::{Tree, child};

#[test]
fn an_agent_shows_before_its_second_turn_with_what_its_children_use() {
    let mut tree = Tree::start();
    for _ in 0..2 {
        tree.spawn(&child("burn 1000"));
    }
    let place = Place::new();
    // The second tick is an hour away: whoever asks is not to wait for it.
    let agent_flag = format!("--agent=shell={}", tree.pid());
    let daemon = Daemon::start(place.command().args(["--interval", "1h", &agent_flag]));
    let now = until("the agent has a rate", || {
        let now = daemon.dashboard();
        let shell = agent(&now, "shell");
        // The shell itself only waits for a line; its children get what others leave them.
        if shell["metrics"]["cpuPercent"].as_f64() > Some(0.0) { Ok(now) } else { Err(shell.to_string()) }
    });
    assert_eq!(daemon.get("/readyz")["status"], "ready");

    let shell = agent(&now, "shell");
    assert_eq!((&shell["status"], &shell["state"]), (&Value::from("online"), &Value::from("running")));
    assert_eq!(shell["pid"], tree.pid());
    assert_eq!(shell["metrics"]["processCount"], 3);
    assert!(shell["metrics"]["cpuPercent"].as_f64().unwrap() < 220.0, "{shell:#}");
    let memory = shell["metrics"]["memoryMb"].as_f64().unwrap();
    assert!((0.5..100.0).contains(&memory), "{memory} MiB for three shells");
    assert_eq!(shell["metrics"]["errorCount"], 0);
    assert_eq!(shell["metrics"]["messageCount"], Value::Null, "nobody counts them, which is not zero");

    let event = &now["recentEvents"][0];
    assert!(event["id"].is_i64(), "{event}");
    assert_eq!((&event["event_type"], &event["agent_id"]), (&Value::from("started"), &Value::from("shell")));
    assert_eq!(event["message"], format!("process {} (sh) is running", tree.pid()));
    let timestamp: jiff::Timestamp = event["timestamp"].as_str().unwrap().parse().unwrap();
    assert_eq!(timestamp.strftime("%FT%T.%3fZ").to_string(), event["timestamp"].as_str().unwrap());
    assert_eq!(now["activeErrors"], Value::Array(Vec::new()));

    let host = &now["systemMetrics"];
    let number = |name: &str| host[name].as_f64().unwrap_or_else(|| panic!("{name}: {host}"));
    assert!(number("cpuUsage") >= 0.0);
    assert!(number("freeMemory") > 0.0 && number("freeMemory") < number("totalMemory"));
}
