//! A database that is damaged or overwritten under the running program: watching never stops, it is said what is wrong, and
//! what can be read is kept.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rusqlite::Connection;

use super::harness::{BRISK, Daemon, Place, get, names, until};
use super::storage::tell;
use super::tree::Tree;

const PAGE: usize = 4096;

/// Events with a page each.
const NOTES: usize = 150;

/// The names of what was told, as the database has them.
fn notes(place: &Place) -> Vec<String> {
    let sql = "select rtrim(message, 'x') from agent_events where event_type = 'note' order by id";
    place.database().prepare(sql).unwrap().query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

fn note(n: usize) -> String {
    format!("note {n} ")
}

/// A daemon that watches a tree, with a past of some hundred pages.
fn with_a_past(place: &Place, tree: &Tree) -> Daemon {
    place.configure(BRISK);
    let daemon = place.start(&["--agent", &format!("a={}", tree.pid())]);
    daemon.until_known("a");
    for n in 0..NOTES {
        assert_eq!(tell(place, &format!("{}{}", note(n), "x".repeat(3_000))), 201);
    }
    daemon
}

/// The live answers go on, whatever the database does.
fn goes_on(daemon: &Daemon) {
    daemon.passes(2);
    assert_eq!(daemon.agent("a")["state"], "running");
    for route in ["/healthz", "/readyz", "/api/monitoring/status"] {
        assert_eq!(get(daemon.address(), route).0, 200, "{route}");
    }
}

/// Pages in the middle of the table of events, which no transaction will touch again.
fn old_pages(place: &Place) -> Vec<u64> {
    let sql = "select pageno from dbstat where name = 'journal' and pagetype = 'leaf' order by path limit 3 offset 20";
    place.database().prepare(sql).unwrap().query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

fn spoil(path: &Path, at: u64, length: usize) {
    File::options().write(true).open(path).unwrap().write_all_at(&vec![0xa5; length], at).unwrap();
}

/// Waits until nothing is wrong any more, and it was told for this reason.
fn until_told(daemon: &Daemon, reason: &str) -> String {
    until("it stores again", || {
        let database = &daemon.get("/api/monitoring/status")["database"];
        if database["status"] == "ok" { Ok(()) } else { Err(database.to_string()) }
    });
    until("it is told", || {
        let warnings = daemon.get("/api/monitoring/events?type=warning");
        let told = warnings["items"].as_array().into_iter().flatten();
        let told = told.into_iter().find(|event| event["metadata"]["reason"] == reason);
        told.map(|event| event["message"].as_str().unwrap().to_owned()).ok_or_else(|| warnings.to_string())
    })
}

fn set_aside(place: &Place) -> usize {
    names(&place.state()).iter().filter(|name| name.contains(".corrupt-") && !name.ends_with("-wal")).count()
}

/// Somebody who asks for the past meets it. For as long as nothing can be put in its place, it is said.
#[test]
fn pages_in_the_middle() {
    let tree = Tree::start();
    let place = Place::new();
    let daemon = with_a_past(&place, &tree);
    let pages = old_pages(&place);
    for page in &pages {
        spoil(&place.state().join("agent-monitor.db"), (page - 1) * PAGE as u64, PAGE);
    }
    println!("struck {} pages", pages.len());
    assert_eq!(pages.len(), 3, "the fault never struck");
    // Where the new database would be made, nothing can be.
    let obstacle = place.state().join("agent-monitor.db-new");
    fs::create_dir(&obstacle).unwrap();
    let status = get(daemon.address(), "/api/monitoring/events?agent=a&limit=500").0;
    assert!((500..600).contains(&status), "{status}");
    until("it is said", || {
        let database = &daemon.get("/api/monitoring/status")["database"];
        if database["status"] == "failing" { Ok(()) } else { Err(database.to_string()) }
    });
    goes_on(&daemon);
    let ready = get(daemon.address(), "/readyz").1;
    assert_eq!(ready["status"], "degraded", "{ready}");
    assert_eq!(tell(&place, "refused"), 503);
    fs::remove_dir(&obstacle).unwrap();
    let told = until_told(&daemon, "database_damaged");
    assert!(told.contains("malformed"), "what was met, not what was in the way: {told}");
    assert_eq!(tell(&place, "after"), 201);
    goes_on(&daemon);
    daemon.stop();
    assert_eq!(set_aside(&place), 1);
    let kept = notes(&place);
    assert_eq!(kept.last().unwrap(), "after");
    // A page has one or two of them.
    let lost = NOTES - (kept.len() - 1);
    assert!((1..=2 * pages.len()).contains(&lost), "{lost} are lost");
    assert_whole(&place);
}

fn assert_whole(place: &Place) {
    assert_eq!(place.database().query_row("pragma integrity_check", [], |row| row.get::<_, String>(0)).unwrap(), "ok");
}

/// As `cp` does it with an old copy, when the log has nothing of what the copy lacks: that is whole, but acknowledged
/// entries are gone.
#[test]
fn a_copy_that_is_written_over_it() {
    let tree = Tree::start();
    let place = Place::new();
    let daemon = with_a_past(&place, &tree);
    let (path, copy) = (place.state().join("agent-monitor.db"), place.path("copy.db"));
    agent_monitor::store::backup(&place.state(), &copy, |_, _| ()).unwrap();
    for n in NOTES..NOTES + 50 {
        assert_eq!(tell(&place, &format!("{}{}", note(n), "x".repeat(3_000))), 201);
    }
    let before = path.metadata().unwrap().ino();
    let held_up: i64 = Connection::open(&path)
        .and_then(|other| other.query_row("pragma wal_checkpoint(truncate)", [], |row| row.get(0)))
        .unwrap();
    assert_eq!(held_up, 0);
    fs::copy(&copy, &path).unwrap();
    assert_eq!(path.metadata().unwrap().ino(), before, "the same file, struck once");
    goes_on(&daemon);
    let told = until_told(&daemon, "data_gap");
    assert!(told.contains("an older one took its place"), "{told}");
    println!("{told}");
    assert_eq!(tell(&place, "after"), 201);
    goes_on(&daemon);
    daemon.stop();
    assert_eq!(set_aside(&place), 0);
    let kept = notes(&place);
    let expected: Vec<String> = (0..NOTES).map(note).chain(["after".to_owned()]).collect();
    assert_eq!(kept, expected);
    assert_whole(&place);
}

/// Whoever has it open goes on; the next start finds it, and everything that was acknowledged.
#[test]
fn a_header_that_is_lost() {
    let tree = Tree::start();
    let place = Place::new();
    let daemon = with_a_past(&place, &tree);
    spoil(&place.state().join("agent-monitor.db"), 0, 100);
    println!("struck once");
    goes_on(&daemon);
    daemon.kill();
    let daemon = place.start(&["--agent", &format!("a={}", tree.pid())]);
    println!("{}", until_told(&daemon, "database_damaged"));
    goes_on(&daemon);
    assert_eq!(tell(&place, "after"), 201);
    daemon.stop();
    assert_eq!(set_aside(&place), 1);
    let expected: Vec<String> = (0..NOTES).map(note).chain(["after".to_owned()]).collect();
    assert_eq!(notes(&place), expected);
    assert_whole(&place);
}

/// What was in it behind the damage is gone, and how much that is, is told.
#[test]
fn a_log_that_is_damaged() {
    let tree = Tree::start();
    let place = Place::new();
    let daemon = with_a_past(&place, &tree);
    let log = place.state().join("agent-monitor.db-wal");
    daemon.kill();
    // Its header, so that nothing of it can be read, wherever in it the last transactions are.
    spoil(&log, 0, 32);
    println!("struck once");
    let daemon = place.start(&["--agent", &format!("a={}", tree.pid())]);
    println!("{}", until_told(&daemon, "data_gap"));
    goes_on(&daemon);
    assert_eq!(tell(&place, "after"), 201);
    daemon.stop();
    let kept = notes(&place);
    let told: Vec<String> = (0..NOTES).map(note).take(kept.len() - 1).chain(["after".to_owned()]).collect();
    assert_eq!(kept, told, "a beginning of it, and what came after");
    assert!(kept.len() > NOTES / 2, "{} of {NOTES}", kept.len());
    assert_whole(&place);
}
