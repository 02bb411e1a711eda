//! Accepting connections: so many, for so long, and none left over at the end. `axum::serve` sets no limits.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use axum::{Extension, Router};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::Counts;
use super::writes::Writer;
use crate::supervise::panic_message;

/// How long to wait before accepting again when the system has no descriptor or memory to give.
const WAIT_FOR_RESOURCES: Duration = Duration::from_millis(100);

/// What a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once, for each of the two listeners. Further ones wait in the kernel's queue.
    pub connections: usize,
    /// For the whole head of a request, from when one can be sent: also how long a connection may be idle.
    pub head_timeout: Duration,
    /// A connection on which no byte moves for this long, or at most twice that, is closed: a client that does not read
    /// its answer, or does not send its body.
    pub stall_timeout: Duration,
    /// Request line and headers together (431), at least 8 KiB.
    pub head_bytes: usize,
    /// A request's body (413).
    pub body_bytes: usize,
    /// For the requests in progress when the server stops; then they are cut off, clients that do not read among them.
    pub shutdown_grace: Duration,
    /// For the whole body (408): one that comes a byte at a time moves, and would keep its connection for ever.
    pub body_timeout: Duration,
    /// Streams at once (503), over all listeners.
    pub streams: usize,
    /// How often a stream says something, should nothing happen. Less than `stall_timeout`, or it is taken for dead.
    pub heartbeat: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 256,
            head_timeout: Duration::from_secs(5),
            stall_timeout: Duration::from_secs(30),
            head_bytes: 16 * 1024,
            body_bytes: 64 * 1024,
            body_timeout: Duration::from_secs(10),
            shutdown_grace: Duration::from_secs(5),
            streams: 64,
            heartbeat: Duration::from_secs(15),
        }
    }
}

impl Limits {
    /// The usual ones, for a program that may have so many files open: half of these are for clients, at most.
    pub fn within(open_files: usize) -> Limits {
        let usual = Limits::default();
        Limits { connections: usual.connections.min(open_files / 4).max(1), ..usual }
    }
}

/// A bound socket of either kind.
pub enum Listener {
    /// For anyone on this host, or beyond.
    Tcp(TcpListener),
    /// For whom the socket file's permissions let in.
    Unix(UnixListener),
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Listener {
    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Listener::Tcp(listener) => listener.accept().await.map(|(stream, _)| Stream::Tcp(stream)),
            Listener::Unix(listener) => listener.accept().await.map(|(stream, _)| Stream::Unix(stream)),
        }
    }
}

/// What a request finds among its extensions, for an answer that outlives it.
#[derive(Clone)]
pub(super) struct Lease {
    /// Fires when the server stops: then the answer must end.
    pub(super) stop: CancellationToken,
    /// For how long nothing may move on the connection.
    pub(super) stall_timeout: Duration,
    /// How long it may go on once the server has stopped.
    shutdown_grace: Duration,
    /// The connection's place. A connection that was handed over keeps it, and is waited for, as long as this is held.
    _place: Arc<OwnedSemaphorePermit>,
}

impl Lease {
    /// Waits until even the answers that were in progress when the server stopped have had their time.
    pub(super) async fn is_over(&self) {
        self.stop.cancelled().await;
        sleep(self.shutdown_grace).await;
    }
}

/// Serves until `stop` fires; then closes the listener and ends when the requests in progress are answered, or have
/// had their time. Dropped before that, it cuts them off.
///
/// # Errors
/// When the listener itself fails. Trouble with single connections, or want of descriptors, is counted and outlived.
pub async fn serve(
    listener: Listener,
    router: Router,
    limits: Limits,
    counts: Arc<Counts>,
    stop: CancellationToken,
) -> io::Result<()> {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_header_size(limits.head_bytes)
        .max_buf_size(limits.head_bytes); // also the most that a connection's unread bytes may take
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    let mut starved = false;

    let outcome = loop {
        let place = tokio::select! {
            biased;
            () = stop.cancelled() => break Ok(()),
            place = Arc::clone(&places).acquire_owned() => place.expect("this semaphore is never closed"),
        };
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break Ok(()),
            accepted = listener.accept() => accepted,
        };
        while let Some(ended) = connections.try_join_next() {
            settle(ended, &counts);
        }
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                counts.accept_failures.fetch_add(1, Ordering::Relaxed);
                match classify(&error) {
                    Trouble::Client => {}
                    Trouble::System => {
                        if !std::mem::replace(&mut starved, true) {
                            tracing::warn!(%error, "cannot accept connections for now");
                        }
                        tokio::select! {
                            () = stop.cancelled() => {}
                            () = sleep(WAIT_FOR_RESOURCES) => {}
                        }
                    }
                    Trouble::Listener => break Err(error),
                }
                continue;
            }
        };
        if std::mem::take(&mut starved) {
            tracing::info!("accepting connections again");
        }
        let Limits { stall_timeout, shutdown_grace, .. } = limits;
        let lease = Lease { stop: stop.clone(), stall_timeout, shutdown_grace, _place: Arc::new(place) };
        let (http, router) = (http.clone(), router.clone());
        connections.spawn(async move {
            match stream {
                Stream::Tcp(stream) => {
                    // An answer is one write or a few large ones: nothing to wait for. If it fails, it is only slower.
                    let _ = stream.set_nodelay(true);
                    connection(stream, &http, router, lease).await;
                }
                Stream::Unix(stream) => {
                    // Who opened the connection, unix(7): what is written over it is that account's.
                    let uid = stream.peer_cred().ok().map(|peer| peer.uid());
                    let router = router.layer(Extension(Writer { uid }));
                    connection(stream, &http, router, lease).await;
                }
            }
        });
    };

    drop(listener);
    while let Some(ended) = connections.join_next().await {
        settle(ended, &counts);
    }
    // Those that were handed over to something else than HTTP.
    let all = u32::try_from(limits.connections).unwrap_or(u32::MAX);
    let _ = places.acquire_many(all).await;
    outcome
}

/// One connection, from its first request to its last.
async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    http: &http1::Builder,
    router: Router,
    lease: Lease,
) {
    let moves = Arc::new(AtomicU64::new(0));
    let io = TokioIo::new(Watched { stream, moves: Arc::clone(&moves) });
    let Lease { stop, stall_timeout, .. } = lease.clone();
    let last = lease.clone();
    let mut over = pin!(last.is_over());
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(lease.clone());
        router.clone().oneshot(request)
    });
    let mut connection = pin!(http.serve_connection(io, service).with_upgrades());
    let mut stopping = false;
    loop {
        let before = moves.load(Ordering::Relaxed);
        tokio::select! {
            // Whatever went wrong on the wire is the client's affair: it is gone, or was told.
            _ = connection.as_mut() => return,
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            () = over.as_mut() => return,
            () = sleep(stall_timeout) => if moves.load(Ordering::Relaxed) == before { return },
        }
    }
}

fn settle(ended: Result<(), JoinError>, counts: &Counts) {
    if let Err(Ok(panic)) = ended.map_err(JoinError::try_into_panic) {
        counts.panics.fetch_add(1, Ordering::Relaxed);
        tracing::error!(message = panic_message(&*panic), "a connection panicked");
    }
}

/// What an error of accept(2) is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Trouble {
    /// This connection is gone; the next may be fine.
    Client,
    /// No descriptor, no memory, no network: none will be fine for a moment. So is whatever we do not know.
    System,
    /// This socket will never accept again.
    Listener,
}

fn classify(error: &io::Error) -> Trouble {
    match Errno::from_io_error(error) {
        Some(Errno::CONNABORTED | Errno::CONNRESET | Errno::INTR | Errno::PROTO | Errno::PERM) => Trouble::Client,
        Some(Errno::BADF | Errno::FAULT | Errno::INVAL | Errno::NOTSOCK) => Trouble::Listener,
        _ => Trouble::System,
    }
}

/// A stream that counts how often something moved.
struct Watched<S> {
    stream: S,
    moves: Arc<AtomicU64>,
}

impl<S> Watched<S> {
    fn seen<T>(&self, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.moves.fetch_add(1, Ordering::Relaxed);
        }
        outcome
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.seen(outcome)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.seen(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.seen(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_have_half_of_the_descriptors_at_most() {
        for (open_files, connections) in [(usize::MAX, 256), (1_024, 256), (1_000, 250), (64, 16), (3, 1)] {
            assert_eq!(Limits::within(open_files).connections, connections, "{open_files}");
        }
    }

    #[test]
    fn accept_errors_are_classified() {
        let table = [
            (Errno::CONNABORTED, Trouble::Client),
            (Errno::INTR, Trouble::Client),
            (Errno::PERM, Trouble::Client),
            (Errno::MFILE, Trouble::System),
            (Errno::NFILE, Trouble::System),
            (Errno::NOBUFS, Trouble::System),
            (Errno::NOMEM, Trouble::System),
            (Errno::NETDOWN, Trouble::System),
            (Errno::OPNOTSUPP, Trouble::System),
            (Errno::BADF, Trouble::Listener),
            (Errno::INVAL, Trouble::Listener),
        ];
        for (errno, expected) in table {
            assert_eq!(classify(&errno.into()), expected, "{errno:?}");
        }
        assert_eq!(classify(&io::Error::other("who knows")), Trouble::System);
    }
}
