//! Where the daemon keeps and offers things: state directory, room, database, address, socket.

use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use agent_monitor::config::{Config, format_size};
use agent_monitor::endpoint::Endpoint;
use agent_monitor::store;
use rustix::fs::{Access, AtFlags, CWD, accessat, statvfs};

use super::Check;
use super::account::Account;

/// Below this nothing can be kept, bytes.
const LEAST_BYTES: u64 = 16 << 20;

/// `account` is the daemon's.
pub(super) fn checks(config: &Config, daemon: Option<&Endpoint>, account: &Account) -> Vec<Check> {
    let directory = &config.storage.directory;
    vec![
        state(directory, account),
        room(directory, config.storage.max_size_bytes),
        database(directory, account),
        address(config, daemon),
        socket(config),
    ]
}

fn state(directory: &Path, daemon: &Account) -> Check {
    const NAME: &str = "state directory";
    let shown = directory.display();
    match fs::symlink_metadata(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let above = existing(directory);
            if may(above, Access::WRITE_OK | Access::EXEC_OK) {
                return Check::pass(NAME, format!("{shown} will be made"));
            }
            let remedy = "make it and give it to the user of the daemon, or use another with --state-dir";
            Check::fail(NAME, format!("{shown} cannot be made: {} may not be written", above.display()), remedy)
        }
        Err(error) => Check::fail(NAME, format!("{shown}: {error}"), "use another with --state-dir"),
        Ok(there) if !there.is_dir() => {
            Check::fail(NAME, format!("{shown} is no directory"), "move it away, or use another with --state-dir")
        }
        Ok(there) if there.mode() & 0o002 != 0 => {
            Check::fail(NAME, format!("{shown} can be written to by everyone"), format!("chmod o-w {shown}"))
        }
        Ok(there) => {
            let us = rustix::process::geteuid();
            let is_trusted = [daemon.uid, 0].contains(&there.uid());
            if !is_trusted || !may(directory, Access::WRITE_OK | Access::EXEC_OK) {
                let (owner, daemon) = (there.uid(), daemon.uid);
                let found =
                    format!("{shown} belongs to user {owner}, the daemon is user {daemon}, and this is user {us}");
                return Check::fail(
                    NAME,
                    found,
                    "run this and the daemon as that user, or use another with --state-dir",
                );
            }
            Check::pass(NAME, format!("{shown} can be written"))
        }
    }
}

/// The directory itself, or the nearest above it that is there.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|above| above.exists()).unwrap_or(Path::new("/"))
}

/// With the rights that count when files are opened.
fn may(path: &Path, access: Access) -> bool {
    accessat(CWD, path, access, AtFlags::EACCESS).is_ok()
}

fn room(directory: &Path, wanted: u64) -> Check {
    let place = existing(directory);
    let used = ["", "-wal"].iter().filter_map(|end| {
        let file = directory.join(format!("{}{end}", store::FILE_NAME));
        fs::metadata(file).ok().map(|there| there.len())
    });
    match statvfs(place) {
        Ok(free) => enough(free.f_bavail.saturating_mul(free.f_frsize), used.sum(), wanted, place),
        Err(error) => Check::warn("free space", format!("{}: {error}", place.display()), "see that the disk is well"),
    }
}

fn enough(free: u64, used: u64, wanted: u64, place: &Path) -> Check {
    const NAME: &str = "free space";
    let found = format!("{} MiB free at {}", free >> 20, place.display());
    if free < LEAST_BYTES {
        return Check::fail(NAME, found, "make room: nothing can be kept");
    }
    if free < wanted.saturating_sub(used) {
        let remedy = format!("make room, or lower storage.max_size, which is {}", format_size(wanted));
        return Check::warn(NAME, found, remedy);
    }
    Check::pass(NAME, found)
}

fn database(directory: &Path, daemon: &Account) -> Check {
    const NAME: &str = "database";
    match store::examine(directory, daemon.uid) {
        Ok(true) => Check::pass(NAME, format!("{} is ours", directory.join(store::FILE_NAME).display())),
        Ok(false) => Check::pass(NAME, "will be made at the first start"),
        Err(error) => {
            let remedy = "move it away, use another --state-dir, or run this as the user of the daemon";
            Check::fail(NAME, error.chain(), remedy)
        }
    }
}

fn address(config: &Config, daemon: Option<&Endpoint>) -> Check {
    const NAME: &str = "address";
    let listen = config.api.listen;
    if daemon.is_some_and(|daemon| daemon.url == format!("http://{listen}/")) {
        return Check::pass(NAME, format!("the daemon listens on {listen}"));
    }
    match TcpListener::bind(listen) {
        Ok(_) => Check::pass(NAME, format!("{listen} is free")),
        Err(error) => {
            let remedy = "stop the program that has it (`ss -ltnp` names it), or use another with --listen";
            Check::fail(NAME, format!("cannot listen on {listen}: {error}"), remedy)
        }
    }
}

fn socket(config: &Config) -> Check {
    const NAME: &str = "socket";
    let path = &config.ingest.socket;
    let shown = path.display();
    if let Some(group) = &config.ingest.group
        && !matches!(nix::unistd::Group::from_name(group), Ok(Some(_)))
    {
        let remedy = format!("create it (`groupadd --system {group}`), or change ingest.group");
        return Check::fail(NAME, format!("there is no group {group:?}"), remedy);
    }
    match fs::symlink_metadata(path) {
        Ok(there) if there.file_type().is_socket() => Check::pass(NAME, format!("{shown} is there")),
        Ok(_) => Check::fail(NAME, format!("{shown} is no socket"), "move it away, or use another with --socket"),
        Err(_) => {
            let above = existing(path.parent().unwrap_or(Path::new("/")));
            if may(above, Access::WRITE_OK | Access::EXEC_OK) {
                return Check::pass(NAME, format!("{shown} will be made"));
            }
            let found = format!("{shown} cannot be made: {} may not be written", above.display());
            Check::fail(NAME, found, "run the daemon as another user, or use another with --socket")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;

    #[test]
    fn room_for_what_is_still_to_come() {
        let outcome = |free: u64, used: u64| enough(free << 20, used << 20, 1 << 30, Path::new("/var")).outcome;
        assert_eq!(outcome(1_024, 0), Outcome::Pass);
        assert_eq!(outcome(100, 924), Outcome::Pass, "most of it is used by us already");
        assert!(matches!(outcome(100, 923), Outcome::Warn(remedy) if remedy.contains("1GiB")));
        assert!(matches!(outcome(15, 1_024), Outcome::Fail(_)));
    }
}
