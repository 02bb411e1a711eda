//! Messages that a broker's database counts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;

use rusqlite::Connection;
use rustix::process::geteuid;
use serde_json::{Value, json};

use crate::harness::*;

fn broker(place: &Place, name: &str, messages: u32) -> Connection {
    let connection = Connection::open(place.path(name)).unwrap();
    let sql = "pragma journal_mode = wal; create table tickets (id integer primary key, target_agent, origin_agent)";
    connection.execute_batch(sql).unwrap();
    for _ in 0..messages {
        connection.execute_batch("insert into tickets (target_agent) values ('counted'), ('told')").unwrap();
    }
    connection
}

fn counting(place: &Place, database: &str) -> String {
    let sources = file_source(&place.path("agents.json"));
    config(&format!("{sources}[messages]\ndatabase = {:?}\n", place.path(database).to_str().unwrap()))
}

fn messages(daemon: &Daemon, id: &str) -> Value {
    let dashboard = daemon.get("/api/monitoring/dashboard");
    let agents = dashboard["agents"].as_array().unwrap();
    agents
        .iter()
        .find(|agent| agent["agentId"] == id)
        .map_or(Value::Null, |agent| agent["metrics"]["messageCount"].clone())
}

#[test]
fn messages_are_counted_where_the_record_does_not_say() {
    let place = Place::new("");
    let records = json!([
        {"id": "counted", "pid": std::process::id()}, {"id": "none"}, {"id": "told", "messageCount": 99}
    ]);
    place.write("agents.json", &records.to_string());
    let _first = broker(&place, "first.db", 3);
    let _second = broker(&place, "second.db", 5);
    let (other, missing) = (counting(&place, "second.db"), counting(&place, "missing.db"));
    place.configure(&counting(&place, "first.db"));
    let daemon = place.start();
    eventually("messages are counted", || (messages(&daemon, "counted") == 3).then_some(()));
    assert_eq!(
        (messages(&daemon, "none"), messages(&daemon, "told")),
        (json!(0), json!(99)),
        "the record's word is first"
    );
    let status = daemon.status();
    assert_eq!((&status["messages"]["status"], &status["messages"]["error"]), (&json!("ok"), &Value::Null));
    daemon.reload(&other);
    eventually("the other database is read", || (messages(&daemon, "counted") == 5).then_some(()));
    daemon.reload(&missing);
    eventually("what is not known is null", || messages(&daemon, "counted").is_null().then_some(()));
    assert_eq!(messages(&daemon, "told"), 99);
    let status = daemon.until("it says why", |status| status["messages"]["status"] == "failing");
    assert!(status["messages"]["error"].as_str().unwrap().contains("No such file"), "{status:#}");
    assert_eq!(status["status"], "degraded");
    daemon.reload(&config(&file_source(&daemon.place.path("agents.json"))));
    daemon.until("nobody counts any more", |status| status["messages"].is_null());
    daemon.stop();
}

/// A database in WAL mode that its owner has closed cannot be opened by anyone who may not write beside it.
#[test]
fn a_closed_database_of_another_user_says_so() {
    if !geteuid().is_root() {
        println!("only root can be somebody else");
        return;
    }
    let place = Place::new("");
    fs::set_permissions(place.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    place.write("agents.json", &us("counted"));
    drop(broker(&place, "broker.db", 2));
    // The same by another name, so that a reload looks again at once.
    std::os::unix::fs::symlink("broker.db", place.path("again.db")).unwrap();
    place.configure(&counting(&place, "broker.db"));
    let again = counting(&place, "again.db");
    for directory in ["run", "state"] {
        fs::create_dir(place.path(directory)).unwrap();
        std::os::unix::fs::chown(place.path(directory), Some(65_534), Some(65_534)).unwrap();
    }
    let daemon = Daemon::start(place, |command| {
        command.uid(65_534).gid(65_534);
    });
    let status = daemon.until("it says why not", |status| status["messages"]["status"] == "failing");
    let error = status["messages"]["error"].as_str().unwrap();
    assert!(error.contains("WAL mode") && error.contains("user 0"), "{error}");
    assert!(messages(&daemon, "counted").is_null());
    let open = Connection::open(daemon.place.path("broker.db")).unwrap();
    open.execute_batch("insert into tickets (target_agent) values ('counted')").unwrap();
    daemon.reload(&again);
    eventually("while it is open, it is counted", || (messages(&daemon, "counted") == 3).then_some(()));
    daemon.stop();
}
