//! What the routes answer is what is in the database.

use std::path::Path;

use agent_monitor::daemon::Parts;
use agent_monitor::model::{AgentId, EventReport, JsonObject, Pid};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Map, Value, json};

use super::harness::{get, until};
use super::library::{config, failure, run};
use super::tree::Tree;

/// Rows as the routes show them: times as RFC 3339, booleans, metadata as an object.
fn rows(database: &Path, sql: &str) -> Vec<Value> {
    let connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut statement = connection.prepare(sql).unwrap();
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let cell = |name: &str, value: ValueRef<'_>| match (name, value) {
        (_, ValueRef::Null) => Value::Null,
        ("resolved" | "oom_killed", ValueRef::Integer(number)) => json!(number == 1),
        (_, ValueRef::Integer(number)) => json!(number),
        (_, ValueRef::Real(number)) => json!(number),
        ("metadata", text) => serde_json::from_str(text.as_str().unwrap()).unwrap(),
        ("timestamp" | "started_at" | "ended_at" | "resolved_at" | "since", text) => {
            json!(format!("{}Z", text.as_str().unwrap().replace(' ', "T")))
        }
        (_, text) => json!(text.as_str().unwrap()),
    };
    let row = |row: &rusqlite::Row<'_>| -> rusqlite::Result<Value> {
        let cells = names.iter().enumerate().map(|(place, name)| Ok((name.clone(), cell(name, row.get_ref(place)?))));
        Ok(Value::Object(cells.collect::<rusqlite::Result<Map<_, _>>>()?))
    };
    statement.query_map([], row).unwrap().map(Result::unwrap).collect()
}

/// Equal, but for the digits that the routes leave out.
fn same(shown: &Value, stored: &Value) -> bool {
    match (shown, stored) {
        (Value::Number(a), Value::Number(b)) => (a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 0.051,
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, value)| b.get(name).is_some_and(|other| same(value, other)))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (a, b) => a == b,
    }
}

#[test]
fn every_list_shows_what_sqlite_has() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("state/agent-monitor.db");
    let mut tree = Tree::start();
    let left = tree.spawn("sleep 1000");
    let agents = [("worker", Pid::new(tree.pid().into()).unwrap())];
    run(config(directory.path(), &agents), Parts::system(), |mut daemon| async move {
        let of =
            |now: &agent_monitor::model::Snapshot| now.agents.iter().find(|one| one.id.as_str() == "worker").cloned();
        let two = |now: &_| {
            of(now).is_some_and(|one| one.metrics.process_count == Some(2) && one.metrics.cpu_percent.is_some())
        };
        daemon.until("both processes are seen", two).await;
        tree.kill();
        tree.wait();
        let us = AgentId::new("worker").unwrap();
        for number in 0..12 {
            daemon.handle.record_error(us.clone(), failure(number)).await.unwrap();
        }
        let metadata = JsonObject::parse(r#"{"step":[1,{"a":null}]}"#).unwrap();
        let note = EventReport { event_type: "note".into(), message: "<b>é\u{2028}".into(), metadata };
        daemon.handle.record_event(us, note).await.unwrap();
        daemon
            .until("it left something, and has too many errors", |now| {
                !now.alerts.is_empty() && of(now).is_some_and(|one| one.leftovers.process_count == 1)
            })
            .await;

        let address = daemon.address;
        tokio::task::spawn_blocking(move || {
            let shown = |route: &str| get(address, &format!("/api/monitoring/{route}")).1;
            for (route, at_least, sql) in [
                ("events?limit=500", 3, "select * from agent_events order by id desc"),
                ("events?type=note", 1, "select * from agent_events where event_type = 'note'"),
                ("errors?agent=worker", 12, "select * from error_logs order by id desc"),
                ("errors?resolved=true", 0, "select * from error_logs where resolved = 1"),
                ("alerts", 1, "select * from alerts order by id desc"),
                ("alerts?state=firing&type=high_errors", 1, "select * from alerts where type = 'high_errors'"),
                ("runs", 1, "select * from agent_runs"),
                ("runs?state=ended", 1, "select * from agent_runs where ended_at is not null"),
                ("leftovers", 1, "select * from leftovers"),
                ("leftovers?state=ended", 0, "select * from leftovers where ended_at is not null"),
            ] {
                // The daemon goes on meanwhile.
                until(route, || {
                    let (items, stored) = (shown(route)["items"].clone(), Value::Array(rows(&database, sql)));
                    let enough = items.as_array().unwrap().len() >= at_least;
                    if enough && same(&items, &stored) { Ok(()) } else { Err(format!("{items:#}\n{stored:#}")) }
                });
            }
            assert_eq!(shown("leftovers")["items"][0]["pid"], left);
            assert_eq!(shown("runs")["items"][0]["exit_signal"], "SIGKILL");

            let page = shown("agents/worker");
            for (list, view) in [("events", "agent_events"), ("errors", "error_logs"), ("metrics", "agent_metrics")] {
                let items = page[list].as_array().unwrap();
                let sql = format!("select * from {view} where agent_id = 'worker' order by timestamp desc");
                let stored = rows(&database, &sql);
                let missing: Vec<_> = items.iter().filter(|item| !stored.iter().any(|row| same(item, row))).collect();
                assert!(!items.is_empty() && missing.is_empty(), "{list}: {missing:#?}");
            }
            assert_eq!(page["runs"].as_array().unwrap().len(), rows(&database, "select * from agent_runs").len());
            assert_eq!(page["leftovers"][0]["pid"], left);

            let history = shown("agents/worker/history?from=-15m&step=1s");
            let most = |list: &Value| list.as_array().unwrap().iter().filter_map(Value::as_f64).fold(-1.0, f64::max);
            let sql = "select max(memory_mb) as memory_mb, max(process_count) as processes from agent_metrics";
            let stored = &rows(&database, sql)[0];
            assert!(same(&json!(most(&history["memoryMb"]["max"])), &stored["memory_mb"]), "{stored} {history}");
            assert!(same(&json!(most(&history["processCount"]["max"])), &stored["processes"]), "{stored} {history}");
            assert_eq!(history["step"], 1);

            let dashboard = shown("dashboard");
            assert_eq!(dashboard["activeErrors"], json!([{"agent_id": "worker", "count": 12}]));
            assert_eq!(dashboard["agents"], shown("agents")["agents"]);
            let newest = &rows(&database, "select * from agent_events order by id desc limit 1")[0];
            assert!(dashboard["recentEvents"].as_array().unwrap().iter().any(|event| same(event, newest)));
            let status = shown("status");
            assert!(
                status["database"]["commits"].as_u64() > Some(12) && status["sampling"]["tickDuration"].is_number()
            );
            assert_eq!((&status["agents"], &status["database"]["status"]), (&json!(1), &json!("ok")));
        })
        .await
        .unwrap();
    });
}
