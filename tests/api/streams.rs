//! What happens, as it happens: over Server-Sent Events and WebSocket.

use std::io::{BufRead, BufReader, Read, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use agent_monitor::api::{Limits, Sources};
use agent_monitor::clock::monotonic;
use agent_monitor::model::*;
use insta::assert_snapshot;
use serde_json::{Value, json};
use tungstenite::Message as Frame;
use tungstenite::protocol::frame::coding::CloseCode;

use crate::listeners::*;
use crate::world::*;

const SHORT: Duration = Duration::from_millis(200);

#[test]
fn everything_over_server_sent_events() {
    let (server, feed) = server();
    let mut events = Events::open(&server, "", &[]);
    let hello = events.next().unwrap();
    all_happens(&feed);
    let mut shown = String::new();
    for block in [hello].into_iter().chain((0..7).map(|_| events.next().unwrap())) {
        for line in block {
            match line
                .strip_prefix("data: ")
                .map(|json| serde_json::from_str::<Value>(&json.replace(env!("CARGO_PKG_VERSION"), "VERSION")))
            {
                Some(data) => shown += &format!("data: {}\n", serde_json::to_string_pretty(&data.unwrap()).unwrap()),
                None => shown += &format!("{line}\n"),
            }
        }
        shown += "\n";
    }
    assert_snapshot!("sse", shown);
}

#[test]
fn everything_over_websocket() {
    let (server, feed) = server();
    let mut socket = Socket::open(&server, "");
    until("it listens", || server.open_streams() == 1);
    all_happens(&feed);
    let messages: Vec<Value> = (0..7).map(|_| socket.message()).collect();
    assert_snapshot!("ws", serde_json::to_string_pretty(&messages).unwrap());
}

#[test]
fn an_alert_whose_line_came_late_ends_by_that_line() {
    let (server, feed) = server();
    let mut events = Events::listening(&server, "?type=alert");
    feed.recorded(&[transition(None, "high_memory", true)]);
    feed.stored_late(&[transition(Some(23), "high_memory", true)]);
    feed.recorded(&[transition(Some(24), "high_memory", false)]);
    let mut id = || {
        let block = events.next().unwrap();
        let json = block.iter().find_map(|line| line.strip_prefix("data: ")).unwrap();
        serde_json::from_str::<Value>(json).unwrap()["id"].clone()
    };
    assert_eq!((id(), id()), (Value::Null, 23.into()));
}

/// The form that browsers get: chunks, as the answer has no length.
#[test]
fn http_1_1_gets_chunks() {
    let (server, _feed) = server();
    let mut stream = server.connect();
    stream.write_all(head("GET", STREAM, "localhost", &[]).as_bytes()).unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let head: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
    assert!(head.contains(&"transfer-encoding: chunked".to_owned()), "{head:?}");
    assert!(head.contains(&"x-accel-buffering: no".to_owned()) && head.contains(&"cache-control: no-store".to_owned()));
    assert!(lines.next().unwrap().chars().all(|digit| digit.is_ascii_hexdigit()));
    assert_eq!(lines.next().unwrap(), "retry: 2000");
}

#[test]
fn only_what_changed_is_told() {
    let (server, feed) = server();
    let mut events = Events::listening(&server, "?type=metrics_update");
    feed.publish(Arc::clone(&feed.present().snapshot)); // nothing
    feed.recorded(&[event(Some(21), None, "not asked for")]);
    feed.publish(later(&feed, 2));
    let agents = |data: &Value| -> Vec<String> {
        data["agents"].as_array().unwrap().iter().map(|agent| agent["agentId"].as_str().unwrap().to_owned()).collect()
    };
    let (id, name, data) = events.message();
    assert_eq!((id, &*name, agents(&data)), (None, "metrics_update", vec!["coder-1".to_owned()]));
    assert_eq!((&data["removed"], &data["timestamp"]), (&json!([]), &json!("2026-01-01T00:00:02.000Z")));

    let mut fewer = (*later(&feed, 3)).clone();
    fewer.agents = replaced(&fewer, 0, unknown("a first one"));
    feed.publish(Arc::new(fewer));
    let data = events.message().2;
    assert_eq!((agents(&data), &data["removed"]), (vec!["a first one".into(), "coder-1".into()], &json!(["a/b <c>"])));
    // A tick in which no agent changed is told: there is a host, too.
    let mut quiet = (*feed.present().snapshot).clone();
    quiet.own.last_tick_mono = Some(Mono(99));
    quiet.host.load_1m = Some(7.5);
    feed.publish(Arc::new(quiet));
    let data = events.message().2;
    assert_eq!((agents(&data).len(), &data["systemMetrics"]["cpuUsage"]), (0, &json!(7.5)));
}

#[test]
fn filters() {
    let (server, feed) = server();
    let mut ours = Events::listening(&server, "?agent=coder-1");
    let mut theirs = Events::listening(&server, "?agent=a%2Fb+%3Cc%3E");
    let mut errors = Events::listening(&server, "?type=agent_error,alert");
    let mut socket = Socket::open(&server, "?agent=coder-1&type=metrics_update,error");
    until("it listens", || server.open_streams() == 4);
    let other = |id| event(Some(id), Some("a/b <c>"), "theirs");
    feed.recorded(&[other(21), event(Some(22), Some("coder-1"), "ours"), event(Some(23), None, "nobody's")]);
    let mut both = (*later(&feed, 2)).clone();
    both.agents = replaced(&both, 0, unknown("a/b <c>"));
    feed.publish(Arc::new(both));
    feed.recorded(&[failure(Some(24)), other(25)]);

    assert_eq!(ours.message().0, Some(22));
    let (_, name, data) = ours.message();
    assert_eq!((&*name, data["agents"].as_array().unwrap().len()), ("metrics_update", 1));
    assert_eq!((&data["agents"][0]["agentId"], &data["systemMetrics"]["cpuCount"]), (&json!("coder-1"), &json!(8)));
    assert_eq!(ours.message().0, Some(24));
    assert_eq!(theirs.message().0, Some(21));
    assert_eq!(theirs.message().2["agents"][0]["agentId"], "a/b <c>");
    assert_eq!(theirs.message().0, Some(25));
    assert_eq!(errors.message().0, Some(24));
    assert_eq!(socket.message()["data"]["agentId"], "coder-1");
    assert_eq!(socket.message()["type"], "error");
    for wrong in ["?agent=%00", "?type=hello", "?after=-1", "?after=1&after=2"] {
        assert_eq!(server.get(&format!("{STREAM}{wrong}")).status, 400, "{wrong}");
    }
}

#[test]
fn what_was_missed_is_told_once() {
    let (server, feed) = server();
    let mut events = Events::open(&server, "?after=1", &["Last-Event-ID: 5"]);
    assert_eq!(events.message().1, "hello");
    // As if it had been recorded after the client joined, and before the database was asked.
    feed.recorded(&[event(Some(7), Some("coder-1"), "started"), event(Some(8), Some("coder-1"), "new")]);
    assert_eq!(events.ids(3), [Some(6), Some(7), Some(8)]);

    let mut socket = Socket::open(&server, "?after=6");
    assert_eq!(socket.message()["data"]["id"], 7);
    feed.recorded(&[event(Some(9), Some("coder-1"), "new")]);
    assert_eq!(socket.message()["data"]["id"], 9);
    assert_eq!(events.ids(1), [Some(9)]);
    // One that has everything, of which the feed hears late: the database knew of it before.
    let mut late = Events::listening(&server, "?after=7");
    feed.recorded(&[event(Some(7), Some("coder-1"), "started"), event(Some(11), Some("coder-1"), "new")]);
    assert_eq!(late.ids(1), [Some(11)]);
    // Whoever does not ask is not told what was.
    let mut fresh = Events::listening(&server, "");
    feed.recorded(&[event(Some(12), None, "new")]);
    assert_eq!(fresh.ids(1), [Some(12)]);
}

#[test]
fn what_cannot_be_told_again_is_a_gap() {
    let replay = Arc::new(|missed: &ReplayQuery| Ok(replay(missed, 5_000)));
    let server = Server::start(Sources { replay, ..sources() });
    let mut events = Events::listening(&server, "?after=17");
    let (id, name, data) = events.message();
    assert_eq!((id, &*name, data), (None, "gap", json!({"from": 18, "to": 4_000})));
    let ids: Vec<i64> = events.ids(1_000).into_iter().flatten().collect();
    assert_eq!((ids[0], ids[999]), (4_001, 5_000));
    let gap = Socket::open(&server, "?after=17").message();
    assert_eq!(gap, json!({"type": "gap", "data": {"from": 18, "to": 4_000}}));

    let server = Server::start(Sources { replay: Arc::new(|_| Err("disk I/O error".into())), ..sources() });
    assert_eq!(server.get(&format!("{STREAM}?after=1")).status, 503);
    Events::listening(&server, "");
}

/// A client that does not read is let go. Those who read miss nothing.
#[test]
fn who_does_not_read_is_let_go() {
    let (server, feed) = server();
    let silent = Events::listening(&server, "");
    let mut reading = Events::listening(&server, "");
    let mut socket = Socket::open(&server, "");
    until("it listens", || server.open_streams() == 3);
    let text = "x".repeat(1_000_000);
    let mut id = 100;
    while server.counts.streams_dropped.load(Ordering::Relaxed) == 0 {
        id += 1;
        assert!(id < 200, "100 MB for one who does not read");
        feed.recorded(&[event(Some(id), None, &text)]);
        assert_eq!(reading.ids(1), [Some(id)]);
        assert_eq!(socket.message()["data"]["id"], id);
    }
    until("its seat is free", || server.open_streams() == 2);
    feed.recorded(&[event(Some(5_000), None, "after all")]);
    assert_eq!(reading.ids(1), [Some(5_000)]);
    assert_eq!(server.counts.streams_dropped.load(Ordering::Relaxed), 1);
    drop(silent);
}

#[test]
fn the_65th_stream_is_refused() {
    let (server, _feed) = server();
    let mut open: Vec<Events> = (0..63).map(|_| Events::listening(&server, "")).collect();
    let socket = Socket::open(&server, "");
    let refused = server.get(STREAM);
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    assert_eq!(server.counts.streams_refused.load(Ordering::Relaxed), 1);
    assert_eq!(server.get("/healthz").status, 200);
    open.pop();
    until("a seat is free", || server.ask("HEAD", STREAM, &[]).status == 200);
    drop(socket);
    drop(open);
    until("all seats are free", || server.open_streams() == 0);
}

#[test]
fn heartbeats() {
    let (server, _feed) = with(Limits { heartbeat: SHORT, stall_timeout: 3 * SHORT, ..Limits::default() });
    let mut events = Events::listening(&server, "");
    let mut socket = Socket::open(&server, "");
    let before = monotonic();
    for _ in 0..5 {
        assert_eq!(events.block(), [":"]);
        assert_eq!(socket.0.read().unwrap(), Frame::Ping(Vec::new().into()));
    }
    assert!(monotonic().since(before) > 4 * SHORT, "and the connections live, though nothing else is said");

    // One that reads, and does not answer: not even a WebSocket's own answers to pings.
    let mut mute = server.connect();
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    write!(mute, "GET /api/monitoring/ws HTTP/1.1\r\nHost: localhost\r\n{upgrade}\r\n").unwrap();
    let mut all = Vec::new();
    mute.read_to_end(&mut all).unwrap();
    assert!(all.starts_with(b"HTTP/1.1 101"));
    assert!(all.ends_with(&[0x89, 0, 0x89, 0]), "two pings without an answer are enough");
}

#[test]
fn a_stop_ends_all_streams() {
    let (server, _feed) = server();
    let mut events = Events::listening(&server, "");
    let mut socket = Socket::open(&server, "");
    until("it listens", || server.open_streams() == 2);
    server.stop.cancel();
    assert_eq!(events.next(), None);
    let Frame::Close(Some(close)) = socket.0.read().unwrap() else { panic!("it says that it goes") };
    assert_eq!(close.code, CloseCode::Away);
    drop(socket);
    server.wait().unwrap();
}

#[test]
fn a_websocket_begins_with_an_upgrade() {
    let (server, _feed) = server();
    let plain = server.get("/api/monitoring/ws");
    assert_eq!((plain.status, plain.header("upgrade")), (426, Some("websocket")));
    assert_eq!(plain.header("content-type"), Some("application/problem+json"));
    assert_eq!(server.ask("HEAD", "/api/monitoring/ws", &[]).status, 426);
    let upgrade = ["Upgrade: websocket", "Sec-WebSocket-Version: 12", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="];
    assert_eq!(server.ask("GET", "/api/monitoring/ws", &upgrade).status, 426);

    // What a client says is not listened to, and may not be long.
    let mut socket = Socket::open(&server, "");
    socket.0.send(Frame::text("{\"type\":\"subscribe\"}")).unwrap();
    until("it listens", || server.open_streams() == 1);
    socket.0.send(Frame::text("x".repeat(5_000))).unwrap();
    until("it is let go", || server.open_streams() == 0);
    // One that says goodbye is answered.
    let mut socket = Socket::open(&server, "");
    socket.0.close(None).unwrap();
    let ended = loop {
        match socket.0.read() {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(ended, tungstenite::Error::ConnectionClosed), "{ended}");
}
