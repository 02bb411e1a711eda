//! Streams of a real daemon, cut at random, while it is killed and started again.
//!
//! `AGENT_MONITOR_TEST_STREAM_SECONDS` says for how long something is told; without it, as fast as it can be told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::harness::{Daemon, Deadline, PATIENCE, Place, pace};

/// As many as there may be.
const CLIENTS: u64 = 64;
/// Reports at least, and between one kill of the daemon and the next.
const REPORTS: u32 = 300;
const LAST: &str = "the last one";

/// Numbers without a pattern, the same in each run (Knuth's MMIX).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// What one client was told.
#[derive(Default)]
struct Told {
    ids: Vec<i64>,
    /// How often it left in the middle of the stream, and how often the stream ended under it.
    cuts: (u32, u32),
}

/// Reads the stream from the beginning to the last message, and goes and comes back all the time, as browsers do: with the
/// id of the last message that came whole.
fn come_and_go(address: &Mutex<SocketAddr>, seed: u64) -> Told {
    let (mut random, mut told) = (Random(seed), Told::default());
    loop {
        let address = *address.lock().unwrap();
        // It may be away for a moment: then it is asked again.
        if let Some(lines) = open(address, told.ids.last().copied().unwrap_or(0)) {
            // Anywhere, also in the middle of a message.
            match read(lines, random.below(200), &mut told.ids) {
                Left::Cut => told.cuts.0 += 1,
                Left::Ended => told.cuts.1 += 1,
                Left::HeardAll => return told,
            }
        } else {
            pace();
        }
    }
}

/// The lines of a stream, if there is one to be had now.
fn open(address: SocketAddr, last: i64) -> Option<impl Iterator<Item = String>> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let ask = format!("GET /api/monitoring/stream HTTP/1.0\r\nHost: localhost\r\nLast-Event-ID: {last}\r\n\r\n");
    stream.write_all(ask.as_bytes()).ok()?;
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let status = lines.next().unwrap_or_default();
    // Its former seat is not free yet, the database is busy with the others, or the daemon is killed right now.
    assert!(status.is_empty() || status.contains(" 200 ") || status.contains(" 503 "), "{status}");
    status.contains(" 200 ").then_some(lines)
}

enum Left {
    Cut,
    Ended,
    HeardAll,
}

/// Reads at most so many lines. What counts is a message that came to its empty line.
fn read(lines: impl Iterator<Item = String>, most: u64, ids: &mut Vec<i64>) -> Left {
    let (mut id, mut data) = (None, String::new());
    let mut left = most;
    for line in lines {
        if left == 0 {
            return Left::Cut;
        }
        left -= 1;
        if let Some(number) = line.strip_prefix("id: ") {
            id = Some(number.parse().unwrap());
        } else if let Some(text) = line.strip_prefix("data: ") {
            text.clone_into(&mut data);
        } else if line.is_empty() {
            if let Some(id) = id.take() {
                ids.push(id);
                let data: Value = serde_json::from_str(&data).unwrap();
                if data["message"] == LAST {
                    return Left::HeardAll;
                }
            }
        } else {
            assert!(line != "event: gap", "nothing is too far back");
        }
    }
    Left::Ended
}

/// Tells something over the socket until it is on disk, however often the daemon dies meanwhile. Returns its id.
fn tell(socket: &Path, what: &str, body: &Value) -> i64 {
    let (body, deadline) = (body.to_string(), Deadline::new());
    loop {
        match post(socket, what, &body) {
            Ok(answer) if answer.starts_with("HTTP/1.1 201 ") => {
                let document: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
                return document["id"].as_i64().unwrap();
            }
            Ok(answer) => {
                assert!(answer.is_empty() || answer.contains(" 429 ") || answer.contains(" 503 "), "{answer}");
            }
            Err(_) => {}
        }
        assert!(!deadline.is_over(), "nobody takes {body}");
        pace();
    }
}

fn post(socket: &Path, what: &str, body: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = body.len();
    write!(
        stream,
        "POST /api/monitoring/agents/writer/{what} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Each has an id: what is told again, since nothing came back, is stored once. And each error is a problem of its own: of
/// one problem only a hundred occurrences are kept.
fn report(number: u32, message: &str) -> (&'static str, Value) {
    let id = format!("report-{number}");
    if number % 10 == 9 {
        ("errors", json!({"id": id, "fingerprint": id, "error": {"name": "Timeout", "message": message}}))
    } else {
        ("events", json!({"id": id, "eventType": "note", "message": message}))
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "how long it takes is for who starts it to say")]
fn who_comes_back_misses_and_repeats_nothing() {
    let seconds = std::env::var("AGENT_MONITOR_TEST_STREAM_SECONDS").map_or(0, |text| text.parse().unwrap());
    let place = Place::new();
    place.register(&json!([]));
    let start = || place.start_with_registry();
    let mut daemon: Daemon = start();
    let address = Arc::new(Mutex::new(daemon.address()));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|seed| {
            let address = Arc::clone(&address);
            thread::spawn(move || come_and_go(&address, seed))
        })
        .collect();

    let (deadline, mut number, mut kills) = (Deadline::after(Duration::from_secs(seconds)), 0, 0);
    while number < REPORTS || !deadline.is_over() {
        let (what, body) = report(number, &format!("report {number}"));
        tell(&place.path("s"), what, &body);
        number += 1;
        if number % REPORTS == REPORTS / 2 {
            daemon.kill();
            daemon = start();
            *address.lock().unwrap() = daemon.address();
            kills += 1;
        }
        // Ten a second, so that who must wait for a seat is not a thousand messages behind.
        for _ in 0..if seconds > 0 { 5 } else { 0 } {
            pace();
        }
    }
    let (what, body) = report(number * 10, LAST);
    let last = tell(&place.path("s"), what, &body);

    let database = place.database();
    let mut ids = database.prepare("select id from journal where id <= ?1 order by id").unwrap();
    let stored: Vec<i64> = ids.query_map([last], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(place.count("select count(distinct client_id) from journal"), i64::from(number) + 1);
    let (mut cuts, mut ends) = (0, 0);
    for client in clients {
        let told = client.join().unwrap();
        assert!(told.ids == stored, "{:?}", difference(&told.ids, &stored));
        cuts += told.cuts.0;
        ends += told.cuts.1;
    }
    println!(
        "{CLIENTS} clients, {} messages each; {cuts} cuts by clients, {ends} by {kills} kills of the daemon",
        stored.len()
    );
    assert!(u64::from(cuts) > CLIENTS && ends > 0, "they did come and go: {cuts}, {ends}");
    drop(daemon);
}

/// Where a client's messages part from those that are stored.
fn difference(told: &[i64], stored: &[i64]) -> String {
    let at = told.iter().zip(stored).take_while(|(told, stored)| told == stored).count();
    let around = |ids: &[i64]| ids[at.saturating_sub(2)..ids.len().min(at + 3)].to_vec();
    format!("from {at} on: told {:?} of {}, stored {:?} of {}", around(told), told.len(), around(stored), stored.len())
}
