//! Asks a running daemon: finds it, sends a GET, takes the answer.

use std::fmt::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent_monitor::endpoint::{self, Endpoint};
use agent_monitor::model::Pid;
use agent_monitor::process::here::identify;
use anyhow::{Context, anyhow};
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Runtime;
use url::Url;

use crate::cli::ClientOptions;
use crate::failure::{Failure, Kind};
use crate::view::text::printable;
use crate::{environment, runtime};

/// Where a daemon listens when nothing says otherwise.
const DEFAULT_URL: &str = "http://127.0.0.1:7717/";

/// Where the service's daemon announces itself.
const SYSTEM_RUNTIME: &str = "/run/agent-monitor";

/// For connecting, and for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The largest answer that is taken, bytes.
const LIMIT_BYTES: usize = 256 << 20;

/// A daemon that answered the call, for those who wait for its answers.
pub(crate) struct Client {
    runtime: Runtime,
    connection: Connection,
}

impl Client {
    /// The daemon at the place that was named, else the first that answers where one may be.
    ///
    /// # Errors
    /// When none answers: says where was looked, and what to do.
    pub(crate) fn find(options: &ClientOptions) -> Result<Client, Failure> {
        let runtime = runtime()?;
        let connection = runtime.block_on(Connection::find(options, None))?;
        Ok(Client { runtime, connection })
    }

    /// Looks for the daemon again where this one was: after a restart.
    ///
    /// # Errors
    /// As of [`Client::find`].
    pub(crate) fn renew(&mut self, options: &ClientOptions) -> Result<(), Failure> {
        let home = self.connection.home().clone();
        self.connection = self.runtime.block_on(Connection::find(options, Some(&home)))?;
        Ok(())
    }

    /// The document of a route.
    ///
    /// # Errors
    /// When there is none, or it says no: with the reason that it gives.
    pub(crate) fn get(&mut self, route: &str) -> Result<Document, Failure> {
        self.runtime.block_on(self.connection.get(route))
    }
}

/// A connection to a daemon. Its answers are untrusted text.
pub(crate) struct Connection {
    sender: SendRequest<Body>,
    host: String,
    /// What stands before every route.
    prefix: String,
    place: String,
    home: Home,
}

/// How it is known where a daemon is. One that was restarted is found in the same way, and nowhere else: another daemon of this
/// host is not the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Home {
    /// Somebody named it.
    Named,
    /// It is announced in this directory.
    Announced(PathBuf),
    /// It is where daemons are when nothing says otherwise.
    Usual,
}

/// Where a daemon may be.
enum Place {
    Socket(PathBuf),
    Url(Url),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Socket(path) => write!(f, "{}", path.display()),
            Place::Url(url) => write!(f, "{url}"),
        }
    }
}

impl Connection {
    /// See [`Client::find`]; `home`: where to look only.
    ///
    /// # Errors
    /// When none answers: says where was looked, and what to do.
    pub(crate) async fn find(options: &ClientOptions, home: Option<&Home>) -> Result<Connection, Failure> {
        let mut tried = Vec::new();
        for (found, place) in places(options, &mut tried)? {
            if home.is_some_and(|home| *home != found) {
                continue;
            }
            match tokio::time::timeout(TIMEOUT, connect(&place)).await {
                Ok(Ok(sender)) => return Ok(Connection::new(sender, &place, found)),
                Ok(Err(error)) => tried.push(format!("{place}: {error:#}")),
                Err(_) => tried.push(format!("{place}: nobody answered within {}s", TIMEOUT.as_secs())),
            }
        }
        let error = anyhow!(
            "no daemon answers; start one with `agent-monitor run`, or name it with --url or --socket\n  {}",
            tried.join("\n  ")
        );
        Err(unavailable(error))
    }

    /// How it was found.
    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    fn new(sender: SendRequest<Body>, place: &Place, home: Home) -> Connection {
        let (host, prefix) = match place {
            Place::Socket(_) => ("localhost".to_owned(), String::new()),
            Place::Url(url) => (authority(url), url.path().trim_end_matches('/').to_owned()),
        };
        Connection { sender, host, prefix, place: place.to_string(), home }
    }

    /// See [`Client::get`].
    ///
    /// # Errors
    /// When there is none, or it says no: with the reason that it gives.
    pub(crate) async fn get(&mut self, route: &str) -> Result<Document, Failure> {
        let target = format!("{}{route}", self.prefix);
        let answer = match tokio::time::timeout(TIMEOUT, ask(&mut self.sender, &self.host, &target)).await {
            Ok(answer) => answer,
            Err(_) => Err(anyhow!("no answer within {}s", TIMEOUT.as_secs())),
        };
        let (status, text) = answer.with_context(|| self.asked(route)).map_err(unavailable)?;
        let value: Value = serde_json::from_str(&text)
            .with_context(|| format!("what answers at {} is no agent-monitor ({status})", self.place))
            .map_err(unavailable)?;
        if status.is_success() { Ok(Document { text, value }) } else { Err(refusal(status, &value)) }
    }

    /// The body of an answer that goes on; `last`: the last message that was heard of it.
    ///
    /// # Errors
    /// As of [`Connection::get`].
    pub(crate) async fn stream(mut self, route: &str, last: Option<u64>) -> Result<Body, Failure> {
        let target = format!("{}{route}", self.prefix);
        let mut request =
            Request::get(target).header(header::HOST, &self.host).header(header::ACCEPT, "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let answer = async {
            self.sender.ready().await?;
            let answer = self.sender.send_request(request.body(Body::empty())?).await?;
            let status = answer.status();
            let body = Body::new(answer.into_body());
            if status.is_success() {
                return Ok(Ok(body));
            }
            let problem = serde_json::from_slice(&to_bytes(body, LIMIT_BYTES).await?).unwrap_or_default();
            anyhow::Ok(Err(refusal(status, &problem)))
        };
        let answer = match tokio::time::timeout(TIMEOUT, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(anyhow!("no answer within {}s", TIMEOUT.as_secs())),
        };
        answer.with_context(|| self.asked(route)).map_err(unavailable)?
    }

    fn asked(&self, route: &str) -> String {
        format!("cannot ask {} for {route}", self.place)
    }
}

fn unavailable(error: anyhow::Error) -> Failure {
    Failure::new(Kind::Unavailable, error)
}

/// Why a daemon said no: application/problem+json, RFC 9457.
fn refusal(status: StatusCode, problem: &Value) -> Failure {
    let kind = if status == StatusCode::SERVICE_UNAVAILABLE { Kind::Unavailable } else { Kind::Failed };
    let detail = printable(problem["detail"].as_str().unwrap_or("it does not say why"));
    Failure::new(kind, anyhow!("{status}: {detail}"))
}

/// An answer as it came, and as JSON.
pub(crate) struct Document {
    pub(crate) text: String,
    pub(crate) value: Value,
}

/// Where to look. Places that need not be asked are explained in `passed`.
fn places(options: &ClientOptions, passed: &mut Vec<String>) -> Result<Vec<(Home, Place)>, Failure> {
    if let Some(url) = &options.url {
        return Ok(vec![(Home::Named, Place::Url(web_url(url)?))]);
    }
    if let Some(socket) = options.socket.named() {
        return Ok(vec![(Home::Named, Place::Socket(socket))]);
    }
    let mut places = Vec::new();
    for (directory, found) in announced(passed) {
        let home = Home::Announced(directory);
        places.push((home.clone(), Place::Socket(found.socket)));
        places.extend(Url::parse(&found.url).map(|url| (home, Place::Url(url))));
    }
    let default = Url::parse(DEFAULT_URL).context("not a URL")?;
    if !places.iter().any(|(_, place)| matches!(place, Place::Url(url) if *url == default)) {
        places.push((Home::Usual, Place::Url(default)));
    }
    Ok(places)
}

/// The daemons that announced themselves and live, each with the directory that it is announced in. The others are explained in
/// `passed`.
pub(crate) fn announced(passed: &mut Vec<String>) -> Vec<(PathBuf, Endpoint)> {
    let mut directories: Vec<PathBuf> = environment::directories(None).map(|found| found.runtime).into_iter().collect();
    if !directories.iter().any(|directory| directory == Path::new(SYSTEM_RUNTIME)) {
        directories.push(SYSTEM_RUNTIME.into());
    }
    let mut endpoints = Vec::new();
    for directory in directories {
        let file = directory.join(endpoint::FILE_NAME);
        match Endpoint::read(&directory) {
            Ok(Some(found)) if lives(&found) => endpoints.push((directory, found)),
            Ok(Some(found)) => passed.push(format!("{}: its process {} is gone", file.display(), found.process.pid)),
            Ok(None) => passed.push(format!("{}: there is none", file.display())),
            Err(error) => passed.push(format!("{}: {error}", file.display())),
        }
    }
    endpoints
}

/// Whether the process of an endpoint still lives.
pub(crate) fn lives(endpoint: &Endpoint) -> bool {
    let pid = endpoint.process.pid;
    identify(pid).is_ok_and(|(key, boot)| key == endpoint.process && (boot == endpoint.boot || is_named_like_us(pid)))
}

/// What tells it from a stranger of another boot where the id of the boot cannot: systemd-nspawn gives a container an id of its
/// own, and a service in it that ProtectKernelTunables= gives a /proc of its own sees the host's.
fn is_named_like_us(pid: Pid) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim_end() == "agent-monitor")
}

fn web_url(text: &str) -> Result<Url, Failure> {
    match Url::parse(text) {
        Ok(url) if url.scheme() == "http" && url.has_host() => Ok(url),
        Ok(_) => Err(anyhow!("--url {text:?}: write it as http://HOST:PORT/").into()),
        Err(error) => Err(anyhow!("--url {text:?}: {error}; write it as http://HOST:PORT/").into()),
    }
}

/// A text as a part of a path or a query: all but the unreserved is escaped (RFC 3986, 2.1).
pub(crate) fn encoded(id: &str) -> String {
    let mut text = String::new();
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// RFC 9110, 7.2.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

async fn connect(place: &Place) -> Result<SendRequest<Body>, anyhow::Error> {
    match place {
        Place::Socket(path) => greet(UnixStream::connect(path).await?).await,
        Place::Url(url) => {
            let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
            greet(TcpStream::connect((host, url.port_or_known_default().unwrap_or(80))).await?).await
        }
    }
}

async fn greet<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
) -> Result<SendRequest<Body>, anyhow::Error> {
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // Ends with its sender; what goes wrong on it, the request tells.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

/// Whether the daemon at this socket answers.
///
/// # Errors
/// Why not.
pub(crate) async fn answers(socket: &Path) -> Result<(), anyhow::Error> {
    let mut sender = connect(&Place::Socket(socket.to_owned())).await?;
    match ask(&mut sender, "localhost", "/healthz").await? {
        (StatusCode::OK, _) => Ok(()),
        (status, _) => Err(anyhow!("the API says {status}")),
    }
}

/// Sends a GET; takes the whole answer.
async fn ask(sender: &mut SendRequest<Body>, host: &str, target: &str) -> Result<(StatusCode, String), anyhow::Error> {
    let request = Request::get(target).header(header::HOST, host).header(header::ACCEPT, "application/json");
    sender.ready().await?;
    let answer = sender.send_request(request.body(Body::empty())?).await?;
    let status = answer.status();
    let bytes = to_bytes(Body::new(answer.into_body()), LIMIT_BYTES).await?;
    Ok((status, String::from_utf8(bytes.into())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_one_segment() {
        assert_eq!(encoded("a/b %é?#.~-_Z"), "a%2Fb%20%25%C3%A9%3F%23.~-_Z");
    }
}
