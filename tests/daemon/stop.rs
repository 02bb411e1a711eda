//! How the daemon ends when it is asked to.

use std::time::Duration;

use rusqlite::Connection;
use rustix::process::Signal;

use super::harness::{Deadline, Place, names};
use super::tree::Tree;

#[test]
fn either_signal_stops_it_in_order() {
    for asked in [Signal::TERM, Signal::INT] {
        let tree = Tree::start();
        let place = Place::new();
        let daemon = place.start(&["--agent", &format!("a={}", tree.pid())]);
        daemon.until_known("a");
        // An answer from the database, so that its readers are open too.
        daemon.until_listed("a", "a sample is stored", |page| !page["metrics"].as_array().unwrap().is_empty());
        let deadline = Deadline::after(Duration::from_secs(10));
        daemon.signal(asked);
        let (status, log) = daemon.ended();
        assert!(!deadline.is_over(), "it took more than ten seconds");
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(log.lines().last().unwrap().contains("stopped"), "{log}");
        assert_eq!(
            names(&place.state()),
            ["agent-monitor.db", "agent-monitor.lock", "agent-monitor.mark"],
            "nothing but one file of data is left"
        );
        assert!(!place.path("s").exists(), "the socket is gone");
        assert_eq!(place.count("select count(*) from agent_runs where ended_at is null"), 1, "the agent runs on");
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for (first, second) in [(Signal::TERM, Signal::TERM), (Signal::INT, Signal::TERM)] {
        let tree = Tree::start();
        let place = Place::new();
        let daemon = place.start(&["--agent", &format!("a={}", tree.pid())]);
        daemon.until_known("a");
        // What it wants to write last has to wait for us.
        let database = Connection::open(place.state().join("agent-monitor.db")).unwrap();
        database.busy_timeout(Duration::from_secs(30)).unwrap();
        database.execute_batch("begin immediate").unwrap();
        // In order it would wait for ten seconds.
        let deadline = Deadline::after(Duration::from_secs(9));
        daemon.signal(first);
        daemon.until_logged("asked to stop");
        daemon.signal(second);
        let (status, _) = daemon.ended();
        assert_eq!(status.code(), Some(1));
        assert!(!deadline.is_over(), "at once");
    }
}
