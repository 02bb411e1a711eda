//! P4 and P7: trouble with the disk stops nothing but storing, is counted and told, and ends by itself.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;
use std::time::Duration;

use agent_monitor::model::{Batch, Mono, Now, StoredAgent};
use agent_monitor::monitor::Answer;
use agent_monitor::retention::Limits;
use agent_monitor::store::{FILE_NAME, NotTaken, Op, Opened};
use rusqlite::Connection;

use crate::diary::{Diary, await_recovery, noted, told_from_outside};
use crate::support::{PATIENCE, Store, after, agent, answer, ask, number, opened, pass, run, submit};

/// Breaks the store, goes on until it was noticed several times, mends it. Returns how often the fault struck.
pub(crate) fn outage(directory: &Path, strike: impl FnOnce(), mend: impl FnOnce()) -> usize {
    let store = Store::start(directory);
    let mut diary = Diary::new();
    diary.go_on(&store);
    assert_eq!(diary.without_id, 0, "all is well");
    strike();
    for _ in 0..50 {
        diary.go_on(&store);
    }
    let struck = diary.refused();
    assert!(store.reader.agent(&agent(1).id).unwrap().is_some(), "what is on disk can be read");
    mend();
    await_recovery(&store);
    diary.go_on(&store);
    diary.check(directory, &store);
    store.stop();
    struck
}

/// Takes the samples away from the daemon, so that no pass can be stored, or gives them back.
fn hide_samples(directory: &Path, hide: bool) {
    let connection = Connection::open(directory.join(FILE_NAME)).unwrap();
    connection.busy_timeout(PATIENCE).unwrap();
    // The views, which speak of the table, are not looked at.
    connection.pragma_update(None, "legacy_alter_table", true).unwrap();
    let (from, to) = if hide { ("sample", "hidden") } else { ("hidden", "sample") };
    connection.execute_batch(&format!("alter table {from} rename to {to}")).unwrap();
}

/// What is asked for in an outage is not left until the next time: before the first time there is no limit, to the log either.
#[test]
fn what_was_to_be_deleted_in_an_outage_is_deleted_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::start(directory.path());
    store.store(pass(1, after(0), &[1])).unwrap();
    hide_samples(directory.path(), true);
    store.bring(noted(3 * 7 * 24 * 3600));
    store.flush();
    assert!(store.stats.trouble().is_some());
    let limits = Limits { samples: WEEK, rollups: WEEK * 13, size_bytes: 16 << 20 };
    let now = Now { wall: after(3 * 7 * 24 * 3600), mono: Mono(0) };
    store.handle.submit(Op::Prune { limits, now }).unwrap();
    store.flush();
    let deleted = || store.stats.expired_rows.load(Ordering::Relaxed);
    assert_eq!((deleted(), store.stats.reserve_bytes.load(Ordering::Relaxed)), (0, 0));
    hide_samples(directory.path(), false);
    await_recovery(&store);
    store.flush();
    assert_eq!((deleted(), store.stats.reserve_bytes.load(Ordering::Relaxed)), (2, limits.reserve_bytes()));
    store.stop();
}

#[test]
fn a_table_that_is_gone_for_a_while() {
    let directory = tempfile::tempdir().unwrap();
    let hide = |hide| hide_samples(directory.path(), hide);
    let struck = outage(directory.path(), || hide(true), || hide(false));
    println!("struck {struck} times");
    assert!(struck > 0, "the fault never struck");
}

/// Another process writes for long, or for ever.
#[test]
fn a_lock_that_somebody_holds() {
    let directory = tempfile::tempdir().unwrap();
    let other = std::cell::RefCell::new(None);
    let hold = || {
        let connection = Connection::open(directory.path().join(FILE_NAME)).unwrap();
        connection.execute_batch("begin immediate").unwrap();
        other.replace(Some(connection));
    };
    let struck = outage(directory.path(), hold, || drop(other.take()));
    println!("struck {struck} times");
    assert!(struck > 1, "the fault never struck");
}

/// Somebody began to read and never ended: the log cannot be written back, and grows.
#[test]
fn a_reader_that_is_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::start(directory.path());
    let herd: Vec<u32> = (1..=1_000).collect();
    store.store(pass(1, after(1), &herd)).unwrap();
    let limits = prune(&store, 16 << 20);
    let reader = Connection::open(directory.path().join(FILE_NAME)).unwrap();
    reader.execute_batch("begin; select count(*) from agent").unwrap();
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let mut ticks = 1;
    // Until samples wait, and for long after.
    let mut spared = 0;
    while spared < 40 {
        ticks += 1;
        store.bring(Batch { agents: Vec::new(), ..pass(ticks, after(ticks * 10), &herd) });
        store.flush();
        spared += u64::from(count(&store.stats.waiting_samples) > 0);
        assert!(ticks < 2_000, "the log never grew: {} bytes", count(&store.stats.log_bytes));
    }
    let trouble = store.stats.trouble().expect("it is said");
    assert!(trouble.contains("log"), "{trouble}");
    let log = count(&store.stats.log_bytes);
    assert!(log < limits.longest_log() + (1 << 20), "{log}");
    let recorded = store.store(told_from_outside(ticks)).unwrap();
    assert!(recorded[0].id.is_some(), "all else is stored");
    println!("{spared} passes waited behind a log of {log} bytes");
    drop(reader);
    ticks += 1;
    store.bring(pass(ticks, after(ticks * 10), &herd));
    await_recovery(&store);
    store.flush();
    assert_eq!(count(&store.stats.waiting_samples), 0);
    assert!(count(&store.stats.log_bytes) < limits.long_log());
    let stored: u64 = ask(directory.path(), "select sum(samples) from ticks")[0].parse().unwrap();
    assert_eq!(stored + count(&store.stats.dropped_samples), ticks * 1_000, "each is stored or counted");
    assert!(count(&store.stats.dropped_samples) > 0, "more than may wait");
    let newest: u64 = ask(directory.path(), "select max(tick) from ticks")[0].parse().unwrap();
    assert!(newest > ticks - 16, "{newest} of {ticks}");
    store.stop();
}

/// Nor does it keep the writer from ending, which stores what waited, however long the log grows.
#[test]
fn a_reader_that_outlives_the_writer() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::start(directory.path());
    let herd: Vec<u32> = (1..=1_000).collect();
    store.store(pass(1, after(1), &herd)).unwrap();
    prune(&store, 16 << 20);
    let reader = Connection::open(directory.path().join(FILE_NAME)).unwrap();
    reader.execute_batch("begin; select count(*) from agent").unwrap();
    let waiting = |store: &Store| store.stats.waiting_samples.load(Ordering::Relaxed);
    let mut ticks = 1;
    let mut bring = |agents: &[u32]| {
        ticks += 1;
        store.bring(Batch { agents: Vec::new(), ..pass(ticks, after(ticks * 10), agents) });
        store.flush();
        assert!(ticks < 2_000, "the log never grew");
    };
    while waiting(&store) == 0 {
        bring(&herd);
    }
    // More passes than are written back at once.
    (0..200).for_each(|_| bring(&[1]));
    let (stats, waited) = (Arc::clone(&store.stats), waiting(&store));
    assert!(waited > 200, "{waited} samples wait");
    let (ended, end) = channel();
    std::thread::spawn(move || {
        store.stop();
        let _ = ended.send(());
    });
    end.recv_timeout(PATIENCE).expect("the writer ends");
    drop(reader);
    let stored: u64 = ask(directory.path(), "select sum(samples) from ticks")[0].parse().unwrap();
    let dropped = stats.dropped_samples.load(Ordering::Relaxed);
    assert_eq!((stored, dropped), ((ticks - 200) * 1_000 + 200, 0), "{waited} waited");
}

/// Tells the writer how much is kept, and lets it delete.
pub(crate) fn prune(store: &Store, size_bytes: u64) -> Limits {
    let limits = Limits { samples: WEEK, rollups: WEEK * 13, size_bytes };
    let now = Now { wall: after(0), mono: Mono(0) };
    store.handle.submit(Op::Prune { limits, now }).unwrap();
    store.flush();
    limits
}

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

#[test]
fn one_that_cannot_be_stored_harms_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let (Opened { writer, handle, stats, .. }, told) = opened(directory.path()).unwrap();
    // They wait together, so they share a transaction. The second uses the id of another agent, the fourth a number
    // that is too large.
    let mut impostor = noted(2);
    impostor.agents.push(StoredAgent { number: number(7), ..agent(1) });
    let mut immense = noted(4);
    immense.agents.push(StoredAgent { restarts: u64::MAX, ..agent(8) });
    let batches = [noted(1), impostor, noted(3), immense, noted(5)];
    let answers = batches.map(|batch| submit(&handle, batch).unwrap());
    let thread = run(writer);
    let stored = answers.map(|answered| answer(answered).is_ok());
    assert_eq!(stored, [true, false, true, false, true]);
    drop(handle);
    thread.join().unwrap();
    assert_eq!(ask(directory.path(), "select message from agent_events"), ["event 1", "event 3", "event 5"]);
    let ids: Vec<bool> = told.iter().flat_map(|told| told.entries).map(|recorded| recorded.id.is_some()).collect();
    assert_eq!(ids, [true, false, true, false, true], "all are told");
    assert_eq!(stats.dropped_entries.load(Ordering::Relaxed), 2);
    assert_eq!(stats.trouble(), None, "the database is well");
}

/// Whoever waits for an answer hears that it is too much; what nobody waits for waits in its turn, behind all that is
/// older.
#[test]
fn a_full_queue_refuses_or_lets_wait() {
    for another_follows in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let (Opened { writer, handle, stats, .. }, told) = opened(directory.path()).unwrap();
        let bring = |tick| handle.submit(Op::Store { batch: noted(tick), reply: None }).unwrap();
        let refused = (1..).find(|tick| submit(&handle, noted(*tick)).is_err()).unwrap();
        assert!(matches!(submit(&handle, noted(1_000)), Err(NotTaken::Busy)));
        // More than are written back at once.
        (2_000..2_700).for_each(bring);
        assert!(handle.works().is_err(), "it is said");
        for _ in 0..702 {
            let lost = told.try_recv().expect("told at once").entries;
            assert_eq!((lost.len(), lost[0].id), (1, None));
        }
        assert_eq!(stats.queue_length.load(Ordering::Relaxed), refused - 1);
        assert_eq!(stats.dropped_entries.load(Ordering::Relaxed), 2, "those that were refused");
        let thread = run(writer);
        if another_follows {
            // As soon as there is room.
            let answered =
                std::iter::repeat_with(|| submit(&handle, told_from_outside(3_000))).find_map(Result::ok).unwrap();
            answer(answered).unwrap();
            bring(3_001);
        }
        drop(handle);
        thread.join().unwrap();
        let stored = ask(directory.path(), "select message from agent_events order by id");
        let own = |tick: u64| format!("event {tick}");
        let mut expected: Vec<String> = (1..refused).chain(2_000..2_700).map(own).collect();
        if another_follows {
            expected.extend(["outside 3000".to_owned(), own(3_001)]);
        }
        assert_eq!(stored, expected, "in order");
        assert_eq!(ask(directory.path(), "select count(*) from ticks where tick between 2000 and 2699"), ["700"]);
        assert_eq!(stats.queue_length.load(Ordering::Relaxed), 0);
        assert_eq!(stats.dropped_samples.load(Ordering::Relaxed), 2, "with those that were refused");
    }
}

/// Nor is what is to be deleted forgotten: it comes in its turn as well.
#[test]
fn what_was_to_be_deleted_when_the_queue_was_full_is_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let (Opened { writer, handle, stats, .. }, _told) = opened(directory.path()).unwrap();
    let stored = (1..).find(|tick| submit(&handle, noted(*tick)).is_err()).unwrap() - 1;
    let limits = Limits { samples: WEEK, rollups: WEEK * 13, size_bytes: 16 << 20 };
    let now = Now { wall: after(3 * 7 * 24 * 3600), mono: Mono(0) };
    handle.submit(Op::Prune { limits, now }).unwrap();
    let thread = run(writer);
    let (sender, done) = channel();
    let flush = || {
        let sender = sender.clone();
        handle.submit(Op::Flush { answer: Answer::new(move |()| sender.send(()).unwrap()) })
    };
    std::iter::repeat_with(flush).find_map(Result::ok).unwrap();
    done.recv_timeout(PATIENCE).unwrap();
    assert_eq!(ask(directory.path(), "select count(*) from ticks"), ["0"], "of {stored}");
    assert!(stats.expired_rows.load(Ordering::Relaxed) > stored);
    drop(handle);
    thread.join().unwrap();
}

#[test]
fn several_wait_for_one_sync() {
    let directory = tempfile::tempdir().unwrap();
    let (Opened { writer, handle, stats, .. }, _told) = opened(directory.path()).unwrap();
    let answers: Vec<_> = (1..=60).map(|tick| submit(&handle, noted(tick)).unwrap()).collect();
    let thread = run(writer);
    for answered in answers {
        answer(answered).unwrap();
    }
    assert_eq!(stats.commits.load(Ordering::Relaxed), 1, "sixty writes, one transaction");
    assert!(stats.database_size_bytes.load(Ordering::Relaxed) > 0);
    drop(handle);
    thread.join().unwrap();
    let log = directory.path().join(format!("{FILE_NAME}-wal"));
    assert!(!log.exists(), "the file alone is a copy");
}
