//! The client's side of HTTP: how requests are made, to registries and to receivers of alerts, and the files with the
//! tokens that they carry.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Client, Url, redirect};
use rustix::fs::OFlags;

use crate::supervise::blocking;

/// The longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest file with a token or a secret, bytes.
const LIMIT_SECRET_BYTES: u64 = 8 << 10;

/// A client that goes straight to the host, whatever proxies the environment knows, follows no redirects, and makes a new
/// connection each time, so that nothing fails because the other end forgot an old one. `timeout`: what the caller will
/// wait for the whole request.
///
/// # Errors
/// When TLS cannot be set up: no certificates of authorities on this host, most likely.
pub fn client(url: &Url, timeout: Duration) -> Result<Client, reqwest::Error> {
    let builder = Client::builder()
        .user_agent(concat!("agent-monitor/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT.min(timeout))
        .pool_max_idle_per_host(0)
        .no_proxy();
    #[cfg(feature = "tls")]
    let builder = {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Fails only if somebody was faster.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        // The certificates of all authorities are half a megabyte that plain HTTP need not load.
        if url.scheme() == "https" { builder } else { builder.tls_certs_only([]) }
    };
    #[cfg(not(feature = "tls"))]
    let _ = url;
    builder.build()
}

/// The URL, if it is one that can be asked.
///
/// # Errors
/// What is wrong with it: it is none, or of another scheme, or `https` in a program built without the feature `tls`.
pub fn askable(url: &str) -> Result<Url, &'static str> {
    let url = Url::parse(url).map_err(|_| "it is not a URL")?;
    match url.scheme() {
        "http" => Ok(url),
        "https" if cfg!(feature = "tls") => Ok(url),
        "https" => Err("this program was built without TLS"),
        _ => Err("only http and https are spoken"),
    }
}

/// Why a token or a secret could not be had. The path is in the message, never what was read.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// It is something that might never end or never answer, or is too long to be meant.
    #[error("cannot read {}: only regular files of at most {LIMIT_SECRET_BYTES} bytes are read", path.display())]
    NotTaken {
        /// Which.
        path: PathBuf,
    },
    /// What is in it cannot be sent.
    #[error("{} does not hold one line of printable ASCII", path.display())]
    NotOneLine {
        /// Which.
        path: PathBuf,
    },
}

/// The token or secret in a file, without the white space around it. Read on another thread, since a file can be slow, and
/// each time it is needed, so that it can be renewed.
///
/// # Errors
/// See [`SecretError`].
pub async fn secret(path: &Path) -> Result<String, SecretError> {
    let path = path.to_owned();
    blocking(move || read_secret(&path)).await
}

/// The same on this thread.
///
/// # Errors
/// See [`SecretError`].
pub fn read_secret(path: &Path) -> Result<String, SecretError> {
    let failed = |action, source| SecretError::Io { action, path: path.to_owned(), source };
    let not_taken = || SecretError::NotTaken { path: path.to_owned() };
    // Opened without waiting for a FIFO's writer.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC).bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path).map_err(|source| failed("open", source))?;
    let metadata = file.metadata().map_err(|source| failed("read", source))?;
    if !metadata.is_file() {
        return Err(not_taken());
    }
    let mut bytes = Vec::new();
    file.take(LIMIT_SECRET_BYTES + 1).read_to_end(&mut bytes).map_err(|source| failed("read", source))?;
    if bytes.len() as u64 > LIMIT_SECRET_BYTES {
        return Err(not_taken());
    }
    match std::str::from_utf8(bytes.trim_ascii()) {
        Ok(secret) if !secret.is_empty() && secret.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(secret.to_owned()),
        _ => Err(SecretError::NotOneLine { path: path.to_owned() }),
    }
}
