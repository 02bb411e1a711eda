//! The program itself, as its users run it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::sys::time::TimeVal;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use serde_json::json;

use super::herd::Herd;

/// What is measured.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_agent-monitor");

/// A daemon of its own state, which watches a herd from a registry file.
pub(crate) struct Daemon {
    child: Child,
    directory: tempfile::TempDir,
    clock: ClockId,
    /// Of its endpoint.
    pub(crate) address: SocketAddr,
}

/// The file that names the herd.
const REGISTRY: &str = "agents.json";

/// The type of the events that are told.
const TOLD: &str = "task";

/// What it holds, in bytes and numbers of descriptors.
pub(crate) struct Held {
    pub(crate) resident_bytes: u64,
    /// Of `/proc`.
    pub(crate) files: u64,
    pub(crate) pidfds: u64,
}

impl Daemon {
    /// Started and bound, without a configuration, at this interval; it has not looked at anything yet.
    pub(crate) fn start(herd: &Herd, interval: &str) -> Daemon {
        Daemon::configured(herd, interval, "")
    }

    /// The same with this configuration.
    pub(crate) fn configured(herd: &Herd, interval: &str, config: &str) -> Daemon {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let record = |(number, pid): (usize, &u32)| {
            json!({"agentId": format!("agent-{number:05}"), "name": format!("Agent {number}"), "status": "online",
                   "messageCount": number, "metadata": {"pid": pid, "model": "none", "role": "bench"}})
        };
        let records: Vec<_> = herd.pids.iter().enumerate().map(record).collect();
        fs::write(path(REGISTRY), json!(records).to_string()).unwrap();
        // Nothing of this machine's own configuration.
        fs::write(path("agent-monitor.toml"), config).unwrap();
        let mut child = Command::new(PROGRAM)
            .args(["run", "--interval", interval, "--listen", "127.0.0.1:0"])
            .arg("--config")
            .arg(path("agent-monitor.toml"))
            .arg("--registry")
            .arg(path(REGISTRY))
            .arg("--state-dir")
            .arg(path("state"))
            .arg("--socket")
            .arg(path("socket"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(path("log")).unwrap())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        let address = url.trim().strip_prefix("http://").and_then(|rest| rest.strip_suffix('/')?.parse().ok());
        let Some(address) = address else {
            let _ = child.kill();
            panic!("the daemon did not start: {}", fs::read_to_string(path("log")).unwrap_or_default());
        };
        Daemon { clock: ClockId::pid_cpu_clock_id(pid_of(&child)).unwrap(), child, directory, address }
    }

    /// Its registry.
    pub(crate) fn registry(&self) -> PathBuf {
        self.directory.path().join(REGISTRY)
    }

    /// Processor time of all its threads, nanoseconds.
    pub(crate) fn cpu_ns(&self) -> i64 {
        let at = clock_gettime(self.clock).unwrap();
        at.tv_sec() * 1_000_000_000 + at.tv_nsec()
    }

    /// Processor time that its threads of this name have used, nanoseconds: the first number of `schedstat`,
    /// Documentation/scheduler/sched-stats.rst.
    pub(crate) fn thread_cpu_ns(&self, name: &str) -> u64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let text = |task: &fs::DirEntry, file: &str| fs::read_to_string(task.path().join(file)).unwrap_or_default();
        let named = tasks.flatten().filter(|task| text(task, "comm").trim() == name);
        named.map(|task| text(&task, "schedstat").split(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    /// How often one of its threads went to sleep of itself: `voluntary_ctxt_switches` of proc_pid_status(5).
    pub(crate) fn wake_ups(&self) -> u64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let text = |task: fs::DirEntry| fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let slept = |status: String| {
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap_or("0");
            line.trim().parse::<u64>().unwrap()
        };
        tasks.flatten().map(text).map(slept).sum()
    }

    /// Tells it of an event by the command, and returns the processor time that the command took.
    pub(crate) fn tell_event(&self) -> Duration {
        let before = children_cpu();
        let status = Command::new(PROGRAM)
            .arg("event")
            .arg("--socket")
            .arg(self.directory.path().join("socket"))
            .args(["agent-00000", TOLD, "The parser is rewritten"])
            .status()
            .unwrap();
        assert!(status.success(), "{status}: {}", self.log());
        children_cpu() - before
    }

    /// How many of those are stored.
    pub(crate) fn events_told(&self) -> u64 {
        self.ask(&format!("select count(*) from agent_events where event_type = '{TOLD}'"))
    }

    /// The processes of all agents at the last tick.
    pub(crate) fn processes(&self) -> u64 {
        self.ask(
            "select sum(process_count) from agent_metrics where timestamp = (select max(timestamp) from agent_metrics)",
        )
    }

    /// How many samples have memory added up exactly.
    pub(crate) fn exact_samples(&self) -> u64 {
        self.ask("select count(*) from agent_metrics where memory_method = 'pss'")
    }

    /// A number from its database.
    fn ask(&self, sql: &str) -> u64 {
        let database = self.directory.path().join("state/agent-monitor.db");
        rusqlite::Connection::open(database).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// What it holds now.
    pub(crate) fn held(&self) -> Held {
        let folder = format!("/proc/{}", self.child.id());
        let links =
            fs::read_dir(format!("{folder}/fd")).unwrap().filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        let links: Vec<String> = links.map(|link| link.to_string_lossy().into_owned()).collect();
        let count = |fits: &dyn Fn(&String) -> bool| links.iter().filter(|link| fits(link)).count() as u64;
        Held {
            resident_bytes: resident_kib(&fs::read_to_string(format!("{folder}/status")).unwrap()) * 1024,
            files: count(&|link| link.starts_with("/proc/")),
            pidfds: count(&|link| link.contains("pidfd")),
        }
    }

    /// Stops it in order and returns how many rows of history it wrote: what it was measured at, it did.
    pub(crate) fn stop(mut self) -> u64 {
        kill(pid_of(&self.child), Signal::SIGTERM).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.log());
        self.ask("select count(*) from agent_metrics where cpu_seconds is not null")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(child.id().try_into().unwrap())
}

fn resident_kib(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Processor time of all children that ended and were waited for: getrusage(2).
fn children_cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let span = |at: TimeVal| Duration::new(at.tv_sec().unsigned_abs(), 1000 * u32::try_from(at.tv_usec()).unwrap());
    span(usage.user_time()) + span(usage.system_time())
}
