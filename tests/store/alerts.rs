//! What receivers of alerts are told from, and how far they have come.

use std::sync::Arc;

use agent_monitor::model::{AlertNote, Batch, Body, Delivered, Entry, Recorded, Severity, Transition};

use super::support::{NOON, Store, after, agent, ask, error, event, number, of_agent, opened, submit};

fn note(transition: Transition, source: Option<&str>) -> Body {
    Body::Alert(AlertNote {
        rule: "registry_stale".into(),
        source: source.map(Arc::from),
        severity: Severity::Info,
        transition,
        since: NOON,
        message: format!("{transition:?} {source:?}").into(),
        value: Some(301.5),
        threshold: None,
    })
}

fn own(seconds: u64, transition: Transition, source: Option<&str>) -> Entry {
    Entry { agent: None, at: after(seconds), body: note(transition, source) }
}

#[test]
fn what_was_told_of_alerts_is_read_in_order_and_whole() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::start(directory.path());
    let (one, two) = (Some("file:/one.json"), Some("file:/two.json"));
    let entries = vec![
        own(0, Transition::Fired, one),
        of_agent(1, after(1), event("nothing of an alert")),
        own(0, Transition::Fired, two),
        of_agent(1, after(2), error("nor this")),
        own(3, Transition::Repeated, one),
        own(4, Transition::Resolved, two),
        of_agent(1, after(5), note(Transition::Resolved, None)),
    ];
    let recorded = store.store(Batch { agents: vec![agent(1)], entries, ..Batch::default() }).unwrap();
    let alerts: Vec<Recorded> = recorded.into_iter().filter(|told| matches!(told.entry.body, Body::Alert(_))).collect();
    assert_eq!(store.reader.alerts_after(0, 100).unwrap(), alerts);
    let second = alerts[1].id.unwrap();
    assert_eq!(store.reader.alerts_after(second, 2).unwrap(), alerts[2..4]);
    assert_eq!(store.reader.alerts_after(i64::MAX, 100).unwrap(), []);
    // Each source has its episode; what is told again is none.
    let episodes = ask(directory.path(), "select id, state, resolved_at from alerts order by id");
    assert_eq!(episodes, ["1|firing|null", "3|resolved|2026-01-01 12:00:04.000"]);
    store.stop();
}

#[test]
fn a_place_that_finds_the_queue_full_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let (opened, told) = opened(directory.path()).unwrap();
    let delivered = |receiver: &str, up_to| Batch {
        delivered: vec![Delivered { receiver: receiver.into(), up_to }],
        ..Batch::default()
    };
    // Its writer does not work yet.
    while submit(&opened.handle, delivered("a", Some(1))).is_ok() {}
    assert!(opened.handle.works().unwrap_err().contains("too slow"));
    assert!(submit(&opened.handle, delivered("a", Some(2))).is_err());
    assert!(submit(&opened.handle, delivered("b", Some(3))).is_err());
    assert!(submit(&opened.handle, delivered("b", None)).is_err());
    let thread = super::support::run(opened.writer);
    // What follows takes along what is owed.
    let taken = loop {
        let agents = vec![agent(1)];
        if let Ok(answer) = submit(&opened.handle, Batch { agents, ..Batch::default() }) {
            break answer;
        }
    };
    assert_eq!(super::support::answer(taken).unwrap(), []);
    assert_eq!(opened.handle.works(), Ok(()));
    drop((opened.handle, told));
    thread.join().unwrap();
    let store = Store::start(directory.path());
    assert_eq!(store.resume.delivered, [Delivered { receiver: "a".into(), up_to: Some(2) }]);
    assert_eq!(store.resume.agents[0].agent.number, number(1));
    store.stop();
}
