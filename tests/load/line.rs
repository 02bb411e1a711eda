//! A connection on which much is said.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::harness::PATIENCE;

/// A connection that stays open, and what is read of it.
pub(crate) struct Line<S>(BufReader<S>);

impl Line<UnixStream> {
    pub(crate) fn dial(socket: &Path) -> Option<Line<UnixStream>> {
        let stream = UnixStream::connect(socket).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Some(Line(BufReader::new(stream)))
    }
}

impl Line<TcpStream> {
    pub(crate) fn dial_tcp(address: SocketAddr) -> Option<Line<TcpStream>> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Some(Line(BufReader::new(stream)))
    }

    /// The lines that come from now on.
    pub(crate) fn lines(self) -> impl Iterator<Item = String> {
        self.0.lines().map_while(Result::ok)
    }
}

impl<S: Read> Line<S>
where
    for<'a> &'a S: Write,
{
    pub(crate) fn say(&mut self, text: &str) -> Option<()> {
        self.0.get_ref().write_all(text.as_bytes()).ok()
    }

    /// Status and body of the next answer; none when the connection ended instead.
    pub(crate) fn answer(&mut self) -> Option<(u16, Vec<u8>)> {
        let (mut line, mut status, mut length) = (String::new(), 0, 0);
        loop {
            line.clear();
            if self.0.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let text = line.trim_end();
            if let Some(rest) = text.strip_prefix("HTTP/1.1 ") {
                status = rest[..3].parse().unwrap();
            } else if let Some(value) = text.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            } else if text.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).ok()?;
        Some((status, body))
    }
}
