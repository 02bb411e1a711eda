//! C: a registry that is not there, and what somebody puts in its place.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;

use serde_json::json;

use crate::harness::{BRISK, Daemon, Place, until};
use crate::thorough;
use crate::tree::Tree;

/// Resident memory of a daemon, MiB.
pub(crate) fn resident_mib(daemon: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

/// What the daemon says of its only source; `ok` while that is well.
fn source(daemon: &Daemon) -> String {
    let source = daemon.get("/api/monitoring/status")["registry"][0].clone();
    source["error"].as_str().or(source["status"].as_str()).unwrap_or("not known yet").to_owned()
}

fn until_source(daemon: &Daemon, word: &str) {
    until(&format!("the source says {word:?}"), || match source(daemon) {
        said if said.contains(word) => Ok(()),
        said => Err(said),
    });
}

#[test]
fn a_file_that_comes_later_is_found() {
    let tree = Tree::start();
    let place = Place::new();
    place.configure(BRISK);
    let daemon = place.start_with_registry();
    until_source(&daemon, "No such file or directory");
    assert_eq!(daemon.dashboard()["agents"], json!([]));
    let ready = daemon.get("/readyz");
    assert_eq!(ready["status"], "degraded", "{ready}");
    place.register(&json!([{ "id": "a", "pid": tree.pid() }]));
    daemon.until_known("a");
    until_source(&daemon, "ok");
    println!("the file was missing once");
}

#[test]
fn what_takes_a_registrys_place_changes_nothing_but_what_is_said_of_it() {
    let tree = Tree::start();
    let place = Place::new();
    place.configure(BRISK);
    let list = json!([{ "id": "a", "pid": tree.pid() }]).to_string();
    place.register_text(&list);
    let daemon = place.start_with_registry();
    daemon.until_known("a");
    let memory_mib = resident_mib(&daemon);
    let (path, new) = (place.path("agents.json"), place.path("agents.new"));
    let text = |bytes: &[u8]| File::create(&new).unwrap().write_all(bytes).unwrap();
    let faults: [(&str, &dyn Fn()); 12] = [
        ("1024 MiB, at most 16 MiB are read", &|| File::create(&new).unwrap().set_len(1 << 30).unwrap()),
        ("16.0 MiB, at most 16 MiB are read", &|| text(&vec![b' '; (16 << 20) + 1])),
        ("it is a FIFO", &|| {
            let mode = rustix::fs::Mode::from_raw_mode(0o600);
            rustix::fs::mkfifoat(rustix::fs::CWD, &new, mode).unwrap();
        }),
        ("it is a device", &|| symlink("/dev/zero", &new).unwrap()),
        ("Too many levels of symbolic links", &|| symlink(&path, &new).unwrap()),
        ("No such file or directory", &|| symlink("/nowhere/at/all", &new).unwrap()),
        ("it is empty", &|| text(b"")),
        ("not UTF-8", &|| text(b"\xff\xfe[\0]\0")),
        ("line 1, column", &|| text(&list.as_bytes()[..list.len() - 1])),
        ("line 1, column", &|| text(b"[{\"id\": \"a\0\"}]")),
        ("none of its 1 records can be used", &|| text(&[b"[".repeat(10_000), b"]".repeat(10_000)].concat())),
        ("none of its 1 records can be used", &|| text(br#"{"error": "database is locked"}"#)),
    ];
    let mut struck = 0;
    let stride = if thorough() { 1 } else { 4 };
    for (said, strike) in faults.iter().step_by(stride) {
        strike();
        fs::rename(&new, &path).unwrap();
        until_source(&daemon, said);
        assert_eq!(daemon.get("/readyz")["status"], "degraded", "{said}");
        let agent = daemon.agent("a");
        assert_eq!((&agent["state"], &agent["registryStatus"]), (&json!("running"), &json!("online")), "{said}");
        struck += 1;
        place.register_text(&list);
        until_source(&daemon, "ok");
    }
    assert_eq!(daemon.dashboard()["alerts"], json!([]), "nobody is down for it");
    let grown_mib = resident_mib(&daemon).saturating_sub(memory_mib);
    println!("{struck} things took the registry's place; memory grew by {grown_mib} MiB");
    assert!(grown_mib < 32, "{grown_mib} MiB");
    daemon.stop();
}
