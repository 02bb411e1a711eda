//! A client that says what it likes, and keeps what comes back.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value;

use crate::harness::PATIENCE;

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The next one on a connection that stays open; none when it ends instead.
    pub(crate) fn read(stream: &mut impl Read) -> Option<Answer> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if stream.read(&mut byte).unwrap_or(0) == 0 {
                return None;
            }
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer { status, head, body: Vec::new() };
        let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        answer.body.resize(length, 0);
        stream.read_exact(&mut answer.body).ok()?;
        Some(answer)
    }

    /// By its name in small letters.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A request that leaves the connection open.
pub(crate) fn request(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

pub(crate) fn dial(socket: &Path) -> UnixStream {
    let stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Says this, and hears all answers to it until the other end closes. Who is to hear none says no more.
pub(crate) fn converse(address: SocketAddr, bytes: &[u8], hears: bool) -> Vec<Answer> {
    let mut stream = connect(address);
    // Who is refused early is not listened to.
    let _ = stream.write_all(bytes);
    if !hears {
        let _ = stream.shutdown(Shutdown::Write);
    }
    std::iter::from_fn(|| Answer::read(&mut stream)).collect()
}

/// Asks over TCP.
pub(crate) fn get(address: SocketAddr, target: &str) -> Answer {
    let mut stream = connect(address);
    stream.write_all(&request(target)).unwrap();
    Answer::read(&mut stream).unwrap_or_else(|| panic!("no answer to {target}"))
}

/// Tells something over a connection that stays open.
pub(crate) fn post(stream: &mut (impl Read + Write), target: &str, body: &Value) -> Answer {
    let body = body.to_string();
    let head = format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    Answer::read(stream).unwrap_or_else(|| panic!("no answer to {target}"))
}
