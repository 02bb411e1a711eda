//! G: an end in the midst of everything.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::client::{Answer, connect, request};
use crate::harness::{Deadline, PATIENCE, Place, pace, until};

/// Tells something over a connection of its own, until nobody takes it any more. Returns what was acknowledged.
fn tell(socket: &Path, writer: usize, told: &AtomicU64) -> Vec<String> {
    use std::io::Write;
    let mut acknowledged = Vec::new();
    for n in 0.. {
        let Ok(mut stream) = UnixStream::connect(socket) else { break };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let id = format!("{writer}-{n}");
        let body = json!({"eventType": "note", "message": "m", "id": id}).to_string();
        let head = format!("POST /api/monitoring/agents/writer-{writer}/events HTTP/1.1\r\nHost: localhost\r\n");
        let sent = write!(stream, "{head}Connection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let answer = sent.ok().and_then(|()| Answer::read(&mut stream));
        match answer.map(|answer| answer.status) {
            Some(201) => {
                acknowledged.push(id);
                told.fetch_add(1, Ordering::Relaxed);
            }
            Some(429) => pace(),
            // Refused, or cut off, while it stops.
            Some(503) | None => {}
            Some(other) => panic!("{other}"),
        }
    }
    acknowledged
}

#[test]
fn a_stop_in_the_midst_of_everything_is_in_time_and_loses_nothing() {
    const WRITERS: usize = 8;
    let place = Place::new();
    let daemon = place.start(&[&format!("--agent=us={}", std::process::id())]);
    daemon.until_known("us");
    let address = daemon.address();
    // Streams that stay, clients that never finish their request, and some who ask and ask.
    let streams: Vec<_> = (0..40)
        .map(|_| {
            let mut stream = connect(address);
            std::io::Write::write_all(&mut stream, &request("/api/monitoring/stream")).unwrap();
            stream
        })
        .collect();
    let idle: Vec<_> = (0..50).map(|_| connect(address)).collect();
    let over = Arc::new(AtomicBool::new(false));
    let asking: Vec<_> = (0..10)
        .map(|_| {
            let over = Arc::clone(&over);
            thread::spawn(move || {
                let mut answers = 0_u64;
                while !over.load(Ordering::Relaxed) {
                    let Ok(mut stream) = std::net::TcpStream::connect(address) else { continue };
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    let asked = std::io::Write::write_all(&mut stream, &request("/api/monitoring/agents/us"));
                    answers += u64::from(asked.is_ok() && Answer::read(&mut stream).is_some());
                }
                answers
            })
        })
        .collect();
    let told = Arc::new(AtomicU64::new(0));
    let writing: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (socket, told) = (place.path("s"), Arc::clone(&told));
            thread::spawn(move || tell(&socket, writer, &told))
        })
        .collect();
    until("all of them are at it", || match told.load(Ordering::Relaxed) {
        500.. => Ok(()),
        told => Err(format!("{told}")),
    });
    let ten = Deadline::after(Duration::from_secs(10));
    daemon.signal(Signal::TERM);
    let (status, log) = daemon.ended();
    assert!(!ten.is_over(), "it took more than ten seconds: {log}");
    assert_eq!(status.code(), Some(0), "{log}");
    over.store(true, Ordering::Relaxed);
    let acknowledged: Vec<String> = writing.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
    let answers: u64 = asking.into_iter().map(|asking| asking.join().unwrap()).sum();
    drop((streams, idle));
    println!(
        "stopped once, amid 40 streams, 50 idle clients, {answers} answers and {} writes that were acknowledged",
        acknowledged.len()
    );
    assert!(answers > 0 && acknowledged.len() >= 500);
    let database = place.database();
    let mut stored = database.prepare("select client_id from journal where client_id is not null").unwrap();
    let stored: Vec<String> = stored.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let there: std::collections::BTreeSet<&String> = stored.iter().collect();
    assert_eq!(there.len(), stored.len(), "nothing twice");
    let lost: Vec<&String> = acknowledged.iter().filter(|id| !there.contains(id)).collect();
    assert_eq!(lost, [""; 0], "what was acknowledged is there");
    // At most one of each writer was stored and not acknowledged.
    assert!(stored.len() <= acknowledged.len() + WRITERS, "{} of {}", stored.len(), acknowledged.len());
}
