//! What the service manager hears, and its files.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use rustix::process::Signal;

use crate::harness::*;

/// A service manager's ear.
struct Manager(UnixDatagram);

impl Manager {
    fn at(path: &Path) -> Manager {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Manager(socket)
    }

    fn next(&self) -> Option<String> {
        let mut buffer = [0; 4096];
        let length = self.0.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
    }

    /// Waits for a message with this line.
    fn hear(&self, line: &str) -> String {
        loop {
            let message = self.next().unwrap_or_else(|| panic!("{line} was not told"));
            if message.lines().any(|told| told == line) {
                return message;
            }
        }
    }

    /// Whether the watchdog is fed within `span`, after what is already told.
    fn is_fed(&self, span: Duration) -> bool {
        self.0.set_nonblocking(true).unwrap();
        while self.next().is_some() {}
        self.0.set_nonblocking(false).unwrap();
        self.0.set_read_timeout(Some(span)).unwrap();
        let fed = std::iter::from_fn(|| self.next()).any(|message| message.contains("WATCHDOG=1"));
        self.0.set_read_timeout(Some(PATIENCE)).unwrap();
        fed
    }
}

fn managed(config: &str, watchdog: Option<Duration>) -> (Daemon, Manager) {
    let place = Place::new(config);
    let path = place.path("notify");
    let manager = Manager::at(&path);
    let daemon = Daemon::start(place, |command| {
        command.env("NOTIFY_SOCKET", &path);
        if let Some(interval) = watchdog {
            command.env("WATCHDOG_USEC", interval.as_micros().to_string());
        }
    });
    (daemon, manager)
}

#[test]
fn it_hears_of_readiness_reloads_and_the_end() {
    let (daemon, manager) = managed("", None);
    let message = manager.hear("READY=1");
    assert!(message.contains("STATUS=watching 0 agents"), "{message}");
    assert!(daemon.place.path("run/endpoint.json").exists());
    assert_eq!(get(&daemon.url, "/healthz", "localhost", "").0, 200, "ready is ready");
    daemon.signal(Signal::HUP);
    let message = manager.hear("RELOADING=1");
    let moment = message.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).unwrap();
    assert!(moment.parse::<u64>().unwrap() > 0);
    manager.hear("READY=1");
    daemon.reload("broken");
    manager.hear("RELOADING=1");
    manager.hear("READY=1");
    daemon.signal(Signal::TERM);
    manager.hear("STOPPING=1");
}

/// One thread of a process, stopped by its tracer: the others run on.
struct Frozen(Pid);

impl Frozen {
    /// `None` where the system lets nobody trace.
    fn new(process: u32, thread: &str) -> Option<Frozen> {
        let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap().map(|entry| entry.unwrap().path());
        let named = |task: &std::path::PathBuf| std::fs::read_to_string(task.join("comm")).unwrap().trim() == thread;
        let task = tasks.into_iter().find(named).unwrap_or_else(|| panic!("no thread {thread}"));
        let tid = Pid::from_raw(task.file_name().unwrap().to_str().unwrap().parse().unwrap());
        match ptrace::seize(tid, ptrace::Options::empty()) {
            Err(Errno::EPERM | Errno::ENOSYS) => return None,
            seized => seized.unwrap(),
        }
        ptrace::interrupt(tid).unwrap();
        waitpid(tid, Some(WaitPidFlag::__WALL)).unwrap();
        Some(Frozen(tid))
    }

    fn thaw(self) {
        drop(self);
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // A process with a thread that its tracer holds cannot even be killed and waited for.
        let thawed = ptrace::detach(self.0, None);
        assert!(thawed.is_ok() || std::thread::panicking(), "{thawed:?}");
    }
}

#[test]
fn the_watchdog_is_fed_while_watching_goes_on_and_the_api_answers() {
    let interval = Duration::from_millis(800);
    let (daemon, manager) = managed(&config(""), Some(interval));
    manager.hear("READY=1");
    for _ in 0..3 {
        assert!(manager.is_fed(PATIENCE));
    }
    let process = daemon.child.id();
    let freeze = |thread| {
        let frozen = Frozen::new(process, thread);
        if frozen.is_none() {
            eprintln!("nobody may trace here: not tried");
        }
        frozen
    };
    // The disk has no part in it.
    let Some(writer) = freeze("store-writer") else { return };
    for _ in 0..4 {
        assert!(manager.is_fed(PATIENCE), "the writer hangs");
    }
    writer.thaw();
    let engine = freeze("engine").unwrap();
    daemon.hear("the watchdog is not fed");
    assert!(!manager.is_fed(interval * 4), "the engine hangs");
    engine.thaw();
    daemon.hear("the watchdog is fed again");
    assert!(manager.is_fed(PATIENCE));
    let api = freeze("agent-monitor").unwrap();
    assert!(!manager.is_fed(interval * 4), "the API hangs");
    api.thaw();
    assert!(manager.is_fed(PATIENCE));
    daemon.stop();
}

#[test]
fn no_socket_no_watchdog() {
    let (daemon, manager) = managed(&config(""), Some(Duration::from_millis(500)));
    assert!(manager.is_fed(PATIENCE));
    std::fs::remove_file(daemon.place.path("run/agent-monitor.sock")).unwrap();
    daemon.hear("the watchdog is not fed");
    assert!(!manager.is_fed(Duration::from_secs(2)));
}

fn file(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

#[test]
fn the_unit_is_sound() {
    let unit = file("systemd/agent-monitor.service");
    for line in [
        "Type=notify",
        "ExecStart=/usr/bin/agent-monitor run",
        "WatchdogSec=30",
        "Restart=on-failure",
        "RestartPreventExitStatus=78",
        "StateDirectory=agent-monitor",
        "RuntimeDirectory=agent-monitor",
        "LimitNOFILE=65536",
    ] {
        assert!(unit.lines().any(|told| told == line), "{line}");
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agent-monitor.service");
    std::fs::write(&path, unit.replace("/usr/bin/agent-monitor", env!("CARGO_BIN_EXE_agent-monitor"))).unwrap();
    match Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output() {
        Ok(output) => assert!(output.status.success() && output.stderr.is_empty(), "{output:?}"),
        Err(error) => eprintln!("no systemd-analyze here ({error}): not verified"),
    }
}

#[test]
fn the_property_list_is_well_formed() {
    let text = file("launchd/agent-monitor.plist");
    let mut open = Vec::new();
    let mut words = Vec::new();
    for part in text.split('<').skip(1) {
        let (tag, after) = part.split_once('>').unwrap();
        match tag {
            _ if tag.starts_with(['?', '!']) || tag.ends_with('/') => {}
            _ if tag.starts_with('/') => assert_eq!(open.pop(), Some(&tag[1..]), "{part}"),
            _ => {
                open.push(tag.split(' ').next().unwrap());
                words.push(after.trim());
            }
        }
    }
    assert_eq!(open, [""; 0]);
    for word in ["ProgramArguments", "run", "KeepAlive", "SuccessfulExit", "65536"] {
        assert!(words.contains(&word), "{word}: {words:?}");
    }
}
