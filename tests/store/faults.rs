//! P1 to P3: the N-th write, sync or truncation fails, for every N, once and for ever, or is the last thing that the
//! process does. Struck below SQLite, in the calls of the C library (`faults.c`): what comes of an error of the kernel is
//! the whole of SQLite's code and ours, on real files. In the gate some of the N; all with AGENT_MONITOR_TEST_EVERY_FAULT.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::control::{CONTROL, Control, DIE, SYNC, TRUNCATE, WRITE, library};
use crate::diary::{Diary, await_recovery};
use crate::support::{Store, after, ask, event, in_memory, of_agent, opened, pass};

const DIRECTORY: &str = "STORE_TEST_DIRECTORY";
const STAGE: &str = "STORE_TEST_STAGE";

/// In the gate, every so many positions.
const STRIDE: usize = 24;

/// This test program once more, under the library.
fn child(test: &str, place: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env("LD_PRELOAD", place.join("faults.so"))
        .env(CONTROL, place.join("control"))
        .env(DIRECTORY, place.join("state"))
        .stdout(Stdio::piped());
    command
}

fn all() -> bool {
    std::env::var_os("AGENT_MONITOR_TEST_EVERY_FAULT").is_some()
}

/// The N at which something is tried: all, or a part of them that differs from kind to kind. Of syncs there are few.
fn positions(kind: usize, what: i32) -> impl Iterator<Item = usize> {
    let stride = if all() || what == SYNC { 1 } else { STRIDE };
    (1 + kind % stride..).step_by(stride)
}

#[test]
fn every_error_of_the_disk_while_it_opens() {
    println!("{}", every_error(OPENING));
}

#[test]
fn every_error_of_the_disk_while_it_stores() {
    println!("{}", every_error(STORING));
}

#[test]
fn every_error_of_the_disk_while_it_closes() {
    println!("{}", every_error(CLOSING));
}

/// What was struck, and how often.
fn every_error(stage: &str) -> String {
    let place = in_memory();
    library(place.path());
    Control::make(&place.path().join("control"));
    let output = child("faults::errors_under_the_library", place.path()).env(STAGE, stage).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let told: Vec<&str> = said.lines().filter(|line| line.contains("struck")).collect();
    assert_eq!(told.len(), KINDS.len(), "{said}");
    told.join("\n")
}

const OPENING: &str = "opening";
const STORING: &str = "storing";
const CLOSING: &str = "closing";

/// What fails, how, and whether it goes on.
const KINDS: &[(i32, i32, bool, &str)] = &[
    (WRITE, libc::EIO, false, "a write, once"),
    (WRITE, libc::EIO, true, "writes, for ever"),
    (WRITE, libc::ENOSPC, false, "a write for want of room, once"),
    (WRITE, libc::ENOSPC, true, "writes for want of room, for ever"),
    (WRITE, libc::EDQUOT, true, "writes beyond a quota, for ever"),
    (SYNC, libc::EIO, false, "a sync, once"),
    (SYNC, libc::EIO, true, "syncs, for ever"),
    (WRITE | SYNC | TRUNCATE, libc::EIO, false, "any of them, once"),
];

#[test]
#[ignore = "the child of other tests"]
fn errors_under_the_library() {
    let (Some(control), Some(directory)) = (std::env::var_os(CONTROL), std::env::var_os(DIRECTORY)) else { return };
    let (control, directory) = (Control::make(control.as_ref()), PathBuf::from(directory));
    let stage = std::env::var_os(STAGE).and_then(|stage| stage.into_string().ok()).unwrap();
    let run: Stage = match &*stage {
        OPENING => opening,
        STORING => storing,
        CLOSING => closing,
        other => panic!("no stage: {other}"),
    };
    for (kind, (what, error, forever, name)) in KINDS.iter().enumerate() {
        let (mut strikes, mut tried) = (0, 0);
        for at in positions(kind, *what) {
            std::fs::create_dir(&directory).unwrap();
            std::fs::set_permissions(&directory, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
            let struck = run(&directory, &control, &|| control.arm(*what, at, *forever, *error));
            std::fs::remove_dir_all(&directory).unwrap();
            if struck == 0 {
                break;
            }
            strikes += struck;
            tried += 1;
        }
        println!("{name}, {stage}: struck {strikes} times, in {tried} places");
        assert!(strikes > 0, "{name}, {stage}: the fault never struck");
    }
}

/// Arms at its moment, and says how often the fault struck.
type Stage = fn(&Path, &Control, &dyn Fn()) -> usize;

/// A new database is made: it is there whole afterwards, or made at the next start.
fn opening(directory: &Path, control: &Control, arm: &dyn Fn()) -> usize {
    arm();
    let first = opened(directory).map(drop);
    let struck = control.disarm();
    if let Err(error) = first {
        assert!(struck > 0, "{error}");
    }
    let store = Store::start(directory);
    store.store(pass(1, after(1), &[1])).unwrap();
    store.stop();
    assert_eq!(ask(directory, "select agent_id from agent_metrics"), ["agent-1"]);
    assert_eq!(ask(directory, "pragma quick_check"), ["ok"]);
    struck
}

/// What was acknowledged is on disk, what waited comes to be, in order, without a restart.
fn storing(directory: &Path, control: &Control, arm: &dyn Fn()) -> usize {
    let store = Store::start(directory);
    let mut diary = Diary::new();
    diary.go_on(&store);
    arm();
    for _ in 0..4 {
        diary.go_on(&store);
    }
    let struck = control.disarm();
    await_recovery(&store);
    diary.go_on(&store);
    diary.check(directory, &store);
    store.stop();
    // And for whoever comes after.
    Store::start(directory).stop();
    assert_eq!(ask(directory, "select max(tick) from ticks"), ["6"]);
    struck
}

/// The log is written back: if that fails, the next start reads it.
fn closing(directory: &Path, control: &Control, arm: &dyn Fn()) -> usize {
    let store = Store::start(directory);
    for tick in 1..=4 {
        let entries = vec![of_agent(1, after(tick), event("noted"))];
        store.store(agent_monitor::model::Batch { entries, ..pass(tick, after(tick), &[1, 2]) }).unwrap();
    }
    arm();
    store.stop();
    let struck = control.disarm();
    let store = Store::start(directory);
    assert_eq!((store.resume.last_tick, store.resume.last_entry), (4, 4));
    store.stop();
    assert_eq!(ask(directory, "pragma quick_check"), ["ok"]);
    struck
}

/// Killed at each write and sync of its life: while the schema is made, while it stores, while it closes.
#[test]
fn death_at_every_write() {
    let place = in_memory();
    library(place.path());
    let (control, state) = (Control::make(&place.path().join("control")), place.path().join("state"));
    let (mut killed, mut without_schema, mut acknowledged) = (0, 0, 0);
    for at in positions(0, WRITE) {
        control.arm(WRITE | SYNC | TRUNCATE, at, false, DIE);
        let mut writer = child("faults::a_short_life", place.path()).spawn().unwrap();
        let lines = BufReader::new(writer.stdout.take().unwrap()).lines().map_while(Result::ok);
        let acks: Vec<String> = lines.filter_map(|line| Some(line.strip_prefix("ack ")?.to_owned())).collect();
        let status = writer.wait().unwrap();
        if control.disarm() == 0 {
            assert!(status.success());
            break;
        }
        assert_eq!(status.signal(), Some(9), "at {at}");
        killed += 1;
        let version = |state: &Path| {
            let connection = rusqlite::Connection::open(state.join("agent-monitor.db")).unwrap();
            connection.pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0)).unwrap_or(0)
        };
        without_schema += usize::from(version(&state) == 0);
        acknowledged += acks.len();
        // The old schema or the new one, never between: the next start makes the one of the other.
        let store = Store::start(&state);
        store.store(pass(100, after(100), &[1])).unwrap();
        store.stop();
        let stored = ask(&state, "select message from agent_events order by id");
        assert_eq!(stored.iter().take(acks.len()).collect::<Vec<_>>(), acks.iter().collect::<Vec<_>>(), "at {at}");
        assert!(stored.len() <= acks.len() + 1, "at {at}: {stored:?}");
        assert_eq!(ask(&state, "pragma integrity_check"), ["ok"], "at {at}");
        std::fs::remove_dir_all(&state).unwrap();
    }
    println!("killed {killed} times, {without_schema} of them before there was a schema; {acknowledged} acknowledged");
    assert!(without_schema > 0 && acknowledged > 0 && killed > 5, "the fault struck at each stage");
}

#[test]
#[ignore = "the child of the other test"]
fn a_short_life() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let store = Store::start(Path::new(&directory));
    for tick in 1..=3 {
        let message = format!("tick {tick}");
        let entries = vec![of_agent(1, after(tick), event(&message))];
        store.store(agent_monitor::model::Batch { entries, ..pass(tick, after(tick), &[1]) }).unwrap();
        println!("ack {message}");
    }
    store.stop();
}
