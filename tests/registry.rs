//! Registries as the world serves them: files that are none, servers that misbehave, and lists that change under us.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use agent_monitor::clock::monotonic;
use agent_monitor::discovery::{HttpSource, poll_file, poll_http};
use agent_monitor::model::Mono;
use agent_monitor::monitor::{Input, SourceReading};
use agent_monitor::registry::file::{self, Fingerprint};
use agent_monitor::registry::http::HttpRegistry;
use agent_monitor::registry::{LIMIT_BYTES, LIMIT_RECORDS};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// No event of these tests takes this long; it only keeps a broken build from hanging.
const DEADLINE: Duration = Duration::from_secs(60);

const LIST: &str = r#"[{"agentId":"a","status":"online","metadata":{"pid":41}},{"agentId":"b","status":"offline"}]"#;

type Reading = Result<SourceReading, Arc<str>>;

// Files.

/// A message of an error, all its causes included.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn ids(reading: &SourceReading) -> Vec<&str> {
    reading.records.iter().map(|record| record.id.as_str()).collect()
}

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agents.json");
    (folder, file)
}

/// Replaces a file as a careful writer does.
fn replace(path: &Path, content: &[u8]) {
    let new = path.with_extension("new");
    fs::write(&new, content).unwrap();
    fs::rename(&new, path).unwrap();
}

#[test]
fn files_that_are_none_are_refused_at_once() {
    let (folder, path) = folder();
    let at = |name: &str| folder.path().join(name);
    rustix::fs::mkfifoat(rustix::fs::CWD, at("fifo"), rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    let _socket = UnixListener::bind(at("socket")).unwrap();
    symlink("loop", at("loop")).unwrap();
    symlink("fifo", at("link-to-fifo")).unwrap();
    fs::write(at("file"), LIST).unwrap();
    let began = monotonic();
    let mut struck = 0;
    for (path, expected) in [
        (at("fifo"), "it is a FIFO, and only regular files and folders are read"),
        (at("link-to-fifo"), "it is a FIFO, and only regular files and folders are read"),
        (at("socket"), "it is a socket, and only regular files and folders are read"),
        (PathBuf::from("/dev/zero"), "it is a device, and only regular files and folders are read"),
        (PathBuf::from("/dev/tty"), "it is a device, and only regular files and folders are read"),
        (at("missing"), "No such file or directory (os error 2)"),
        (at("file/below"), "Not a directory (os error 20)"),
        (at("loop"), "Too many levels of symbolic links (os error 40)"),
    ] {
        let error = chain(&file::read(&path).unwrap_err());
        assert!(error.contains(&*path.to_string_lossy()) && error.ends_with(expected), "{error}");
        struck += 1;
    }
    assert!(monotonic().since(began) < DEADLINE);
    fs::write(&path, LIST).unwrap();
    assert_eq!(ids(&file::read(&path).unwrap()), ["a", "b"]);
    println!("{struck} things that are no files were refused");
}

#[test]
fn contents_that_are_no_registry() {
    let (_folder, path) = folder();
    let nested = "[".repeat(10_000) + &"]".repeat(10_000);
    let mut struck = 0;
    for (content, expected) in [
        (&b""[..], "line 1, column 1: it is empty"),
        (b"[{\"id\": \"a\xff\"}]", "line 1, column 11: not UTF-8"),
        (b"[{\"id\": \"a\"}", "line 1, column 12: EOF while parsing a list"),
        (nested.as_bytes(), "none of its 1 records can be used, the first: record 1: it is not an object"),
    ] {
        fs::write(&path, content).unwrap();
        let error = chain(&file::read(&path).unwrap_err());
        assert_eq!(error, format!("cannot use {}: {expected}", path.display()));
        struck += 1;
    }
    println!("{struck} contents were refused");
}

#[test]
fn a_half_written_file_is_never_a_shorter_list() {
    let (_folder, path) = folder();
    let mut refused = 0;
    for end in 0..LIST.len() {
        fs::write(&path, &LIST[..end]).unwrap();
        assert!(chain(&file::read(&path).unwrap_err()).contains("line 1, column "), "cut at {end}");
        refused += 1;
    }
    fs::write(&path, LIST).unwrap();
    assert_eq!(file::read(&path).unwrap().records.len(), 2);
    println!("{refused} halves were refused");
}

#[test]
fn large_files() {
    let _alone = peak();
    let (_folder, path) = folder();
    let record = |n: usize| format!(r#"{{"id":"agent-{n}","pid":{},"metadata":{{"x":"{}"}}}}"#, n + 1, "y".repeat(480));
    let list: Vec<String> = (0..LIMIT_RECORDS).map(record).collect();
    let list = format!("[{}]", list.join(",\n"));
    assert!(list.len() > 10 << 20 && list.len() < LIMIT_BYTES, "{}", list.len());
    fs::write(&path, list).unwrap();
    let reading = file::read(&path).unwrap();
    assert_eq!((reading.records.len(), reading.skipped.len()), (LIMIT_RECORDS, 0));
    drop(reading);

    let before = reset_peak_kib();
    for size in [LIMIT_BYTES as u64 + 1, 1 << 30] {
        let sparse = File::create(&path).unwrap();
        sparse.set_len(size).unwrap();
        let error = chain(&file::read(&path).unwrap_err());
        assert!(error.ends_with(" MiB, at most 16 MiB are read"), "{error}");
    }
    grew_little("2 sparse files", before);
}

/// Documents made to be dear: each would be hundreds of megabytes as a tree.
#[test]
fn documents_made_to_be_dear() {
    let _alone = peak();
    let (_folder, path) = folder();
    let fill = |open: &str, element: &str, close: &str| {
        let count = (LIMIT_BYTES - open.len() - close.len()) / element.len();
        let text = open.to_owned() + &element.repeat(count);
        text.trim_end_matches(',').to_owned() + close
    };
    for (text, expected) in [
        (fill("[", "0,", "]"), Some("records, at most 20000 are read")),
        (fill("{", "\"\":0,", "}"), Some("records, at most 20000 are read")),
        (fill("[", "[],", "]"), Some("records, at most 20000 are read")),
        (fill("[", "[", ""), Some("EOF while parsing a list")),
        (fill("[{\"id\":\"a\",\"x\":[", "0,", "]}]"), None),
        (fill("[{\"id\":\"a\",\"metadata\":{\"pid\":7,\"x\":[", "{},", "]}}]"), None),
        (fill("[{\"id\":\"a\",", "\"\":0,", "}]"), None),
    ] {
        fs::write(&path, &text).unwrap();
        let what = text[..40].to_owned();
        drop(text);
        let before = reset_peak_kib();
        let read = file::read(&path);
        grew_little(&what, before);
        match (read, expected) {
            (Ok(reading), None) => {
                assert_eq!((ids(&reading), reading.skipped.len()), (vec!["a"], 1), "{what}");
                assert!(reading.skipped[0].contains("its metadata is left out"), "{what}");
            }
            (Err(error), Some(expected)) => assert!(chain(&error).ends_with(expected), "{what}: {}", chain(&error)),
            (read, _) => panic!("{what}: {read:?}"),
        }
    }
}

#[test]
fn a_folder_has_one_record_per_file() {
    let (folder, _) = folder();
    let at = |name: &str| folder.path().join(name);
    assert_eq!(file::read(folder.path()).unwrap(), SourceReading::default());
    fs::write(at("b.json"), r#"{"id":"b","pid":2}"#).unwrap();
    fs::write(at("a.json"), "\u{feff}{\"id\":\"a\",\"pid\":1}").unwrap();
    fs::write(at("c.json"), r#"{"id":"b","pid":3}"#).unwrap();
    fs::write(at("half.json"), r#"{"id":"half","pid""#).unwrap();
    fs::write(at("list.json"), "[]").unwrap();
    fs::write(at("no\nid.json"), r#"{"pid":4}"#).unwrap();
    File::create(at("large.json")).unwrap().set_len(1 << 30).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, at("fifo.json"), rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    fs::create_dir(at("folder.json")).unwrap();
    fs::write(at("folder.json/z.json"), r#"{"id":"z"}"#).unwrap();
    symlink("nowhere", at("dangling.json")).unwrap();
    fs::write(at(".hidden.json"), r#"{"id":"hidden"}"#).unwrap();
    fs::write(at("d.json.tmp"), r#"{"id":"tmp"}"#).unwrap();
    let reading = file::read(folder.path()).unwrap();
    assert_eq!(ids(&reading), ["a", "b"]);
    let pid = reading.records[1].pid.unwrap().get();
    assert_eq!(pid, 2, "the first by name wins");
    let shown = folder.path().display();
    assert_eq!(
        reading.skipped.iter().map(|note| &**note).collect::<Vec<_>>(),
        [
            r#"file "c.json" (id "b"): the same id as file "b.json" (id "b"), which counts"#,
            r#"file "fifo.json": it is a FIFO"#,
            r#"file "folder.json": it is a folder"#,
            r#"file "half.json": line 1, column 18: EOF while parsing an object"#,
            &format!(r#"file "large.json": cannot read {shown}/large.json: it has 1024 MiB, at most 16 MiB are read"#),
            r#"file "list.json": it is not an object"#,
            "file \"no\u{fffd}id.json\": it has no id: none of agentId, agent_id, id, name, sessionId",
        ]
    );
    fs::remove_file(at("a.json")).unwrap();
    fs::remove_file(at("b.json")).unwrap();
    fs::remove_file(at("c.json")).unwrap();
    let error = chain(&file::read(folder.path()).unwrap_err());
    assert!(
        error.contains("none of its 6 records can be used, the first: file \"fifo.json\": it is a FIFO"),
        "{error}"
    );
}

#[test]
fn a_folder_has_at_most_20_000_files() {
    let (folder, _) = folder();
    for n in 0..LIMIT_RECORDS {
        fs::write(folder.path().join(format!("{n}.json")), format!(r#"{{"id":{n}}}"#)).unwrap();
    }
    assert_eq!(file::read(folder.path()).unwrap().records.len(), LIMIT_RECORDS);
    fs::write(folder.path().join("x.json"), r#"{"id":"x"}"#).unwrap();
    assert!(chain(&file::read(folder.path()).unwrap_err()).ends_with("it has more than 20000 files"));
}

#[test]
fn what_changes_a_fingerprint() {
    let (folder, path) = folder();
    let one = path.as_path();
    let all = folder.path();
    let mut seen = vec![(Fingerprint::of(one), Fingerprint::of(all))];
    let mut step = |what: &str, both: bool| {
        let looks = (Fingerprint::of(one), Fingerprint::of(all));
        assert_eq!(looks, (Fingerprint::of(one), Fingerprint::of(all)), "{what}: not stable");
        let before = seen.last().unwrap();
        assert_eq!((looks.0 != before.0, looks.1 != before.1), (both, true), "{what}");
        seen.push(looks);
    };
    fs::write(one, LIST).unwrap();
    step("it appears", true);
    fs::write(one, "[]").unwrap();
    step("it is rewritten", true);
    replace(one, b"{}");
    step("another takes its place", true);
    fs::set_permissions(one, fs::Permissions::from_mode(0o600)).unwrap();
    step("its mode changes", true);
    fs::write(all.join("b.json"), "{}").unwrap();
    step("another appears in the folder", false);
    fs::rename(all.join("b.json"), all.join("c.json")).unwrap();
    step("one changes its name", false);
    fs::remove_file(one).unwrap();
    step("it is removed", true);
}

#[test]
fn replaced_again_and_again_it_is_always_whole() {
    let (_folder, path) = folder();
    let of = |round: usize| {
        let records: Vec<String> = (0..50).map(|n| format!(r#"{{"id":"{n}","pid":{}}}"#, round + 1)).collect();
        format!("[{}]", records.join(","))
    };
    replace(&path, of(0).as_bytes());
    let target = path.clone();
    let rounds = 1000;
    let writer = thread::spawn(move || (0..rounds).for_each(|round| replace(&target, of(round).as_bytes())));
    let mut versions = Vec::new();
    while versions.last() != Some(&rounds) {
        let reading = file::read(&path).unwrap();
        let pids: Vec<usize> = reading.records.iter().map(|record| record.pid.unwrap().get() as usize).collect();
        assert_eq!((pids.len(), reading.skipped.len()), (50, 0));
        assert!(pids.iter().all(|pid| *pid == pids[0]), "two versions in one reading: {pids:?}");
        assert!(versions.last().is_none_or(|before| *before <= pids[0]));
        versions.push(pids[0]);
    }
    writer.join().unwrap();
    let reads = versions.len();
    versions.dedup();
    assert!(versions.len() > 1, "never seen to change");
    println!("{} versions seen in {reads} reads of {rounds} replacements", versions.len());
}

// The readers that run for long.

/// A running `poll_file`: what it sends, what stops it.
fn watch(path: &Path, refresh: Duration) -> (Receiver<Reading>, mpsc::Sender<()>, JoinHandle<()>) {
    let (stop, stopped) = mpsc::channel();
    let (send, readings) = mpsc::channel();
    let path = path.to_owned();
    let thread = thread::spawn(move || poll_file(3, &path, refresh, &stopped, |input| send.send(sent(input)).unwrap()));
    (readings, stop, thread)
}

fn sent(input: Input) -> Reading {
    match input {
        Input::Source { index: 3, reading } => reading,
        _ => panic!("sent for another source"),
    }
}

#[test]
fn a_file_is_read_when_it_changes() {
    let (folder, path) = folder();
    let never = Duration::from_secs(100_000);
    let (readings, stop, thread) = watch(&path, never);
    let next = || readings.recv_timeout(DEADLINE).unwrap();
    let missing = next().unwrap_err();
    assert!(missing.starts_with("cannot open /") && missing.ends_with("os error 2)"), "{missing}");
    replace(&path, LIST.as_bytes());
    assert_eq!(ids(&next().unwrap()), ["a", "b"]);
    replace(&path, b"[{\"id\": \"c\"");
    let broken = next().unwrap_err();
    assert!(broken.ends_with("agents.json: line 1, column 11: EOF while parsing an object"), "{broken}");
    replace(&path, b"[]");
    assert_eq!(next().unwrap(), SourceReading::default());
    fs::remove_file(&path).unwrap();
    assert!(next().is_err());
    drop(stop);
    thread.join().unwrap();
    assert!(readings.recv().is_err(), "sent without a change");

    let (readings, stop, thread) = watch(folder.path(), never);
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

    let (readings, stop, thread) = watch(&path, Duration::from_secs(100_000));
    for _ in 0..5 {
        assert_eq!(readings.recv_timeout(DEADLINE).unwrap().unwrap().records.len(), 2);
        stop.send(()).unwrap();
    }
    drop(stop);
    thread.join().unwrap();
}

// Servers.

/// A little HTTP server: hands every connection, its request read, to `answer`; counts them.
struct Server {
    address: SocketAddr,
    served: Arc<AtomicUsize>,
    requests: Receiver<String>,
}

fn serve(mut answer: impl FnMut(&mut TcpStream, usize) + Send + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = Arc::new(AtomicUsize::new(0));
    let (send, requests) = mpsc::channel();
    let count = Arc::clone(&served);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let request = request(&mut stream);
            let before = count.fetch_add(1, Ordering::SeqCst);
            // Nobody may want to know.
            let _ = send.send(request);
            answer(&mut stream, before);
        }
    });
    Server { address, served, requests }
}

fn request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        request.push(byte[0]);
    }
    String::from_utf8(request).unwrap()
}

fn json(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// A server that always says the same.
fn serve_text(answer: String) -> Server {
    serve(move |stream, _| drop(stream.write_all(answer.as_bytes())))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn ask_within(server: &Server, timeout: Duration) -> Result<SourceReading, String> {
    let url = format!("http://{}/api/agents?key=hunter2", server.address);
    let registry = HttpRegistry::new(&url, None, timeout).unwrap();
    let shown = format!("http://{}/api/agents", server.address);
    let read = runtime().block_on(registry.read()).map_err(|error| chain(&error));
    if let Err(error) = &read {
        assert!(error.contains(&shown) && !error.contains("hunter2"), "{error}");
    }
    assert_eq!(server.served.load(Ordering::SeqCst), 1, "the server was not reached once");
    read.map_err(|error| error.replace(&shown, "URL"))
}

fn ask(server: &Server) -> Result<SourceReading, String> {
    ask_within(server, DEADLINE)
}

#[test]
fn good_answers() {
    let with = |head: &str| format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{LIST}");
    let chunked = format!("{:x}\r\n{}\r\n{:x}\r\n{}\r\n0\r\n\r\n", 7, &LIST[..7], LIST.len() - 7, &LIST[7..]);
    for answer in [
        json("200 OK", LIST),
        with("Content-Type: application/hal+json; charset=utf-8\r\nContent-Encoding: identity\r\nConnection: close"),
        format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}"),
    ] {
        let server = serve_text(answer.clone());
        assert_eq!(ids(&ask(&server).unwrap()), ["a", "b"], "{answer}");
        let request = server.requests.recv_timeout(DEADLINE).unwrap().to_lowercase();
        assert!(request.starts_with("get /api/agents?key=hunter2 http/1.1\r\n"), "{request}");
        assert!(request.contains("accept: application/json\r\n"), "{request}");
        assert!(request.contains("accept-encoding: identity\r\n"), "{request}");
        assert!(!request.contains("authorization"), "{request}");
    }
}

#[test]
fn answers_that_are_no_registry() {
    let head = |head: &str| format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{head}\r\n\r\n{LIST}");
    let moved = |to: &str| format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
    let mut struck = 0;
    for (answer, expected) in [
        (
            moved("http://169.254.169.254/latest/meta-data?token=hunter2"),
            "URL answered 302 Found and points to http://169.254.169.254/latest/meta-data: \
             redirects are not followed, name that URL",
        ),
        (
            moved("file:///etc/shadow"),
            "URL answered 302 Found and points to file:///etc/shadow: redirects are not followed, name that URL",
        ),
        (
            json("401 Unauthorized", LIST),
            "URL answered 401 Unauthorized: it wants a token: set token_file of this source",
        ),
        (json("403 Forbidden", ""), "URL answered 403 Forbidden: it wants a token: set token_file of this source"),
        (json("404 Not Found", LIST), "URL answered 404 Not Found"),
        (json("500 Internal Server Error", LIST), "URL answered 500 Internal Server Error"),
        (
            "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
            "URL answered 204 No Content: a registry without agents is an empty list, []",
        ),
        (head("Content-Type: text/html"), "URL answered with text/html instead of application/json"),
        (head("X: y"), "URL answered with no content type instead of application/json"),
        (
            head("Content-Type: application/json\r\nContent-Encoding: br"),
            "URL answered in the encoding \"br\", which was not asked for",
        ),
        (head("Content-Type: application/json\r\nContent-Length: 1073741824"), "URL answered with more than 16 MiB"),
        (json("200 OK", "[{\"id\": "), "cannot use the answer of URL: line 1, column 8: EOF while parsing a value"),
        (json("200 OK", ""), "cannot use the answer of URL: line 1, column 1: it is empty"),
        (
            json("200 OK", r#"{"error":"hunter2"}"#),
            "cannot use the answer of URL: none of its 1 records can be used, the first: record \"error\": it is not an object",
        ),
    ] {
        let server = serve_text(answer);
        assert_eq!(ask(&server).unwrap_err(), expected);
        struck += server.served.load(Ordering::SeqCst);
    }
    println!("{struck} answers were refused");
}

#[test]
fn answers_that_break_off() {
    let whole = json("200 OK", LIST);
    let mut struck = 0;
    for end in (0..whole.len()).step_by(7) {
        let part = whole.as_bytes()[..end].to_vec();
        for reset in [false, true] {
            let part = part.clone();
            let server = serve(move |stream, _| {
                stream.write_all(&part).unwrap();
                if reset {
                    rustix::net::sockopt::set_socket_linger(&*stream, Some(Duration::ZERO)).unwrap();
                } else {
                    stream.shutdown(Shutdown::Write).unwrap();
                }
            });
            let error = ask(&server).unwrap_err();
            assert!(
                error.starts_with("cannot reach URL: ") || error.starts_with("cannot read the answer of URL: "),
                "{error}"
            );
            struck += server.served.load(Ordering::SeqCst);
        }
    }
    println!("{struck} answers broke off, half of them by a reset");
}

#[test]
fn answers_that_do_not_come() {
    let timeout = Duration::from_millis(300);
    let stalls: [(&str, &str); 4] = [
        ("nothing", ""),
        ("half a head", "HTTP/1.1 200 OK\r\nContent-"),
        ("a head", "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n"),
        ("half a body", "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n[{"),
    ];
    for (what, part) in stalls {
        let server = serve(move |stream, _| {
            stream.write_all(part.as_bytes()).unwrap();
            // Until the other end gives up.
            while stream.read(&mut [0]).unwrap_or(0) == 1 {}
        });
        let began = monotonic();
        let error = ask_within(&server, timeout).unwrap_err();
        assert_eq!(error, "URL did not answer within 300 ms", "{what}");
        let took = monotonic().since(began);
        assert!(took >= timeout && took < DEADLINE / 4, "{what}: {took:?}");
    }
    for (what, head) in [
        ("head", "HTTP/1.1 200 OK\r\nX-Slow: "),
        ("body", "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n"),
    ] {
        let (send, dribbled) = mpsc::channel();
        let server = serve(move |stream, _| {
            stream.write_all(head.as_bytes()).unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
            // A byte each 5 ms, until the other end gives up: an inactivity timeout would never strike.
            let mut bytes = 0;
            while stream.write_all(b" ").is_ok() && !matches!(stream.read(&mut [0]), Ok(0)) {
                bytes += 1;
            }
            send.send(bytes).unwrap();
        });
        assert_eq!(ask_within(&server, timeout).unwrap_err(), "URL did not answer within 300 ms", "{what}");
        let bytes: usize = dribbled.recv_timeout(DEADLINE).unwrap();
        assert!(bytes > 5, "{what}: dribbled only {bytes} bytes");
        println!("the {what} dribbled {bytes} bytes");
    }
    println!("4 stalls and 2 dribbles were given up");
}

#[test]
fn nobody_there() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for url in [format!("http://{closed}/agents"), "http://no-such-host.invalid/agents".to_owned()] {
        let registry = HttpRegistry::new(&url, None, Duration::from_secs(20)).unwrap();
        let error = chain(&runtime().block_on(registry.read()).unwrap_err());
        assert!(error.starts_with(&format!("cannot reach {url}: ")), "{error}");
    }
}

#[test]
fn endless_bodies() {
    let _alone = peak();
    for framing in ["Transfer-Encoding: chunked", "Connection: close"] {
        let (send, total) = mpsc::channel();
        let server = serve(move |stream, _| {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{framing}\r\n\r\n").unwrap();
            let blanks = " ".repeat(1 << 16);
            let piece = if framing.starts_with('T') { format!("10000\r\n{blanks}\r\n") } else { blanks };
            let pieces = (0..1 << 14).take_while(|_| stream.write_all(piece.as_bytes()).is_ok()).count();
            send.send(pieces << 16).unwrap();
        });
        let before = reset_peak_kib();
        assert_eq!(ask(&server).unwrap_err(), "URL answered with more than 16 MiB");
        let total = total.recv_timeout(DEADLINE).unwrap();
        assert!(total >= LIMIT_BYTES && total < 1 << 29, "{total} of 1 GiB were sent");
        grew_little(&format!("1 GiB, {framing}, given up after {} MiB", total >> 20), before);
    }
}

/// 1 GiB of blanks in one deflate block with fixed codes, RFC 1951 §3.2.6, behind the header of RFC 1952.
fn gzip_bomb() -> Vec<u8> {
    let mut bytes = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let (mut bits, mut count) = (0_u64, 0);
    let mut put = |code: u64, length: u32| {
        bits |= code << count;
        count += length;
        while count >= 8 {
            bytes.push((bits & 0xff) as u8);
            bits >>= 8;
            count -= 8;
        }
    };
    put(0b011, 3); // the last block, fixed codes
    put(u64::from((0x30_u8 + b' ').reverse_bits()), 8);
    for _ in 0..(1 << 30) / 258 {
        put(u64::from(0xc5_u8.reverse_bits()), 8); // 258 bytes …
        put(0, 5); // … as one byte back
    }
    put(0, 7 + 7); // the end, and what is missing of a byte
    bytes
}

#[test]
fn a_gzip_bomb_is_not_unpacked() {
    let _alone = peak();
    let bomb = Arc::new(gzip_bomb());
    assert!(bomb.len() < LIMIT_BYTES);
    for (encoding, expected) in [
        ("Content-Encoding: gzip\r\n", "URL answered in the encoding \"gzip\", which was not asked for"),
        ("", "cannot use the answer of URL: line 1, column 2: not UTF-8"),
    ] {
        let body = Arc::clone(&bomb);
        let server = serve(move |stream, _| {
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{encoding}Content-Length: {length}\r\n\r\n"
            )
            .unwrap();
            let _ = stream.write_all(&body);
        });
        let before = reset_peak_kib();
        assert_eq!(ask(&server).unwrap_err(), expected);
        grew_little(&format!("a bomb of {} KiB, {encoding:?}", bomb.len() >> 10), before);
    }
}

#[test]
fn the_token_is_read_each_time() {
    let (folder, _) = folder();
    let path = folder.path().join("broker.token");
    let server = serve(|stream, before| {
        let answer = if before == 0 { json("200 OK", LIST) } else { json("401 Unauthorized", "") };
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let url = format!("http://user:hunter2@{}/", server.address);
    let registry = HttpRegistry::new(&url, Some(path.clone()), DEADLINE).unwrap();
    let runtime = runtime();
    let ask =
        || runtime.block_on(registry.read()).map_err(|error| chain(&error).replace(&*path.to_string_lossy(), "FILE"));
    let url = format!("http://{}/", server.address);

    assert_eq!(
        ask().unwrap_err(),
        format!("cannot ask {url}: no token: cannot open FILE: No such file or directory (os error 2)")
    );
    for bad in [&b""[..], b" \n", b"two words", b"two\nlines", b"\xff", b"hunter2\r\nX: y", "gehéim".as_bytes()] {
        fs::write(&path, bad).unwrap();
        assert_eq!(ask().unwrap_err(), format!("cannot ask {url}: FILE does not hold one line of printable ASCII"));
    }
    fs::write(&path, "x".repeat(9000)).unwrap();
    assert!(ask().unwrap_err().contains("at most"));
    assert_eq!(server.served.load(Ordering::SeqCst), 0, "asked without a token");

    let authorization = || {
        let request = server.requests.recv_timeout(DEADLINE).unwrap();
        let lines: Vec<&str> =
            request.lines().filter(|line| line.to_lowercase().starts_with("authorization")).collect();
        assert_eq!(lines.len(), 1, "{request}");
        lines[0].split_once(": ").unwrap().1.to_owned()
    };
    fs::write(&path, "first\n").unwrap();
    assert_eq!(ask().unwrap().records.len(), 2);
    assert_eq!(authorization(), "Bearer first");
    fs::write(&path, "second").unwrap();
    assert_eq!(ask().unwrap_err(), format!("{url} answered 401 Unauthorized: it does not accept the token in FILE"));
    assert_eq!(authorization(), "Bearer second");

    let server = serve_text(json("200 OK", LIST));
    let registry = HttpRegistry::new(&format!("http://user:hunter2@{}/", server.address), None, DEADLINE).unwrap();
    runtime.block_on(registry.read()).unwrap();
    assert!(server.requests.recv_timeout(DEADLINE).unwrap().contains("Basic dXNlcjpodW50ZXIy\r\n"));
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
    let polling = poll_http(3, source, Duration::from_millis(10), 1, stop, |input| {
        times.push(monotonic());
        send.send(sent(input)).unwrap();
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
    let slow = poll_http(3, source(&stalled), DEADLINE, 1, stop.clone(), |_| panic!("answered"));
    let quick = poll_http(3, source(&good), Duration::from_millis(5), 1, stop, |input| {
        assert!(sent(input).is_ok());
        answers += 1;
        // The stalled one has been asked by now, and goes on waiting.
        if stalled.served.load(Ordering::SeqCst) == 1 && answers >= 5 {
            cancel.cancel();
        }
    });
    runtime().block_on(async { tokio::join!(slow, quick) });
    given_up.recv_timeout(DEADLINE).unwrap();
}

// Memory.

/// Held by a test that measures memory or needs much of it, so that it measures its own.
fn peak() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Makes the present resident memory the highest so far (proc_pid_clear_refs(5)) and says how much that is.
fn reset_peak_kib() -> u64 {
    fs::write("/proc/self/clear_refs", "5").unwrap();
    peak_kib()
}

fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Reading costs the bytes that may be read, twice at worst, and what the other tests use meanwhile.
fn grew_little(what: &str, before_kib: u64) {
    let grown_kib = peak_kib().saturating_sub(before_kib);
    println!("{what}: peak grew by {grown_kib} KiB");
    assert!(grown_kib < 64 << 10, "{what}: peak grew by {grown_kib} KiB");
}
