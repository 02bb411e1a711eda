//! What a system shows and tells us that is not Linux. It is asked by the source alone.

use std::sync::Arc;

use agent_monitor::process::ProcessSource;
use agent_monitor::process::here::{raise_open_files, source};

use super::{Check, files};

#[cfg_attr(test, expect(dead_code, reason = "asked elsewhere only"))]
pub(super) fn checks() -> Vec<Check> {
    let open_files = raise_open_files();
    let source = source(Arc::new(|| ())).map_err(|error| error.to_string());
    let root = rustix::process::geteuid().is_root();
    vec![others(root), starts(source.as_deref()), files(open_files)]
}

fn others(root: bool) -> Check {
    const NAME: &str = "processes";
    if root {
        return Check::pass(NAME, "those of other users can be read");
    }
    let remedy = "run the daemon as root if agents of other users are to be measured";
    Check::warn(NAME, "those of other users can be seen, but not measured: their numbers are null", remedy)
}

fn starts(source: Result<&dyn ProcessSource, &String>) -> Check {
    const NAME: &str = "process events";
    match source.map(ProcessSource::tells_forks) {
        Ok(true) => Check::pass(NAME, "the kernel tells of every start and end"),
        // There is no other way here, so it is no warning.
        Ok(false) => {
            Check::pass(NAME, "children are found by looking; one that is left by its parent at once may be missed")
        }
        Err(error) => {
            Check::fail(NAME, error.clone(), "see that this system and its version are among those in the README")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;

    #[test]
    fn what_is_shown_and_told() {
        assert_eq!(others(true).outcome, Outcome::Pass);
        assert!(matches!(others(false).outcome, Outcome::Warn(remedy) if remedy.contains("root")));
        let source = source(Arc::new(|| ())).unwrap();
        assert_eq!(starts(Ok(&*source)).outcome, Outcome::Pass);
        assert!(
            matches!(starts(Err(&"no queue".to_owned())), Check { outcome: Outcome::Fail(_), found, .. } if found == "no queue")
        );
    }
}
