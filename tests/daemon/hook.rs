//! A receiver of webhooks that behaves as it is told to, and remembers what it was told.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use super::harness::PATIENCE;

/// What becomes of a request.
#[derive(Clone, Copy)]
pub(crate) enum Manner {
    /// This status, with these header lines.
    Answer(&'static str, &'static str),
    /// The connection is reset after the request was read.
    Reset,
    /// Nothing comes back, ever.
    Silent,
    /// A success whose head never ends, a line at a time.
    Endless,
    /// This status, and a body that never ends, as fast as it is taken.
    Flood(&'static str),
}

pub(crate) const OK: Manner = Manner::Answer("200 OK", "");

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) head: String,
    pub(crate) text: String,
    pub(crate) body: Value,
}

impl Told {
    /// A header; empty if it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).unwrap_or_default()
    }

    /// What is the same at every attempt.
    pub(crate) fn id(&self) -> String {
        self.header("webhook-id").to_owned()
    }

    /// `agent_down firing`.
    pub(crate) fn what(&self) -> String {
        let word = |value: &Value| value.as_str().unwrap().to_owned();
        format!("{} {}", word(&self.body["commonLabels"]["alertname"]), word(&self.body["status"]))
    }
}

pub(crate) struct Hook {
    address: SocketAddr,
    script: Arc<Mutex<VecDeque<Manner>>>,
    told: Receiver<Told>,
}

impl Hook {
    /// Behaves like this, one request after the other, and then takes everything.
    pub(crate) fn start(script: &[Manner]) -> Hook {
        Hook::at("127.0.0.1:0".parse().unwrap(), script)
    }

    /// The same, at an address that is free.
    pub(crate) fn at(address: SocketAddr, script: &[Manner]) -> Hook {
        Hook::serve(address, script, None)
    }

    /// Takes everything over TLS, with the certificate of this moment.
    pub(crate) fn over_tls(tls: Arc<Mutex<Arc<ServerConfig>>>) -> Hook {
        Hook::serve("127.0.0.1:0".parse().unwrap(), &[], Some(tls))
    }

    fn serve(address: SocketAddr, script: &[Manner], tls: Option<Arc<Mutex<Arc<ServerConfig>>>>) -> Hook {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Mutex::new(script.iter().copied().collect::<VecDeque<_>>()));
        let (tell, told) = channel();
        let manners = Arc::clone(&script);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let manner = manners.lock().unwrap().pop_front().unwrap_or(OK);
                let tell = tell.clone();
                let tls = tls.as_ref().map(|config| Arc::clone(&config.lock().unwrap()));
                std::thread::spawn(move || match tls {
                    None => exchange(&stream, &stream, manner, &tell),
                    Some(config) => {
                        let connection = ServerConnection::new(config).unwrap();
                        exchange(StreamOwned::new(connection, &stream), &stream, manner, &tell);
                    }
                });
            }
        });
        Hook { address, script, told }
    }

    /// The port of its address.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// The next requests are treated like this.
    pub(crate) fn behave(&self, script: &[Manner]) {
        *self.script.lock().unwrap() = script.iter().copied().collect();
    }

    /// Its table in the configuration, with these keys.
    pub(crate) fn config(&self, keys: &str) -> String {
        config(self.address, keys)
    }

    /// Waits for the next request.
    pub(crate) fn next(&self) -> Told {
        self.told.recv_timeout(PATIENCE).expect("a request")
    }

    /// Waits for the next request about this.
    pub(crate) fn hears(&self, what: &str) -> Told {
        loop {
            let told = self.next();
            if told.what() == what {
                return told;
            }
        }
    }

    /// What came and was not taken.
    pub(crate) fn rest(&self) -> Vec<Told> {
        self.told.try_iter().collect()
    }
}

pub(crate) fn config(address: SocketAddr, keys: &str) -> String {
    format!("[[alerts.notify]]\nkind = \"webhook\"\nurl = \"http://{address}/hook\"\n{keys}\n")
}

/// An address at which nobody listens.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn exchange(mut stream: impl Read + Write, below: &TcpStream, manner: Manner, tell: &Sender<Told>) {
    // None came from a client that does not trust us.
    if let Some(request) = read(&mut stream) {
        // Told before it is answered: whoever is told may look at what has come by then.
        let _ = tell.send(request);
        answer(stream, below, manner);
    }
}

fn read(stream: impl Read) -> Option<Told> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let mut headers = head.lines().filter_map(|line| line.split_once(": "));
    let length = headers.find(|(key, _)| key.eq_ignore_ascii_case("content-length"))?.1.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let text = String::from_utf8(body).unwrap();
    Some(Told { head, body: serde_json::from_str(&text).unwrap(), text })
}

fn answer(mut stream: impl Read + Write, below: &TcpStream, manner: Manner) {
    match manner {
        Manner::Answer(status, headers) => {
            let _ = write!(stream, "HTTP/1.1 {status}\r\n{headers}Content-Length: 0\r\nConnection: close\r\n\r\n");
        }
        Manner::Reset => set_socket_linger(below, Some(Duration::ZERO)).unwrap(),
        Manner::Silent => drop(stream.read(&mut [0])),
        Manner::Flood(status) => {
            let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 10737418240\r\n\r\n");
            while stream.write_all(&[b'x'; 1 << 16]).is_ok() {}
        }
        Manner::Endless => {
            let _ = write!(stream, "HTTP/1.1 200 OK\r\n");
            let (_open, never) = sync_channel::<()>(0);
            while write!(stream, "X: y\r\n").is_ok() {
                assert_eq!(never.recv_timeout(Duration::from_millis(100)), Err(RecvTimeoutError::Timeout));
            }
        }
    }
}
