//! A kill for want of memory, in a memory cgroup of its own.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use agent_monitor::model::{ExitStatus, ProcessKey};
use agent_monitor::process::linux::{LinuxSource, Machine};
use agent_monitor::process::{ProcessSource, Watch};

use super::children::{ENOUGH, ends, pid, source_and_wakes};

/// A cgroup with 24 MiB, where this host lets us make one.
struct Small(PathBuf);

impl Small {
    fn make() -> Option<Small> {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        mounts.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            let (point, kind, options) = (fields[1], fields[2], fields[3]);
            let limit = match kind {
                "cgroup" if options.split(',').any(|option| option == "memory") => "memory.limit_in_bytes",
                "cgroup2" => "memory.max",
                _ => return None,
            };
            let small = Small(PathBuf::from(point).join(format!("agent-monitor-test-{}", std::process::id())));
            fs::create_dir(&small.0).ok()?;
            fs::write(small.0.join(limit), "25165824").ok()?;
            // Swap would only make it slow; not every kernel counts it.
            let _ = fs::write(small.0.join("memory.swap.max"), "0");
            Some(small)
        })
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// The same of version 2, which few hosts of tests have: what such a host shows.
#[test]
fn a_kill_for_memory_where_the_cgroups_are_of_version_2() {
    let root = tempfile::tempdir().unwrap();
    let put = |path: &str, text: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    put("proc/sys/kernel/random/boot_id", "a-boot\n");
    put("proc/self/mounts", "proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0\n");
    put("proc/7/stat", "7 (agent) S 1 7 7 0 -1 4194304 0 0 0 0 5 2 0 0 20 0 1 0 1000 0 0 0\n");
    put("proc/7/statm", "900 5 3 1 0 9 0\n");
    put("proc/7/cgroup", "0::/user.slice/agent.scope\n");
    let events = |kills: u32| format!("low 0\nhigh 0\nmax 31\noom 2\noom_kill {kills}\noom_group_kill 0\n");
    let local = "sys/fs/cgroup/user.slice/agent.scope/memory.events.local";
    put("sys/fs/cgroup/user.slice/agent.scope/memory.events", &events(9));
    put(local, &events(1));
    let mut source = LinuxSource::rooted(root.path(), Machine::here(), ENOUGH).unwrap();
    let key = ProcessKey { pid: pid(7), start_ticks: 1000 };
    assert_eq!(source.oom_kills(key), None, "it is not watched yet");
    source.keep(key, Watch::Exit).unwrap();
    assert_eq!(source.oom_kills(key), Some(1), "its own cgroup's, not those of all below");
    put(local, &events(2));
    fs::remove_file(root.path().join("proc/7/cgroup")).unwrap();
    assert_eq!(source.oom_kills(key), Some(2), "also when the process is gone");
    fs::remove_file(root.path().join(local)).unwrap();
    assert_eq!(source.oom_kills(key), None);
}

#[test]
fn a_kill_for_memory_is_counted_by_its_cgroup_and_another_kill_is_not() {
    let Some(small) = Small::make() else {
        println!("NOT TESTED: this host lets us make no memory cgroup");
        return;
    };
    let mut struck = 0;
    for (command, expected) in [("exec tail /dev/zero", 1), ("kill -9 $$", 0)] {
        let (mut source, woken) = source_and_wakes(ENOUGH);
        let script = format!("echo $$ > {}/cgroup.procs; read x; {command}", small.0.display());
        let mut child = Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).spawn().unwrap();
        // It has joined once it reads: its own line is in the list then.
        while !fs::read_to_string(small.0.join("cgroup.procs"))
            .unwrap()
            .lines()
            .any(|line| line == child.id().to_string())
        {
            std::thread::yield_now();
        }
        let key = source.look(pid(child.id())).unwrap().key;
        source.keep(key, Watch::Exit).unwrap();
        let before = source.oom_kills(key).expect("its cgroup counts");
        writeln!(child.stdin.take().unwrap()).unwrap();
        let ended = ends(&mut source, &woken, 1);
        assert_eq!(ended[0], (key, Some(ExitStatus::Signal(9))));
        let kills = source.oom_kills(key).expect("known after its end too") - before;
        assert_eq!(kills, expected, "{command}");
        struck += kills;
        child.wait().unwrap();
    }
    assert_eq!(struck, 1, "the kernel killed for memory");
}
