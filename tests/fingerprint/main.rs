//! The rule that groups errors, held against what real programs said when they failed (`programs/make.py`).
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};

use agent_monitor::fingerprint;
use serde_json::Value;

/// How well a set of traces was grouped.
#[derive(PartialEq, Eq, Debug)]
struct Outcome {
    traces: usize,
    /// Bugs, and those of them whose traces are all in one group.
    bugs: usize,
    whole: usize,
    /// Groups, and those of them that hold traces of one bug only.
    groups: usize,
    pure: usize,
    /// The bugs and groups that are not as they should be.
    wrong: Vec<String>,
}

fn group(set: &str) -> Outcome {
    let traces: Vec<Value> = serde_json::from_str(set).unwrap();
    let mut groups: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    let mut bugs: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for trace in &traces {
        let text = |key: &str| trace[key].as_str();
        let fingerprint = fingerprint::of("agent", text("name").unwrap(), text("message").unwrap(), text("stack"));
        groups.entry(fingerprint.clone()).or_default().insert(text("bug").unwrap());
        bugs.entry(text("bug").unwrap()).or_default().insert(fingerprint);
    }
    let split = bugs.iter().filter(|(_, found)| found.len() > 1);
    let split = split.map(|(bug, found)| format!("{bug} is in {} groups", found.len()));
    let together = groups.values().filter(|together| together.len() > 1);
    let wrong = split.chain(together.map(|together| format!("together: {together:?}"))).collect();
    Outcome {
        traces: traces.len(),
        bugs: bugs.len(),
        whole: bugs.values().filter(|found| found.len() == 1).count(),
        groups: groups.len(),
        pure: groups.values().filter(|together| together.len() == 1).count(),
        wrong,
    }
}

/// The rule was made with these.
#[test]
fn the_first_set() {
    let outcome = group(include_str!("first.json"));
    assert_eq!(outcome, Outcome { traces: 130, bugs: 26, whole: 26, groups: 26, pure: 26, wrong: Vec::new() });
}

/// It had never seen these, and was not changed after it had: what came out is what is expected.
#[test]
fn the_second_set() {
    let outcome = group(include_str!("second.json"));
    assert_eq!(outcome, Outcome { traces: 215, bugs: 43, whole: 43, groups: 43, pure: 43, wrong: Vec::new() });
}
