//! launchd: a daemon of the host, which is root's, since macOS shows other users' processes to nobody else; or an agent of
//! one user's session.

use std::path::{Path, PathBuf};

use anyhow::bail;

use super::plan::{Plan, Step};
use super::seal::Seal;
use super::{Place, Scope, read};

const DAEMON: &str = include_str!("../../../../launchd/agent-monitor.plist");
const AGENT: &str = include_str!("../../../../launchd/agent-monitor.user.plist");

/// The program in both property lists.
const PROGRAM: &str = "/usr/local/bin/agent-monitor";
/// The log in that of a user: a property list cannot say where a home is.
const LOG: &str = "/Users/you/Library/Logs/agent-monitor.log";

/// What makes it a service.
pub(super) fn install(place: &Place) -> Result<Plan, anyhow::Error> {
    let path = plist(place);
    let mut steps = Vec::new();
    let text = match &place.scope {
        Scope::Host => {
            steps.push(place.configuration()?);
            DAEMON.to_owned()
        }
        Scope::User { folder, .. } => AGENT.replace(LOG, &escape(&folder.join("Library/Logs/agent-monitor.log"))?),
    };
    let text = text.replace(PROGRAM, &escape(&place.program)?);
    let was_there = read(&path)?.is_some();
    steps.push(place.put(path.clone(), &text, Seal::Xml)?);
    let (domain, service) = target(place);
    if was_there {
        // Not loaded is well, too.
        steps.push(Step::Try(["launchctl", "bootout", &service].map(str::to_owned).to_vec()));
    }
    steps.push(Step::run(&["launchctl", "enable", &service]));
    steps.push(Step::run(&["launchctl", "bootstrap", &domain, &path.display().to_string()]));
    let hint = match &place.scope {
        Scope::Host => format!(
            "it runs: `agent-monitor status`; configuration: /etc/agent-monitor.toml, then `launchctl kill HUP {service}`"
        ),
        Scope::User { .. } => "it runs while you are logged in: `agent-monitor status`".to_owned(),
    };
    Ok(Plan { steps, hint })
}

/// What ends it.
pub(super) fn uninstall(place: &Place) -> Result<Plan, anyhow::Error> {
    let path = plist(place);
    if read(&path)?.is_none() {
        return Ok(Plan { steps: Vec::new(), hint: format!("there is no service: no {}", path.display()) });
    }
    let (_, service) = target(place);
    let mut steps = vec![Step::Try(["launchctl", "bootout", &service].map(str::to_owned).to_vec())];
    steps.extend(place.take(path, Seal::Xml)?);
    if matches!(place.scope, Scope::Host) {
        steps.extend(place.left("etc/agent-monitor.toml", "it is yours"));
        steps.extend(place.left("var/lib/agent-monitor", "history"));
    }
    Ok(Plan { steps, hint: "the service is gone".to_owned() })
}

/// Named as its label is.
fn plist(place: &Place) -> PathBuf {
    match &place.scope {
        Scope::Host => place.file("Library/LaunchDaemons/agent-monitor.plist"),
        Scope::User { folder, .. } => folder.join("Library/LaunchAgents/agent-monitor.user.plist"),
    }
}

/// The domain, and the service in it by its label: launchctl(1).
fn target(place: &Place) -> (String, String) {
    match &place.scope {
        Scope::Host => ("system".to_owned(), "system/agent-monitor".to_owned()),
        Scope::User { uid, .. } => (format!("gui/{uid}"), format!("gui/{uid}/agent-monitor.user")),
    }
}

/// A path as text of a property list.
fn escape(path: &Path) -> Result<String, anyhow::Error> {
    let Some(text) = path.to_str().filter(|text| !text.contains(char::is_control)) else {
        bail!("{path:?} cannot be named in a property list");
    };
    Ok(text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"))
}
