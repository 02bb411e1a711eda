use axum::http::Request;
use axum::response::IntoResponse;

use super::*;

/// What a request is told; 200 when it is let in. Headers named twice are sent twice.
fn told(guard: &Guard, method: &str, target: &str, headers: &[(&str, &str)]) -> u16 {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    let (parts, ()) = request.body(()).unwrap().into_parts();
    let verdict = guard.admit(&parts.method, &parts.uri, &parts.headers);
    verdict.map_or_else(|problem| problem.into_response().status().as_u16(), |()| 200)
}

fn plain() -> Guard {
    Guard::new(&["monitor.example".into(), "192.0.2.7".into(), "[2001:db8::7]".into()], None)
}

#[test]
fn hosts() {
    let table = [
        ("localhost", 200),
        ("localhost:7717", 200),
        ("LocalHost:1", 200),
        ("localhost:65535", 200),
        ("127.0.0.1", 200),
        ("127.0.0.1:7717", 200),
        ("[::1]", 200),
        ("[::1]:7717", 200),
        ("monitor.example", 200),
        ("MONITOR.example:443", 200),
        ("192.0.2.7:7717", 200),
        ("[2001:DB8::7]:7717", 200),
        // Well-formed, and not ours.
        ("evil.com", 403),
        ("127.evil.com", 403),
        ("127.0.0.1.evil.com", 403),
        ("localhost.evil.com", 403),
        ("localhost.", 403),
        ("localhost.:7717", 403),
        ("127.0.0.1.", 403),
        ("localhost.localdomain", 403),
        ("notlocalhost", 403),
        ("localhos", 403),
        ("local-host", 403),
        ("sub.monitor.example", 403),
        ("monitor.example.evil.com", 403),
        ("monitor_example", 403),
        ("0.0.0.0", 403),
        ("0.0.0.0:7717", 403),
        ("127.0.0.2", 403),
        ("127.1", 403),
        ("127.0.0.01", 403),
        ("0177.0.0.1", 403),
        ("0x7f.0.0.1", 403),
        ("2130706433", 403),
        ("[::]", 403),
        ("[::ffff:127.0.0.1]", 403),
        ("[::ffff:7f00:1]", 403),
        ("[0:0:0:0:0:0:0:1]", 403),
        ("[::2]:7717", 403),
        ("192.0.2.70", 403),
        // No host at all.
        ("", 400),
        (":7717", 400),
        ("localhost:", 400),
        ("localhost:x", 400),
        ("localhost:+1", 400),
        ("localhost:-1", 400),
        ("localhost:65536", 400),
        ("localhost:077177", 400),
        ("localhost:80:80", 400),
        ("evil.com@localhost", 400),
        ("localhost:7717@evil.com", 400),
        ("user:pass@localhost", 400),
        ("localhost/", 400),
        ("localhost/evil.com", 400),
        ("localhost?x", 400),
        ("localhost#evil.com", 400),
        ("localhost\\evil.com", 400),
        ("localhost, evil.com", 400),
        ("localhost evil.com", 400),
        ("localhost\tevil.com", 400),
        ("local%68ost", 400),
        ("http://localhost", 400),
        ("::1", 400),
        ("::1:7717", 400),
        ("[::1", 400),
        ("[::1]7717", 400),
        ("[::1]]", 400),
        ("[[::1]]", 400),
        ("[]", 400),
        ("[127.0.0.1]", 400),
        ("[::1%25lo]:7717", 400),
        ("[::1%lo]", 400),
        ("lоcalhost", 400), // a Cyrillic о
        ("ｌocalhost", 400),
    ];
    for (host, expected) in table {
        assert_eq!(told(&plain(), "GET", "/", &[("host", host)]), expected, "{host:?}");
    }
}

#[test]
fn exactly_one_host() {
    assert_eq!(told(&plain(), "GET", "/", &[]), 400);
    assert_eq!(told(&plain(), "GET", "/", &[("host", "localhost"), ("host", "localhost")]), 400);
    assert_eq!(told(&plain(), "GET", "/", &[("host", "localhost"), ("host", "evil.com")]), 400);
}

#[test]
fn an_absolute_target_is_checked_too() {
    let table = [
        ("http://localhost:7717/", "localhost:7717", 200),
        ("http://127.0.0.1/healthz", "localhost", 200),
        ("http://evil.com/", "localhost", 403),
        ("http://localhost/", "evil.com", 403),
        ("http://localhost.evil.com/", "localhost", 403),
        ("http://evil@localhost/", "localhost", 400),
        ("http://localhost:7717/", "", 400),
    ];
    for (target, host, expected) in table {
        assert_eq!(told(&plain(), "GET", target, &[("host", host)]), expected, "{target} {host}");
    }
}

#[test]
fn origins() {
    let table = [
        ("localhost:7717", "http://localhost:7717", 200),
        ("localhost:7717", "https://localhost:7717", 200),
        ("localhost:7717", "http://127.0.0.1:7717", 200),
        ("[::1]:7717", "http://[::1]:7717", 200),
        ("localhost", "http://localhost", 200),
        ("localhost:80", "http://localhost", 200),
        ("localhost", "http://localhost:80", 200),
        ("monitor.example", "https://monitor.example", 200),
        ("localhost:7717", "http://localhost:3000", 403),
        ("localhost:7717", "http://localhost", 403),
        ("localhost:7717", "http://evil.com:7717", 403),
        ("localhost:7717", "http://localhost.evil.com:7717", 403),
        ("localhost:7717", "http://evil@localhost:7717", 403),
        ("localhost:7717", "http://localhost:7717/", 403),
        ("localhost:7717", "localhost:7717", 403),
        ("localhost:7717", "file://localhost:7717", 403),
        ("localhost:7717", "chrome-extension://localhost:7717", 403),
        ("localhost:7717", "null", 403),
        ("localhost:7717", "", 403),
    ];
    for (host, origin, expected) in table {
        let headers = [("host", host), ("origin", origin)];
        assert_eq!(told(&plain(), "GET", "/api/monitoring/dashboard", &headers), expected, "{host} {origin}");
    }
    let twice = [("host", "localhost"), ("origin", "http://localhost"), ("origin", "http://evil.com")];
    assert_eq!(told(&plain(), "GET", "/", &twice), 403);
}

#[test]
fn other_sites_may_only_open_pages() {
    let table = [
        ("/api/monitoring/dashboard", "same-origin", "cors", "empty", 200),
        ("/api/monitoring/dashboard", "none", "navigate", "document", 200),
        ("/api/monitoring/dashboard", "cross-site", "cors", "empty", 403),
        ("/api/monitoring/dashboard", "cross-site", "no-cors", "image", 403),
        ("/api/monitoring/dashboard", "cross-site", "navigate", "document", 403),
        ("/api/monitoring/dashboard", "same-site", "cors", "empty", 403),
        ("/api/monitoring/dashboard", "", "cors", "empty", 403),
        ("/api/monitoring/dashboard", "SAME-ORIGIN", "cors", "empty", 403),
        ("/page/page.js", "cross-site", "no-cors", "script", 403),
        ("/", "cross-site", "navigate", "document", 200),
        ("/?x=1", "same-site", "navigate", "document", 200),
        ("/agents/a", "cross-site", "navigate", "document", 200),
        ("/", "cross-site", "navigate", "iframe", 403),
        ("/", "cross-site", "no-cors", "document", 403),
        ("/agents", "cross-site", "navigate", "document", 403),
    ];
    for (target, site, mode, dest, expected) in table {
        let headers =
            [("host", "localhost"), ("sec-fetch-site", site), ("sec-fetch-mode", mode), ("sec-fetch-dest", dest)];
        assert_eq!(told(&plain(), "GET", target, &headers), expected, "{target} {site} {mode} {dest}");
    }
    let twice = [("host", "localhost"), ("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")];
    assert_eq!(told(&plain(), "GET", "/healthz", &twice), 403);
}

#[test]
fn read_only() {
    for (method, expected) in [("GET", 200), ("HEAD", 200)] {
        assert_eq!(told(&plain(), method, "/", &[("host", "localhost")]), expected);
    }
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"] {
        assert_eq!(told(&plain(), method, "/", &[("host", "localhost")]), 405, "{method}");
    }
    assert_eq!(told(&plain(), "POST", "/", &[("host", "evil.com")]), 403, "strangers learn nothing");
}

#[test]
fn tokens() {
    let guard = Guard::new(&[], Some("s3cret".into()));
    let table = [
        ("Bearer s3cret", 200),
        ("bearer s3cret", 200),
        ("BEARER  s3cret ", 200),
        ("Bearer s3cre", 401),
        ("Bearer s3cret2", 401),
        ("Bearer S3cret", 401),
        ("Bearer ", 401),
        ("Bearer", 401),
        ("s3cret", 401),
        ("Basic s3cret", 401),
        ("", 401),
    ];
    for (value, expected) in table {
        let headers = [("host", "localhost"), ("authorization", value)];
        assert_eq!(told(&guard, "GET", "/readyz", &headers), expected, "{value:?}");
    }
    assert_eq!(told(&guard, "GET", "/readyz", &[("host", "localhost")]), 401);
    assert_eq!(told(&guard, "GET", "/healthz", &[("host", "localhost")]), 200);
    assert_eq!(told(&guard, "GET", "/healthz/", &[("host", "localhost")]), 401);
    let twice = [("host", "localhost"), ("authorization", "Bearer s3cret"), ("authorization", "Bearer x")];
    assert_eq!(told(&guard, "GET", "/", &twice), 401);
}
