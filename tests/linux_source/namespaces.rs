//! Processes by what another pid namespace calls them.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::process::{Child, Command, Stdio};

use agent_monitor::clock::monotonic;
use agent_monitor::model::{InnerPid, ProcessRow, ProcessState};
use agent_monitor::process::linux::{LinuxSource, Machine};
use agent_monitor::process::{ProcessSource, ReadError};
use rustix::process::{WaitIdOptions, geteuid};

use super::children::{ENOUGH, PATIENCE, Sleeper, assert_gone, pid, source};

fn of_host() -> u64 {
    namespace(std::process::id())
}

/// As `readlink` shows it.
fn namespace(pid: u32) -> u64 {
    let link = fs::read_link(format!("/proc/{pid}/ns/pid")).unwrap();
    link.to_str().unwrap().strip_prefix("pid:[").unwrap().trim_end_matches(']').parse().unwrap()
}

/// A pid namespace of its own, whose process 1 is a shell that does what it is told, line by line.
struct Container {
    /// `unshare`, which waits for the shell and takes the namespace with it.
    outside: Child,
    said: BufReader<std::process::ChildStdout>,
    shell: u32,
}

impl Container {
    fn start() -> Container {
        let mut outside = Command::new("unshare")
            .args([
                "--pid",
                "--fork",
                "--kill-child",
                "sh",
                "-c",
                "echo ready; while read -r line; do eval \"$line\"; done",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(outside.stdout.take().unwrap());
        said.read_line(&mut String::new()).unwrap();
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", outside.id())).unwrap();
        let shell = children.trim().parse().unwrap();
        Container { outside, said, shell }
    }

    fn ask(&mut self, line: &str) -> String {
        writeln!(self.outside.stdin.as_mut().unwrap(), "{line}").unwrap();
        let mut said = String::new();
        self.said.read_line(&mut said).unwrap();
        said.trim().to_owned()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.outside.kill();
        let _ = self.outside.wait();
    }
}

#[test]
fn a_process_is_found_by_what_its_namespace_calls_it() {
    if !geteuid().is_root() {
        return eprintln!("not root: cannot make a pid namespace");
    }
    let (mut first, mut second) = (Container::start(), Container::start());
    let mut source = source();
    let (one, two) = (namespace(first.shell), namespace(second.shell));
    assert!(one != two && one != of_host());
    let inner = |namespace, number: u32| InnerPid { namespace, pid: pid(number) };
    // Both have a process 1.
    for container in [&first, &second] {
        let row = source.look_inside(inner(namespace(container.shell), 1)).unwrap();
        // What it does at the moment may change in between.
        let same = ProcessRow { age: row.age, state: row.state, ..source.look(pid(container.shell)).unwrap() };
        assert_eq!(row, same);
    }
    // One that began after the last list, known to the host by another number.
    let number: u32 = first.ask("sleep 1000 & echo $!").parse().unwrap();
    let late = monotonic() + PATIENCE;
    let found = loop {
        match source.look_inside(inner(one, number)) {
            Ok(row) => break row,
            // The list of a moment ago still counts.
            Err(ReadError::Gone) if monotonic() < late => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(found.parent, Some(pid(first.shell)));
    assert_ne!(found.key.pid.get(), number);
    assert_gone(source.look_inside(inner(two, 77)));
    assert_gone(source.look_inside(inner(1, 1)));
    // The host's own namespace calls a process as its /proc does, and one of another namespace is none of its.
    let mut child = Sleeper::start();
    let row = source.look_inside(inner(of_host(), child.pid().get())).unwrap();
    assert_eq!(row.key.pid, child.pid());
    assert_gone(source.look_inside(inner(of_host(), first.shell)));
    child.0.kill().unwrap();
    child.until(WaitIdOptions::EXITED);
    let zombie = source.look_inside(inner(of_host(), child.pid().get())).unwrap();
    assert_eq!(zombie.state, ProcessState::Zombie);
    child.end();
    assert_gone(source.look_inside(inner(of_host(), child.pid().get())));
    second.ask("exec sleep 0; echo");
    second.outside.wait().unwrap();
    assert_gone(source.look_inside(inner(two, 1)));
}

/// `/proc` as it may look, to one who may not see everything too.
#[test]
fn namespaces_as_files() {
    let root = tempfile::tempdir().unwrap();
    let put = |number: u32, inode: &str, status: &str| {
        let folder = root.path().join(format!("proc/{number}"));
        fs::create_dir_all(folder.join("ns")).unwrap();
        fs::write(folder.join("stat"), format!("{number} (x) S 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 0 0 1 0 {number} 0 0 0\n"))
            .unwrap();
        fs::write(folder.join("status"), status).unwrap();
        if !inode.is_empty() {
            symlink(inode, folder.join("ns/pid")).unwrap();
        }
    };
    fs::create_dir_all(root.path().join("proc/sys/kernel/random")).unwrap();
    fs::write(root.path().join("proc/sys/kernel/random/boot_id"), "a-boot\n").unwrap();
    let groups = "7 ".repeat(60_000);
    put(10, "pid:[100]", "Name:\tx\nNSpid:\t10\n");
    put(20, "pid:[200]", &format!("Name:\tNSpid:\\nNSpid:\t9\nGroups:\t{groups}\nNStgid:\t20\t5\nNSpid:\t20\t5\n"));
    put(30, "pid:[300]", "NSpid:\t30\t5\t1\n");
    put(40, "pid:[200]", "NSpid:\t40\tx\n");
    put(50, "nonsense", "NSpid:\t50\t6\n");
    put(60, "pid:[200]", "no such line\n");
    put(70, "", "NSpid:\t70\t8\n");
    let machine = Machine { page_bytes: 4096, ticks_per_second: 100.try_into().unwrap() };
    let mut source = LinuxSource::rooted(root.path(), machine, ENOUGH).unwrap();
    let mut look =
        |namespace, number| source.look_inside(InnerPid { namespace, pid: pid(number) }).map(|row| row.key.pid.get());
    for (namespace, number, expected) in [(100, 10, 10), (200, 5, 20), (300, 1, 30)] {
        assert_eq!(look(namespace, number).unwrap(), expected, "{number} of {namespace}");
    }
    for (namespace, number) in [(100, 5), (200, 20), (200, 1), (300, 5), (200, 40), (200, 60), (0, 0x7fff_ffff), (1, 8)]
    {
        assert_gone(look(namespace, number));
    }
    // What its namespace is cannot be known, but that it is called so in one can.
    let denied = look(200, 6).unwrap_err();
    assert!(matches!(&denied, ReadError::Denied { path } if path.ends_with("50/ns/pid")), "{denied}");
}
