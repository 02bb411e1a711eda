//! A daemon that runs, and what it answers.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::Receiver;

use rustix::process::Signal;
use serde_json::Value;

use super::{PATIENCE, lines, signal, until};

/// A running daemon; killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    address: SocketAddr,
    /// Where it is asked instead, if it is.
    pub(super) socket: Option<PathBuf>,
    log: Receiver<String>,
    /// What was taken from it.
    logged: RefCell<Vec<String>>,
    stdout: BufReader<ChildStdout>,
}

impl Daemon {
    pub(crate) fn start(command: &mut Command) -> Daemon {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = lines(child.stderr.take().unwrap());
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut url = String::new();
        stdout.read_line(&mut url).unwrap();
        let address = url.trim().strip_prefix("http://").and_then(|rest| rest.strip_suffix('/'));
        let Some(address) = address.and_then(|address| address.parse().ok()) else {
            let _ = child.kill();
            panic!("{command:?} says {url:?} and {:?}", log.iter().collect::<Vec<_>>());
        };
        Daemon { child, address, socket: None, log, logged: RefCell::default(), stdout }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its endpoint listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A document of the endpoint.
    pub(crate) fn get(&self, path: &str) -> Value {
        match &self.socket {
            Some(socket) => exchange(UnixStream::connect(socket).unwrap(), path).1,
            None => get(self.address, path).1,
        }
    }

    pub(crate) fn dashboard(&self) -> Value {
        self.get("/api/monitoring/dashboard")
    }

    /// An agent of the dashboard; null if it is not there.
    pub(crate) fn agent(&self, id: &str) -> Value {
        agent(&self.dashboard(), id)
    }

    /// Waits until an agent is as `seen` wants it, and returns it then.
    pub(crate) fn until(&self, id: &str, what: &str, mut seen: impl FnMut(&Value) -> bool) -> Value {
        until(&format!("{id}: {what}"), || {
            let now = self.agent(id);
            if seen(&now) { Ok(now) } else { Err(format!("{now:#}\n{}", self.log_so_far())) }
        })
    }

    /// An agent's own document. On a busy machine the database may be asked for it in vain at first.
    pub(crate) fn page(&self, id: &str) -> Value {
        self.until_listed(id, "its document", |page| page["runs"].is_array())
    }

    /// Waits until an agent's own document is as `seen` wants it, and returns it then: its lists come from the database,
    /// where what is shown already may not have arrived.
    pub(crate) fn until_listed(&self, id: &str, what: &str, mut seen: impl FnMut(&Value) -> bool) -> Value {
        until(&format!("{id}: {what}"), || {
            let page = self.get(&format!("/api/monitoring/agents/{id}"));
            if seen(&page) { Ok(page) } else { Err(format!("{page:#}")) }
        })
    }

    /// Waits until an agent runs and has had two readings.
    pub(crate) fn until_known(&self, id: &str) -> Value {
        self.until(id, "it runs and has a rate", |agent| {
            agent["state"] == "running" && agent["metrics"]["cpuPercent"].is_number()
        })
    }

    /// Waits for this many more readings of an agent.
    pub(crate) fn readings(&self, id: &str, count: usize) -> Value {
        let mut last = self.agent(id)["metrics"]["timestamp"].clone();
        let mut left = count;
        self.until(id, "more readings", |agent| {
            let at = &agent["metrics"]["timestamp"];
            if *at != last {
                last = at.clone();
                left -= 1;
            }
            left == 0
        })
    }

    /// Waits for this many more sampling passes, whoever runs.
    pub(crate) fn passes(&self, count: usize) {
        let last_tick = || self.get("/api/monitoring/status")["sampling"]["lastTickAt"].clone();
        let mut last = last_tick();
        let mut left = count;
        until("more passes", || {
            let at = last_tick();
            if at != last {
                last = at;
                left -= 1;
            }
            if left == 0 { Ok(()) } else { Err(format!("the last at {last}")) }
        });
    }

    /// Waits for a line of the log that has this text.
    pub(crate) fn until_logged(&self, text: &str) {
        until(&format!("it logs {text:?}"), || {
            let log = self.log_so_far();
            if log.contains(text) { Ok(()) } else { Err(log) }
        });
    }

    pub(crate) fn log_so_far(&self) -> String {
        let mut logged = self.logged.borrow_mut();
        logged.extend(self.log.try_iter());
        logged.join("\n")
    }

    pub(crate) fn signal(&self, number: Signal) {
        signal(self.pid(), number);
    }

    /// Waits for its end; returns how it ended and its log.
    pub(crate) fn ended(mut self) -> (ExitStatus, String) {
        let status = until("the daemon ends", || {
            let status = self.child.try_wait().unwrap();
            status.ok_or_else(|| format!("it runs: {}", self.log_so_far()))
        });
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "", "standard output is for results only");
        let mut log = self.logged.take();
        log.extend(self.log.iter());
        (status, log.join("\n"))
    }

    /// Ends it as a power failure would.
    pub(crate) fn kill(self) {
        self.signal(Signal::KILL);
        self.ended();
    }

    /// Ends it in order.
    pub(crate) fn stop(self) -> String {
        self.signal(Signal::TERM);
        let (status, log) = self.ended();
        assert_eq!(status.code(), Some(0), "{log}");
        log
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// An agent of a dashboard; null if it is not there.
pub(crate) fn agent(dashboard: &Value, id: &str) -> Value {
    let agents = dashboard["agents"].as_array().unwrap();
    agents.iter().find(|agent| agent["agentId"] == id).cloned().unwrap_or(Value::Null)
}

/// Asks an endpoint; status and document.
pub(crate) fn get(address: SocketAddr, path: &str) -> (u16, Value) {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    exchange(stream, path)
}

pub(super) fn exchange(mut stream: impl Read + Write, path: &str) -> (u16, Value) {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.unwrap_or_else(|| panic!("{path} answers {answer:?}"));
    (status, serde_json::from_str(body).unwrap_or_else(|error| panic!("{path} answers {answer:?}: {error}")))
}
