//! `endpoint.json`: where a running daemon can be asked, for the other commands and for scripts.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::model::{BootId, Pid, ProcessKey};

/// The file's name in the runtime directory.
pub const FILE_NAME: &str = "endpoint.json";

/// The most that is read of one, bytes.
const LIMIT_BYTES: u64 = 64 << 10;

/// Where a daemon can be asked, and which process it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// The dashboard's address.
    pub url: String,
    /// The Unix socket.
    pub socket: PathBuf,
    /// The daemon's process.
    pub process: ProcessKey,
    /// The boot it lives in.
    pub boot: BootId,
    /// Its version.
    pub version: String,
}

impl Endpoint {
    /// Reads the one in `directory`; `None` where there is none.
    ///
    /// # Errors
    /// When it cannot be read, or is none.
    pub fn read(directory: &Path) -> io::Result<Option<Endpoint>> {
        let mut text = String::new();
        match OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(directory.join(FILE_NAME)) {
            Ok(file) => file.take(LIMIT_BYTES).read_to_string(&mut text)?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Endpoint::parse(&text).map(Some).ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "it is no endpoint.json"))
    }

    /// Puts it into `directory`, which is made if it is missing, in the place of any other. It goes when what is
    /// returned is dropped.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn announce(&self, directory: &Path) -> io::Result<Announced> {
        if !directory.exists() {
            fs::DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
        }
        let new = directory.join(format!(".{FILE_NAME}.{}", self.process.pid));
        // One of an earlier process with this pid that was killed in between.
        let _ = fs::remove_file(&new);
        let written = self.write(&new).and_then(|inode| {
            let path = directory.join(FILE_NAME);
            fs::rename(&new, &path)?;
            Ok(Announced { path, inode })
        });
        if written.is_err() {
            let _ = fs::remove_file(&new);
        }
        written
    }

    fn write(&self, path: &Path) -> io::Result<u64> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
        // Whatever the umask: who may use the endpoint is not decided here.
        file.set_permissions(Permissions::from_mode(0o644))?;
        writeln!(file, "{}", self.text())?;
        Ok(file.metadata()?.ino())
    }

    fn text(&self) -> String {
        serde_json::json!({
            "url": self.url,
            "socket": self.socket.to_string_lossy(),
            "pid": self.process.pid.get(),
            "startTicks": self.process.start_ticks,
            "bootId": &*self.boot,
            "version": self.version,
        })
        .to_string()
    }

    fn parse(text: &str) -> Option<Endpoint> {
        let object: serde_json::Value = serde_json::from_str(text).ok()?;
        let word = |key: &str| Some(object.get(key)?.as_str()?.to_owned());
        let pid = Pid::new(object.get("pid")?.as_i64()?)?;
        Some(Endpoint {
            url: word("url")?,
            socket: word("socket")?.into(),
            process: ProcessKey { start_ticks: object.get("startTicks")?.as_u64()?, pid },
            boot: word("bootId")?.into(),
            version: word("version")?,
        })
    }
}

/// An endpoint in its place. Its file goes when this is dropped, unless another one took its place.
#[derive(Debug)]
pub struct Announced {
    path: PathBuf,
    inode: u64,
}

impl Drop for Announced {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|there| there.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(pid: i64) -> Endpoint {
        Endpoint {
            url: "http://127.0.0.1:7717/".into(),
            socket: "/run/a \"b\"/s".into(),
            process: ProcessKey { start_ticks: u64::MAX, pid: Pid::new(pid).unwrap() },
            boot: "b00t".into(),
            version: "0.1.0".into(),
        }
    }

    #[test]
    fn comes_back_and_goes() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("run/agent-monitor");
        assert_eq!(Endpoint::read(&place).unwrap(), None);
        let announced = endpoint(7).announce(&place).unwrap();
        assert_eq!(Endpoint::read(&place).unwrap(), Some(endpoint(7)));
        assert_eq!(fs::metadata(place.join(FILE_NAME)).unwrap().permissions().mode() & 0o777, 0o644);
        drop(announced);
        assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
    }

    #[test]
    fn a_successor_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let old = endpoint(7).announce(dir.path()).unwrap();
        let _new = endpoint(8).announce(dir.path()).unwrap();
        drop(old);
        assert_eq!(Endpoint::read(dir.path()).unwrap(), Some(endpoint(8)));
    }

    #[test]
    fn other_texts_are_none() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "{}", "[1]", r#"{"url":1}"#, &endpoint(7).text().replace(":7,", ":0,"), &"[".repeat(100_000)] {
            fs::write(dir.path().join(FILE_NAME), text).unwrap();
            assert_eq!(Endpoint::read(dir.path()).unwrap_err().kind(), ErrorKind::InvalidData, "{text:.20}");
        }
    }
}
