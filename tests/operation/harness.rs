//! The program itself, in a place of its own, and clients that hide nothing.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything takes; a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A directory with a configuration, and room for state and runtime files.
pub(crate) struct Place {
    pub(crate) directory: TempDir,
}

impl Place {
    pub(crate) fn new(config: &str) -> Place {
        let place = Place { directory: tempfile::tempdir().unwrap() };
        place.configure(config);
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn configure(&self, config: &str) {
        self.write("config.toml", config);
    }

    /// Replaces a file at once, as programs should.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let new = self.path(&format!("{name}.new"));
        fs::write(&new, text).unwrap();
        fs::rename(new, self.path(name)).unwrap();
    }

    /// The program with these arguments; nothing of our environment reaches it.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agent-monitor"));
        command.args(arguments).env_clear().stdin(Stdio::null());
        command.env("RUNTIME_DIRECTORY", self.path("run")).env("STATE_DIRECTORY", self.path("state"));
        command.env("AGENT_MONITOR_CONFIG", self.path("config.toml"));
        command
    }

    /// What the program prints, and how it ends.
    pub(crate) fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Standard output of a command that must succeed.
    pub(crate) fn told(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn start(self) -> Daemon {
        Daemon::start(self, |_| ())
    }
}

/// A daemon that was ready once. Killed when dropped.
pub(crate) struct Daemon {
    pub(crate) place: Place,
    pub(crate) child: Child,
    pub(crate) url: String,
    log: Receiver<String>,
}

impl Daemon {
    pub(crate) fn start(place: Place, set_up: impl FnOnce(&mut Command)) -> Daemon {
        let mut command = place.command(&["run", "--listen", "127.0.0.1:0"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        set_up(&mut command);
        let mut child = command.spawn().unwrap();
        let log = lines(child.stderr.take());
        let url = lines(child.stdout.take()).recv_timeout(PATIENCE);
        let url = url.unwrap_or_else(|_| panic!("not started: {:?}", log.try_iter().collect::<Vec<_>>()));
        Daemon { place, child, url, log }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits for a line of the log with this in it.
    pub(crate) fn hear(&self, words: &str) -> String {
        let mut heard = Vec::new();
        loop {
            match self.log.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(words) => return line,
                Ok(line) => heard.push(line),
                Err(error) => panic!("{words:?} was not logged ({error}): {heard:#?}"),
            }
        }
    }

    /// What has ended never logged this.
    pub(crate) fn never(&self, words: &str) {
        let said: Vec<String> = self.log.iter().collect();
        assert!(!said.iter().any(|line| line.contains(words)), "{words:?} was said: {said:#?}");
    }

    /// Asks for a reload and waits for its end.
    pub(crate) fn reload(&self, config: &str) -> String {
        self.place.configure(config);
        self.signal(Signal::HUP);
        self.hear("configuration")
    }

    pub(crate) fn get(&self, route: &str) -> Value {
        let (status, body) = get(&self.url, route, "localhost", "");
        assert_eq!(status, 200, "{route}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// The daemon about itself.
    pub(crate) fn status(&self) -> Value {
        self.get("/api/monitoring/status")
    }

    /// Waits until the daemon says so of itself.
    pub(crate) fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let found = attempt(|| Some(self.status()).filter(&is_so));
        found.unwrap_or_else(|| panic!("it never came to be that {what}: {:#}", self.status()))
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut ended = None;
        eventually("the daemon ends", || {
            ended = self.child.try_wait().unwrap();
            ended
        })
    }

    pub(crate) fn stop(mut self) -> Place {
        self.signal(Signal::TERM);
        assert!(self.wait().success());
        let Daemon { place, .. } = &mut self;
        std::mem::replace(place, Place { directory: tempfile::tempdir().unwrap() })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A child that does not outlive its test.
pub(crate) struct Killed(pub(crate) Child);

impl Killed {
    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        eventually("it ends", || self.0.try_wait().unwrap())
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The lines of a stream, as they come.
pub(crate) fn lines(stream: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (send, lines) = mpsc::channel();
    if let Some(stream) = stream {
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    // Nobody reads any more; the stream is read on, so that its writer is not held up.
                    continue;
                }
            }
        });
    }
    lines
}

/// Status and body of a GET over TCP.
pub(crate) fn get(url: &str, route: &str, host: &str, headers: &str) -> (u16, String) {
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {route} HTTP/1.1\r\nHost: {host}\r\n{headers}Connection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Asks again and again until there is an answer.
pub(crate) fn eventually<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    attempt(ask).unwrap_or_else(|| panic!("it never came to be that {what}"))
}

fn attempt<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let pause = Duration::from_millis(20);
    let (_open, never) = mpsc::channel::<()>();
    for _ in 0..PATIENCE.as_millis() / pause.as_millis() {
        let answer = ask();
        if answer.is_some() {
            return answer;
        }
        assert_eq!(never.recv_timeout(pause), Err(RecvTimeoutError::Timeout));
    }
    None
}

/// A configuration that looks every second, with these sources (TOML tables) and whatever else.
pub(crate) fn config(rest: &str) -> String {
    format!("[sampling]\ninterval = \"1s\"\n[registry]\nrefresh = \"1s\"\n{rest}")
}

pub(crate) fn file_source(path: &Path) -> String {
    format!("[[registry.source]]\nkind = \"file\"\npath = {:?}\n", path.to_str().unwrap())
}

/// This test's own process as an agent.
pub(crate) fn us(id: &str) -> String {
    record(id, std::process::id())
}

/// A registry's word about one process.
pub(crate) fn record(id: &str, pid: u32) -> String {
    format!(r#"[{{"id":"{id}","status":"working","pid":{pid}}}]"#)
}

pub(crate) fn agents(dashboard: &Value) -> Vec<String> {
    let list = dashboard["agents"].as_array().unwrap().iter();
    list.map(|agent| format!("{} {}", agent["agentId"].as_str().unwrap(), agent["registryStatus"])).collect()
}
