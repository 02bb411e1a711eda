//! What a daemon says that nobody configured.

use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use crate::harness::*;

/// Everything that is said up to the last line of it.
fn said(daemon: &Daemon) -> String {
    let first = daemon.hear("Nothing is configured");
    let mut all = vec![first];
    while !all.last().unwrap().contains("agent-monitor demo") {
        all.push(daemon.hear(""));
    }
    all.join("\n")
}

fn bare() -> Daemon {
    Daemon::start(Place::new(""), |command| {
        command.env_remove("AGENT_MONITOR_CONFIG");
    })
}

#[test]
fn where_it_looked_what_it_found_and_what_to_do() {
    if std::path::Path::new("/etc/agent-monitor.toml").exists() {
        eprintln!("this host has a configuration of its own: nothing to try");
        return;
    }
    let place = Place::new("");
    // A program of the name of an agent, in a place where one may be.
    let versions = place.path("claude/versions");
    std::fs::create_dir_all(&versions).unwrap();
    let program = versions.join("2.0.1");
    std::fs::copy("/bin/sleep", &program).unwrap();
    symlink(&program, place.path("claude/claude")).unwrap();
    let agent = Killed(Command::new(place.path("claude/claude")).arg("3600").stdin(Stdio::null()).spawn().unwrap());
    let daemon = bare();
    let text = said(&daemon);
    for words in [
        "AGENT_MONITOR_CONFIG, /etc/agent-monitor.toml: none is there",
        "claude, codex",
        &format!("(process {})", agent.0.id()),
        &daemon.url,
        daemon.place.path("state").to_str().unwrap(),
        "agent-monitor run --registry",
        "agent-monitor status",
    ] {
        assert!(text.contains(words), "{words:?} is not said:\n{text}");
    }
    daemon.stop();
}

#[test]
fn whoever_said_something_is_not_told() {
    let ours = format!("me={}", std::process::id());
    let named: [&[&str]; 2] = [&["--agent", &ours], &[]];
    for arguments in named {
        // With a configuration file, empty as it may be, or with an agent.
        let mut daemon = Daemon::start(Place::new(""), |command| {
            command.args(arguments);
            if !arguments.is_empty() {
                command.env_remove("AGENT_MONITOR_CONFIG");
            }
        });
        daemon.until("it has looked at the processes", |own| own["sampling"]["lastTickAt"].is_string());
        daemon.signal(rustix::process::Signal::TERM);
        assert!(daemon.wait().success());
        daemon.never("Nothing is configured");
    }
}
