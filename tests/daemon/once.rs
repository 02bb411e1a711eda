//! `--once`: two readings, printed; nothing is left behind.

use serde_json::{Value, json};

use super::harness::{Place, names, outcome};
use super::tree::{Tree, child};

#[test]
fn once_prints_and_leaves_nothing_behind() {
    let mut tree = Tree::start();
    tree.spawn(&child("burn 1000"));
    let place = Place::new();
    place.register(&json!([{ "id": "busy", "pid": tree.pid() }, { "id": "gone", "pid": i32::MAX }]));
    let registry = place.path("agents.json");
    let before = names(registry.parent().unwrap());

    let (code, table, log) = outcome(place.command().arg("--once").arg("--registry").arg(&registry));
    assert_eq!(code, Some(0), "{log}");
    let row = |id: &str| -> Vec<&str> {
        let line = table.lines().find(|line| line.split_whitespace().next() == Some(id));
        line.unwrap_or_else(|| panic!("{id} is not in {table}")).split_whitespace().collect()
    };
    let busy = row("busy");
    assert_eq!(busy[1..3], ["online", &tree.pid().to_string()]);
    // How much of a core it gets is for the machine to say.
    assert!(busy[3].parse::<f64>().unwrap() > 0.0, "{table}");
    assert_eq!(busy[5], "2");
    assert_eq!(row("gone")[1], "offline");
    assert!(table.contains("there is no process"), "{table}");

    let (code, document, log) = outcome(place.command().args(["--once", "--json"]).arg("--registry").arg(&registry));
    assert_eq!(code, Some(0), "{log}");
    let document: Value = serde_json::from_str(&document).unwrap();
    let busy = &document["agents"][0];
    assert_eq!((&busy["agentId"], &busy["state"]), (&json!("busy"), &json!("running")));
    assert!(busy["metrics"]["cpuPercent"].as_f64().unwrap() > 0.0, "{busy:#}");
    assert!(document["systemMetrics"]["totalMemory"].is_number(), "{document:#}");
    assert_eq!(names(registry.parent().unwrap()), before, "no state directory, no socket");
}

#[test]
fn once_beside_a_daemon_does_not_disturb_it() {
    let tree = Tree::start();
    let place = Place::new();
    let claim = format!("--agent=a={}", tree.pid());
    let daemon = place.start(&[&claim]);
    daemon.until_known("a");
    let (code, _, log) = outcome(place.command().args(["--once", &claim]));
    assert_eq!(code, Some(0), "{log}");
    daemon.readings("a", 1);
    daemon.stop();
}
