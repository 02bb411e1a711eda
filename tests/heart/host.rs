//! The host beside its agents.

use std::time::Duration;

use agent_monitor::clock::Clock;
use agent_monitor::model::{HostMinute, HostPressure, Timestamp};

use super::bench::{Bench, SECOND, killed, record};

const GIB: u64 = 1 << 30;

/// As many percent of the last ten seconds, of memory.
fn pressure(percent: f64) -> HostPressure {
    HostPressure { memory_some: Some(percent), ..HostPressure::default() }
}

/// What is stored of the host after `count` batches: minute, GiB available, percent that memory was waited for.
fn minutes(bench: &Bench, count: usize) -> Vec<(Timestamp, Option<u64>, Option<f64>)> {
    let shown = |minute: &HostMinute| {
        let available = minute.host.memory_available_bytes.map(|bytes| bytes / GIB);
        (minute.at, available, minute.pressure.memory_some)
    };
    bench.stored[count..].iter().flat_map(|batch| &batch.host).map(shown).collect()
}

#[test]
fn a_minute_is_stored_when_it_is_over_as_bad_as_it_was() {
    let mut bench = Bench::new(10 * SECOND);
    // The clock of the bench stands a second after the minute.
    let begun = bench.clock.now().wall.minute();
    bench.step();
    for (available, percent) in [(3, 20.0), (1, 5.0), (2, 80.0), (4, 0.0)] {
        bench.host.strain(available * GIB, pressure(percent));
        bench.pass(10 * SECOND);
    }
    assert_eq!(minutes(&bench, 0), [], "it is not over");
    bench.pass(20 * SECOND);
    let first = (begun, Some(1), Some(80.0));
    assert!(minutes(&bench, 0).contains(&first), "{:?}", minutes(&bench, 0));
    let before = bench.stored.len();
    bench.pass(180 * SECOND);
    let minute = Duration::from_secs(60);
    let mut later = minutes(&bench, before);
    later.dedup();
    let calm = |at| (at, Some(4), Some(0.0));
    assert_eq!(later[..3], [1, 2, 3].map(|n| calm(begun + minute * n)));
    let snapshot = bench.snapshot.as_ref().unwrap();
    assert_eq!((snapshot.pressure, snapshot.host.load_5m, snapshot.host.load_15m), (pressure(0.0), Some(0.25), None));
}

#[test]
fn a_death_is_stored_with_the_host_at_that_moment() {
    let mut bench = Bench::new(10 * SECOND);
    let pids: Vec<_> = (0..3).map(|_| bench.host.start("agent")).collect();
    let records = pids.iter().enumerate().map(|(n, pid)| record(&format!("a{n}"), "online", Some(*pid)));
    bench.registry(records.collect());
    bench.pass(Duration::from_secs(24));
    let before = bench.stored.len();
    let now = bench.clock.now().wall;
    // Between two ticks: nobody would have looked just now.
    bench.host.strain(GIB, pressure(98.0));
    bench.host.finish(pids[0], killed());
    bench.step();
    let with_run = bench.stored[before..].iter().find(|batch| batch.runs.iter().any(|run| run.end.is_some())).unwrap();
    assert!(!with_run.host.is_empty(), "in the transaction of the run");
    let seen = |bench: &Bench| {
        let mut seen = minutes(bench, before);
        seen.dedup();
        seen
    };
    assert_eq!(seen(&bench), [(now.minute(), Some(1), Some(98.0))]);

    // Many may die at once: those that follow within a second share the look.
    bench.host.strain(0, pressure(99.0));
    bench.host.finish(pids[1], killed());
    bench.step();
    assert_eq!(seen(&bench), [(now.minute(), Some(1), Some(98.0))]);
    bench.clock.advance(SECOND);
    bench.host.finish(pids[2], killed());
    bench.step();
    assert_eq!(seen(&bench)[1..], [(now.minute(), Some(0), Some(99.0))]);
}

#[test]
fn a_death_at_the_beginning_of_a_minute_has_its_pressure_beside_it() {
    let mut bench = Bench::new(SECOND);
    let pid = bench.host.start("agent");
    bench.registry(vec![record("a", "online", Some(pid))]);
    bench.host.strain(GIB, pressure(98.0));
    // Minutes begin between the passes that look at pressure, every ten seconds.
    bench.clock.set_wall(bench.clock.now().wall + 5 * SECOND);
    let begun = bench.clock.now().wall.minute() + Duration::from_secs(60);
    bench.pass(begun.since(bench.clock.now().wall));
    bench.host.finish(pid, killed());
    bench.step();
    let last = *minutes(&bench, 0).last().unwrap();
    assert_eq!(last, (begun, Some(1), Some(98.0)));
}

/// A daemon that ends says what it saw of the minute.
#[test]
fn an_orderly_end_writes_the_minute_down() {
    let mut bench = Bench::new(10 * SECOND);
    bench.host.strain(2 * GIB, pressure(7.0));
    bench.step();
    let before = bench.stored.len();
    let effects = bench.monitor.stop(bench.clock.now());
    bench.perform(effects);
    assert_eq!(minutes(&bench, before), [(bench.clock.now().wall.minute(), Some(2), Some(7.0))]);
}

/// Pressure is a mean over ten seconds: where agents are looked at every second, it is not asked for as often.
#[test]
fn pressure_is_asked_for_every_ten_seconds() {
    let mut bench = Bench::new(SECOND);
    bench.host.strain(GIB, pressure(10.0));
    bench.step();
    bench.host.strain(2 * GIB, pressure(20.0));
    bench.pass(5 * SECOND);
    let known = |bench: &Bench| {
        let snapshot = bench.snapshot.as_ref().unwrap();
        (snapshot.host.memory_available_bytes, snapshot.pressure)
    };
    assert_eq!(known(&bench), (Some(2 * GIB), pressure(10.0)));
    bench.pass(6 * SECOND);
    assert_eq!(known(&bench), (Some(2 * GIB), pressure(20.0)));
}

#[test]
fn a_wall_clock_that_jumps_is_told_and_one_that_drifts_is_not() {
    let mut bench = Bench::new(10 * SECOND);
    bench.step();
    let jumps = |bench: &Bench| -> Vec<String> {
        let told = bench.events().into_iter().filter(|(_, message)| message.contains("wall clock"));
        told.map(|(word, message)| format!("{word}: {message}")).collect()
    };
    let set = |bench: &mut Bench, ms: i64| {
        let wall = bench.clock.now().wall.unix_ms() + ms;
        bench.clock.set_wall(Timestamp::from_unix_ms(wall));
        bench.pass(20 * SECOND);
    };
    // Nearly a minute at each of ten times, and both ways.
    for _ in 0..10 {
        set(&mut bench, 59_000);
    }
    set(&mut bench, -59_000);
    assert_eq!(jumps(&bench), [""; 0]);
    set(&mut bench, -7_200_400);
    set(&mut bench, 864_000_000);
    let why = "it was set, or the machine slept";
    let expected = [
        format!("warning: the wall clock jumped 2h back: {why}"),
        format!("warning: the wall clock jumped 10days forward: {why}"),
    ];
    assert_eq!(jumps(&bench), expected, "once each");
}
