//! The processes kept for reading, and how many of their files may stay open.
//!
//! A kept `/proc` file saves an open at every tick and costs 4.7 KB of kernel memory. So their number is bounded, and
//! by more than one bound: [`KEPT_MAX`], and what the limit of open files leaves beside [`RESERVED`] and the pidfds.
//! Roots come before members; a process whose files are not kept is opened at each reading. Most have one: `statm` is kept
//! only while memory moves.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::procfs::Procfs;
use super::reader::LastRead;
use crate::model::{Pid, ProcessKey};
use crate::process::{ReadError, Watch};

/// The files of at most so many processes are kept open.
const KEPT_MAX: usize = 2048;
/// Descriptors left to the rest of the program.
const RESERVED: usize = 512;
/// Descriptors that one process takes, at most.
const FILES_EACH: usize = 2;

/// The open files of one process, which can never show another one.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) stat: OwnedFd,
    /// Open while it is needed at each reading.
    statm: Option<OwnedFd>,
}

impl Files {
    pub(super) fn open(procfs: &Procfs, pid: Pid) -> Result<Files, ReadError> {
        Ok(Files { stat: procfs.open_file(pid, "stat")?, statm: None })
    }

    /// May belong to another process than `stat` until that, read afterwards, shows that its own lives.
    pub(super) fn statm(&mut self, procfs: &Procfs, pid: Pid) -> Result<&OwnedFd, ReadError> {
        match &mut self.statm {
            Some(statm) => Ok(statm),
            none => Ok(none.insert(procfs.open_file(pid, "statm")?)),
        }
    }

    /// Memory is settled: it will not be asked for soon.
    pub(super) fn close_statm(&mut self) {
        self.statm = None;
    }
}

/// A process that is read at every tick.
#[derive(Debug)]
pub(super) struct Kept {
    watch: Watch,
    /// Its open files, while there is room for them.
    pub(super) files: Option<Files>,
    /// What the last reading showed.
    pub(super) last: Option<LastRead>,
    /// What counts the out-of-memory kills of its cgroup: known while it lives, asked when it has ended.
    pub(super) oom_counter: Option<Arc<Path>>,
}

/// All kept processes.
#[derive(Debug)]
pub(super) struct Descriptors {
    kept: HashMap<ProcessKey, Kept>,
    /// Those whose files are open. The last one is the first to lose them: the youngest member.
    open: BTreeSet<(Watch, ProcessKey)>,
    /// Descriptors for files and pidfds together.
    available: usize,
    /// That of the last root: those of one broker are often in one cgroup, and then have one path.
    oom_counter: Option<Arc<Path>>,
}

impl Descriptors {
    /// `open_files`: how many files the whole program may have open.
    pub(super) fn new(open_files: usize) -> Descriptors {
        let available = open_files.saturating_sub(RESERVED);
        Descriptors { kept: HashMap::new(), open: BTreeSet::new(), available, oom_counter: None }
    }

    pub(super) fn get(&mut self, process: ProcessKey) -> Option<&mut Kept> {
        self.kept.get_mut(&process)
    }

    pub(super) fn insert(&mut self, process: ProcessKey, watch: Watch) {
        self.kept.insert(process, Kept { watch, files: None, last: None, oom_counter: None });
    }

    /// What counts the out-of-memory kills of a kept process.
    pub(super) fn set_oom_counter(&mut self, process: ProcessKey, file: Option<PathBuf>) {
        if self.oom_counter.as_deref() != file.as_deref() {
            self.oom_counter = file.map(Arc::from);
        }
        if let Some(kept) = self.kept.get_mut(&process) {
            kept.oom_counter.clone_from(&self.oom_counter);
        }
    }

    /// Every kept process, and how it is watched.
    pub(super) fn kept(&self) -> impl Iterator<Item = (ProcessKey, Watch)> {
        self.kept.iter().map(|(process, kept)| (*process, kept.watch))
    }

    pub(super) fn remove(&mut self, process: ProcessKey) {
        if let Some(kept) = self.kept.remove(&process) {
            self.open.remove(&(kept.watch, process));
        }
    }

    /// Makes room for one more pidfd beside the `pidfds` that there are, which may cost kept files. `false`: there is
    /// none.
    pub(super) fn admit_pidfd(&mut self, pidfds: usize) -> bool {
        if pidfds >= self.available {
            return false;
        }
        while !self.fits(self.open.len(), pidfds + 1) {
            self.close_last();
        }
        true
    }

    /// Keeps the files of a process if there is room beside `pidfds` pidfds, or if lesser ones can give theirs up.
    pub(super) fn offer(&mut self, process: ProcessKey, files: Files, pidfds: usize) {
        let Some(watch) = self.kept.get(&process).map(|kept| kept.watch) else { return };
        while !self.fits(self.open.len() + 1, pidfds) {
            match self.open.last() {
                Some((last, _)) if *last > watch => self.close_last(),
                _ => return,
            }
        }
        if let Some(kept) = self.kept.get_mut(&process) {
            kept.files = Some(files);
            self.open.insert((watch, process));
        }
    }

    /// Whether the files of so many processes may be open beside the pidfds, all that they may come to need.
    fn fits(&self, processes: usize, pidfds: usize) -> bool {
        processes <= KEPT_MAX && processes * FILES_EACH <= self.available.saturating_sub(pidfds)
    }

    fn close_last(&mut self) {
        if let Some((_, process)) = self.open.pop_last()
            && let Some(kept) = self.kept.get_mut(&process)
        {
            kept.files = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> ProcessKey {
        ProcessKey { start_ticks: u64::from(number), pid: Pid::new(i64::from(number)).unwrap() }
    }

    fn files() -> Files {
        let null = || rustix::fs::open("/dev/null", rustix::fs::OFlags::CLOEXEC, rustix::fs::Mode::empty()).unwrap();
        Files { stat: null(), statm: Some(null()) }
    }

    /// Which of the processes 1 to 5 have their files kept.
    fn kept(descriptors: &mut Descriptors) -> Vec<u32> {
        (1..=5).filter(|&number| descriptors.get(key(number)).is_some_and(|kept| kept.files.is_some())).collect()
    }

    #[test]
    fn roots_come_before_members_and_pidfds_before_all() {
        let mut descriptors = Descriptors::new(RESERVED + 5);
        for (number, watch) in [(1, Watch::Counters), (2, Watch::Counters), (3, Watch::Counters)] {
            descriptors.insert(key(number), watch);
            descriptors.offer(key(number), files(), 0);
        }
        assert_eq!(kept(&mut descriptors), [1, 2], "room for two, and a member displaces none");
        descriptors.insert(key(4), Watch::Exit);
        assert!(descriptors.admit_pidfd(0));
        descriptors.offer(key(4), files(), 1);
        assert_eq!(kept(&mut descriptors), [1, 4], "a root displaces the youngest member");
        descriptors.insert(key(5), Watch::Exit);
        assert!(descriptors.admit_pidfd(1));
        assert_eq!(kept(&mut descriptors), [4], "its pidfd displaces the member");
        descriptors.offer(key(5), files(), 2);
        assert_eq!(kept(&mut descriptors), [4], "a root displaces no root");
        assert!(descriptors.admit_pidfd(3));
        assert_eq!(kept(&mut descriptors), [0; 0]);
        assert!(descriptors.admit_pidfd(4));
        assert!(!descriptors.admit_pidfd(5));
    }

    #[test]
    fn what_is_released_makes_room() {
        let mut descriptors = Descriptors::new(RESERVED + FILES_EACH);
        for number in [1, 2] {
            descriptors.insert(key(number), Watch::Counters);
            descriptors.offer(key(number), files(), 0);
        }
        assert_eq!(kept(&mut descriptors), [1]);
        descriptors.remove(key(1));
        descriptors.offer(key(2), files(), 0);
        assert_eq!(kept(&mut descriptors), [2]);
        descriptors.offer(key(3), files(), 0);
        assert_eq!(kept(&mut descriptors), [2], "nobody keeps 3");
    }

    #[test]
    fn never_more_than_the_most() {
        let descriptors = Descriptors::new(usize::MAX);
        assert!(descriptors.fits(KEPT_MAX, 0) && !descriptors.fits(KEPT_MAX + 1, 0));
        let few = Descriptors::new(RESERVED + 7);
        assert!(few.fits(3, 1) && !few.fits(3, 2) && !few.fits(4, 0));
        assert!(!Descriptors::new(100).fits(1, 0));
    }
}
