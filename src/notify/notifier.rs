//! Brings one message to one receiver, and says what came back.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url};

use super::{Notification, Origin, alertmanager, digest, webhook};
use crate::config::{Receiver, ReceiverKind, public_url};
use crate::model::{Timestamp, in_one_line};
use crate::web::{self, SecretError};

/// The longest that a receiver may take for its answer.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// How much of the answer of a receiver that refuses is shown, bytes.
const LIMIT_REASON_BYTES: usize = 200;

/// Knows the way to one receiver.
pub struct Notifier {
    client: Client,
    url: Url,
    receiver: Receiver,
    origin: Origin,
}

/// What came of a message.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// It was taken.
    Taken(StatusCode),
    /// It was refused, and would be again.
    Refused(Arc<str>),
    /// It may be taken later.
    Failed {
        /// What went wrong.
        reason: Arc<str>,
        /// How long the receiver wants to be left alone.
        retry_after: Option<Duration>,
    },
}

/// Why there is no way to a receiver.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// No `http` or `https` URL, or `https` in a program built without the feature `tls`.
    #[error("cannot tell {url}: {reason}")]
    Unsupported {
        /// Whom.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// TLS could not be set up: no certificates of authorities on this host, most likely.
    #[error("cannot prepare to tell {url}")]
    Client {
        /// Whom.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
}

/// What makes a receiver this one, whatever else is changed of it: a digest of its kind and address.
pub fn key(receiver: &Receiver) -> Arc<str> {
    digest(&[kind(receiver.kind), &receiver.url]).into()
}

fn kind(kind: ReceiverKind) -> &'static str {
    match kind {
        ReceiverKind::Webhook => "webhook",
        ReceiverKind::Alertmanager => "alertmanager",
    }
}

impl Notifier {
    /// Prepares; nothing is sent and no file read. A user and password in the URL are sent as Basic, RFC 7617, unless
    /// there is a token.
    ///
    /// # Errors
    /// When the URL cannot be used, or TLS not be set up.
    pub fn new(receiver: Receiver, origin: Origin) -> Result<Notifier, NotifyError> {
        let name = || public_url(&receiver.url);
        let mut url = web::askable(&receiver.url).map_err(|reason| NotifyError::Unsupported { url: name(), reason })?;
        let client = web::client(&url, TIMEOUT).map_err(|source| NotifyError::Client { url: name(), source })?;
        if receiver.kind == ReceiverKind::Alertmanager
            && let Ok(mut path) = url.path_segments_mut()
        {
            path.pop_if_empty().extend(alertmanager::PATH.split('/'));
        }
        if receiver.token_file.is_some() {
            let _ = url.set_username("");
            let _ = url.set_password(None);
        }
        Ok(Notifier { client, url, receiver, origin })
    }

    /// What the receiver is called: `webhook http://127.0.0.1:9000/hook`, without user and query.
    pub fn name(receiver: &Receiver) -> String {
        format!("{} {}", kind(receiver.kind), public_url(&receiver.url))
    }

    /// Whether the receiver wants to hear again and again of what fires.
    pub fn wants_refreshing(&self) -> bool {
        self.receiver.kind == ReceiverKind::Alertmanager
    }

    /// Tells something that happened.
    pub async fn tell(&self, notification: &Notification, now: Timestamp) -> Outcome {
        let message = match self.receiver.kind {
            ReceiverKind::Webhook => self.signed(notification, now).await,
            ReceiverKind::Alertmanager => {
                let body = alertmanager::body(std::slice::from_ref(notification), &self.origin, now);
                Ok((HeaderMap::new(), body))
            }
        };
        match message {
            Ok((headers, body)) => self.send(headers, body, now).await,
            Err(error) => failed(in_one_line(&error)),
        }
    }

    /// Tells what still fires, for those who want to hear of it again.
    pub async fn refresh(&self, firing: &[Notification], now: Timestamp) -> Outcome {
        self.send(HeaderMap::new(), alertmanager::body(firing, &self.origin, now), now).await
    }

    async fn signed(&self, notification: &Notification, now: Timestamp) -> Result<(HeaderMap, Vec<u8>), SecretError> {
        let (id, body) = (notification.key(&self.origin), webhook::body(notification, &self.origin));
        let mut headers = HeaderMap::new();
        if let Some(path) = &self.receiver.secret_file {
            let signature = webhook::signature(&web::secret(path).await?, &id, now, &body);
            headers.insert(webhook::SIGNATURE, header(&signature));
        }
        headers.insert(webhook::TIMESTAMP, HeaderValue::from(webhook::seconds(now)));
        headers.insert(webhook::ID, header(&id));
        Ok((headers, body))
    }

    async fn send(&self, mut headers: HeaderMap, body: Vec<u8>, now: Timestamp) -> Outcome {
        if let Some(path) = &self.receiver.token_file {
            match bearer(path).await {
                Ok(value) => drop(headers.insert(AUTHORIZATION, value)),
                Err(error) => return failed(in_one_line(&error)),
            }
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let request = self.client.post(self.url.clone()).headers(headers).body(body);
        // For the whole of it: one that sends its answer byte by byte is no better than one that sends none.
        let sent = async {
            let response = request.send().await.map_err(reqwest::Error::without_url)?;
            Ok::<_, reqwest::Error>(answer(response, now).await)
        };
        match tokio::time::timeout(TIMEOUT, sent).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => failed(in_one_line(&error)),
            Err(_) => failed(format!("no answer within {}s", TIMEOUT.as_secs())),
        }
    }
}

/// What an answer means. Redirects are not followed: nobody is to be led to where the configuration does not point.
async fn answer(response: Response, now: Timestamp) -> Outcome {
    let status = response.status();
    if status.is_success() {
        return Outcome::Taken(status);
    }
    let later =
        status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::REQUEST_TIMEOUT;
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?, now));
    let hint = if status.is_redirection() {
        ": redirects are not followed, name the URL it points to".to_owned()
    } else {
        excerpt(response).await
    };
    let reason: Arc<str> = format!("{status}{hint}").into();
    if later { Outcome::Failed { reason, retry_after } } else { Outcome::Refused(reason) }
}

/// The beginning of what a receiver says besides: untrusted text.
async fn excerpt(mut response: Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < LIMIT_REASON_BYTES
        && let Ok(Some(chunk)) = response.chunk().await
    {
        bytes.extend_from_slice(&chunk[..chunk.len().min(LIMIT_REASON_BYTES - bytes.len())]);
    }
    let text = String::from_utf8_lossy(&bytes).replace(char::is_control, " ");
    let text = text.trim();
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

/// RFC 9110, 10.2.3: seconds, or a date.
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text.trim()).ok()?;
    Some(Timestamp::from_unix_ms(date.timestamp().as_millisecond()).since(now))
}

async fn bearer(path: &Path) -> Result<HeaderValue, SecretError> {
    let mut value = header(&format!("Bearer {}", web::secret(path).await?));
    value.set_sensitive(true);
    Ok(value)
}

/// Of text that is known to be printable ASCII.
fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("printable ASCII")
}

fn failed(reason: impl Into<Arc<str>>) -> Outcome {
    Outcome::Failed { reason: reason.into(), retry_after: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_to_come_back() {
        let now = Timestamp::parse("2015-10-21T07:27:00Z").unwrap();
        for (text, seconds) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Wed, 21 Oct 2015 07:28:00 GMT", Some(60)),
            ("Wed, 21 Oct 2015 07:26:00 GMT", Some(0)),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(retry_after(text, now), seconds.map(Duration::from_secs), "{text:?}");
        }
    }

    #[test]
    fn what_a_receiver_is_called_tells_no_secret() {
        let receiver = Receiver {
            kind: ReceiverKind::Webhook,
            url: "https://me:hunter2@chat.example/hook?token=hunter2".to_owned(),
            secret_file: None,
            token_file: None,
        };
        assert_eq!(Notifier::name(&receiver), "webhook https://chat.example/hook");
        assert!(!key(&receiver).contains("hunter2"));
        let other =
            Receiver { url: "https://me:hunter3@chat.example/hook?token=hunter3".to_owned(), ..receiver.clone() };
        assert_ne!(key(&other), key(&receiver));
        assert_ne!(key(&Receiver { kind: ReceiverKind::Alertmanager, ..receiver.clone() }), key(&receiver));
        assert_eq!(key(&Receiver { token_file: Some("/t".into()), ..receiver.clone() }), key(&receiver));
    }
}
