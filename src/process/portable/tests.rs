//! Held to the source of Linux, about the same real processes.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustix::process::{WaitId, WaitIdOptions, waitid};

use super::*;
use crate::process::linux::{Forks, LinuxSource};

/// A child that does not outlive its test.
struct Kept(Child);

impl Kept {
    fn start(program: &str, arguments: &[&str]) -> Kept {
        Kept(Command::new(program).args(arguments).stdin(Stdio::piped()).spawn().unwrap())
    }

    fn pid(&self) -> Pid {
        Pid::new(self.0.id().into()).unwrap()
    }

    /// Waits until it stopped or ended, without reaping it.
    fn until(&self, what: WaitIdOptions) {
        waitid(WaitId::Pid(rustix::process::Pid::from_child(&self.0)), what | WaitIdOptions::NOWAIT).unwrap();
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn both() -> (PortableSource, LinuxSource) {
    (PortableSource::new().unwrap(), LinuxSource::new(64, Forks::Scanned, Arc::new(|| ())).unwrap())
}

fn rows(source: &mut dyn ProcessSource, scope: Scan) -> Vec<ProcessRow> {
    let mut found = Vec::new();
    source.scan(scope, &mut found).unwrap();
    found
}

/// All but what each counts in its own way: when it began, and how long that is ago.
fn same(portable: &ProcessRow, linux: &ProcessRow) {
    let key = ProcessKey { start_ticks: linux.key.start_ticks, ..portable.key };
    assert_eq!(&ProcessRow { key, age: linux.age, ..portable.clone() }, linux);
    let (low, high) = (linux.age, linux.age + Duration::from_secs(3));
    assert!((low..=high).contains(&portable.age), "{:?}, in truth {:?}", portable.age, linux.age);
}

#[test]
fn who_is_who() {
    let (mut portable, mut linux) = both();
    let child = Kept::start("sleep", &["1000"]);
    // Its name changes when it becomes the program that it is to be.
    child.until_it_is("sleep", &mut linux);
    same(&portable.look(child.pid()).unwrap(), &linux.look(child.pid()).unwrap());
    let ourselves = Pid::new(std::process::id().into()).unwrap();
    assert_eq!(portable.look(child.pid()).unwrap().parent, Some(ourselves));
    assert_eq!(portable.own_pid(), Some(ourselves));
    let nobody = Pid::new(i32::MAX.into()).unwrap();
    assert!(matches!(portable.look(nobody), Err(ReadError::Gone)));
    assert!(matches!(portable.look_inside(InnerPid { namespace: 1, pid: ourselves }), Err(ReadError::Gone)));
}

/// Whether it has become the program that it is to be, and waits: from then on every look shows the same.
fn rests_as(row: &ProcessRow, name: &str) -> bool {
    &*row.name == name && row.state == ProcessState::Sleeping
}

impl Kept {
    fn until_it_is(&self, name: &str, source: &mut dyn ProcessSource) {
        let begun = monotonic();
        while !rests_as(&source.look(self.pid()).unwrap(), name) {
            assert!(monotonic().since(begun) < Duration::from_secs(30), "it never became {name}, or never rested");
            std::thread::yield_now();
        }
    }
}

/// A tree of a shell and what it started, found by both with the same members and parents.
#[test]
fn a_tree() {
    let (mut portable, mut linux) = both();
    // What it started ends with it, however this test does: its input is at an end then.
    let shell = Kept::start("sh", &["-c", "exec 3<&0; cat <&3 & cat <&3 & exec cat"]);
    let members = |found: Vec<ProcessRow>| {
        let mut found: Vec<ProcessRow> = found.into_iter().filter(|row| row.parent == Some(shell.pid())).collect();
        found.sort_by_key(|row| row.key.pid);
        found
    };
    let begun = monotonic();
    let seen = loop {
        let seen = members(rows(&mut linux, Scan::All));
        if seen.len() == 2 && seen.iter().all(|row| rests_as(row, "cat")) {
            break seen;
        }
        assert!(monotonic().since(begun) < Duration::from_secs(30), "{seen:?}");
    };
    let found = members(rows(&mut portable, Scan::All));
    assert_eq!(found.len(), 2, "{found:?}");
    found.iter().zip(&seen).for_each(|(portable, linux)| same(portable, linux));
}

/// Everyone that is there for a while is found by both, and no thread is taken for a process, also when threads were
/// counted just before.
#[test]
fn a_scan_finds_who_is_there() {
    let (mut portable, mut linux) = both();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || ended.recv().is_err());
    let pids = |found: Vec<ProcessRow>| found.iter().map(|row| row.key.pid).collect::<BTreeSet<_>>();
    let ourselves = portable.own_pid().unwrap();
    let key = portable.look(ourselves).unwrap().key;
    assert!(portable.read(key, false).unwrap().threads > Some(1));
    let before = pids(rows(&mut linux, Scan::All));
    let found = pids(rows(&mut portable, Scan::All));
    let after = pids(rows(&mut linux, Scan::All));
    let stayed: Vec<_> = before.intersection(&after).copied().collect();
    assert!(stayed.len() > 1 && stayed.iter().all(|pid| found.contains(pid)), "{stayed:?} {found:?}");
    let task =
        |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name().to_str().unwrap().parse().unwrap();
    let ours: BTreeSet<Pid> = std::fs::read_dir("/proc/self/task").unwrap().map(task).filter_map(Pid::new).collect();
    assert!(ours.len() > 1);
    assert_eq!(ours.intersection(&found).copied().collect::<Vec<_>>(), [ourselves], "threads are no processes");
    drop(end);
    assert!(thread.join().unwrap());
    let new = rows(&mut portable, Scan::New);
    assert!(new.iter().all(|row| !found.contains(&row.key.pid)), "shown before");
    let child = Kept::start("sleep", &["1000"]);
    portable.look(child.pid()).unwrap();
    let times = |found: Vec<ProcessRow>| found.iter().filter(|row| row.key.pid == child.pid()).count();
    assert_eq!(times(rows(&mut portable, Scan::New)), 1, "a look is no scan");
    assert_eq!(times(rows(&mut portable, Scan::New)), 0);
    assert_eq!(times(rows(&mut portable, Scan::All)), 1);
}

/// Stopped after some work, so that both read the same moment: processor time to the tick of the kernel's account, resident
/// memory to the byte (not the kilobyte of 1,000 that such crates had), threads, parent and state.
#[test]
fn counters() {
    let (mut portable, mut linux) = both();
    let burn = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; kill -STOP $$";
    let child = Kept::start("sh", &["-c", burn]);
    child.until(WaitIdOptions::STOPPED);
    let (ours, theirs) = (portable.look(child.pid()).unwrap().key, linux.look(child.pid()).unwrap().key);
    portable.keep(ours, Watch::Exit).unwrap();
    let (found, truth) = (portable.read(ours, true).unwrap(), linux.read(theirs, false).unwrap());
    assert!(truth.cpu.own_us >= 50_000, "it burnt only {} µs", truth.cpu.own_us);
    assert_eq!(found.cpu, Cpu { children_us: 0, ..truth.cpu });
    assert!(truth.rss_bytes > 0);
    assert_eq!((found.rss_bytes, found.threads), (truth.rss_bytes, truth.threads));
    assert_eq!((found.state, found.parent), (ProcessState::Stopped, truth.parent));
    assert_eq!((found.io, found.pss), (IoReading::Denied, PssReading::Unknown), "not known is not zero");
    assert_eq!(portable.read(ours, false).unwrap().io, IoReading::Skipped);
    // It goes on to its end: another reading shows what it used since.
    portable.release(ours);
}

/// Several threads, and memory that grows between two readings.
#[test]
fn what_changes_is_read_again() {
    let (mut portable, mut linux) = both();
    let ourselves = portable.own_pid().unwrap();
    let (ours, theirs) = (portable.look(ourselves).unwrap().key, linux.look(ourselves).unwrap().key);
    let before = portable.read(ours, false).unwrap();
    let memory = vec![1u8; 64 << 20];
    let held = portable.read(ours, false).unwrap();
    while portable.read(ours, false).unwrap().cpu.own_us < held.cpu.own_us + 50_000 {
        std::hint::black_box(memory.iter().fold(0u64, |sum, byte| sum.wrapping_add(u64::from(*byte))));
    }
    let (found, truth) = (portable.read(ours, false).unwrap(), linux.read(theirs, false).unwrap());
    let apart = found.rss_bytes.abs_diff(truth.rss_bytes);
    assert!(found.rss_bytes > before.rss_bytes + (32 << 20) && apart < 48 << 20, "{before:?} {found:?} {truth:?}");
    assert!(found.threads > Some(1), "the harness has threads");
    drop(memory);
}

#[test]
fn ends() {
    let (mut portable, mut linux) = both();
    let mut child = Kept::start("sleep", &["1000"]);
    let (ours, theirs) = (portable.look(child.pid()).unwrap().key, linux.look(child.pid()).unwrap().key);
    portable.keep(ours, Watch::Exit).unwrap();
    child.0.kill().unwrap();
    child.until(WaitIdOptions::EXITED);
    let (found, truth) = (portable.read(ours, false).unwrap(), linux.read(theirs, false).unwrap());
    assert_eq!((found.state, found.rss_bytes, found.cpu.own_us), (ProcessState::Zombie, 0, truth.cpu.own_us));
    assert_eq!(truth.state, ProcessState::Zombie);
    assert_eq!(portable.look(child.pid()).unwrap().state, ProcessState::Zombie);
    assert!(matches!(portable.image(ours), Err(ReadError::Gone)));
    child.0.wait().unwrap();
    for gone in [
        portable.read(ours, false).map(drop),
        portable.keep(ours, Watch::Exit),
        portable.look(child.pid()).map(drop),
        portable.image(ours).map(drop),
    ] {
        assert!(matches!(gone, Err(ReadError::Gone)), "{gone:?}");
    }
    let mut events = Vec::new();
    portable.drain(&mut events);
    assert_eq!((events, portable.tells_forks(), portable.oom_kills(ours)), (vec![], false, None));
}

/// Another process of the same number is another one, if it began in another second.
#[test]
fn another_start_is_another_process() {
    let mut portable = PortableSource::new().unwrap();
    let child = Kept::start("sleep", &["1000"]);
    let key = portable.look(child.pid()).unwrap().key;
    let other = ProcessKey { start_ticks: key.start_ticks + 1, ..key };
    assert!(portable.read(key, false).is_ok());
    assert!(matches!(portable.read(other, false), Err(ReadError::Gone)));
    assert!(matches!(portable.keep(other, Watch::Counters), Err(ReadError::Gone)));
    assert!(matches!(portable.image(other), Err(ReadError::Gone)));
}

/// The same program, by both: an executable with arguments, and a script in a folder with a link to it.
#[test]
fn what_they_run() {
    let (mut portable, mut linux) = both();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("agent.sh"), "read line\n").unwrap();
    std::os::unix::fs::symlink("agent.sh", folder.path().join("linked")).unwrap();
    let mut script = Command::new("sh");
    script.args(["linked", "an argument", ""]).current_dir(folder.path()).stdin(Stdio::piped());
    for child in [Kept::start("sleep", &["1000"]), Kept(script.spawn().unwrap())] {
        until_it_runs(&child);
        let (ours, theirs) = (portable.look(child.pid()).unwrap().key, linux.look(child.pid()).unwrap().key);
        let (found, truth) = (portable.image(ours).unwrap(), linux.image(theirs).unwrap());
        assert_eq!((&found.exe, &found.words), (&truth.exe, &truth.words));
        assert_eq!(found.script, truth.script);
    }
}

/// Until it has become its program.
fn until_it_runs(child: &Kept) {
    let begun = monotonic();
    loop {
        let line = std::fs::read(format!("/proc/{}/cmdline", child.pid())).unwrap();
        if line.starts_with(b"sleep\0") || line.starts_with(b"sh\0") {
            return;
        }
        assert!(monotonic().since(begun) < Duration::from_secs(30), "{line:?}");
    }
}

#[test]
fn this_machine() {
    let (mut portable, mut linux) = both();
    let (found, truth) = (portable.host(), linux.host());
    assert_eq!(found.memory_total_bytes, truth.memory_total_bytes, "kB of 1,024 bytes");
    assert_eq!(found.cpu_count, truth.cpu_count);
    let (found_free, free) = (found.memory_available_bytes.unwrap(), truth.memory_available_bytes.unwrap());
    assert!(found_free.abs_diff(free) < truth.memory_total_bytes.unwrap() / 4, "{found_free} {free}");
    let apart = found.uptime.unwrap().abs_diff(truth.uptime.unwrap());
    assert!(apart < Duration::from_secs(5), "{apart:?}");
    assert!((found.load_1m.unwrap() - truth.load_1m.unwrap()).abs() < 1.0);
    assert!((found.load_15m.unwrap() - truth.load_15m.unwrap()).abs() < 1.0 && found.load_5m.is_some());
    assert_eq!(portable.pressure(), HostPressure::default());
}

#[test]
fn this_process_is_itself() {
    let mut portable = PortableSource::new().unwrap();
    let pid = portable.own_pid().unwrap();
    assert_eq!(identify(pid).unwrap(), (portable.look(pid).unwrap().key, portable.boot()));
    let (found, truth) = (own_memory_bytes().unwrap(), crate::process::linux::own_memory_bytes().unwrap());
    assert!(found.abs_diff(truth) < 64 << 20, "{found} {truth}");
    assert!(matches!(identify(Pid::new(i32::MAX.into()).unwrap()), Err(ReadError::Gone)));
}
