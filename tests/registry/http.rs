use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;

use agent_monitor::clock::monotonic;
use agent_monitor::monitor::SourceReading;
use agent_monitor::registry::LIMIT_BYTES;
use agent_monitor::registry::http::HttpRegistry;

use super::server::{Server, json, runtime, serve, serve_text};
use super::*;

fn ask_within(server: &Server, timeout: Duration) -> Result<SourceReading, String> {
    let url = format!("http://{}/api/agents?key=hunter2", server.address);
    let registry = HttpRegistry::new(&url, None, timeout).unwrap();
    let shown = format!("http://{}/api/agents", server.address);
    let read = runtime().block_on(async { tokio::time::timeout(DEADLINE, registry.read()).await });
    let read = read.expect("no answer, and no error either").map_err(|error| chain(&error));
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
    // One byte too many for a name, RFC 1035, 2.3.4: no name server is asked, which may take its time to say no.
    let nobody = format!("http://{}.invalid/agents", "n".repeat(64));
    for url in [format!("http://{closed}/agents"), nobody] {
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
        assert!((LIMIT_BYTES..1 << 29).contains(&total), "{total} of 1 GiB were sent");
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
        assert_eq!(
            ask().unwrap_err(),
            format!("cannot ask {url}: no token: FILE does not hold one line of printable ASCII")
        );
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

/// Built with TLS, a client can be made at any time, and what answers without TLS is an error and no panic.
#[cfg(feature = "tls")]
#[test]
fn https_to_a_server_without_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        drop(listener.accept().unwrap().0.write_all(json("400 Bad Request", "").as_bytes()));
    });
    // Without certificates of authorities on this host there is no client.
    let error = match HttpRegistry::new(&format!("https://{address}/"), None, DEADLINE) {
        Ok(registry) => chain(&runtime().block_on(registry.read()).unwrap_err()),
        Err(error) => chain(&error),
    };
    assert!(
        error.starts_with("cannot reach https://") || error.starts_with("cannot prepare to ask https://"),
        "{error}"
    );
}
