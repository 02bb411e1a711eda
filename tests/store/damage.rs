//! P3 and P7: a database that is damaged, moved or deleted is replaced; nothing of it is overwritten, and what can be
//! read is kept.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::Ordering;

use agent_monitor::model::Batch;
use agent_monitor::store::FILE_NAME;

use crate::diary::await_recovery;
use crate::support::{Store, after, ask, error, event, in_memory, number, of_agent, opened, pass, until};

const PAGE: usize = 4096;

/// Two thousand passes with an event each, closed.
pub(crate) fn filled(directory: &Path) {
    // Once for all tests.
    static FILLED: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
        let directory = in_memory();
        fill(directory.path());
        directory
    });
    for name in [FILE_NAME, "agent-monitor.mark"] {
        std::fs::copy(FILLED.path().join(name), directory.join(name)).unwrap();
    }
}

fn fill(directory: &Path) {
    let store = Store::start(directory);
    for tick in 1..=2_000 {
        let entries = vec![of_agent(
            1,
            after(tick),
            if tick % 10 == 0 { error(&tick.to_string()) } else { event(&"x".repeat(100)) },
        )];
        store.store(Batch { entries, ..pass(tick, after(tick * 10), &[1, 2, 3]) }).unwrap();
    }
    store.stop();
}

pub(crate) fn set_aside(directory: &Path) -> Vec<PathBuf> {
    names(directory, ".corrupt-")
}

/// Files, but for logs and journals, with this in their name.
fn names(directory: &Path, part: &str) -> Vec<PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    let whole = |name: &str| name.contains(part) && !name.ends_with("-wal") && !name.ends_with("-journal");
    found.retain(|path| whole(path.to_str().unwrap()));
    found.sort();
    found
}

/// The pages of a table or index that are no root.
fn leaves(directory: &Path, name: &str) -> Vec<u64> {
    let sql = format!("select pageno from dbstat where name = '{name}' and pagetype = 'leaf' order by path");
    ask(directory, &sql).iter().map(|page| page.parse().unwrap()).collect()
}

fn spoil(directory: &Path, pages: &[u64]) {
    let file = std::fs::File::options().write(true).open(directory.join(FILE_NAME)).unwrap();
    for page in pages {
        file.write_all_at(&[0xa5; PAGE], (page - 1) * PAGE as u64).unwrap();
    }
}

pub(crate) fn told(directory: &Path) -> Vec<String> {
    ask(
        directory,
        "select json_extract(metadata, '$.rows_saved') from agent_events where metadata like '%database_damaged%'",
    )
}

/// What was told as missing: under which number, how many entries and how many passes.
pub(crate) fn gaps(directory: &Path) -> Vec<String> {
    let sql = "select id, json_extract(metadata, '$.entries_lost'), json_extract(metadata, '$.passes_lost')
                 from agent_events where json_extract(metadata, '$.reason') = 'data_gap'";
    ask(directory, sql)
}

#[test]
fn a_header_that_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path());
    let path = directory.path().join(FILE_NAME);
    std::fs::File::options().write(true).open(&path).unwrap().write_all_at(&[0; 100], 0).unwrap();
    let before = std::fs::read(&path).unwrap();
    let store = Store::start(directory.path());
    store.store(pass(3_000, after(30_000), &[1])).unwrap();
    store.stop();
    let [aside] = &set_aside(directory.path())[..] else { panic!("one file") };
    assert!(std::fs::read(aside).unwrap() == before, "kept as it was");
    let saved: u64 = told(directory.path())[0].parse().unwrap();
    assert!(saved > 10_000, "{saved} rows");
    // All else is whole.
    assert_eq!(ask(directory.path(), "select count(*) from agent_metrics"), ["6001"]);
    assert_eq!(ask(directory.path(), "select count(*) from journal where message not like '%database%'"), ["2000"]);
    assert_eq!(ask(directory.path(), "pragma integrity_check"), ["ok"]);
    assert_eq!(names(directory.path(), "headed"), [] as [PathBuf; 0], "the copy is gone");
}

#[test]
fn half_a_file() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path());
    let path = directory.path().join(FILE_NAME);
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(file.metadata().unwrap().len() / 8192 * 4096).unwrap();
    let store = Store::start(directory.path());
    store.store(pass(10_000, after(1), &[1])).unwrap();
    store.stop();
    assert_eq!(set_aside(directory.path()).len(), 1);
    assert_eq!(ask(directory.path(), "pragma integrity_check"), ["ok"]);
    let kept: u64 = ask(directory.path(), "select count(*) from agent_events")[0].parse().unwrap();
    println!("{kept} events of 1,800 were kept");
    assert!(kept > 500);
}

/// Nobody notices until it is read; then all but the rows on those pages are saved, while the daemon runs.
#[test]
fn pages_that_are_damaged_are_all_that_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    filled(path);
    let (samples, journal) = (leaves(path, "sample"), leaves(path, "journal"));
    // Some in the middle, and the last of the journal, which the next entry would be put on.
    let spoilt = [samples[3], samples[20], samples[21], journal[5], *journal.last().unwrap()];
    let on_page = |table: &str, pages: &[u64]| -> u64 {
        let list = pages.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        let sql = format!("select sum(ncell) from dbstat where name = '{table}' and pageno in ({list})");
        ask(path, &sql)[0].parse().unwrap()
    };
    let lost = (on_page("sample", &spoilt), on_page("journal", &spoilt));
    spoil(path, &spoilt);
    let store = Store::start(path);
    let mut struck = 0;
    for tick in 3_000..3_050 {
        let entries = vec![of_agent(1, after(tick), event("after it"))];
        struck += u64::from(store.store(Batch { entries, ..pass(tick, after(tick * 10), &[1, 2, 3]) }).is_err());
        if struck > 0 {
            break;
        }
    }
    assert!(struck > 0, "the fault never struck");
    await_recovery(&store);
    assert_eq!(store.stats.dropped_entries.load(Ordering::Relaxed), struck, "those that were refused");
    let entries = vec![of_agent(1, after(9_999), event("after it"))];
    store.store(Batch { entries, ..pass(9_999, after(99_990), &[1, 2, 3]) }).unwrap();
    assert!(store.reader.agent(&crate::support::agent(1).id).unwrap().is_some(), "those who read have the new one");
    store.stop();
    assert_eq!(set_aside(path).len(), 1);
    assert_eq!(told(path).len(), 1);
    assert_eq!(ask(path, "pragma integrity_check"), ["ok"]);
    let count = |sql: &str| -> u64 { ask(path, sql)[0].parse().unwrap() };
    let kept = count("select count(*) from sample where key >> 20 <= 2000");
    assert_eq!(kept, 6_000 - lost.0, "samples: {} on the damaged pages", lost.0);
    let kept = count("select count(*) from journal where message not like '%database%' and message <> 'after it'");
    assert_eq!(kept, 2_000 - lost.1, "journal: {} on the damaged pages", lost.1);
}

/// The writer itself would not read that page for days.
#[test]
fn damage_that_a_reader_meets_or_a_check_finds_is_mended() {
    for checked in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        filled(path);
        let samples = leaves(path, "sample");
        let store = Store::start(path);
        store.reader.check(false).expect("it is whole");
        spoil(path, &samples[3..5]);
        let met = if checked {
            store.reader.check(false)
        } else {
            store.reader.metrics(number(1), after(0), 10_000).map(drop)
        };
        let error = met.expect_err("it is met");
        println!("{}", error.chain());
        until(&store, "it is replaced", || set_aside(path).len() == 1);
        await_recovery(&store);
        store.reader.check(false).expect("the new one is whole");
        let kept = store.reader.metrics(number(1), after(0), 10_000).unwrap().len();
        assert!((1_500..2_000).contains(&kept), "{kept}");
        store.stop();
        assert_eq!(told(path).len(), 1);
        assert_eq!(ask(path, "select count(*) from journal where kind = 1"), ["200"], "errors");
        assert_eq!(ask(path, "pragma integrity_check"), ["ok"]);
    }
}

/// The database is whole and too old: the note beside it tells.
#[test]
fn a_log_that_was_lost_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let (source, path) = (directory.path().join("source"), directory.path().join("copy"));
    let noted =
        |tick| Batch { entries: vec![of_agent(1, after(tick), event("noted"))], ..pass(tick, after(tick), &[1]) };
    let store = Store::start(&source);
    store.store(noted(1)).unwrap();
    store.stop();
    let store = Store::start(&source);
    for tick in 2..=40 {
        store.store(noted(tick)).unwrap();
    }
    // As a kill leaves it, but without the log.
    std::fs::create_dir(&path).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    for name in [FILE_NAME, "agent-monitor.mark"] {
        std::fs::copy(source.join(name), path.join(name)).unwrap();
    }
    store.stop();
    let store = Store::start(&path);
    assert_eq!(gaps(&path), ["41|39|39"], "told once, under a number that nobody has heard of");
    assert_eq!((store.resume.last_tick, store.resume.last_entry), (40, 41), "nor is a pass counted twice");
    store.store(noted(41)).unwrap();
    store.stop();
    for whole in [&path, &source] {
        let before = gaps(whole).len();
        Store::start(whole).stop();
        assert_eq!(gaps(whole).len(), before, "nothing is missing");
    }
    assert_eq!(gaps(&source), [] as [&str; 0]);
}

#[test]
fn a_log_that_is_damaged_is_read_as_far_as_it_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let (source, path) = (directory.path().join("source"), directory.path().join("copy"));
    let store = Store::start(&source);
    for tick in 1..=100 {
        store.store(pass(tick, after(tick), &[1, 2])).unwrap();
    }
    // As a kill leaves it.
    std::fs::create_dir(&path).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    for name in [FILE_NAME.to_owned(), format!("{FILE_NAME}-wal")] {
        std::fs::copy(source.join(&name), path.join(&name)).unwrap();
    }
    store.stop();
    let log = std::fs::File::options().write(true).open(path.join(format!("{FILE_NAME}-wal"))).unwrap();
    let middle = log.metadata().unwrap().len() / 2;
    log.write_all_at(&[0xff; 64], middle).unwrap();
    let store = Store::start(&path);
    let last = store.resume.last_tick;
    println!("{last} of 100 passes were kept");
    assert_eq!(ask(&path, "select count(*) from agent_events"), ["0"], "there was no note of how far it had come");
    assert!((10..100).contains(&last));
    store.store(pass(last + 1, after(500), &[1, 2])).unwrap();
    store.stop();
    assert_eq!(
        ask(&path, "select count(*), max(tick), sum(samples) from ticks"),
        [format!("{0}|{0}|{1}", last + 1, 2 * (last + 1))]
    );
    assert_eq!(ask(&path, "pragma integrity_check"), ["ok"]);
}

#[test]
fn a_file_that_is_deleted_or_moved_under_the_daemon_comes_back_whole() {
    for moved in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let store = Store::start(path);
        for tick in 1..=50 {
            store.store(pass(tick, after(tick), &[1, 2])).unwrap();
        }
        for name in [FILE_NAME.to_owned(), format!("{FILE_NAME}-wal"), format!("{FILE_NAME}-shm")] {
            if moved {
                std::fs::rename(path.join(&name), path.join(format!("moved-{name}"))).unwrap();
            } else {
                std::fs::remove_file(path.join(&name)).unwrap();
            }
        }
        let lost = store.store(pass(51, after(51), &[1, 2]));
        assert!(lost.is_err(), "it is told, not taken for stored");
        await_recovery(&store);
        store.store(pass(52, after(52), &[1, 2])).unwrap();
        let passes = store.reader.metrics(crate::support::number(1), after(0), 100).unwrap().len();
        assert_eq!(passes, 51, "fifty from before, and the last");
        store.stop();
        assert_eq!(ask(path, "select count(*), max(tick) from ticks"), ["51|52"]);
        assert_eq!(ask(path, "select count(*) from agent_events where metadata like '%data_gap%'"), ["0"]);
        assert_eq!(ask(path, "pragma integrity_check"), ["ok"]);
        assert_eq!(ask(path, "pragma auto_vacuum"), ["2"]);
    }
}

#[test]
fn a_foreign_file_in_its_place_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let store = Store::start(path);
    store.store(pass(1, after(1), &[1])).unwrap();
    let foreign = b"somebody else's".repeat(500);
    std::fs::write(path.join("other"), &foreign).unwrap();
    for name in [format!("{FILE_NAME}-wal"), format!("{FILE_NAME}-shm")] {
        std::fs::remove_file(path.join(name)).unwrap();
    }
    std::fs::rename(path.join("other"), path.join(FILE_NAME)).unwrap();
    for tick in 2..6 {
        assert!(store.store(pass(tick, after(tick), &[1])).is_err());
    }
    assert!(store.stats.trouble().is_some());
    assert!(std::fs::read(path.join(FILE_NAME)).unwrap() == foreign);
    store.stop();
    assert!(std::fs::read(path.join(FILE_NAME)).unwrap() == foreign);
    assert!(opened(path).is_err());
}
