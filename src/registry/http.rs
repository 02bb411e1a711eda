//! Registries behind a URL. The answer is bounded in time and size, and nothing of it is shown but its own records.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, LOCATION};
use reqwest::{Client, Response, StatusCode, Url};

use super::record::{self, InvalidDocument};
use super::{LIMIT_BYTES, mebibytes, printable};
use crate::config::public_url;
use crate::monitor::SourceReading;
use crate::supervise::blocking;
use crate::web::{self, SecretError};

/// Why an answer could not be had or used. The URL is in the message, without user and query.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No `http` or `https` URL, or `https` in a program built without the feature `tls`.
    #[error("cannot ask {url}: {reason}")]
    Unsupported {
        /// Whom.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// TLS could not be set up: no certificates of authorities on this host, most likely.
    #[error("cannot prepare to ask {url}")]
    Client {
        /// Whom.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// The token could not be had.
    #[error("cannot ask {url}: no token")]
    Token {
        /// Whom.
        url: String,
        /// Why.
        source: SecretError,
    },
    /// No answer, or not all of it.
    #[error("cannot {action} {url}")]
    Transport {
        /// What was tried.
        action: &'static str,
        /// With whom.
        url: String,
        /// Why it failed.
        source: reqwest::Error,
    },
    /// Not all of the answer came in time.
    #[error("{url} did not answer within {} ms", timeout.as_millis())]
    Timeout {
        /// Who.
        url: String,
        /// How long it had.
        timeout: Duration,
    },
    /// An answer of another kind than a registry's.
    #[error("{url} answered {answer}")]
    Answer {
        /// Who.
        url: String,
        /// What, and what to do.
        answer: String,
    },
    /// The answer is no registry.
    #[error("cannot use the answer of {url}")]
    Invalid {
        /// Whose.
        url: String,
        /// What is wrong with it.
        source: InvalidDocument,
    },
}

/// A registry behind a URL, ready to be asked.
#[derive(Debug)]
pub struct HttpRegistry {
    client: Client,
    url: Url,
    name: String,
    token_file: Option<PathBuf>,
    timeout: Duration,
}

impl HttpRegistry {
    /// Prepares; nothing is sent and no file read. A user and password in the URL are sent as Basic, RFC 7617, unless
    /// there is a token.
    ///
    /// # Errors
    /// When the URL cannot be used, or TLS not be set up.
    pub fn new(url: &str, token_file: Option<PathBuf>, timeout: Duration) -> Result<HttpRegistry, HttpError> {
        let name = public_url(url);
        let unsupported = |reason| HttpError::Unsupported { url: name.clone(), reason };
        let url = web::askable(url).map_err(unsupported)?;
        let client = web::client(&url, timeout).map_err(|source| HttpError::Client { url: name.clone(), source })?;
        Ok(HttpRegistry { client, url, name, token_file, timeout })
    }

    /// Asks once.
    ///
    /// # Errors
    /// When there is no complete, good answer in time. Whatever came of it before is forgotten.
    pub async fn read(&self) -> Result<SourceReading, HttpError> {
        let body = match tokio::time::timeout(self.timeout, self.fetch()).await {
            Ok(body) => body?,
            Err(_) => return Err(HttpError::Timeout { url: self.name.clone(), timeout: self.timeout }),
        };
        // 16 MiB of JSON take long enough to be felt by everything else on this thread.
        let parsed = blocking(move || record::parse(&body)).await;
        parsed.map_err(|source| HttpError::Invalid { url: self.name.clone(), source })
    }

    async fn fetch(&self) -> Result<Vec<u8>, HttpError> {
        let mut url = self.url.clone();
        let token = match &self.token_file {
            Some(path) => {
                Some(web::secret(path).await.map_err(|source| HttpError::Token { url: self.name.clone(), source })?)
            }
            None => None,
        };
        if token.is_some() {
            let _ = url.set_username("");
            let _ = url.set_password(None);
        }
        let mut request = self.client.get(url).header(ACCEPT, "application/json").header(ACCEPT_ENCODING, "identity");
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let mut response = request.send().await.map_err(|source| self.transport("reach", source))?;
        self.check(&response)?;
        let announced = response.content_length().unwrap_or(0);
        let too_large = || self.answer(format!("with more than {}", mebibytes(LIMIT_BYTES as u64)));
        if announced > LIMIT_BYTES as u64 {
            return Err(too_large());
        }
        let mut body = Vec::with_capacity(usize::try_from(announced).unwrap_or(0));
        while let Some(chunk) = response.chunk().await.map_err(|source| self.transport("read the answer of", source))? {
            if body.len() + chunk.len() > LIMIT_BYTES {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// Whether the head of the answer promises a registry.
    fn check(&self, response: &Response) -> Result<(), HttpError> {
        let status = response.status();
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if status.is_redirection() {
            let target = response
                .url()
                .join(header(LOCATION))
                .map_or_else(|_| "nowhere".to_owned(), |url| public_url(url.as_str()));
            let target = printable(&target, 200);
            return Err(
                self.answer(format!("{status} and points to {target}: redirects are not followed, name that URL"))
            );
        }
        if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
            let hint = match &self.token_file {
                Some(path) => format!("it does not accept the token in {}", path.display()),
                None => "it wants a token: set token_file of this source".to_owned(),
            };
            return Err(self.answer(format!("{status}: {hint}")));
        }
        if status == StatusCode::NO_CONTENT {
            return Err(self.answer(format!("{status}: a registry without agents is an empty list, []")));
        }
        if status != StatusCode::OK {
            return Err(self.answer(status.to_string()));
        }
        let kind = header(CONTENT_TYPE);
        if !is_json(kind) {
            let kind = if kind.is_empty() { "no content type".to_owned() } else { printable(kind, 100) };
            return Err(self.answer(format!("with {kind} instead of application/json")));
        }
        let encoding = header(CONTENT_ENCODING);
        if response.headers().contains_key(CONTENT_ENCODING) && !encoding.eq_ignore_ascii_case("identity") {
            let encoding = printable(encoding, 100);
            return Err(self.answer(format!("in the encoding {encoding:?}, which was not asked for")));
        }
        Ok(())
    }

    fn answer(&self, answer: String) -> HttpError {
        HttpError::Answer { url: self.name.clone(), answer }
    }

    fn transport(&self, action: &'static str, source: reqwest::Error) -> HttpError {
        HttpError::Transport { action, url: self.name.clone(), source: source.without_url() }
    }
}

/// `application/json` or a type that ends in `+json`, RFC 6839, with or without parameters.
fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types() {
        for (kind, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/hal+json", true),
            ("", false),
            ("text/html", false),
            ("text/json+html", false),
            ("application/jsonp", false),
            ("text/html; application/json", false),
        ] {
            assert_eq!(is_json(kind), expected, "{kind}");
        }
    }

    #[test]
    fn urls_that_cannot_be_asked() {
        for (url, reason) in [
            ("ftp://host/agents", "cannot ask ftp://host/agents: only http and https are spoken"),
            ("agents.json", "cannot ask http:(not a URL): it is not a URL"),
            ("file:///etc/shadow", "cannot ask file:///etc/shadow: only http and https are spoken"),
        ] {
            let error = HttpRegistry::new(url, None, Duration::from_secs(1)).unwrap_err();
            assert_eq!(error.to_string(), reason);
        }
    }
}
