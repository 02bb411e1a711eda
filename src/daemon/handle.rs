use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};

use tokio::sync::{broadcast, oneshot};

use super::RecordError;
use crate::engine::Message;
use crate::feed::{Feed, Update};
use crate::model::{AgentId, ErrorReport, EventReport, Recorded, Snapshot};
use crate::monitor::{Answer, Input, Report};

/// Asks and tells a daemon. Cheap to clone; stays valid after the daemon has ended, and then says so.
#[derive(Clone)]
pub struct Handle {
    feed: Feed,
    inbox: SyncSender<Message>,
}

impl Handle {
    pub(super) fn new(feed: Feed, inbox: SyncSender<Message>) -> Handle {
        Handle { feed, inbox }
    }

    pub(super) fn feed(&self) -> &Feed {
        &self.feed
    }

    pub(super) fn inbox(&self) -> &SyncSender<Message> {
        &self.inbox
    }

    /// How things are now.
    pub fn latest(&self) -> Arc<Snapshot> {
        self.feed.present().snapshot
    }

    /// What happens from now on: metrics, events, errors, alerts.
    pub fn subscribe(&self) -> broadcast::Receiver<Update> {
        self.feed.subscribe()
    }

    /// Writes an event of an agent into the journal; done when it is on disk.
    ///
    /// # Errors
    /// See [`RecordError`].
    pub async fn record_event(&self, agent: AgentId, event: EventReport) -> Result<Vec<Recorded>, RecordError> {
        self.record(agent, Report::Event(event)).await
    }

    /// Writes an occurrence of an error of an agent into the journal; done when it is on disk.
    ///
    /// # Errors
    /// See [`RecordError`].
    pub async fn record_error(&self, agent: AgentId, error: ErrorReport) -> Result<Vec<Recorded>, RecordError> {
        self.record(agent, Report::Error(error)).await
    }

    async fn record(&self, agent: AgentId, report: Report) -> Result<Vec<Recorded>, RecordError> {
        let (told, outcome) = oneshot::channel();
        let reply = Answer::new(move |outcome| drop(told.send(outcome)));
        self.send(Input::Report { agent, report, at: None, reply })?;
        // A reply that is dropped unanswered: the queue of the writer was full, or the daemon ended.
        Ok(outcome.await.map_err(|_| RecordError::Busy)??)
    }

    fn send(&self, input: Input) -> Result<(), RecordError> {
        self.inbox.try_send(Message::Input(input)).map_err(|error| match error {
            TrySendError::Full(_) => RecordError::Busy,
            TrySendError::Disconnected(_) => RecordError::Stopped,
        })
    }
}
