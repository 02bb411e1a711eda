//! What the kernel tells through a pidfd after a process was reaped. The only unsafe code of the process sources.
#![expect(unsafe_code, reason = "PIDFD_GET_INFO is an ioctl that rustix and nix do not wrap")]

use std::mem;
use std::os::fd::BorrowedFd;

use libc::pidfd_info;
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};

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
