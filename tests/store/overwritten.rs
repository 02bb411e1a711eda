//! P3 and P7: an old copy that is put over the file of a running daemon, as `cp` does it. The file stays the same one, and
//! most of it is read from memory and from the log.

use std::path::Path;

use agent_monitor::model::Batch;
use agent_monitor::store::{FILE_NAME, backup};
use rusqlite::Connection;

use crate::damage::{filled, gaps, set_aside, told};
use crate::diary::await_recovery;
use crate::support::{Store, after, ask, event, of_agent, pass, until};

fn noted(tick: u64) -> Batch {
    let entries = vec![of_agent(1, after(tick), event(&"x".repeat(1_000)))];
    Batch { entries, ..pass(tick, after(tick * 10), &[1, 2, 3]) }
}

/// It has pages of its own, which those that are in the log do not fit.
#[test]
fn a_copy_of_other_pages_is_taken_without_the_log() {
    let directory = tempfile::tempdir().unwrap();
    // A name that means something in a URI.
    let path = &directory.path().join("100%25 a?b#c");
    std::fs::create_dir(path).unwrap();
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    filled(path);
    let copy = path.join("copy");
    backup(path, &copy, |_, _| ()).unwrap();
    let store = Store::start(path);
    // More than the log holds: of what was written first nothing is in it any more.
    for tick in 3_000..3_300 {
        store.store(noted(tick)).unwrap();
    }
    store.flush();
    assert!(store.stats.trouble().is_none(), "what it writes itself, and writes back from its log, is no reason");
    std::fs::copy(&copy, path.join(FILE_NAME)).unwrap();
    assert!(store.store(noted(3_300)).is_err(), "the fault never struck");
    await_recovery(&store);
    // Whether it is met when the database is opened is chance.
    if set_aside(path).is_empty() {
        assert!(store.reader.take_suspicion());
        store.reader.check(true).expect_err("it is not whole");
    }
    until(&store, "it is replaced", || set_aside(path).len() == 1);
    await_recovery(&store);
    store.store(noted(4_000)).unwrap();
    store.reader.check(true).expect("the new one is whole");
    store.stop();
    assert_eq!((set_aside(path).len(), told(path).len(), gaps(path).len()), (1, 1, 1));
    assert_eq!(ask(path, "pragma integrity_check"), ["ok"]);
    assert_eq!(ask(path, "select count(*) from ticks where tick <= 2000"), ["2000"], "all that the copy has");
}

/// SQLite believes that the file has all that is in the log, and would begin the log again.
#[test]
fn what_the_log_still_has_is_not_lost() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    overwrite_fifty_passes(path, "full");
    assert_eq!(ask(path, "select count(*) from ticks where tick >= 3000"), ["51"], "all but what was refused");
    assert_eq!(gaps(path), [] as [&str; 0]);
}

/// It is whole, and old: only the note beside it knows.
#[test]
fn what_the_log_has_not_is_told_as_a_gap() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    overwrite_fifty_passes(path, "truncate");
    assert_eq!(ask(path, "select count(*) from ticks where tick >= 3000"), ["1"]);
    let lost = format!("{}|{}", 50, 3_049 - 2_000);
    assert_eq!(gaps(path).iter().map(|gap| gap.split_once('|').unwrap().1).collect::<Vec<_>>(), [lost]);
}

/// A copy from before fifty passes is put over a file that has all of them, when somebody beside the daemon has written
/// the log back in this way. The next transaction is refused, and the one after it stored in a database that is whole.
fn overwrite_fifty_passes(path: &Path, log: &str) {
    filled(path);
    let copy = path.join("copy");
    std::fs::copy(path.join(FILE_NAME), &copy).unwrap();
    let store = Store::start(path);
    for tick in 3_000..3_050 {
        store.store(noted(tick)).unwrap();
    }
    let held_up: i64 = Connection::open(path.join(FILE_NAME))
        .and_then(|other| other.query_row(&format!("pragma wal_checkpoint({log})"), [], |row| row.get(0)))
        .unwrap();
    assert_eq!(held_up, 0);
    std::fs::copy(&copy, path.join(FILE_NAME)).unwrap();
    assert!(store.store(noted(3_050)).is_err(), "the fault never struck");
    await_recovery(&store);
    store.store(noted(3_051)).unwrap();
    assert!(store.reader.take_suspicion());
    store.reader.check(true).expect("it is whole");
    store.stop();
    assert_eq!(set_aside(path).len(), 0);
}
