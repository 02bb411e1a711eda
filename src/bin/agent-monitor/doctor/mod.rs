//! `doctor`: what the daemon needs of this host, what it will not see here, and what to do about it. Looks, and changes
//! nothing.

mod account;
mod agents;
#[cfg(any(not(target_os = "linux"), test))]
mod elsewhere;
#[cfg(target_os = "linux")]
mod host;
mod place;
mod seen;

use std::fmt::Write;
use std::fs;
use std::path::Path;

use agent_monitor::config::{Config, Directories};
use agent_monitor::endpoint::Endpoint;
use anyhow::anyhow;
use serde_json::json;

use crate::cli::ClientOptions;
use crate::client::{self, Client};
use crate::configuration::ConfigOptions;
use crate::failure::{Failure, Kind};
use crate::output::print;
use crate::view::screen::{Look, Screen};
use crate::view::text::{counted, harmless_json, printable, wrap};
use account::Account;

/// Where a unit of ours may be installed, the first that is there being the one in force: systemd.unit(5).
const UNITS: [&str; 3] = ["/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system"];

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
    print(&if json { document(&checks) } else { page(&checks, Screen::of_stdout(None)) })?;
    match checks.iter().filter(|check| matches!(check.outcome, Outcome::Fail(_))).count() {
        0 => Ok(()),
        1 => Err(anyhow!("a check failed").into()),
        count => Err(anyhow!("{count} checks failed").into()),
    }
}

fn look(options: &ConfigOptions) -> Result<Vec<Check>, Failure> {
    let directories = options.directories()?;
    let (config, check) = configuration(options, &directories);
    let daemon = Endpoint::read(&directories.runtime).ok().flatten().filter(client::lives);
    let mut checks = vec![check, running(daemon.as_ref())];
    let unit = UNITS.iter().find_map(|place| fs::read_to_string(Path::new(place).join("agent-monitor.service")).ok());
    let account = Account::of_daemon(daemon.as_ref(), unit.as_deref());
    checks.extend(place::checks(&config, daemon.as_ref(), &account));
    #[cfg(target_os = "linux")]
    checks.extend(host::checks());
    #[cfg(not(target_os = "linux"))]
    checks.extend(elsewhere::checks());
    checks.extend(agents::checks(&config, unit.as_deref(), &account)?);
    Ok(checks)
}

/// Whether as many files may be open as the daemon can use.
fn files(limit: usize) -> Check {
    /// With fewer, not every agent's end is told at once, and not every connection is taken.
    const OPEN_FILES: usize = 4_096;
    const NAME: &str = "open files";
    if limit >= OPEN_FILES {
        return Check::pass(NAME, format!("{limit} may be open"));
    }
    let remedy = "raise the hard limit: LimitNOFILE=65536 in the unit, or `ulimit -Hn`";
    Check::warn(NAME, format!("only {limit} may be open"), remedy)
}

/// The rest is looked at with the defaults where the configuration cannot be used.
fn configuration(options: &ConfigOptions, directories: &Directories) -> (Config, Check) {
    const NAME: &str = "configuration";
    match options.read() {
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

fn page(checks: &[Check], screen: Screen) -> String {
    let mut text = String::new();
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    let room = screen.room(width + 8);
    for check in checks {
        let (word, look, remedy) = check.word();
        let found = wrap(&printable(&check.found.replace('\n', "; ")), room);
        let remedy = remedy.map(|remedy| wrap(&format!("→ {}", printable(remedy)), room)).unwrap_or_default();
        for (place, line) in found.iter().chain(&remedy).enumerate() {
            let (word, name) =
                if place == 0 { (screen.paint(look, word), check.name) } else { ("    ".to_owned(), "") };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{word}  {name:<width$}  {line}");
        }
    }
    let (verdict, look) = verdict(checks);
    let _ = writeln!(text, "\n{}", screen.paint(look, &verdict));
    text
}

/// What the checks come to. Last, where whoever ran them looks first.
fn verdict(checks: &[Check]) -> (String, Look) {
    let count = |word: &str| checks.iter().filter(|check| check.word().0 == word).count() as u64;
    let warned = counted(count("WARN"), "warning");
    match (count("FAIL"), count("WARN")) {
        (0, 0) => (format!("✓ {} passed", counted(checks.len() as u64, "check")), Look::Good),
        (0, _) => (format!("✓ nothing is in the way; {warned}: less is seen or kept than could be"), Look::Warning),
        (failed, _) => (format!("✗ {} failed, {warned}", counted(failed, "check")), Look::Bad),
    }
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
    fn open_files() {
        assert_eq!(files(4_096).outcome, Outcome::Pass);
        assert!(matches!(files(4_095).outcome, Outcome::Warn(_)));
    }

    #[test]
    fn both_ways_of_saying_it() {
        let checks = [Check::pass("socket", "is there"), Check::fail("port", "taken\nby \u{1b}[2J", "take another")];
        let text = page(&checks, Screen::pipe());
        let expected = "PASS  socket  is there\nFAIL  port    taken; by \u{fffd}[2J\n              → take another\n\n✗ 1 check failed, 0 warnings\n";
        assert_eq!(text, expected);
        let narrow = page(&checks, Screen::plain(30, agent_monitor::model::Timestamp::default()));
        assert!(narrow.lines().all(|line| crate::view::text::width(line) <= 35), "{narrow}");
        assert!(page(&checks[..1], Screen::pipe()).ends_with("✓ 1 check passed\n"));
        let warned = [Check::warn("pressure", "none", "boot with psi=1")];
        assert!(page(&warned, Screen::pipe()).contains("\n✓ nothing is in the way; 1 warning"));
        let value: serde_json::Value = serde_json::from_str(&document(&checks)).unwrap();
        assert_eq!(value["checks"][0]["remedy"], serde_json::Value::Null);
        assert_eq!(value["checks"][1]["status"], "FAIL");
    }
}
