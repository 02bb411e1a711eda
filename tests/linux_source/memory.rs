//! A kill for want of memory, in a memory cgroup of its own.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use agent_monitor::model::ExitStatus;
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
