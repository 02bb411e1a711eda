//! Server-Sent Events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::Subscription;
use super::filter::Asked;
use super::message::{Format, Kind, Message, hello};
use crate::api::error::Problem;
use crate::api::routes::Shared;
use crate::api::serve::Lease;
use crate::api::wire::Hello;

/// `GET /api/monitoring/stream`.
pub(in crate::api) async fn sse(
    State(shared): State<Arc<Shared>>,
    Extension(lease): Extension<Lease>,
    asked: Result<Query<Asked>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Query(asked) = asked?;
    let (filter, after) = (asked.filter()?, asked.after(&headers)?);
    // Before looking at what was missed, so that nothing falls between the two.
    let mut subscription = shared.hub.join(Format::Sse, filter)?;
    let missed = subscription.catch_up(after, Format::Sse, &shared).await?;
    let own = (shared.sources.own)();
    let first = hello(&Hello::new(own.started_at, (shared.sources.interval)()));
    let frames = Frames {
        first: [first].into_iter().chain(missed).collect(),
        subscription,
        stop: Box::pin(lease.stop.clone().cancelled_owned()),
        _lease: lease,
    };
    // The last one is for a reverse proxy: nothing of this may wait in a buffer.
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::new(frames)).into_response())
}

/// The body of an answer that goes on until either side ends it.
struct Frames {
    first: VecDeque<Bytes>,
    subscription: Subscription,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    _lease: Lease,
}

impl Frames {
    fn text(&self, message: &Message) -> Option<Bytes> {
        match (&self.subscription.filter.agent, message.kind) {
            (Some(agent), Some(Kind::Metrics)) => message.only(agent),
            _ => Some(message.text.clone()),
        }
    }
}

impl HttpBody for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.stop.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        if let Some(text) = self.first.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(text))));
        }
        loop {
            match self.subscription.poll_next(cx) {
                Poll::Ready(Some(message)) => {
                    if let Some(text) = self.text(&message) {
                        return Poll::Ready(Some(Ok(Frame::data(text))));
                    }
                }
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
