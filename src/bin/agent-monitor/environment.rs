//! The only place that reads the environment: settings beside the flags, and where things are when nothing says otherwise.

use std::path::PathBuf;

use agent_monitor::config::Directories;

use crate::failure::{Failure, Kind};

const NAME: &str = "agent-monitor";

/// The state and runtime directories.
///
/// # Errors
/// When neither the service manager nor the user's environment names a place.
pub(crate) fn directories() -> Result<Directories, Failure> {
    let given = |name: &str| variable(name).map(|list| first_of(&list));
    let root = rustix::process::geteuid().is_root();
    let state = match (given("STATE_DIRECTORY"), root) {
        (Some(state), _) => state,
        (None, true) => PathBuf::from("/var/lib").join(NAME),
        (None, false) => user_state()?.join(NAME),
    };
    let runtime = match (given("RUNTIME_DIRECTORY"), root) {
        (Some(runtime), _) => runtime,
        (None, true) => PathBuf::from("/run").join(NAME),
        (None, false) => variable("XDG_RUNTIME_DIR").map_or_else(|| state.clone(), |dir| PathBuf::from(dir).join(NAME)),
    };
    Ok(Directories { state, runtime })
}

fn user_state() -> Result<PathBuf, Failure> {
    let state = variable("XDG_STATE_HOME").map(PathBuf::from);
    let home = || variable("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    state.or_else(home).ok_or_else(|| {
        let error = anyhow::anyhow!("nowhere to keep history: neither XDG_STATE_HOME nor HOME is set; use --state-dir");
        Failure::new(Kind::Unusable, error)
    })
}

/// systemd lists several directories with colons; the first is ours.
fn first_of(list: &str) -> PathBuf {
    PathBuf::from(list.split(':').next().unwrap_or_default())
}

#[expect(clippy::disallowed_methods, reason = "the program, not the library, reads the environment")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
