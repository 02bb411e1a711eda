//! Programs that look like agents, and a monitor of the real machine.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use agent_monitor::clock::{Clock, SystemClock};
use agent_monitor::config::{Config, Directories, Source};
use agent_monitor::model::{AgentView, Body, Pid, Resume, Snapshot};
use agent_monitor::monitor::{Effect, Monitor};
use agent_monitor::process::linux::{Forks, LinuxSource};

/// Long enough for the slowest machine; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A folder tree such as package managers make, gone after the test.
pub(crate) struct Prefix(tempfile::TempDir);

impl Prefix {
    pub(crate) fn new() -> Prefix {
        Prefix(tempfile::tempdir().expect("a temporary folder"))
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    /// The stand-in, under another name.
    pub(crate) fn standin(&self, path: &str) -> PathBuf {
        let file = self.new_file(path);
        // Copied by another program: a file that this one wrote could not be run while any child of it, forked at that
        // moment, still has it open.
        let done = Command::new("cp").args([compiled(), &file]).status().expect("cp is there");
        assert!(done.success());
        file
    }

    /// A text file that can be executed.
    pub(crate) fn script(&self, path: &str, text: &str) -> PathBuf {
        let file = self.new_file(path);
        fs::write(&file, text).expect("our folder");
        assert!(Command::new("chmod").arg("755").arg(&file).status().expect("chmod is there").success());
        file
    }

    pub(crate) fn link(&self, path: &str, target: &Path) -> PathBuf {
        let link = self.new_file(path);
        symlink(target, &link).expect("our folder");
        link
    }

    fn new_file(&self, path: &str) -> PathBuf {
        let file = self.at(path);
        fs::create_dir_all(file.parent().expect("below the prefix")).expect("our folder");
        file
    }
}

/// The stand-in, compiled once.
fn compiled() -> &'static Path {
    static COMPILED: OnceLock<PathBuf> = OnceLock::new();
    COMPILED.get_or_init(|| {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("standin");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/matching/standin.c");
        let done = Command::new("cc").arg("-o").args([&file, &source]).status().expect("a C compiler");
        assert!(done.success());
        file
    })
}

/// These tests need real interpreters: without one they would say less than they seem to.
pub(crate) fn need(program: &str) {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    assert!(found, "{program} is not installed");
}

/// A process and what it started, which end with the test.
pub(crate) struct Running {
    child: Child,
    /// While it is open they wait.
    input: Option<ChildStdin>,
    output: BufReader<std::process::ChildStdout>,
}

impl Running {
    /// Waits until the whole of it is there.
    pub(crate) fn start(command: &mut Command) -> Running {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it can be started");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let mut running = Running { child, input, output };
        running.ready();
        running
    }

    /// Waits until it says so.
    pub(crate) fn ready(&mut self) {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("text");
        assert_eq!(line, "ready\n");
    }

    /// Lets it go on.
    pub(crate) fn go_on(&mut self) {
        writeln!(self.input.as_mut().expect("open"), "on").expect("it waits for a line");
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::new(self.child.id().into()).expect("a process id")
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("ours");
        self.child.wait().expect("ours");
    }

    pub(crate) fn wait(&mut self) {
        self.child.wait().expect("ours");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The children of a process, oldest first.
pub(crate) fn children(pid: Pid) -> Vec<Pid> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("it lives");
    text.split_whitespace().filter_map(|number| Pid::new(number.parse().ok()?)).collect()
}

pub(crate) fn comm(pid: Pid) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).expect("it lives").trim_end().to_owned()
}

/// The real machine under the built-in rules or others.
pub(crate) struct Machine {
    monitor: Monitor,
    woken: Receiver<()>,
    snapshot: Arc<Snapshot>,
    pub(crate) events: Vec<String>,
}

impl Machine {
    pub(crate) fn watch(sources: Vec<Source>) -> Machine {
        Machine::watch_by(Forks::Told, sources)
    }

    /// The same with children found in this way.
    pub(crate) fn watch_by(forks: Forks, sources: Vec<Source>) -> Machine {
        let (tell, woken) = mpsc::channel();
        let tell = Mutex::new(tell);
        let wake = move || {
            let _ = tell.lock().expect("no holder panics").send(());
        };
        let source = LinuxSource::new(4096, forks, Arc::new(wake)).expect("a machine with /proc");
        let mut config = Config::defaults(&Directories { state: "/state".into(), runtime: "/run".into() });
        config.registry.sources = sources;
        config.registry.refresh = Duration::from_secs(1);
        config.sampling.interval = Duration::from_secs(1);
        let now = SystemClock.now();
        let monitor = Monitor::new(Arc::new(config), Box::new(source), Resume::default(), now);
        let mut machine = Machine { monitor, woken, snapshot: Arc::new(Snapshot::empty(now.wall)), events: Vec::new() };
        machine.step();
        machine
    }

    fn step(&mut self) {
        for effect in self.monitor.step(SystemClock.now()) {
            match effect {
                Effect::Publish(snapshot) => self.snapshot = snapshot,
                Effect::Store { batch, .. } => {
                    let text = |body: &Body| match body {
                        Body::Event(event) => Some(event.message.to_string()),
                        _ => None,
                    };
                    self.events.extend(batch.entries.iter().filter_map(|entry| text(&entry.body)));
                }
                Effect::Prune { .. } => {}
            }
        }
    }

    /// The agents, of all that run here, whose root is one of these processes: the name of the rule and the pid.
    pub(crate) fn agents_at(&self, pids: &[Pid]) -> Vec<(String, Pid)> {
        let of = |agent: &Arc<AgentView>| {
            let pid = agent.pid.filter(|pid| pids.contains(pid))?;
            Some((agent.source.strip_prefix("match:")?.to_owned(), pid))
        };
        self.snapshot.agents.iter().filter_map(of).collect()
    }

    pub(crate) fn agent(&self, pid: Pid) -> Option<Arc<AgentView>> {
        self.snapshot.agents.iter().find(|agent| agent.pid == Some(pid)).cloned()
    }

    /// Goes on as the engine does until something holds.
    pub(crate) fn until(&mut self, what: &str, holds: impl Fn(&Machine) -> bool) {
        let deadline = SystemClock.now().mono + PATIENCE;
        while !holds(self) {
            let now = SystemClock.now().mono;
            assert!(now < deadline, "never: {what}; {:?}; {:?}", self.snapshot.agents, self.events);
            let _ = self.woken.recv_timeout(self.monitor.next_due().since(now));
            self.step();
        }
    }

    /// Goes on until all processes were looked at twice more.
    pub(crate) fn look_around(&mut self) {
        let looked_at = |machine: &Machine| machine.snapshot.own.sources[0].good_at.expect("it has looked");
        for _ in 0..2 {
            let before = looked_at(self);
            self.until("another look", |machine| looked_at(machine) > before);
        }
    }
}
