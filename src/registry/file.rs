//! Registries on disk: a file, or a folder with one record per file. Never waits for another process.

use std::fs::File;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::record::{self, Gathering, InvalidDocument};
use super::{LIMIT_BYTES, LIMIT_RECORDS, mebibytes, printable};
use crate::monitor::SourceReading;

/// The most that is read of all files of one folder together, bytes.
pub const LIMIT_FOLDER_BYTES: usize = 256 << 20;

/// Why a file or folder could not be read. The path is in the message.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("cannot {action} {}", shown(path))]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// It is something that might never end or never answer.
    #[error("cannot read {}: it is {kind}, and only regular files and folders are read", shown(path))]
    NotRegular {
        /// Which.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// More than is read.
    #[error("cannot read {}: it has {}, at most {} are read", shown(path), mebibytes(*bytes), mebibytes(*limit_bytes))]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// How much there is, as far as was seen.
        bytes: u64,
        /// The most that is read.
        limit_bytes: u64,
    },
    /// A folder of more files than are read.
    #[error("cannot read {}: it has more than {LIMIT_RECORDS} files", shown(path))]
    TooManyFiles {
        /// Which.
        path: PathBuf,
    },
    /// It was read and is no registry.
    #[error("cannot use {}", shown(path))]
    Invalid {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        source: InvalidDocument,
    },
}

/// A file or folder that is read again and again.
pub struct FileRegistry {
    path: PathBuf,
    hasher: RandomState,
    /// The hash of the file's bytes when it was last read, and what they said.
    last: Option<(u64, SourceReading)>,
}

impl FileRegistry {
    /// What is at `path`, which need not be there yet.
    pub fn new(path: PathBuf) -> FileRegistry {
        FileRegistry { path, hasher: RandomState::new(), last: None }
    }

    /// As [`read`]. Bytes that are those of the last time are not understood anew.
    ///
    /// # Errors
    /// As [`read`].
    pub fn read(&mut self) -> Result<SourceReading, FileError> {
        let Opened::File(file) = open(&self.path)? else { return read(&self.path) };
        let bytes = bytes_of(file, &self.path, LIMIT_BYTES)?;
        let hash = self.hasher.hash_one(&bytes);
        if let Some((last, reading)) = &self.last
            && *last == hash
        {
            return Ok(reading.clone());
        }
        let read = record::parse(&bytes).map_err(|source| FileError::Invalid { path: self.path.clone(), source })?;
        self.last = Some((hash, read.clone()));
        Ok(read)
    }
}

/// Reads a registry file, or a folder of them: each `*.json` in it one record, by order of their names, without
/// dot-files and folders inside. In a folder a file that cannot be used costs only its own record.
///
/// # Errors
/// When nothing of it can be used, or not without risk.
pub fn read(path: &Path) -> Result<SourceReading, FileError> {
    let read = match open(path)? {
        Opened::File(file) => record::parse(&bytes_of(file, path, LIMIT_BYTES)?),
        Opened::Folder => read_folder(path)?.finish(),
    };
    read.map_err(|source| FileError::Invalid { path: path.to_owned(), source })
}

/// Reads a regular file of a folder.
///
/// # Errors
/// As [`read`], and when it is a folder.
fn read_bytes(path: &Path, limit_bytes: usize) -> Result<Vec<u8>, FileError> {
    match open(path)? {
        Opened::File(file) => bytes_of(file, path, limit_bytes),
        Opened::Folder => Err(FileError::NotRegular { path: path.to_owned(), kind: "a folder" }),
    }
}

/// What a look at a file or folder shows without reading it. Equal looks: probably nothing changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// Device, inode, size, mode, and time of change of the file, or of each file that counts in a folder. That it
    /// cannot be seen is a fingerprint too.
    pub fn of(path: &Path) -> Fingerprint {
        let Ok(folder) = std::fs::metadata(path) else { return Fingerprint(0) };
        let mut sum = mark(&[], &folder);
        if folder.is_dir() {
            // A sum, because a folder tells its files in no order.
            for name in names(path).unwrap_or_default() {
                if let Ok(file) = std::fs::metadata(path.join(&name)) {
                    sum = sum.wrapping_add(mark(name.as_encoded_bytes(), &file));
                }
            }
        }
        Fingerprint(sum)
    }
}

fn mark(name: &[u8], file: &std::fs::Metadata) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    (file.dev(), file.ino(), file.size(), file.mode()).hash(&mut hasher);
    (file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()).hash(&mut hasher);
    hasher.finish()
}

enum Opened {
    File(File),
    Folder,
}

/// Opens without waiting for a FIFO's writer, and refuses what is no regular file: before opening, since opening a
/// device can do things, and after, since it may have been exchanged.
fn open(path: &Path) -> Result<Opened, FileError> {
    let failed = |source| FileError::Io { action: "open", path: path.to_owned(), source };
    if is_folder(path, &std::fs::metadata(path).map_err(failed)?)? {
        return Ok(Opened::Folder);
    }
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC).bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path).map_err(failed)?;
    let opened = file.metadata().map_err(failed)?;
    Ok(if is_folder(path, &opened)? { Opened::Folder } else { Opened::File(file) })
}

fn is_folder(path: &Path, metadata: &std::fs::Metadata) -> Result<bool, FileError> {
    let kind = metadata.file_type();
    let kind = if kind.is_file() || kind.is_dir() {
        return Ok(kind.is_dir());
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    Err(FileError::NotRegular { path: path.to_owned(), kind })
}

/// The file's content; no more than the limit is read, whatever its size was said to be.
fn bytes_of(file: File, path: &Path, limit_bytes: usize) -> Result<Vec<u8>, FileError> {
    let failed = |source| FileError::Io { action: "read", path: path.to_owned(), source };
    let limit = limit_bytes as u64;
    let too_large = |bytes| FileError::TooLarge { path: path.to_owned(), bytes, limit_bytes: limit };
    let size = file.metadata().map_err(failed)?.size();
    if size > limit {
        return Err(too_large(size));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
    let count = file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if count > limit_bytes { Err(too_large(count as u64)) } else { Ok(bytes) }
}

fn read_folder(path: &Path) -> Result<Gathering, FileError> {
    let mut gathering = Gathering::default();
    let mut total = 0;
    for name in names(path)? {
        let place = format!("file {:?}", printable(&name.to_string_lossy(), 255));
        match read_bytes(&path.join(&name), LIMIT_BYTES) {
            Ok(bytes) => {
                total += bytes.len();
                if total > LIMIT_FOLDER_BYTES {
                    let limit_bytes = LIMIT_FOLDER_BYTES as u64;
                    return Err(FileError::TooLarge { path: path.to_owned(), bytes: total as u64, limit_bytes });
                }
                gathering.add_file(place, &bytes);
            }
            // Removed since the folder was listed: its agent is gone, that is all.
            Err(FileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(FileError::Io { action, source, .. }) => {
                gathering.skip(&place, &format!("cannot {action} it: {source}"));
            }
            Err(FileError::NotRegular { kind, .. }) => gathering.skip(&place, &format!("it is {kind}")),
            Err(error) => gathering.skip(&place, &error.to_string()),
        }
    }
    Ok(gathering)
}

/// The names that count in a folder, in order.
fn names(path: &Path) -> Result<Vec<std::ffi::OsString>, FileError> {
    let failed = |source| FileError::Io { action: "list", path: path.to_owned(), source };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let bytes = name.as_encoded_bytes();
        if bytes.starts_with(b".") || !bytes.ends_with(b".json") {
            continue;
        }
        if names.len() == LIMIT_RECORDS {
            return Err(FileError::TooManyFiles { path: path.to_owned() });
        }
        names.push(name);
    }
    names.sort_unstable();
    Ok(names)
}

fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy(), usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_read_than_the_limit_whatever_the_size_is_said_to_be() {
        let path = Path::new("/proc/self/status");
        assert_eq!(std::fs::metadata(path).unwrap().size(), 0);
        let error = read_bytes(path, 100).unwrap_err();
        assert!(matches!(error, FileError::TooLarge { bytes: 101, limit_bytes: 100, .. }), "{error}");
        assert!(read_bytes(path, 1 << 20).unwrap().len() > 100);
        assert!(matches!(read_bytes(Path::new("/"), 100), Err(FileError::NotRegular { kind: "a folder", .. })));
    }
}
