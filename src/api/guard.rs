//! Who may ask over TCP.
//!
//! A web page can make a browser talk to loopback. Under DNS rebinding everything but the `Host` header then looks like
//! an honest request, so `Host` is parsed and compared exactly; the browser's own marks are a second layer.

use std::sync::{Arc, Mutex};

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};

use super::error::Problem;

/// The host names of loopback. Other spellings of the same addresses are left out: no browser sends them.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Who may ask over TCP. All clones are one: what is changed in one of them holds for every request from then on.
#[derive(Clone)]
pub struct Guard(Arc<Mutex<Arc<Rules>>>);

/// What a guard holds requests against.
struct Rules {
    hosts: Vec<String>,
    token: Option<String>,
}

impl Guard {
    /// Answers to loopback's names and to `allowed_hosts` (names or addresses without a port, IPv6 in brackets). With a
    /// `token`, every request but `/healthz` must bear it.
    pub fn new(allowed_hosts: &[String], token: Option<String>) -> Guard {
        Guard(Arc::new(Mutex::new(Arc::new(Rules::new(allowed_hosts, token)))))
    }

    /// From now on as [`new`](Guard::new) with these.
    pub fn change(&self, allowed_hosts: &[String], token: Option<String>) {
        *self.0.lock().expect("no holder of this lock panics") = Arc::new(Rules::new(allowed_hosts, token));
    }

    /// Whether this request is let in, or what it is told.
    pub(super) fn admit(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        let rules = Arc::clone(&self.0.lock().expect("no holder of this lock panics"));
        rules.admit(method, uri, headers)
    }
}

impl Rules {
    fn new(allowed_hosts: &[String], token: Option<String>) -> Rules {
        let hosts = LOOPBACK.into_iter().map(str::to_owned).chain(allowed_hosts.iter().cloned()).collect();
        Rules { hosts, token }
    }

    fn admit(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        let host = self.check_host(uri, headers)?;
        self.check_origin(&host, headers)?;
        check_fetch_site(uri, headers)?;
        if method != Method::GET && method != Method::HEAD {
            let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "over TCP only GET and HEAD are answered");
            return Err(problem.with(header::ALLOW, "GET, HEAD"));
        }
        self.check_token(uri, headers)
    }

    /// RFC 9112, 3.2: exactly one `Host`, well-formed, else 400. An absolute request target names its host itself.
    fn check_host<'a>(&self, uri: &Uri, headers: &'a HeaderMap) -> Result<Authority<'a>, Problem> {
        let mut all = headers.get_all(header::HOST).iter();
        let (Some(value), None) = (all.next(), all.next()) else {
            return Err(Problem::bad_request("exactly one Host header is needed"));
        };
        let host = value.to_str().ok().and_then(Authority::parse);
        let host = host.ok_or_else(|| Problem::bad_request("the Host header is malformed"))?;
        let target = uri.authority().map(|authority| Authority::parse(authority.as_str()));
        let target = match target {
            Some(None) => return Err(Problem::bad_request("the host in the request target is malformed")),
            Some(Some(authority)) => Some(authority),
            None => None,
        };
        if self.is_ours(host.name) && target.is_none_or(|target| self.is_ours(target.name)) {
            Ok(host)
        } else {
            Err(Problem::forbidden("not a host this daemon answers to; api.allowed_hosts can name more"))
        }
    }

    /// An `Origin` is ours when it is one of our hosts with the port that was asked.
    fn check_origin(&self, host: &Authority<'_>, headers: &HeaderMap) -> Result<(), Problem> {
        let ours = |value: &HeaderValue| -> Option<bool> {
            let (scheme, rest) = value.to_str().ok()?.split_once("://")?;
            let default_port = match scheme {
                "http" => 80,
                "https" => 443,
                _ => return None,
            };
            let origin = Authority::parse(rest)?;
            let same_port = origin.port.unwrap_or(default_port) == host.port.unwrap_or(default_port);
            Some(same_port && self.is_ours(origin.name))
        };
        if headers.get_all(header::ORIGIN).iter().all(|value| ours(value) == Some(true)) {
            Ok(())
        } else {
            Err(Problem::forbidden("a page of another origin may not ask"))
        }
    }

    fn check_token(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(token) = &self.token else { return Ok(()) };
        if uri.path() == "/healthz" {
            return Ok(());
        }
        let mut all = headers.get_all(header::AUTHORIZATION).iter();
        let given = match (all.next(), all.next()) {
            (Some(value), None) => value.to_str().ok().and_then(|text| text.split_once(' ')),
            _ => None,
        };
        match given {
            Some((scheme, given)) if scheme.eq_ignore_ascii_case("bearer") && same(given.trim(), token) => Ok(()),
            _ => {
                let problem = Problem::new(StatusCode::UNAUTHORIZED, "the token of api.token_file is needed");
                Err(problem.with(header::WWW_AUTHENTICATE, "Bearer"))
            }
        }
    }

    fn is_ours(&self, name: &str) -> bool {
        self.hosts.iter().any(|host| host.eq_ignore_ascii_case(name))
    }
}

/// Fetch Metadata (W3C): a browser says where a request comes from. Other sites may only open our pages.
fn check_fetch_site(uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let is = |name: &str, word: &str| headers.get(name).is_some_and(|value| value == word);
    let own = |value: &HeaderValue| value == "same-origin" || value == "none";
    let page = uri.path() == "/" || uri.path().starts_with("/agents/");
    if headers.get_all("sec-fetch-site").iter().all(own)
        || (page && is("sec-fetch-mode", "navigate") && is("sec-fetch-dest", "document"))
    {
        Ok(())
    } else {
        Err(Problem::forbidden("a page of another site may not ask"))
    }
}

/// Compares in a time that depends on the lengths only.
fn same(given: &str, expected: &str) -> bool {
    let differences = given.bytes().zip(expected.bytes()).fold(0, |sum, (a, b)| std::hint::black_box(sum | (a ^ b)));
    differences == 0 && given.len() == expected.len()
}

/// A host and perhaps a port, as in `Host` (RFC 9110, 7.2), without any of the freedoms that nobody needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Authority<'a> {
    /// As it was sent; IPv6 in brackets.
    name: &'a str,
    port: Option<u16>,
}

impl Authority<'_> {
    /// `None` for what is malformed: user names, empty ports, escapes, anything but letters, digits, `.`, `-` and `_`.
    fn parse(text: &str) -> Option<Authority<'_>> {
        let end = match text.strip_prefix('[') {
            Some(inner) => inner.find(']')? + 2,
            None => text.find(':').unwrap_or(text.len()),
        };
        let (name, rest) = text.split_at(end);
        let in_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        let well_formed = match name.strip_prefix('[') {
            Some(inner) => inner.trim_end_matches(']').parse::<std::net::Ipv6Addr>().is_ok(),
            None => !name.is_empty() && name.bytes().all(in_name),
        };
        let port = match rest.strip_prefix(':') {
            Some(digits) if digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().ok()?)
            }
            Some(_) => return None,
            None if rest.is_empty() => None,
            None => return None,
        };
        well_formed.then_some(Authority { name, port })
    }
}

#[cfg(test)]
mod tests {
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
}
