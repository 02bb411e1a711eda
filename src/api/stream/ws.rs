//! WebSocket (RFC 6455), for the broker's dashboard: what Server-Sent Events tell, as `{type, data}`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message as Frame, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use futures_util::SinkExt;

use super::Subscription;
use super::filter::Asked;
use super::message::{Format, Kind, Message};
use crate::api::error::Problem;
use crate::api::middleware::caught;
use crate::api::routes::Shared;
use crate::api::serve::Lease;

/// The longest message that a client may send, bytes. Nothing that it could say is listened to.
const INCOMING: usize = 4096;

/// Pings that a client may leave unanswered.
const UNANSWERED: u32 = 2;

/// `GET /api/monitoring/ws`.
pub(in crate::api) async fn ws(
    State(shared): State<Arc<Shared>>,
    Extension(lease): Extension<Lease>,
    asked: Result<Query<Asked>, QueryRejection>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let upgrade = upgrade.map_err(|rejection| {
        let problem = Problem::new(StatusCode::UPGRADE_REQUIRED, rejection.body_text());
        problem.with(header::UPGRADE, "websocket")
    })?;
    let Query(asked) = asked?;
    let (filter, after) = (asked.filter()?, asked.after(&headers)?);
    let mut subscription = shared.hub.join(Format::Ws, filter)?;
    let missed = subscription.catch_up(after, Format::Ws, &shared).await?;
    let counts = Arc::clone(&shared.counts);
    let upgrade = upgrade.max_message_size(INCOMING).max_frame_size(INCOMING).read_buffer_size(INCOMING);
    Ok(upgrade.write_buffer_size(16 * 1024).on_upgrade(move |socket| async move {
        let last = lease.clone();
        let session = Session { socket, subscription, lease, unanswered: 0 };
        let ended = tokio::select! {
            ended = caught(session.run(missed)) => ended,
            () = last.is_over() => return,
        };
        if ended.is_err() {
            counts.panics.fetch_add(1, Ordering::Relaxed);
            tracing::error!("a WebSocket panicked");
        }
    }))
}

struct Session {
    socket: WebSocket,
    subscription: Subscription,
    lease: Lease,
    unanswered: u32,
}

/// The client is gone, or does not read.
struct Gone;

impl Session {
    async fn run(mut self, missed: Vec<Bytes>) {
        let ended = self.tell_all(missed).await;
        if let Ok(code) = ended {
            let frame = CloseFrame { code, reason: Utf8Bytes::default() };
            let _ = self.send([Frame::Close(Some(frame))]).await;
        }
    }

    /// Until one side has enough: then the code to close with.
    async fn tell_all(&mut self, missed: Vec<Bytes>) -> Result<u16, Gone> {
        self.send(missed.into_iter().map(text)).await?;
        let stop = self.lease.stop.clone();
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(close_code::AWAY),
                heard = self.socket.recv() => match heard {
                    Some(Ok(Frame::Close(_))) => {
                        // The answer to it waits to be sent.
                        self.send([]).await?;
                        return Err(Gone);
                    }
                    Some(Err(_)) | None => return Err(Gone),
                    Some(Ok(_)) => self.unanswered = 0,
                },
                message = self.subscription.next() => match message {
                    None => return Ok(close_code::AGAIN),
                    Some(message) => self.tell(&message).await?,
                },
            }
        }
    }

    async fn tell(&mut self, message: &Message) -> Result<(), Gone> {
        match (message.kind, self.subscription.filter.agent.clone()) {
            (None, _) => {
                self.unanswered += 1;
                if self.unanswered > UNANSWERED {
                    return Err(Gone);
                }
                self.send([Frame::Ping(Bytes::new())]).await
            }
            (Some(Kind::Metrics), None) => self.send(message.all_parts().map(text)).await,
            (Some(Kind::Metrics), Some(agent)) => self.send(message.part(&agent).map(text)).await,
            (Some(_), _) => self.send([text(message.text.clone())]).await,
        }
    }

    async fn send(&mut self, frames: impl IntoIterator<Item = Frame>) -> Result<(), Gone> {
        let all = async {
            for frame in frames {
                self.socket.feed(frame).await?;
            }
            self.socket.flush().await
        };
        match tokio::time::timeout(self.lease.stall_timeout, all).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Gone),
        }
    }
}

fn text(json: Bytes) -> Frame {
    Frame::Text(Utf8Bytes::try_from(json).expect("JSON is UTF-8"))
}
