//! How many messages agents have, as a broker's database counts them.

use std::sync::Arc;

use crate::model::{AgentId, MessagesState, Now};

use super::{Messages, Monitor};

impl Monitor {
    /// Takes in a count, or why there is none: then nothing is known, rather than something old.
    pub(super) fn count_messages(&mut self, counted: Option<Result<Messages, Arc<str>>>, now: Now) {
        let (counted_before, failed_before) =
            self.own.messages.take().map_or((None, None), |state| (state.counted_at, state.error));
        (self.messages, self.own.messages) = match counted {
            None => (None, None),
            Some(Ok(counts)) => {
                if failed_before.is_some() {
                    tracing::info!("messages are counted again");
                }
                (Some(counts), Some(MessagesState { counted_at: Some(now.wall), error: None }))
            }
            Some(Err(error)) => {
                if failed_before.as_ref() != Some(&error) {
                    let database = self.config.messages.database.as_deref().unwrap_or("".as_ref()).display();
                    tracing::warn!(%database, %error, "messages cannot be counted");
                }
                (None, Some(MessagesState { counted_at: counted_before, error: Some(error) }))
            }
        };
        for index in self.agents.indices() {
            let agent = &mut self.agents[index];
            agent.counted_messages = messages_of(self.messages.as_ref(), &agent.stored.id);
            let count = agent.message_count();
            if agent.metrics.message_count != count {
                agent.metrics.message_count = count;
                agent.listing.stale = true;
            }
        }
        self.outcome.changed = true;
    }
}

/// An agent's messages: none of it in a count means that it has none.
pub(super) fn messages_of(counts: Option<&Messages>, id: &AgentId) -> Option<u64> {
    counts.map(|counts| counts.get(id).copied().unwrap_or(0))
}
