//! Starts that must not succeed, and what they say.

use std::net::TcpListener;
use std::process::Output;

use crate::harness::*;

fn refused(output: &Output, code: i32, words: &[&str]) {
    let told = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{told}");
    assert_eq!(output.stdout, b"", "nothing is a result");
    for word in words {
        assert!(told.contains(word), "{word:?} is not said: {told}");
    }
}

#[test]
fn eight_mistakes_are_told_at_once() {
    let place = Place::new(include_str!("../config/eight-mistakes.toml"));
    for command in [&["check"][..], &["run"], &["run", "--once"]] {
        refused(&place.output(command), 78, &["config.toml:", "8 problems"]);
    }
    assert!(!place.path("state").exists(), "and nothing was begun");
    refused(&place.output(&["check", "--config", "/nowhere"]), 78, &["/nowhere", "cannot be read"]);
}

#[test]
fn check_prints_what_is_in_force() {
    let place = Place::new("[sampling]\ninterval = \"7s\"\n");
    let told = place.told(&["check"]);
    assert!(told.contains("interval = \"7s\"") && told.contains("[storage]\ndirectory = "), "{told}");
    assert!(place.told(&["check", "--interval", "8s"]).contains("interval = \"8s\""));
    place.configure(&told);
    assert_eq!(place.told(&["check"]), told, "what it prints is a configuration");
    refused(&place.output(&["check", "--interval", "1 parsec"]), 78, &["--interval"]);
}

#[test]
fn a_second_daemon_is_told_who_was_first() {
    let daemon = Place::new("").start();
    let pid = daemon.child.id().to_string();
    refused(&daemon.place.output(&["run", "--listen", "127.0.0.1:0"]), 75, &["another daemon", &pid]);
    // Elsewhere, one more may run; the announcement stays that of the first.
    let announced = std::fs::read_to_string(daemon.place.path("run/endpoint.json")).unwrap();
    let other = Daemon::start(Place::new(""), |command| {
        command.env("RUNTIME_DIRECTORY", daemon.place.path("run"));
        command.args(["--socket", daemon.place.path("other.sock").to_str().unwrap()]);
    });
    other.hear("another daemon is announced here");
    other.stop();
    assert_eq!(std::fs::read_to_string(daemon.place.path("run/endpoint.json")).unwrap(), announced);
    daemon.stop();
}

#[test]
fn a_port_a_socket_and_a_database_that_cannot_be_had() {
    let place = Place::new("");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    refused(&place.output(&["run", "--listen", &address]), 69, &["cannot listen on", &address, "--listen"]);
    place.write("file", "notes");
    let file = place.path("file");
    let file = file.to_str().unwrap();
    refused(&place.output(&["run", "--listen", "127.0.0.1:0", "--socket", file]), 69, &[file, "no socket"]);
    std::fs::create_dir_all(place.path("state")).unwrap();
    std::fs::write(place.path("state/agent-monitor.db"), "not a database, but a hundred bytes of somebody's text")
        .unwrap();
    refused(&place.output(&["run", "--listen", "127.0.0.1:0"]), 78, &["agent-monitor.db", "not an SQLite database"]);
    assert!(!place.path("run/endpoint.json").exists());
}

#[test]
fn wrong_usage() {
    let place = Place::new("");
    for arguments in [
        &["frobnicate"][..],
        &["run", "--agent", "x"],
        &["events", "--limit", "0"],
        &["status", "--url", "http://127.0.0.1:1/", "--socket", "/x"],
    ] {
        refused(&place.output(arguments), 2, &["error:"]);
    }
}
