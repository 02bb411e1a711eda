//! Requests, sent to a server on real sockets. A handler that panics is answered for, so it is asked whether one did.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock};

use agent_monitor::api::{Counts, Guard, Limits, Pending, Sources, Writes};
use agent_monitor::intake;
use agent_monitor::model::Receipt;
use agent_monitor::monitor::NotRecorded;

use world::{GENEROUS, NEW_YEAR, Server, sources};

#[path = "../../tests/api/world/mod.rs"]
mod world;

/// One server for all inputs, for as long as the process lives.
struct Reach {
    tcp: SocketAddr,
    socket: PathBuf,
    counts: Arc<Counts>,
    _serves: Mutex<Server>,
}

fn server() -> &'static Reach {
    static SERVER: OnceLock<Reach> = OnceLock::new();
    SERVER.get_or_init(|| {
        let record = Arc::new(|submission| {
            let prepared = intake::prepare(submission, NEW_YEAR).map_err(NotRecorded::from);
            let receipt = prepared.map(|_| Receipt { id: 40, duplicate: false });
            Box::pin(async { receipt }) as Pending<Receipt>
        });
        let known = sources();
        let sources = Sources { writes: Writes { record, ..known.writes.clone() }, ..known };
        // A client that is slow because the machine is busy is not what is looked for.
        let limits = Limits { head_timeout: 100 * GENEROUS, body_timeout: 100 * GENEROUS, ..Limits::default() };
        let server = Server::with(sources, limits, Guard::new(&[], None));
        let (tcp, socket, counts) = (server.tcp, server.socket.clone(), Arc::clone(&server.counts));
        Reach { tcp, socket, counts, _serves: Mutex::new(server) }
    })
}

/// Sends a request, and returns what was answered, up to the end of its head for a stream.
fn ask(mut line: impl Read + Write, request: &[u8], is_stream: bool) -> (u16, String) {
    // What is refused before it was read whole is answered, and closed.
    let sent = line.write_all(request);
    let (mut answer, mut part) = (Vec::new(), [0; 4096]);
    while let Ok(length @ 1..) = line.read(&mut part) {
        answer.extend_from_slice(&part[..length]);
        if is_stream && answer.windows(4).any(|end| end == b"\r\n\r\n") {
            break;
        }
    }
    let text = String::from_utf8(answer).expect("answers are UTF-8");
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    let Some(status) = status else {
        panic!("no answer to {:?}: {text:?}, {sent:?}", String::from_utf8_lossy(request))
    };
    assert_eq!(server().counts.panics.load(Ordering::Relaxed), 0, "{:?}", String::from_utf8_lossy(request));
    assert!((200..500).contains(&status), "{text}");
    (status, text)
}

fn over_socket(request: &[u8], is_stream: bool) -> (u16, String) {
    let line = UnixStream::connect(&server().socket).unwrap();
    line.set_read_timeout(Some(GENEROUS)).unwrap();
    ask(line, request, is_stream)
}

/// The body of a write: the first byte says which.
pub(crate) fn bodies(bytes: &[u8]) {
    let Some((which, body)) = bytes.split_first() else { return };
    let (method, path) = match which % 4 {
        0 => ("POST", "agents/coder-1/events"),
        1 => ("POST", "agents/coder-1/errors"),
        2 => ("PATCH", "errors/7/resolve"),
        _ => ("PATCH", "error-groups/00ff/resolve"),
    };
    let length = body.len();
    let mut request = format!(
        "{method} /api/monitoring/{path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n"
    )
    .into_bytes();
    request.extend_from_slice(body);
    let (status, text) = over_socket(&request, false);
    let document = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let document: serde_json::Value = serde_json::from_str(document).expect("an answer is JSON");
    assert_eq!(document["success"].as_bool(), Some(status < 400), "{text}");
}

/// What stands after the question mark: cursors, ranges, filters. The first byte says of which route.
pub(crate) fn questions(bytes: &[u8]) {
    const ROUTES: [&str; 9] = [
        "events",
        "errors",
        "error-groups",
        "alerts",
        "runs",
        "leftovers",
        "agents",
        "agents/coder-1/history",
        "stream",
    ];
    let Some((which, question)) = bytes.split_first() else { return };
    let route = ROUTES[usize::from(*which) % ROUTES.len()];
    let question: String =
        question.iter().filter(|byte| byte.is_ascii_graphic()).map(|byte| char::from(*byte)).collect();
    let request = format!(
        "GET /api/monitoring/{route}?{question} HTTP/1.1\r\nHost: x\r\nLast-Event-ID: {}\r\nConnection: close\r\n\r\n",
        question.chars().take(20).collect::<String>()
    );
    over_socket(request.as_bytes(), route == "stream");
}

/// An agent's id in the path, a Host and an Origin, a line each. Who is let in asked for one of our names.
pub(crate) fn heads(bytes: &[u8]) {
    let text: Vec<u8> = bytes.iter().copied().filter(|byte| !matches!(byte, b'\r' | 0)).collect();
    let mut parts = text.splitn(3, |byte| *byte == b'\n');
    let mut part = || parts.next().unwrap_or_default();
    let (id, host, origin) = (part(), part(), part());
    let id: Vec<u8> = id.iter().copied().filter(u8::is_ascii_graphic).collect();
    let origin: Vec<u8> = origin.iter().copied().filter(|byte| *byte != b'\n').collect();
    let mut request = b"GET /api/monitoring/agents/".to_vec();
    request.extend_from_slice(&id);
    request.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    request.extend_from_slice(host);
    if !origin.is_empty() {
        request.extend_from_slice(b"\r\nOrigin: ");
        request.extend_from_slice(&origin);
    }
    request.extend_from_slice(b"\r\nConnection: close\r\n\r\n");
    let line = TcpStream::connect(server().tcp).unwrap();
    line.set_read_timeout(Some(GENEROUS)).unwrap();
    let (status, text) = ask(line, &request, false);
    if matches!(status, 200 | 404) {
        let host = String::from_utf8(host.to_vec()).expect("it was understood").trim().to_ascii_lowercase();
        let port =
            |rest: &str| rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
        let ours = ["localhost", "127.0.0.1", "[::1]"];
        assert!(ours.iter().any(|name| host.strip_prefix(name).is_some_and(port)), "{host:?} was let in: {text}");
    }
}
