//! `--follow`: what happens, as it happens, over restarts of the daemon.

use std::process::Stdio;
use std::sync::mpsc::Receiver;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::*;

/// A daemon that knows no agent.
fn daemon() -> Daemon {
    Place::new(&config("[[registry.source]]\nkind = \"match\"\nagent = \"none\"\nprogram = \"no-such-program\"\n"))
        .start()
}

/// A command that goes on, and what it says.
struct Follower {
    process: Killed,
    out: Receiver<String>,
    err: Receiver<String>,
}

impl Follower {
    fn start(place: &Place, arguments: &[&str]) -> Follower {
        let mut command = place.command(arguments);
        let mut process = Killed(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
        let (out, err) = (lines(process.0.stdout.take()), lines(process.0.stderr.take()));
        Follower { process, out, err }
    }

    fn next(&self) -> String {
        self.out
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|error| panic!("nothing was told ({error}): {:?}", self.err.try_iter().collect::<Vec<_>>()))
    }

    /// Messages of the next so many lines.
    fn messages(&self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.next().rsplit("  ").next().unwrap().to_owned()).collect()
    }

    fn hears(&self, words: &str) {
        let mut heard = Vec::new();
        while !heard.last().is_some_and(|line: &String| line.contains(words)) {
            heard
                .push(self.err.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("{words:?} ({error}): {heard:?}")));
        }
    }

    /// It ends well at a signal, and has said nothing more.
    fn ends(mut self, signal: Signal) {
        kill_process(Pid::from_child(&self.process.0), signal).unwrap();
        let status = eventually("it ends", || self.process.0.try_wait().unwrap());
        assert_eq!(status.code(), Some(0), "{status}");
        assert_eq!(self.out.iter().collect::<Vec<_>>(), [] as [&str; 0]);
    }
}

fn tell(place: &Place, agent: &str, kind: &str, message: &str) {
    place.told(&["event", agent, kind, message]);
}

#[test]
fn restarts_lose_and_repeat_nothing() {
    let mut daemon = daemon();
    for n in 0..5 {
        tell(&daemon.place, "a", "note", &format!("before {n}"));
    }
    let follower = Follower::start(&daemon.place, &["events", "--follow", "--limit", "3"]);
    assert_eq!(follower.messages(3), ["before 2", "before 3", "before 4"], "the latest, oldest first");
    for (round, signal) in [Signal::TERM, Signal::KILL, Signal::TERM].into_iter().enumerate() {
        let expected: Vec<String> = (0..6).map(|n| format!("round {round}, {n}")).collect();
        for message in &expected[..3] {
            tell(&daemon.place, "a", "note", message);
        }
        assert_eq!(follower.messages(3), expected[..3], "as they happen");
        daemon.signal(signal);
        daemon.wait();
        follower.hears("the daemon went away");
        let place = std::mem::replace(&mut daemon.place, Place::new(""));
        // Another port each time: it is looked for again.
        daemon = place.start();
        for message in &expected[3..] {
            tell(&daemon.place, "a", "note", message);
        }
        assert_eq!(follower.messages(3), expected[3..], "what was missed, once");
        follower.hears("the daemon is back");
    }
    follower.ends(Signal::INT);
    daemon.stop();
}

#[test]
fn only_what_is_asked_for_and_as_json() {
    let daemon = daemon();
    tell(&daemon.place, "a", "note", "old");
    let by_type = Follower::start(&daemon.place, &["events", "-f", "--type", "note", "--json"]);
    let by_agent = Follower::start(&daemon.place, &["events", "-f", "--agent", "b", "--limit", "1"]);
    let listed: Value = serde_json::from_str(&by_type.next()).unwrap();
    assert_eq!(listed["message"], "old");
    // Nothing is listed for the other; it is known to listen when the daemon says so.
    daemon.until("both listen", |own| own["streams"] == 2);
    tell(&daemon.place, "a", "other", "neither");
    tell(&daemon.place, "b", "other", "by agent \u{1b}[2J\u{202e}");
    tell(&daemon.place, "a", "note", "by type \u{1b}[2J");
    tell(&daemon.place, "b", "note", "both");
    assert_eq!(by_agent.messages(2), ["by agent \u{fffd}[2J\u{fffd}", "both"]);
    let lines = [by_type.next(), by_type.next()];
    assert!(!lines.iter().any(|line| line.contains('\u{1b}')), "{lines:?}");
    let documents: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(documents[0]["message"], "by type \u{1b}[2J", "it says the same");
    let stored = daemon.get("/api/monitoring/events?limit=1")["items"][0].take();
    assert_eq!(documents[1], stored, "as the list has it");
    by_type.ends(Signal::TERM);
    by_agent.ends(Signal::HUP);
    daemon.stop();
}

#[test]
fn errors_and_alerts_are_followed_too() {
    let place = Place::new("");
    place.configure(&config(&format!(
        "{}[alerts]\ninterval = \"1s\"\n[[alerts.rule]]\nname = \"high_errors\"\nabove = 1\nclear = 1\nfor = \"0s\"\n",
        file_source(&place.path("agents.json"))
    )));
    place.write("agents.json", &us("me"));
    let daemon = place.start();
    daemon.until("it knows the agent", |own| own["agents"] == 1);
    let (errors, alerts) = (
        Follower::start(&daemon.place, &["errors", "-f"]),
        Follower::start(&daemon.place, &["alerts", "-f", "--json"]),
    );
    daemon.until("both listen", |own| own["streams"] == 2);
    for n in 0..2 {
        daemon.place.told(&["error", "me", "Oops", &format!("number {n}"), "--fingerprint", "oops"]);
    }
    assert_eq!(errors.messages(2), ["number 0", "number 1"]);
    let fired: Value = serde_json::from_str(&alerts.next()).unwrap();
    assert_eq!(
        (&fired["type"], &fired["state"], &fired["agent_id"]),
        (&json!("high_errors"), &json!("firing"), &json!("me"))
    );
    daemon.place.told(&["resolve", "oops"]);
    let over: Value = serde_json::from_str(&alerts.next()).unwrap();
    assert_eq!((&over["id"], &over["state"]), (&fired["id"], &json!("resolved")));
    // One that begins now is told of neither: one is dealt with, the other over.
    let late = Follower::start(&daemon.place, &["alerts", "--follow", "--agent", "me"]);
    daemon.until("all listen", |own| own["streams"] == 3);
    daemon.place.told(&["error", "me", "Oops", "again", "--fingerprint", "oops2"]);
    daemon.place.told(&["error", "me", "Oops", "again", "--fingerprint", "oops2"]);
    assert!(late.next().contains("critical high_errors"));
    assert!(alerts.next().contains("high_errors"));
    late.ends(Signal::INT);
    assert_eq!(errors.messages(2), ["again"; 2]);
    errors.ends(Signal::INT);
    alerts.ends(Signal::INT);
    daemon.stop();
}

#[test]
fn what_is_too_much_to_be_told_again_is_told_as_a_gap() {
    let mut daemon = daemon();
    tell(&daemon.place, "a", "note", "the first");
    let text = Follower::start(&daemon.place, &["events", "--follow"]);
    let json = Follower::start(&daemon.place, &["events", "--follow", "--json"]);
    assert_eq!(text.messages(1), ["the first"]);
    assert!(json.next().contains("the first"));
    daemon.signal(Signal::TERM);
    daemon.wait();
    for follower in [&text, &json] {
        follower.hears("the daemon went away");
    }
    // More than are ever told again, written while nobody could listen.
    let database = rusqlite::Connection::open(daemon.place.path("state/agent-monitor.db")).unwrap();
    database
        .execute_batch(
            "with recursive n(i) as (select 1 union all select i + 1 from n where i < 1200)
             insert into journal (agent_number, timestamp, kind, type, message, metadata)
             select agent_number, timestamp, kind, type, 'missed ' || i, metadata from journal, n
              where message = 'the first' order by i",
        )
        .unwrap();
    drop(database);
    let place = std::mem::replace(&mut daemon.place, Place::new(""));
    daemon = place.start();
    let gap = text.next();
    assert!(gap.starts_with("… entries 2 to ") && gap.ends_with("cannot be told any more …"), "{gap}");
    let document: Value = serde_json::from_str(&json.next()).unwrap();
    assert_eq!(document["gap"]["from"], 2, "{document}");
    let to = document["gap"]["to"].as_u64().unwrap();
    assert!(gap.contains(&to.to_string()), "{gap} is not {document}");
    let told = text.messages(1000);
    assert_eq!((told.len(), told.last().unwrap().as_str()), (1000, "missed 1200"));
    text.ends(Signal::INT);
    daemon.stop();
}

#[test]
fn a_reader_that_has_had_enough_ends_it() {
    let daemon = daemon();
    tell(&daemon.place, "a", "note", "enough");
    let mut command = daemon.place.command(&["events", "--follow"]);
    let mut process = Killed(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    daemon.until("it listens", |own| own["streams"] == 1);
    drop(process.0.stdout.take());
    let status = eventually("it ends", || process.0.try_wait().unwrap());
    assert_eq!(status.code(), Some(0), "{status}");
    daemon.stop();
}

#[test]
fn without_a_daemon_at_first_it_is_a_failure() {
    let place = Place::new("");
    let output = place.output(&["events", "--follow", "--url", "http://127.0.0.1:1/"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(69) && told.contains("no daemon answers"), "{told}");
}
