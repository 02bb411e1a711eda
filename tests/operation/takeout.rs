//! Taking data out, with a daemon and without.

use std::os::unix::fs::PermissionsExt;

use agent_monitor::store::FILE_NAME;
use rusqlite::Connection;
use serde_json::Value;

use crate::harness::*;

#[test]
fn what_is_taken_out_is_what_is_there() {
    let place = Place::new("");
    let id = "a \"quoted\", \\ agent";
    let record = serde_json::json!([{"id": id, "pid": std::process::id(), "status": "busy, \"very\""}]);
    place.write("agents.json", &record.to_string());
    place.configure(&config(&file_source(&place.path("agents.json"))));
    let missing = place.output(&["export", "--format", "csv"]);
    assert_eq!(missing.status.code(), Some(78), "{missing:?}");
    let daemon = place.start();
    let place = &daemon.place;
    let database = place.path("state").join(FILE_NAME);
    let connection = Connection::open(&database).unwrap();
    let rows = |connection: &Connection| -> Vec<(String, Option<f64>, i64)> {
        let sql = "select timestamp, cpu_percent, process_count from agent_metrics order by timestamp";
        let mut statement = connection.prepare(sql).unwrap();
        statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .unwrap()
            .map(Result::unwrap)
            .collect()
    };
    eventually("some samples are there", || (rows(&connection).len() >= 3).then_some(()));

    // While it runs.
    let copy = place.path("copy.db");
    place.told(&["backup", copy.to_str().unwrap()]);
    assert_eq!(copy.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let copied = Connection::open(&copy).unwrap();
    let whole: String = copied.query_row("pragma integrity_check", [], |row| row.get(0)).unwrap();
    let kept = rows(&copied);
    assert_eq!((whole.as_str(), &rows(&connection)[..kept.len()]), ("ok", &kept[..]));
    assert!(kept.len() >= 3);
    let before = std::fs::read(&copy).unwrap();
    let again = place.output(&["backup", copy.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(1), "never over another file: {again:?}");
    assert!(std::fs::read(&copy).unwrap() == before);

    // A bound, so that what comes meanwhile makes no difference.
    let end = kept[2].0.clone();
    let lines = place.told(&["export", "--format", "json", "--to", &end]);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "the end is not in it");
    for (line, (at, cpu, processes)) in lines.iter().zip(&kept) {
        assert_eq!(line["timestamp"].as_str().unwrap(), at.replace(' ', "T") + "Z");
        assert_eq!((line["agent_id"].as_str(), line["cpu_percent"].as_f64()), (Some(id), *cpu));
        assert_eq!(
            (line["process_count"].as_i64(), line["status"].as_str()),
            (Some(*processes), Some("busy, \"very\""))
        );
    }
    let csv = place.told(&["export", "--format", "csv", "--agent", id, "--from", &kept[1].0, "--to", &end]);
    let csv: Vec<&str> = csv.lines().collect();
    assert_eq!(csv.len(), 2, "{csv:?}");
    assert!(csv[0].starts_with("agent_id,timestamp,cpu_percent,memory_mb"));
    assert!(csv[1].starts_with(r#""a ""quoted"", \ agent",2"#) && csv[1].contains(r#""busy, ""very""""#), "{}", csv[1]);

    let text = place.told(&["export", "--format", "openmetrics", "--to", &end]);
    assert!(text.ends_with("# EOF\n"));
    let series = r#"agent_monitor_agent_processes{agent="a \"quoted\", \\ agent"} "#;
    assert_eq!(text.lines().filter(|line| line.starts_with(series)).count(), 2, "{text}");
    assert!(text.contains("# TYPE agent_monitor_agent_cpu_seconds counter\n"));

    assert_eq!(place.output(&["export", "--format", "csv", "--agent", "nobody"]).status.code(), Some(1));
    assert_eq!(place.output(&["export", "--format", "csv", "--from", "whenever"]).status.code(), Some(1));
}
