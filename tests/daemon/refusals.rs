//! Why the program does not start: the exit code, and a message that says what was tried, on what, why it failed and
//! what to do.

use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::process::Command;

use super::harness::{Place, outcome, program};

/// It must end with this code and say all of this.
fn refused(command: &mut Command, code: i32, says: &[&str]) {
    let (ended, stdout, stderr) = outcome(command);
    assert_eq!(ended, Some(code), "{command:?}: {stderr}");
    assert_eq!(stdout, "", "results only");
    for text in says {
        assert!(stderr.contains(text), "{text:?} is not in {stderr:?}");
    }
}

#[test]
fn wrong_usage_is_2() {
    let place = Place::new();
    refused(&mut program(), 2, &["Usage"]);
    refused(program().arg("walk"), 2, &["walk"]);
    refused(place.command().arg("--agent=planner"), 2, &["planner", "ID=PID"]);
    refused(place.command().arg("--json"), 2, &["--once"]);
    assert!(!place.state().exists());
}

#[test]
fn what_is_taken_is_69() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = program();
    command.arg("run").arg("--config").arg(place.path("config.toml")).arg("--state-dir").arg(place.state());
    command.arg("--socket").arg(place.path("s")).args(["--listen", &address]);
    refused(&mut command, 69, &["cannot listen on", &address, "in use", "--listen"]);
    assert!(!place.path("s").exists());

    let _taken = UnixListener::bind(place.path("s")).unwrap();
    let socket = place.path("s");
    refused(&mut place.command(), 69, &["socket", socket.to_str().unwrap(), "answers", "--socket"]);
    fs::remove_file(&socket).unwrap();
    fs::write(&socket, "notes").unwrap();
    refused(&mut place.command(), 69, &[socket.to_str().unwrap(), "no socket", "--socket"]);
    assert_eq!(fs::read_to_string(&socket).unwrap(), "notes");
}

#[test]
fn a_second_daemon_is_75() {
    let place = Place::new();
    let first = place.start(&[]);
    let holder = format!("process {}", first.pid());
    let state = place.state();
    refused(place.command().arg("--socket=other"), 2, &["--socket"]);
    refused(&mut place.command(), 75, &["another daemon", &holder, state.to_str().unwrap(), "--state-dir"]);
    assert!(first.dashboard()["generatedAt"].is_string(), "the first one goes on");
    first.kill();
    place.start(&[]).stop();
}

#[test]
fn what_cannot_be_used_is_78() {
    let place = Place::new();
    place.configure("[sampling]\nintervall = \"1s\"\n");
    let at = format!("{}:2:1", place.path("config.toml").display());
    refused(&mut place.command(), 78, &[&at, "sampling.intervall", "did you mean sampling.interval"]);
    place.configure("");
    refused(place.command().arg("--interval=1ms"), 78, &["--interval", "1ms"]);
    refused(place.command().args(["--agent=a=1", "--agent=a=2"]), 78, &["--agent", "a is given twice"]);
    let mut missing = program();
    missing.args(["run", "--config", "/nowhere/at/all.toml"]).arg("--state-dir").arg(place.state());
    refused(&mut missing, 78, &["/nowhere/at/all.toml"]);
    assert!(!place.state().exists(), "the configuration comes first");

    fs::create_dir(place.state()).unwrap();
    let database = place.state().join("agent-monitor.db");
    let foreign = "the diary of somebody else, longer than the header of a database would be, and not to be lost";
    fs::write(&database, foreign).unwrap();
    refused(
        &mut place.command(),
        78,
        &["cannot use the database", database.to_str().unwrap(), "not an SQLite database", "move it away"],
    );
    assert_eq!(fs::read_to_string(&database).unwrap(), foreign, "untouched");

    fs::remove_file(&database).unwrap();
    let other = rusqlite::Connection::open(&database).unwrap();
    other.execute_batch("create table recipes (name); insert into recipes values ('bread')").unwrap();
    drop(other);
    refused(&mut place.command(), 78, &[database.to_str().unwrap(), "another program's database", "--state-dir"]);
    assert_eq!(place.count("select count(*) from recipes"), 1);
}

/// As for the tokens that are sent: what hangs, never ends or is more than a line is no token.
#[test]
fn a_token_that_nobody_could_send_is_78() {
    let place = Place::new();
    let token = place.path("token");
    place.configure(&format!("[api]\ntoken_file = {token:?}\n"));
    let path = token.to_str().unwrap();
    refused(&mut place.command(), 78, &["no token", path, "No such file"]);
    for text in ["", " \n", "two\nlines\n", "two words", "café"] {
        fs::write(&token, text).unwrap();
        refused(&mut place.command(), 78, &["no token", path, "one line of printable ASCII"]);
    }
    fs::write(&token, "x".repeat(9 << 10)).unwrap();
    refused(&mut place.command(), 78, &["no token", path, "8192 bytes"]);
    fs::remove_file(&token).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &token, rustix::fs::Mode::RUSR).unwrap();
    refused(&mut place.command(), 78, &["no token", path, "only regular files"]);
}
