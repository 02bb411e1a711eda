//! The state directory: private to us, and held by one daemon at a time.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::StoreError;

const FILE_NAME: &str = "agent-monitor.lock";

/// A state directory that is ours alone until this is dropped. The kernel lets go of it when the process ends, however
/// that happens; the file stays, since removing it could take away the lock of a successor.
#[derive(Debug)]
pub struct StateLock {
    directory: PathBuf,
    file: File,
}

impl StateLock {
    /// Takes the state directory, which is made with mode 0700 if it is missing. The lock is flock(2) on a file in it
    /// that names the holder's process.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process holds it, [`StoreError::Untrusted`] when somebody else could change
    /// what is in it, [`StoreError::Io`] when it cannot be used.
    pub fn acquire(directory: &Path) -> Result<StateLock, StoreError> {
        let directory = prepare(directory)?;
        let path = directory.join(FILE_NAME);
        let failed = |source| StoreError::Io { doing: "lock", path: path.clone(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::Locked { pid: holder(&file), directory }),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        // For people; the lock holds without it, so a full disk must not keep the daemon from watching.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(StateLock { directory, file })
    }

    /// The directory, without symbolic links.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

/// Closing the file would not do: a child that this program forks at this moment has a copy of it, flock(2), until it
/// executes another program.
impl Drop for StateLock {
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

/// The process that the lock file names.
fn holder(file: &File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Makes the directory if it is missing, and looks whether it can be trusted.
fn prepare(directory: &Path) -> Result<PathBuf, StoreError> {
    let failed = |source| StoreError::Io { doing: "use", path: directory.to_owned(), source };
    let metadata = match std::fs::symlink_metadata(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
            std::fs::symlink_metadata(directory)
        }
        known => known,
    }
    .map_err(failed)?;
    if !metadata.is_dir() {
        let problem = if metadata.is_symlink() { "is a symbolic link" } else { "is not a directory" };
        return Err(untrusted(directory, problem, "name the directory itself"));
    }
    check_owner(directory, &metadata, nix::unistd::Uid::effective().as_raw())?;
    if metadata.mode() & 0o002 != 0 {
        return Err(untrusted(directory, "can be written to by everyone", "chmod o-w it"));
    }
    directory.canonicalize().map_err(failed)
}

/// Refuses what belongs to somebody else than user `ours`, except root, who can do everything anyway.
pub(super) fn check_owner(path: &Path, metadata: &Metadata, ours: u32) -> Result<(), StoreError> {
    if metadata.uid() == ours || metadata.uid() == 0 {
        return Ok(());
    }
    Err(untrusted(path, "belongs to another user", "chown it to the user of the daemon"))
}

pub(super) fn untrusted(path: &Path, problem: &'static str, remedy: &'static str) -> StoreError {
    StoreError::Untrusted { path: path.to_owned(), problem, remedy }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_the_file_does_not_keep_the_lock() {
        let directory = tempfile::tempdir().unwrap();
        let lock = StateLock::acquire(directory.path()).unwrap();
        // What a child has between fork and exec.
        let copy = lock.file.try_clone().unwrap();
        assert!(matches!(StateLock::acquire(directory.path()), Err(StoreError::Locked { .. })));
        drop(lock);
        StateLock::acquire(directory.path()).unwrap();
        drop(copy);
    }
}
