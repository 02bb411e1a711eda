//! systemd: a unit of the host with a user of its own, or a unit of one user.

use std::path::PathBuf;

use anyhow::bail;

use super::plan::{Plan, Step};
use super::seal::{Seal, Sealed};
use super::{NAME, Place, Scope, read};

const HOST_UNIT: &str = include_str!("../../../../systemd/agent-monitor.service");
const USER_UNIT: &str = include_str!("../../../../systemd/user/agent-monitor.service");
const SYSUSERS: &str = include_str!("../../../../systemd/agent-monitor.sysusers");

/// The program in these units.
const PROGRAM: &str = "/usr/bin/agent-monitor";
const UNIT: &str = "agent-monitor.service";
const SYSUSERS_PATH: &str = "etc/sysusers.d/agent-monitor.conf";
/// Where packages put units: systemd.unit(5).
const PACKAGED: [&str; 2] = ["usr/lib/systemd", "lib/systemd"];

/// What makes it a service.
pub(super) fn install(place: &Place) -> Result<Plan, anyhow::Error> {
    refuse_packaged(place, "enable --now agent-monitor")?;
    let program = escape(place)?;
    let mut steps = Vec::new();
    let text = match &place.scope {
        Scope::User { .. } => USER_UNIT,
        Scope::Host => {
            steps.push(place.configuration()?);
            let users = place.file(SYSUSERS_PATH);
            steps.push(place.put(users.clone(), SYSUSERS, Seal::Hash)?);
            steps.push(Step::run(&["systemd-sysusers", &users.display().to_string()]));
            HOST_UNIT
        }
    };
    steps.push(place.put(unit(place), &text.replace(PROGRAM, &program), Seal::Hash)?);
    let mut told = vec!["enable"];
    if place.is_running {
        // Takes a unit and a program that changed into use, too.
        told = vec!["daemon-reload", "enable", "restart"];
    }
    steps.extend(told.into_iter().map(|verb| ask(place, verb)));
    let hint = match (&place.scope, place.is_running) {
        (_, false) => "systemd does not run here: the service starts at the next boot",
        (Scope::Host, true) => {
            "it runs: `agent-monitor status`; configuration: /etc/agent-monitor.toml, then `systemctl reload agent-monitor`"
        }
        (Scope::User { .. }, true) => {
            "it runs while you are logged in: `agent-monitor status`; always, after `loginctl enable-linger`"
        }
    };
    Ok(Plan { steps, hint: hint.to_owned() })
}

/// What ends it.
pub(super) fn uninstall(place: &Place) -> Result<Plan, anyhow::Error> {
    let unit = unit(place);
    if read(&unit)?.is_none() {
        refuse_packaged(place, "disable --now agent-monitor")?;
        return Ok(Plan { steps: Vec::new(), hint: format!("there is no service: no {}", unit.display()) });
    }
    let mut steps = Vec::new();
    if place.is_running {
        steps.push(ask(place, "stop"));
    }
    steps.push(ask(place, "disable"));
    steps.extend(place.take(unit, Seal::Hash)?);
    if place.is_running {
        steps.push(ask(place, "daemon-reload"));
    }
    if matches!(place.scope, Scope::Host) {
        steps.extend(place.take(place.file(SYSUSERS_PATH), Seal::Hash)?);
        steps.extend(place.left("etc/agent-monitor.toml", "it is yours"));
        steps.extend(place.left("var/lib/agent-monitor", "history, of the user agent-monitor, which stays too"));
    }
    Ok(Plan { steps, hint: "the service is gone".to_owned() })
}

fn unit(place: &Place) -> PathBuf {
    match &place.scope {
        Scope::Host => place.file("etc/systemd/system").join(UNIT),
        Scope::User { folder, .. } => folder.join("systemd/user").join(UNIT),
    }
}

/// A package's unit is the package's to remove, and one of ours before it would hide what an upgrade brings.
fn refuse_packaged(place: &Place, verbs: &str) -> Result<(), anyhow::Error> {
    let (kind, flag) = if matches!(place.scope, Scope::Host) { ("system", "") } else { ("user", "--user ") };
    let paths = PACKAGED.iter().map(|folder| place.file(folder).join(kind).join(UNIT));
    for path in paths {
        if Seal::Hash.of(read(&path)?.as_deref()) != Sealed::Missing {
            bail!("a package brought {}: use `systemctl {flag}{verbs}`, or remove the package", path.display());
        }
    }
    Ok(())
}

/// The program as it is written in a unit: systemd.service(5), "Command lines".
fn escape(place: &Place) -> Result<String, anyhow::Error> {
    let Some(program) = place.program.to_str().filter(|path| !path.contains(['\n', '"', '\\'])) else {
        bail!("{:?} cannot be named in a unit: move it to /usr/local/bin", place.program);
    };
    let program = program.replace('%', "%%").replace('$', "$$");
    Ok(if program.contains(char::is_whitespace) { format!("\"{program}\"") } else { program })
}

fn ask(place: &Place, verb: &str) -> Step {
    let mut words = vec!["systemctl"];
    if matches!(place.scope, Scope::User { .. }) {
        words.push("--user");
    }
    words.push(verb);
    if verb != "daemon-reload" {
        words.push(NAME);
    }
    Step::run(&words)
}
