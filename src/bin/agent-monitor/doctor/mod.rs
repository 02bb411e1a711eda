//! `doctor`: what the daemon needs of this host, what it will not see here, and what to do about it. Looks, and changes
//! nothing.

mod agents;
mod host;
mod place;

use std::fmt::Write;

use agent_monitor::config::{Config, Directories};
use agent_monitor::endpoint::Endpoint;
use anyhow::anyhow;
use serde_json::json;

use crate::cli::{ClientOptions, ConfigOptions};
use crate::client::{self, Client};
use crate::failure::{Failure, Kind};
use crate::output::print;
use crate::table::{Colour, Look, harmless_json, printable};
use crate::{environment, run};

/// What came of one look.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Check {
    /// What was looked at.
    name: &'static str,
    outcome: Outcome,
    /// What was found.
    found: String,
}

/// Whether that is well, and otherwise what to do.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Outcome {
    Pass,
    /// The daemon runs, and sees or keeps less than it could.
    Warn(String),
    /// The daemon does not start, or does not see the agents.
    Fail(String),
}

impl Check {
    fn pass(name: &'static str, found: impl Into<String>) -> Check {
        Check { name, outcome: Outcome::Pass, found: found.into() }
    }

    fn warn(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Check {
        Check { name, outcome: Outcome::Warn(remedy.into()), found: found.into() }
    }

    fn fail(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Check {
        Check { name, outcome: Outcome::Fail(remedy.into()), found: found.into() }
    }

    fn word(&self) -> (&'static str, Look, Option<&str>) {
        match &self.outcome {
            Outcome::Pass => ("PASS", Look::Good, None),
            Outcome::Warn(remedy) => ("WARN", Look::Warning, Some(remedy)),
            Outcome::Fail(remedy) => ("FAIL", Look::Bad, Some(remedy)),
        }
    }
}

/// Looks at everything and prints it.
///
/// # Errors
/// When a check fails, after all were printed.
pub(crate) fn doctor(options: &ConfigOptions, json: bool) -> Result<(), Failure> {
    let checks = look(options)?;
    print(&if json { document(&checks) } else { page(&checks, Colour::of_stdout()) })?;
    match checks.iter().filter(|check| matches!(check.outcome, Outcome::Fail(_))).count() {
        0 => Ok(()),
        1 => Err(anyhow!("a check failed").into()),
        count => Err(anyhow!("{count} checks failed").into()),
    }
}

fn look(options: &ConfigOptions) -> Result<Vec<Check>, Failure> {
    let directories = run::directories(options.state_dir())?;
    let (config, check) = configuration(options, &directories);
    let daemon = environment::directories(options.state_dir())
        .and_then(|found| Endpoint::read(&found.runtime).ok().flatten())
        .filter(client::lives);
    let mut checks = vec![check, running(daemon.as_ref())];
    checks.extend(place::checks(&config, daemon.as_ref()));
    checks.extend(host::checks());
    checks.extend(agents::checks(&config)?);
    Ok(checks)
}

/// The rest is looked at with the defaults where the configuration cannot be used.
fn configuration(options: &ConfigOptions, directories: &Directories) -> (Config, Check) {
    const NAME: &str = "configuration";
    match run::configuration(options) {
        Ok(config) => (config, Check::pass(NAME, "can be used; `agent-monitor check` prints it")),
        Err(failure) => {
            let remedy = "correct it: `agent-monitor check` tells every problem; all below is with the defaults";
            (Config::defaults(directories), Check::fail(NAME, failure.to_string(), remedy))
        }
    }
}

fn running(daemon: Option<&Endpoint>) -> Check {
    const NAME: &str = "daemon";
    let Some(daemon) = daemon else {
        return Check::warn(NAME, "none is announced here", "start one: `agent-monitor run`");
    };
    let asked = Client::find(&ClientOptions::at(daemon.socket.clone()))
        .and_then(|mut client| client.get("/api/monitoring/status"));
    let process = daemon.process.pid;
    match asked.map(|answer| answer.value["status"].as_str().map(printable).unwrap_or_default()) {
        Ok(status) if status == "ready" => Check::pass(NAME, format!("process {process} is ready")),
        Ok(status) => {
            Check::warn(NAME, format!("process {process} is {status}"), "`agent-monitor status` says what is wrong")
        }
        Err(failure) if failure.kind() == Kind::Unavailable => Check::fail(
            NAME,
            format!("process {process} does not answer: {failure}"),
            "use an account that may write to its socket, or stop it and start it again",
        ),
        Err(failure) => Check::fail(NAME, format!("process {process}: {failure}"), "look at its log"),
    }
}

fn page(checks: &[Check], colour: Colour) -> String {
    let mut text = String::new();
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    for check in checks {
        let (word, look, remedy) = check.word();
        let (word, found) = (colour.paint(look, word), printable(&check.found.replace('\n', "; ")));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{word}  {:<width$}  {found}", check.name);
        if let Some(remedy) = remedy {
            let _ = writeln!(text, "      {:<width$}  → {}", "", printable(remedy));
        }
    }
    text
}

fn document(checks: &[Check]) -> String {
    let check = |check: &Check| {
        let (word, _, remedy) = check.word();
        json!({"name": check.name, "status": word, "detail": check.found, "remedy": remedy})
    };
    let checks: Vec<_> = checks.iter().map(check).collect();
    format!("{}\n", harmless_json(&json!({"checks": checks}).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_saying_it() {
        let checks = [Check::pass("socket", "is there"), Check::fail("port", "taken\nby \u{1b}[2J", "take another")];
        let text = page(&checks, Colour(false));
        let expected = "PASS  socket  is there\nFAIL  port    taken; by \u{fffd}[2J\n              → take another\n";
        assert_eq!(text, expected);
        let value: serde_json::Value = serde_json::from_str(&document(&checks)).unwrap();
        assert_eq!(value["checks"][0]["remedy"], serde_json::Value::Null);
        assert_eq!(value["checks"][1]["status"], "FAIL");
    }
}
