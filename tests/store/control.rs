//! Lets writes, syncs and truncations of a database fail, in this process: what `faults.c` is told, and how often it struck.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the library, loaded with LD_PRELOAD, finds its page.
pub(crate) const CONTROL: &str = "FAULT_CONTROL";

/// As in `faults.c`.
pub(crate) const WRITE: i32 = 1;
pub(crate) const SYNC: i32 = 2;
pub(crate) const TRUNCATE: i32 = 4;
pub(crate) const DIE: i32 = 0;
pub(crate) const STALL: i32 = -1;

/// The page that tells the library what to do.
pub(crate) struct Control(std::fs::File);

impl Control {
    pub(crate) fn make(path: &Path) -> Control {
        let file = std::fs::File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap();
        file.set_len(4096).unwrap();
        Control(file)
    }

    pub(crate) fn arm(&self, what: i32, at: usize, forever: bool, error: i32) {
        let numbers = [what, i32::try_from(at).unwrap(), i32::from(forever), error, 0, 0];
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_ne_bytes()).collect();
        self.0.write_all_at(&bytes, 0).unwrap();
    }

    /// Whether what is synced is kept, beside each file with a `~`.
    pub(crate) fn keep(&self, keeps: bool) {
        self.0.write_all_at(&i32::from(keeps).to_ne_bytes(), 24).unwrap();
    }

    /// Whether what was to end a call that stalls waited for it.
    pub(crate) fn overslept(&self) -> bool {
        self.number(28) != 0
    }

    /// Waits until it strikes.
    pub(crate) fn await_strike(&self) {
        let (_sender, never) = std::sync::mpsc::channel::<()>();
        let mut moments = 0..60_000;
        while self.struck() == 0 {
            moments.next().expect("it strikes");
            let _ = never.recv_timeout(std::time::Duration::from_millis(1));
        }
    }

    /// How often it struck since it was armed.
    pub(crate) fn struck(&self) -> usize {
        usize::try_from(self.number(20)).unwrap()
    }

    fn number(&self, at: u64) -> i32 {
        let mut number = [0; 4];
        self.0.read_exact_at(&mut number, at).unwrap();
        i32::from_ne_bytes(number)
    }

    /// Ends it; says how often it struck.
    pub(crate) fn disarm(&self) -> usize {
        self.0.write_all_at(&[0; 4], 0).unwrap();
        self.struck()
    }
}

/// The library, built once a process.
pub(crate) fn library(directory: &Path) -> PathBuf {
    let library = directory.join("faults.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/store/faults.c");
    let arguments = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", source, "-ldl", "-o"];
    let built = Command::new("cc").args(arguments).arg(&library).status().expect("a C compiler");
    assert!(built.success());
    library
}
