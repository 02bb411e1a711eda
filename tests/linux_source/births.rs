//! Forks, execs and exits as the kernel tells them.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;

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
        let mut child =
            Command::new("sh").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("there is a shell");
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
        woken.recv_timeout(PATIENCE).expect("a wake");
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
    source.release(key);
    shell.tell("true & wait; echo");
    let mut events = Vec::new();
    source.drain(&mut events);
    assert_eq!(events, [], "it was released");
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

/// The socket's buffer is flooded while the listener pauses between two looks.
#[test]
fn a_flood_is_either_heard_in_full_or_said_to_be_lost() {
    let (mut source, woken) = listening();
    let mut shell = Shell::start();
    let key = source.look(shell.pid()).unwrap().key;
    source.keep(key, Watch::Exit).unwrap();
    shell.tell("i=0; while [ $i -lt 3000 ]; do (:); i=$((i+1)); done; echo done");
    let complete = |events: &[ProcessEvent]| {
        let forks = events.iter().filter(|event| matches!(event, ProcessEvent::Forked { .. })).count();
        forks >= 3000 || events.contains(&ProcessEvent::Lost)
    };
    let events = until(&mut source, &woken, complete);
    println!("lost: {}", events.contains(&ProcessEvent::Lost));
}
