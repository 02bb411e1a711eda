//! P4 and P7: trouble with the disk stops nothing but storing, is counted and told, and ends by itself.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;
use std::time::Duration;

use agent_monitor::model::{Batch, StoredAgent};
use agent_monitor::monitor::NotRecorded;
use agent_monitor::store::{FILE_NAME, NotTaken, Opened};
use rusqlite::Connection;

use crate::support::{
    PATIENCE, Store, after, agent, answer, ask, event, number, of_agent, opened, pass, run, run_of, submit,
};

fn noted(tick: u64) -> Batch {
    let entries = vec![of_agent(1, after(tick), event(&format!("event {tick}")))];
    Batch { entries, ..pass(tick, after(tick), &[1]) }
}

/// Waits until storing has resumed. Nothing announces it, so this asks again and again.
pub(crate) fn await_recovery(store: &Store) {
    let (_sender, never) = channel::<()>();
    for _ in 0..PATIENCE.as_millis() / 20 {
        if store.stats.trouble().is_none() {
            return;
        }
        let _ = never.recv_timeout(Duration::from_millis(20));
    }
    panic!("still in trouble: {:?}", store.stats.trouble());
}

/// Breaks the store, writes, mends it, writes. Returns how often the fault struck.
fn outage(directory: &Path, strike: impl FnOnce(), mend: impl FnOnce()) -> usize {
    let store = Store::start(directory);
    store.store(noted(1)).unwrap();
    assert_eq!(store.told.recv_timeout(PATIENCE).unwrap().entries[0].id, Some(1));
    strike();
    let mut struck = 0;
    for tick in 2..=50 {
        // Agents and runs that are new in the meantime.
        let mut batch = noted(tick);
        batch.agents.push(agent(100));
        batch.runs.push(run_of(100, i64::try_from(tick).unwrap()));
        if let Err(error) = store.store(batch) {
            struck += 1;
            assert!(matches!(error, NotRecorded::Storage { .. }), "{error}");
            let told = store.told.recv_timeout(PATIENCE).expect("live watching goes on");
            assert_eq!((told.entries.len(), told.entries[0].id), (1, None), "told without an id");
            assert!(store.stats.trouble().is_some());
        } else {
            store.told.recv_timeout(PATIENCE).unwrap();
        }
    }
    assert_eq!(store.stats.dropped_entries.load(Ordering::Relaxed), struck as u64, "each loss is counted");
    assert_eq!(store.stats.dropped_samples.load(Ordering::Relaxed), struck as u64);
    mend();
    await_recovery(&store);
    let recorded = store.store(noted(51)).unwrap();
    assert!(recorded[0].id.is_some());
    let newest = ask(directory, "select message from agent_events order by id desc limit 1");
    assert_eq!(newest, ["event 51"], "storing resumed without a restart");
    // How things are is known again, though it was told only during the trouble.
    assert!(store.reader.agent(&agent(100).id).unwrap().is_some());
    assert_eq!(store.reader.runs(number(100), 100).unwrap().len(), 49);
    assert_eq!(ask(directory, "pragma integrity_check"), ["ok"]);
    store.stop();
    struck
}

#[test]
fn a_table_that_is_gone_for_a_while() {
    let directory = tempfile::tempdir().unwrap();
    let alter = |sql: &str| {
        let connection = Connection::open(directory.path().join(FILE_NAME)).unwrap();
        connection.busy_timeout(PATIENCE).unwrap();
        // The views, which speak of the table, are not looked at.
        connection.pragma_update(None, "legacy_alter_table", true).unwrap();
        connection.execute_batch(sql).unwrap();
    };
    let struck = outage(
        directory.path(),
        || alter("alter table sample rename to hidden"),
        || alter("alter table hidden rename to sample"),
    );
    println!("struck {struck} times");
    assert!(struck > 0, "the fault never struck");
}

/// A full disk needs a disk of its own: a small one in memory, in a mount namespace that goes with the child.
#[test]
fn a_full_disk() {
    let isolate: &[&str] =
        if nix::unistd::Uid::effective().is_root() { &["--mount"] } else { &["--user", "--map-root-user", "--mount"] };
    let possible = Command::new("unshare").args(isolate).arg("true").status().is_ok_and(|status| status.success());
    if !possible {
        println!("NOT TESTED: this machine allows no mount namespace");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new("unshare")
        .args(isolate)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "trouble::on_a_small_disk", "--ignored", "--nocapture"])
        .env("STORE_TEST_MOUNT", directory.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let struck = said.lines().find(|line| line.contains("full disk struck"));
    println!("{}", struck.expect("the child did its work"));
}

#[test]
#[ignore = "the child of the other test"]
fn on_a_small_disk() {
    let Some(mount) = std::env::var_os("STORE_TEST_MOUNT") else { return };
    let mount = Path::new(&mount);
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m,mode=700", "none"]).arg(mount).status();
    assert!(mounted.unwrap().success());
    let ballast = mount.join("ballast");
    let fill = || {
        let mut file = std::fs::File::create(&ballast).unwrap();
        let copied = std::io::copy(&mut std::io::repeat(0), &mut file);
        assert_eq!(copied.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    };
    let struck = outage(mount, fill, || std::fs::remove_file(&ballast).unwrap());
    println!("full disk struck {struck} times");
    assert!(struck > 0, "the fault never struck");
}

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

#[test]
fn a_full_queue_refuses_counts_and_remembers() {
    for another_follows in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let (Opened { writer, handle, stats, .. }, told) = opened(directory.path()).unwrap();
        let noted_with_state = |tick| {
            let mut batch = noted(tick);
            batch.agents.push(StoredAgent { restarts: tick, ..agent(100) });
            batch
        };
        let refused = (1..).find(|tick| submit(&handle, noted_with_state(*tick)).is_err()).unwrap();
        assert!(matches!(submit(&handle, noted(1_000)), Err(NotTaken::Busy)));
        for _ in 0..2 {
            let lost = told.try_recv().expect("told at once").entries;
            assert_eq!((lost.len(), lost[0].id), (1, None));
        }
        assert_eq!(stats.queue_length.load(Ordering::Relaxed), refused - 1);
        assert_eq!(stats.dropped_entries.load(Ordering::Relaxed), 2);
        let thread = run(writer);
        let restarts = || ask(directory.path(), "select restarts from agent where number = 100");
        if another_follows {
            // As soon as there is room.
            let answered = std::iter::repeat_with(|| submit(&handle, noted(2_000))).find_map(Result::ok).unwrap();
            answer(answered).unwrap();
            assert_eq!(restarts(), [refused.to_string()]);
        }
        drop(handle);
        thread.join().unwrap();
        assert_eq!(restarts(), [refused.to_string()], "the state of the refused batch came after all");
        assert_eq!(stats.queue_length.load(Ordering::Relaxed), 0);
    }
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
