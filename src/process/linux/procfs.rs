//! The file tree `/proc`, opened once: what is below is opened relative to it, without a path being put together or
//! walked.

use std::ffi::CStr;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use super::stat::Stat;
use crate::model::{BootId, Pid, ProcessKey};
use crate::process::ReadError;

/// Longer than any of the files read here: `stat` has 52 numbers of at most 20 digits, and mostly short ones.
pub(super) const TEXT_BYTES: usize = 1536;

/// An open `/proc`.
#[derive(Debug)]
pub(super) struct Procfs {
    directory: OwnedFd,
    path: PathBuf,
}

/// The account that a process runs under: effective user and group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Credentials {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Procfs {
    /// Opens the `/proc` at `path`.
    pub(super) fn open(path: PathBuf) -> Result<Procfs, ReadError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::openat(CWD, &path, flags, Mode::empty()) {
            Ok(directory) => Ok(Procfs { directory, path }),
            Err(errno) => Err(failure(errno, path)),
        }
    }

    /// Which boot of the machine this is, random(4).
    pub(super) fn boot(&self) -> Result<BootId, ReadError> {
        let path = self.path.join("sys/kernel/random/boot_id");
        match std::fs::read_to_string(&path) {
            Ok(text) if text.trim().is_empty() => Err(ReadError::Parse { path, what: "it is empty" }),
            Ok(text) => Ok(text.trim().into()),
            Err(source) => Err(ReadError::Io { path, source }),
        }
    }

    /// The process that asks, in the numbers of this `/proc`: proc_pid(5), `/proc/self`.
    pub(super) fn own_pid(&self) -> Option<Pid> {
        let name = rustix::fs::readlinkat(&self.directory, "self", Vec::new()).ok()?;
        name.to_str().ok()?.parse().ok().and_then(Pid::new)
    }

    /// The directory itself, to list it.
    pub(super) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a file of a process, such as `stat`.
    pub(super) fn open_file(&self, pid: Pid, file: &'static str) -> Result<OwnedFd, ReadError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        rustix::fs::openat(&self.directory, Name::new(pid, file).as_c_str(), flags, Mode::empty())
            .map_err(|errno| self.read_error(errno, pid, file))
    }

    /// Where a link of a process leads, such as `exe`.
    pub(super) fn link(&self, pid: Pid, link: &'static str) -> Result<Vec<u8>, ReadError> {
        match rustix::fs::readlinkat(&self.directory, Name::new(pid, link).as_c_str(), Vec::new()) {
            Ok(target) => Ok(target.into_bytes()),
            Err(errno) => Err(self.read_error(errno, pid, link)),
        }
    }

    /// The root folder of a process: chroot(2) and mount namespaces give it one of its own.
    pub(super) fn open_root(&self, pid: Pid) -> Result<OwnedFd, ReadError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(&self.directory, Name::new(pid, "root").as_c_str(), flags, Mode::empty())
            .map_err(|errno| self.read_error(errno, pid, "root"))
    }

    /// Reads a file of a process from its start. One that was kept open never shows another process: once its own was
    /// reaped, the kernel says ESRCH.
    pub(super) fn read<'b>(
        &self,
        opened: impl AsFd,
        buffer: &'b mut [u8; TEXT_BYTES],
        pid: Pid,
        file: &'static str,
    ) -> Result<&'b [u8], ReadError> {
        match rustix::io::pread(opened, &mut buffer[..], 0) {
            Ok(length) => Ok(&buffer[..length]),
            Err(errno) => Err(self.read_error(errno, pid, file)),
        }
    }

    /// Reads `stat` of whatever process the opened one is of.
    pub(super) fn stat<'b>(
        &self,
        opened: impl AsFd,
        pid: Pid,
        buffer: &'b mut [u8; TEXT_BYTES],
    ) -> Result<Stat<'b>, ReadError> {
        let text = self.read(opened, buffer, pid, "stat")?;
        Stat::parse(text).map_err(|what| self.parse_error(what, pid, "stat"))
    }

    /// Reads `stat` of this process, opened before everything else that is read of it, and read last: then it was not
    /// reaped meanwhile, and the rest is its own.
    pub(super) fn stat_of<'b>(
        &self,
        opened: impl AsFd,
        process: ProcessKey,
        buffer: &'b mut [u8; TEXT_BYTES],
    ) -> Result<Stat<'b>, ReadError> {
        let stat = self.stat(opened, process.pid, buffer)?;
        if stat.start_ticks == process.start_ticks { Ok(stat) } else { Err(ReadError::Gone) }
    }

    /// Who runs the process: the owner of its directory. The files in it are shown as root's when the process is a
    /// zombie or not dumpable: proc(5), `task_dump_owner` of fs/proc/base.c.
    pub(super) fn credentials(&self, pid: Pid) -> Result<Credentials, ReadError> {
        match rustix::fs::statat(&self.directory, Name::new(pid, "").as_c_str(), AtFlags::empty()) {
            Ok(status) => Ok(Credentials { uid: status.st_uid, gid: status.st_gid }),
            Err(errno) => Err(self.read_error(errno, pid, "")),
        }
    }

    /// The error of a text that cannot be understood.
    pub(super) fn parse_error(&self, what: &'static str, pid: Pid, file: &'static str) -> ReadError {
        ReadError::Parse { path: self.file_path(pid, file), what }
    }

    /// What it means that the kernel refuses a file of a process.
    pub(super) fn read_error(&self, errno: Errno, pid: Pid, file: &'static str) -> ReadError {
        match errno {
            Errno::NOENT | Errno::SRCH => ReadError::Gone,
            _ => failure(errno, self.file_path(pid, file)),
        }
    }

    fn file_path(&self, pid: Pid, file: &'static str) -> PathBuf {
        self.path.join(pid.to_string()).join(file)
    }
}

fn failure(errno: Errno, path: PathBuf) -> ReadError {
    match errno {
        Errno::ACCESS | Errno::PERM => ReadError::Denied { path },
        _ => ReadError::Io { path, source: errno.into() },
    }
}

/// `PID/file`, as the kernel takes it, without an allocation.
struct Name([u8; 24]);

impl Name {
    fn new(pid: Pid, file: &'static str) -> Name {
        let mut bytes = [0; 24];
        write!(&mut bytes[..23], "{pid}/{file}").expect("ten digits and a short name fit");
        Name(bytes)
    }

    fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).expect("the last byte is always zero")
    }
}
