//! What the system is asked for that no crate asks safely: how a process ended that was reaped, to take back pages of the
//! program, and to be sparing with memory. The only unsafe code of this source.
#![expect(
    unsafe_code,
    reason = "PIDFD_GET_INFO is an ioctl that rustix and nix do not wrap; madvise takes addresses; mallopt and malloc_trim are C"
)]

use std::mem;
use std::ops::Range;
use std::os::fd::BorrowedFd;

use libc::pidfd_info;
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
use rustix::mm::{Advice, madvise};

use crate::model::ExitStatus;

const GET_INFO: Opcode = opcode::read_write::<pidfd_info>(0xFF, 11);

/// What `PIDFD_GET_INFO` says of a process that has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ExitInfo {
    /// How it ended, to any user: it was reaped, on Linux 6.15 or newer.
    Known(Option<ExitStatus>),
    /// Nothing: it was not reaped yet, or the kernel is 6.13 or 6.14.
    Silent,
    /// The question is not understood (before Linux 6.13) or not allowed here: there will never be an answer.
    Refused,
}

/// Asks how the process of a pidfd ended: include/uapi/linux/pidfd.h, `PIDFD_INFO_EXIT`.
pub(super) fn exit_info(pidfd: BorrowedFd<'_>) -> ExitInfo {
    let known = match ask(pidfd) {
        // Reaped while we asked: `pidfd_info` of fs/pidfs.c looks for the answer first and for the process then. Now
        // that it is gone, the answer is there.
        Err(Errno::SRCH) => ask(pidfd),
        first => first,
    };
    known.unwrap_or(ExitInfo::Refused)
}

fn ask(pidfd: BorrowedFd<'_>) -> Result<ExitInfo, Errno> {
    // SAFETY: `pidfd_info` is a C struct of integers, for which all zeroes is a value.
    let mut info: pidfd_info = unsafe { mem::zeroed() };
    info.mask = u64::from(libc::PIDFD_INFO_EXIT);
    // SAFETY: GET_INFO is the number of PIDFD_GET_INFO and holds the size of `pidfd_info`, the type that the kernel
    // reads and writes for it; it writes no more than that size.
    unsafe { ioctl(pidfd, Updater::<GET_INFO, _>::new(&mut info)) }?;
    Ok(if info.mask & u64::from(libc::PIDFD_INFO_EXIT) != 0 {
        ExitInfo::Known(ExitStatus::from_wait(info.exit_code))
    } else {
        ExitInfo::Silent
    })
}

/// Takes the pages of this program's files out of memory until they are touched again: madvise(2), `MADV_DONTNEED`. Returns
/// how many bytes of them there are.
///
/// # Errors
/// Without a readable `/proc`.
pub(super) fn unmap_unwritten_pages() -> std::io::Result<usize> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let mut bytes = 0;
    for pages in maps.lines().filter_map(unwritten_pages_of_a_file) {
        bytes += pages.len();
        let start: *mut libc::c_void = std::ptr::with_exposed_provenance_mut(pages.start);
        // SAFETY: the kernel has just said that these pages are mapped from a file, for this process alone and not to be
        // written; by what they are nobody ever has. So they are as in the file, from which they are read again whenever
        // they are touched. Nothing unmaps or remaps code or constants meanwhile. `LinuxDontNeed` reaches no further than
        // the range.
        unsafe { madvise(start, pages.len(), Advice::LinuxDontNeed) }?;
    }
    Ok(bytes)
}

/// The addresses of a line of `/proc/PID/maps`, proc_pid_maps(5), if what is there is as it stands in a file: code, or the
/// constants at the beginning of a program or library. Read-only data further back was written by the loader.
fn unwritten_pages_of_a_file(line: &str) -> Option<Range<usize>> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let (may, offset) = (fields.next()?, fields.next()?);
    let unwritten = may == "r-xp" || may == "r--p" && offset.bytes().all(|digit| digit == b'0');
    let is_file = fields.nth(2)?.starts_with('/');
    let address = |digits| usize::from_str_radix(digits, 16).ok();
    (unwritten && is_file).then_some(address(start)?..address(end)?)
}

/// Makes this process sparing with memory, at the price of some time where many threads allocate at once, which those of a
/// daemon do not. To be called before there are threads. False when the allocator will not.
///
/// It is to use one arena for all threads, and give back what is large as soon as it is free: mallopt(3). By itself glibc
/// keeps an arena for each thread, and after the first large block that is given back it takes large ones from there too,
/// where they leave holes.
#[cfg(target_env = "gnu")]
pub fn spare_memory() -> bool {
    const LARGE: libc::c_int = 128 << 10;
    // SAFETY: sets numbers that the allocator reads under its own lock.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) == 1 && libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE) == 1 }
}

/// Other allocators have no such setting.
#[cfg(not(target_env = "gnu"))]
pub fn spare_memory() -> bool {
    true
}

/// Gives back what the allocator holds free: malloc_trim(3).
#[cfg(target_env = "gnu")]
pub(super) fn release_free_memory() {
    // SAFETY: takes the allocator's own locks and touches only what is free.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators do so by themselves, or cannot be told.
#[cfg(not(target_env = "gnu"))]
pub(super) fn release_free_memory() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_as_in_its_file_is_given_back() {
        for (line, expected) in [
            ("55d0a0-55d0f0 r-xp 1000 fd:00 1 /usr/bin/agent-monitor", Some(0x0055_d0a0..0x0055_d0f0)),
            ("55d0a0-55d0f0 r--p 0000 fd:00 1 /usr/bin/agent-monitor", Some(0x0055_d0a0..0x0055_d0f0)),
            ("55d0a0-55d0f0 r--p 1000 fd:00 1 /usr/bin/agent-monitor", None),
            ("55d0a0-55d0f0 rwxp 000 fd:00 1 /usr/bin/agent-monitor", None),
            ("55d0a0-55d0f0 r-xs 000 fd:00 1 /usr/bin/agent-monitor", None),
            ("7ffc00-7ffd00 r-xp 000 00:00 0 [vdso]", None),
            ("55d0a0-55d0f0 r-xp 000 00:00 0", None),
            ("", None),
        ] {
            assert_eq!(unwritten_pages_of_a_file(line), expected, "{line}");
        }
    }
}
