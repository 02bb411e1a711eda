//! How things are now, for whoever asks, and what happens, for whoever listens.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::broadcast;

use crate::model::{ActiveAlert, AgentId, Body, JournalLine, Recorded, Snapshot, Transition};

/// How many events the dashboard shows.
pub const RECENT_EVENTS: usize = 20;

/// How many messages a listener may be behind before it loses the oldest.
const BACKLOG: usize = 256;

/// The latest snapshot, the latest events, and a stream of both. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Feed {
    now: Arc<Mutex<Present>>,
    updates: broadcast::Sender<Update>,
}

/// How things are now.
#[derive(Clone)]
pub struct Present {
    /// The latest snapshot.
    pub snapshot: Arc<Snapshot>,
    /// The latest events, newest first, at most [`RECENT_EVENTS`].
    pub recent: Arc<VecDeque<Recorded>>,
    /// The ids of the alerts that fire.
    pub episodes: Arc<Episodes>,
    /// How long the last regular sampling pass took, what came of it included; none before the first.
    pub tick_took: Option<Duration>,
    /// Grows with each change.
    pub version: u64,
}

/// The lines of the journal with which the alerts fired that still do.
pub type Episodes = BTreeMap<EpisodeKey, i64>;

/// Which alert.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct EpisodeKey {
    /// Its rule.
    pub rule: Arc<str>,
    /// Whose it is; none of the host's.
    pub agent: Option<AgentId>,
    /// The registry source that it is about.
    pub source: Option<Arc<str>>,
}

impl From<&ActiveAlert> for EpisodeKey {
    fn from(alert: &ActiveAlert) -> EpisodeKey {
        EpisodeKey { rule: Arc::clone(&alert.rule), agent: alert.agent.clone(), source: alert.source.clone() }
    }
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Update {
    /// There is a new snapshot.
    Snapshot(Arc<Snapshot>),
    /// These went through the store, in order.
    Recorded(Arc<[JournalLine]>),
}

impl Feed {
    /// Starts with this snapshot.
    pub fn new(snapshot: Arc<Snapshot>) -> Feed {
        Feed { now: Arc::new(Mutex::new(Present::alone(snapshot))), updates: broadcast::Sender::new(BACKLOG) }
    }

    /// Goes on from what an earlier life left behind: its latest events, oldest first, and the alerts that still fire.
    pub fn go_on(&self, events: &[Recorded], episodes: Episodes) {
        let mut now = self.lock();
        for event in events {
            now.take(event);
        }
        now.episodes = Arc::new(episodes);
        now.version += 1;
    }

    /// How things are now.
    pub fn present(&self) -> Present {
        self.lock().clone()
    }

    /// What happens from now on. Whoever does not read on keeps the last 256 updates in memory, with all their snapshots.
    pub fn subscribe(&self) -> broadcast::Receiver<Update> {
        self.updates.subscribe()
    }

    /// How things are now, and what happens after that: no change falls between the two, and none is in both.
    pub fn follow(&self) -> (Present, broadcast::Receiver<Update>) {
        let now = self.lock();
        (now.clone(), self.updates.subscribe())
    }

    /// Takes in a new snapshot.
    pub fn publish(&self, snapshot: Arc<Snapshot>) {
        // Sent under the lock, for those who follow.
        let mut now = self.lock();
        now.snapshot = Arc::clone(&snapshot);
        now.version += 1;
        // Nobody listening is no mistake.
        let _ = self.updates.send(Update::Snapshot(snapshot));
    }

    /// Takes in how long a regular sampling pass took. No news to anyone.
    pub fn ticked(&self, took: Duration) {
        self.lock().tick_took = Some(took);
    }

    /// Takes in what went through the store.
    pub fn recorded(&self, entries: &[Recorded]) {
        if entries.is_empty() {
            return;
        }
        let mut now = self.lock();
        let fired: Vec<Option<i64>> = entries.iter().map(|recorded| now.take(recorded)).collect();
        now.version += 1;
        if self.updates.receiver_count() > 0 {
            let lines = entries.iter().cloned().zip(fired);
            let lines = lines.map(|(recorded, fired)| JournalLine { recorded, resolved: false, fired });
            let _ = self.updates.send(Update::Recorded(lines.collect()));
        }
    }

    /// Takes in the ids of what was recorded without them, and is stored now. No news to those who listen.
    pub fn stored_late(&self, entries: &[Recorded]) {
        if entries.is_empty() {
            return;
        }
        let mut now = self.lock();
        for recorded in entries {
            now.take_late(recorded);
        }
        now.version += 1;
    }

    fn lock(&self) -> MutexGuard<'_, Present> {
        self.now.lock().expect("no holder of this lock panics")
    }
}

impl Present {
    /// A snapshot and no past.
    pub fn alone(snapshot: Arc<Snapshot>) -> Present {
        Present { snapshot, recent: Arc::default(), episodes: Arc::default(), tick_took: None, version: 0 }
    }

    fn take_late(&mut self, recorded: &Recorded) {
        match &recorded.entry.body {
            Body::Event(_) => {
                let recent = Arc::make_mut(&mut self.recent);
                // The oldest of those that are alike.
                let waits = |known: &&mut Recorded| known.id.is_none() && known.entry == recorded.entry;
                if let Some(known) = recent.iter_mut().rev().find(waits) {
                    known.id = recorded.id;
                }
            }
            Body::Alert(_) => {
                self.take(recorded);
            }
            Body::Error(_) => {}
        }
    }

    /// The id of the line with which the alert fired, if it is about one.
    fn take(&mut self, recorded: &Recorded) -> Option<i64> {
        match &recorded.entry.body {
            Body::Event(_) => {
                let recent = Arc::make_mut(&mut self.recent);
                recent.push_front(recorded.clone());
                recent.truncate(RECENT_EVENTS);
                None
            }
            Body::Alert(note) => {
                let agent = recorded.entry.agent.as_ref().map(|(_, id)| id.clone());
                let key = EpisodeKey { rule: Arc::clone(&note.rule), agent, source: note.source.clone() };
                match (note.transition, recorded.id) {
                    // What is told again is the same episode.
                    (Transition::Repeated, _) => self.episodes.get(&key).copied(),
                    (Transition::Fired, Some(id)) => {
                        Arc::make_mut(&mut self.episodes).insert(key, id);
                        Some(id)
                    }
                    // One that fires anew has no line yet.
                    (Transition::Fired, None) => {
                        Arc::make_mut(&mut self.episodes).remove(&key);
                        None
                    }
                    (Transition::Resolved, _) => Arc::make_mut(&mut self.episodes).remove(&key),
                }
            }
            Body::Error(_) => None,
        }
    }
}
