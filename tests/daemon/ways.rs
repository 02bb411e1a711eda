//! What each way of finding the processes of a tree sees, and what it cannot see.

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::harness::{Daemon, Place, Way, until};
use super::tree::{Strays, Tree};

/// What an agent starts: how, and whether a scan sees it that did not come in between. Each says the pid of a `sleep`.
const SHAPES: [(&str, &str, bool); 9] = [
    ("a child", "sleep 1000 & echo $!", true),
    ("a child in a session of its own", "setsid sleep 1000 & echo $!", true),
    ("a child of a child", "sh -c 'sleep 1000 & echo $!; wait' &", true),
    ("a tool in a session of its own", "setsid sh -c 'sleep 1000 & echo $!; wait' &", true),
    // Its parent is process 1, but its group is still the agent's.
    ("cmd & of a shell that ends at once", "sh -c 'sleep 1000 & echo $!'", true),
    ("nohup of a shell that ends at once", "sh -c 'nohup sleep 1000 2>/dev/null & echo $!'", true),
    // Nothing that is left says whose these are.
    ("cmd & of a tool in a session of its own that ends at once", "setsid sh -c 'sleep 1000 & echo $!'", false),
    ("a daemon, forked twice", "(setsid sleep 1000 & echo $!)", false),
    ("a child of such a daemon", "(setsid sh -c 'sleep 1000 & echo $!; wait' &)", false),
];

fn members(daemon: &Daemon, id: &str) -> Vec<Value> {
    let page = daemon.page(id);
    page["processes"].as_array().unwrap().iter().map(|process| process["pid"].clone()).collect()
}

#[test]
fn every_shape_is_seen_or_said_not_to_be() {
    Way::each(shapes);
}

fn shapes(way: Way) {
    let mut tree = Tree::start();
    let mut strays = Strays::default();
    let place = Place::of(way);
    let daemon = place.start(&[&format!("--agent=a={}", tree.pid())]);
    daemon.until_known("a");
    // So that no look falls between the start of one and the end of its parent.
    daemon.signal(Signal::STOP);
    let started: Vec<u32> = SHAPES.iter().map(|(_, how, _)| tree.ask(how).parse().unwrap()).collect();
    started.iter().for_each(|pid| strays.take(*pid));
    daemon.signal(Signal::CONT);
    daemon.readings("a", 3);
    let seen = members(&daemon, "a");
    for ((what, _, by_scan), pid) in SHAPES.iter().zip(&started) {
        let expected = way == Way::Told || *by_scan;
        assert_eq!(seen.contains(&json!(pid)), expected, "{way:?}: {what}, process {pid}, in {seen:?}");
    }
}

/// How many messages the kernel could not give a process, because its queue was full: `Drops` of its socket of the proc
/// connector.
fn drops(pid: u32) -> u64 {
    let sockets = fs::read_to_string("/proc/net/netlink").unwrap();
    let fields = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mine = fields.filter(|fields| fields[1] == "11" && fields[2] == pid.to_string());
    mine.map(|fields| fields[8].parse::<u64>().unwrap()).sum()
}

/// The daemon is stopped while others fork so much that its socket overflows.
#[test]
fn a_loss_of_events_is_counted_and_mended() {
    let (mut tree, mut flood) = (Tree::start(), Tree::start());
    let mut strays = Strays::default();
    let place = Place::of(Way::Told);
    let daemon = place.start(&[&format!("--agent=a={}", tree.pid())]);
    daemon.until_known("a");
    assert_eq!(drops(daemon.pid()), 0);
    let lost = || daemon.get("/api/monitoring/status")["counters"]["eventsLost"].as_u64().unwrap();
    assert_eq!(lost(), 0);

    daemon.signal(Signal::STOP);
    until("the queue overflows", || {
        flood.ask("i=0; while [ $i -lt 500 ]; do (:); i=$((i + 1)); done; echo done");
        if drops(daemon.pid()) > 0 { Ok(()) } else { Err("not yet".to_owned()) }
    });
    let before = drops(daemon.pid());
    let child = tree.spawn("sleep 1000");
    assert!(drops(daemon.pid()) > before, "its birth was lost");
    daemon.signal(Signal::CONT);

    daemon.until("a", "the child is found all the same", |agent| agent["metrics"]["processCount"] == 2);
    assert!(members(&daemon, "a").contains(&json!(child)));
    println!("{} messages were dropped, and that was told {} times", drops(daemon.pid()), lost());
    assert!(lost() > 0);
    // From then on nothing is missed again.
    let daemonised = tree.ask("(setsid sleep 1000 & echo $!)").parse().unwrap();
    strays.take(daemonised);
    daemon.until("a", "a daemon is seen", |agent| agent["metrics"]["processCount"] == 3);
    assert!(members(&daemon, "a").contains(&json!(daemonised)));
}

/// Strangers that live where an agent's processes could: nobody's.
#[test]
fn a_shared_session_of_a_broker_is_no_evidence() {
    Way::each(shared_session);
}

fn shared_session(way: Way) {
    let mut broker = Tree::start();
    // Both in the broker's session and group, each with a child there.
    let agent = "sh -c 'sleep 1000 & wait'";
    let (first, second) = (broker.spawn(agent), broker.spawn(agent));
    let place = Place::of(way);
    place.register(&json!([{ "id": "first", "pid": first }, { "id": "second", "pid": second }]));
    let daemon = place.start_with_registry();
    for id in ["first", "second"] {
        daemon.until(id, "its child is known", |agent| agent["metrics"]["processCount"] == 2);
    }
    let theirs: Vec<Value> = members(&daemon, "first").into_iter().filter(|pid| *pid != first).collect();
    broker.ask(&format!("{{ kill -9 {first}; wait {first}; }} 2>/dev/null; echo gone"));
    daemon
        .until("first", "what it left", |agent| agent["state"] == "exited" && agent["leftovers"]["processCount"] == 1);
    // What the broker starts now, and what is left of one of its agents, is not the other's.
    let stranger = broker.spawn("sleep 1000");
    daemon.readings("second", 2);
    let page = daemon.page("first");
    assert_eq!(page["leftovers"].as_array().unwrap().len(), 1, "{page:#}");
    assert_eq!(page["leftovers"][0]["pid"], theirs[0]);
    let seconds = members(&daemon, "second");
    assert_eq!(seconds.len(), 2, "{seconds:?}, not {stranger} or {theirs:?}");
    assert_eq!(daemon.agent("second")["leftovers"]["processCount"], 0);
}
