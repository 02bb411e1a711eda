//! Who may ask over TCP.
//!
//! A web page can make a browser talk to loopback. Under DNS rebinding everything but the `Host` header then looks like
//! an honest request, so `Host` is parsed and compared exactly; the browser's own marks are a second layer.

#[cfg(test)]
mod tests;

use std::sync::{Arc, RwLock};

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};

use super::error::Problem;

/// The host names of loopback. Other spellings of the same addresses are left out: no browser sends them.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Who may ask over TCP. All clones are one: what is changed in one of them holds for every request from then on.
#[derive(Clone)]
pub struct Guard(Arc<RwLock<Rules>>);

/// What a guard holds requests against.
struct Rules {
    hosts: Vec<String>,
    token: Option<String>,
}

impl Guard {
    /// Answers to loopback's names and to `allowed_hosts` (names or addresses without a port, IPv6 in brackets). With a
    /// `token`, every request but `/healthz` must bear it.
    pub fn new(allowed_hosts: &[String], token: Option<String>) -> Guard {
        Guard(Arc::new(RwLock::new(Rules::new(allowed_hosts, token))))
    }

    /// From now on as [`new`](Guard::new) with these.
    pub fn change(&self, allowed_hosts: &[String], token: Option<String>) {
        *self.0.write().expect("no holder of this lock panics") = Rules::new(allowed_hosts, token);
    }

    /// Whether this request is let in, or what it is told.
    pub(super) fn admit(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        self.0.read().expect("no holder of this lock panics").admit(method, uri, headers)
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
        let target = uri.authority().map(|target| {
            let malformed = || Problem::bad_request("the host in the request target is malformed");
            Authority::parse(target.as_str()).ok_or_else(malformed)
        });
        let target = target.transpose()?;
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
