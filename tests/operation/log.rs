//! The log: its forms, and that nothing waits for whoever reads it.

use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::*;

#[test]
fn json_lines_in_daily_files() {
    let place = Place::new("");
    let logs = place.path("logs");
    place.configure(&format!("[log]\nformat = \"json\"\ndirectory = {logs:?}\n"));
    let place = place.start().stop();
    let files: Vec<_> = std::fs::read_dir(&logs).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!((1..=2).contains(&files.len()), "one a day: {files:?}");
    let name = files[0].file_name().unwrap().to_str().unwrap();
    let date = name.strip_prefix("agent-monitor.").unwrap().strip_suffix(".log").unwrap();
    assert_eq!(date.split('-').map(str::len).collect::<Vec<_>>(), [4, 2, 2], "{name}");
    let text = std::fs::read_to_string(&files[0]).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["fields"]["message"], "agent-monitor is running");
    assert_eq!(lines.last().unwrap()["fields"]["message"], "agent-monitor stopped", "complete to the last line");
    drop(place);
}

#[test]
fn closed_outputs_stop_nobody() {
    let place = Place::new(&config(""));
    let mut command = place.command(&["run", "--listen", "127.0.0.1:0"]);
    let mut child = Killed(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    // Both pipes have no reader from the first moment.
    drop((child.0.stdout.take(), child.0.stderr.take()));
    let file = place.path("run/endpoint.json");
    let endpoint: Value =
        eventually("it is announced", || serde_json::from_str(&std::fs::read_to_string(&file).ok()?).ok());
    let url = endpoint["url"].as_str().unwrap();
    let pid = rustix::process::Pid::from_child(&child.0);
    rustix::process::kill_process(pid, Signal::PIPE).unwrap();
    rustix::process::kill_process(pid, Signal::HUP).unwrap();
    let status = eventually("it works, and counts what nobody heard", || {
        let status: Value = serde_json::from_str(&get(url, "/api/monitoring/status", "localhost", "").1).unwrap();
        let lost = status["counters"]["logLinesDropped"].as_u64().unwrap();
        (status["status"] == "ready" && lost >= 2).then_some(status)
    });
    assert_eq!(status["counters"]["reloads"], 1);
    assert!(child.stop().success());
    assert!(!file.exists());
}

#[test]
fn a_reader_that_does_not_read_holds_nothing_up() {
    let place = Place::new("");
    // What a second source says of agents that the first one names is passed over, with a line for each.
    let records: Vec<String> = (0..4_000).map(|n| format!(r#"{{"id":"double-{n}"}}"#)).collect();
    let sources = ["a.json", "b.json"].map(|name| {
        place.write(name, &format!("[{}]", records.join(",")));
        file_source(&place.path(name))
    });
    place.configure(&config(&format!("{}[log]\nlevel = \"debug\"\n", sources.concat())));
    let mut command = place.command(&["run", "--listen", "127.0.0.1:0"]);
    let child = Killed(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
    let file = place.path("run/endpoint.json");
    eventually("it is announced", || file.exists().then_some(()));
    let status = || -> Value { serde_json::from_str(&place.told(&["status", "--json"])).unwrap() };
    let lost =
        eventually("lines are lost", || status()["counters"]["logLinesDropped"].as_u64().filter(|lost| *lost > 1_000));
    let screen = place.told(&["status"]);
    assert!(screen.contains("log lines lost: "), "{lost}: {screen}");
    let passes = status()["generatedAt"].clone();
    eventually("watching goes on", || (status()["sampling"]["lastTickAt"].as_str() > passes.as_str()).then_some(()));
    assert!(child.stop().success());
}
