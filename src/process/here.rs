//! What is asked of the system that this runs on: the one place that knows which of the sources is whose. What another
//! system has not is done there as well as it can be, and the same names stand for it.

use std::error::Error;

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
use super::portable as system;
use super::{ProcessSource, common};
#[cfg(target_os = "linux")]
use super::{linux as system, linux::Forks, linux::LinuxSource};
#[cfg(target_os = "macos")]
use super::{macos as system, macos::MacSource};

pub use self::system::{identify, own_memory_bytes};
#[cfg(target_os = "linux")]
pub use self::system::{release_unused, spare_memory};
pub use super::common::{Wake, raise_open_files};

/// The processes of this machine: on Linux by `/proc` and pidfds, on macOS by libproc and kqueue, elsewhere by the crate
/// sysinfo. Raises the limit of open files first. `wake` is called when there is something to drain.
///
/// # Errors
/// When the system refuses what the source cannot do without.
pub fn source(wake: Wake) -> Result<Box<dyn ProcessSource>, Box<dyn Error + Send + Sync>> {
    let open_files = common::raise_open_files();
    #[cfg(target_os = "linux")]
    let source = LinuxSource::new(open_files, Forks::Told, wake)?;
    #[cfg(target_os = "macos")]
    let source = {
        // One queue does for all of them.
        let _ = open_files;
        MacSource::new(wake)?
    };
    #[cfg(not(any(target_os = "linux", target_os = "macos")))]
    let source = {
        // Nothing is kept open, and nobody is woken.
        let _ = (open_files, wake);
        system::PortableSource::new()?
    };
    Ok(Box::new(source))
}

/// Elsewhere the allocator is left as it is, and that is well.
#[cfg(not(target_os = "linux"))]
pub fn spare_memory() -> bool {
    true
}

/// Elsewhere the system takes what it needs.
///
/// # Errors
/// None.
#[cfg(not(target_os = "linux"))]
pub fn release_unused() -> std::io::Result<usize> {
    Ok(0)
}

/// Gives this process a name of its own in the list of processes, where a system has one that can be given: prctl(2),
/// `PR_SET_NAME`.
#[cfg(target_os = "linux")]
pub fn name_this_process(name: &std::ffi::CStr) {
    // Who may not has the name of its program.
    let _ = rustix::thread::set_name(name);
}

/// Elsewhere it has the name of its program.
#[cfg(not(target_os = "linux"))]
pub fn name_this_process(_: &std::ffi::CStr) {}
