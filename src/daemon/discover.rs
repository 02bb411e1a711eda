//! Keeps a reader running for each registry source that the configuration names, and replaces readers as it changes.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::GRACE;
use crate::config::{Config, Source};
use crate::discovery::{self, HttpSource, Reading};
use crate::engine::{self, Message};
use crate::monitor::{Input, NotRecorded};
use crate::supervise::{Failure, PartError, Parts, keep_at_work};

/// Where readings come in and are given the place that their source has now. The heart hears of a new configuration
/// here too: so no reading is ever taken for that of another source, however late its reader is.
pub(super) struct Discovery {
    inbox: SyncSender<Message>,
    jobs: Mutex<Jobs>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct Jobs {
    /// The sources by their places.
    list: Vec<Job>,
    /// The number of the next new one.
    next: u64,
}

/// What one reader reads.
#[derive(Clone)]
struct Job {
    /// Never given twice.
    number: u64,
    source: Source,
    refresh: Duration,
}

impl Discovery {
    /// For the sources the heart begins with.
    pub(super) fn new(config: &Config, inbox: SyncSender<Message>) -> Discovery {
        let discovery = Discovery { inbox, jobs: Mutex::default(), changed: watch::Sender::new(()) };
        discovery.fill(&mut discovery.lock(), config);
        discovery
    }

    /// Tells the heart of a new configuration, and readers of new jobs. A source that stays keeps its reader.
    ///
    /// # Errors
    /// When the heart cannot be told now: then nothing has changed.
    pub(super) fn change(&self, config: &Arc<Config>) -> Result<(), NotRecorded> {
        let mut jobs = self.lock();
        engine::tell(&self.inbox, Input::Settings(Arc::clone(config)))?;
        self.fill(&mut jobs, config);
        Ok(())
    }

    fn fill(&self, jobs: &mut Jobs, config: &Config) {
        let refresh = config.registry.refresh;
        let mut before = std::mem::take(&mut jobs.list);
        for (index, source) in config.registry.sources.iter().enumerate() {
            let same = |job: &Job| job.source == *source && job.refresh == refresh;
            let job = before.iter().position(same).map(|place| before.remove(place)).unwrap_or_else(|| {
                jobs.next += 1;
                Job { number: jobs.next, source: source.clone(), refresh }
            });
            if let Source::Flags(agents) = source {
                let reading = Ok(discovery::flags(agents));
                // Room is there: at the start the inbox is empty, and later these never change.
                let _ = engine::tell(&self.inbox, Input::Source { index, reading });
            }
            jobs.list.push(job);
        }
        self.changed.send_replace(());
    }

    /// Takes in what a reader read. Never waits: what does not fit now comes again at the next refresh.
    fn take(&self, number: u64, reading: Reading) {
        let jobs = self.lock();
        // One that was replaced and does not know it yet has nothing to say.
        let Some(index) = jobs.list.iter().position(|job| job.number == number) else { return };
        let _ = engine::tell(&self.inbox, Input::Source { index, reading });
    }

    /// Runs the readers until `stop` fires.
    ///
    /// # Errors
    /// When one of them fails, or cannot be started.
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) -> Result<(), Failure> {
        let wanted = || self.lock().list.iter().map(|job| (job.number, job.clone())).collect();
        let begin = |job: Job, stop| Some(job.read(Arc::clone(&self), stop));
        keep_at_work(self.changed.subscribe(), stop, wanted, begin).await
    }

    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().expect("no holder of this lock panics")
    }
}

impl Job {
    /// Reads one source until asked to stop.
    async fn read(self, readings: Arc<Discovery>, stop: CancellationToken) -> Result<(), Failure> {
        match self.start(readings, &stop)? {
            Some(reader) => reader.run(GRACE).await.map_err(PartError::into),
            None => Ok(()),
        }
    }

    /// Starts the parts of a reader; `None` for a source that nobody need read.
    fn start(self, readings: Arc<Discovery>, stop: &CancellationToken) -> std::io::Result<Option<Parts>> {
        let Job { number, source, refresh } = self;
        let mut parts = Parts::new(stop.clone());
        let stop = stop.clone();
        let take = move |reading| readings.take(number, reading);
        match source {
            Source::File { path } => {
                let (open, stopped) = sync_channel(0);
                parts.spawn_thread("registry", move || {
                    discovery::poll_file(&path, refresh, &stopped, take);
                    Ok::<(), Failure>(())
                })?;
                parts.spawn("registry-stop", async move {
                    stop.cancelled().await;
                    drop(open);
                    Ok::<(), Failure>(())
                });
            }
            Source::Http { url, token_file, timeout } => {
                let seed = u64::from(std::process::id()) + number;
                parts.spawn("registry", async move {
                    discovery::poll_http(HttpSource { url, token_file, timeout }, refresh, seed, stop, take).await;
                    Ok::<(), Failure>(())
                });
            }
            Source::Flags(_) | Source::Match { .. } => return Ok(None),
        }
        Ok(Some(parts))
    }
}
