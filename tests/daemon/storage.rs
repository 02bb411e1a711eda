//! Trouble with the disk, as an operator sees it: nothing is lost that was acknowledged, watching goes on, and all is well
//! again by itself.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;

use serde_json::json;

use super::harness::{BRISK, Daemon, Place, get, until};
use super::tree::Tree;

/// Tells an event, under a name; the status of the answer.
pub(crate) fn tell(place: &Place, message: &str) -> u16 {
    let id: String = message.chars().take(100).collect();
    let body = json!({"eventType": "note", "message": message, "id": id}).to_string();
    let mut stream = UnixStream::connect(place.path("s")).unwrap();
    let length = body.len();
    let head = "POST /api/monitoring/agents/a/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    write!(stream, "{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{answer:?}"))
}

/// From now on no file that the daemon writes may be longer than this.
fn limit_files(daemon: &Daemon, bytes: &str) {
    let limit = format!("--fsize={bytes}:unlimited");
    let limited = Command::new("prlimit").arg("--pid").arg(daemon.pid().to_string()).arg(limit).status().unwrap();
    assert!(limited.success());
}

/// A file that may not grow is a full disk, though SQLite calls it an I/O error and the kernel sends a signal that ends who
/// does not expect it.
#[test]
fn a_file_that_may_not_grow() {
    let tree = Tree::start();
    let place = Place::new();
    place.configure(BRISK);
    let daemon = place.start(&["--agent", &format!("a={}", tree.pid())]);
    daemon.until_known("a");
    assert_eq!(tell(&place, "before"), 201);
    limit_files(&daemon, "8192");
    let mut acknowledged = vec!["before".to_owned()];
    let mut told = 0;
    let refused = until("a write is refused", || {
        told += 1;
        let message = format!("meanwhile {told}");
        match tell(&place, &message) {
            201 => {
                acknowledged.push(message);
                Err("it is stored".to_owned())
            }
            status => Ok(status),
        }
    });
    assert_eq!(refused, 507, "there is no room");
    // Watching goes on, and says what is wrong.
    daemon.passes(2);
    assert_eq!(daemon.agent("a")["state"], "running");
    until("the alert fires", || {
        let dashboard = daemon.dashboard();
        let fires = dashboard["alerts"].as_array().unwrap().iter().any(|alert| alert["type"] == "storage_degraded");
        if fires { Ok(()) } else { Err(dashboard["alerts"].to_string()) }
    });
    let (status, ready) = get(daemon.address(), "/readyz");
    assert_eq!((status, &ready["status"]), (200, &json!("degraded")), "{ready}");
    let database = &daemon.get("/api/monitoring/status")["database"];
    assert_eq!(database["status"], "failing", "{database}");
    assert!(
        database["samplesWaiting"].as_u64() > Some(0) && database["entriesWaiting"].as_u64() > Some(0),
        "{database}"
    );
    assert_eq!(daemon.get("/api/monitoring/events?agent=a")["items"][0]["agent_id"], "a", "what is stored can be read");

    limit_files(&daemon, "unlimited");
    until("it stores again", || {
        let database = &daemon.get("/api/monitoring/status")["database"];
        if database["status"] == "ok" { Ok(()) } else { Err(database.to_string()) }
    });
    assert_eq!(tell(&place, "after"), 201);
    acknowledged.push("after".to_owned());
    place.until_stored("select count(*) from alerts where type = 'storage_degraded' and state = 'resolved'", 1);
    daemon.stop();
    let notes = place
        .database()
        .prepare("select message from agent_events where event_type = 'note' order by id")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<Vec<String>, _>>()
        .unwrap();
    assert_eq!(notes, acknowledged, "what was acknowledged, and nothing else");
    let gap = "select max(gap) from (select tick - lag(tick) over (order by tick) as gap from ticks)";
    assert_eq!(place.count(gap), 1, "samples waited, and none is missing");
}
