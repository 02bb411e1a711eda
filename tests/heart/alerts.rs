//! Alerts, through restarts of the daemon.

use super::bench::{Bench, SECOND, killed, record};

#[test]
fn an_alert_waits_for_a_registry_that_was_not_read_yet() {
    let mut bench = Bench::new(10 * SECOND);
    let pid = bench.host.start("agent");
    let claim = || vec![record("a", "online", Some(pid))];
    bench.registry(claim());
    bench.pass(20 * SECOND);
    bench.host.finish(pid, killed());
    bench.pass(20 * SECOND);
    bench.registry(claim());
    bench.pass(30 * SECOND);
    assert_eq!(bench.alerts(), [("agent_down".to_owned(), true)]);
    bench.restart();
    bench.pass(60 * SECOND);
    assert_eq!(bench.snapshot.as_ref().unwrap().alerts.len(), 1);
    bench.registry(claim());
    bench.pass(60 * SECOND);
    assert_eq!(bench.alerts(), [("agent_down".to_owned(), true)], "told once");
    bench.registry(Vec::new());
    bench.pass(60 * SECOND);
    assert_eq!(bench.alerts().last(), Some(&("agent_down".to_owned(), false)));
}

#[test]
fn high_cpu_fires_after_five_minutes_and_survives_a_restart() {
    let mut bench = Bench::new(10 * SECOND);
    let pid = bench.host.start("agent");
    let claim = vec![record("a", "online", Some(pid))];
    bench.registry(claim.clone());
    for _ in 0..29 {
        bench.host.burn(pid, 9 * SECOND);
        bench.pass(10 * SECOND);
    }
    assert_eq!(bench.alerts(), []);
    for _ in 0..5 {
        bench.host.burn(pid, 9 * SECOND);
        bench.pass(10 * SECOND);
    }
    assert_eq!(bench.alerts(), [("high_cpu".to_owned(), true)]);
    bench.restart();
    bench.registry(claim);
    bench.pass(SECOND);
    for _ in 0..5 {
        bench.host.burn(pid, 9 * SECOND);
        bench.pass(10 * SECOND);
    }
    assert_eq!(bench.alerts(), [("high_cpu".to_owned(), true)], "told once");
    assert_eq!(bench.agent("a").alerts, ["high_cpu".into()]);
    bench.pass(20 * SECOND);
    assert_eq!(bench.alerts(), [("high_cpu".to_owned(), true), ("high_cpu".to_owned(), false)]);
}
