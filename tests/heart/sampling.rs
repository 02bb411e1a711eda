//! What a tree uses, added up.

use std::time::Duration;

use agent_monitor::model::{ExitStatus, Observed, Pid, Record};

use super::bench::{Bench, SECOND, killed, record};

#[test]
fn a_new_agent_has_a_rate_within_a_second() {
    let mut bench = Bench::new(10 * SECOND);
    let pid = bench.host.start("agent");
    bench.registry(vec![record("a", "busy", Some(pid))]);
    let first = bench.agent("a");
    assert_eq!((first.state, &*first.status, first.metrics.cpu_percent), (Observed::Running, "busy", None));
    bench.host.burn(pid, Duration::from_millis(250));
    bench.pass(Duration::from_millis(600));
    assert_eq!(bench.agent("a").metrics.cpu_percent, Some(50.0));
    assert_eq!(bench.events(), [("started".to_owned(), format!("process {pid} (agent) is running"))]);
}

/// The kernel counts in hundredths of a second: over so few of them a busy loop may seem to sleep.
#[test]
fn a_regular_pass_right_after_the_first_reading_makes_no_rate() {
    let ms = Duration::from_millis;
    let mut bench = Bench::new(SECOND);
    bench.pass(ms(1_950));
    let pid = bench.host.start("agent");
    bench.registry(vec![record("a", "busy", Some(pid))]);
    bench.pass(ms(60));
    assert_eq!(bench.agent("a").metrics.cpu_percent, None);
    bench.host.burn(pid, ms(250));
    bench.pass(ms(500));
    assert_eq!(bench.agent("a").metrics.cpu_percent, Some(50.0));
}

#[test]
fn a_daemon_knows_how_things_are_from_its_first_step_on() {
    let mut bench = Bench::new(3600 * SECOND);
    bench.step();
    let snapshot = bench.snapshot.as_ref().unwrap();
    assert!(snapshot.own.last_tick_mono.is_some(), "else it is not ready for an hour");
    assert_eq!(snapshot.host.cpu_count, Some(2));
}

#[test]
fn storage_is_counted_whatever_other_agents_do() {
    let mut bench = Bench::new(7 * SECOND);
    let (steady, mut restless) = (bench.host.start("agent"), bench.host.start("agent"));
    let claims =
        |restless| vec![record("steady", "online", Some(steady)), record("restless", "online", Some(restless))];
    bench.registry(claims(restless));
    for round in 1..=60 {
        bench.host.transfer(steady, 1_000, 0);
        bench.host.transfer(restless, 10, 0);
        bench.pass(SECOND);
        bench.host.finish(restless, killed());
        bench.step();
        restless = bench.host.start("agent");
        bench.registry(claims(restless));
        // A turn comes every ten seconds, and is taken at the next regular pass.
        let read = bench.agent("steady").metrics.io.unwrap().read_bytes;
        assert!(read + 18_000 >= round * 1_000, "{read} bytes after {round} s");
    }
}

#[test]
fn a_day_of_twenty_agents_adds_up() {
    for told in [true, false] {
        a_day(told);
    }
}

fn a_day(told: bool) {
    let mut bench = Bench::new(10 * SECOND);
    if told {
        bench.host.tell_forks();
    }
    let roots: Vec<Pid> = (0..20).map(|_| bench.host.start("agent")).collect();
    let records: Vec<Record> =
        roots.iter().enumerate().map(|(n, pid)| record(&format!("agent-{n:02}"), "online", Some(*pid))).collect();
    bench.registry(records);
    let mut long_lived: Vec<Option<Pid>> = vec![None; roots.len()];
    for round in 0..8640_u64 {
        for (place, root) in roots.iter().enumerate() {
            let pick = (round * 31 + place as u64 * 17) % 97;
            if pick < 20 {
                let child = bench.host.fork(*root);
                bench.host.burn(child, Duration::from_millis(100 + pick));
                bench.host.finish(child, ExitStatus::Code(0));
            } else if pick < 30 {
                match long_lived[place].take() {
                    Some(child) => bench.host.finish(child, ExitStatus::Code(0)),
                    None => long_lived[place] = Some(bench.host.fork(*root)),
                }
            } else if let Some(child) = long_lived[place] {
                bench.host.burn(child, Duration::from_millis(pick));
            } else {
                bench.host.burn(*root, Duration::from_millis(pick));
            }
        }
        bench.pass(10 * SECOND);
        bench.stored.retain(|batch| !batch.entries.is_empty());
    }
    bench.pass(30 * SECOND);
    let charged: u64 = bench.snapshot.as_ref().unwrap().agents.iter().map(|agent| agent.metrics.cpu_us.unwrap()).sum();
    assert_eq!(charged, bench.host.burned_us());
    assert_eq!(bench.snapshot.as_ref().unwrap().own.ticks_skipped, 0);
}

#[test]
fn a_tree_is_charged_for_children_that_no_tick_saw() {
    let mut bench = Bench::new(10 * SECOND);
    let pid = bench.host.start("agent");
    bench.registry(vec![record("a", "online", Some(pid))]);
    bench.pass(5 * SECOND);
    let child = bench.host.fork(pid);
    bench.host.burn(child, Duration::from_millis(500));
    bench.host.finish(child, ExitStatus::Code(0));
    bench.pass(10 * SECOND);
    assert_eq!(bench.cpu_seconds("a"), 0.5);
}

#[test]
fn what_a_process_burned_before_it_was_known_is_nobodys() {
    let mut bench = Bench::new(10 * SECOND);
    let pid = bench.host.start("agent");
    let child = bench.host.fork(pid);
    bench.host.burn(pid, 100 * SECOND);
    bench.host.burn(child, 100 * SECOND);
    bench.pass(20 * SECOND);
    bench.registry(vec![record("a", "online", Some(pid))]);
    bench.pass(20 * SECOND);
    assert_eq!(bench.cpu_seconds("a"), 0.0);
    assert_eq!(bench.agent("a").metrics.process_count, Some(2));
}
