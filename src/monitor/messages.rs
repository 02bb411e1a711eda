//! How many messages agents have, as a broker's database counts them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{AgentId, MessagesState, Now};

use super::{Messages, Monitor};

impl Monitor {
    /// Takes in a count, or why there is none: then nothing is known, rather than something old.
    pub(super) fn count_messages(&mut self, counted: Option<Result<Messages, Arc<str>>>, now: Now) {
        let is_counted = counted.is_some();
        let (counts, error) = match counted {
            None => (None, None),
            Some(Ok(counts)) => (Some(counts), None),
            Some(Err(reason)) => (None, Some(reason)),
        };
        let before = self.own.messages.take();
        self.own.messages = is_counted.then(|| MessagesState {
            counted_at: if error.is_none() {
                Some(now.wall)
            } else {
                before.as_ref().and_then(|state| state.counted_at)
            },
            error: error.clone(),
        });
        let failed_before = before.and_then(|state| state.error);
        match error {
            Some(error) if failed_before.as_ref() != Some(&error) => {
                let database = self.config.messages.database.as_deref().unwrap_or("".as_ref()).display();
                tracing::warn!(%database, %error, "messages cannot be counted");
            }
            None if failed_before.is_some() => tracing::info!("messages are counted again"),
            _ => {}
        }
        self.messages = counts;
        for agent in &mut self.agents {
            agent.counted = self::counted(self.messages.as_deref(), &agent.stored.id);
            let count = agent.message_count();
            if agent.metrics.message_count != count {
                agent.metrics.message_count = count;
                agent.view = None;
            }
        }
        self.changed = true;
    }
}

/// An agent's messages: none of it in a count means that it has none.
pub(super) fn counted(counts: Option<&BTreeMap<AgentId, u64>>, id: &AgentId) -> Option<u64> {
    counts.map(|counts| counts.get(id).copied().unwrap_or(0))
}
