//! Those who write and those who ask, as fast as they are answered.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use agent_monitor::clock::monotonic;
use serde_json::{Value, json};

use crate::harness::{Deadline, pace};
use crate::line::Line;
use crate::{Over, WRITERS, agent};

/// How long answers took, microseconds.
pub(crate) type Spans = Vec<u32>;

/// What came of it all.
#[derive(Default)]
pub(crate) struct Talk {
    /// Writes that were acknowledged.
    pub(crate) told: u64,
    /// By what was asked.
    pub(crate) spans: BTreeMap<&'static str, Spans>,
    /// By the status.
    pub(crate) refused: BTreeMap<u16, u64>,
}

impl Talk {
    fn count(&mut self, what: &'static str, began: agent_monitor::model::Mono) {
        let span = u32::try_from(monotonic().since(began).as_micros()).unwrap_or(u32::MAX);
        self.spans.entry(what).or_default().push(span);
    }
}

fn post(agent: &str, what: &str, body: &Value) -> String {
    let body = body.to_string();
    let head = format!("POST /api/monitoring/agents/{agent}/{what} HTTP/1.1\r\nHost: localhost\r\n");
    format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// Writes events, and an error now and then, for one agent after the other. What was not acknowledged is said again. `rate`:
/// how many a second at most, of all writers.
pub(crate) fn write(socket: &Path, writer: usize, rate: Option<u64>, over: &Over) -> Talk {
    let mut talk = Talk::default();
    let since = monotonic();
    let mut line = Line::dial(socket);
    while !over.load(Ordering::Relaxed) {
        let id = format!("w{writer:03}-{}", talk.told);
        let agent = agent(writer * 41 + usize::try_from(talk.told).unwrap());
        // Of one problem only a hundred occurrences are kept.
        let request = if talk.told % 50 == 49 {
            let error = json!({"name": "Timeout", "message": "no answer", "stack": "Timeout\n  at f (/srv/a.js:1:2)"});
            post(&agent, "errors", &json!({"id": id, "fingerprint": id, "error": error}))
        } else {
            let metadata = json!({"tool": "Bash", "took": talk.told});
            post(
                &agent,
                "events",
                &json!({"id": id, "eventType": "tool", "message": "ran cargo test", "metadata": metadata}),
            )
        };
        let (deadline, began) = (Deadline::new(), monotonic());
        loop {
            let answer = line.as_mut().and_then(|line| line.say(&request).and_then(|()| line.answer()));
            match answer {
                Some((201, _)) => break,
                Some((status, body)) => {
                    assert!([429, 503].contains(&status), "{status}: {}", String::from_utf8_lossy(&body));
                    *talk.refused.entry(status).or_default() += 1;
                    pace();
                }
                None => line = Line::dial(socket),
            }
            assert!(!deadline.is_over(), "nobody takes {id}");
        }
        talk.count("write", began);
        talk.told += 1;
        let due = rate.map(|rate| since + Duration::from_millis(talk.told * WRITERS as u64 * 1000 / rate));
        while due.is_some_and(|due| monotonic() < due) && !over.load(Ordering::Relaxed) {
            pace();
        }
    }
    talk
}

/// What is asked, by its name.
fn question(n: usize) -> (&'static str, String) {
    let agent = agent(n * 37);
    match n % 8 {
        0 | 1 => ("history", format!("/api/monitoring/agents/{agent}/history?from=-15m&to=now")),
        2 => ("agent", format!("/api/monitoring/agents/{agent}")),
        3 => ("events", format!("/api/monitoring/events?agent={agent}&limit=100")),
        4 => ("groups", "/api/monitoring/error-groups?limit=50".to_owned()),
        5 => ("errors", "/api/monitoring/errors?limit=50&resolved=false".to_owned()),
        6 => ("dashboard", "/api/monitoring/dashboard".to_owned()),
        _ => ("metrics", "/metrics".to_owned()),
    }
}

pub(crate) fn ask(address: SocketAddr, asker: usize, over: &Over) -> Talk {
    let mut talk = Talk::default();
    let mut line = Line::dial_tcp(address);
    for n in (asker * 3).. {
        if over.load(Ordering::Relaxed) {
            return talk;
        }
        let (what, target) = question(n);
        let began = monotonic();
        let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        match line.as_mut().and_then(|line| line.say(&request).and_then(|()| line.answer())) {
            Some((200, _)) => talk.count(what, began),
            Some((status, body)) => {
                assert_eq!(status, 503, "{target}: {}", String::from_utf8_lossy(&body));
                *talk.refused.entry(status).or_default() += 1;
                pace();
            }
            None => line = Line::dial_tcp(address),
        }
    }
    talk
}

/// One more event; its id.
pub(crate) fn tell_last(socket: &Path) -> i64 {
    let mut line = Line::dial(socket).unwrap();
    line.say(&post("agent-0000", "events", &json!({"eventType": "tool", "message": "the last one"}))).unwrap();
    let (status, body) = line.answer().unwrap();
    assert_eq!(status, 201);
    serde_json::from_slice::<Value>(&body).unwrap()["id"].as_i64().unwrap()
}
