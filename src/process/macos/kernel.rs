//! What the kernel of macOS is asked in ways that no crate offers safely: `sysctl`, libproc (`proc_pidinfo`,
//! `proc_pid_rusage`) and two questions of Mach. The only unsafe code of this source. No frameworks, so nothing is needed
//! to build it but libSystem.
#![expect(
    unsafe_code,
    reason = "libproc, sysctl and Mach are C that fills memory which the caller owns; rustix and nix do not wrap them"
)]

use std::ffi::{CStr, c_int, c_void};
use std::io;
use std::mem::{self, size_of};
use std::ptr;

use super::reading::{Threads, Usage};
use super::units::Timebase;
use crate::model::Pid;

/// How often a list is asked for again that has grown since its size was known.
const ATTEMPTS: usize = 5;

/// Where a `sysctl` is.
#[derive(Clone, Copy)]
pub(super) enum Name<'a> {
    /// Its numbers.
    Numbers(&'a [c_int]),
    /// Its name.
    Text(&'a CStr),
}

/// What a `sysctl` holds: sysctl(3).
///
/// # Errors
/// Of the system; also when it grows each time it is asked.
pub(super) fn sysctl(name: Name<'_>) -> io::Result<Vec<u8>> {
    for _ in 0..ATTEMPTS {
        let mut length = 0;
        ask(name, ptr::null_mut(), &mut length)?;
        // It may grow until it is read.
        let mut bytes = vec![0; length + length / 8];
        let mut length = bytes.len();
        match ask(name, bytes.as_mut_ptr().cast(), &mut length) {
            Ok(()) => {
                bytes.truncate(length);
                return Ok(bytes);
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::from_raw_os_error(libc::ENOMEM))
}

fn ask(name: Name<'_>, into: *mut c_void, length: &mut usize) -> io::Result<()> {
    let code = match name {
        Name::Numbers(numbers) => {
            let mut numbers = numbers.to_vec();
            let count = u32::try_from(numbers.len()).map_err(io::Error::other)?;
            // SAFETY: `numbers` are `count` many and only read; `into` is null, or has room for `length` bytes, and the
            // kernel writes no more and says in `length` how many; there is no new value.
            unsafe { libc::sysctl(numbers.as_mut_ptr(), count, into, length, ptr::null_mut(), 0) }
        }
        // SAFETY: as above; the name ends with a zero.
        Name::Text(name) => unsafe { libc::sysctlbyname(name.as_ptr(), into, length, ptr::null_mut(), 0) },
    };
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What a process used: `proc_pid_rusage`, libproc.h, also of one that has ended and that nobody has waited for.
///
/// # Errors
/// `ESRCH` when there is none; `EPERM` for those of other users, but to root.
pub(super) fn usage(pid: Pid) -> io::Result<Usage> {
    // SAFETY: a C struct of integers, for which all zeros is a value.
    let mut info: libc::rusage_info_v4 = unsafe { mem::zeroed() };
    // SAFETY: for the flavour RUSAGE_INFO_V4 the kernel writes one `rusage_info_v4`, which is what `info` is: the
    // declared type of the argument is a pointer to a pointer, but what is taken is the address of the struct.
    let code = unsafe { libc::proc_pid_rusage(raw(pid), libc::RUSAGE_INFO_V4, (&raw mut info).cast()) };
    if code != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Usage {
        user: info.ri_user_time,
        system: info.ri_system_time,
        child_user: info.ri_child_user_time,
        child_system: info.ri_child_system_time,
        resident_bytes: info.ri_resident_size,
        read_bytes: info.ri_diskio_bytesread,
        written_bytes: info.ri_diskio_byteswritten,
    })
}

/// The threads of a living process: `PROC_PIDTASKINFO`, sys/proc_info.h.
///
/// # Errors
/// As of [`usage`]; `ESRCH` also for one that has ended.
pub(super) fn threads(pid: Pid) -> io::Result<Threads> {
    // SAFETY: a C struct of integers, for which all zeros is a value.
    let task: libc::proc_taskinfo = unsafe { info(pid, libc::PROC_PIDTASKINFO, mem::zeroed()) }?;
    let count = |number: i32| u32::try_from(number).unwrap_or(0);
    Ok(Threads { all: count(task.pti_threadnum), running: count(task.pti_numrunning) })
}

/// The working directory of a process: `PROC_PIDVNODEPATHINFO`.
///
/// # Errors
/// As of [`threads`].
pub(super) fn folder(pid: Pid) -> io::Result<Vec<u8>> {
    // SAFETY: a C struct of integers and arrays of them, for which all zeros is a value.
    let paths: libc::proc_vnodepathinfo = unsafe { info(pid, libc::PROC_PIDVNODEPATHINFO, mem::zeroed()) }?;
    let path = paths.pvi_cdir.vip_path.as_flattened();
    Ok(path.iter().map(|byte| byte.cast_unsigned()).take_while(|byte| *byte != 0).collect())
}

/// Fills `into` as `proc_pidinfo` of this flavour does.
///
/// # Safety
/// `T` is the struct that the kernel writes for `flavour`, and every pattern of its bits is a value.
unsafe fn info<T>(pid: Pid, flavour: c_int, mut into: T) -> io::Result<T> {
    let size = c_int::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: `into` has room for `size` bytes, and the kernel writes no more; what it writes is a value, as promised.
    let written = unsafe { libc::proc_pidinfo(raw(pid), flavour, 0, (&raw mut into).cast(), size) };
    match written {
        written if written == size => Ok(into),
        written if written <= 0 => Err(io::Error::last_os_error()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// The path of what a process executes: `proc_pidpath`.
///
/// # Errors
/// `ESRCH` when there is none, or it has ended.
pub(super) fn path(pid: Pid) -> io::Result<Vec<u8>> {
    const ROOM: u32 = libc::PROC_PIDPATHINFO_MAXSIZE.cast_unsigned();
    let mut path = vec![0u8; ROOM as usize];
    // SAFETY: `path` has room for as many bytes as is said, and no more are written.
    let written = unsafe { libc::proc_pidpath(raw(pid), path.as_mut_ptr().cast(), ROOM) };
    match usize::try_from(written) {
        Ok(written) if written > 0 => {
            path.truncate(written);
            Ok(path)
        }
        _ => Err(io::Error::last_os_error()),
    }
}

/// The children of a process, no more than [`CHILDREN`]: `proc_listchildpids`. None also when it is gone.
pub(super) fn children(pid: Pid) -> Vec<Pid> {
    let mut numbers = [0 as libc::pid_t; CHILDREN];
    let size = c_int::try_from(mem::size_of_val(&numbers)).unwrap_or(0);
    // SAFETY: `numbers` has room for `size` bytes, and no more are written.
    let count = unsafe { libc::proc_listchildpids(raw(pid), numbers.as_mut_ptr().cast(), size) };
    let count = usize::try_from(count).unwrap_or(0).min(CHILDREN);
    numbers[..count].iter().filter_map(|number| Pid::new((*number).into())).collect()
}

/// As many children of one process as are told of between two scans.
pub(super) const CHILDREN: usize = 1024;

/// What a tick of the machine's clock lasts.
#[expect(deprecated, reason = "mach2 is recommended, for one function that will not change")]
pub(super) fn timebase() -> Option<Timebase> {
    let mut info = libc::mach_timebase_info { numer: 0, denom: 0 };
    // SAFETY: `info` is what it fills.
    let code = unsafe { libc::mach_timebase_info(&raw mut info) };
    if code == libc::KERN_SUCCESS { Timebase::new(info.numer, info.denom) } else { None }
}

/// The right to ask Mach about this host; got once, since each asking for it counts.
#[derive(Clone, Copy)]
pub(super) struct Host(libc::mach_port_t);

impl Host {
    /// This host.
    pub(super) fn this() -> Host {
        #[expect(deprecated, reason = "mach2 is recommended, for one function that will not change")]
        // SAFETY: takes nothing, and gives a number.
        let port = unsafe { libc::mach_host_self() };
        Host(port)
    }

    /// Pages that can be had without swapping: free ones, and those that have not been used for a while. None when Mach
    /// does not say. `HOST_VM_INFO64`, mach/host_info.h.
    pub(super) fn available_pages(self) -> Option<u64> {
        // SAFETY: a C struct of integers, for which all zeros is a value.
        let mut pages: libc::vm_statistics64 = unsafe { mem::zeroed() };
        let mut count = libc::HOST_VM_INFO64_COUNT;
        // SAFETY: `count` says how many integers `pages` has room for, and no more are written: an older kernel, whose
        // struct is shorter, writes fewer.
        let code =
            unsafe { libc::host_statistics64(self.0, libc::HOST_VM_INFO64, (&raw mut pages).cast(), &raw mut count) };
        (code == libc::KERN_SUCCESS).then(|| u64::from(pages.free_count) + u64::from(pages.inactive_count))
    }
}

/// As libproc takes it: a process id always fits.
fn raw(pid: Pid) -> c_int {
    pid.get().cast_signed()
}
