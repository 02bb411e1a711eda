//! Everything at once, for as long as it is told: a thousand agents, 64 streams, all kinds of questions, and writers as
//! fast as they can. What was acknowledged is stored once, every stream has every line or was told what it misses, and
//! nothing grows.
//!
//! `AGENT_MONITOR_TEST_LOAD_SECONDS` says for how long; without it, a few seconds. `AGENT_MONITOR_TEST_LOAD_RATE` says how
//! many writes a second there are at most, all together: what is written is kept, about 250 bytes each.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

#[path = "../daemon/harness/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the tests of the daemon use the rest")]
mod harness;
#[path = "../faults/herd.rs"]
mod herd;
mod line;
mod listeners;
mod talkers;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use agent_monitor::clock::monotonic;
use serde_json::{Value, json};

use harness::{Deadline, Place, pace};
use herd::Herd;
use listeners::Heard;
use talkers::{Spans, Talk};

const AGENTS: usize = 1_000;
const STREAMS: usize = 64;
const WRITERS: usize = 24;
const ASKERS: usize = 4;

/// Whether it goes on, for all threads.
pub(crate) type Over = Arc<AtomicBool>;

pub(crate) fn agent(n: usize) -> String {
    format!("agent-{:04}", n % AGENTS)
}

#[test]
#[expect(clippy::disallowed_methods, reason = "how long it takes is for who starts it to say")]
fn nothing_is_lost_and_nothing_grows() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seconds = number("AGENT_MONITOR_TEST_LOAD_SECONDS").unwrap_or(2);
    let rate = number("AGENT_MONITOR_TEST_LOAD_RATE");
    let place = Place::new();
    // Nothing is to go for its age or its size, and no alert to be told again: such lines are not for streams.
    place.configure("[storage]\nmax_size = \"256GiB\"\n[[alerts.rule]]\nname = \"high_errors\"\nrepeat = \"1000h\"\n");
    let herd = Herd::start(&place.path("."), AGENTS);
    place.register(&herd.pids.iter().enumerate().map(|(n, pid)| json!({"id": agent(n), "pid": pid})).collect());
    let daemon = place.start_with_registry();
    let rated = "select count(distinct agent_id) from agent_metrics where cpu_percent is not null";
    place.until_stored(rated, i64::try_from(AGENTS).unwrap());

    let over = Over::default();
    let (address, socket) = (daemon.address(), place.path("s"));
    let listening: Vec<_> = (0..STREAMS)
        .map(|_| {
            let over = Arc::clone(&over);
            thread::spawn(move || listeners::listen(address, &over))
        })
        .collect();
    let writing: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (socket, over) = (socket.clone(), Arc::clone(&over));
            thread::spawn(move || talkers::write(&socket, writer, rate, &over))
        })
        .collect();
    let asking: Vec<_> = (0..ASKERS)
        .map(|asker| {
            let over = Arc::clone(&over);
            thread::spawn(move || talkers::ask(address, asker, &over))
        })
        .collect();

    let began = monotonic();
    let deadline = Deadline::after(Duration::from_secs(seconds));
    let mut course = watch::Course::default();
    let every = (seconds / 20).max(1);
    while !deadline.is_over() {
        let second = monotonic().since(began).as_secs();
        course.look(&daemon, &place);
        if second.is_multiple_of(every) {
            course.print_last(second);
        }
        while monotonic().since(began).as_secs() == second && !deadline.is_over() {
            pace();
        }
    }
    over.store(true, Ordering::Relaxed);
    let took = monotonic().since(began);
    let mut written: Vec<Talk> = writing.into_iter().map(|writer| writer.join().unwrap()).collect();
    let asked: Vec<Talk> = asking.into_iter().map(|asker| asker.join().unwrap()).collect();
    // The last line, which all streams wait for.
    let last = talkers::tell_last(&socket);
    let heard: Vec<Heard> = listening.into_iter().map(|listener| listener.join().unwrap()).collect();
    let status = daemon.get("/api/monitoring/status");
    daemon.stop();

    report(&mut written, asked, took, &status);
    let acknowledged: u64 = written.iter().map(|talk| talk.told).sum();
    is_stored_once(&place, &written, acknowledged);
    course.judge();
    listeners::judge(&heard, &place, last);
    let counters = &status["counters"];
    // What was refused was said again.
    for lost in ["entriesDropped", "samplesDropped", "runsDropped", "requestsPanicked"] {
        assert_eq!(counters[lost], 0, "{lost}: {counters}");
    }
    let passes = status["sampling"]["tick"].as_u64().unwrap();
    println!("{passes} passes, {} skipped", counters["ticksSkipped"]);
    assert!(passes >= seconds / 2, "watching goes on");
}

/// Every write that was acknowledged, and no other, exactly once.
fn is_stored_once(place: &Place, written: &[Talk], acknowledged: u64) {
    let count = |sql: &str| u64::try_from(place.count(sql)).unwrap();
    assert_eq!(count("select count(*) from journal where client_id is not null"), acknowledged);
    assert_eq!(count("select count(distinct client_id) from journal"), acknowledged);
    // Each writer numbers what it says, so the number of the last one says that of all.
    for (writer, talk) in written.iter().enumerate() {
        let of = format!("from journal where client_id >= 'w{writer:03}-' and client_id < 'w{writer:03}.'");
        assert_eq!(count(&format!("select count(*) {of}")), talk.told, "writer {writer}");
    }
    let whole: String = place.database().query_row("pragma quick_check", [], |row| row.get(0)).unwrap();
    assert_eq!(whole, "ok");
    println!("{acknowledged} writes were acknowledged, and each is stored once");
}

fn report(written: &mut [Talk], asked: Vec<Talk>, took: Duration, status: &Value) {
    let mut spans: BTreeMap<&str, Spans> = BTreeMap::new();
    let mut refused: BTreeMap<u16, u64> = BTreeMap::new();
    let mut told = 0;
    let written = written.iter_mut().map(|talk| {
        told += talk.told;
        (std::mem::take(&mut talk.spans), talk.refused.clone())
    });
    for (of, no) in written.chain(asked.into_iter().map(|talk| (talk.spans, talk.refused))) {
        for (what, mut more) in of {
            spans.entry(what).or_default().append(&mut more);
        }
        for (status, count) in no {
            *refused.entry(status).or_default() += count;
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate to be shown")]
    let rate = told as f64 / took.as_secs_f64();
    println!("{told} writes in {took:.1?}: {rate:.0} a second; refused: {refused:?}");
    println!("{:<10} {:>9} {:>9} {:>9} {:>9} {:>9}", "ms", "count", "p50", "p95", "p99", "most");
    for (what, spans) in &mut spans {
        spans.sort_unstable();
        let at = |percent: usize| f64::from(spans[(spans.len() - 1) * percent / 100]) / 1000.0;
        let (count, most) = (spans.len(), at(100));
        println!("{what:<10} {count:>9} {:>9.2} {:>9.2} {:>9.2} {most:>9.2}", at(50), at(95), at(99));
    }
    let database = &status["database"];
    println!("database: {} bytes, {} transactions", database["sizeBytes"], database["commits"]);
    assert_eq!(spans.len(), 8, "all was asked, and answered");
}
