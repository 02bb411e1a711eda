//! Asks a running daemon: finds it, sends a GET, takes the answer.

use std::fmt::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent_monitor::endpoint::{self, Endpoint};
use agent_monitor::process::linux::identify;
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
use crate::environment;
use crate::failure::{Failure, Kind};

/// Where a daemon listens when nothing says otherwise.
const DEFAULT_URL: &str = "http://127.0.0.1:7717/";

/// Where the service's daemon announces itself.
const SYSTEM_RUNTIME: &str = "/run/agent-monitor";

/// For connecting, and for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The largest answer that is taken, bytes.
const LIMIT_BYTES: usize = 256 << 20;

/// A daemon that answered the call. Its answers are untrusted text.
pub(crate) struct Client {
    runtime: Runtime,
    sender: SendRequest<Body>,
    host: String,
    /// What stands before every route.
    prefix: String,
    place: String,
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

impl Client {
    /// The daemon at the place that was named, else the first that answers where one may be.
    ///
    /// # Errors
    /// When none answers: says where was looked, and what to do.
    pub(crate) fn find(options: &ClientOptions) -> Result<Client, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("cannot start the runtime")?;
        let mut tried = Vec::new();
        for place in places(options, &mut tried)? {
            match runtime.block_on(async { tokio::time::timeout(PATIENCE, connect(&place)).await }) {
                Ok(Ok(sender)) => return Ok(Client::new(runtime, sender, &place)),
                Ok(Err(error)) => tried.push(format!("{place}: {error:#}")),
                Err(_) => tried.push(format!("{place}: nobody answered within {}s", PATIENCE.as_secs())),
            }
        }
        let error = anyhow!(
            "no daemon answers; start one with `agent-monitor run`, or name it with --url or --socket\n  {}",
            tried.join("\n  ")
        );
        Err(Failure::new(Kind::Unavailable, error))
    }

    /// The daemon at this socket.
    pub(crate) async fn at_socket(path: &Path) -> Result<SendRequest<Body>, anyhow::Error> {
        connect(&Place::Socket(path.to_owned())).await
    }

    fn new(runtime: Runtime, sender: SendRequest<Body>, place: &Place) -> Client {
        let (host, prefix) = match place {
            Place::Socket(_) => ("localhost".to_owned(), String::new()),
            Place::Url(url) => (authority(url), url.path().trim_end_matches('/').to_owned()),
        };
        Client { runtime, sender, host, prefix, place: place.to_string() }
    }

    /// The document of a route.
    ///
    /// # Errors
    /// When there is none, or it says no: with the reason that it gives.
    pub(crate) fn get(&mut self, route: &str) -> Result<Document, Failure> {
        let unavailable = |error: anyhow::Error| Failure::new(Kind::Unavailable, error);
        let target = format!("{}{route}", self.prefix);
        let answer = self.runtime.block_on(async {
            match tokio::time::timeout(PATIENCE, ask(&mut self.sender, &self.host, &target)).await {
                Ok(answer) => answer,
                Err(_) => Err(anyhow!("no answer within {}s", PATIENCE.as_secs())),
            }
        });
        let asked = || format!("cannot ask {} for {route}", self.place);
        let (status, text) = answer.with_context(asked).map_err(unavailable)?;
        let value: Value = serde_json::from_str(&text)
            .with_context(|| format!("what answers at {} is no agent-monitor ({status})", self.place))
            .map_err(unavailable)?;
        if status.is_success() {
            return Ok(Document { text, value });
        }
        let kind = if status == StatusCode::SERVICE_UNAVAILABLE { Kind::Unavailable } else { Kind::Failed };
        let detail = crate::table::printable(value["detail"].as_str().unwrap_or("it does not say why"));
        Err(Failure::new(kind, anyhow!("{status}: {detail}")))
    }
}

/// An answer as it came, and as JSON.
pub(crate) struct Document {
    pub(crate) text: String,
    pub(crate) value: Value,
}

/// Where to look. Places that need not be asked are explained in `passed`.
fn places(options: &ClientOptions, passed: &mut Vec<String>) -> Result<Vec<Place>, Failure> {
    if let Some(url) = &options.url {
        return Ok(vec![Place::Url(web_url(url)?)]);
    }
    if let Some(socket) = options.socket() {
        return Ok(vec![Place::Socket(socket)]);
    }
    let mut places = Vec::new();
    for found in announced(passed) {
        places.push(Place::Socket(found.socket));
        places.extend(Url::parse(&found.url).map(Place::Url));
    }
    let default = Url::parse(DEFAULT_URL).context("not a URL")?;
    if !places.iter().any(|place| matches!(place, Place::Url(url) if *url == default)) {
        places.push(Place::Url(default));
    }
    Ok(places)
}

/// The daemons that announced themselves and live. The others are explained in `passed`.
pub(crate) fn announced(passed: &mut Vec<String>) -> Vec<Endpoint> {
    let mut directories: Vec<PathBuf> = environment::directories(None).map(|found| found.runtime).into_iter().collect();
    if !directories.iter().any(|directory| directory == Path::new(SYSTEM_RUNTIME)) {
        directories.push(SYSTEM_RUNTIME.into());
    }
    let mut endpoints = Vec::new();
    for directory in directories {
        let file = directory.join(endpoint::FILE_NAME);
        match Endpoint::read(&directory) {
            Ok(Some(found)) if lives(&found) => endpoints.push(found),
            Ok(Some(found)) => passed.push(format!("{}: its process {} is gone", file.display(), found.process.pid)),
            Ok(None) => passed.push(format!("{}: there is none", file.display())),
            Err(error) => passed.push(format!("{}: {error}", file.display())),
        }
    }
    endpoints
}

/// Whether the process of an endpoint still lives.
pub(crate) fn lives(endpoint: &Endpoint) -> bool {
    identify(endpoint.process.pid).is_ok_and(|(key, boot)| key == endpoint.process && boot == endpoint.boot)
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

/// Sends a GET; takes the whole answer.
pub(crate) async fn ask(
    sender: &mut SendRequest<Body>,
    host: &str,
    target: &str,
) -> Result<(StatusCode, String), anyhow::Error> {
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
