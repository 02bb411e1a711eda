//! What the daemon itself sees, as lines of the journal; and the rows that go with them.

use serde_json::{Map, Value};

use crate::model::{Body, Entry, EventReport, Now};
use crate::tree::AgentIndex;

use super::Monitor;

impl Monitor {
    /// Tells an event of an agent.
    pub(super) fn tell(&mut self, index: AgentIndex, event: EventReport, now: Now) {
        let stored = &self.agents[index].stored;
        let agent = Some((stored.number, stored.id.clone()));
        self.outcome.batch.entries.push(Entry { agent, at: now.wall, body: Body::Event(event) });
    }

    /// Warns of something about an agent.
    pub(super) fn warn(&mut self, index: AgentIndex, reason: &str, message: &str, now: Now) {
        self.tell(index, event("warning", reason, message, []), now);
    }

    /// Warns of something about the daemon itself.
    pub(super) fn warn_own(&mut self, reason: &str, message: &str, now: Now) {
        let body = Body::Event(event("warning", reason, message, []));
        self.outcome.batch.entries.push(Entry { agent: None, at: now.wall, body });
    }

    /// Writes down what is kept of an agent.
    pub(super) fn write_agent(&mut self, index: AgentIndex, now: Now) {
        let row = self.agents[index].totals(now);
        self.outcome.batch.agents.push(row);
    }

    /// Writes down an agent's present or last run.
    pub(super) fn write_run(&mut self, index: AgentIndex) {
        self.outcome.batch.runs.extend(self.agents[index].run_row());
    }
}

/// An event, and facts about it beside its reason.
pub(super) fn event<const N: usize>(word: &str, reason: &str, message: &str, facts: [(&str, Value); N]) -> EventReport {
    let facts = [("reason", reason.into())].into_iter().chain(facts);
    let metadata: Map<_, _> = facts.map(|(key, value)| (key.to_owned(), value)).collect();
    EventReport { metadata: metadata.into(), ..EventReport::new(word, message) }
}
