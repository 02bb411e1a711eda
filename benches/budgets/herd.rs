//! The processes that are watched, and the floors: the programs `benches/herd.c`, `benches/floor.c`, `benches/exits.c`.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The compiled programs.
pub(crate) struct Floor {
    herd: PathBuf,
    rounds: PathBuf,
    exits: PathBuf,
}

impl Floor {
    /// Compiles them into a directory.
    pub(crate) fn compile(directory: &Path) -> Floor {
        let compiled = |name: &str| {
            let program = directory.join(name);
            let source = format!("{}/benches/{name}.c", env!("CARGO_MANIFEST_DIR"));
            let status = Command::new("cc").args(["-O2", "-o"]).arg(&program).arg(&source).status();
            assert!(status.expect("a C compiler called cc").success(), "{source} cannot be compiled");
            program
        };
        Floor { herd: compiled("herd"), rounds: compiled("floor"), exits: compiled("exits") }
    }
}

/// Processes that sleep, until dropped.
pub(crate) struct Herd {
    child: Child,
    /// Who they are; of trees, their roots.
    pub(crate) pids: Vec<u32>,
}

impl Herd {
    /// None when the machine does not allow so many.
    pub(crate) fn start(floor: &Floor, size: usize) -> Option<Herd> {
        Herd::spawned(floor, size, &[])
    }

    /// So many trees, of a parent and its children each: none when the machine does not allow so many processes.
    pub(crate) fn trees(floor: &Floor, size: usize, processes: usize) -> Option<Herd> {
        Herd::spawned(floor, size, &[processes.to_string()])
    }

    /// Processes that share so many MiB of 4 KiB pages, which count as resident in each, in two mappings a MiB.
    pub(crate) fn large(floor: &Floor, size: usize, mib: u32) -> Option<Herd> {
        Herd::spawned(floor, size, &[1.to_string(), mib.to_string()])
    }

    fn spawned(floor: &Floor, size: usize, how: &[String]) -> Option<Herd> {
        let mut child = Command::new(&floor.herd)
            .arg(size.to_string())
            .args(how)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let pids: Vec<u32> = lines.map(|line| line.unwrap().parse().unwrap()).collect();
        let herd = Herd { child, pids };
        (herd.pids.len() == size).then_some(herd)
    }
}

impl Drop for Herd {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// The floor at work on a herd, one round at a time.
pub(crate) struct Rounds {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
    size: usize,
}

impl Rounds {
    /// `way`: `pread` or `open`, see the program.
    pub(crate) fn start(floor: &Floor, way: &str, herd: &Herd) -> Rounds {
        let pids = herd.pids.iter().map(u32::to_string);
        Rounds::asking(Command::new(&floor.rounds).arg(way).args(pids), herd.pids.len())
    }

    /// Scans of all processes, their cost shared out among `size`.
    pub(crate) fn scans(floor: &Floor, size: usize) -> Rounds {
        Rounds::asking(Command::new(&floor.rounds).arg("scan"), size)
    }

    fn asking(command: &mut Command, size: usize) -> Rounds {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (ask, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Rounds { child, ask, answers, size }
    }

    /// Microseconds of processor time for each process of the herd.
    pub(crate) fn round(&mut self) -> f64 {
        self.ask.write_all(b"\n").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        let nanoseconds: u32 = answer.trim().parse().expect("the floor could read all of the herd");
        each(f64::from(nanoseconds), self.size)
    }
}

impl Drop for Rounds {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The floor waiting for the ends of a herd.
pub(crate) struct Ends {
    child: Child,
    told: BufReader<ChildStdout>,
}

impl Ends {
    pub(crate) fn start(floor: &Floor, herd: &Herd) -> Ends {
        let pids = herd.pids.iter().map(u32::to_string);
        let mut child = Command::new(&floor.exits).args(pids).stdout(Stdio::piped()).spawn().unwrap();
        let mut ends = Ends { told: BufReader::new(child.stdout.take().unwrap()), child };
        ends.until("ready");
        ends
    }

    /// Reads on up to this line.
    pub(crate) fn until(&mut self, text: &str) {
        let mut line = String::new();
        while line.trim_end() != text {
            line.clear();
            assert!(self.told.read_line(&mut line).unwrap() > 0, "the floor goes on");
        }
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Nanoseconds for all, as microseconds for each.
#[expect(clippy::cast_precision_loss, reason = "a number of processes")]
pub(crate) fn each(nanoseconds: f64, count: usize) -> f64 {
    nanoseconds / 1000.0 / count as f64
}
