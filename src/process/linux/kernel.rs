//! What the system is asked for that no crate asks safely: how a process ended that was reaped, to take back pages of the
//! program, and to be sparing with memory. The only unsafe code of the process sources.
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

/// Takes pages of a file out of memory until they are touched again: madvise(2), `MADV_DONTNEED`.
///
/// `pages` must be what `/proc/self/maps` shows as a private mapping of a file that nobody has ever written to.
pub(super) fn unmap_pages(pages: Range<usize>) -> Result<(), Errno> {
    let start: *mut libc::c_void = std::ptr::with_exposed_provenance_mut(pages.start);
    // SAFETY: nobody has written there, so the pages are as in the file, from which the kernel reads them again
    // whenever they are touched. `LinuxDontNeed` reaches no further than the range.
    unsafe { madvise(start, pages.len(), Advice::LinuxDontNeed) }
}

/// Has the allocator use one arena for all threads, and give back what is large as soon as it is free: mallopt(3). False
/// when it will not. By itself glibc keeps an arena for each thread, and after the first large block that is given back it
/// takes large ones from there too, where they leave holes.
#[cfg(target_env = "gnu")]
pub(super) fn spare_memory() -> bool {
    const LARGE: libc::c_int = 128 << 10;
    // SAFETY: sets numbers that the allocator reads under its own lock.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) == 1 && libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE) == 1 }
}

/// Other allocators have no such setting.
#[cfg(not(target_env = "gnu"))]
pub(super) fn spare_memory() -> bool {
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
