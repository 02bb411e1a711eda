//! Who listens to a stream, and what happens for them.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use agent_monitor::api::{Guard, Limits, Sources};
use agent_monitor::clock::monotonic;
use agent_monitor::feed::Feed;
use agent_monitor::model::*;
use serde_json::Value;
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message as Frame, WebSocket};

use crate::world::*;

pub(crate) const STREAM: &str = "/api/monitoring/stream";

/// The lines of a stream as they come. HTTP/1.0, so that they come without chunks around them.
pub(crate) struct Events {
    lines: BufReader<TcpStream>,
}

impl Events {
    pub(crate) fn open(server: &Server, query: &str, headers: &[&str]) -> Events {
        let more: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        let mut stream = server.connect();
        write!(stream, "GET {STREAM}{query} HTTP/1.0\r\nHost: localhost\r\n{more}\r\n").unwrap();
        let mut events = Events { lines: BufReader::new(stream) };
        let head = events.block();
        assert!(head[0].starts_with("HTTP/1.0 200"), "{head:?}");
        assert!(head.contains(&"content-type: text/event-stream".to_owned()), "{head:?}");
        events
    }

    /// Open, and heard of: everything that happens from now on comes.
    pub(crate) fn listening(server: &Server, query: &str) -> Events {
        let mut events = Events::open(server, query, &[]);
        assert_eq!(events.next().unwrap()[1], "event: hello");
        events
    }

    /// The lines up to an empty one; none at the end.
    pub(crate) fn block(&mut self) -> Vec<String> {
        let mut block = Vec::new();
        loop {
            let mut line = String::new();
            let bytes = self.lines.read_line(&mut line).unwrap();
            match line.trim_end() {
                "" if bytes == 0 || !block.is_empty() => return block,
                "" => {}
                text => block.push(text.to_owned()),
            }
        }
    }

    /// The next message that is no heartbeat; none at the end.
    pub(crate) fn next(&mut self) -> Option<Vec<String>> {
        loop {
            match self.block() {
                block if block.is_empty() => return None,
                block if block == [":"] => {}
                block => return Some(block),
            }
        }
    }

    /// The next message: id, name, document.
    pub(crate) fn message(&mut self) -> (Option<i64>, String, Value) {
        let block = self.next().expect("the stream goes on");
        let field = |name: &str| block.iter().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        let id = field("id: ").map(|id| id.parse().unwrap());
        (id, field("event: ").unwrap(), serde_json::from_str(&field("data: ").unwrap()).unwrap())
    }

    pub(crate) fn ids(&mut self, count: usize) -> Vec<Option<i64>> {
        (0..count).map(|_| self.message().0).collect()
    }
}

/// A WebSocket, and the documents that come over it.
pub(crate) struct Socket(pub(crate) WebSocket<TcpStream>);

impl Socket {
    pub(crate) fn open(server: &Server, query: &str) -> Socket {
        let url = format!("ws://localhost:{}/api/monitoring/ws{query}", server.tcp.port());
        let (socket, answer) = tungstenite::client(url.into_client_request().unwrap(), server.connect()).unwrap();
        assert_eq!(answer.headers().get("x-content-type-options").unwrap(), "nosniff");
        Socket(socket)
    }

    pub(crate) fn message(&mut self) -> Value {
        loop {
            match self.0.read().unwrap() {
                Frame::Text(text) => return serde_json::from_str(&text).unwrap(),
                Frame::Ping(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

/// A server and the feed behind it.
pub(crate) fn server() -> (Server, Feed) {
    with(Limits::default())
}

pub(crate) fn with(limits: Limits) -> (Server, Feed) {
    let mut now = snapshot();
    let mut agents: Vec<_> = now.agents.iter().cloned().collect();
    agents.sort_by(|a, b| a.id.cmp(&b.id)); // as every snapshot is
    now.agents = agents.into_iter().collect();
    let sources = Sources { feed: feed(now), ..sources() };
    let feed = sources.feed.clone();
    (Server::with(sources, limits, Guard::new(&[], None)), feed)
}

pub(crate) fn entry(id: Option<i64>, body: Body) -> Recorded {
    Recorded { id, entry: Entry { agent: Some((known().number, known().id)), at: after(9), body } }
}

pub(crate) fn failure(id: Option<i64>) -> Recorded {
    entry(id, history().errors[0].recorded.entry.body.clone())
}

pub(crate) fn transition(id: Option<i64>, rule: &str, firing: bool) -> Recorded {
    let message = format!("{rule}: {}", if firing { "fires" } else { "is over" }).into();
    let note = AlertNote {
        rule: rule.into(),
        source: None,
        severity: Severity::Warning,
        transition: if firing { Transition::Fired } else { Transition::Resolved },
        since: after(9),
        message,
        value: Some(1.0),
        threshold: None,
    };
    entry(id, Body::Alert(note))
}

/// The snapshot of a later tick, in which only `coder-1` is another.
pub(crate) fn later(feed: &Feed, tick: u64) -> Arc<Snapshot> {
    let before = feed.present().snapshot;
    let mut now = (*before).clone();
    now.tick = tick;
    now.at = after(tick * 1000);
    now.own.last_tick_mono = Some(Mono(tick * 1_000_000_000));
    let mut agent = known();
    agent.metrics.cpu_percent = Some(1.25);
    now.agents = replaced(&now, 1, agent);
    Arc::new(now)
}

/// Everything that a stream can tell, once.
pub(crate) fn all_happens(feed: &Feed) {
    feed.recorded(&[event(Some(21), Some("coder-1"), "line one\nline two"), event(None, None, "could not be stored")]);
    feed.recorded(&[failure(Some(22)), transition(Some(23), "high_memory", true)]);
    feed.recorded(&[transition(Some(24), "high_memory", false), transition(Some(25), "high_cpu", false)]);
    feed.publish(later(feed, 9));
}

/// Asks again until it is so.
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let started = monotonic();
    while !so() {
        assert!(monotonic().since(started) < GENEROUS, "waited in vain: {what}");
        let (_open, nothing) = std::sync::mpsc::channel::<()>();
        let _ = nothing.recv_timeout(Duration::from_millis(5));
    }
}

impl Server {
    /// How many streams are open.
    pub(crate) fn open_streams(&self) -> u64 {
        let answer = self.get("/api/monitoring/status");
        answer.json()["streams"].as_u64().unwrap()
    }
}
