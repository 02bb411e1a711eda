//! What the kernel shows and tells us.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use agent_monitor::process::here::{raise_open_files, source};

use super::{Check, files};

pub(super) fn checks() -> Vec<Check> {
    let open_files = raise_open_files();
    let told = source(Arc::new(|| ())).map(|source| source.tells_forks()).map_err(|error| error.to_string());
    vec![others(Path::new("/proc")), starts(told), pressure(Path::new("/proc/pressure")), files(open_files)]
}

/// Process 1 is somebody else's for all but root: with `hidepid` it cannot be seen, proc(5).
fn others(proc: &Path) -> Check {
    const NAME: &str = "processes";
    match fs::read(proc.join("1/stat")) {
        Ok(_) => Check::pass(NAME, "those of other users can be seen"),
        Err(error) => {
            let remedy = "mount /proc without hidepid, or run the daemon with the group of its gid= option";
            Check::fail(NAME, format!("those of other users are hidden ({}: {error})", proc.display()), remedy)
        }
    }
}

fn starts(told: Result<bool, String>) -> Check {
    const NAME: &str = "process events";
    match told {
        Ok(true) => Check::pass(NAME, "the kernel tells of every start and end"),
        Ok(false) => {
            let remedy = "use Linux 6.6 or newer, or CAP_NET_ADMIN before that, in the host's own namespaces; until then \
                          children are found by looking, and one that is left by its parent at once may be missed";
            Check::warn(NAME, "the kernel does not tell of starts", remedy)
        }
        Err(error) => Check::fail(NAME, error, "use Linux 5.10 or newer, with a readable /proc"),
    }
}

fn pressure(directory: &Path) -> Check {
    const NAME: &str = "pressure";
    match fs::read(directory.join("memory")) {
        Ok(_) => Check::pass(NAME, "the kernel measures what waits for memory, processors and storage"),
        Err(error) => {
            let remedy = "boot with psi=1, and a kernel with CONFIG_PSI: until then pressure is null";
            Check::warn(NAME, format!("{}: {error}", directory.display()), remedy)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;

    #[test]
    fn what_the_kernel_shows() {
        let bare = tempfile::tempdir().unwrap();
        assert_eq!(others(Path::new("/proc")).outcome, Outcome::Pass);
        assert!(matches!(others(bare.path()).outcome, Outcome::Fail(remedy) if remedy.contains("hidepid")));
        fs::write(bare.path().join("memory"), "some").unwrap();
        assert_eq!(pressure(bare.path()).outcome, Outcome::Pass);
        assert!(matches!(pressure(&bare.path().join("none")).outcome, Outcome::Warn(_)));
    }

    #[test]
    fn what_the_kernel_tells() {
        assert_eq!(starts(Ok(true)).outcome, Outcome::Pass);
        assert!(matches!(starts(Ok(false)).outcome, Outcome::Warn(remedy) if remedy.contains("CAP_NET_ADMIN")));
        assert!(matches!(starts(Err("no pidfd".to_owned())).outcome, Outcome::Fail(_)));
    }
}
