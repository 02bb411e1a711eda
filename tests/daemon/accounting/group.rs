//! A control group (cgroup v2), and what the kernel charged to it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::until;
use crate::tree::Tree;

/// A control group of its own, removed when dropped.
pub(super) struct Group(PathBuf);

impl Group {
    /// None where there is no cgroup v2 that we may write to.
    pub(super) fn new(name: &str) -> Option<Group> {
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let root = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>()).find(|line| line[2] == "cgroup2")?[1];
        let path = Path::new(root).join(format!("agent-monitor-test-{}-{name}", std::process::id()));
        fs::create_dir(&path).ok()?;
        let group = Group(path);
        group.read("cpu.stat").map(|_| group)
    }

    /// A tree that is in the group from its first instruction on.
    pub(super) fn tree(&self, command: &mut Command) -> Tree {
        let mut enter = Command::new("sh");
        enter.args(["-c", r#"echo $$ >"$0/cgroup.procs" && exec "$@""#]).arg(&self.0);
        Tree::of(enter.arg(command.get_program()).args(command.get_args()))
    }

    /// What the kernel charged to it, microseconds.
    pub(super) fn used_us(&self) -> f64 {
        let stat = self.read("cpu.stat").unwrap();
        stat.lines().find_map(|line| line.strip_prefix("usage_usec ")).unwrap().parse().unwrap()
    }

    /// What `/proc/PID/stat` shows of its processes but one: what they used and what they waited for, microseconds.
    pub(super) fn shown_us(&self, but: u32) -> f64 {
        let pids = self.read("cgroup.procs").unwrap();
        let others = pids.lines().filter_map(|pid| pid.parse().ok()).filter(|pid| *pid != but);
        others.map(counters_us).sum()
    }

    fn read(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.0.join(file)).ok()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
        until("the group is empty", || fs::remove_dir(&self.0).map_err(|error| error.to_string()));
    }
}

/// A clock tick, the unit of the times in `/proc/PID/stat`, microseconds.
pub(super) fn tick_us() -> f64 {
    1e6 / rustix::param::clock_ticks_per_second() as f64
}

/// `utime`, `stime`, `cutime` and `cstime` of a process together, microseconds; 0 if it is gone.
fn counters_us(pid: u32) -> f64 {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return 0.0 };
    let fields = stat.rsplit_once(')').unwrap().1.split(' ').skip(12).take(4);
    fields.map(|field| field.parse::<f64>().unwrap()).sum::<f64>() * tick_us()
}

/// What the kernel charged to a process of one thread, microseconds: sched-stats, `/proc/PID/schedstat`.
pub(super) fn scheduled_us(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e3
}
