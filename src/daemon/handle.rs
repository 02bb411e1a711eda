//! How those who embed the daemon, and its own edges, ask and tell it.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use tokio::sync::{broadcast, oneshot};

use super::live::Live;
use super::{ReloadError, sources};
use crate::api::{self, AgentHistory};
use crate::clock::Clock;
use crate::config::Config;
use crate::engine::{self, Message};
use crate::feed::{Feed, Update};
use crate::intake;
use crate::model::{AgentId, ErrorReport, EventReport, Now, Receipt, Report, Resolve, Snapshot, Submission};
use crate::monitor::{Answer, Input, NotRecorded, Reply, Stored};
use crate::store::{Reader, StoreError};
use crate::supervise::blocking;
use crate::timers::late_after;

/// Asks and tells a daemon. Cheap to clone; stays valid after the daemon has ended, and then says so.
#[derive(Clone)]
pub struct Handle {
    feed: Feed,
    inbox: SyncSender<Message>,
    reader: Reader,
    live: Arc<Live>,
    clock: Arc<dyn Clock>,
    started: Now,
}

impl Handle {
    pub(super) fn new(
        feed: Feed,
        inbox: SyncSender<Message>,
        reader: Reader,
        live: Arc<Live>,
        clock: Arc<dyn Clock>,
    ) -> Handle {
        let started = clock.now();
        Handle { feed, inbox, reader, live, clock, started }
    }

    pub(super) fn feed(&self) -> &Feed {
        &self.feed
    }

    pub(super) fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// When the daemon began.
    pub(super) fn started(&self) -> Now {
        self.started
    }

    pub(super) fn inbox(&self) -> &SyncSender<Message> {
        &self.inbox
    }

    /// How things are now.
    pub fn latest(&self) -> Arc<Snapshot> {
        self.feed.present().snapshot
    }

    /// The dashboard of this moment, as JSON: the document of `GET /api/monitoring/dashboard`.
    pub fn dashboard(&self) -> Vec<u8> {
        api::dashboard(&self.feed.present())
    }

    /// What is kept of an agent: its last hour, and its latest events, errors and runs. None when it was never seen.
    ///
    /// # Errors
    /// When the database cannot be read, or takes longer than two seconds for one of the questions that this is made of.
    pub async fn history(&self, agent: AgentId) -> Result<Option<AgentHistory>, StoreError> {
        let (reader, now) = (self.reader.clone(), self.clock.now().wall);
        blocking(move || sources::agent_history(&reader, &agent, now)).await
    }

    /// What happens from now on: metrics, events, errors, alerts. Who is more than 256 messages behind loses the oldest,
    /// and is told so.
    pub fn subscribe(&self) -> broadcast::Receiver<Update> {
        self.feed.subscribe()
    }

    /// Writes an event of an agent into the journal; done when it is on disk.
    ///
    /// # Errors
    /// See [`NotRecorded`].
    pub async fn record_event(&self, agent: AgentId, event: EventReport) -> Result<Receipt, NotRecorded> {
        self.record(Submission::new(agent, Report::Event(event))).await
    }

    /// Writes an occurrence of an error of an agent into the journal; done when it is on disk.
    ///
    /// # Errors
    /// See [`NotRecorded`].
    pub async fn record_error(&self, agent: AgentId, error: ErrorReport) -> Result<Receipt, NotRecorded> {
        self.record(Submission::new(agent, Report::Error(error))).await
    }

    /// Writes what an agent tells into the journal, its secrets taken out; done when it is on disk.
    ///
    /// # Errors
    /// See [`NotRecorded`].
    pub async fn record(&self, submission: Submission) -> Result<Receipt, NotRecorded> {
        let submission = intake::prepare(submission, self.clock.now().wall)?;
        let Stored { entries, duplicate } = self.store(|reply| Input::Report { submission, reply }).await?;
        let id = entries.first().and_then(|recorded| recorded.id).ok_or(NotRecorded::Busy)?;
        Ok(Receipt { id, duplicate })
    }

    /// Says that errors are dealt with; done when it is on disk. Saying it again changes nothing.
    ///
    /// # Errors
    /// [`NotRecorded::Unknown`] when there are none such; see [`NotRecorded`].
    pub async fn resolve(&self, what: Resolve) -> Result<(), NotRecorded> {
        self.store(|reply| Input::Resolve { what, reply }).await.map(drop)
    }

    /// Brings another configuration into force, all at once. Returns the keys whose new value takes effect at the next
    /// start: those of the state directory, the endpoint's address and the socket. Reads the endpoint's token from its
    /// file: not for an async task.
    ///
    /// # Errors
    /// See [`ReloadError`]: then nothing has changed.
    pub fn reload(&self, config: Config) -> Result<Vec<&'static str>, ReloadError> {
        self.live.reload(config)
    }

    /// Notes that a new configuration could not even be read: it shows beside the other reloads.
    pub fn reload_failed(&self, reason: &str) {
        self.live.reload_failed(reason);
    }

    /// Tells who counts the lines of the log that are lost; answers about the daemon itself show the number.
    pub fn count_lost_log_lines(&self, count: impl Fn() -> u64 + Send + Sync + 'static) {
        self.live.count_lost_log_lines(count);
    }

    /// Whether watching goes on: the engine answers, and the last sampling pass is less than three intervals ago. The
    /// disk has no part in it. Waits for the engine, so the caller decides for how long.
    ///
    /// # Errors
    /// Why not.
    pub async fn watching(&self) -> Result<(), String> {
        let (told, answer) = oneshot::channel();
        let anybody = AgentId::new("?").expect("a short text without control characters");
        let answered = Answer::new(move |_| {
            let _ = told.send(()); // who asked may have gone
        });
        // A full inbox is one that the engine works on; whether it does shows below.
        if self.send(Input::Inspect { agent: anybody, answer: answered }).is_ok() && answer.await.is_err() {
            return Err("the engine has ended".to_owned());
        }
        let last = self.latest().own.last_tick_mono.unwrap_or(self.started.mono);
        let age = self.clock.now().mono.since(last);
        if age > late_after(self.live.config().sampling.interval) {
            return Err(format!("no complete sampling pass for {}s", age.as_secs()));
        }
        Ok(())
    }

    async fn store(&self, input: impl FnOnce(Reply) -> Input) -> Result<Stored, NotRecorded> {
        let (told, outcome) = oneshot::channel();
        self.send(input(Answer::new(move |outcome| drop(told.send(outcome)))))?;
        // A reply that is dropped unanswered: the queue of the writer was full, or the daemon ended.
        outcome.await.map_err(|_| NotRecorded::Busy)?
    }

    fn send(&self, input: Input) -> Result<(), NotRecorded> {
        engine::tell(&self.inbox, input)
    }
}
