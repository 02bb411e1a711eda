//! The commands that ask a running daemon.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use rustix::process::{Signal, geteuid};
use serde_json::Value;

use crate::harness::*;

/// A daemon with one agent, whose registry tries to steer terminals.
fn daemon() -> Daemon {
    let place = Place::new("");
    let record = serde_json::json!([{
        "id": "coder/1 \u{202e}é", "pid": std::process::id(), "status": "work\u{1b}[31ming", "name": "\u{9b}2J",
        "metadata": {"note": "\u{1b}]0;mine\u{7}"},
    }]);
    place.write("agents.json", &record.to_string());
    place.configure(&config(&file_source(&place.path("agents.json"))));
    let daemon = place.start();
    eventually("its start is told", || {
        let page = daemon.get("/api/monitoring/events");
        (!page["items"].as_array().unwrap().is_empty()).then_some(())
    });
    daemon
}

#[test]
fn a_get_and_a_print() {
    let daemon = daemon();
    let place = &daemon.place;
    let id = "coder/1 \u{202e}é";
    for (command, route) in [
        (&["events"][..], "/api/monitoring/events"),
        (
            &["events", "--type", "started", "--agent", id],
            "/api/monitoring/events?agent=coder%2F1%20%E2%80%AE%C3%A9&type=started",
        ),
        (&["errors", "--all"], "/api/monitoring/errors"),
        (&["alerts", "--all", "--limit", "7"], "/api/monitoring/alerts?limit=7"),
        (&["agent", id], "/api/monitoring/agents/coder%2F1%20%E2%80%AE%C3%A9"),
        (&["status"], "/api/monitoring/status"),
    ] {
        let told = place.told(&[command, &["--json"]].concat());
        let steering = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!told.contains(steering), "{told:?}");
        let (mut told, mut answered): (Value, Value) = (serde_json::from_str(&told).unwrap(), daemon.get(route));
        for document in [&mut told, &mut answered] {
            // What changes from moment to moment: only that it is there can be compared.
            for key in ["generatedAt", "uptime", "cpuSeconds", "memoryMb", "sampling", "registry", "database", "status"]
            {
                document.get_mut(key).map(Value::take);
            }
            for key in ["latest", "metrics", "processes", "runs", "host"] {
                document.get_mut(key).map(Value::take);
            }
        }
        assert_eq!(told, answered, "{command:?}");
        let text = place.told(command);
        assert!(!text.contains(steering) && !text.is_empty(), "{text:?}");
    }
    let screen = place.told(&["status"]);
    let row = screen.lines().find(|line| line.starts_with("coder/1 \u{fffd}é")).unwrap();
    assert!(row.contains("work\u{fffd}[31ming"), "{screen}");
    assert!(screen.starts_with("✓ all is well: 1 agent, no alert fires\n") && screen.contains(&daemon.url), "{screen}");
    assert!(place.told(&["agent", id]).contains(&format!("{}", std::process::id())));
    assert_eq!(place.told(&["errors"]), "No unresolved errors.\n");

    let unknown = place.output(&["agent", "nobody"]);
    let told = String::from_utf8(unknown.stderr).unwrap();
    assert_eq!((unknown.status.code(), unknown.stdout.len()), (Some(1), 0));
    assert!(told.contains("404") && told.contains("no agent of this id was ever seen"), "{told}");
    daemon.stop();
}

#[test]
fn a_daemon_is_found_by_url_socket_and_announcement() {
    let daemon = daemon();
    let place = &daemon.place;
    let announced: Value =
        serde_json::from_str(&std::fs::read_to_string(place.path("run/endpoint.json")).unwrap()).unwrap();
    assert_eq!(announced["url"], daemon.url.as_str());
    assert_eq!(announced["pid"], daemon.child.id());
    assert_eq!(announced["version"], env!("CARGO_PKG_VERSION"));
    let mode = std::fs::metadata(place.path("run/endpoint.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    let socket = announced["socket"].as_str().unwrap();
    // In another place nobody is announced.
    let elsewhere = Place::new("");
    for arguments in [["status", "--url", &daemon.url], ["status", "--socket", socket]] {
        assert!(elsewhere.told(&arguments).contains(&daemon.url), "{arguments:?}");
    }
    let mut by_variable = elsewhere.command(&["status"]);
    assert!(by_variable.env("AGENT_MONITOR_SOCKET", socket).output().unwrap().status.success());
    for arguments in [
        ["status", "--url", "http://127.0.0.1:1/"],
        ["status", "--socket", "/nowhere"],
        ["status", "--url", &daemon.url[..15]],
    ] {
        let output = elsewhere.output(&arguments);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(69), "{told}");
        assert!(told.contains("no daemon answers") && told.contains("agent-monitor run"), "{told}");
    }
    // Without the socket's permission, or without the socket, there is the address.
    std::fs::remove_file(socket).unwrap();
    assert!(place.told(&["status"]).contains(&daemon.url));
    daemon.stop();
}

#[test]
fn an_announcement_of_a_process_that_is_gone_is_ignored() {
    let mut daemon = daemon();
    daemon.signal(Signal::KILL);
    daemon.wait();
    let file = daemon.place.path("run/endpoint.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let dead = daemon.url.clone();
    let passed_over = |why: &str| {
        let output = daemon.place.output(&["status"]);
        let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        if output.status.success() {
            // A daemon of this host, of which the test knows nothing.
            assert!(!told.contains(&dead), "{told}");
        } else {
            assert!(output.status.code() == Some(69) && told.contains(why), "{told}");
        }
    };
    passed_over("is gone");
    // A process that took over the pid is not it. This one may have started in the same hundredth of a second.
    let stolen = text.replace(&format!("\"pid\":{}", daemon.child.id()), "\"pid\":1");
    assert_ne!(stolen, text);
    std::fs::write(&file, stolen).unwrap();
    passed_over("its process 1 is gone");
    std::fs::write(&file, "{}").unwrap();
    passed_over("it is no endpoint.json");
    // The next daemon puts its own in the place.
    let place = std::mem::replace(&mut daemon.place, Place::new(""));
    let next = place.start();
    assert!(next.place.told(&["status"]).contains(&next.url));
    let place = next.stop();
    assert!(!file.exists());
    drop(place);
}

#[test]
fn a_reader_that_has_had_enough_is_no_failure() {
    let daemon = daemon();
    let mut child = daemon.place.command(&["agent", "coder/1 \u{202e}é"]);
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut told = String::new();
    child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(child.wait().unwrap().success() && told.is_empty(), "{told}");
    daemon.stop();
}

#[test]
fn without_a_runtime_directory_the_state_directory_serves() {
    let place = Place::new("");
    let state = place.path("mine");
    std::fs::create_dir(&state).unwrap();
    std::fs::set_permissions(place.directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let user = 65_534;
    if geteuid().is_root() {
        std::os::unix::fs::chown(&state, Some(user), Some(user)).unwrap();
    }
    let bare = |command: &mut std::process::Command| {
        command.env_remove("RUNTIME_DIRECTORY").env_remove("STATE_DIRECTORY").env("AGENT_MONITOR_STATE_DIR", &state);
        if geteuid().is_root() {
            command.uid(user).gid(user);
        }
    };
    let daemon = Daemon::start(place, bare);
    assert!(state.join("endpoint.json").exists() && state.join("agent-monitor.sock").exists());
    let mut status = daemon.place.command(&["status"]);
    bare(&mut status);
    let output = status.output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains(&daemon.url));
    daemon.stop();
}
