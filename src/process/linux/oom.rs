//! How many processes of a cgroup the kernel killed for memory: Documentation/admin-guide/cgroup-v2.rst
//! (`memory.events`) and cgroup-v1/memory.rst (`memory.oom_control`).

use std::path::{Component, Path, PathBuf};

use super::host;
use super::stat::labelled;
use crate::model::Pid;

/// The file that counts the out-of-memory kills of the cgroup that a process is in; none where there is no such file or
/// it cannot be read. `root` is `/` but in tests.
pub(super) fn counter(root: &Path, pid: Pid) -> Option<PathBuf> {
    let membership = std::fs::read_to_string(root.join(format!("proc/{pid}/cgroup"))).ok()?;
    let mounts = std::fs::read_to_string(root.join("proc/self/mounts")).ok()?;
    let candidates = candidates(&membership, &mounts);
    let readable = |file: &PathBuf| count(file).is_some();
    candidates.into_iter().map(|file| root.join(file.strip_prefix("/").unwrap_or(&file))).find(readable)
}

/// The count that such a file has now.
pub(super) fn count(file: &Path) -> Option<u64> {
    labelled(host::file(file, &mut [0; 512])?, b"oom_kill ")
}

/// Where the count may be: with version 1 the memory controller has a tree of its own. A cgroup's own events first, those
/// of all below it where the kernel tells no other (before Linux 5.2).
fn candidates(membership: &str, mounts: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for line in membership.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        // A path that leads outside the mount is that of another cgroup namespace.
        let relative = Path::new(path.trim_start_matches('/'));
        if relative.components().any(|part| !matches!(part, Component::Normal(_))) {
            continue;
        }
        let files: &[&str] = if controllers.is_empty() {
            &["memory.events.local", "memory.events"]
        } else if controllers.split(',').any(|controller| controller == "memory") {
            &["memory.oom_control"]
        } else {
            continue;
        };
        for mount in mounts.lines().filter_map(|line| mount_point(line, controllers.is_empty())) {
            found.extend(files.iter().map(|file| Path::new(mount).join(relative).join(file)));
        }
    }
    found
}

/// The directory of a line of `/proc/mounts` that mounts the memory controller, or version 2: fstab(5).
fn mount_point(line: &str, version_2: bool) -> Option<&str> {
    let mut fields = line.split(' ').skip(1);
    let (point, kind, options) = (fields.next()?, fields.next()?, fields.next()?);
    let fits = match kind {
        "cgroup2" => version_2,
        "cgroup" => !version_2 && options.split(',').any(|option| option == "memory"),
        _ => false,
    };
    fits.then_some(point)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n\
                      cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let check = |membership: &str, expected: &[&str]| {
            let found = candidates(membership, mounts);
            assert_eq!(found, expected.iter().map(PathBuf::from).collect::<Vec<_>>(), "{membership}");
        };
        check("4:memory:/a/b\n1:cpu:/c\n", &["/sys/fs/cgroup/memory/a/b/memory.oom_control"]);
        let unified = "/sys/fs/cgroup/unified/x.slice";
        check("0::/x.slice\n", &[&format!("{unified}/memory.events.local"), &format!("{unified}/memory.events")]);
        check("5:cpu,memory:/\n", &["/sys/fs/cgroup/memory/memory.oom_control"]);
        check("4:memory:/../../etc\n", &[]);
        check("nonsense\n", &[]);
    }

    #[test]
    fn counts() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("memory.events");
        std::fs::write(&file, "low 0\noom 3\noom_kill 2\noom_group_kill 0\n").unwrap();
        assert_eq!(count(&file), Some(2));
        std::fs::write(&file, "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n").unwrap();
        assert_eq!(count(&file), Some(1));
        std::fs::write(&file, "oom_kill_disable 0\n").unwrap();
        assert_eq!(count(&file), None);
        assert_eq!(count(Path::new("/nowhere")), None);
    }
}
