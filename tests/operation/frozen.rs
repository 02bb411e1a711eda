//! One thread of a process that stands still.

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

/// One thread of a process, stopped by its tracer: the others run on.
pub(crate) struct Frozen(Pid);

impl Frozen {
    /// `None` where the system lets nobody trace.
    pub(crate) fn new(process: u32, thread: &str) -> Option<Frozen> {
        let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap().map(|entry| entry.unwrap().path());
        let named = |task: &std::path::PathBuf| std::fs::read_to_string(task.join("comm")).unwrap().trim() == thread;
        let task = tasks.into_iter().find(named).unwrap_or_else(|| panic!("no thread {thread}"));
        let tid = Pid::from_raw(task.file_name().unwrap().to_str().unwrap().parse().unwrap());
        match ptrace::seize(tid, ptrace::Options::empty()) {
            Err(Errno::EPERM | Errno::ENOSYS) => return None,
            seized => seized.unwrap(),
        }
        ptrace::interrupt(tid).unwrap();
        waitpid(tid, Some(WaitPidFlag::__WALL)).unwrap();
        Some(Frozen(tid))
    }

    pub(crate) fn thaw(self) {
        drop(self);
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // A process with a thread that its tracer holds cannot even be killed and waited for.
        let thawed = ptrace::detach(self.0, None);
        assert!(thawed.is_ok() || std::thread::panicking(), "{thawed:?}");
    }
}
