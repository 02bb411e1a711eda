//! What a library is asked to do: the same for each, one round at each line of the input.
//!
//! A round of `herd PID…` reads processor time and memory of those. A round of `tree PID` reads the processor time of that
//! process and its descendants, and keeps what those had that are gone. The answer is the processor time, in seconds.

use std::collections::HashMap;
use std::io::{Write, stdin, stdout};

/// One process, as a library shows it.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Its id.
    pub pid: u32,
    /// Its parent's, 0 if that is not known.
    pub parent: u32,
    /// Processor time, user and system, seconds.
    pub cpu: f64,
    /// Resident memory, bytes.
    pub rss: u64,
}

/// A library that reads processes.
pub trait Library {
    /// Processor time and memory of these; `parent` need not be filled in.
    fn some(&mut self, pids: &[u32]) -> Vec<Seen>;
    /// All processes of the host; `rss` need not be filled in.
    fn all(&mut self) -> Vec<Seen>;
}

/// Works until the input ends.
pub fn serve(library: &mut dyn Library, mut args: impl Iterator<Item = String>) {
    let tree = args.next().expect("herd or tree") == "tree";
    let pids: Vec<u32> = args.map(|pid| pid.parse().expect("a process id")).collect();
    let mut kept = Tree { root: pids[0], last: HashMap::new(), used: 0.0 };
    let mut line = String::new();
    while stdin().read_line(&mut line).is_ok_and(|read| read > 0) {
        let cpu = if tree {
            kept.add(&library.all());
            kept.used
        } else {
            let seen = library.some(&pids);
            assert!(seen.len() == pids.len() && seen.iter().all(|one| one.rss > 0), "all could be read");
            seen.iter().map(|one| one.cpu).sum()
        };
        println!("{cpu}");
        stdout().flush().expect("somebody asked");
    }
}

/// What a program keeps that adds up processor time from one look at the host to the next.
struct Tree {
    root: u32,
    last: HashMap<u32, f64>,
    used: f64,
}

impl Tree {
    fn add(&mut self, all: &[Seen]) {
        let mut members = vec![self.root];
        let mut place = 0;
        while let Some(parent) = members.get(place).copied() {
            members.extend(all.iter().filter(|one| one.parent == parent).map(|one| one.pid));
            place += 1;
        }
        for one in all.iter().filter(|one| members.contains(&one.pid)) {
            let before = self.last.insert(one.pid, one.cpu).unwrap_or(0.0);
            self.used += (one.cpu - before).max(0.0);
        }
    }
}
