//! Session and process group of a process. By nix: rustix takes for granted that there is one, and of the kernel's own
//! processes there is none.

use nix::unistd;

use crate::model::Pid;

/// Its session: getsid(2).
pub(in crate::process) fn session(pid: Pid) -> Option<Pid> {
    known(unistd::getsid(Some(raw(pid))))
}

/// Its process group: getpgid(2).
#[cfg(any(not(target_os = "macos"), test))]
pub(in crate::process) fn group(pid: Pid) -> Option<Pid> {
    known(unistd::getpgid(Some(raw(pid))))
}

fn raw(pid: Pid) -> unistd::Pid {
    unistd::Pid::from_raw(pid.get().cast_signed())
}

fn known(answer: nix::Result<unistd::Pid>) -> Option<Pid> {
    Pid::new(answer.ok()?.as_raw().into())
}
