//! What a client may take, and what happens when it takes more.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use agent_monitor::api::{Guard, Limits, Sources};
use agent_monitor::clock::monotonic;

use crate::listeners::until;
use crate::world::*;

const SHORT: Duration = Duration::from_millis(200);

fn server(limits: Limits) -> Server {
    Server::with(sources(), limits, Guard::new(&[], None))
}

/// A request that leaves the connection open.
fn request(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

/// Reads one answer from a connection that stays open.
fn answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        bytes.push(byte[0]);
    }
    let head = Answer::parse(std::str::from_utf8(&bytes).unwrap());
    let length: usize = head.header("content-length").unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    Answer { body: String::from_utf8(body).unwrap(), ..head }
}

#[test]
fn heads() {
    let server = server(Limits::default());
    let padded = |bytes: usize| {
        let bare = head("GET", "/healthz", "localhost", &["X-Padding: "]).len();
        head("GET", "/healthz", "localhost", &[&format!("X-Padding: {}", "x".repeat(bytes - bare))])
    };
    assert_eq!(server.raw(&padded(16 * 1024)).status, 200);
    assert_eq!(server.raw(&padded(16 * 1024 + 1)).status, 431);
    assert_eq!(server.raw(&padded(17 * 1024)).status, 431);
    assert_eq!(server.get(&format!("/{}", "x".repeat(17 * 1024))).status, 431);
    let many: Vec<String> = (0..200).map(|n| format!("X-{n}: y")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(server.ask("GET", "/healthz", &many).status, 431);
    assert_eq!(server.raw("GET / HTTP/1.1\r\nHo st: localhost\r\n\r\n").status, 400);
    assert_eq!(server.raw("nonsense\r\n\r\n").status, 400);
}

#[test]
fn bodies() {
    let server = server(Limits::default());
    let with_length = |length: &str| server.ask("GET", "/healthz", &[&format!("Content-Length: {length}")]).status;
    assert_eq!(with_length("65537"), 413);
    assert_eq!(with_length("18446744073709551000"), 413);
    assert_eq!(with_length("0"), 200);
    let whole = format!("{}{}", head("GET", "/healthz", "localhost", &["Content-Length: 65536"]), "x".repeat(65536));
    assert_eq!(server.raw(&whole).status, 200);
}

/// One byte of a head after the other, or none at all, or none after an answer: the same limit for each.
#[test]
fn slow_heads_are_cut_off() {
    let server = server(Limits { head_timeout: SHORT, ..Limits::default() });
    let mut partial = server.connect();
    partial.write_all(b"GET / HTTP/1.1\r\nHost: loc").unwrap();
    let mut silent = server.connect();
    let mut idle = server.connect();
    idle.write_all(&request("/healthz")).unwrap();
    assert_eq!(answer(&mut idle).status, 200);
    for mut stream in [partial, silent.try_clone().unwrap(), idle] {
        let mut rest = Vec::new();
        // Well before hyper's own limit of 30 s.
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"");
    }
    assert_eq!(silent.read(&mut [0]).unwrap(), 0);
    assert_eq!(Limits::default().head_timeout, Duration::from_secs(5), "the contract's");
}

/// A body that comes a byte at a time keeps the connection moving, but not for ever.
#[test]
fn slow_bodies_are_cut_off() {
    let server = server(Limits { body_timeout: SHORT, ..Limits::default() });
    let target = "/api/monitoring/agents/coder-1/events";
    let slow = |stream: &mut UnixStream| {
        let head = head("POST", target, "localhost", &["Content-Length: 60000"]);
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let answer = trickled(stream);
        Answer::parse(std::str::from_utf8(&answer).unwrap())
    };
    let answer = slow(&mut UnixStream::connect(&server.socket).unwrap());
    assert_eq!((answer.status, answer.header("content-type")), (408, Some("application/problem+json")));
    assert_eq!(answer.json()["detail"], "the body did not come within 200ms");
    assert_eq!(Limits::default().body_timeout, Duration::from_secs(10), "as docs/writing.md says");

    // Nor does one that is refused, whose body is thrown away: well before hyper would give up on the whole of it.
    let mut stream = server.connect();
    stream.write_all(head("POST", target, "evil.example", &["Content-Length: 60000"]).as_bytes()).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let answer = trickled(&mut stream);
    assert!(answer.starts_with(b"HTTP/1.1 403 "), "{}", String::from_utf8_lossy(&answer));
}

/// Sends a byte at each turn, until something comes back, nothing can be sent any more, or it was enough; what came back.
fn trickled(stream: &mut (impl Read + Write)) -> Vec<u8> {
    let mut answer = Vec::new();
    for _ in 0..1_000 {
        if !answer.is_empty() || stream.write_all(b" ").is_err() {
            break;
        }
        let _ = stream.read_to_end(&mut answer);
    }
    // The rest of it, and what came before the connection broke.
    let _ = stream.read_to_end(&mut answer);
    answer
}

#[test]
fn the_257th_connection_waits() {
    let server = server(Limits { head_timeout: GENEROUS, ..Limits::default() });
    let mut held: Vec<TcpStream> = (0..256).map(|_| server.connect()).collect();
    for stream in &mut held {
        stream.write_all(&request("/healthz")).unwrap();
        assert_eq!(answer(stream).status, 200);
    }
    let mut one_more = server.connect();
    one_more.write_all(&request("/healthz")).unwrap();
    one_more.set_read_timeout(Some(SHORT)).unwrap();
    let waited = one_more.read(&mut [0]).unwrap_err();
    assert!(matches!(waited.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{waited}");
    assert_eq!(server.ask_socket("GET", "/healthz", "").status, 200, "the socket has places of its own");

    held.pop();
    one_more.set_read_timeout(Some(GENEROUS)).unwrap();
    assert_eq!(answer(&mut one_more).status, 200);
}

/// A client that asks and never reads gives its place back.
#[test]
fn stalled_clients_are_cut_off() {
    let mut large = snapshot();
    large.agents = (0..2_000).map(|n| unknown(&format!("agent-{n}")).into()).collect();
    let limits = Limits { connections: 1, stall_timeout: SHORT, ..Limits::default() };
    let server = Server::with(Sources { feed: feed(large), ..sources() }, limits, Guard::new(&[], None));
    let mut stalled = server.connect();
    // More than the buffers of both ends can hold.
    stalled.write_all(&request("/api/monitoring/dashboard").repeat(40)).unwrap();
    assert_eq!(server.get("/healthz").status, 200);
    drop(stalled);
}

#[test]
fn one_connection_answers_in_order() {
    let server = server(Limits::default());
    let mut stream = server.connect();
    let pair = [request("/healthz"), request("/nothing")].concat();
    stream.write_all(&pair.repeat(100)).unwrap();
    for _ in 0..100 {
        assert_eq!((answer(&mut stream).status, answer(&mut stream).status), (200, 404));
    }
}

#[test]
fn a_panic_is_one_answer_only() {
    let storage = Arc::new(|| panic!("storage went wild"));
    let agent = Arc::new(|_: &_| panic!("history went wild"));
    let server = Server::start(Sources { storage, agent, ..sources() });
    let mut stream = server.connect();
    for (panics, target) in [(1, "/readyz"), (2, "/api/monitoring/agents/coder-1")] {
        stream.write_all(&request(target)).unwrap();
        let answer = answer(&mut stream);
        assert_eq!(answer.status, 500);
        assert_eq!(answer.json()["title"], "Internal Server Error");
        assert!(!answer.body.contains("wild"), "its words are for the log");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(server.panics(), panics);
    }
    stream.write_all(&request("/healthz")).unwrap();
    assert_eq!(answer(&mut stream).status, 200, "even this connection lives on");
}

#[test]
fn a_stop_lets_requests_finish() {
    let (go, gate) = mpsc::channel::<()>();
    let (entered, inside) = mpsc::channel();
    let gate = Mutex::new(gate);
    let agent = Arc::new(move |_: &_| {
        entered.send(()).unwrap();
        gate.lock().unwrap().recv_timeout(GENEROUS).unwrap();
        Ok(None)
    });
    let server = Server::start(Sources { agent, ..sources() });
    let mut idle = server.connect();
    idle.write_all(&request("/healthz")).unwrap();
    assert_eq!(answer(&mut idle).status, 200);
    let mut silent = server.connect();
    let mut busy = server.connect();
    busy.write_all(&request("/api/monitoring/agents/coder-1")).unwrap();
    inside.recv_timeout(GENEROUS).unwrap();

    server.stop.cancel();
    assert_eq!(idle.read(&mut [0]).unwrap(), 0, "closed at once");
    assert_eq!(silent.read(&mut [0]).unwrap(), 0, "closed at once");
    // Its connections hear of the stop as soon as the listener itself does.
    until("nobody listens", || TcpStream::connect(server.tcp).is_err());
    go.send(()).unwrap();
    assert_eq!(answer(&mut busy).status, 200);
    assert_eq!(busy.read(&mut [0]).unwrap(), 0, "and then closed");
    server.wait().unwrap();
}

/// Who does not read its answer when the server stops, or does not send its body, is not waited for.
#[test]
fn a_stop_does_not_wait_for_clients_that_stall() {
    let mut large = snapshot();
    large.agents = (0..2_000).map(|n| unknown(&format!("agent-{n}")).into()).collect();
    let limits = Limits { shutdown_grace: SHORT, ..Limits::default() };
    let server = Server::with(Sources { feed: feed(large), ..sources() }, limits, Guard::new(&[], None));
    let mut deaf = server.connect();
    // More than the buffers of both ends can hold.
    deaf.write_all(&request("/api/monitoring/dashboard").repeat(40)).unwrap();
    let mut mute = UnixStream::connect(&server.socket).unwrap();
    let target = "/api/monitoring/agents/coder-1/events";
    mute.write_all(head("POST", target, "localhost", &["Content-Length: 60000"]).as_bytes()).unwrap();
    assert_eq!(server.get("/healthz").status, 200);
    let began = monotonic();
    server.stop.cancel();
    server.wait().unwrap();
    let took = monotonic().since(began);
    assert!(took >= SHORT, "they have their time: {took:?}");
    assert!(took < Limits::default().body_timeout / 2, "{took:?}");
    assert_eq!(Limits::default().shutdown_grace, Duration::from_secs(5), "within the ten seconds of the whole daemon");
    drop((deaf, mute));
}
