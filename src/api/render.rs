//! How answers come about: documents that many ask for, rendered on the first request after a change and then shared;
//! what is looked up for one; and nothing sent that the client has already.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use super::Counts;
use super::error::Problem;
use crate::feed::{Feed, Present};
use crate::supervise::blocking;

/// How long the heart and the store may take to answer, each.
pub(super) const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(2);

/// Answers made for one client each, until the last of them is sent, KiB. Shared documents are no part of it.
const ANSWERS_KIB: usize = 64 << 10;

/// How many answers are made for one client at once: as many as the store has connections. What is found takes memory too,
/// so that no more of it is wanted than can be worked on.
const TURNS: usize = 3;

/// Answers that are made for one client each: how many at once, and how much of them there is at once, however many ask and
/// do not read. A single one may be larger than all of it, and is then alone.
#[derive(Clone)]
pub(super) struct Answers {
    kib: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    counts: Arc<Counts>,
}

/// Bytes, and the room that they take.
struct Part(Bytes, #[expect(dead_code, reason = "held until the bytes are gone")] Arc<OwnedSemaphorePermit>);

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Answers {
    pub(super) fn new(counts: Arc<Counts>) -> Answers {
        Answers { kib: Arc::new(Semaphore::new(ANSWERS_KIB)), turns: Arc::new(Semaphore::new(TURNS)), counts }
    }

    /// Does `work` when it is its turn, where it holds up no other request.
    pub(super) async fn in_turn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        // Kept to its end, whether or not somebody still waits for it.
        blocking(move || (work(), turn).0).await
    }

    /// Looks something up in the database, which may take so long and no longer.
    pub(super) async fn look_up<T: Send + 'static>(
        &self,
        what: &'static str,
        look: impl FnOnce() -> Result<T, String> + Send + 'static,
    ) -> Result<T, Problem> {
        match tokio::time::timeout(LOOK_UP_TIMEOUT, self.in_turn(look)).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(reason)) => {
                tracing::debug!(reason, what, "cannot read the database");
                Err(Problem::unavailable("the database cannot be read right now"))
            }
            Err(_) => Err(Problem::unavailable("the database takes too long to answer")),
        }
    }

    /// The same bytes, counted until the last copy of them is dropped; 503 when there is no room for them now.
    pub(super) fn admit(&self, texts: Vec<Bytes>) -> Result<Vec<Bytes>, Problem> {
        let kib = texts.iter().map(Bytes::len).sum::<usize>().div_ceil(1024).min(ANSWERS_KIB);
        let kib = u32::try_from(kib).expect("bounded above");
        let Ok(permit) = Arc::clone(&self.kib).try_acquire_many_owned(kib) else {
            self.counts.answers_refused.fetch_add(1, Ordering::Relaxed);
            return Err(Problem::unavailable("too many large answers are being sent"));
        };
        let permit = Arc::new(permit);
        Ok(texts.into_iter().map(|text| Bytes::from_owner(Part(text, Arc::clone(&permit)))).collect())
    }

    /// The same of one text.
    pub(super) fn admit_one(&self, text: Vec<u8>) -> Result<Bytes, Problem> {
        Ok(self.admit(vec![text.into()])?.remove(0))
    }

    /// An answer in JSON that was made for this request, unless the client has it already.
    pub(super) fn json_unless_known(&self, headers: &HeaderMap, body: Vec<u8>) -> Result<Response, Problem> {
        let tag = ETag::of(&body);
        if tag.is_known_to(headers) { Ok(tag.unchanged()) } else { Ok(tag.json(self.admit_one(body)?)) }
    }
}

/// A rendering of how things are now.
pub(super) struct Document {
    /// Held while rendering, so that whoever asks meanwhile waits for the same bytes.
    latest: Mutex<Option<(u64, Bytes)>>,
    render: fn(&Present) -> Vec<u8>,
}

impl Document {
    pub(super) fn new(render: fn(&Present) -> Vec<u8>) -> Document {
        Document { latest: Mutex::new(None), render }
    }

    /// The document of now, with its version.
    pub(super) async fn of(&self, feed: &Feed) -> (u64, Bytes) {
        let mut latest = self.latest.lock().await;
        let now = feed.present();
        if let Some((version, bytes)) = &*latest
            && *version == now.version
        {
            return (*version, bytes.clone());
        }
        let version = now.version;
        let render = self.render;
        let bytes = Bytes::from(blocking(move || render(&now)).await);
        *latest = Some((version, bytes.clone()));
        (version, bytes)
    }
}

/// Names versions of answers (RFC 9110, 8.8.3). Versions count from zero in each life of the daemon, hence the prefix.
pub(super) struct ETags {
    prefix: String,
}

impl ETags {
    /// `life` differs from one life of the daemon to the next.
    pub(super) fn new(life: i64) -> ETags {
        ETags { prefix: format!("{life:x}") }
    }

    pub(super) fn tag(&self, version: u64) -> ETag {
        ETag(Arc::from(format!("\"{}-{version:x}\"", self.prefix)))
    }
}

/// An entity tag, quotes included.
pub(super) struct ETag(Arc<str>);

impl ETag {
    /// Of an answer that has no version: a digest of its bytes.
    pub(super) fn of(body: &[u8]) -> ETag {
        let digest: [u8; 32] = Sha256::digest(body).into();
        // Of half the bytes: enough for no two answers to share one, whoever writes what is in them.
        let half = u128::from_be_bytes(digest[..16].try_into().expect("half of 32 bytes"));
        ETag(format!("\"{half:032x}\"").into())
    }

    /// Whether the client has this version already: `If-None-Match`, weak comparison (RFC 9110, 13.1.2).
    pub(super) fn is_known_to(&self, headers: &HeaderMap) -> bool {
        headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).any(|list| {
            list.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == &*self.0)
        })
    }

    /// 304, without a body.
    pub(super) fn unchanged(&self) -> Response {
        self.put_on(StatusCode::NOT_MODIFIED.into_response())
    }

    /// 200, with this JSON.
    pub(super) fn json(&self, body: impl Into<Body>) -> Response {
        self.put_on(json(StatusCode::OK, body))
    }

    /// This answer, or 304 for a client that has it.
    pub(super) fn unless_known(&self, headers: &HeaderMap, answer: impl FnOnce() -> Response) -> Response {
        if self.is_known_to(headers) { self.unchanged() } else { self.put_on(answer()) }
    }

    fn put_on(&self, mut answer: Response) -> Response {
        let tag = HeaderValue::try_from(&*self.0).expect("hex digits, hyphens and quotes");
        answer.headers_mut().insert(header::ETAG, tag);
        answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
        answer
    }
}

/// An answer in JSON.
pub(super) fn json(status: StatusCode, body: impl Into<Body>) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.into()).into_response()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::model::{Snapshot, Timestamp};

    static RENDERED: AtomicUsize = AtomicUsize::new(0);

    fn snapshot(tick: u64) -> Arc<Snapshot> {
        Arc::new(Snapshot { tick, ..Snapshot::empty(Timestamp::from_unix_ms(0)) })
    }

    #[tokio::test]
    async fn a_version_is_rendered_once_and_shared() {
        let feed = Feed::new(snapshot(1));
        let document = Arc::new(Document::new(|now| {
            RENDERED.fetch_add(1, Ordering::Relaxed);
            now.snapshot.tick.to_string().into_bytes()
        }));
        for tick in 1..=2 {
            let mut asking = tokio::task::JoinSet::new();
            for _ in 0..20 {
                let (document, feed) = (Arc::clone(&document), feed.clone());
                asking.spawn(async move { document.of(&feed).await });
            }
            let answers = asking.join_all().await;
            let (version, bytes) = &answers[0];
            assert_eq!((*version, &bytes[..]), (tick - 1, tick.to_string().as_bytes()));
            assert!(answers.iter().all(|(_, other)| other.as_ptr() == bytes.as_ptr()));
            assert_eq!(RENDERED.load(Ordering::Relaxed) as u64, tick);
            feed.publish(snapshot(tick + 1));
        }
    }

    #[test]
    fn answers_are_counted_until_they_are_gone() {
        let answers = Answers::new(Arc::default());
        let large = vec![b'x'; (ANSWERS_KIB << 10) - 1024];
        let mut held = answers.admit(vec![large.into(), "y".into()]).unwrap();
        assert!(answers.admit_one(b"z".to_vec()).is_err(), "both together fill it");
        let rest = held.pop().unwrap().slice(..);
        drop(held);
        assert_eq!(rest, "y");
        assert!(answers.admit_one(b"z".to_vec()).is_err(), "they are one answer");
        drop(rest);
        let huge = answers.admit_one(vec![b'x'; (ANSWERS_KIB << 10) + 1]).unwrap();
        assert!(answers.admit_one(b"z".to_vec()).is_err(), "alone");
        drop(huge);
        assert!(answers.admit_one(b"z".to_vec()).is_ok());
        assert_eq!(answers.counts.answers_refused.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn a_digest_tells_answers_apart() {
        // FIPS 180-4: the digest of "abc" begins with these.
        assert_eq!(&*ETag::of(b"abc").0, "\"ba7816bf8f01cfea414140de5dae2223\"");
        assert_ne!(ETag::of(b"abd").0, ETag::of(b"abc").0);
    }

    #[test]
    fn tags_are_compared_weakly() {
        let tag = ETags::new(255).tag(16);
        let table = [
            (r#""ff-10""#, true),
            (r#"W/"ff-10""#, true),
            (r#""a", "ff-10" , "b""#, true),
            ("*", true),
            (r#""ff-1""#, false),
            (r#""fe-10""#, false),
            ("ff-10", false),
            ("", false),
        ];
        for (value, expected) in table {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static(value));
            assert_eq!(tag.is_known_to(&headers), expected, "{value}");
        }
        assert!(!tag.is_known_to(&HeaderMap::new()));
    }
}
