//! P1 and P2: what was acknowledged survives SIGKILL, and a crash loses at most what was not.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use agent_monitor::model::Batch;
use agent_monitor::monitor::{Answer, Stored};
use agent_monitor::store::{Op, StateLock, StoreError};

use crate::support::{Store, after, ask, event, of_agent, pass};

/// How often one is killed; more with AGENT_MONITOR_TEST_KILLS.
const ROUNDS: u64 = 25;
const DIRECTORY: &str = "STORE_TEST_DIRECTORY";

/// This test program once more, as a daemon that writes until it is killed.
fn spawn_writer(directory: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::write_until_killed", "--ignored", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Says `ack TICK ID` for each batch that was acknowledged.
#[test]
#[ignore = "the child of the other tests"]
fn write_until_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let store = Store::start(Path::new(&directory));
    for tick in store.resume.last_tick + 1.. {
        let batch = Batch {
            entries: vec![of_agent(1, after(tick), event(&format!("tick {tick}")))],
            ..pass(tick, after(tick), &[1, 2, 3])
        };
        let acknowledge = Answer::new(move |result: Result<Stored, _>| {
            let id = result.unwrap().entries[0].id.unwrap();
            let mut out = std::io::stdout().lock();
            out.write_all(format!("ack {tick} {id}\n").as_bytes()).and_then(|()| out.flush()).unwrap();
        });
        store.handle.submit(Op::Store { batch, reply: Some(acknowledge) }).unwrap();
        // Several at a time share a transaction; the queue never fills.
        if tick % 8 == 0 {
            store.flush();
        }
    }
}

fn acknowledged(line: &str) -> Option<(u64, i64)> {
    let (tick, id) = line.strip_prefix("ack ")?.split_once(' ')?;
    Some((tick.parse().ok()?, id.parse().ok()?))
}

#[test]
fn nothing_acknowledged_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let mut kept: BTreeMap<u64, i64> = BTreeMap::new();
    let mut killed = 0;
    let asked = std::env::var_os("AGENT_MONITOR_TEST_KILLS").map(|text| text.to_str().unwrap().parse().unwrap());
    let rounds = asked.unwrap_or(ROUNDS);
    for round in 0..rounds {
        let mut child = spawn_writer(directory.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let wanted = usize::try_from(1 + round * 7 % 40).unwrap();
        let first: Vec<_> = lines.by_ref().filter_map(|line| acknowledged(&line)).take(wanted).collect();
        assert_eq!(first.len(), wanted, "round {round}: the child ended by itself");
        child.kill().unwrap();
        kept.extend(first);
        kept.extend(lines.filter_map(|line| acknowledged(&line)));
        killed += u64::from(child.wait().unwrap().signal() == Some(9));

        let stored = ask(directory.path(), "select message || ' ' || id from agent_events order by id");
        for (tick, id) in &kept {
            assert!(stored.contains(&format!("tick {tick} {id}")), "round {round}: tick {tick} was acknowledged");
        }
        // All or nothing, and no hole before the last.
        let last = stored.len();
        let passes = ask(directory.path(), "select count(*), max(tick), sum(samples) from ticks");
        assert_eq!(passes, [format!("{last}|{last}|{}", 3 * last)], "round {round}");
        assert_eq!(ask(directory.path(), "select count(*) from agent_metrics"), [(3 * last).to_string()]);
        assert_eq!(ask(directory.path(), "pragma integrity_check"), ["ok"], "round {round}");
    }
    println!("killed {killed} times, {} acknowledged", kept.len());
    assert_eq!(killed, rounds, "the fault struck each time");
}

#[test]
fn the_lock_names_its_holder_and_dies_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = spawn_writer(directory.path());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| acknowledged(&line).is_some()), "it runs");
    let error = StateLock::acquire(directory.path()).expect_err("held");
    assert!(matches!(error, StoreError::Locked { pid: Some(pid), .. } if pid == child.id()), "{error}");
    child.kill().unwrap();
    child.wait().unwrap();
    StateLock::acquire(directory.path()).expect("nobody holds it now");
}
