//! What is told over the Unix socket: events, errors, and that errors are dealt with. Answered when it is on disk.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Extension, FromRequest, Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{patch, post};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use super::agent::AgentPath;
use super::error::Problem;
use super::render::json;
use super::routes::Shared;
use super::wire;
use crate::intake::Invalid;
use crate::model::{AgentId, ErrorReport, EventReport, JsonObject, Receipt, Report, Resolve, Submission, Timestamp};
use crate::monitor::NotRecorded;

/// How long the disk may take.
const DISK_TIMEOUT: Duration = Duration::from_secs(10);

/// Where what is told goes. Plain closures, as for what is asked.
#[derive(Clone)]
pub struct Writes {
    /// Takes a report, and tells when it is on disk.
    pub record: Arc<dyn Fn(Submission) -> Pending<Receipt> + Send + Sync>,
    /// Takes that errors are dealt with, and tells when that is on disk.
    pub resolve: Arc<dyn Fn(Resolve) -> Pending<()> + Send + Sync>,
}

/// Something that will be on disk, or will not.
pub type Pending<T> = Pin<Box<dyn Future<Output = Result<T, NotRecorded>> + Send>>;

/// The account at the other end of a connection; none where the system does not tell.
#[derive(Clone, Copy)]
pub(super) struct Writer {
    pub(super) uid: Option<u32>,
}

pub(super) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/monitoring/agents/{agentId}/events", post(event))
        .route("/api/monitoring/agents/{agentId}/errors", post(error))
        .route("/api/monitoring/errors/{id}/resolve", patch(resolve_error))
        .route("/api/monitoring/error-groups/{fingerprint}/resolve", patch(resolve_group))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EventBody {
    event_type: String,
    message: String,
    metadata: Option<Box<RawValue>>,
    timestamp: Option<Value>,
    id: Option<String>,
}

#[derive(Deserialize)]
struct ErrorBody {
    error: Thrown,
    metadata: Option<Box<RawValue>>,
    fingerprint: Option<String>,
    timestamp: Option<Value>,
    id: Option<String>,
}

/// As a JavaScript `Error` has it.
#[derive(Deserialize)]
struct Thrown {
    name: String,
    message: String,
    stack: Option<String>,
}

/// The body of a request, which came whole and in time.
struct ReportBody(Bytes);

impl FromRequest<Arc<Shared>> for ReportBody {
    type Rejection = Problem;

    async fn from_request(request: Request, shared: &Arc<Shared>) -> Result<ReportBody, Problem> {
        let limit = shared.body_timeout;
        match tokio::time::timeout(limit, Bytes::from_request(request, shared)).await {
            Ok(Ok(bytes)) => Ok(ReportBody(bytes)),
            Ok(Err(rejection)) => {
                let status = rejection.into_response().status();
                let too_large = status == StatusCode::PAYLOAD_TOO_LARGE;
                let detail = if too_large { "the body is too large" } else { "the body cannot be read" };
                Err(Problem::new(status, detail))
            }
            Err(_) => {
                let limit = humantime::format_duration(limit);
                Err(Problem::new(StatusCode::REQUEST_TIMEOUT, format!("the body did not come within {limit}")))
            }
        }
    }
}

async fn event(
    State(shared): State<Arc<Shared>>,
    AgentPath(agent): AgentPath,
    writer: Extension<Writer>,
    body: ReportBody,
) -> Result<Response, Problem> {
    let body: EventBody = parse(body)?;
    let report = Report::Event(EventReport {
        event_type: body.event_type.into(),
        message: body.message.into(),
        metadata: metadata(body.metadata.as_deref())?,
    });
    record(&shared, submission(agent, report, body.timestamp, body.id, writer.uid)?).await
}

async fn error(
    State(shared): State<Arc<Shared>>,
    AgentPath(agent): AgentPath,
    writer: Extension<Writer>,
    body: ReportBody,
) -> Result<Response, Problem> {
    let body: ErrorBody = parse(body)?;
    let report = Report::Error(ErrorReport {
        error_type: body.error.name.into(),
        message: body.error.message.into(),
        stack: body.error.stack.map(Into::into),
        metadata: metadata(body.metadata.as_deref())?,
        fingerprint: body.fingerprint.map(Into::into),
    });
    record(&shared, submission(agent, report, body.timestamp, body.id, writer.uid)?).await
}

async fn record(shared: &Shared, submission: Submission) -> Result<Response, Problem> {
    let receipt = on_disk(shared, (shared.sources.writes.record)(submission)).await?;
    Ok(json(StatusCode::CREATED, wire::text(&wire::Created::from(receipt))))
}

async fn resolve_error(
    State(shared): State<Arc<Shared>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(text) = id?;
    let id = text.parse().map_err(|_| Problem::bad_request("the id of an error is a number"))?;
    resolve(&shared, Resolve::Error { id }).await
}

/// Whose group, where several agents have one of that fingerprint.
#[derive(Deserialize)]
struct Whose {
    agent: Option<String>,
}

async fn resolve_group(
    State(shared): State<Arc<Shared>>,
    fingerprint: Result<Path<String>, PathRejection>,
    whose: Result<Query<Whose>, QueryRejection>,
) -> Result<Response, Problem> {
    let Path(fingerprint) = fingerprint?;
    let Query(whose) = whose?;
    let agent = whose.agent.map(|text| AgentId::new(&text)).transpose();
    let agent = agent.map_err(|error| Problem::bad_request(format!("agent: {error}")))?;
    resolve(&shared, Resolve::Group { fingerprint: fingerprint.into(), agent }).await
}

async fn resolve(shared: &Shared, what: Resolve) -> Result<Response, Problem> {
    on_disk(shared, (shared.sources.writes.resolve)(what)).await?;
    Ok(json(StatusCode::OK, r#"{"success":true}"#))
}

/// Waits for the disk; says no where it will not come to that, and counts it.
async fn on_disk<T>(shared: &Shared, pending: Pending<T>) -> Result<T, Problem> {
    let (count, problem) = match tokio::time::timeout(DISK_TIMEOUT, pending).await {
        Ok(Ok(written)) => return Ok(written),
        Ok(Err(NotRecorded::Invalid(invalid))) => {
            let is_id = matches!(invalid, Invalid::Name { field: "id", .. });
            let status = if is_id { StatusCode::BAD_REQUEST } else { StatusCode::UNPROCESSABLE_ENTITY };
            return Err(Problem::new(status, invalid.to_string()));
        }
        Ok(Err(error @ NotRecorded::Conflict)) => return Err(Problem::new(StatusCode::CONFLICT, error.to_string())),
        Ok(Err(error @ NotRecorded::Unknown)) => return Err(Problem::not_found(error.to_string())),
        Ok(Err(error @ (NotRecorded::TooFast | NotRecorded::TooManyUnregistered))) => {
            let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, error.to_string()).with(header::RETRY_AFTER, "1");
            (&shared.counts.writes_limited, problem)
        }
        Ok(Err(error @ NotRecorded::Storage { full: true, .. })) => {
            let problem = Problem::new(StatusCode::INSUFFICIENT_STORAGE, error.to_string());
            (&shared.counts.writes_failed, problem.with(header::RETRY_AFTER, "30"))
        }
        Ok(Err(error @ (NotRecorded::Busy | NotRecorded::Stopped | NotRecorded::Storage { .. }))) => {
            (&shared.counts.writes_failed, Problem::unavailable(error.to_string()))
        }
        Err(_) => {
            let detail = "the disk takes too long; it may still be stored: tell it again with the same id";
            (&shared.counts.writes_failed, Problem::unavailable(detail))
        }
    };
    count.fetch_add(1, Ordering::Relaxed);
    Err(problem)
}

/// The body as what it should be: 400 when it is no JSON, 422 when it is other JSON, with the place.
fn parse<T: DeserializeOwned>(ReportBody(bytes): ReportBody) -> Result<T, Problem> {
    // What is no object could still be taken for one: serde reads a struct from a list, too.
    if bytes.trim_ascii_start().first().is_some_and(|byte| *byte != b'{')
        && serde_json::from_slice::<Value>(&bytes).is_ok()
    {
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "the body is a JSON object"));
    }
    let mut json = serde_json::Deserializer::from_slice(&bytes);
    let parsed = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let (at, inner) = (error.path().to_string(), error.inner());
        if inner.is_data() {
            let detail = if at == "." { inner.to_string() } else { format!("{at}: {inner}") };
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
        } else {
            Problem::bad_request(format!("the body is not JSON: {inner}"))
        }
    })?;
    json.end().map_err(|error| Problem::bad_request(format!("the body is not JSON: {error}")))?;
    Ok(parsed)
}

fn metadata(given: Option<&RawValue>) -> Result<JsonObject, Problem> {
    let Some(raw) = given else { return Ok(JsonObject::default()) };
    JsonObject::parse(raw.get())
        .map_err(|error| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("metadata: {error}")))
}

fn submission(
    agent: AgentId,
    report: Report,
    timestamp: Option<Value>,
    id: Option<String>,
    uid: Option<u32>,
) -> Result<Submission, Problem> {
    let at = timestamp.map(|value| time(&value)).transpose();
    let at = at.map_err(|reason| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("timestamp: {reason}")))?;
    Ok(Submission { agent, report, at, client_id: id.map(Into::into), uid })
}

/// RFC 3339, or a number of milliseconds or seconds since the epoch, as in a registry.
fn time(value: &Value) -> Result<Timestamp, String> {
    match (value.as_str(), value.as_f64()) {
        (Some(text), _) => Timestamp::parse(text).map_err(|error| error.to_string()),
        (None, number) => number
            .and_then(Timestamp::from_number)
            .ok_or_else(|| "write it as RFC 3339, such as 2026-01-31T09:30:00Z".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let moment = Timestamp::from_unix_ms(1_767_225_600_007);
        for text in [r#""2026-01-01T00:00:00.007Z""#, "1767225600007", "1767225600.007"] {
            assert_eq!(time(&serde_json::from_str(text).unwrap()), Ok(moment), "{text}");
        }
        for text in [r#""yesterday""#, "7", "-1", "true", "{}", "[1]"] {
            assert!(time(&serde_json::from_str(text).unwrap()).is_err(), "{text}");
        }
    }
}
