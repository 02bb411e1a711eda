//! What program a process runs: `exe`, `cmdline`, and where its script really is. Read-only; nothing is opened but what
//! `/proc` itself offers.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;

use super::procfs::{Procfs, TEXT_BYTES};
use crate::model::{Image, Pid, ProcessKey, Script};
use crate::process::ReadError;
use crate::process::common::line;
use crate::recognise;

/// As much of a command line as is read, bytes.
const LINE_BYTES: usize = 64 << 10;
/// As many links as are followed for one path, as path_resolution(7) does.
const LINKS: usize = 40;
/// The longest path, bytes: `PATH_MAX`.
const PATH_BYTES: usize = 4096;

/// Reads what is known of the program of a process. May wait for it, or for the file system its script is on.
pub(super) fn image(procfs: &Procfs, process: ProcessKey) -> Result<Image, ReadError> {
    let pid = process.pid;
    let stat = procfs.open_file(pid, "stat")?;
    let exe = match procfs.link(pid, "exe") {
        Ok(target) => Some(living_path(&target)),
        Err(ReadError::Denied { .. }) => None,
        Err(error) => return Err(error),
    };
    let words = line::words(&command_line(procfs, pid)?);
    let script = recognise::script(exe.as_deref(), &words).and_then(|word| script(procfs, pid, word));
    procfs.stat_of(stat, process, &mut [0; TEXT_BYTES])?;
    Ok(Image { exe, words, script })
}

/// The target of `exe` without what the kernel adds when the file was deleted or replaced: proc_pid_exe(5).
fn living_path(target: &[u8]) -> Box<str> {
    let path = target.strip_suffix(b" (deleted)").unwrap_or(target);
    String::from_utf8_lossy(path).into()
}

fn command_line(procfs: &Procfs, pid: Pid) -> Result<Vec<u8>, ReadError> {
    let file = procfs.open_file(pid, "cmdline")?;
    let mut line = vec![0; LINE_BYTES];
    let mut length = 0;
    while length < LINE_BYTES {
        match rustix::io::pread(&file, &mut line[length..], length as u64) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(procfs.read_error(errno, pid, "cmdline")),
        }
    }
    line.truncate(length);
    Ok(line)
}

/// The script's path made absolute, and resolved as the process sees the file tree. None where its folder or its root may
/// not be read.
fn script(procfs: &Procfs, pid: Pid, word: &str) -> Option<Script> {
    let path = line::absolute(word, || procfs.link(pid, "cwd").ok())?;
    let resolved = procfs.open_root(pid).ok().and_then(|root| resolve(&root, path.as_bytes()));
    let resolved = resolved.map(|resolved| String::from_utf8_lossy(&resolved).into());
    Some(Script { path: path.into(), resolved })
}

/// Follows every link of an absolute path below `root`, never out of it. None when there is no such file, when there are
/// too many links, and when it may not be looked at.
///
/// By hand, since openat2(2) is younger than the oldest kernel we run on, and so that nothing is opened.
fn resolve(root: &OwnedFd, path: &[u8]) -> Option<Vec<u8>> {
    let mut done: Vec<u8> = Vec::new();
    // What is still to be walked, the next name last.
    let mut ahead: Vec<Vec<u8>> = names(path);
    let mut links = 0;
    while let Some(name) = ahead.pop() {
        if name == b".." {
            let parent = done.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
            done.truncate(parent);
            continue;
        }
        let length = done.len();
        done.push(b'/');
        done.extend_from_slice(&name);
        if done.len() > PATH_BYTES {
            return None;
        }
        // Without its leading slash: relative to the root that was opened.
        let here = CString::new(&done[1..]).ok()?;
        match rustix::fs::readlinkat(root.as_fd(), &here, Vec::new()) {
            Ok(target) => {
                links += 1;
                let target = target.as_bytes();
                if links > LINKS || target.is_empty() {
                    return None;
                }
                done.truncate(if target.starts_with(b"/") { 0 } else { length });
                ahead.extend(names(target));
            }
            // It is there and no link.
            Err(Errno::INVAL) => {}
            Err(_) => return None,
        }
    }
    Some(done)
}

/// The names of a path, the first one last.
fn names(path: &[u8]) -> Vec<Vec<u8>> {
    let names = path.split(|&byte| byte == b'/').filter(|name| !name.is_empty() && *name != b".");
    let mut names: Vec<Vec<u8>> = names.map(<[u8]>::to_vec).collect();
    names.reverse();
    names
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn deleted_executables() {
        assert_eq!(&*living_path(b"/bin/codex (deleted)"), "/bin/codex");
        assert_eq!(&*living_path(b"/bin/codex"), "/bin/codex");
    }

    #[test]
    fn links_are_followed_below_the_root_only() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        std::fs::create_dir_all(at("lib/pkg/bundle")).unwrap();
        std::fs::create_dir_all(at("bin")).unwrap();
        std::fs::write(at("lib/pkg/bundle/cli.js"), "").unwrap();
        let link = |to: &str, from: &str| symlink(to, at(from)).unwrap();
        link("../lib/pkg/bundle/cli.js", "bin/relative");
        link("/lib/pkg/bundle/cli.js", "bin/absolute");
        link("relative", "bin/chain");
        link("../../../../../lib/pkg/bundle/cli.js", "bin/upwards");
        link("loop", "bin/loop");
        link("/lib/pkg", "lib/current");
        link("/etc/passwd", "bin/outside");
        link("/proc/self/exe", "bin/magic");
        for number in 1..=LINKS {
            link(&format!("{}", number - 1), &format!("bin/{number}"));
        }
        link("../lib/pkg/bundle/cli.js", "bin/0");
        let root = OwnedFd::from(std::fs::File::open(folder.path()).unwrap());
        let resolved = |path: &str| resolve(&root, path.as_bytes()).map(|path| String::from_utf8(path).unwrap());
        for path in [
            "/bin/relative",
            "/bin/39",
            "/bin/absolute",
            "/bin/chain",
            "/bin/upwards",
            "/lib/current/bundle/cli.js",
            "/../lib//pkg/./bundle/cli.js",
            "/lib/current/../pkg/bundle/cli.js",
        ] {
            assert_eq!(resolved(path).as_deref(), Some("/lib/pkg/bundle/cli.js"), "{path}");
        }
        for path in
            ["/bin/loop", "/bin/40", "/bin/outside", "/bin/magic", "/bin/none", "/lib/pkg/bundle/cli.js/x", "/a\0b"]
        {
            assert_eq!(resolved(path), None, "{path}");
        }
        assert_eq!(resolved(&"/bin".repeat(2000)), None);
    }
}
