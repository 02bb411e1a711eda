//! Many processes that do nothing.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Processes that sleep, until dropped: `benches/herd.c`.
pub(crate) struct Herd {
    child: Child,
    pub(crate) pids: Vec<u32>,
}

impl Herd {
    pub(crate) fn start(place: &Path, size: usize) -> Herd {
        let program = place.join("herd");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/herd.c");
        assert!(Command::new("cc").args(["-O1", "-o"]).arg(&program).arg(source).status().unwrap().success());
        let mut command = Command::new(program);
        command.arg(size.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let pids: Vec<u32> = lines.map(|line| line.unwrap().parse().unwrap()).collect();
        assert_eq!(pids.len(), size, "this machine allows no more processes");
        Herd { child, pids }
    }
}

impl Drop for Herd {
    fn drop(&mut self) {
        // The end of its input is its end.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
