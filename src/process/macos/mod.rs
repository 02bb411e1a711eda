//! macOS: `sysctl`, libproc and kqueue(2). Built and type-checked on Linux; what needs no kernel is tested there.
//!
//! What it shows, by Apple's xnu (bsd/kern/proc_info.c, kern_sysctl.c, kern_event.c):
//! - Who there is, whose child, of which user and since when, and how the dead ended whom nobody has waited for: to
//!   everyone, of everyone.
//! - Counters, memory, threads, storage I/O and command lines: of our own user's processes; of all to root. There is no
//!   right in between. Others are [`ReadError::Denied`].
//! - Storage I/O of a process alone: what its children did is not added to it. Processor time of those it waited for is.
//! - Nothing is kept open, so a reading proves by the start of the process, which is read last, that it shows no other.
//! - There are no pid namespaces, no proportional set sizes, no counts of kills for memory, and no pressure. A process
//!   runs or sleeps by its threads, which only those see who may read its counters.
//! - The age of a process is by the wall clock: a clock that is set makes those of before look older or younger.

mod arguments;
#[cfg(target_os = "macos")]
mod events;
mod facts;
#[cfg(target_os = "macos")]
mod host;
#[cfg(target_os = "macos")]
mod kernel;
mod reading;
#[cfg(target_os = "macos")]
mod source;
#[cfg(target_os = "macos")]
mod table;
mod units;

#[cfg(target_os = "macos")]
pub use self::source::{MacSource, StartError, identify, own_memory_bytes};
