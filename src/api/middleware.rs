//! What every request passes before its route, and what every answer carries.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};

use super::error::Problem;
use super::{Counts, Guard};
use crate::supervise::panic_message;

/// Nothing but our own files, and no HTML made from text: should a mistake let an agent's text become markup, it still
/// does nothing.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'";

const ON_EVERY_ANSWER: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// As much of the body of a refused request as is read, bytes. A client that is still sending when its connection closes
/// loses the answer.
const DRAINED: usize = 1 << 20;

/// How long nothing may come until a client is taken to wait for its answer.
const PAUSE: Duration = Duration::from_millis(250);

/// How long all of this may take: one that goes on sending, however slowly, waits for no answer.
const DRAINED_FOR: Duration = Duration::from_secs(2);

/// What every request is held against.
pub(super) struct Middleware {
    /// None on a Unix socket.
    pub(super) guard: Option<Guard>,
    pub(super) body_bytes: usize,
    pub(super) counts: Arc<Counts>,
}

impl Middleware {
    /// Puts this before all of `routes`, the answers for unknown routes and methods included.
    pub(super) fn wrap(self, routes: Router) -> Router {
        routes.layer(DefaultBodyLimit::max(self.body_bytes)).layer(from_fn_with_state(Arc::new(self), handle))
    }

    fn admit(&self, request: &Request) -> Result<(), Problem> {
        if let Some(guard) = &self.guard {
            guard.admit(request.method(), request.uri(), request.headers())?;
        }
        // A body without a length is held to the same limit while it is read.
        let length = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        if length.is_some_and(|length: u64| length > self.body_bytes as u64) {
            let detail = format!("a request body has at most {} bytes", self.body_bytes);
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
        }
        Ok(())
    }
}

async fn handle(State(middleware): State<Arc<Middleware>>, request: Request, next: Next) -> Response {
    let mut answer = match middleware.admit(&request) {
        Ok(()) => caught(next.run(request)).await.unwrap_or_else(|panic| {
            middleware.counts.panics.fetch_add(1, Ordering::Relaxed);
            tracing::error!(message = panic_message(&*panic), "a request handler panicked");
            let detail = "the daemon made a mistake with this request; its log says more";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail).into_response()
        }),
        Err(problem) => {
            middleware.counts.refused.fetch_add(1, Ordering::Relaxed);
            drain(request.into_body()).await;
            problem.into_response()
        }
    };
    let headers = answer.headers_mut();
    for (name, value) in ON_EVERY_ANSWER {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    answer
}

/// Reads on for a while, and throws it away.
async fn drain(mut body: Body) {
    let all = async {
        let mut left = DRAINED;
        while left > 0 {
            let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx));
            let Ok(Some(Ok(frame))) = tokio::time::timeout(PAUSE, frame).await else { return };
            // A frame counts whatever it holds.
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len).max(64));
        }
    };
    let _ = tokio::time::timeout(DRAINED_FOR, all).await;
}

/// The outcome of `work`, or what it panicked with.
pub(super) async fn caught<T>(work: impl Future<Output = T>) -> Result<T, Box<dyn Any + Send>> {
    let mut work = pin!(work);
    // Nothing of a request outlives its panic but the shared state, whose locks are held for plain assignments only.
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(outcome)) => Poll::Ready(Ok(outcome)),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}
