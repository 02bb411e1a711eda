//! The whole daemon: opens what it needs, starts the parts, ends them in order. To be run, or embedded.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{broadcast, oneshot};
use tokio_util::sync::CancellationToken;

use crate::api::{self, AgentHistory, Api, Guard, Limits, Listener, Sources};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Source};
use crate::discovery::{self, HttpSource};
use crate::engine::{self, INBOX, Message};
use crate::feed::{Feed, RECENT_EVENTS, Update};
use crate::ingest::{Socket, SocketError};
use crate::model::{AgentId, ErrorReport, EventReport, Recorded, Snapshot};
use crate::monitor::{Answer, Input, Monitor, NotRecorded, Report};
use crate::process::{ProcessSource, ReadError};
use crate::store::{self, Committed, JournalPage, Opened, Reader, StateLock, StoreError, StoreStats};
use crate::supervise::{self, PartError};

/// How long the parts have to end.
const GRACE: Duration = Duration::from_secs(9);

/// Wakes the engine: something happened to a process.
pub type Waker = Box<dyn Fn() + Send + Sync>;

/// What the daemon takes from the outside world, so that a test can give it another one.
pub struct Parts {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Makes the source of process facts; it calls the waker when there is something to drain.
    pub processes: Box<dyn FnOnce(Waker) -> Result<Box<dyn ProcessSource>, ReadError> + Send>,
}

impl Parts {
    /// This machine.
    #[cfg(target_os = "linux")]
    pub fn system() -> Parts {
        Parts {
            clock: Arc::new(SystemClock),
            processes: Box::new(|waker| Ok(Box::new(crate::process::linux::LinuxSource::new(waker)?))),
        }
    }
}

/// A daemon that has opened its store and bound its sockets, but does nothing yet.
pub struct Daemon {
    handle: Handle,
    tcp: TcpListener,
    socket: Socket,
    address: SocketAddr,
    api: Api,
    guard: Guard,
    monitor: Monitor,
    inbox: Receiver<Message>,
    writer: store::Writer,
    store: store::WriteHandle,
    clock: Arc<dyn Clock>,
    config: Arc<Config>,
}

/// Asks and tells a daemon. Cheap to clone; stays valid after the daemon has ended, and then says so.
#[derive(Clone)]
pub struct Handle {
    feed: Feed,
    inbox: SyncSender<Message>,
}

impl Daemon {
    /// Takes the state directory, binds the listener and the socket, opens the database, in this order.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn bind(config: Config, parts: Parts) -> Result<Daemon, StartError> {
        let config = Arc::new(config);
        let lock = StateLock::acquire(&config.storage.directory).map_err(StartError::from_store)?;
        let listen = config.api.listen;
        let tcp = TcpListener::bind(listen).await.map_err(|source| StartError::Listen { listen, source })?;
        let address = tcp.local_addr().map_err(|source| StartError::Listen { listen, source })?;
        let socket = Socket::bind(&config.ingest.socket, config.ingest.mode, config.ingest.group.as_deref())?;
        let guard = Guard::new(&config.api)?;

        let clock = parts.clock;
        let now = clock.now();
        let (sender, inbox) = sync_channel(INBOX);
        let feed = Feed::new(Arc::new(Snapshot::empty(now.wall)), VecDeque::new());
        let opened = store::open(lock, listener(feed.clone(), sender.clone())).map_err(StartError::from_store)?;
        let Opened { writer, handle: store, reader, resume, stats } = opened;
        feed.recorded(&recent_events(&reader)?);

        let wake = sender.clone();
        // A full inbox wakes the engine as well.
        let waker: Waker = Box::new(move || drop(wake.try_send(Message::Wake)));
        let source = (parts.processes)(waker)?;
        let monitor = Monitor::new(Arc::clone(&config), source, resume, now);
        let handle = Handle { feed, inbox: sender };
        let api = Api::new(sources(&handle, &clock, &config, reader, stats), Limits::default());
        Ok(Daemon { handle, tcp, socket, address, api, guard, monitor, inbox, writer, store, clock, config })
    }

    /// Where the endpoint listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The dashboard's address.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// The Unix socket.
    pub fn socket_path(&self) -> &Path {
        &self.config.ingest.socket
    }

    /// Where history is kept.
    pub fn state_directory(&self) -> &Path {
        &self.config.storage.directory
    }

    /// For asking and telling.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Runs until `shutdown` completes or a part ends before it should.
    ///
    /// # Errors
    /// Names the part that failed, or those that did not end in time.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), RunError> {
        let Daemon { handle, tcp, socket, address: _, api, guard, monitor, inbox, writer, store, clock, config } = self;
        let stop = CancellationToken::new();
        let mut parts = supervise::Parts::new(stop.clone());

        parts.spawn_thread("store-writer", move || {
            writer.run();
            Ok::<(), PartError>(())
        })?;
        let feed = handle.feed.clone();
        parts.spawn_thread("engine", move || engine::run(monitor, &*clock, &inbox, &store, &feed))?;
        discover(&mut parts, &config, &handle.inbox, &stop)?;

        let counts = api.counts();
        let limits = Limits::default();
        let over_tcp = api.over_tcp(guard);
        parts.spawn("http", api::serve(Listener::Tcp(tcp), over_tcp, limits.clone(), Arc::clone(&counts), stop.clone()));
        let unix = UnixListener::from_std(socket.listener.try_clone()?)?;
        parts.spawn("socket", api::serve(Listener::Unix(unix), api.over_socket(), limits, counts, stop.clone()));

        let relay = (stop.clone(), handle.inbox.clone());
        parts.spawn("stop", async move {
            let (stop, inbox) = relay;
            stop.cancelled().await;
            // The engine may be busy with a full inbox: that is waited for, but not on the runtime's thread.
            tokio::task::spawn_blocking(move || drop(inbox.send(Message::Stop))).await
        });
        let asked = stop.clone();
        let outcome = {
            let mut running = std::pin::pin!(parts.run(GRACE));
            tokio::select! {
                outcome = &mut running => outcome,
                () = shutdown => {
                    asked.cancel();
                    running.await
                }
            }
        };
        drop(socket);
        Ok(outcome?)
    }
}

impl Handle {
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

/// Starts a part for each registry source.
fn discover(
    parts: &mut supervise::Parts,
    config: &Config,
    inbox: &SyncSender<Message>,
    stop: &CancellationToken,
) -> Result<(), RunError> {
    let refresh = config.registry.refresh;
    let mut file_stops = Vec::new();
    for (index, source) in config.registry.sources.iter().enumerate() {
        let inbox = inbox.clone();
        match source {
            Source::File { path } => {
                let (file_stop, stopped) = sync_channel(0);
                file_stops.push(file_stop);
                let path = path.clone();
                parts.spawn_thread("registry", move || {
                    // The engine ends before this part only when everything ends.
                    let send = |input| drop(inbox.send(Message::Input(input)));
                    discovery::poll_file(index, &path, refresh, &stopped, send);
                    Ok::<(), PartError>(())
                })?;
            }
            Source::Http { url, token_file, timeout } => {
                let http = HttpSource { url: url.clone(), token_file: token_file.clone(), timeout: *timeout };
                let (stop, seed) = (stop.clone(), u64::from(std::process::id()) + index as u64);
                parts.spawn("registry", async move {
                    // What does not fit now comes again at the next refresh.
                    let send = |input| drop(inbox.try_send(Message::Input(input)));
                    discovery::poll_http(index, http, refresh, seed, stop, send).await;
                    Ok::<(), PartError>(())
                });
            }
            Source::Flag { agent, pid } => {
                let reading = Ok(discovery::flag_reading(agent, *pid));
                // The inbox is still empty but for such readings, and their number is that of the flags.
                let _ = inbox.try_send(Message::Input(Input::Source { index, reading }));
            }
            Source::Match { .. } => {}
        }
    }
    let stop = stop.clone();
    parts.spawn("registry-stop", async move {
        stop.cancelled().await;
        drop(file_stops);
        Ok::<(), PartError>(())
    });
    Ok(())
}

/// What the writer tells goes to whoever listens, and the counts of errors back to the heart.
fn listener(feed: Feed, inbox: SyncSender<Message>) -> store::Listener {
    Box::new(move |Committed { entries, unresolved }| {
        feed.recorded(&entries);
        if !unresolved.is_empty() {
            // The engine never waits for the writer, so the writer may wait for the engine.
            let _ = inbox.send(Message::Input(Input::Unresolved(unresolved)));
        }
    })
}

/// The latest events, oldest first.
fn recent_events(reader: &Reader) -> Result<Vec<Recorded>, StartError> {
    let page = JournalPage { agent: None, before: None, limit: u32::try_from(RECENT_EVENTS).expect("a small number") };
    let mut recent = reader.events(page).map_err(StartError::Store)?;
    recent.reverse();
    Ok(recent)
}
