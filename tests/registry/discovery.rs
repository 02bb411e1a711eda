use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};

use agent_monitor::clock::monotonic;
use agent_monitor::discovery::{HttpSource, Reading, poll_file, poll_http};
use agent_monitor::model::Mono;
use agent_monitor::monitor::SourceReading;
use tokio_util::sync::CancellationToken;

use super::server::{Server, json, runtime, serve, serve_text};
use super::*;

/// A running `poll_file`: what it sends, what stops it.
fn watch(path: &Path, refresh: Duration) -> (Receiver<Reading>, mpsc::Sender<()>, JoinHandle<()>) {
    let (stop, stopped) = mpsc::channel();
    let (send, readings) = mpsc::channel();
    let path = path.to_owned();
    let thread = thread::spawn(move || poll_file(&path, refresh, &stopped, |reading| send.send(reading).unwrap()));
    (readings, stop, thread)
}

/// Longer than any test takes.
const NEVER: Duration = Duration::from_secs(100_000);

#[test]
fn a_file_is_read_when_it_changes() {
    let (_folder, path) = folder();
    let (readings, stop, thread) = watch(&path, NEVER);
    let next = || readings.recv_timeout(DEADLINE).unwrap();
    let missing = next().unwrap_err();
    assert!(missing.starts_with("cannot open /") && missing.ends_with("os error 2)"), "{missing}");
    replace(&path, LIST.as_bytes());
    assert_eq!(ids(&next().unwrap()), ["a", "b"]);
    replace(&path, b"[{\"id\": \"c\"");
    let broken = next().unwrap_err();
    assert!(broken.ends_with("agents.json: line 1, column 11: EOF while parsing an object"), "{broken}");
    drop(stop);
    thread.join().unwrap();
    assert!(readings.recv().is_err(), "sent without a change");
}

#[test]
fn a_file_that_was_removed_is_missed() {
    let (_folder, path) = folder();
    fs::write(&path, LIST).unwrap();
    let (readings, stop, thread) = watch(&path, NEVER);
    let next = || readings.recv_timeout(DEADLINE).unwrap();
    assert_eq!(ids(&next().unwrap()), ["a", "b"]);
    replace(&path, b"[]");
    assert_eq!(next().unwrap(), SourceReading::default());
    fs::remove_file(&path).unwrap();
    assert!(next().is_err());
    drop(stop);
    thread.join().unwrap();
}

#[test]
fn a_folder_is_read_when_a_file_comes() {
    let (folder, _) = folder();
    let (readings, stop, thread) = watch(folder.path(), NEVER);
    assert_eq!(readings.recv_timeout(DEADLINE).unwrap().unwrap(), SourceReading::default());
    fs::write(folder.path().join("x.json"), r#"{"id":"x"}"#).unwrap();
    // The look may come between creation and writing.
    while readings.recv_timeout(DEADLINE).unwrap().map_or(0, |reading| reading.records.len()) != 1 {}
    drop(stop);
    thread.join().unwrap();
}

#[test]
fn an_unchanged_file_is_read_at_each_refresh_and_on_demand() {
    let (_folder, path) = folder();
    fs::write(&path, LIST).unwrap();
    let (readings, stop, thread) = watch(&path, Duration::from_millis(20));
    for _ in 0..5 {
        assert_eq!(readings.recv_timeout(DEADLINE).unwrap().unwrap().records.len(), 2);
    }
    drop(stop);
    thread.join().unwrap();

    let (readings, stop, thread) = watch(&path, NEVER);
    for _ in 0..5 {
        assert_eq!(readings.recv_timeout(DEADLINE).unwrap().unwrap().records.len(), 2);
        stop.send(()).unwrap();
    }
    drop(stop);
    thread.join().unwrap();
}

#[test]
fn a_url_is_asked_again_after_failures_and_until_it_is_stopped() {
    let server = serve(|stream, before| {
        let answer = if before == 0 { json("503 Service Unavailable", "") } else { json("200 OK", LIST) };
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let url = format!("http://{}/", server.address);
    let source = HttpSource { url, token_file: None, timeout: DEADLINE };
    let stop = CancellationToken::new();
    let (send, readings) = mpsc::channel();
    let cancel = stop.clone();
    let began = monotonic();
    let mut times: Vec<Mono> = Vec::new();
    let polling = poll_http(source, Duration::from_millis(10), 1, stop, |input| {
        times.push(monotonic());
        send.send(input).unwrap();
        if times.len() == 5 {
            cancel.cancel();
        }
    });
    runtime().block_on(polling);
    let readings: Vec<bool> = readings.try_iter().map(|reading| reading.is_ok()).collect();
    assert_eq!(readings, [false, true, true, true, true]);
    assert!(times[0].since(began) < DEADLINE);
    assert!(times[1].since(times[0]) >= Duration::from_secs(1), "no back-off");
    assert!(times[4].since(times[1]) >= Duration::from_millis(30), "no refresh between good answers");
}

#[test]
fn a_stalled_source_is_stopped_and_delays_no_other() {
    let (send, given_up) = mpsc::channel();
    let stalled = serve(move |stream, _| {
        while stream.read(&mut [0]).unwrap_or(0) == 1 {}
        send.send(()).unwrap();
    });
    let good = serve_text(json("200 OK", LIST));
    let source = |server: &Server| HttpSource {
        url: format!("http://{}/", server.address),
        token_file: None,
        timeout: Duration::from_secs(1000),
    };
    let stop = CancellationToken::new();
    let cancel = stop.clone();
    let mut answers = 0;
    let slow = poll_http(source(&stalled), DEADLINE, 1, stop.clone(), |_| panic!("answered"));
    let quick = poll_http(source(&good), Duration::from_millis(5), 1, stop, |input| {
        assert!(input.is_ok());
        answers += 1;
        // The stalled one has been asked by now, and goes on waiting.
        if stalled.served.load(Ordering::SeqCst) == 1 && answers >= 5 {
            cancel.cancel();
        }
    });
    runtime().block_on(async { tokio::join!(slow, quick) });
    given_up.recv_timeout(DEADLINE).unwrap();
}
