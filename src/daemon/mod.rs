//! The whole daemon: opens what it needs, starts the parts, ends them in order. To be run, or embedded.

mod check;
mod discover;
mod dispatch;
mod error;
mod handle;
mod live;
mod messages;
mod sources;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;

use crate::api::{self, Api, Guard, Limits, Listener};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::delivery::{self, Outbox};
use crate::engine::{self, INBOX, Message};
use crate::feed::{EpisodeKey, Episodes, Feed, RECENT_EVENTS};
use crate::ingest::Socket;
use crate::model::{AlertKey, Recorded, Resume, Snapshot};
use crate::monitor::{Input, Monitor};
use crate::notify::Origin;
use crate::process::{ProcessSource, here};
use crate::store::{self, Committed, Opened, Reader, StateLock};
use crate::supervise;
use crate::web::read_secret;

use check::Checks;
use discover::Discovery;
use dispatch::Dispatch;
use live::Live;

pub use crate::monitor::NotRecorded;
pub use error::{ReloadError, RunError, StartError};
pub use handle::Handle;

/// How long the parts have to end.
const GRACE: Duration = Duration::from_secs(9);

/// Wakes the engine: something happened to a process.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// Makes the source of process facts.
pub type MakeSource = Box<dyn FnOnce(Waker) -> Result<Box<dyn ProcessSource>, supervise::Failure> + Send>;

/// What the daemon takes from the outside world, so that a test can give it another one.
pub struct Parts {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Makes the source of process facts; it calls the waker when there is something to drain.
    pub processes: MakeSource,
}

impl Parts {
    /// This machine.
    pub fn system() -> Parts {
        Parts { clock: Arc::new(SystemClock), processes: Box::new(here::source) }
    }
}

/// A daemon that has opened its store and bound its sockets, but does nothing yet.
pub struct Daemon {
    handle: Handle,
    tcp: TcpListener,
    socket: Arc<Socket>,
    address: SocketAddr,
    api: Api,
    limits: Limits,
    guard: Guard,
    discovery: Arc<Discovery>,
    dispatch: Arc<Dispatch>,
    delivery: delivery::Context,
    checks: Checks,
    monitor: Monitor,
    inbox: Receiver<Message>,
    writer: store::Writer,
    store: store::WriteHandle,
    clock: Arc<dyn Clock>,
    config: Arc<Config>,
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
        let socket = Arc::new(socket);
        let token = config.api.token_file.as_deref().map(read_secret).transpose()?;
        let guard = Guard::new(&config.api.allowed_hosts, token);

        let clock = parts.clock;
        let now = clock.now();
        let (sender, inbox) = sync_channel(INBOX);
        let feed = Feed::new(Arc::new(Snapshot::empty(now.wall)));
        let outbox = Outbox::default();
        let listener = listener(feed.clone(), outbox.clone(), sender.clone());
        let opened = store::open(lock, listener).map_err(StartError::from_store)?;
        let Opened { writer, handle: store, reader, mut resume, stats } = opened;
        outbox.go_on(resume.last_entry);
        let known = std::mem::take(&mut resume.delivered);
        let dispatch = Arc::new(Dispatch::new(&config.alerts.receivers, known, outbox, &store));
        feed.go_on(&recent_events(&reader)?, episodes(&resume));

        let wake = sender.clone();
        // A full inbox wakes the engine as well.
        let waker: Waker = Arc::new(move || drop(wake.try_send(Message::Wake)));
        let source = (parts.processes)(waker).map_err(|source| StartError::Processes { source })?;
        let monitor = Monitor::new(Arc::clone(&config), source, resume, now);
        let discovery = Arc::new(Discovery::new(&config, sender.clone()));
        let live = {
            let (discovery, dispatch) = (Arc::clone(&discovery), Arc::clone(&dispatch));
            Live::new(Arc::clone(&config), Arc::clone(&clock), discovery, dispatch, guard.clone(), &socket)
        };
        let delivery = delivery::Context {
            origin: Origin { url: url(address), instance: host_name() },
            journal: reader.clone(),
            store: store.clone(),
            feed: feed.clone(),
            clock: Arc::clone(&clock),
        };
        let checks = Checks::new(reader.clone(), Arc::clone(&stats), Arc::clone(&clock));
        let handle = Handle::new(feed, sender, reader.clone(), Arc::new(live), Arc::clone(&clock));
        // After the source of process facts has raised it.
        let limits = Limits::within(open_files());
        let api = Api::new(sources::sources(&handle, &clock, address, reader, stats), limits);
        Ok(Daemon {
            handle,
            tcp,
            socket,
            address,
            api,
            limits,
            guard,
            discovery,
            dispatch,
            delivery,
            checks,
            monitor,
            inbox,
            writer,
            store,
            clock,
            config,
        })
    }

    /// Where the endpoint listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The dashboard's address.
    pub fn url(&self) -> String {
        url(self.address)
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

    /// Runs until `shutdown` completes or a part ends before it should. Then the
    /// database is closed, and its directory free for another.
    ///
    /// # Errors
    /// Names the part that failed, or those that did not end in time.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), RunError> {
        let Daemon {
            handle,
            tcp,
            socket,
            api,
            limits,
            guard,
            discovery,
            dispatch,
            delivery,
            checks,
            monitor,
            inbox,
            writer,
            store,
            clock,
            ..
        } = self;
        let stop = CancellationToken::new();
        let mut parts = supervise::Parts::new(stop.clone());

        parts.spawn_thread("store-writer", move || {
            writer.run();
            Ok::<(), supervise::Failure>(())
        })?;
        let feed = handle.feed().clone();
        parts.spawn_thread("engine", move || engine::run(monitor, &*clock, &inbox, &store, &feed))?;
        parts.spawn("discovery", discovery.run(stop.clone()));
        let (broker, told) = (handle.live().message_database(), handle.inbox().clone());
        parts.spawn("messages", messages::count(broker, told, stop.clone()));
        parts.spawn("check", checks.run(stop.clone()));
        parts.spawn("delivery", dispatch.run(delivery, stop.clone()));

        let counts = api.counts();
        let over_tcp = api.over_tcp(guard);
        parts.spawn("http", api::serve(Listener::Tcp(tcp), over_tcp, limits, Arc::clone(&counts), stop.clone()));
        let unix = UnixListener::from_std(socket.listener.try_clone()?)?;
        parts.spawn("socket", api::serve(Listener::Unix(unix), api.over_socket(), limits, counts, stop.clone()));

        let relay = (stop.clone(), handle.inbox().clone());
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

/// What the writer tells goes to whoever listens, and what it counted and deleted back to the heart.
fn listener(feed: Feed, outbox: Outbox, inbox: SyncSender<Message>) -> store::Listener {
    Box::new(move |Committed { entries, late, unresolved, deleted }| {
        feed.recorded(&entries);
        feed.stored_late(&late);
        outbox.put(&entries);
        outbox.put_late(&late);
        let counted = (!unresolved.is_empty()).then_some(Input::Unresolved(unresolved));
        let gone = (!deleted.is_empty()).then_some(Input::Deleted(deleted));
        for input in counted.into_iter().chain(gone) {
            // The engine never waits for the writer, so the writer may wait for the engine.
            let _ = inbox.send(Message::Input(input));
        }
    })
}

/// The latest events, oldest first.
fn recent_events(reader: &Reader) -> Result<Vec<Recorded>, StartError> {
    let limit = u32::try_from(RECENT_EVENTS).expect("a small number");
    let mut recent = reader.latest_events(None, limit).map_err(StartError::Store)?;
    recent.reverse();
    Ok(recent)
}

/// Where in the journal the alerts fired that still do.
fn episodes(resume: &Resume) -> Episodes {
    let id_of =
        |number| resume.agents.iter().find(|known| known.agent.number == number).map(|known| known.agent.id.clone());
    let alerts = resume.alerts.iter().filter_map(|alert| Some((&alert.key, alert.episode?)));
    let key_of = |key: &AlertKey| EpisodeKey {
        rule: Arc::clone(&key.rule),
        agent: key.agent.and_then(id_of),
        source: key.source.clone(),
    };
    alerts.map(|(key, episode)| (key_of(key), episode)).collect()
}

/// How many files this program may have open, getrlimit(2).
fn open_files() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.map_or(usize::MAX, |count| usize::try_from(count).unwrap_or(usize::MAX))
}

/// The name by which this host tells itself from others.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}/")
}

#[cfg(test)]
mod tests;
