//! A server on a real socket, and a client that hides nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use agent_monitor::api::{Api, Counts, Guard, Limits, Listener, Sources, serve};
use tokio_util::sync::CancellationToken;

use super::GENEROUS;

/// Serves until dropped.
pub(crate) struct Server {
    pub(crate) tcp: SocketAddr,
    pub(crate) socket: PathBuf,
    pub(crate) counts: Arc<Counts>,
    pub(crate) stop: CancellationToken,
    ended: mpsc::Receiver<std::io::Result<()>>,
    thread: Option<JoinHandle<()>>,
    _directory: tempfile::TempDir,
}

impl Server {
    pub(crate) fn start(sources: Sources) -> Server {
        Server::with(sources, Limits::default(), Guard::new(&[], None))
    }

    pub(crate) fn with(sources: Sources, limits: Limits, guard: Guard) -> Server {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("api.sock");
        let api = Api::new(sources, limits);
        let (counts, stop) = (api.counts(), CancellationToken::new());
        let (bound, started) = mpsc::channel();
        let (finished, ended) = mpsc::channel();
        let (path, asked, count) = (socket.clone(), stop.clone(), Arc::clone(&counts));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let outcome = runtime.block_on(async {
                let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                let unix = tokio::net::UnixListener::bind(path).unwrap();
                bound.send(tcp.local_addr().unwrap()).unwrap();
                let over_tcp = api.over_tcp(guard);
                let one = serve(Listener::Tcp(tcp), over_tcp, limits, Arc::clone(&count), asked.clone());
                let other = serve(Listener::Unix(unix), api.over_socket(), limits, count, asked);
                tokio::try_join!(one, other).map(|_| ())
            });
            let _ = finished.send(outcome);
        });
        let tcp = started.recv_timeout(GENEROUS).unwrap();
        Server { tcp, socket, counts, stop, ended, thread: Some(thread), _directory: directory }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.tcp).unwrap();
        stream.set_read_timeout(Some(GENEROUS)).unwrap();
        stream.set_write_timeout(Some(GENEROUS)).unwrap();
        stream
    }

    /// Sends these bytes over TCP, and reads until the server closes the connection.
    pub(crate) fn raw(&self, request: &str) -> Answer {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        Answer::read(&mut stream)
    }

    /// One request over TCP, headers as `Name: value` lines.
    pub(crate) fn ask(&self, method: &str, target: &str, headers: &[&str]) -> Answer {
        self.raw(&head(method, target, &format!("localhost:{}", self.tcp.port()), headers))
    }

    pub(crate) fn get(&self, target: &str) -> Answer {
        self.ask("GET", target, &[])
    }

    /// One request over the Unix socket.
    pub(crate) fn ask_socket(&self, method: &str, target: &str, host: &str) -> Answer {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(GENEROUS)).unwrap();
        stream.write_all(head(method, target, host, &[]).as_bytes()).unwrap();
        Answer::read(&mut stream)
    }

    pub(crate) fn panics(&self) -> u64 {
        self.counts.panics.load(Ordering::Relaxed)
    }

    /// Waits until both listeners ended.
    pub(crate) fn wait(&self) -> std::io::Result<()> {
        self.ended.recv_timeout(GENEROUS).expect("the server ends")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
        let outcome = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            outcome.unwrap().expect("the server does not panic");
        }
    }
}

pub(crate) fn head(method: &str, target: &str, host: &str, headers: &[&str]) -> String {
    let more: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{more}Connection: close\r\n\r\n")
}

/// An answer, taken apart without a library.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    /// Reads until the end.
    pub(crate) fn read(stream: &mut impl Read) -> Answer {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("the server answers and closes");
        Answer::parse(&String::from_utf8(bytes).unwrap())
    }

    pub(crate) fn parse(text: &str) -> Answer {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let pair = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        Answer { status, headers: lines.map(|line| pair(line).unwrap()).collect(), body: body.to_owned() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// For snapshots: status, content type, and the document for human eyes.
    pub(crate) fn shown(&self) -> String {
        let kind = self.header("content-type").unwrap_or("-");
        format!("{} {kind}\n{}", self.status, serde_json::to_string_pretty(&self.json()).unwrap())
    }
}
