//! P4: what is kept takes no more room than it may.

use std::sync::atomic::{AtomicU64, Ordering};

use agent_monitor::model::{Batch, Mono, Now};
use agent_monitor::retention::Limits;
use agent_monitor::store::Op;

use crate::expire::{HOUR, LIMITS, RETENTION, count};
use crate::support::{Store, after, agent, ask, error, event, in_memory, of_agent, pass};

/// Nothing is old, but there is too much of it: the limit holds at every moment, and the newest history is left.
#[test]
fn the_size_is_bounded_whatever_the_ages() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::start(directory.path());
    let limits = Limits { size_bytes: 4 << 20, samples: RETENTION * 7, rollups: RETENTION * 90 };
    // Once: what fills up in between is not left until the next time.
    store.handle.submit(Op::Prune { limits, now: Now { wall: after(0), mono: Mono(0) } }).unwrap();
    let agents: Vec<u32> = (0..100).collect();
    let mut largest = 0;
    let unresolved = Batch { entries: vec![of_agent(1, after(0), error("unresolved"))], ..Batch::default() };
    let mut first = pass(1, after(0), &agents);
    first.entries = unresolved.entries;
    store.store(first).unwrap();
    let passes = 2_000;
    for tick in 2..=passes {
        let mut batch = pass(tick, after(tick * 10), &agents);
        batch.entries = vec![of_agent(1, after(tick * 10), event(&"x".repeat(200)))];
        store.store(batch).unwrap();
        largest = largest.max(store.stats.database_size_bytes.load(Ordering::Relaxed));
    }
    store.flush();
    println!("at most {largest} bytes, {} rows deleted", store.stats.expired_rows.load(Ordering::Relaxed));
    assert!(largest <= limits.size_bytes, "{largest} bytes");
    assert!(store.stats.expired_rows.load(Ordering::Relaxed) > 100_000, "the limit was reached");
    let kept = ask(directory.path(), "select count(*), max(tick) from ticks");
    let (count, newest) = kept[0].split_once('|').unwrap();
    assert_eq!(newest, passes.to_string());
    assert!(count.parse::<u64>().unwrap() > 300, "{count} passes are left");
    assert_eq!(ask(directory.path(), "select count(*) from error_logs"), ["1"], "unresolved errors go last");
    // Samples and their summaries gave way in proportion.
    let reach = ask(
        directory.path(),
        "select (select julianday(max(timestamp)) - julianday(min(timestamp)) from ticks),
                (select (max(key >> 26) - min(key >> 26)) / 24.0 from minute)",
    );
    println!("days of samples, of minutes: {reach:?}");
    assert_eq!(ask(directory.path(), "pragma integrity_check"), ["ok"]);

    // A smaller limit, as after a reload: the file itself shrinks.
    let less = Limits { size_bytes: 2 << 20, ..limits };
    store.handle.submit(Op::Prune { limits: less, now: Now { wall: after(passes * 10), mono: Mono(0) } }).unwrap();
    store.flush();
    store.stop();
    let file = directory.path().join("agent-monitor.db").metadata().unwrap().len();
    assert!(file <= less.size_bytes, "{file} bytes");
}

/// When nothing else is left, they go too, oldest first.
#[test]
fn unresolved_errors_go_last() {
    let directory = in_memory();
    let store = Store::start(directory.path());
    let limits = Limits { size_bytes: 2 << 20, ..LIMITS };
    let mut batch = pass(1, after(0), &[1]);
    batch.entries = (0..2_000).map(|n| of_agent(1, after(n), error(&format!("{n} {}", "x".repeat(1_500))))).collect();
    store.store(batch).unwrap();
    store.store(pass(2, after(3_000), &[1])).unwrap();
    store.handle.submit(Op::Prune { limits, now: Now { wall: after(4_000), mono: Mono(0) } }).unwrap();
    store.flush();
    assert_eq!(count(&directory, "ticks"), 0);
    let left = count(&directory, "error_logs");
    assert!((1..1_000).contains(&left), "{left} errors are left");
    let oldest: u64 = ask(directory.path(), "select min(id) from error_logs")[0].parse().unwrap();
    assert_eq!(oldest, 2_001 - left, "the newest are left");
    store.stop();
}

/// Within a moment of what is kept, or all of it older than the only pass, or younger: there is no age of samples to go by.
#[test]
fn what_fills_it_at_once_makes_room_too() {
    for (told_at, pass_at) in [(1, 50), (0, 20 * HOUR), (100, 50)] {
        let directory = in_memory();
        let store = Store::start(directory.path());
        let fat = |n| of_agent(1, after(told_at), event(&format!("{n} {}", "x".repeat(12_000))));
        let mut entries = vec![of_agent(1, after(0), error("unresolved"))];
        entries.extend((0..400).map(fat));
        store.store(Batch { entries, agents: vec![agent(1)], ..Batch::default() }).unwrap();
        store.store(pass(1, after(pass_at), &[1])).unwrap();
        let limits = Limits { size_bytes: 4 << 20, ..LIMITS };
        store.handle.submit(Op::Prune { limits, now: Now { wall: after(pass_at), mono: Mono(0) } }).unwrap();
        store.flush();
        let size = |bytes: &AtomicU64| bytes.load(Ordering::Relaxed);
        let file = size(&store.stats.database_size_bytes) - size(&store.stats.log_bytes);
        assert!(file <= limits.full(), "{file} bytes: the file itself is smaller");
        store.stop();
        assert_eq!((count(&directory, "error_logs"), count(&directory, "agent_events")), (1, 151));
        assert_eq!(ask(directory.path(), "select min(id) from agent_events"), ["251"], "the newest are left");
    }
}

/// What is deleted stands last in the file, since a clock was set back: hardly anything is written to cut it off. The file is
/// cut all the same, and the limit holds for what comes.
#[test]
fn a_file_of_which_the_end_is_free_is_cut_at_once() {
    let directory = in_memory();
    let store = Store::start(directory.path());
    let limits = Limits { size_bytes: 4 << 20, ..LIMITS };
    let fat = |at, count| {
        let fat = |n| of_agent(1, after(at), event(&format!("{n} {}", "x".repeat(12_000))));
        store
            .store(Batch { entries: (0..count).map(fat).collect(), agents: vec![agent(1)], ..Batch::default() })
            .unwrap();
    };
    let size = || store.stats.database_size_bytes.load(Ordering::Relaxed);
    fat(1_000, 150);
    fat(1, 250);
    assert!(size() > limits.size_bytes, "{} bytes: it does not come about", size());
    store.handle.submit(Op::Prune { limits, now: Now { wall: after(1_000), mono: Mono(0) } }).unwrap();
    store.flush();
    assert!(
        size() <= limits.size_bytes,
        "{} bytes after {} rows",
        size(),
        store.stats.expired_rows.load(Ordering::Relaxed)
    );
    for at in 1_001..1_010 {
        fat(at, 50);
        store.flush();
        assert!(size() <= limits.size_bytes, "{} bytes", size());
    }
    store.stop();
}

#[test]
fn the_file_shrinks_and_others_write_meanwhile() {
    let directory = in_memory();
    let store = Store::start(directory.path());
    let agents: Vec<u32> = (0..1000).collect();
    for tick in 1..=100 {
        store.store(pass(tick, after(tick * 10), &agents)).unwrap();
    }
    let pages = || ask(directory.path(), "pragma page_count")[0].parse::<u64>().unwrap();
    let full = pages();
    let now = Now { wall: after(48 * HOUR), mono: Mono(0) };
    store.handle.submit(Op::Prune { limits: LIMITS, now }).unwrap();
    let recorded = store.store(Batch { entries: vec![of_agent(1, after(1), event("meanwhile"))], ..Batch::default() });
    let deleted_by_then = store.stats.expired_rows.load(Ordering::Relaxed);
    assert!(recorded.is_ok());
    store.flush();
    let deleted = store.stats.expired_rows.load(Ordering::Relaxed);
    assert_eq!(deleted, 100 * 1001 + 1, "samples, passes, and the event, which is old");
    assert!(deleted_by_then < deleted, "the event did not wait for the end");
    assert!(pages() < full / 2, "{} of {full} pages", pages());
    assert_eq!(ask(directory.path(), "pragma integrity_check"), ["ok"]);
    store.stop();
}
