//! What the socket takes, how it says no, and that TCP takes nothing.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use agent_monitor::api::{Guard, Limits, Sources, Writes};
use agent_monitor::intake;
use agent_monitor::model::*;
use agent_monitor::monitor::NotRecorded;
use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::world::*;

const EVENTS: &str = "/api/monitoring/agents/coder%2F1/events";
const ERRORS: &str = "/api/monitoring/agents/coder%2F1/errors";

/// What was told, and what was resolved.
type Heard = Arc<Mutex<(Vec<Submission>, Vec<Resolve>)>>;

/// A server that holds what is told to its limits, remembers it, and answers `answer`.
fn listening(answer: Result<Receipt, NotRecorded>) -> (Server, Heard) {
    let heard = Heard::default();
    let (told, resolved, no) = (Arc::clone(&heard), Arc::clone(&heard), answer.clone());
    let writes = Writes {
        record: Arc::new(move |submission| {
            let (told, answer) = (Arc::clone(&told), answer.clone());
            Box::pin(async move {
                told.lock().unwrap().0.push(intake::prepare(submission, NEW_YEAR)?);
                answer
            })
        }),
        resolve: Arc::new(move |what| {
            resolved.lock().unwrap().1.push(what);
            let answer = no.clone();
            Box::pin(async move { answer.map(drop) })
        }),
    };
    (Server::with(Sources { writes, ..sources() }, Limits::default(), Guard::new(&[], None)), heard)
}

fn taking() -> (Server, Heard) {
    listening(Ok(Receipt { id: 40, duplicate: false }))
}

fn send(server: &Server, method: &str, target: &str, body: &[u8]) -> Answer {
    let mut stream = UnixStream::connect(&server.socket).unwrap();
    stream.set_read_timeout(Some(GENEROUS)).unwrap();
    let length = format!("Content-Length: {}", body.len());
    stream.write_all(head(method, target, "localhost", &[&length]).as_bytes()).unwrap();
    // The server may refuse before it has read all.
    let _ = stream.write_all(body);
    Answer::read(&mut stream)
}

fn post(server: &Server, target: &str, body: &Value) -> Answer {
    send(server, "POST", target, body.to_string().as_bytes())
}

#[test]
fn everything_that_is_told_arrives() {
    let (server, heard) = taking();
    let answer = post(
        &server,
        EVENTS,
        &json!({
            "eventType": "note", "message": "hello é", "metadata": {"b": [1, 2.50], "a": null}, "id": "e-1",
            "timestamp": "2025-12-31T23:00:00.5Z", "other": 1,
        }),
    );
    assert_eq!((answer.status, answer.json()), (201, json!({"success": true, "id": 40})));
    let error = json!({
        "error": {"name": "TypeError", "message": "x is not a function", "stack": "TypeError\n  at f (a.js:1:2)"},
        "metadata": null, "fingerprint": "mine", "timestamp": NEW_YEAR.unix_ms(), "id": "e-1",
    });
    assert_eq!(post(&server, ERRORS, &error).status, 201);
    assert_eq!(post(&server, EVENTS, &json!({"eventType": "note", "message": ""})).status, 201);
    let told = std::mem::take(&mut heard.lock().unwrap().0);
    let uid = Some(rustix::process::geteuid().as_raw());
    let metadata = JsonObject::parse(r#"{"a":null,"b":[1,2.5]}"#).unwrap();
    let event = EventReport { event_type: "note".into(), message: "hello é".into(), metadata };
    let expected = Submission {
        at: Some(Timestamp::parse("2025-12-31T23:00:00.500Z").unwrap()),
        client_id: Some("e-1".into()),
        uid,
        ..Submission::new(id("coder/1"), Report::Event(event))
    };
    assert_eq!(told[0], expected);
    let error = ErrorReport {
        error_type: "TypeError".into(),
        message: "x is not a function".into(),
        stack: Some("TypeError\n  at f (a.js:1:2)".into()),
        metadata: JsonObject::default(),
        fingerprint: Some("mine".into()),
    };
    assert_eq!(told[1], Submission { at: Some(NEW_YEAR), report: Report::Error(error), ..expected });
    assert_eq!((told[2].at, &told[2].client_id, told[2].uid), (None, &None, uid));

    for (target, expected) in [
        ("/api/monitoring/errors/17/resolve", Resolve::Error { id: 17 }),
        ("/api/monitoring/error-groups/a%2Fb/resolve", Resolve::Group { fingerprint: "a/b".into(), agent: None }),
        (
            "/api/monitoring/error-groups/f/resolve?agent=coder%2F1",
            Resolve::Group { fingerprint: "f".into(), agent: Some(id("coder/1")) },
        ),
    ] {
        let answer = send(&server, "PATCH", target, b"");
        assert_eq!((answer.status, answer.json()), (200, json!({"success": true})), "{target}");
        assert_eq!(heard.lock().unwrap().1.pop(), Some(expected));
    }
    assert_eq!(send(&server, "PATCH", "/api/monitoring/errors/x/resolve", b"").status, 400);
}

#[test]
fn what_is_wrong_is_named() {
    let (server, heard) = taking();
    let nested = |levels: usize| {
        let metadata = format!(r#"{{"a":{}1{}}}"#, "[".repeat(levels - 1), "]".repeat(levels - 1));
        format!(r#"{{"eventType":"n","message":"m","metadata":{metadata}}}"#)
    };
    let with = |key: &str, value: Value| {
        let mut body = json!({"eventType": "n", "message": "m"});
        body[key] = value;
        body.to_string()
    };
    for (status, words, body) in [
        (400, "not JSON", "{".to_owned()),
        (400, "not JSON", r#"{"eventType":"n","message":"m"} x"#.to_owned()),
        (400, "not JSON", String::new()),
        (400, "id has 1 to 128 bytes", with("id", "".into())),
        (400, "id has 1 to 128 bytes", with("id", "x".repeat(129).into())),
        (400, "id has 1 to 128 bytes", with("id", "a\u{7}".into())),
        (422, "eventType", r#"{"message":"m"}"#.to_owned()),
        (422, "message", r#"{"eventType":"n"}"#.to_owned()),
        (422, "message: invalid type", r#"{"eventType":"n","message":7}"#.to_owned()),
        (422, "id: invalid type", with("id", 7.into())),
        (422, "eventType has 1 to 256 bytes", with("eventType", "".into())),
        (422, "eventType has 1 to 256 bytes", with("eventType", "a\nb".into())),
        (422, "not a JSON object", with("metadata", json!([]))),
        (422, "metadata has at most 16384 bytes", with("metadata", json!({"a": "x".repeat(16 * 1024 - 7)}))),
        (422, "32 levels", nested(33)),
        (422, "metadata", nested(10_000)),
        (422, "timestamp", with("timestamp", "yesterday".into())),
        (422, "timestamp", with("timestamp", 7.into())),
        (422, "a JSON object", r#"["n","m",null,null,null]"#.to_owned()),
        (422, "a JSON object", "7".to_owned()),
    ] {
        let answer = send(&server, "POST", EVENTS, body.as_bytes());
        let problem = answer.json();
        let detail = problem["detail"].as_str().unwrap();
        assert_eq!(answer.status, status, "{detail}: {body:.200}");
        assert!(detail.contains(words), "{detail}: {body:.200}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert_eq!((&problem["success"], &problem["error"]), (&json!(false), &problem["detail"]));
    }
    let error = |key: &str, value: Value| {
        let mut body = json!({"error": {"name": "E", "message": "m"}});
        body[key] = value;
        post(&server, ERRORS, &body)
    };
    for (words, answer) in [
        ("error.message: invalid type", error("error", json!({"name": "E", "message": 7}))),
        ("missing field `name`", error("error", json!({"message": "m"}))),
        ("error.name has 1 to 256 bytes", error("error", json!({"name": "", "message": "m"}))),
        ("fingerprint has 1 to 128 bytes", error("fingerprint", "x".repeat(129).into())),
    ] {
        assert_eq!(answer.status, 422, "{}", answer.body);
        assert!(answer.json()["detail"].as_str().unwrap().contains(words), "{}", answer.body);
    }
    assert_eq!(heard.lock().unwrap().0, [], "nothing of it went further");

    assert_eq!(send(&server, "POST", EVENTS, nested(32).as_bytes()).status, 201, "just deep enough");
    assert_eq!(
        post(&server, EVENTS, &json!({"eventType": "n", "message": "m", "metadata": {"a": "x".repeat(16 * 1024 - 8)}}))
            .status,
        201
    );
    assert_eq!(send(&server, "POST", EVENTS, with("id", "x".repeat(128).into()).as_bytes()).status, 201);
}

#[test]
fn ids_and_bodies_have_their_limits() {
    let (server, _) = taking();
    let body = json!({"eventType": "n", "message": "m"});
    let to = |id: &str| post(&server, &format!("/api/monitoring/agents/{id}/events"), &body).status;
    assert_eq!((to(&"x".repeat(128)), to(&"x".repeat(129)), to("%0A"), to("%ff"), to("")), (201, 400, 400, 400, 400));
    let of = |bytes: usize| {
        let empty = json!({"eventType": "n", "message": ""}).to_string().len();
        post(&server, EVENTS, &json!({"eventType": "n", "message": "x".repeat(bytes - empty)}))
    };
    assert_eq!((of(64 << 10).status, of((64 << 10) + 1).status, of(1_000_000).status), (201, 413, 413));
    // Without a length, the limit holds while it is read.
    let mut stream = UnixStream::connect(&server.socket).unwrap();
    stream.set_read_timeout(Some(GENEROUS)).unwrap();
    stream.write_all(head("POST", EVENTS, "localhost", &["Transfer-Encoding: chunked"]).as_bytes()).unwrap();
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    for _ in 0..17 {
        let _ = stream.write_all(chunk.as_bytes());
    }
    let _ = stream.write_all(b"0\r\n\r\n");
    let answer = Answer::read(&mut stream);
    assert_eq!((answer.status, answer.header("content-type")), (413, Some("application/problem+json")));
}

#[test]
fn every_no_has_its_status() {
    let storage = |full| NotRecorded::Storage { reason: "disk full".into(), full };
    for (no, status, retry) in [
        (NotRecorded::Busy, 503, Some("1")),
        (NotRecorded::Stopped, 503, Some("1")),
        (storage(false), 503, Some("1")),
        (storage(true), 507, Some("30")),
        (NotRecorded::TooManyUnregistered, 429, Some("1")),
        (NotRecorded::TooFast, 429, Some("1")),
        (NotRecorded::Conflict, 409, None),
        (NotRecorded::Unknown, 404, None),
    ] {
        let (server, _) = listening(Err(no.clone()));
        let answer = post(&server, EVENTS, &json!({"eventType": "n", "message": "m"}));
        assert_eq!((answer.status, answer.header("retry-after")), (status, retry), "{no}");
        assert_eq!(answer.json()["detail"], no.to_string());
        assert_eq!(send(&server, "PATCH", "/api/monitoring/errors/1/resolve", b"").status, status);
        let counted = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        let counts = (counted(&server.counts.writes_limited), counted(&server.counts.writes_failed));
        assert_eq!(
            counts,
            if status == 429 {
                (2, 0)
            } else if status >= 500 {
                (0, 2)
            } else {
                (0, 0)
            },
            "{no}"
        );
    }
    let (server, _) = listening(Ok(Receipt { id: 7, duplicate: true }));
    let answer = post(&server, EVENTS, &json!({"eventType": "n", "message": "m"}));
    assert_eq!((answer.status, answer.json()), (201, json!({"success": true, "id": 7, "duplicate": true})));
}

#[test]
fn tcp_takes_nothing() {
    let (server, heard) = taking();
    let body = r#"{"eventType":"n","message":"m"}"#;
    for (method, target) in [
        ("POST", EVENTS),
        ("POST", ERRORS),
        ("PATCH", "/api/monitoring/errors/1/resolve"),
        ("PATCH", "/api/monitoring/error-groups/f/resolve"),
        ("PUT", EVENTS),
        ("DELETE", "/api/monitoring/errors/1"),
    ] {
        let length = format!("Content-Length: {}", body.len());
        let answer = server.raw(&format!("{}{body}", head(method, target, "localhost", &[&length])));
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")), "{method} {target}");
    }
    assert_eq!(server.get(EVENTS).status, 404, "there is nothing to read there");
    // On the socket, too, each route has its methods.
    let allowed = |method: &str, target: &str| {
        let answer = send(&server, method, target, b"");
        (answer.status, answer.header("allow").map(str::to_owned))
    };
    assert_eq!(allowed("GET", EVENTS), (405, Some("POST".to_owned())));
    assert_eq!(allowed("POST", "/api/monitoring/errors/1/resolve"), (405, Some("PATCH".to_owned())));
    assert_eq!(allowed("POST", "/api/monitoring/events"), (405, Some("GET,HEAD".to_owned())));
    assert!(heard.lock().unwrap().0.is_empty() && heard.lock().unwrap().1.is_empty());
}

#[test]
fn problems_in_pages() {
    let server = Server::start(sources());
    assert_snapshot!("error_groups", server.get("/api/monitoring/error-groups?limit=3").shown());
    let (mut lengths, mut next) = (Vec::new(), String::new());
    loop {
        let page = server.get(&format!("/api/monitoring/error-groups?limit=3&before={next}")).json();
        lengths.push(page["items"].as_array().unwrap().len());
        let Some(cursor) = page["next"].as_str() else { break };
        next = cursor.to_owned();
    }
    assert_eq!(lengths, [3, 3, 1]);
    assert_eq!(server.get("/api/monitoring/error-groups?limit=99999999999999999999").status, 200, "as many as may be");
    for (query, word) in [
        ("limit=0", "limit"),
        ("before=j7", "before"),
        ("agent=%00", "agent"),
        ("resolved=maybe", "resolved"),
        ("state=closed", "state is open, resolved or regressed"),
        ("state=open&resolved=false", "not both"),
    ] {
        let answer = server.get(&format!("/api/monitoring/error-groups?{query}"));
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.json()["detail"].as_str().unwrap().contains(word), "{query}: {}", answer.body);
    }
}
