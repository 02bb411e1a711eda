//! The lists of an agent's document, each as a table.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde_json::Value;

use crate::lists::{kind_of_event, problem};
use crate::view::screen::{Look, Screen, between, rough};
use crate::view::table::{Cell, Column, number, table, tenths, word};
use crate::view::text::{UNKNOWN, printable, shown};

/// A list of the document as a table under its name.
pub(super) struct Section {
    pub(super) key: &'static str,
    title: &'static str,
    columns: &'static [Column],
    rows: fn(&[Value], Screen) -> Vec<Vec<Cell>>,
    /// Of more, only how many where somebody looks.
    limit: usize,
}

/// In the order in which they are shown.
pub(super) const SECTIONS: [Section; 6] = [
    Section {
        key: "processes",
        title: "Processes",
        columns: &[
            Column::numbers("PID"),
            Column::words("COMMAND").least(10),
            Column::words("STATE").rank(2),
            Column::words("USER").rank(4),
            Column::numbers("CPU %"),
            Column::numbers("MEMORY MiB"),
            Column::numbers("THREADS").rank(3),
            Column::words("STARTED").rank(5),
        ],
        rows: |processes, screen| {
            let row = |(depth, process): (usize, &Value)| {
                vec![
                    number(&process["pid"]),
                    Cell::new(format!("{}{}", "  ".repeat(depth.min(10)), shown(&process["command"]))),
                    word(&process["state"]),
                    word(&process["user"]),
                    tenths(&process["cpuPercent"]),
                    tenths(&process["memoryMb"]),
                    number(&process["threadCount"]),
                    Cell::new(screen.moment(&process["startedAt"])),
                ]
            };
            tree(processes).into_iter().map(row).collect()
        },
        limit: 30,
    },
    Section {
        key: "leftovers",
        title: "Leftovers",
        columns: &[
            Column::numbers("PID"),
            Column::words("COMMAND").least(10),
            Column::numbers("MEMORY MiB"),
            Column::numbers("CPU s").rank(1),
            Column::words("SINCE").rank(2),
        ],
        rows: |leftovers, screen| {
            let row = |left: &Value| {
                vec![
                    number(&left["pid"]),
                    word(&left["command"]),
                    tenths(&left["memory_mb"]),
                    tenths(&left["cpu_seconds"]),
                    Cell::new(screen.moment(&left["since"])),
                ]
            };
            leftovers.iter().map(row).collect()
        },
        limit: 30,
    },
    Section {
        key: "runs",
        title: "Runs",
        columns: &[
            Column::numbers("PID"),
            Column::words("STARTED").least(8),
            Column::words("LASTED").rank(3),
            Column::words("ENDED").rank(4),
            Column::words("OUTCOME"),
            Column::numbers("CPU s").rank(5),
            Column::numbers("PEAK MiB").rank(2),
            Column::words("HOST AT THE END").least(16).rank(1),
        ],
        rows: |runs, screen| {
            let row = |run: &Value| {
                let lasted = between(&run["started_at"], &run["ended_at"]);
                vec![
                    number(&run["pid"]),
                    Cell::new(screen.moment(&run["started_at"])),
                    Cell::new(lasted.map_or_else(|| UNKNOWN.to_owned(), rough)),
                    Cell::new(screen.moment(&run["ended_at"])),
                    end(run),
                    tenths(&run["cpu_seconds"]),
                    tenths(&run["peak_memory_mb"]),
                    Cell::new(host(&run["host"])),
                ]
            };
            runs.iter().map(row).collect()
        },
        limit: 10,
    },
    Section {
        key: "errors",
        title: "Errors",
        columns: &[
            Column::numbers("ID"),
            Column::words("TIME"),
            Column::words("RESOLVED").rank(1),
            Column::words("ERROR").wrapping(20),
        ],
        rows: |errors, screen| {
            let row = |error: &Value| {
                let resolved = error["resolved"].as_bool().map_or(UNKNOWN, |yes| if yes { "yes" } else { "no" });
                let time = Cell::new(screen.moment(&error["timestamp"]));
                vec![number(&error["id"]), time, Cell::new(resolved), problem(error)]
            };
            errors.iter().map(row).collect()
        },
        limit: 10,
    },
    Section {
        key: "events",
        title: "Events",
        columns: &[Column::words("TIME"), Column::words("TYPE").least(8), Column::words("MESSAGE").wrapping(20)],
        rows: |events, screen| {
            let row = |event: &Value| {
                vec![Cell::new(screen.moment(&event["timestamp"])), kind_of_event(event), word(&event["message"])]
            };
            events.iter().map(row).collect()
        },
        limit: 10,
    },
    Section {
        key: "metrics",
        title: "Latest samples",
        columns: &[
            Column::words("TIME"),
            Column::numbers("CPU %"),
            Column::numbers("MEMORY MiB"),
            Column::numbers("PROCS").rank(2),
            Column::words("STATUS").least(8).rank(1),
        ],
        rows: |samples, screen| {
            let row = |sample: &Value| {
                vec![
                    Cell::new(screen.moment(&sample["timestamp"])),
                    tenths(&sample["cpu_percent"]),
                    tenths(&sample["memory_mb"]),
                    number(&sample["process_count"]),
                    word(&sample["status"]),
                ]
            };
            // The document has an hour of them.
            samples.iter().take(10).map(row).collect()
        },
        limit: 10,
    },
];

impl Section {
    /// An empty list says nothing, one that could not be had says so.
    pub(super) fn write(&self, agent: &Value, screen: Screen, text: &mut String) {
        let title = screen.paint(Look::Bold, self.title);
        let Some(list) = agent[self.key].as_array() else {
            let _ = writeln!(text, "\n{title}\nnot available now");
            return;
        };
        if list.is_empty() {
            return;
        }
        let mut rows = (self.rows)(list, screen);
        let more = if screen.width.is_some() { rows.len().saturating_sub(self.limit) } else { 0 };
        rows.truncate(rows.len() - more);
        let _ = write!(text, "\n{title}\n{}", table(self.columns, rows, screen));
        if more > 0 {
            let _ = writeln!(text, "and {more} more: --json has them");
        }
    }
}

/// How the host was in the minute of an end.
fn host(host: &Value) -> String {
    let load = host["load1"].as_f64().map(|load| format!("load {load}"));
    let free = host["memory_available_mb"].as_f64().map(|mib| format!("{mib:.0} MiB available"));
    let waited = host["memory_pressure"].as_f64().map(|percent| format!("memory pressure {percent} %"));
    let known: Vec<String> = [load, free, waited].into_iter().flatten().collect();
    if known.is_empty() { UNKNOWN.to_owned() } else { known.join(", ") }
}

/// How a run ended, in words.
fn end(run: &Value) -> Cell {
    let how = match (run["exit_signal"].as_str(), run["exit_code"].as_u64()) {
        (Some(signal), _) => Some(printable(signal)),
        (None, Some(code)) => Some(format!("exit {code}")),
        (None, None) => None,
    };
    let memory = (run["oom_killed"] == true).then(|| "out of memory".to_owned());
    let said: Vec<String> = run["reason"].as_str().map(printable).into_iter().chain(how).chain(memory).collect();
    let look = if run["reason"] == "error" { Look::Bad } else { Look::Plain };
    Cell::new(if said.is_empty() { UNKNOWN.to_owned() } else { said.join(", ") }).looking(look)
}

/// Processes below their parents: how deep each is, and what.
fn tree(processes: &[Value]) -> Vec<(usize, &Value)> {
    let mut children: BTreeMap<Option<u64>, Vec<&Value>> = BTreeMap::new();
    let pids: BTreeSet<Option<u64>> = processes.iter().map(|process| process["pid"].as_u64()).collect();
    for process in processes.iter().rev() {
        let parent = process["ppid"].as_u64().filter(|parent| pids.contains(&Some(*parent)));
        children.entry(parent).or_default().push(process);
    }
    let mut waiting: Vec<(usize, &Value)> = Vec::new();
    let mut next =
        |parent, depth| children.remove(&parent).unwrap_or_default().into_iter().map(move |child| (depth, child));
    waiting.extend(next(None, 0));
    let mut ordered = Vec::with_capacity(processes.len());
    while let Some((depth, process)) = waiting.pop() {
        ordered.push((depth, process));
        if process["pid"].is_u64() {
            waiting.extend(next(process["pid"].as_u64(), depth + 1));
        }
    }
    // A document may say anything, also that two are each other's parents.
    if ordered.len() == processes.len() { ordered } else { processes.iter().map(|process| (0, process)).collect() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::put_host_beside_ends;
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

    #[test]
    fn children_stand_below_their_parents() {
        let process = |pid: u32, ppid: u32| json!({"pid": pid, "ppid": ppid});
        let order = |processes: &[Value]| -> Vec<(usize, u64)> {
            tree(processes).iter().map(|(depth, process)| (*depth, process["pid"].as_u64().unwrap())).collect()
        };
        let all = [process(7, 1), process(8, 7), process(9, 7), process(10, 8), process(20, 1)];
        assert_eq!(order(&all), [(0, 7), (1, 8), (2, 10), (1, 9), (0, 20)]);
        let odd = [process(1, 2), process(2, 1), process(3, 0)];
        assert_eq!(order(&odd), [(0, 1), (0, 2), (0, 3)], "none is lost");
    }

    #[test]
    fn how_a_run_ended() {
        let said = |run: Value| end(&run).text().to_owned();
        assert_eq!(
            said(json!({"reason": "error", "exit_signal": "SIGKILL", "oom_killed": true})),
            "error, SIGKILL, out of memory"
        );
        assert_eq!(said(json!({"reason": "error", "exit_code": 7, "oom_killed": false})), "error, exit 7");
        assert_eq!(said(json!({"reason": null, "exit_code": null})), UNKNOWN);
    }
}
