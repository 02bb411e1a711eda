//! Forks, execs and exits as the kernel tells them.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_monitor::clock::monotonic;
use agent_monitor::model::{ExitStatus, Pid, ProcessEvent};
use agent_monitor::process::linux::{Forks, LinuxSource};
use agent_monitor::process::{ProcessSource, Watch};

use super::children::{ENOUGH, PATIENCE, listener, pid};

/// A shell that does what it is told, line by line, and says when it has done it.
struct Shell {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Shell {
    fn start() -> Shell {
        Shell::run(&mut Command::new("sh"))
    }

    /// One that such a script of Python makes of itself.
    fn of_python(script: &str) -> Shell {
        Shell::run(Command::new("python3").args(["-c", script]))
    }

    fn run(command: &mut Command) -> Shell {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("there is one");
        let said = BufReader::new(child.stdout.take().unwrap());
        Shell { child, said }
    }

    fn pid(&self) -> Pid {
        pid(self.child.id())
    }

    /// Does it and returns the last word that it says.
    fn tell(&mut self, command: &str) -> String {
        writeln!(self.child.stdin.as_mut().unwrap(), "{command}").unwrap();
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listening() -> (LinuxSource, Receiver<()>) {
    let (wake, woken) = listener();
    let source = LinuxSource::new(ENOUGH, Forks::Told, wake).unwrap();
    assert!(source.tells_forks(), "a Linux of 6.6 or newer, in its own namespaces, tells everybody");
    (source, woken)
}

/// Drains until `enough`.
fn until(
    source: &mut LinuxSource,
    woken: &Receiver<()>,
    mut enough: impl FnMut(&[ProcessEvent]) -> bool,
) -> Vec<ProcessEvent> {
    let mut events = Vec::new();
    loop {
        source.drain(&mut events);
        if enough(&events) {
            return events;
        }
        woken.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no wake; so far {events:?}"));
    }
}

/// Those that descend from `root`, by the forks that were told.
fn descendants(root: Pid, events: &[ProcessEvent]) -> BTreeSet<Pid> {
    let mut known = BTreeSet::from([root]);
    for event in events {
        if let ProcessEvent::Forked { parent, child, .. } = event {
            assert!(known.contains(parent), "of strangers nothing is told: {parent} started {child}");
            known.insert(*child);
        }
    }
    known.remove(&root);
    known
}

#[test]
fn a_daemon_that_belongs_to_process_one_at_once_is_still_told() {
    let (mut source, woken) = listening();
    let mut shell = Shell::start();
    let key = source.look(shell.pid()).unwrap().key;
    source.keep(key, Watch::Exit).unwrap();
    let mut found = 0;
    for _ in 0..20 {
        // Two shells that end at once, each leaving the next behind.
        let said = shell.tell("sh -c 'sh -c \"setsid sleep 100 >/dev/null & echo \\$!\"'");
        let orphan = Pid::new(said.parse().unwrap()).unwrap();
        let events = until(&mut source, &woken, |events| descendants(key.pid, events).contains(&orphan));
        found += usize::from(descendants(key.pid, &events).len() >= 2);
        Command::new("kill").args(["-9", &said]).status().unwrap();
    }
    assert_eq!(found, 20);
}

#[test]
fn strangers_are_not_told_and_execs_are() {
    let (mut source, woken) = listening();
    let (mut shell, mut stranger) = (Shell::start(), Shell::start());
    let key = source.look(shell.pid()).unwrap().key;
    source.keep(key, Watch::Exit).unwrap();
    for _ in 0..50 {
        stranger.tell("true & wait; echo");
    }
    let said = shell.tell("sleep 0 & echo $!; wait");
    let child = Pid::new(said.parse().unwrap()).unwrap();
    let execed = |events: &[ProcessEvent]| events.contains(&ProcessEvent::Execed(child));
    let events = until(&mut source, &woken, execed);
    assert_eq!(descendants(key.pid, &events), BTreeSet::from([child]));
}

/// What it started may be heard of later than that nobody watches it any more: that is still told, its end is not.
#[test]
fn the_end_of_one_that_was_released_is_not_told() {
    let (mut source, woken) = listening();
    let mut shell = Shell::start();
    let (released, kept) = (Shell::start(), Shell::start());
    let key_of = |source: &mut LinuxSource, shell: &Shell| source.look(shell.pid()).unwrap().key;
    let keys = [&shell, &released, &kept].map(|shell| key_of(&mut source, shell));
    for key in keys {
        source.keep(key, Watch::Exit).unwrap();
    }
    // Their own births are heard by then.
    let mut fork = || Pid::new(shell.tell("true & echo $!; wait").parse().unwrap()).unwrap();
    let first = fork();
    until(&mut source, &woken, |events| descendants(keys[0].pid, events).contains(&first));
    source.release(keys[0]);
    source.release(keys[1]);
    let second = fork();
    drop(released);
    drop(kept);
    let is_end = |event: &ProcessEvent| matches!(event, ProcessEvent::Exited { .. });
    let events = until(&mut source, &woken, |events| {
        events.iter().any(is_end) && descendants(keys[0].pid, events).contains(&second)
    });
    let status = Some(ExitStatus::Signal(9));
    // Who waits for an end and who listens may both tell it.
    let mut ends: Vec<_> = events.into_iter().filter(is_end).collect();
    ends.dedup();
    assert_eq!(ends, [ProcessEvent::Exited { process: keys[2], status }]);
}

#[test]
fn the_end_of_a_root_comes_with_its_status() {
    let (mut source, woken) = listening();
    let mut child = Command::new("sh").args(["-c", "read x; exit 7"]).stdin(Stdio::piped()).spawn().unwrap();
    let key = source.look(pid(child.id())).unwrap().key;
    source.keep(key, Watch::Exit).unwrap();
    child.stdin.take();
    let status = Some(ExitStatus::Code(7));
    let told = ProcessEvent::Exited { process: key, status };
    until(&mut source, &woken, |events| events.contains(&told));
    child.wait().unwrap();
}

/// The first thread ends, and the process goes on: another thread runs another program in its place, or goes on alone.
#[test]
fn the_end_of_the_first_thread_is_not_that_of_the_process() {
    const EXEC: &str = "
import os, threading
threading.Thread(target=lambda: os.execv('/bin/sh', ['sh'])).start()
threading.Event().wait()
";
    const ALONE: &str = "
import ctypes, os, sys, threading
def obey():
    for line in iter(sys.stdin.readline, ''):
        if line.startswith('exit'): os._exit(int(line[5:]))
        os.system(line)
threading.Thread(target=obey).start()
exit = {'x86_64': 60, 'aarch64': 93}[os.uname().machine]
ctypes.CDLL(None).syscall(exit, 3)
";
    let goes_on = |script| {
        let (mut source, woken) = listening();
        let mut shell = Shell::of_python(script);
        let key = source.look(shell.pid()).unwrap().key;
        source.keep(key, Watch::Exit).unwrap();
        let of_it = |event: &ProcessEvent| matches!(event, ProcessEvent::Exited { process, .. } if *process == key);
        // Until it has become what it is to be, and then for longer than the listener ever pauses.
        for _ in 0..40 {
            let said = shell.tell("sleep 0.01 & echo $!; wait");
            let child = Pid::new(said.parse().unwrap()).unwrap();
            let is_told =
                |event: &ProcessEvent| matches!(event, ProcessEvent::Forked { child: of, .. } if *of == child);
            let events = until(&mut source, &woken, |events| events.iter().any(is_told));
            assert!(!events.iter().any(of_it), "{script}: {events:?}");
        }
        writeln!(shell.child.stdin.as_mut().unwrap(), "exit 5").unwrap();
        let events = until(&mut source, &woken, |events| events.iter().any(of_it));
        let status = events.iter().find_map(|event| match event {
            ProcessEvent::Exited { status, .. } => *status,
            _ => None,
        });
        assert_eq!(status, Some(ExitStatus::Code(5)), "{script}: {events:?}");
    };
    std::thread::scope(|scope| {
        for script in [EXEC, ALONE] {
            scope.spawn(move || goes_on(script));
        }
    });
}

/// How many messages the kernel could not give the sockets of the proc connector in this process: `Drops` of proc(5),
/// `/proc/net/netlink`.
fn drops() -> u64 {
    let own = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let own: BTreeSet<String> = own
        .filter_map(|entry| {
            Some(fs::read_link(entry.path()).ok()?.to_str()?.strip_prefix("socket:[")?.replace(']', ""))
        })
        .collect();
    let sockets = fs::read_to_string("/proc/net/netlink").unwrap();
    let fields = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let ours = fields.filter(|fields| fields[1] == "11" && own.contains(fields[9]));
    ours.map(|fields| fields[8].parse::<u64>().unwrap()).sum()
}

/// The listener is held in its wake while the socket's buffer overflows.
#[test]
fn what_does_not_fit_the_socket_is_said_to_be_lost() {
    let (tell, woken) = mpsc::channel();
    let (tell, gate) = (Mutex::new(tell), Arc::new(Mutex::new(())));
    let held = Arc::clone(&gate);
    let wake = move || {
        let _ = tell.lock().unwrap().send(());
        drop(held.lock());
    };
    let mut source = LinuxSource::new(ENOUGH, Forks::Told, Arc::new(wake)).unwrap();
    let (mut shell, mut stranger) = (Shell::start(), Shell::start());
    let key = source.look(shell.pid()).unwrap().key;
    source.keep(key, Watch::Exit).unwrap();
    let late = monotonic() + 3 * PATIENCE;
    let mut struck = 0;
    // Another test's socket may have been the one that overflowed.
    while struck == 0 {
        assert!(monotonic() < late, "nothing was lost");
        let hold = gate.lock().unwrap();
        shell.tell("true & wait; echo");
        woken.recv_timeout(PATIENCE).expect("the listener is where it can be held");
        let before = drops();
        while drops() == before && monotonic() < late {
            stranger.tell("i=0; while [ $i -lt 500 ]; do (:); i=$((i+1)); done; echo done");
        }
        drop(hold);
        // As soon as there is room again, forks are told again.
        let mut events = Vec::new();
        let mut told = false;
        while !told {
            assert!(monotonic() < late, "nothing is told any more");
            let said = shell.tell("true & echo $!; wait");
            let child = Pid::new(said.parse().unwrap()).unwrap();
            while !told && woken.recv_timeout(Duration::from_secs(1)).is_ok() {
                source.drain(&mut events);
                let of_it =
                    |event: &ProcessEvent| matches!(event, ProcessEvent::Forked { child: of, .. } if *of == child);
                told = events.iter().any(of_it);
            }
        }
        struck += events.iter().filter(|event| **event == ProcessEvent::Lost).count();
    }
    println!("lost {struck} times");
}
