//! Space that is held beside the database for the day on which the disk is full: even deleting takes some, in the log.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;

const FILE_NAME: &str = "agent-monitor.reserve";
const PROBE: &str = "agent-monitor.probe";

/// On a small disk, at most this part of it is held.
const PART_OF_DISK: u64 = 16;

/// The file that holds the space.
pub(super) struct Reserve {
    path: PathBuf,
    bytes: u64,
    wanted: u64,
    used: bool,
}

impl Reserve {
    /// What the last daemon held.
    pub(super) fn find(directory: &Path) -> Reserve {
        let path = directory.join(FILE_NAME);
        let bytes =
            std::fs::symlink_metadata(&path).map_or(0, |metadata| if metadata.is_file() { metadata.len() } else { 0 });
        Reserve { path, bytes, wanted: bytes, used: false }
    }

    /// How much is held.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether as much is held as there should be.
    pub(super) fn is_whole(&self) -> bool {
        self.bytes > 0 && self.bytes >= self.wanted
    }

    /// How much there should be.
    pub(super) fn wanted(&self) -> u64 {
        self.wanted
    }

    /// Whether it was given up, and was not whole again since.
    pub(super) fn was_used(&self) -> bool {
        self.used
    }

    /// Lets go of it. False if there was nothing.
    pub(super) fn give_up(&mut self) -> bool {
        let held = self.bytes > 0 && std::fs::remove_file(&self.path).is_ok();
        self.bytes = 0;
        self.used |= held;
        held
    }

    /// Holds so much, unless it already does, or that would leave less than as much again to others.
    pub(super) fn make(&mut self, bytes: u64) -> std::io::Result<()> {
        let made = self.try_to_make(bytes);
        self.used &= !self.is_whole();
        made
    }

    fn try_to_make(&mut self, bytes: u64) -> std::io::Result<()> {
        let directory = self.path.parent().unwrap_or(&self.path);
        let disk = statvfs(directory)?;
        self.wanted = bytes.min(disk.f_blocks.saturating_mul(disk.f_frsize) / PART_OF_DISK);
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if self.is_whole() || self.wanted == 0 || free < 2 * self.wanted {
            return Ok(());
        }
        remove(&self.path)?;
        self.bytes = 0;
        let made = new(&self.path).and_then(|file| fill(&file, self.wanted));
        match made {
            Ok(()) => self.bytes = self.wanted,
            Err(_) => remove(&self.path)?,
        }
        made
    }
}

/// Takes the space, not only the length.
fn fill(file: &File, bytes: u64) -> std::io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
        done => return Ok(done?),
    }
    let zeros = [0; 1 << 16];
    let mut left = bytes;
    while left > 0 {
        let some = usize::try_from(left).unwrap_or(usize::MAX).min(zeros.len());
        (&mut &*file).write_all(&zeros[..some])?;
        left -= some as u64;
    }
    Ok(())
}

/// Whether there is no room for a page more behind `at`, the length of a file: on the disk, in what this user may take of
/// it, or in what a file may be. SQLite says of the last two only that writing failed.
pub(super) fn refuses(directory: &Path, at: u64) -> bool {
    let path = directory.join(PROBE);
    let tried = remove(&path).and_then(|()| new(&path)).and_then(|file| {
        file.write_all_at(&[1; 4096], at)?;
        file.sync_all()
    });
    let _ = remove(&path);
    let code = tried.err().and_then(|error| error.raw_os_error());
    code.is_some_and(|code| [libc::ENOSPC, libc::EDQUOT, libc::EFBIG].contains(&code))
}

fn new(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn space_is_taken_given_up_and_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE_NAME);
        let mut reserve = Reserve::find(directory.path());
        assert!(!reserve.is_whole() && !reserve.give_up() && !reserve.was_used());
        reserve.make(1 << 20).unwrap();
        assert!(reserve.is_whole());
        assert!(path.metadata().unwrap().blocks() * 512 >= 1 << 20, "not only a length");
        let mut found = Reserve::find(directory.path());
        assert_eq!((found.bytes(), found.is_whole()), (1 << 20, true));
        found.make(2 << 20).unwrap();
        assert_eq!(path.metadata().unwrap().len(), 2 << 20, "more is wanted");
        assert!(found.give_up() && !path.exists() && !found.is_whole() && found.was_used());
        found.make(1 << 20).unwrap();
        assert!(found.is_whole() && !found.was_used());
    }

    #[test]
    fn a_link_in_its_place_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let elsewhere = directory.path().join("elsewhere");
        std::fs::write(&elsewhere, "kept").unwrap();
        for name in [FILE_NAME, PROBE] {
            std::os::unix::fs::symlink(&elsewhere, directory.path().join(name)).unwrap();
        }
        let mut reserve = Reserve::find(directory.path());
        assert_eq!(reserve.bytes(), 0);
        reserve.make(4096).unwrap();
        assert!(reserve.is_whole() && !refuses(directory.path(), 0));
        assert_eq!(std::fs::read(&elsewhere).unwrap(), b"kept");
    }
}
