//! A program in a control group (cgroup v2) of its own, so that what it costs is what the kernel charged to it and its children.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A running program, killed with its children when dropped.
pub struct Grouped {
    group: PathBuf,
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Grouped {
    /// Starts it; its input and output are ours.
    pub fn start(name: &str, command: &Command) -> Grouped {
        let group = root().join(format!("agent-monitor-peers-{}-{name}", std::process::id()));
        fs::create_dir(&group).unwrap_or_else(|error| panic!("{}: {error}; run as root", group.display()));
        let mut enter = Command::new("sh");
        enter.args(["-c", r#"echo $$ >"$0/cgroup.procs" && exec "$@""#]).arg(&group);
        enter.arg(command.get_program()).args(command.get_args());
        if let Some(directory) = command.get_current_dir() {
            enter.current_dir(directory);
        }
        let mut child = enter.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a shell");
        let (ask, answers) = (child.stdin.take().expect("ours"), BufReader::new(child.stdout.take().expect("ours")));
        Grouped { group, child, ask, answers }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Gives it a line, and returns the one it answers with.
    pub fn ask(&mut self, line: &str) -> String {
        writeln!(self.ask, "{line}").expect("it lives");
        self.hear()
    }

    /// Its next line.
    pub fn hear(&mut self) -> String {
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("a line");
        answer.trim().to_owned()
    }

    /// Processor time that was charged to it, microseconds.
    pub fn used_us(&self) -> f64 {
        let stat = fs::read_to_string(self.group.join("cpu.stat")).expect("cgroup v2");
        let used = stat.lines().find_map(|line| line.strip_prefix("usage_usec "));
        used.and_then(|text| text.parse().ok()).expect("a number")
    }

    /// Resident memory of all its processes, megabytes.
    pub fn resident_mb(&self) -> f64 {
        let pids = fs::read_to_string(self.group.join("cgroup.procs")).expect("cgroup v2");
        let status = |pid: &str| fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let resident = |status: String| {
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            line.map_or(0.0, |line| line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number"))
        };
        pids.lines().map(status).map(resident).sum::<f64>() * 1024.0 / 1e6
    }
}

impl Drop for Grouped {
    fn drop(&mut self) {
        let _ = fs::write(self.group.join("cgroup.kill"), "1");
        let _ = self.child.wait();
        // Its children are reaped by others.
        while fs::remove_dir(&self.group).is_err() && self.group.exists() {
            std::thread::yield_now();
        }
    }
}

fn root() -> PathBuf {
    let mounts = fs::read_to_string("/proc/mounts").expect("a /proc");
    let mut mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let mount = mounts.find(|mount| mount[2] == "cgroup2").expect("a cgroup v2 that is mounted");
    Path::new(mount[1]).to_owned()
}
