//! Streams of a real daemon, cut at random.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use agent_monitor::daemon::Parts;
use agent_monitor::model::{AgentId, EventReport, JsonObject};
use rusqlite::Connection;
use serde_json::Value;
use tokio::task::JoinSet;

use super::harness::{PATIENCE, pace};
use super::library::{config, failure, run};

/// As many as there may be.
const CLIENTS: u64 = 64;
const EVENTS: u32 = 300;
const LAST: &str = "the last one";

/// Numbers without a pattern, the same in each run (Knuth's MMIX).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Reads the stream from the beginning to the last message, and goes and comes back all the time. Returns the ids it was
/// told, and how often it came.
fn come_and_go(address: SocketAddr, seed: u64) -> (Vec<i64>, u32) {
    let (mut random, mut told, mut visits) = (Random(seed), Vec::new(), 0);
    loop {
        let last = told.last().copied().unwrap_or(0);
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET /api/monitoring/stream HTTP/1.0\r\nHost: localhost\r\nLast-Event-ID: {last}\r\n\r\n")
            .unwrap();
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        let status = lines.next().unwrap_or_default();
        if !status.contains("200") {
            // Its former seat is not free yet, or the database is busy with the others.
            assert!(status.is_empty() || status.contains("503"), "{status}");
            pace();
            continue;
        }
        visits += 1;
        let mut left = random.below(60);
        let mut id = None;
        while let Some(line) = lines.next().filter(|_| left > 0) {
            if let Some(number) = line.strip_prefix("id: ") {
                id = Some(number.parse().unwrap());
            } else if let Some(data) = line.strip_prefix("data: ")
                && let Some(id) = id.take()
            {
                told.push(id);
                left -= 1;
                let data: Value = serde_json::from_str(data).unwrap();
                if data["message"] == LAST {
                    return (told, visits);
                }
            } else {
                assert!(line != "event: gap", "nothing is too far back");
            }
        }
    }
}

#[test]
fn who_comes_back_misses_and_repeats_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("state/agent-monitor.db");
    run(config(directory.path(), &[]), Parts::system(), |daemon| async move {
        let mut clients = JoinSet::new();
        for seed in 0..CLIENTS {
            let address = daemon.address;
            clients.spawn_blocking(move || come_and_go(address, seed));
        }
        let us = AgentId::new("writer").unwrap();
        let note = |message: &str| EventReport {
            event_type: "note".into(),
            message: message.into(),
            metadata: JsonObject::default(),
        };
        for number in 0..EVENTS {
            daemon.handle.record_event(us.clone(), note(&format!("note {number}"))).await.unwrap();
            if number % 10 == 0 {
                daemon.handle.record_error(us.clone(), failure(number)).await.unwrap();
            }
        }
        let last = daemon.handle.record_event(us, note(LAST)).await.unwrap().id;
        let connection = Connection::open(database).unwrap();
        let mut ids = connection.prepare("select id from journal where id <= ?1 order by id").unwrap();
        let stored: Vec<i64> = ids.query_map([last], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        assert!(stored.len() > EVENTS as usize);
        let mut visits = 0;
        while let Some(client) = clients.join_next().await {
            let (told, times) = client.unwrap();
            assert_eq!(told, stored);
            visits += times;
        }
        assert!(u64::from(visits) > 2 * CLIENTS, "they did come and go: {visits}");
    });
}
