//! A process without a free descriptor. Alone in its program: the limit is everyone's.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use agent_monitor::api::{Counts, Limits, Listener, serve};
use axum::Router;
use axum::routing::get;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio_util::sync::CancellationToken;

#[test]
fn want_of_descriptors_is_waited_out() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    // The kernel finishes the handshake; only accepting takes a descriptor.
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();

    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(3), maximum: before.maximum }).unwrap();
    let counts = Arc::new(Counts::default());
    let stop = CancellationToken::new();
    let router = Router::new().route("/", get(|| async { "here" }));
    let (count, asked) = (Arc::clone(&counts), stop.clone());
    let serving = std::thread::spawn(move || {
        runtime.block_on(serve(Listener::Tcp(listener), router, Limits::default(), count, asked))
    });

    client.set_read_timeout(Some(Duration::from_millis(550))).unwrap();
    let waited = client.read(&mut [0]).unwrap_err();
    assert!(matches!(waited.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{waited}");
    let tries = counts.accept_failures.load(Ordering::Relaxed);
    assert!((1..=6).contains(&tries), "it tries again every 100 ms, and does not spin: {tries}");

    setrlimit(Resource::Nofile, before).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("here"), "{answer}");
    stop.cancel();
    serving.join().unwrap().unwrap();
}
