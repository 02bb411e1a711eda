//! The routes: what is asked, and where the answer comes from.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::agent::agent;
use super::error::Problem;
use super::render::{Answers, Document, ETags, json};
use super::stream::{self, Hub};
use super::wire::{self, Agent, Agents, Dashboard};
use super::{Counts, Limits, Sources, history, lists, metrics, openapi, page, status, writes};
use crate::feed::Present;
use crate::model::AgentView;

/// What all routes share.
pub(super) struct Shared {
    pub(super) sources: Sources,
    tags: ETags,
    dashboard: Document,
    agents: Document,
    pub(super) answers: Answers,
    pub(super) counts: Arc<Counts>,
    pub(super) hub: Arc<Hub>,
    /// Held while names of accounts are looked up.
    pub(super) user_names: Arc<Semaphore>,
    /// How long a request's body may take.
    pub(super) body_timeout: Duration,
}

impl Shared {
    pub(super) fn new(sources: Sources, limits: &Limits) -> Shared {
        let all = |now: &Present| {
            wire::text(&Agents { agents: now.snapshot.agents.iter().map(|view| Agent::from(&**view)).collect() })
        };
        let counts = Arc::<Counts>::default();
        Shared {
            hub: Arc::new(Hub::new(sources.feed.clone(), limits, Arc::clone(&counts))),
            tags: ETags::new(sources.clock.now().wall.unix_ms()),
            sources,
            user_names: Arc::new(Semaphore::new(1)),
            dashboard: Document::new(|now| wire::text(&Dashboard::from(now))),
            agents: Document::new(all),
            answers: Answers::new(Arc::clone(&counts)),
            counts,
            body_timeout: limits.body_timeout,
        }
    }
}

/// `writable`: on a socket, whose permissions say who may tell something.
pub(super) fn router(shared: Arc<Shared>, writable: bool) -> Router {
    let writes = if writable { writes::router() } else { Router::new() };
    Router::new()
        .route("/api/monitoring/dashboard", get(dashboard))
        .route("/api/monitoring/agents", get(agents))
        .route("/api/monitoring/agents/", get(agent)) // an empty id is a bad one
        .route("/api/monitoring/agents/{agentId}", get(agent))
        .route("/api/monitoring/agents/{agentId}/history", get(history::history))
        .route("/api/monitoring/events", lists::events())
        .route("/api/monitoring/errors", lists::errors())
        .route("/api/monitoring/error-groups", lists::groups())
        .route("/api/monitoring/alerts", lists::alerts())
        .route("/api/monitoring/runs", lists::runs())
        .route("/api/monitoring/leftovers", lists::leftovers())
        .route("/api/monitoring/stream", get(stream::sse))
        .route("/api/monitoring/ws", get(stream::ws))
        .route("/api/monitoring/status", get(status::status))
        .route("/metrics", get(metrics::metrics))
        .route("/openapi.json", get(openapi::openapi))
        .route("/healthz", get(|| async { json(StatusCode::OK, r#"{"status":"ok"}"#) }))
        .route("/readyz", get(status::readyz))
        .merge(writes)
        .with_state(shared)
        .merge(page::router())
        .fallback(|| async { Problem::not_found("there is no such route") })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this route does not take that method")
        })
}

async fn dashboard(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    shared_document(&shared, &shared.dashboard, &headers).await
}

async fn shared_document(shared: &Shared, document: &Document, headers: &HeaderMap) -> Response {
    let (version, body) = document.of(&shared.sources.feed).await;
    shared.tags.tag(version).unless_known(headers, || json(StatusCode::OK, body))
}

/// Which agents of a list are wanted. An empty value means all.
#[derive(Deserialize, Default)]
struct Filter {
    /// This status, exactly.
    #[serde(default)]
    status: String,
    /// This text in the id or the name, in any case.
    #[serde(default)]
    q: String,
}

impl Filter {
    fn takes(&self, view: &AgentView) -> bool {
        let has = |text: &str| text.to_lowercase().contains(&self.q);
        (self.status.is_empty() || self.status == *view.status)
            && (self.q.is_empty() || has(view.id.as_str()) || view.name.as_deref().is_some_and(has))
    }
}

async fn agents(
    State(shared): State<Arc<Shared>>,
    filter: Result<Query<Filter>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Query(mut filter) = filter?;
    filter.q = filter.q.to_lowercase();
    if filter.status.is_empty() && filter.q.is_empty() {
        return Ok(shared_document(&shared, &shared.agents, &headers).await);
    }
    let now = shared.sources.feed.present();
    let tag = shared.tags.tag(now.version);
    if tag.is_known_to(&headers) {
        return Ok(tag.unchanged()); // not even rendered
    }
    let body = shared.answers.in_turn(move || {
        let wanted = now.snapshot.agents.iter().filter(|view| filter.takes(view));
        wire::text(&Agents { agents: wanted.map(|view| Agent::from(&**view)).collect() })
    });
    Ok(tag.json(shared.answers.admit_one(body.await)?))
}
