//! Which agents the monitor knows: how it comes to know one, and when it forgets it.
//!
//! An agent is known as long as the database has anything of it, also when nobody names it any more: it may come back,
//! and goes on then where it was. So retention decides when it is forgotten, and a limit what a registry that makes up
//! ids can cost.

use std::sync::Arc;
use std::time::Duration;

use crate::alerts;
use crate::model::{AgentId, AgentNumber, Io, JsonObject, Now, StoredAgent};
use crate::tree::AgentIndex;

use super::Monitor;
use super::agent::Agent;
use super::messages::messages_of;

/// How many agents are known at the same time, about a kilobyte each.
const KNOWN_LIMIT: usize = 50_000;

/// Nothing that was seen so lately is old enough for retention, which begins at an hour.
const LATELY: Duration = Duration::from_secs(60);

impl Monitor {
    /// The agent of this id, made if there was none. `None` when no more can be known.
    pub(super) fn agent_or_new(&mut self, id: &AgentId, source: &Arc<str>, now: Now) -> Option<AgentIndex> {
        if let Some(index) = self.agents.of_id(id) {
            return Some(index);
        }
        if self.agents.count() >= KNOWN_LIMIT {
            return None;
        }
        // What is stored of whoever had the number before is deleted.
        let number = self.agents.free_number().or_else(|| AgentNumber::new(self.next_number))?;
        let stored = StoredAgent {
            number,
            id: id.clone(),
            name: None,
            source: Arc::clone(source),
            registry_status: None,
            first_seen: now.wall,
            last_seen: now.wall,
            metadata: JsonObject::default(),
            restarts: 0,
            cpu_us: 0,
            io: Io::default(),
        };
        self.outcome.batch.agents.push(stored.clone());
        Some(self.admit(stored))
    }

    pub(super) fn admit(&mut self, stored: StoredAgent) -> AgentIndex {
        self.next_number = self.next_number.max(stored.number.get() + 1);
        let mut agent = Agent::new(stored);
        agent.counted_messages = messages_of(self.messages.as_ref(), &agent.stored.id);
        agent.metrics.message_count = agent.counted_messages;
        let like = self.agents.iter().last().map(|other| &other.rules);
        agent.rules = alerts::rules_for(&self.config.alerts.rules, agent.stored.id.as_str(), like);
        let index = self.agents.admit(agent);
        self.due.resize(self.agents.len(), false);
        self.due[index.0] = false;
        index
    }

    /// Says, once for each daemon, that an agent cannot be watched, and counts it.
    pub(super) fn refuse(&mut self, id: &AgentId, now: Now) {
        if self.own.agents_refused == 0 {
            let message =
                format!("{id} is not watched: {KNOWN_LIMIT} agents are known, and those who follow are counted");
            tracing::warn!("{message}");
            self.warn_own("too_many_agents", &message, now);
        }
        self.own.agents_refused += 1;
    }

    /// Lets those leave the lists that are known only by what they wrote, once that has been too long ago for it to be
    /// kept: but for errors that nobody dealt with.
    pub(super) fn let_writers_go(&mut self, now: Now) {
        let retention = self.config.storage.retention;
        let unregistered = |index: &AgentIndex| self.agents[*index].is_unregistered();
        for index in self.agents.indices().filter(unregistered).collect::<Vec<_>>() {
            let agent = &mut self.agents[index];
            let writes = agent.unresolved > 0 || now.wall.since(agent.stored.last_seen) <= retention;
            self.outcome.changed |= std::mem::replace(&mut agent.listing.writes, writes) != writes;
        }
    }

    /// Forgets agents of which the database has nothing any more.
    pub(super) fn forget(&mut self, numbers: &[AgentNumber], now: Now) {
        for number in numbers {
            let Some(index) = self.agents.of_number(*number) else { continue };
            let agent = &self.agents[index];
            let lately = agent.stored.last_seen > now.wall - LATELY;
            if lately || agent.is_listed() || self.forest.has_members(index) {
                // It came back while it was deleted, or it has a process left that nobody waits for: its place would give
                // that to the next one.
                self.write_agent(index, now);
                continue;
            }
            let nobody = StoredAgent {
                source: "".into(),
                name: None,
                registry_status: None,
                metadata: JsonObject::default(),
                ..agent.stored.clone()
            };
            self.forest.forget_former_of(index);
            self.agents.forget(index, Agent::new(nobody));
        }
    }
}
