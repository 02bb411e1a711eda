//! The only place that reads the environment: settings beside the flags, and where things are when nothing says otherwise.

use std::path::PathBuf;

use agent_monitor::config::Directories;

const NAME: &str = "agent-monitor";

/// The state and runtime directories; `None` when neither the service manager nor the user's environment names a place.
/// `state` is the state directory where a flag names it.
pub(crate) fn directories(state: Option<PathBuf>) -> Option<Directories> {
    let given = |name: &str| variable(name).map(|list| first_of(&list));
    let root = rustix::process::geteuid().is_root();
    let state = state.or_else(|| variable("AGENT_MONITOR_STATE_DIR").map(PathBuf::from));
    let state = match state.and_then(|path| std::path::absolute(path).ok()).or_else(|| given("STATE_DIRECTORY")) {
        Some(state) => state,
        None if root => PathBuf::from("/var/lib").join(NAME),
        None => user_state()?.join(NAME),
    };
    let runtime = match (given("RUNTIME_DIRECTORY"), root) {
        (Some(runtime), _) => runtime,
        (None, true) => PathBuf::from("/run").join(NAME),
        (None, false) => variable("XDG_RUNTIME_DIR").map_or_else(|| state.clone(), |dir| PathBuf::from(dir).join(NAME)),
    };
    Some(Directories { state, runtime })
}

fn user_state() -> Option<PathBuf> {
    let state = variable("XDG_STATE_HOME").map(PathBuf::from);
    state.or_else(|| Some(home()?.join(".local/state")))
}

/// Where the configuration of this user's programs is.
pub(crate) fn user_config() -> Option<PathBuf> {
    let config = variable("XDG_CONFIG_HOME").map(PathBuf::from);
    config.or_else(|| Some(home()?.join(".config")))
}

/// This user's home.
pub(crate) fn home() -> Option<PathBuf> {
    variable("HOME").map(PathBuf::from)
}

/// Where files of the moment go.
pub(crate) fn temporary() -> PathBuf {
    variable("TMPDIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from)
}

/// systemd lists several directories with colons; the first is ours.
fn first_of(list: &str) -> PathBuf {
    PathBuf::from(list.split(':').next().unwrap_or_default())
}

#[expect(clippy::disallowed_methods, reason = "the program, not the library, reads the environment")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
