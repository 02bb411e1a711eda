//! B: clocks that are set, a daemon that stands still, a pass that takes too long.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use agent_monitor::clock::monotonic;
use agent_monitor::model::Timestamp;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::frozen::Frozen;
use crate::harness::{BRISK, Daemon, Deadline, Place, get, pace, signal, until};
use crate::thorough;
use crate::tree::{Tree, child};

/// A wall clock of one process, which can be set.
struct WallClock {
    library: PathBuf,
    path: PathBuf,
    control: File,
}

impl WallClock {
    fn make(place: &Place) -> WallClock {
        let (library, path) = (place.path("clock.so"), place.path("clock"));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/clock.c");
        let arguments = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", source, "-ldl", "-o"];
        assert!(Command::new("cc").args(arguments).arg(&library).status().expect("a C compiler").success());
        let control = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        control.set_len(4096).unwrap();
        WallClock { library, path, control }
    }

    fn of(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("FAULT_CONTROL", &self.path);
    }

    /// So many hours from what is true.
    fn set(&self, hours: i64) {
        self.control.write_all_at(&(hours * 3600).to_ne_bytes(), 0).unwrap();
    }

    /// How often a wrong time was given.
    fn struck(&self) -> i64 {
        let mut count = [0; 8];
        self.control.read_exact_at(&mut count, 8).unwrap();
        i64::from_ne_bytes(count)
    }
}

fn skipped(daemon: &Daemon) -> u64 {
    daemon.get("/api/monitoring/status")["counters"]["ticksSkipped"].as_u64().unwrap()
}

fn moment(document: &Value) -> i64 {
    Timestamp::parse(document["generatedAt"].as_str().unwrap()).unwrap().unix_ms()
}

#[test]
fn a_wall_clock_that_is_set_moves_labels_and_nothing_else() {
    let (tree, dead) = (Tree::start(), Tree::start());
    let place = Place::new();
    place.configure(BRISK);
    let clock = WallClock::make(&place);
    let agents = [format!("--agent=a={}", tree.pid()), format!("--agent=down={}", dead.pid())];
    let mut command = place.command();
    clock.of(command.args(["--interval", "1s"]).args(&agents));
    let daemon = place.start_as_told(&mut command);
    daemon.until_known("a");
    daemon.until_known("down");
    dead.kill();
    daemon.until("down", "it is told", |agent| agent["alerts"] == json!(["agent_down"]));
    // Stored, it has its id.
    let episode = until("the episode has an id", || match daemon.dashboard()["alerts"][0]["id"].clone() {
        id @ Value::Number(_) => Ok(id),
        other => Err(other.to_string()),
    });

    let mut hours_before = 0;
    let passes_skipped = skipped(&daemon);
    for hours in [-2, 240, 0] {
        let (before, dead_since) = (moment(&daemon.dashboard()), clock.struck());
        clock.set(hours);
        daemon.passes(if thorough() { 10 } else { 1 });
        let now = daemon.dashboard();
        let moved = moment(&now) - before - (hours - hours_before) * 3_600_000;
        assert!((0..60_000).contains(&moved), "{hours} h: {moved} ms");
        assert!(hours == 0 || clock.struck() > dead_since, "the daemon asked for the time");
        let firing: Vec<&Value> = now["alerts"].as_array().unwrap().iter().map(|alert| &alert["id"]).collect();
        assert_eq!(firing, [&episode], "the same episode, and no other");
        assert_eq!(daemon.agent("a")["state"], "running");
        assert_eq!(daemon.get("/readyz")["status"], "ready");
        hours_before = hours;
    }
    println!("a wrong time was given {} times; {} passes skipped", clock.struck(), skipped(&daemon) - passes_skipped);
    // A busy machine may skip one.
    assert!(skipped(&daemon) - passes_skipped <= 2, "time did not stand still for the passes");
    let jump = |by: &str| format!("the wall clock jumped {by}: it was set, or the machine slept");
    let expected = [jump("2h back"), jump("10days 2h forward"), jump("10days back")];
    until("each jump is told, and no other", || {
        let told = daemon.get("/api/monitoring/events?type=warning");
        let told = told["items"].as_array().unwrap().iter();
        let jumps = told.filter(|event| event["metadata"]["reason"] == "clock_jump");
        let jumps: Vec<&str> = jumps.rev().map(|event| event["message"].as_str().unwrap()).collect();
        if jumps == expected { Ok(()) } else { Err(format!("{jumps:?}")) }
    });
    daemon.stop();
    assert_eq!(place.count("select count(*) from alerts"), 1);
    assert_eq!(place.count("select max(tick) - min(tick) + 1 - count(*) from ticks"), 0, "every pass is there");
    assert_eq!(place.count("select count(*) from agent_runs where agent_id = 'a'"), 1);
}

/// Waits until so much time has passed.
fn let_pass(span: Duration) {
    let end = Deadline::after(span);
    while !end.is_over() {
        pace();
    }
}

#[test]
fn a_daemon_that_stood_still_goes_on_with_one_gap() {
    let (mut tree, ends) = (Tree::start(), Tree::start());
    let busy = tree.spawn(&child("while :; do :; done"));
    let place = Place::new();
    place.configure(BRISK);
    let daemon = place.start(&[&format!("--agent=busy={busy}"), &format!("--agent=ends={}", ends.pid())]);
    daemon.until_known("busy");
    daemon.until_known("ends");
    let before = skipped(&daemon);
    daemon.signal(Signal::STOP);
    ends.kill();
    let seconds = if thorough() { 60 } else { 4 };
    let_pass(Duration::from_secs(seconds));
    daemon.signal(Signal::CONT);
    daemon.passes(1);
    let (after, first) = (monotonic(), place.count("select max(tick) from ticks"));
    daemon.passes(2);
    let missed = skipped(&daemon) - before;
    assert!(missed >= seconds - 1, "{missed} passes were missed, and are counted");
    let passes = place.count("select max(tick) from ticks") - first;
    let since = monotonic().since(after);
    assert!(passes <= i64::try_from(since.as_secs()).unwrap() + 3, "{passes} in {since:?}: none is made up for");
    let ends = daemon.until_listed("ends", "its end is told", |page| page["runs"][0]["exit_signal"] == "SIGKILL");
    assert_eq!(ends["state"], "zombie");
    assert_eq!(daemon.agent("busy")["alerts"], json!([]), "nobody is down for it");
    daemon.stop();
    let gap = "(strftime('%s', timestamp) - strftime('%s', lag(timestamp) over (order by tick)))";
    assert_eq!(place.count(&format!("select count(*) from (select {gap} as s from ticks) where s >= 3")), 1, "one gap");
    let most = place.count("select cast(max(cpu_percent) as integer) from agent_metrics where agent_id = 'busy'");
    println!("stood still once, {missed} passes missed, {passes} in the {since:?} after it; busy at most {most} %");
    // On a busy machine it has little of that core.
    assert!((1..=130).contains(&most), "{most} %: one core at most, over the whole gap");
}

#[test]
fn a_pass_that_takes_too_long_is_skipped_counted_and_told() {
    let tree = Tree::start();
    let place = Place::new();
    place.configure(BRISK);
    let daemon = place.start(&[&format!("--agent=a={}", tree.pid())]);
    daemon.until_known("a");
    let before = skipped(&daemon);
    let Some(engine) = Frozen::new(daemon.pid(), "engine") else {
        return println!("NOT TESTED: nobody may trace here");
    };
    let late = until("it is not ready any more", || match get(daemon.address(), "/readyz") {
        (503, document) => Ok(document),
        (status, document) => Err(format!("{status}: {document}")),
    });
    assert_eq!(late["detail"], "no complete sampling pass for more than 3s");
    // The endpoint goes on, with what it knows.
    assert_eq!(get(daemon.address(), "/healthz").0, 200);
    assert_eq!(daemon.agent("a")["state"], "running");
    let_pass(Duration::from_secs(2));
    engine.thaw();
    until("it is ready again", || match get(daemon.address(), "/readyz") {
        (200, _) => Ok(()),
        (status, document) => Err(format!("{status}: {document}")),
    });
    let missed = skipped(&daemon) - before;
    println!("one pass took too long, {missed} were skipped");
    assert!(missed >= 3);
    until("it is told", || {
        let alerts = daemon.dashboard()["alerts"].clone();
        let fires = alerts.as_array().unwrap().iter().any(|alert| alert["type"] == "monitor_lagging");
        if fires { Ok(()) } else { Err(alerts.to_string()) }
    });
    signal(daemon.pid(), Signal::TERM);
    assert_eq!(daemon.ended().0.code(), Some(0));
}
