//! A daemon as a child, and what an operator can ask of it.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel, sync_channel};
use std::time::Duration;

use agent_monitor::clock::monotonic;
use agent_monitor::model::Mono;
use rusqlite::{Connection, OpenFlags};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Rules and sources at a test's pace.
pub(crate) const BRISK: &str = r#"
[registry]
refresh = "1s"
[alerts]
interval = "1s"
[[alerts.rule]]
name = "agent_down"
for = "1s"
"#;

/// Ends when it is over or has taken far too long.
pub(crate) struct Deadline(Mono);

impl Deadline {
    pub(crate) fn new() -> Deadline {
        Deadline::after(PATIENCE)
    }

    pub(crate) fn after(span: Duration) -> Deadline {
        Deadline(monotonic() + span)
    }

    pub(crate) fn is_over(&self) -> bool {
        monotonic() >= self.0
    }
}

/// Lets a moment pass before something is asked again.
pub(crate) fn pace() {
    let (_open, nothing) = sync_channel::<()>(0);
    assert_eq!(nothing.recv_timeout(Duration::from_millis(20)), Err(RecvTimeoutError::Timeout));
}

/// Asks until there is an answer.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Deadline::new();
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(instead) => assert!(!deadline.is_over(), "waited in vain: {what}; instead: {instead}"),
        }
        pace();
    }
}

/// A user who owns nothing.
pub(crate) const NOBODY: u32 = 65_534;

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// How a daemon finds the children of members.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// The kernel tells of every fork.
    Told,
    /// The daemon looks for what is new at every pass. Forced by a network namespace of its own: there the kernel tells
    /// nothing.
    Scanned,
}

impl Way {
    /// Does a test once for each.
    pub(crate) fn each(mut test: impl FnMut(Way)) {
        test(Way::Told);
        if is_root() {
            test(Way::Scanned);
        } else {
            println!("NOT TESTED: the scan, because only root can make a network namespace");
        }
    }

    /// As `status` has it.
    fn word(self) -> &'static str {
        match self {
            Way::Told => "events",
            Way::Scanned => "scan",
        }
    }
}

/// Where one daemon, or several in turn, keep their files.
pub(crate) struct Place {
    directory: TempDir,
    /// How its daemons must find children; none: as they can.
    way: Option<Way>,
    /// Who they run as; none: as the test.
    user: Option<u32>,
    /// The world they see: a namespace of their own, as an option of unshare(1), and what is done in it first.
    world: Vec<(&'static str, String)>,
}

impl Place {
    pub(crate) fn new() -> Place {
        let place = Place { directory: tempfile::tempdir().unwrap(), way: None, user: None, world: Vec::new() };
        place.configure("");
        place
    }

    pub(crate) fn of(way: Way) -> Place {
        let mut place = Place { way: Some(way), ..Place::new() };
        if way == Way::Scanned {
            place.change_world("--net", "ip link set lo up");
        }
        place
    }

    /// From now on its daemons have a namespace of their own, in which this is done first. Needs root.
    pub(crate) fn change_world(&mut self, namespace: &'static str, first: &str) {
        self.world.push((namespace, first.to_owned()));
    }

    /// The same for daemons of another user, who can use everything in it. Needs root.
    pub(crate) fn of_user(way: Way, user: u32) -> Place {
        let place = Place { user: Some(user), ..Place::of(way) };
        fs::set_permissions(place.path("."), Permissions::from_mode(0o777)).unwrap();
        // Copied by another program: a file that this one wrote could not be run while any child of it, forked at that
        // moment, still has it open.
        let copied = Command::new("cp").arg(binary()).arg(place.path("agent-monitor")).status().unwrap();
        assert!(copied.success());
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// What stands in the configuration file.
    pub(crate) fn configure(&self, text: &str) {
        fs::write(self.path("config.toml"), text).unwrap();
    }

    /// Puts a registry file in its place at once, as a careful broker does.
    pub(crate) fn register(&self, document: &Value) -> PathBuf {
        self.register_text(&document.to_string())
    }

    pub(crate) fn register_text(&self, text: &str) -> PathBuf {
        fs::write(self.path("agents.new"), text).unwrap();
        fs::rename(self.path("agents.new"), self.path("agents.json")).unwrap();
        self.path("agents.json")
    }

    /// `agent-monitor run` with everything in this place, at the default interval.
    pub(crate) fn command(&self) -> Command {
        let mut words: Vec<OsString> = Vec::new();
        if !self.world.is_empty() {
            let steps: Vec<&str> = self.world.iter().map(|(_, first)| &**first).collect();
            words.push("unshare".into());
            words.extend(self.world.iter().map(|(namespace, _)| OsString::from(namespace)));
            words.extend(["sh", "-c"].map(OsString::from));
            words.push(format!(r#"{} && exec "$0" "$@""#, steps.join(" && ")).into());
        }
        match self.user {
            None => words.push(binary().into()),
            Some(user) => {
                let (user, group) = (format!("--reuid={user}"), format!("--regid={user}"));
                let become_user = ["setpriv", &user, &group, "--clear-groups", "--inh-caps=-all"];
                words.extend(become_user.map(OsString::from));
                words.push(self.path("agent-monitor").into());
            }
        }
        let mut command = bare(Command::new(&words[0]));
        command.args(&words[1..]).arg("run").arg("--config").arg(self.path("config.toml"));
        command.args(["--listen", "127.0.0.1:0"]);
        command.arg("--state-dir").arg(self.state()).arg("--socket").arg(self.path("s"));
        command
    }

    /// Starts a daemon that samples every second.
    pub(crate) fn start(&self, options: &[&str]) -> Daemon {
        self.start_as_told(self.command().args(["--interval", "1s"]).args(options))
    }

    /// Starts this, which is made of [`command`](Place::command).
    pub(crate) fn start_as_told(&self, command: &mut Command) -> Daemon {
        let mut daemon = Daemon::start(command);
        if let Some(way) = self.way {
            // Its address is that of another network.
            daemon.socket = Some(self.path("s"));
            let discovery = until("it says how it finds children", || {
                let word = daemon.get("/api/monitoring/status")["sampling"]["discovery"].as_str().map(str::to_owned);
                word.ok_or_else(|| daemon.log_so_far())
            });
            assert_eq!(discovery, way.word());
        }
        daemon
    }

    /// [`command`](Place::command) for a shell.
    pub(crate) fn command_line(&self) -> String {
        let command = self.command();
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words.map(|word| format!("'{}' ", word.to_str().unwrap())).collect()
    }

    /// A document of the daemon that has its socket here.
    pub(crate) fn get(&self, path: &str) -> Value {
        exchange(UnixStream::connect(self.path("s")).unwrap(), path).1
    }

    pub(crate) fn start_with_registry(&self) -> Daemon {
        self.start(&["--registry", self.path("agents.json").to_str().unwrap()])
    }

    /// The database, for reading.
    pub(crate) fn database(&self) -> Connection {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Connection::open_with_flags(self.state().join("agent-monitor.db"), flags).unwrap()
    }

    /// One number from the database.
    pub(crate) fn count(&self, sql: &str) -> i64 {
        self.database().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// Waits until a number in the database is this one: what is shown already may still be on its way to the disk.
    pub(crate) fn until_stored(&self, sql: &str, expected: i64) {
        until(sql, || match self.count(sql) {
            count if count == expected => Ok(()),
            count => Err(format!("{count}, not {expected}")),
        });
    }
}

fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_agent-monitor")
}

/// The program, with nothing of this shell's settings.
pub(crate) fn program() -> Command {
    bare(Command::new(binary()))
}

fn bare(mut command: Command) -> Command {
    for name in ["CONFIG", "REGISTRY", "INTERVAL", "LISTEN", "SOCKET", "STATE_DIR", "LOG"] {
        command.env_remove(format!("AGENT_MONITOR_{name}"));
    }
    command.env_remove("STATE_DIRECTORY").env_remove("RUNTIME_DIRECTORY").stdin(Stdio::null());
    command
}

/// Runs it to its end, which must come by itself.
pub(crate) fn outcome(command: &mut Command) -> (Option<i32>, String, String) {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (tell, told) = channel();
    let pid = child.id();
    std::thread::spawn(move || tell.send(child.wait_with_output()));
    let Ok(output) = told.recv_timeout(PATIENCE) else {
        signal(pid, Signal::KILL);
        panic!("{command:?} does not end");
    };
    let Output { status, stdout, stderr } = output.unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

pub(crate) fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), signal).unwrap();
}

/// A running daemon; killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    address: SocketAddr,
    /// Where it is asked instead, if it is.
    socket: Option<PathBuf>,
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

    fn log_so_far(&self) -> String {
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

fn exchange(mut stream: impl Read + Write, path: &str) -> (u16, Value) {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.unwrap_or_else(|| panic!("{path} answers {answer:?}"));
    (status, serde_json::from_str(body).unwrap_or_else(|error| panic!("{path} answers {answer:?}: {error}")))
}

/// What is written there, line by line, as it comes.
pub(crate) fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if tell.send(line).is_err() {
                return;
            }
        }
    });
    told
}

/// What is in a directory, by name.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
