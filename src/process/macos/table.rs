//! The table of processes: the `sysctl` `kern.proc`, which shows everyone's processes to everyone.

use std::io;

use super::facts::{Facts, KINFO_BYTES};
use super::kernel::{Name, sysctl};
use crate::model::Pid;

/// Every process there is, the dead that nobody has waited for too. Also how many of them could not be understood.
///
/// # Errors
/// When the table cannot be had.
pub(super) fn all() -> io::Result<(Vec<Facts>, u64)> {
    let bytes = sysctl(Name::Numbers(&[libc::CTL_KERN, libc::KERN_PROC, libc::KERN_PROC_ALL]))?;
    Ok(Facts::parse_all(&bytes))
}

/// Who has this number.
///
/// # Errors
/// [`NotFound`](io::ErrorKind::NotFound) when nobody has.
pub(super) fn facts(pid: Pid) -> io::Result<Facts> {
    let number = pid.get().cast_signed();
    let bytes = sysctl(Name::Numbers(&[libc::CTL_KERN, libc::KERN_PROC, libc::KERN_PROC_PID, number]))?;
    // Nobody: an empty list. The same where another version of the kernel answers with something else altogether.
    let found = bytes.get(..KINFO_BYTES).and_then(Facts::parse).filter(|facts| facts.pid == pid);
    found.ok_or_else(|| io::ErrorKind::NotFound.into())
}
