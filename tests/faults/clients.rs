//! E: clients that say what is no request, say it slowly, say it too often, or do not listen.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use agent_monitor::clock::monotonic;
use serde_json::{Value, json};

use crate::client::{Answer, connect, converse, dial, get, post, request};
use crate::harness::{Daemon, Deadline, Place};
use crate::thorough;

fn counter(daemon: &Daemon, place: &Place, name: &str) -> u64 {
    // Over the socket, which has connections of its own.
    let _ = daemon;
    place.get("/api/monitoring/status")["counters"][name].as_u64().unwrap()
}

/// What no client should send, and the answers that it may get, all of them; none: it is cut off.
fn corpus() -> Vec<(&'static str, Vec<u8>, &'static [u16])> {
    const EVENTS: &str = "/api/monitoring/agents/a/events";
    let host = "Host: localhost\r\nConnection: close\r\n";
    let text = |text: String| text.into_bytes();
    let get = |target: &str| text(format!("GET {target} HTTP/1.1\r\n{host}\r\n"));
    let headed = |lines: &str| text(format!("GET /healthz HTTP/1.1\r\n{host}{lines}\r\n"));
    let mut hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec();
    hello.extend([7; 64]);
    let smuggled = format!("GET /nothing HTTP/1.1\r\n{host}\r\n");
    vec![
        ("nothing", Vec::new(), &[]),
        ("half a line", b"GET /heal".to_vec(), &[]),
        ("noise", (0..=255).collect(), &[400]),
        ("a hello of TLS", hello, &[400]),
        ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), &[]),
        ("HTTP/0.9", b"GET /\r\n".to_vec(), &[400]),
        ("HTTP/3.7", text(format!("GET / HTTP/3.7\r\n{host}\r\n")), &[400]),
        ("HTTP/1.0 without a host", b"GET /healthz HTTP/1.0\r\n\r\n".to_vec(), &[400]),
        ("no host", b"GET /healthz HTTP/1.1\r\n\r\n".to_vec(), &[400]),
        ("two hosts", headed("Host: localhost\r\n"), &[400]),
        ("a blank in a name", headed("X Y: z\r\n"), &[400]),
        ("a line that goes on", headed("X: y\r\n z\r\n"), &[400]),
        ("a NUL in a value", headed("X: y\0z\r\n"), &[400]),
        ("a header of 17 KiB", headed(&format!("X: {}\r\n", "y".repeat(17 << 10))), &[431]),
        ("200 headers", headed(&"X: y\r\n".repeat(200)), &[431]),
        ("a target of 17 KiB", get(&format!("/{}", "x".repeat(17 << 10))), &[431]),
        ("somebody else's target", get("http://evil.example/healthz"), &[403]),
        ("a tunnel", text(format!("CONNECT evil.example:443 HTTP/1.1\r\n{host}\r\n")), &[403, 400]),
        ("a length that is none", headed("Content-Length: -1\r\n"), &[400]),
        ("two lengths", headed("Content-Length: 1\r\nContent-Length: 2\r\n"), &[400]),
        ("a length of 2^64", headed("Content-Length: 18446744073709551616\r\n"), &[400]),
        ("a length of 64 KiB and one", headed("Content-Length: 65537\r\n"), &[413]),
        ("an encoding that is none", headed("Transfer-Encoding: gzip\r\n"), &[400]),
        (
            "a length and chunks, and what only one of the two takes for a request",
            text(format!(
                "POST {EVENTS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n\
                 0\r\n\r\n{smuggled}"
            )),
            &[405],
        ),
        (
            "chunks whose size is no number",
            text(format!("POST {EVENTS} HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\nxyz\r\n")),
            &[405],
        ),
        (
            "a chunk of 2^64 bytes",
            text(format!("POST {EVENTS} HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n")),
            &[405],
        ),
        ("the way up", get("/../../../../etc/passwd"), &[404]),
        ("the way up in escapes", get("/%2e%2e/%2e%2e/%2e%2e/etc/passwd"), &[404]),
        ("the way up among the page's files", get("/page/..%2f..%2f..%2fetc%2fpasswd"), &[404]),
        ("the way up as an agent", get("/api/monitoring/agents/..%2f..%2fetc%2fpasswd"), &[404]),
        ("the way up of another system", get("/..\\..\\etc\\passwd"), &[404, 400]),
        ("two strokes", get("//etc/passwd"), &[404, 400, 403]),
        ("an escape that is none", get("/api/monitoring/agents/%ZZ"), &[400]),
        ("half an escape", get("/api/monitoring/agents/a%2"), &[400]),
        ("no UTF-8", get("/api/monitoring/agents/%ff%fe"), &[400]),
        ("a NUL as an agent", get("/api/monitoring/agents/%00"), &[400]),
        ("a line break as an agent", get("/api/monitoring/agents/a%0d%0aX:%20y"), &[400]),
        ("an id of 128 bytes", get(&format!("/api/monitoring/agents/{}", "x".repeat(128))), &[404]),
        ("an id of 129 bytes", get(&format!("/api/monitoring/agents/{}", "x".repeat(129))), &[400]),
        ("an id of 10 KiB", get(&format!("/api/monitoring/agents/{}", "x".repeat(10 << 10))), &[400]),
        ("an id in another alphabet", get("/api/monitoring/agents/%D0%B0%2F%D0%B1"), &[404]),
        ("a cursor that is none", get("/api/monitoring/events?before=%27%20or%201=1"), &[400]),
        ("a limit below one", get("/api/monitoring/events?limit=-1"), &[400]),
        ("a place in the stream that is none", get("/api/monitoring/stream?after=9999999999999999999999"), &[400]),
    ]
}

#[test]
fn what_is_no_request_harms_nobody() {
    let place = Place::new();
    let daemon = place.start(&[]);
    let corpus = corpus();
    let mut wrong = Vec::new();
    for (name, bytes, allowed) in &corpus {
        let answers = converse(daemon.address(), bytes, !allowed.is_empty());
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        // Whatever it is taken for, it is one request at most.
        let fits =
            statuses.len() <= 1 && statuses.first().map_or(allowed.is_empty(), |status| allowed.contains(status));
        if !fits || answers.iter().any(|answer| answer.text().contains("root:")) {
            wrong.push(format!("{name}: {statuses:?}, not {allowed:?}"));
        }
        assert_eq!(get(daemon.address(), "/healthz").status, 200, "after {name}");
    }
    assert_eq!(wrong, [""; 0]);
    println!("{} that are no requests were said", corpus.len());
    assert_eq!(counter(&daemon, &place, "requestsPanicked"), 0);
    daemon.stop();
}

/// Each gets its own answer, and in order.
#[test]
fn a_thousand_requests_at_once_are_answered_in_order() {
    let place = Place::new();
    let daemon = place.start(&[]);
    let mut stream = connect(daemon.address());
    let mut writing = stream.try_clone().unwrap();
    let pair = [request("/healthz"), request("/nothing")].concat();
    let writer = std::thread::spawn(move || writing.write_all(&pair.repeat(500)).unwrap());
    for _ in 0..500 {
        let statuses = [(); 2].map(|()| Answer::read(&mut stream).unwrap().status);
        assert_eq!(statuses, [200, 404]);
    }
    writer.join().unwrap();
    println!("1,000 requests came in one piece");
}

/// They say nothing, or begin and do not go on: they hold all places of TCP for five seconds, and then none.
#[test]
fn silent_clients_lose_their_places_after_five_seconds() {
    let place = Place::new();
    let daemon = place.start(&[&format!("--agent=us={}", std::process::id())]);
    daemon.until_known("us");
    let skipped = counter(&daemon, &place, "ticksSkipped");
    let silent_clients = if thorough() { 1_000 } else { 256 };
    let began = monotonic();
    let mut silent: Vec<TcpStream> = (0..silent_clients).map(|_| connect(daemon.address())).collect();
    for stream in silent.iter_mut().step_by(2) {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nX-Slow: ").unwrap();
    }
    // The socket has places of its own, and watching has nothing to do with either.
    let mut waits: Vec<Duration> = (0..20)
        .map(|_| {
            let asked = monotonic();
            assert_eq!(place.get("/healthz")["status"], "ok");
            monotonic().since(asked)
        })
        .collect();
    waits.sort();
    assert!(waits[10] < Duration::from_millis(250), "{waits:?}");
    // Behind all of them, who waits for a place gets one.
    assert_eq!(get(daemon.address(), "/healthz").status, 200);
    let waited = monotonic().since(began);
    assert!(waited > Duration::from_secs(4), "they held all places: {waited:?}");
    for stream in &mut silent {
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0, "cut off");
    }
    let all = monotonic().since(began);
    println!(
        "{silent_clients} silent clients; over the socket half of the answers within {:?}; over TCP one after {waited:?}; \
         all cut off after {all:?}",
        waits[10]
    );
    // A place is held for five seconds, by one after the other.
    let turns = u32::try_from(silent_clients / 256 + 1).unwrap();
    assert!(all < Duration::from_secs(10) * turns, "{all:?}");
    // A busy machine may skip one.
    assert!(counter(&daemon, &place, "ticksSkipped") - skipped <= 2);
    assert_eq!(daemon.agent("us")["state"], "running");
    daemon.stop();
}

/// The head of a stream's answer.
fn stream(daemon: &Daemon, after: Option<i64>) -> (TcpStream, u16) {
    let mut stream = connect(daemon.address());
    let after = after.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
    write!(stream, "GET /api/monitoring/stream HTTP/1.0\r\nHost: localhost\r\n{after}\r\n").unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).unwrap();
    let status = std::str::from_utf8(&head[9..]).unwrap().parse().unwrap();
    (stream, status)
}

/// 64 of 500 get a seat. Those who do not read lose it, and nobody else waits for them.
#[test]
fn five_hundred_streams_of_which_most_are_refused_and_some_never_read() {
    let place = Place::new();
    let daemon = place.start(&[]);
    let mut open = Vec::new();
    let mut refused = 0;
    for _ in 0..500 {
        match stream(&daemon, None) {
            (stream, 200) => open.push(stream),
            (_, 503) => refused += 1,
            (_, other) => panic!("{other}"),
        }
    }
    assert_eq!((open.len(), refused), (64, 436));
    assert_eq!(counter(&daemon, &place, "streamsRefused"), 436);
    // One of them reads.
    let mut reading = open.pop().unwrap();
    let reader = std::thread::spawn(move || {
        let (mut all, mut bytes) = (Vec::new(), [0; 1 << 16]);
        while !all.ends_with(b"the last one\n\n") {
            let count = reading.read(&mut bytes).unwrap();
            assert!(count > 0, "it is not let go");
            all.extend_from_slice(&bytes[..count]);
            let text = String::from_utf8_lossy(&bytes[..count]);
            if text.contains("the last one") {
                break;
            }
            let keep = all.len().min(64);
            all.drain(..all.len() - keep);
        }
    });
    // Some MiB each, by as many writers as may write so fast.
    let mut told = dial(&place.path("s"));
    let (mut number, deadline) = (0, Deadline::new());
    while counter(&daemon, &place, "streamsDropped") < 63 {
        assert!(!deadline.is_over(), "they hold their seats after {number}");
        for _ in 0..50 {
            let agent = number / 400;
            let body = json!({"eventType": "note", "message": "x".repeat(60_000)});
            let answer = post(&mut told, &format!("/api/monitoring/agents/writer-{agent}/events"), &body);
            assert_eq!(answer.status, 201, "{}", answer.text());
            number += 1;
        }
    }
    let last = json!({"eventType": "note", "message": "the last one"});
    let answer = post(&mut told, "/api/monitoring/agents/last/events", &last);
    assert_eq!(answer.status, 201);
    reader.join().unwrap();
    println!("436 of 500 streams were refused, 63 did not read and were let go after {number} messages of 60 KB");
    // What they have not read would be waited for.
    drop(open);
    daemon.stop();
}

/// RFC 6455, 5.2: a frame of a client, masked or not.
fn frame(opcode: u8, length: u64, masked: bool) -> Vec<u8> {
    let mask = if masked { 0x80 } else { 0 };
    let mut bytes = vec![0x80 | opcode];
    match length {
        0..=125 => bytes.push(mask | u8::try_from(length).unwrap()),
        _ => {
            bytes.push(mask | 127);
            bytes.extend(length.to_be_bytes());
        }
    }
    if masked {
        bytes.extend([0; 4]);
    }
    bytes
}

/// The code with which a WebSocket is closed; none when it just ends.
fn closed_with(stream: &mut TcpStream) -> Option<u16> {
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    let at = all.windows(2).rposition(|pair| pair[0] == 0x88 && pair[1] >= 2)?;
    Some(u16::from_be_bytes([*all.get(at + 2)?, *all.get(at + 3)?]))
}

#[test]
fn frames_that_are_none_end_their_websocket_only() {
    let place = Place::new();
    let daemon = place.start(&[]);
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let open = || {
        let mut stream = connect(daemon.address());
        write!(stream, "GET /api/monitoring/ws HTTP/1.1\r\nHost: localhost\r\n{upgrade}\r\n").unwrap();
        assert_eq!(Answer::read(&mut stream).unwrap().status, 101);
        stream
    };
    let mut well = open();
    let long = [frame(1, 1 << 20, true), vec![b'x'; 1 << 20]].concat();
    let faults = [
        ("unmasked", [frame(1, 5, false), b"hello".to_vec()].concat()),
        ("of a kind that is none", frame(3, 0, true)),
        ("with bits that nobody agreed on", [vec![0xf1, 0x80], vec![0; 4]].concat()),
        ("a ping of 126 bytes", [vec![0x89, 0xfe, 0, 126], vec![0; 130]].concat()),
        ("1 MiB", long),
        ("2^63 bytes", frame(1, 1 << 63, true)),
        ("text that is no UTF-8", [frame(1, 2, true), vec![0xff, 0xfe]].concat()),
    ];
    for (name, bytes) in &faults {
        let mut stream = open();
        let _ = stream.write_all(bytes);
        let code = closed_with(&mut stream);
        assert!(code.is_none_or(|code| [1002, 1007, 1009].contains(&code)), "{name}: {code:?}");
        println!("a frame that is {name}: closed with {code:?}");
    }
    assert_eq!(place.get("/api/monitoring/status")["streams"], 1, "only the good one is left");
    let note = json!({"eventType": "note", "message": "for the good one"});
    assert_eq!(post(&mut dial(&place.path("s")), "/api/monitoring/agents/a/events", &note).status, 201);
    let mut heard = Vec::new();
    while !String::from_utf8_lossy(&heard).contains("for the good one") {
        let mut bytes = [0; 4096];
        let count = well.read(&mut bytes).unwrap();
        assert!(count > 0, "which goes on");
        heard.extend_from_slice(&bytes[..count]);
    }
    assert_eq!(counter(&daemon, &place, "requestsPanicked"), 0);
    daemon.stop();
}

#[test]
fn ten_years_by_the_second_are_two_thousand_points_at_most() {
    let place = Place::new();
    let daemon = place.start(&[&format!("--agent=us={}", std::process::id())]);
    daemon.until_known("us");
    daemon.until_listed("us", "a sample is stored", |page| !page["metrics"].as_array().unwrap().is_empty());
    let began = monotonic();
    let years = daemon.get("/api/monitoring/agents/us/history?from=-3650d&to=now&step=1s");
    let (points, step) = (years["t"].as_array().unwrap().len(), years["step"].as_u64().unwrap());
    assert!(points <= 2_000 && step >= 3650 * 86_400 / 2_000, "{points} points, {step} s apart");
    assert!(years["cpuPercent"]["avg"].as_array().unwrap().iter().any(Value::is_number), "what there is is in it");
    println!("ten years were asked for once: {points} points after {:?}", monotonic().since(began));
    daemon.stop();
}

/// One that writes without end is told to slow down; another is not.
#[test]
fn who_writes_too_fast_is_refused_alone() {
    let place = Place::new();
    let daemon = place.start(&[]);
    let body = |n: u32| json!({"eventType": "note", "message": format!("{n}"), "id": format!("{n}")});
    let mut fast = dial(&place.path("s"));
    let (mut taken, mut refused) = (0, 0);
    for n in 0..20_000 {
        let answer = post(&mut fast, "/api/monitoring/agents/fast/events", &body(n));
        match answer.status {
            201 => taken += 1,
            429 => {
                assert_eq!(answer.header("retry-after"), Some("1"));
                refused += 1;
                let other = post(&mut dial(&place.path("s")), "/api/monitoring/agents/slow/events", &body(n));
                assert_eq!(other.status, 201, "{}", other.text());
            }
            status => panic!("{status}: {}", answer.text()),
        }
        if refused == 100 {
            break;
        }
    }
    println!("{taken} were taken, {refused} refused");
    assert!(taken >= 500 && refused == 100, "nobody was told to slow down");
    assert_eq!(counter(&daemon, &place, "writesLimited"), refused);
    daemon.stop();
    let stored = |agent: &str| place.count(&format!("select count(*) from agent_events where agent_id = '{agent}'"));
    assert_eq!((stored("fast"), stored("slow")), (taken, 100));
}
