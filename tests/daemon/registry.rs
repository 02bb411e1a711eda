//! The registry file: what is in it is claimed, and noticed soon when it changes.

use std::fs;

use serde_json::{Value, json};

use super::harness::{Daemon, Place, until};
use super::tree::Tree;

/// What is noticed at all is noticed for its change: the next reading in turn is far off.
const RARE: &str = "[registry]\nrefresh = \"1h\"\nstale_after = \"2h\"\n";

fn ids(daemon: &Daemon) -> Vec<String> {
    let agents = daemon.dashboard()["agents"].as_array().unwrap().clone();
    agents.iter().map(|agent| agent["agentId"].as_str().unwrap().to_owned()).collect()
}

/// How the registry is, by `/readyz`.
fn check(daemon: &Daemon) -> (Value, Value) {
    let ready = daemon.get("/readyz");
    let checks = ready["checks"].as_array().unwrap();
    let registry = checks.iter().find(|check| check["name"].as_str().unwrap().starts_with("registry file:"));
    (ready["status"].clone(), registry.unwrap()["detail"].clone())
}

#[test]
fn a_changed_file_is_noticed() {
    let (first, second, third) = (Tree::start(), Tree::start(), Tree::start());
    let place = Place::new();
    place.configure(RARE);
    place.register(&json!([{ "agentId": "one", "metadata": { "pid": first.pid(), "role": "planner" } }]));
    let daemon = place.start_with_registry();
    let one = daemon.until_known("one");
    assert_eq!((&one["metadata"]["role"], &one["restarts"]), (&json!("planner"), &json!(0)));
    assert_eq!(one["source"], format!("file:{}", place.path("agents.json").display()));

    // Another form of document, and one agent more.
    let both = |pid: u32| {
        json!({ "agents": [{ "agentId": "one", "pid": pid, "status": "busy" },
                           { "agentId": "two", "pid": second.pid() }] })
    };
    place.register(&both(first.pid()));
    until("two agents", || if ids(&daemon) == ["one", "two"] { Ok(()) } else { Err(format!("{:?}", ids(&daemon))) });
    assert_eq!((&daemon.agent("one")["status"], &daemon.agent("one")["restarts"]), (&json!("busy"), &json!(0)));

    // Another process for an agent that is known.
    place.register(&both(third.pid()));
    let one = daemon.until("one", "it has the new pid", |agent| agent["pid"] == third.pid());
    assert_eq!((&one["restarts"], &one["state"]), (&json!(1), &json!("running")));
    let one =
        daemon.until("one", "what the old process had is left over", |agent| agent["leftovers"]["processCount"] == 1);
    assert_eq!(one["metrics"]["processCount"], 1);
    let page = daemon.until_listed("one", "all is told", |page| page["events"].as_array().unwrap().len() == 4);
    let types: Vec<&Value> = page["events"].as_array().unwrap().iter().map(|event| &event["event_type"]).collect();
    // The newest tells of what the old process had, the one before that its run is superseded.
    assert_eq!(types, ["warning", "restarted", "warning", "started"], "{page:#}");
    let reasons: Vec<&Value> = page["runs"].as_array().unwrap().iter().map(|run| &run["reason"]).collect();
    assert_eq!(reasons, [&Value::Null, &json!("superseded")]);

    // A file that is no registry changes nothing but says so.
    assert_eq!(check(&daemon), (json!("ready"), Value::Null));
    place.register_text("{ \"agents\": [");
    let (status, reason) = until("it is noticed", || {
        let check = check(&daemon);
        if check.1.is_string() { Ok(check) } else { Err(check.0.to_string()) }
    });
    assert_eq!(status, "degraded");
    let reason = reason.as_str().unwrap();
    assert!(reason.contains("agents.json") && reason.contains("line 1, column 13"), "{reason} names no place");
    daemon.readings("one", 2);
    assert_eq!(ids(&daemon), ["one", "two"], "the last good list stands");
    fs::remove_file(place.path("agents.json")).unwrap();
    until("its absence is noticed", || {
        let check = check(&daemon);
        if check.1.as_str().is_some_and(|text| text.contains("No such file")) {
            Ok(())
        } else {
            Err(check.1.to_string())
        }
    });
    assert_eq!(ids(&daemon), ["one", "two"]);

    // An agent that is named no more stays while its process does.
    place.register(&json!([{ "agentId": "one", "pid": third.pid() }]));
    let two = daemon.until("two", "it is named no more", |agent| agent["registryStatus"].is_null());
    assert_eq!((&two["state"], &two["stateReason"]), (&json!("running"), &json!("no longer registered")));
    assert_eq!(check(&daemon), (json!("ready"), Value::Null));
    drop(second);
    until("it leaves the lists", || if ids(&daemon) == ["one"] { Ok(()) } else { Err(format!("{:?}", ids(&daemon))) });
    daemon.until_listed("two", "and can be read by id", |page| page["events"][0]["event_type"].is_string());
    place.register(&json!([]));
    daemon.until("one", "an empty list means that there are no agents", |agent| agent["registryStatus"].is_null());
}
