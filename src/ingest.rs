//! The Unix socket: for whoever its permissions let in.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::config::socket_workshop;

/// A bound socket. Its file goes when this is dropped, unless another one took its place.
pub struct Socket {
    /// The listening side.
    pub listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Something else is there.
    #[error("{} is no socket: move it away or set another with --socket", path.display())]
    InTheWay {
        /// Where.
        path: PathBuf,
    },
    /// Somebody answers there.
    #[error("another program answers at {}: stop it or set another socket with --socket", path.display())]
    InUse {
        /// Where.
        path: PathBuf,
    },
    /// A stale socket of somebody else's.
    #[error("the socket {} belongs to another user: remove it or set another with --socket", path.display())]
    NotOurs {
        /// Where.
        path: PathBuf,
    },
    /// There is no group of that name.
    #[error("there is no group {group:?}: create it or change ingest.group")]
    NoGroup {
        /// Its name.
        group: String,
    },
    /// The system refused.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl Socket {
    /// Listens at `path`, with these permissions from the first moment: the socket is made in a directory that nobody
    /// else may enter, and moved to its place when it is ready. A stale socket is replaced if it is ours and nobody
    /// answers.
    ///
    /// # Errors
    /// See [`SocketError`].
    pub fn bind(path: &Path, mode: u32, group: Option<&str>) -> Result<Socket, SocketError> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !parent.exists() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(parent)
                .map_err(failed("create the directory", parent))?;
        }
        check_place(path)?;
        let private = socket_workshop(parent, std::process::id());
        // One of an earlier process with this pid that was killed in between.
        let _ = fs::remove_dir_all(&private);
        fs::DirBuilder::new().mode(0o700).create(&private).map_err(failed("create the directory", &private))?;
        let bound = bind_inside(&private.join("s"), path, mode, group);
        let _ = fs::remove_dir_all(&private);
        bound
    }

    /// Gives the socket these permissions.
    ///
    /// # Errors
    /// See [`SocketError`]. A socket file that is no longer ours is left alone, without an error.
    pub fn permit(&self, mode: u32, group: Option<&str>) -> Result<(), SocketError> {
        if self.is_in_its_place() { permit(&self.path, mode, group) } else { Ok(()) }
    }

    fn is_in_its_place(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|there| there.ino() == self.inode)
    }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SocketError {
    move |source| SocketError::Io { doing, path: path.to_owned(), source }
}

fn permit(path: &Path, mode: u32, group: Option<&str>) -> Result<(), SocketError> {
    if let Some(name) = group {
        let no_group = || SocketError::NoGroup { group: name.to_owned() };
        let found = nix::unistd::Group::from_name(name).ok().flatten().ok_or_else(no_group)?;
        let there = fs::symlink_metadata(path).map_err(failed("look at", path))?;
        // Under the sandbox of a service the call is not allowed: nor needed, where the group is the daemon's own.
        if there.gid() != found.gid.as_raw() {
            std::os::unix::fs::chown(path, None, Some(found.gid.as_raw())).map_err(failed("set the group of", path))?;
        }
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed("set the permissions of", path))
}

fn bind_inside(new: &Path, path: &Path, mode: u32, group: Option<&str>) -> Result<Socket, SocketError> {
    let listener = UnixListener::bind(new).map_err(failed("bind the socket", path))?;
    permit(new, mode, group)?;
    listener.set_nonblocking(true).map_err(failed("set up the socket", path))?;
    let inode = fs::symlink_metadata(new).map_err(failed("look at", path))?.ino();
    fs::rename(new, path).map_err(failed("put in its place", path))?;
    Ok(Socket { listener, path: path.to_owned(), inode })
}

/// Whether a socket may be put here.
fn check_place(path: &Path) -> Result<(), SocketError> {
    let owned = path.to_owned();
    let there = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at", path)(error)),
        Ok(there) => there,
    };
    if !there.file_type().is_socket() {
        return Err(SocketError::InTheWay { path: owned });
    }
    match knock(path) {
        // Nobody answers: what an earlier daemon left behind. Somebody else's may be about to be used again.
        Err(Errno::CONNREFUSED) if there.uid() == rustix::process::geteuid().as_raw() => Ok(()),
        Err(Errno::CONNREFUSED) => Err(SocketError::NotOurs { path: owned }),
        // Gone meanwhile.
        Err(Errno::NOENT) => Ok(()),
        // As many wait to be answered as can: somebody is there, however slow.
        Ok(()) | Err(Errno::AGAIN) => Err(SocketError::InUse { path: owned }),
        Err(error) => Err(failed("see who answers at", path)(error.into())),
    }
}

/// Whether somebody answers at a socket. Does not wait, as connecting to one whose owner hangs would.
fn knock(path: &Path) -> rustix::io::Result<()> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket};
    let ours = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    connect(&ours, &SocketAddrUnix::new(path)?)
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.is_in_its_place() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn binds_with_its_permissions_and_cleans_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/agent-monitor.sock");
        let socket = Socket::bind(&path, 0o640, None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        UnixStream::connect(&path).unwrap();
        socket.permit(0o600, None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(socket.permit(0o640, Some("no such group")), Err(SocketError::NoGroup { .. })));
        assert!(matches!(Socket::bind(&path, 0o640, None), Err(SocketError::InUse { .. })));
        drop(socket);
        assert!(!path.exists() && fs::read_dir(path.parent().unwrap()).unwrap().next().is_none());
    }

    #[test]
    fn replaces_a_stale_socket_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        drop(UnixListener::bind(&path).unwrap()); // a listener that ended and left its file
        let socket = Socket::bind(&path, 0o600, None).unwrap();
        UnixStream::connect(&path).unwrap();
        drop(socket);
        fs::write(&path, "notes").unwrap();
        assert!(matches!(Socket::bind(&path, 0o600, None), Err(SocketError::InTheWay { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "notes");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(Socket::bind(&link, 0o600, None), Err(SocketError::InTheWay { .. })));
        assert!(matches!(
            Socket::bind(&dir.path().join("g"), 0o600, Some("no such group")),
            Err(SocketError::NoGroup { .. })
        ));
    }

    #[test]
    fn leaves_the_stale_socket_of_somebody_else_alone() {
        if !rustix::process::geteuid().is_root() {
            println!("only root can make one");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        drop(UnixListener::bind(&path).unwrap());
        std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
        assert!(matches!(Socket::bind(&path, 0o600, None), Err(SocketError::NotOurs { .. })));
        assert!(path.exists());
    }

    #[test]
    fn does_not_wait_for_somebody_who_hangs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        // Until no more can wait for an answer that never comes.
        let last = (0..1_000).map(|_| knock(&path)).find(Result::is_err);
        assert_eq!(last, Some(Err(Errno::AGAIN)));
        assert!(matches!(Socket::bind(&path, 0o600, None), Err(SocketError::InUse { .. })));
    }

    #[test]
    fn leaves_the_socket_of_a_successor_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let old = Socket::bind(&path, 0o600, None).unwrap();
        fs::remove_file(&path).unwrap();
        let new = Socket::bind(&path, 0o600, None).unwrap();
        drop(old);
        UnixStream::connect(&path).unwrap();
        drop(new);
    }
}
