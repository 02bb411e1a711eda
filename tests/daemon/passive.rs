//! P6: watching only looks.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::harness::{BRISK, Place};
use super::tree::{Strays, Tree};

/// What ends a process that does more than look.
fn library(place: &Place) -> std::path::PathBuf {
    let library = place.path("passive.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/daemon/passive.c");
    let arguments = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", source, "-o"];
    assert!(Command::new("cc").args(arguments).arg(&library).status().expect("a C compiler").success());
    library
}

/// How a shell ends that does this under the library.
fn outcome(library: &Path, script: &str) -> (Option<i32>, Option<i32>) {
    let status = Command::new("sh").args(["-c", script]).env("LD_PRELOAD", library).status().unwrap();
    (status.code(), status.signal())
}

/// The kernel ends a daemon that does: with agents that come, stand still, end and leave something behind, while programs are
/// recognised and memory is measured.
#[test]
fn nothing_is_done_to_a_process_but_looking() {
    let place = Place::new();
    let library = library(&place);
    assert_eq!(outcome(&library, "exit 7"), (Some(7), None));
    for touches in ["kill -0 1", "kill -CONT $$", "exec nice -n 1 true", "exec prlimit --pid 1 --nofile"] {
        assert_eq!(outcome(&library, touches).1, Some(libc::SIGSYS), "{touches}");
    }

    let registry = place.path("agents.json");
    let sources = format!(
        "[[registry.source]]\nkind = \"file\"\npath = {registry:?}\n\
         [[registry.source]]\nkind = \"match\"\nagent = \"other\"\nprogram = \"none-of-this-name\"\n"
    );
    place.configure(&format!("{BRISK}{sources}[sampling]\ninterval = \"1s\"\nmemory = \"pss\"\n"));
    let (mut tree, mut strays) = (Tree::start(), Strays::default());
    place.register(&json!([{ "id": "a", "pid": tree.pid() }]));
    let daemon = place.start_as_told(place.command().env("LD_PRELOAD", &library));
    daemon.until_known("a");
    let left: u32 = tree.ask("setsid sleep 1000 & echo $!").parse().unwrap();
    strays.take(left);
    daemon.until("a", "what it starts is known", |agent| agent["metrics"]["processCount"] == 2);
    daemon.until("a", "its memory is measured", |agent| agent["metrics"]["memoryMethod"] == "pss");
    assert!(Command::new("kill").args(["-STOP", &left.to_string()]).status().unwrap().success());
    daemon.passes(2);
    let state = std::fs::read_to_string(format!("/proc/{left}/stat")).unwrap();
    assert!(state.contains(") T "), "it stands still as before: {state}");
    tree.kill();
    tree.wait();
    daemon.until("a", "it is down", |agent| agent["alerts"] == json!(["agent_down"]));
    daemon.until("a", "it left something behind", |agent| agent["leftovers"]["processCount"] == 1);
    daemon.stop();
}
