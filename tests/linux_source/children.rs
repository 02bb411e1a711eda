//! Processes to be watched, and what the tests ask of a source.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_monitor::clock::monotonic;
use agent_monitor::model::{ExitStatus, Pid, ProcessEvent, ProcessKey, ProcessRow, Reading};
use agent_monitor::process::here::Wake;
use agent_monitor::process::linux::{Forks, LinuxSource};
use agent_monitor::process::{ProcessSource, ReadError, Scan, Watch};
use rustix::process::{WaitId, WaitIdOptions, waitid};
use tempfile::TempDir;

/// Long enough for the slowest machine; only a failing test waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// More than these tests need open at once.
pub(crate) const ENOUGH: usize = 4096;

pub(crate) fn pid(number: u32) -> Pid {
    Pid::new(number.into()).expect("a process id")
}

pub(crate) fn source() -> LinuxSource {
    source_and_wakes(ENOUGH).0
}

pub(crate) fn source_and_wakes(open_files: usize) -> (LinuxSource, Receiver<()>) {
    let (wake, woken) = listener();
    (LinuxSource::new(open_files, Forks::Scanned, wake).expect("a machine with /proc"), woken)
}

/// A wake, and where it is heard.
pub(crate) fn listener() -> (Wake, Receiver<()>) {
    let (tell, woken) = mpsc::channel();
    let tell = Mutex::new(tell);
    let wake = move || {
        let _ = tell.lock().expect("no holder panics").send(());
    };
    (Arc::new(wake), woken)
}

pub(crate) fn scan(source: &mut LinuxSource, scope: Scan) -> Vec<ProcessRow> {
    let mut found = Vec::new();
    source.scan(scope, &mut found).expect("/proc can be listed");
    found
}

pub(crate) fn watched(source: &mut LinuxSource, child: &Sleeper, watch: Watch) -> Reading {
    let key = source.look(child.pid()).expect("it lives").key;
    source.keep(key, watch).expect("it lives");
    source.read(key, false).expect("it lives")
}

/// Waits for `count` ends.
pub(crate) fn ends(
    source: &mut LinuxSource,
    woken: &Receiver<()>,
    count: usize,
) -> Vec<(ProcessKey, Option<ExitStatus>)> {
    let mut events = Vec::new();
    while events.len() < count {
        woken.recv_timeout(PATIENCE).expect("a wake");
        source.drain(&mut events);
    }
    let told = |event: &ProcessEvent| match *event {
        ProcessEvent::Exited { process, status } => (process, status),
        ref other => panic!("{other:?}"),
    };
    events.iter().map(told).collect()
}

/// Asks until there is an answer.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = monotonic();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(monotonic().since(started) < PATIENCE, "waited in vain: {what}");
        let (_open, nothing) = mpsc::channel::<()>();
        let _ = nothing.recv_timeout(Duration::from_millis(5));
    }
}

pub(crate) fn assert_gone<T>(result: Result<T, ReadError>) {
    match result {
        Err(ReadError::Gone) => {}
        Err(error) => panic!("not gone: {error}"),
        Ok(_) => panic!("not gone"),
    }
}

/// How many files of this process we have open.
pub(crate) fn files_open(process: &ProcessKey) -> usize {
    let directory = format!("/proc/{}", process.pid);
    let ours = fs::read_dir("/proc/self/fd").expect("our own");
    ours.flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter(|path| path.starts_with(Path::new(&directory)))
        .count()
}

/// The kernel's other account of it.
pub(crate) fn status_rss_bytes(pid: Pid) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

pub(crate) fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

/// A child that does not outlive its test.
pub(crate) struct Sleeper(pub(crate) Child);

impl Sleeper {
    pub(crate) fn start() -> Sleeper {
        Sleeper(Command::new("sleep").arg("1000").spawn().expect("sleep is there"))
    }

    /// One with this free pid; only root can choose, and others may be quicker.
    pub(crate) fn start_as(pid: Pid) -> std::io::Result<Option<Sleeper>> {
        for _ in 0..20 {
            fs::write("/proc/sys/kernel/ns_last_pid", (pid.get() - 1).to_string())?;
            let child = Sleeper::start();
            if child.pid() == pid {
                return Ok(Some(child));
            }
        }
        Ok(None)
    }

    pub(crate) fn pid(&self) -> Pid {
        pid(self.0.id())
    }

    /// Waits until it stopped or ended, without reaping it.
    pub(crate) fn until(&self, what: WaitIdOptions) {
        let id = WaitId::Pid(rustix::process::Pid::from_child(&self.0));
        waitid(id, what | WaitIdOptions::NOWAIT).expect("our child");
    }

    /// Ends and reaps it.
    pub(crate) fn end(&mut self) {
        let _ = self.0.kill();
        self.0.wait().expect("our child");
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A process whose memory lock is held in the kernel for as long as a test wants.
pub(crate) struct Holder {
    pub(crate) held: Pid,
    holder: Sleeper,
    _mounted: TempDir,
}

impl Holder {
    /// None where this host lets us mount no file system of our own (FUSE).
    pub(crate) fn start() -> Option<Holder> {
        let mounted = tempfile::tempdir().expect("a directory");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/linux_source/held.py");
        let mut command = Command::new("unshare");
        command.args(["--mount", "python3", script]).arg(mounted.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = Sleeper(command.spawn().expect("it starts"));
        let mut line = String::new();
        let said = holder.0.stdout.take().expect("it is a pipe");
        BufReader::new(said).read_line(&mut line).expect("it can be read");
        let held = line.trim().parse().ok()?;
        Some(Holder { held: pid(held), holder, _mounted: mounted })
    }

    /// Lets go of the lock, with which its process ends.
    pub(crate) fn let_go(&mut self) {
        drop(self.holder.0.stdin.take());
        self.holder.0.wait().expect("it ends");
    }
}
