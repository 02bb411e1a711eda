//! Single questions about a process, for those who watch none: which one it is, and what this one holds.

use std::path::PathBuf;

use super::kernel;
use super::procfs::{Procfs, TEXT_BYTES};
use super::stat;
use super::{Machine, Pid, ProcessKey, ReadError};
use crate::model::BootId;

/// Which process has this pid now, and in which boot of the machine.
///
/// # Errors
/// As [`look`](crate::process::ProcessSource::look).
pub fn identify(pid: Pid) -> Result<(ProcessKey, BootId), ReadError> {
    let procfs = Procfs::open(PathBuf::from("/proc"))?;
    let mut buffer = [0; TEXT_BYTES];
    let start_ticks = procfs.stat(procfs.open_file(pid, "stat")?, pid, &mut buffer)?.start_ticks;
    Ok((ProcessKey { start_ticks, pid }, procfs.boot()?))
}

/// The resident memory of this process, bytes: `/proc/PID/statm`.
///
/// # Errors
/// Without a readable `/proc`.
pub fn own_memory_bytes() -> Result<u64, ReadError> {
    let pid = Pid::new(i64::from(std::process::id())).ok_or(ReadError::Gone)?;
    let procfs = Procfs::open(PathBuf::from("/proc"))?;
    let mut buffer = [0; TEXT_BYTES];
    let text = procfs.read(procfs.open_file(pid, "statm")?, &mut buffer, pid, "statm")?;
    let pages = stat::resident_pages(text).map_err(|what| procfs.parse_error(what, pid, "statm"))?;
    Ok(pages.saturating_mul(Machine::here().page_bytes))
}

/// Gives back memory that this program does not need now: of its code and constants, which run or are read once or seldom
/// for the most part, and what the allocator holds free. Returns how many bytes of the former there are. What is needed
/// after all is read back from the page cache as it is touched, a few hundred faults; so it is to be called seldom, as
/// after the start.
///
/// # Errors
/// Without a readable `/proc`.
pub fn release_unused() -> std::io::Result<usize> {
    let bytes = kernel::unmap_unwritten_pages()?;
    kernel::release_free_memory();
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allocator_can_be_told() {
        assert!(kernel::spare_memory());
    }

    #[test]
    fn code_that_was_given_back_runs_on() {
        let text = || format!("{:?}", "1.5".parse::<f64>());
        let before = text();
        assert!(release_unused().unwrap() > 1 << 20);
        assert_eq!(text(), before);
    }

    #[test]
    fn this_process_is_itself() {
        let pid = Pid::new(i64::from(std::process::id())).unwrap();
        let (key, boot) = identify(pid).unwrap();
        assert_eq!((key.pid, identify(pid).unwrap()), (pid, (key, boot.clone())));
        assert!(key.start_ticks > 0 && boot.len() == 36, "{key:?} {boot}");
        let bytes = own_memory_bytes().unwrap();
        assert!((1 << 20..1 << 33).contains(&bytes), "{bytes}");
        assert!(matches!(identify(Pid::new(i64::from(i32::MAX)).unwrap()), Err(ReadError::Gone)));
    }
}
