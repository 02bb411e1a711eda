//! C and D: more agents than anybody has, and one that is never there for long.

use std::process::{Command, Stdio};

use agent_monitor::clock::monotonic;
use serde_json::{Value, json};

use crate::harness::{BRISK, Place, until};
use crate::herd::Herd;
use crate::registries::resident_mib;
use crate::thorough;

/// A registry of ten MiB: agents that run, and others that have no process.
#[test]
fn thousands_of_agents_and_ten_mebibytes_of_registry() {
    const RECORDS: usize = 20_000;
    let agents = if thorough() { 10_000 } else { 1_000 };
    let place = Place::new();
    let herd = Herd::start(&place.path("."), agents);
    let note = "x".repeat(490);
    let running =
        herd.pids.iter().enumerate().map(|(n, pid)| json!({"id": format!("a-{n:05}"), "pid": pid, "note": note}));
    let ended = (agents..RECORDS).map(|n| json!({"id": format!("z-{n:05}"), "status": "offline", "note": note}));
    let mut records: Vec<Value> = running.chain(ended).collect();
    let text = json!(records).to_string();
    assert!(text.len() > 10 << 20, "{}", text.len());
    place.register_text(&text);
    place.configure(BRISK);
    let began = monotonic();
    let mut command = place.command();
    command.args(["--interval", if thorough() { "10s" } else { "3s" }, "--registry"]).arg(place.path("agents.json"));
    let daemon = place.start_as_told(&mut command);
    let rated = "select count(distinct agent_id) from agent_metrics where cpu_percent is not null";
    let expected = i64::try_from(agents).unwrap();
    until("all have a rate", || match place.count(rated) {
        count if count == expected => Ok(()),
        count => Err(count.to_string()),
    });
    let known = monotonic().since(began);
    daemon.passes(1);
    // One of them is gone from it: it is seen soon, in the midst of all others.
    records.swap_remove(0);
    place.register_text(&json!(records).to_string());
    let registry_status = |id: &str| daemon.get(&format!("/api/monitoring/agents/{id}"))["registryStatus"].clone();
    until("it is named no more", || match registry_status("a-00000") {
        Value::Null => Ok(()),
        other => Err(other.to_string()),
    });
    assert_eq!(registry_status("a-00001"), "online");
    let now = daemon.get("/api/monitoring/status");
    assert_eq!((&now["registry"][0]["status"], &now["counters"]["agentsRefused"]), (&json!("ok"), &json!(0)));
    assert_eq!((&now["agents"], &daemon.get("/readyz")["status"]), (&json!(RECORDS), &json!("ready")));
    let (memory_mib, pass) = (resident_mib(&daemon), now["sampling"]["tickDuration"].as_f64().unwrap());
    println!(
        "{RECORDS} records in {} MiB, {agents} with a process, known after {known:?}; {memory_mib} MiB resident, \
         the last pass took {pass} s, {} were skipped",
        text.len() >> 20,
        now["counters"]["ticksSkipped"]
    );
    assert!(memory_mib < 200 && pass < 10.0, "{memory_mib} MiB, {pass} s");
    daemon.stop();
}

/// It ends as soon as it is seen, again and again.
#[test]
fn a_crash_loop_is_one_alert() {
    let lives = if thorough() { 100 } else { 4 };
    let place = Place::new();
    place.configure(BRISK);
    place.register(&json!([]));
    let daemon = place.start_with_registry();
    for life in 0..lives {
        let mut child = Command::new("sh").args(["-c", "read -r line; exit 3"]).stdin(Stdio::piped()).spawn().unwrap();
        place.register(&json!([{ "id": "loop", "pid": child.id() }]));
        daemon.until("loop", "it runs", |agent| agent["state"] == "running" && agent["pid"] == child.id());
        child.stdin = None;
        assert_eq!(child.wait().unwrap().code(), Some(3));
        daemon.until("loop", "it has ended", |agent| agent["state"] == "exited");
        if life >= 3 {
            daemon.until("loop", "that is one alert", |agent| agent["alerts"] == json!(["crash_loop"]));
        }
    }
    // Longer than an agent may be down without an alert.
    daemon.passes(3);
    assert_eq!(daemon.agent("loop")["alerts"], json!(["crash_loop"]), "which speaks for its end");
    println!("it ended {lives} times");
    daemon.stop();
    assert_eq!(place.count("select count(*) from alerts where type = 'crash_loop'"), 1);
    assert_eq!(place.count("select count(*) from agent_runs where exit_code = 3"), lives);
}
