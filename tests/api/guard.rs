//! Who is answered, over which socket, and with which headers. The tables of names are beside the guard; this is that
//! it stands in front of everything.

use std::sync::atomic::Ordering;

use agent_monitor::api::{Guard, Limits};
use insta::assert_snapshot;

use crate::world::*;

/// The stream with a question that it refuses: it would not end otherwise.
const ROUTES: [&str; 16] = [
    "/",
    "/agents/coder-1",
    "/page/page.js",
    "/api/monitoring/dashboard",
    "/api/monitoring/agents",
    "/api/monitoring/agents/coder-1",
    "/api/monitoring/agents/%ZZ",
    "/api/monitoring/events",
    "/api/monitoring/stream?after=x",
    "/api/monitoring/ws",
    "/api/monitoring/agents/coder-1/history",
    "/metrics",
    "/openapi.json",
    "/healthz",
    "/readyz",
    "/no/such/route",
];

const SECURITY: [&str; 5] = [
    "content-security-policy",
    "x-content-type-options",
    "referrer-policy",
    "cross-origin-resource-policy",
    "x-frame-options",
];

/// Under DNS rebinding the browser believes that the page and the daemon are one site: only Host tells them apart.
#[test]
fn glances_32632_host() {
    let server = Server::start(sources());
    for target in ROUTES {
        for host in ["evil.com", "localhost.evil.com:7717", "0.0.0.0:7717", "[::ffff:127.0.0.1]"] {
            let answer = server.raw(&head("GET", target, host, &["Sec-Fetch-Site: same-origin"]));
            assert_eq!(answer.status, 403, "{target} {host}");
            assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        }
        for request in [
            format!("GET {target} HTTP/1.1\r\nConnection: close\r\n\r\n"),
            format!("GET {target} HTTP/1.0\r\n\r\n"),
            format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
            head("GET", target, "localhost@evil.com", &[]),
        ] {
            assert_eq!(server.raw(&request).status, 400, "{request}");
        }
    }
    assert_eq!(server.raw(&head("GET", "http://evil.com/healthz", "localhost", &[])).status, 403);
    assert_eq!(server.raw(&head("GET", "http://localhost/healthz", "localhost", &[])).status, 200);
    assert_eq!(server.raw("GET /healthz HTTP/1.0\r\nHost: LOCALHOST\r\n\r\n").status, 200);
    assert!(server.counts.refused.load(Ordering::Relaxed) > 90);
}

/// A comparison by prefix let `127.evil.com` in.
#[test]
fn coven_145_prefix() {
    let server = Server::start(sources());
    for host in ["127.evil.com", "127.0.0.1.evil.com", "localhost.evil.com", "localhostx", "localhost."] {
        assert_eq!(server.raw(&head("GET", "/healthz", host, &[])).status, 403, "{host}");
    }
}

/// No page of another origin is told anything, and none is invited.
#[test]
fn glances_32610_cors() {
    let server = Server::start(sources());
    let ours = format!("Origin: http://localhost:{}", server.tcp.port());
    for target in ROUTES {
        assert_eq!(server.ask("GET", target, &["Origin: https://evil.com"]).status, 403, "{target}");
        assert_eq!(server.ask("GET", target, &["Origin: null"]).status, 403, "{target}");
        for method in ["GET", "OPTIONS"] {
            let headers = [ours.as_str(), "Access-Control-Request-Method: GET"];
            let answer = server.ask(method, target, &headers);
            assert!(answer.status != 403, "{method} {target}");
            let cors = answer.headers.iter().any(|(name, _)| name.starts_with("access-control-"));
            assert!(!cors, "{method} {target}");
        }
    }
}

/// The check must stand before the upgrade, and not trust that a browser sends `Origin`.
#[test]
fn vite_39363_ws_no_origin() {
    let server = Server::start(sources());
    let upgrade = ["Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="];
    let with = |more: &'static str| [upgrade[0], upgrade[1], upgrade[2], more];
    for target in ["/api/monitoring/ws", "/api/monitoring/dashboard"] {
        assert_eq!(server.raw(&head("GET", target, "evil.com", &upgrade)).status, 403);
        assert_eq!(server.ask("GET", target, &with("Origin: http://evil.com")).status, 403);
        assert_eq!(server.ask("GET", target, &with("Sec-Fetch-Site: cross-site")).status, 403);
    }
}

#[test]
fn other_sites_may_open_the_page_and_nothing_else() {
    let server = Server::start(sources());
    let link = ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"];
    for target in ROUTES {
        let page = target == "/" || target.starts_with("/agents/");
        assert_eq!(server.ask("GET", target, &link).status, if page { 200 } else { 403 }, "{target}");
        assert_eq!(server.ask("GET", target, &["Sec-Fetch-Site: same-site"]).status, 403, "{target}");
    }
}

#[test]
fn tcp_is_read_only() {
    let server = Server::start(sources());
    for target in ROUTES {
        for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
            let answer = server.ask(method, target, &["Content-Length: 0"]);
            assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")), "{method} {target}");
            assert_eq!(answer.json()["success"], false);
        }
    }
}

#[test]
fn the_socket_has_no_host_rule() {
    let guard = Guard::new(&[], Some("s3cret".into()));
    let server = Server::with(sources(), Limits::default(), guard);
    for host in ["evil.com", "", "agent-monitor"] {
        assert_eq!(server.ask_socket("GET", "/api/monitoring/dashboard", host).status, 200, "{host}");
    }
    let answer = server.ask_socket("POST", "/api/monitoring/dashboard", "x");
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET,HEAD")));
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(server.ask_socket("POST", "/nothing", "x").status, 404);
}

#[test]
fn a_token_is_needed_when_there_is_one() {
    let guard = Guard::new(&[], Some("s3cret".into()));
    let server = Server::with(sources(), Limits::default(), guard);
    for target in ROUTES {
        let without = server.get(target);
        let expected = if target == "/healthz" { 200 } else { 401 };
        assert_eq!(without.status, expected, "{target}");
        assert_eq!(without.header("www-authenticate"), (expected == 401).then_some("Bearer"));
        assert_ne!(server.ask("GET", target, &["Authorization: Bearer s3cret"]).status, 401, "{target}");
    }
}

/// Every answer, whatever it says.
#[test]
fn headers_of_every_answer() {
    let server = Server::start(sources());
    let common = |name: &str| SECURITY.contains(&name);
    let lines = |answer: &Answer, wanted: &dyn Fn(&str) -> bool| -> String {
        let mut lines: Vec<String> = answer
            .headers
            .iter()
            .filter(|(name, _)| wanted(name))
            .map(|(name, value)| format!("  {name}: {value}\n"))
            .collect();
        lines.sort();
        lines.concat()
    };
    let all = lines(&server.get("/"), &common);
    let mut shown = format!("every answer\n{all}");
    let mut note = |what: &str, answer: &Answer| {
        assert_eq!(lines(answer, &common), all, "{what}");
        let own =
            lines(answer, &|name| !common(name) && !matches!(name, "date" | "etag" | "content-length" | "connection"));
        shown += &format!("{what} {}\n{own}", answer.status);
    };
    for target in ROUTES {
        note(target, &server.get(target));
    }
    note("POST /", &server.ask("POST", "/", &[]));
    note("an evil host", &server.raw(&head("GET", "/", "evil.com", &[])));
    note("a large body", &server.ask("GET", "/", &["Content-Length: 100000"]));
    note("a known document", &server.ask("GET", "/api/monitoring/dashboard", &["If-None-Match: *"]));
    note("the socket", &server.ask_socket("GET", "/healthz", ""));
    assert_snapshot!("headers", shown);
}
