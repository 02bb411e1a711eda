//! `agent ID`: one agent whole.

use std::fmt::Write;

use serde_json::Value;

use crate::cli::ClientOptions;
use crate::client::{Client, encoded};
use crate::failure::Failure;
use crate::lists::{GROUP_COLUMNS, error_row, event_row, group_row};
use crate::output::{print, print_json};
use crate::table::{Cell, Colour, Column, Look, UNKNOWN, number, printable, table, tenths, word};

/// Samples that are shown, of the last hour's.
const SAMPLES: usize = 10;

/// Problems that are shown, those seen last.
const GROUPS: u32 = 20;

/// Asks and prints.
pub(crate) fn agent(options: &ClientOptions, id: &str) -> Result<(), Failure> {
    let mut client = Client::find(options)?;
    let document = client.get(&format!("/api/monitoring/agents/{}", encoded(id)))?;
    if options.json {
        return print_json(&document);
    }
    let mut agent = document.value;
    put_host_beside_ends(&mut agent);
    let colour = Colour::of_stdout();
    let mut text = page(&agent, colour);
    // Watching goes on without the database; so does this.
    if let Ok(groups) = client.get(&format!("/api/monitoring/error-groups?limit={GROUPS}&agent={}", encoded(id))) {
        PROBLEMS.write(&groups.value, colour, &mut text);
    }
    print(&text)
}

/// The document has the host beside the runs; a line of the table is about one run.
pub(crate) fn put_host_beside_ends(agent: &mut Value) {
    let mut host = agent["host"].take();
    for (place, run) in agent["runs"].as_array_mut().into_iter().flatten().enumerate() {
        run["host"] = host.get_mut(place).map(Value::take).unwrap_or_default();
    }
}

/// The whole page as text.
pub(crate) fn page(agent: &Value, colour: Colour) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<11} {value}");
    };
    let shown = |value: &Value| value.as_str().map_or_else(|| UNKNOWN.to_owned(), printable);
    let plain = |value: &Value| if value.is_null() { UNKNOWN.to_owned() } else { value.to_string() };
    let latest = &agent["latest"];
    line("agent", colour.paint(Look::Bold, &shown(&agent["agentId"])));
    line("name", shown(&agent["name"]));
    line("status", format!("{} (registry: {})", shown(&agent["status"]), shown(&agent["registryStatus"])));
    line("observed", [shown(&agent["state"]), reason(agent)].concat());
    line("source", shown(&agent["source"]));
    line("process", format!("{}, since {}", plain(&agent["pid"]), shown(&agent["startedAt"])));
    line("restarts", plain(&agent["restarts"]));
    line(
        "now",
        format!(
            "{} % CPU, {} MiB ({}), {} processes, {} threads",
            plain(&latest["cpuPercent"]),
            plain(&latest["memoryMb"]),
            shown(&latest["memoryMethod"]),
            plain(&latest["processCount"]),
            plain(&latest["threadCount"]),
        ),
    );
    line(
        "in all",
        format!(
            "{} s CPU, {} bytes read, {} bytes written, {} unresolved errors, {} messages",
            plain(&latest["cpuSeconds"]),
            plain(&latest["readBytes"]),
            plain(&latest["writtenBytes"]),
            plain(&latest["errorCount"]),
            plain(&latest["messageCount"]),
        ),
    );
    let alerts: Vec<String> = agent["alerts"].as_array().into_iter().flatten().map(shown).collect();
    if !alerts.is_empty() {
        line("alerts", colour.paint(Look::Bad, &alerts.join(", ")));
    }
    if agent["metadata"].as_object().is_some_and(|metadata| !metadata.is_empty()) {
        line("metadata", printable(&agent["metadata"].to_string()));
    }
    for section in SECTIONS {
        section.write(agent, colour, &mut text);
    }
    text
}

/// How the host was in the minute of an end.
fn host(host: &Value) -> String {
    let load = host["load1"].as_f64().map(|load| format!("load {load}"));
    let free = host["memory_available_mb"].as_f64().map(|mib| format!("{mib:.0} MiB available"));
    let waited = host["memory_pressure"].as_f64().map(|percent| format!("memory pressure {percent} %"));
    let known: Vec<String> = [load, free, waited].into_iter().flatten().collect();
    if known.is_empty() { UNKNOWN.to_owned() } else { known.join(", ") }
}

fn reason(agent: &Value) -> String {
    agent["stateReason"].as_str().map(|reason| format!(": {}", printable(reason))).unwrap_or_default()
}

/// A list of the document as a table under its name.
struct Section {
    key: &'static str,
    title: &'static str,
    columns: &'static [Column],
    row: fn(&Value) -> Vec<Cell>,
    limit: usize,
}

const PROBLEMS: Section =
    Section { key: "items", title: "Problems", columns: &GROUP_COLUMNS, row: group_row, limit: usize::MAX };

const SECTIONS: [Section; 6] = [
    Section {
        key: "processes",
        title: "Processes",
        columns: &[
            Column::Numbers("PID"),
            Column::Numbers("PARENT"),
            Column::Words("COMMAND"),
            Column::Words("STATE"),
            Column::Words("USER"),
            Column::Numbers("CPU %"),
            Column::Numbers("MEMORY MiB"),
            Column::Numbers("THREADS"),
        ],
        row: |process| {
            vec![
                number(&process["pid"]),
                number(&process["ppid"]),
                word(&process["command"]),
                word(&process["state"]),
                word(&process["user"]),
                tenths(&process["cpuPercent"]),
                tenths(&process["memoryMb"]),
                number(&process["threadCount"]),
            ]
        },
        limit: usize::MAX,
    },
    Section {
        key: "leftovers",
        title: "Leftovers",
        columns: &[Column::Numbers("PID"), Column::Words("COMMAND"), Column::Numbers("MEMORY MiB")],
        row: |left| vec![number(&left["pid"]), word(&left["command"]), tenths(&left["memory_mb"])],
        limit: usize::MAX,
    },
    Section {
        key: "runs",
        title: "Runs",
        columns: &[
            Column::Numbers("PID"),
            Column::Words("STARTED"),
            Column::Words("ENDED"),
            Column::Words("REASON"),
            Column::Words("EXIT"),
            Column::Numbers("CPU s"),
            Column::Numbers("PEAK MiB"),
            Column::Words("HOST AT THE END"),
        ],
        row: |run| {
            let exit = match (run["exit_signal"].as_str(), run["exit_code"].as_u64()) {
                (Some(signal), _) => printable(signal),
                (None, Some(code)) => code.to_string(),
                (None, None) => UNKNOWN.to_owned(),
            };
            vec![
                number(&run["pid"]),
                word(&run["started_at"]),
                word(&run["ended_at"]),
                word(&run["reason"]),
                Cell::new(exit),
                tenths(&run["cpu_seconds"]),
                tenths(&run["peak_memory_mb"]),
                Cell::new(host(&run["host"])),
            ]
        },
        limit: usize::MAX,
    },
    Section {
        key: "metrics",
        title: "Latest samples",
        columns: &[
            Column::Words("TIME"),
            Column::Numbers("CPU %"),
            Column::Numbers("MEMORY MiB"),
            Column::Numbers("PROCS"),
            Column::Words("STATUS"),
        ],
        row: |sample| {
            vec![
                word(&sample["timestamp"]),
                tenths(&sample["cpu_percent"]),
                tenths(&sample["memory_mb"]),
                number(&sample["process_count"]),
                word(&sample["status"]),
            ]
        },
        limit: SAMPLES,
    },
    Section {
        key: "events",
        title: "Events",
        columns: &[Column::Words("TIME"), Column::Words("AGENT"), Column::Words("TYPE"), Column::Words("MESSAGE")],
        row: event_row,
        limit: usize::MAX,
    },
    Section {
        key: "errors",
        title: "Errors",
        columns: &[
            Column::Numbers("ID"),
            Column::Words("TIME"),
            Column::Words("AGENT"),
            Column::Words("RESOLVED"),
            Column::Words("ERROR"),
        ],
        row: error_row,
        limit: usize::MAX,
    },
];

impl Section {
    /// An empty list says nothing, one that could not be had says so.
    fn write(&self, agent: &Value, colour: Colour, text: &mut String) {
        let title = colour.paint(Look::Bold, self.title);
        match agent[self.key].as_array() {
            None => {
                let _ = writeln!(text, "\n{title}\nnot available now");
            }
            Some(list) if list.is_empty() => {}
            Some(list) => {
                let rows = list.iter().take(self.limit).map(self.row).collect();
                let _ = write!(text, "\n{title}\n{}", table(self.columns, rows, colour));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_host_stands_beside_the_end_of_a_run() {
        let full = json!({"load1": 7.25, "memory_available_mb": 12.4, "memory_pressure": 98.8, "io_pressure": 1.0});
        let bare = json!({"load1": null, "memory_available_mb": 900.0, "memory_pressure": null});
        let mut agent = json!({"runs": [{"pid": 1}, {"pid": 2}, {"pid": 3}], "host": [null, full, bare]});
        put_host_beside_ends(&mut agent);
        let said: Vec<String> = agent["runs"].as_array().unwrap().iter().map(|run| host(&run["host"])).collect();
        assert_eq!(
            said,
            [UNKNOWN, "load 7.25, 12 MiB available, memory pressure 98.8 %", "900 MiB available"],
            "of the run of the same place"
        );
        for mut odd in [json!({"runs": null, "host": null}), json!({"runs": [{}]}), json!({"runs": [{}], "host": 7})] {
            put_host_beside_ends(&mut odd);
        }
    }
}
