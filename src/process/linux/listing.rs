//! Which processes there are, and which of them were already shown.

use std::mem::MaybeUninit;

use rustix::fs::{RawDir, SeekFrom};

use super::procfs::Procfs;
use super::stat::decimal;
use crate::model::Pid;
use crate::process::ReadError;

/// Room for about two thousand processes a call of getdents64(2).
const BUFFER_BYTES: usize = 64 * 1024;

/// An entry of `/proc` that is a process.
///
/// The inode number is that of the directory: it stays while the process lives and its directory is in the kernel's
/// cache, and a later process of the same pid has another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Listed {
    pub(super) pid: Pid,
    pub(super) inode: u64,
}

/// Lists `/proc`, reusing its memory.
pub(super) struct Lister {
    buffer: Box<[MaybeUninit<u8>]>,
    listed: Vec<Listed>,
}

impl Lister {
    pub(super) fn new() -> Lister {
        Lister { buffer: Box::new_uninit_slice(BUFFER_BYTES), listed: Vec::new() }
    }

    /// All processes, by ascending pid.
    pub(super) fn list(&mut self, procfs: &Procfs) -> Result<&[Listed], ReadError> {
        let failed = |errno: rustix::io::Errno| ReadError::Io { path: procfs.path().to_owned(), source: errno.into() };
        self.listed.clear();
        rustix::fs::seek(procfs.directory(), SeekFrom::Start(0)).map_err(failed)?;
        let mut entries = RawDir::new(procfs.directory(), &mut self.buffer);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(failed)?;
            let number = decimal(entry.file_name().to_bytes()).and_then(|number| i64::try_from(number).ok());
            if let Some(pid) = number.and_then(Pid::new) {
                self.listed.push(Listed { pid, inode: entry.ino() });
            }
        }
        // The kernel lists them so; another file system, and an odd moment, may not.
        if !self.listed.is_sorted() {
            self.listed.sort_unstable();
        }
        self.listed.dedup_by_key(|listed| listed.pid);
        Ok(&self.listed)
    }
}

/// A process that a scan has shown, or that may not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Known {
    pub(super) pid: Pid,
    /// Of its directory.
    pub(super) inode: u64,
    /// Who it is; `None` where it may not be read.
    pub(super) start_ticks: Option<u64>,
}

/// The processes known so far, by ascending pid: a scan walks along them once, and forgets those no longer listed.
#[derive(Default)]
pub(super) struct KnownProcesses {
    now: Vec<Known>,
    /// Those of the scan before, whose memory is used again.
    before: Vec<Known>,
    /// How many of `before` the scan has passed.
    passed: usize,
}

impl KnownProcesses {
    /// Begins a scan. The pids of [`recall`](KnownProcesses::recall) and [`remember`](KnownProcesses::remember) must
    /// ascend.
    pub(super) fn begin(&mut self) {
        std::mem::swap(&mut self.now, &mut self.before);
        self.now.clear();
        self.passed = 0;
    }

    /// Who was known under this pid before.
    pub(super) fn recall(&mut self, pid: Pid) -> Option<Known> {
        while let Some(known) = self.before.get(self.passed) {
            if known.pid >= pid {
                return (known.pid == pid).then_some(*known);
            }
            self.passed += 1;
        }
        None
    }

    /// Keeps a process in mind until it is no longer listed.
    pub(super) fn remember(&mut self, known: Known) {
        self.now.push(known);
    }
}
