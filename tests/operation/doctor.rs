//! `doctor`: every check, on a host where it is well and on one where it is not.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::geteuid;
use serde_json::Value;

use crate::harness::*;

const NOBODY: u32 = 65_534;

/// What came of one check: the word, what was found, what to do.
type Found = (String, String, String);

/// What a doctor says, by check; and that its exit code fits.
fn checks(command: &mut Command) -> BTreeMap<String, Found> {
    let output = command.output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let one = |check: &Value| {
        (text(&check["name"]), (text(&check["status"]), text(&check["detail"]), text(&check["remedy"])))
    };
    let found: BTreeMap<String, Found> = document["checks"].as_array().unwrap().iter().map(one).collect();
    let fails = found.values().any(|(word, ..)| word == "FAIL");
    assert_eq!(output.status.code(), Some(i32::from(fails)), "{output:?}");
    for (name, (word, _, remedy)) in &found {
        assert_eq!(word == "PASS", remedy.is_empty(), "{name} has no remedy, or needs none");
    }
    found
}

/// The doctor in a place, on a port that is free.
fn doctor(place: &Place, arguments: &[&str]) -> BTreeMap<String, Found> {
    checks(&mut place.command(&[&["doctor", "--json", "--listen", "127.0.0.1:0"], arguments].concat()))
}

#[track_caller]
fn says(found: &BTreeMap<String, Found>, name: &str, word: &str, detail: &str) {
    let (said, found, _) = &found[name];
    assert_eq!(said, word, "{name}: {found}");
    assert!(found.contains(detail), "{name}: {found}");
}

/// The doctor as somebody who is not root, in a place that all may enter; none where this test cannot become another.
fn as_nobody(place: &Place, arguments: &[&str]) -> Option<BTreeMap<String, Found>> {
    if !geteuid().is_root() {
        return None;
    }
    let program = place.path("agent-monitor");
    // By another program: a file that this one wrote could not be run while any child of it, forked at that moment, still
    // has it open.
    assert!(Command::new("cp").arg(env!("CARGO_BIN_EXE_agent-monitor")).arg(&program).status().unwrap().success());
    for open in [place.directory.path(), &program] {
        fs::set_permissions(open, Permissions::from_mode(0o755)).unwrap();
    }
    let theirs = place.command(&[]);
    let mut command = Command::new(program);
    command.args(["doctor", "--json", "--listen", "127.0.0.1:0"]).args(arguments).env_clear().stdin(Stdio::null());
    command.envs(theirs.get_envs().filter_map(|(name, value)| Some((name, value?)))).uid(NOBODY).gid(NOBODY);
    Some(checks(&mut command))
}

#[test]
fn a_host_that_is_well_and_is_left_as_it_was() {
    let place = Place::new("");
    place.write("agents.json", &us("me"));
    place.configure(&file_source(&place.path("agents.json")));
    let found = doctor(&place, &[]);
    for (name, detail) in [
        ("configuration", "can be used"),
        ("state directory", "will be made"),
        ("free space", "MiB free at"),
        ("database", "will be made"),
        ("address", "is free"),
        ("socket", "will be made"),
        ("processes", "can be seen"),
        ("registry", "agents.json: 1 record"),
        ("claimed pids", "all 1 are here"),
        ("agents' access", "every agent's user"),
        ("storage I/O", "of every agent"),
    ] {
        says(&found, name, "PASS", detail);
    }
    says(&found, "daemon", "WARN", "none is announced");
    let mut left: Vec<_> =
        fs::read_dir(place.directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["agents.json", "config.toml"], "it only looks");
    let text = place.told(&["doctor", "--listen", "127.0.0.1:0"]);
    assert!(text.starts_with("PASS  configuration") && text.contains("→ start one: `agent-monitor run`"), "{text}");
}

#[test]
fn a_daemon_that_runs_and_one_that_cannot_be_asked() {
    let daemon = Place::new("").start();
    daemon.until("it is ready", |own| own["status"] == "ready");
    let address = daemon.url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let ask = || checks(&mut daemon.place.command(&["doctor", "--json", "--listen", &address]));
    let found = ask();
    says(&found, "daemon", "PASS", &format!("process {} is ready", daemon.child.id()));
    says(&found, "address", "PASS", "the daemon listens on");
    says(&found, "database", "PASS", "is ours");
    says(&found, "state directory", "PASS", "can be written");
    says(&found, "socket", "PASS", "is there");
    fs::remove_file(daemon.place.path("run/agent-monitor.sock")).unwrap();
    says(&ask(), "daemon", "FAIL", "does not answer");
    daemon.stop();
}

#[test]
fn a_configuration_and_places_that_cannot_be_used() {
    let place = Place::new("[sampling]\ninterval = 7\n");
    says(&doctor(&place, &[]), "configuration", "FAIL", "config.toml:2");
    place.configure("[ingest]\ngroup = \"nosuchgroup\"\n");
    says(&doctor(&place, &[]), "socket", "FAIL", "nosuchgroup");
    place.configure("");
    place.write("file", "notes");
    let file = place.path("file");
    let file = file.to_str().unwrap();
    says(&doctor(&place, &["--socket", file]), "socket", "FAIL", "is no socket");
    says(&doctor(&place, &["--state-dir", file]), "state directory", "FAIL", "is no directory");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let found = checks(&mut place.command(&["doctor", "--json", "--listen", &address]));
    says(&found, "address", "FAIL", &address);
    fs::create_dir(place.path("state")).unwrap();
    fs::set_permissions(place.path("state"), Permissions::from_mode(0o777)).unwrap();
    says(&doctor(&place, &[]), "state directory", "FAIL", "by everyone");
    fs::set_permissions(place.path("state"), Permissions::from_mode(0o700)).unwrap();
    says(&doctor(&place, &[]), "state directory", "PASS", "can be written");
    fs::write(place.path("state/agent-monitor.db"), "somebody's notes, a hundred bytes or so ".repeat(4)).unwrap();
    says(&doctor(&place, &[]), "database", "FAIL", "not an SQLite database");
    let Some(found) = as_nobody(&place, &[]) else { return eprintln!("not root: cannot be another user here") };
    says(&found, "state directory", "FAIL", "belongs to user 0");
    says(&found, "socket", "FAIL", "may not be written");
    let elsewhere = place.path("new");
    let found = as_nobody(&place, &["--state-dir", elsewhere.to_str().unwrap()]).unwrap();
    says(&found, "state directory", "FAIL", "cannot be made");
}

#[test]
fn registries_and_pids_that_are_not_as_they_should_be() {
    let place = Place::new("");
    place.configure(&file_source(&place.path("agents.json")));
    says(&doctor(&place, &[]), "registry", "FAIL", "agents.json");
    place.write("agents.json", r#"[{"id": "gone", "pid": 4194305}, {"pid": 1}]"#);
    let found = doctor(&place, &[]);
    says(&found, "registry", "WARN", "1 record, 1 unusable");
    says(&found, "claimed pids", "WARN", "no such process here: gone");
    place.write("agents.json", &us("me"));
    fs::set_permissions(place.path("agents.json"), Permissions::from_mode(0o666)).unwrap();
    says(&doctor(&place, &[]), "registry", "WARN", "1 record, and everyone on this host can say");
    place.configure("");
    says(&doctor(&place, &[]), "registry", "PASS", "recognised by their programs");
}

#[test]
fn agents_of_other_users() {
    let place = Place::new("");
    let ours = format!("me={}", std::process::id());
    let Some(found) = as_nobody(&place, &["--agent", &ours]) else {
        return eprintln!("not root: cannot be another user here");
    };
    says(&found, "storage I/O", "WARN", "for processes of other users: me");
    let theirs = Killed(Command::new("sleep").arg("3600").uid(NOBODY).gid(NOBODY).spawn().unwrap());
    let theirs = format!("theirs={}", theirs.0.id());
    let found = doctor(&place, &["--agent", &ours, "--agent", &theirs]);
    says(&found, "agents' access", "WARN", "agent-monitor.sock: theirs");
    assert!(found["agents' access"].2.contains("ingest.group"), "{found:?}");
    place.configure("[ingest]\nmode = \"0666\"\n");
    says(&doctor(&place, &["--agent", &theirs]), "agents' access", "PASS", "every agent's user");
    // The way to it counts too.
    fs::set_permissions(place.directory.path(), Permissions::from_mode(0o700)).unwrap();
    says(&doctor(&place, &["--agent", &theirs]), "agents' access", "WARN", "theirs");
}

#[test]
fn a_kernel_that_tells_less() {
    let place = Place::new("");
    let program = env!("CARGO_BIN_EXE_agent-monitor");
    let within = |shell: &str| {
        let mut command = place.command(&[]);
        let environment: Vec<_> =
            command.get_envs().map(|(name, value)| (name.to_owned(), value.unwrap().to_owned())).collect();
        command = Command::new("/bin/sh");
        command.args(["-c", &shell.replace("DOCTOR", &format!("{program} doctor --json --listen 127.0.0.1:0"))]);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").envs(environment).stdin(Stdio::null());
        checks(&mut command)
    };
    says(&within("ulimit -n 300 && exec DOCTOR"), "open files", "WARN", "only 300");
    if Path::new("/usr/bin/unshare").exists() && geteuid().is_root() {
        let alone = within("exec unshare --net DOCTOR");
        says(&alone, "process events", "WARN", "does not tell");
    } else {
        eprintln!("cannot leave the network of the host here: process events were not tried without it");
    }
}
