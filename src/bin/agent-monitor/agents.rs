//! The table of agents: a line for each.

use serde_json::Value;

use crate::view::screen::{Look, Screen};
use crate::view::table::{Cell, Column, number, table, tenths, word};
use crate::view::text::{printable, wrap};

const COLUMNS: [Column; 7] = [
    Column::words("AGENT").least(12),
    Column::words("STATUS").least(8),
    Column::numbers("PID").rank(2),
    Column::numbers("CPU %"),
    Column::numbers("MEMORY MiB"),
    Column::numbers("PROCS").rank(3),
    Column::words("NOTES").least(12).rank(1),
];

/// A line per agent of the dashboard document; a sentence when there is none.
pub(crate) fn agents(dashboard: &Value, screen: Screen) -> String {
    let Some(agents) = dashboard["agents"].as_array().filter(|agents| !agents.is_empty()) else {
        let hint = "No agents. Programs that are known as agents appear when they start, unless the daemon has a registry; \
                    `agent-monitor run` takes others with --agent ID=PID or --registry FILE-OR-URL.";
        return wrap(hint, screen.room(0)).into_iter().map(|line| line + "\n").collect();
    };
    let row = |agent: &Value| {
        let metrics = &agent["metrics"];
        vec![
            word(&agent["agentId"]),
            word(&agent["status"]).looking(look(agent)),
            number(&agent["pid"]),
            tenths(&metrics["cpuPercent"]),
            tenths(&metrics["memoryMb"]),
            number(&metrics["processCount"]),
            Cell::new(notes(agent)),
        ]
    };
    table(&COLUMNS, agents.iter().map(row).collect(), screen)
}

/// Whether its process is gone, and nobody said that it would.
pub(crate) fn is_down(agent: &Value) -> bool {
    // A registry that says so itself claims nothing else.
    let contradicted = agent["registryStatus"] != "offline";
    agent["status"] == "offline"
        && contradicted
        && matches!(agent["state"].as_str(), Some("exited" | "zombie" | "replaced"))
}

/// How its status looks.
pub(crate) fn look(agent: &Value) -> Look {
    match agent["state"].as_str() {
        _ if is_down(agent) => Look::Bad,
        Some("running") => Look::Good,
        _ => Look::Plain,
    }
}

/// What there is to say of it: alerts, what it left behind, why it is not as its registry says.
pub(crate) fn notes(agent: &Value) -> String {
    let alerts = agent["alerts"].as_array().into_iter().flatten().filter_map(Value::as_str).map(printable);
    let left = agent["leftovers"]["processCount"].as_u64().filter(|count| *count > 0);
    let left = left.map(|count| format!("{count} left behind"));
    let all: Vec<String> = alerts.chain(left).chain(agent["stateReason"].as_str().map(printable)).collect();
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn who_is_down() {
        let agent =
            |status: &str, claim: &str, state: &str| json!({"status": status, "registryStatus": claim, "state": state});
        assert!(is_down(&agent("offline", "online", "exited")) && is_down(&agent("offline", "idle", "replaced")));
        // Its registry says so itself, in this word or another one; or its process is not known.
        for well in [
            agent("offline", "offline", "exited"),
            agent("stopped", "stopped", "exited"),
            agent("offline", "online", "none"),
        ] {
            assert!(!is_down(&well), "{well}");
        }
    }
}
