//! One agent whole: what the heart knows of it now, and what the database has of its past.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, State};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::response::Response;
use tokio::sync::oneshot;

use super::error::Problem;
use super::render::LOOK_UP_TIMEOUT;
use super::routes::Shared;
use super::wire::{self, AgentPage, Kept, Living};
use super::{AgentHistory, Sources};
use crate::model::{
    AgentId, AgentView, Leftovers, Metrics, NO_LONGER_REGISTERED, Observed, ProcessView, RunRow, UNREGISTERED,
};
use crate::monitor::{AgentDetail, Answer};
use crate::supervise::blocking;

/// How long an answer waits for names of accounts; without them it has their numbers.
const USER_NAMES_TIMEOUT: Duration = Duration::from_millis(250);

pub(super) async fn agent(
    State(shared): State<Arc<Shared>>,
    AgentPath(id): AgentPath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let detail = inspect(&shared.sources, &id).await;
    let users = match &detail {
        Ok(Some(detail)) => user_names(&shared, &detail.processes).await,
        Ok(None) | Err(Unheard) => HashMap::new(),
    };
    let look_up = Arc::clone(&shared.sources.agent);
    let snapshot = shared.sources.feed.present().snapshot;
    let text = shared.answers.look_up("an agent", move || {
        let mut history = look_up(&id);
        match &mut history {
            Ok(Some(history)) => bring_up_to_date(&mut history.runs, detail.as_ref().ok()),
            Ok(None) => {}
            Err(reason) => tracing::debug!(agent = %id, reason, "cannot read an agent's history"),
        }
        let listed = snapshot.agents.iter().find(|view| view.id == id);
        Ok(document(listed.map(|view| &**view), &detail, &history, &users))
    });
    shared.answers.json_unless_known(&headers, text.await??)
}

/// Watching and history each go on without the other: what one of them could not tell is `null`.
fn document(
    listed: Option<&AgentView>,
    detail: &Result<Option<AgentDetail>, Unheard>,
    history: &Result<Option<AgentHistory>, String>,
    users: &HashMap<u32, String>,
) -> Result<Vec<u8>, Problem> {
    let kept = match history {
        Ok(Some(AgentHistory { metrics, events, errors, runs, host, .. })) => {
            Some(Kept { metrics, events, errors, runs, host })
        }
        Ok(None) => Some(Kept::default()),
        Err(_) => None,
    };
    let (current, living) = match detail {
        Ok(Some(AgentDetail { view, processes, leftovers, .. })) => (Some(view), Some(Living { processes, leftovers })),
        Ok(None) => (None, Some(Living::default())),
        Err(Unheard) => (listed, None),
    };
    let user = |uid| users.get(&uid).cloned().unwrap_or_else(|| uid.to_string());
    let text = |view| wire::text(&AgentPage::new(view, kept, living, user));
    match (current, history) {
        (Some(view), _) => Ok(text(view)),
        (None, Ok(Some(history))) => Ok(text(&departed(history))),
        (None, Ok(None)) if detail.is_ok() => Err(Problem::not_found("no agent of this id was ever seen")),
        (None, _) => Err(Problem::unavailable("this agent cannot be looked up right now")),
    }
}

/// The row of a run that goes on is written down once a minute; what it used and held until now is known.
fn bring_up_to_date(runs: &mut [RunRow], detail: Option<&Option<AgentDetail>>) {
    let Some(Some(AgentDetail { run: Some(run), .. })) = detail else { return };
    let same = |row: &&mut RunRow| (row.root, &row.boot) == (run.root, &run.boot) && row.end.is_none();
    if let Some(row) = runs.iter_mut().find(same) {
        row.clone_from(run);
    }
}

/// An agent that is in the database only, seen as if it were in the lists.
fn departed(history: &AgentHistory) -> AgentView {
    let agent = &history.agent;
    // CONTRACT: what only wrote is `unknown`; what is no longer registered, and has no process, is `offline`.
    let only_wrote = &*agent.source == UNREGISTERED;
    let status: Arc<str> = if only_wrote { "unknown" } else { "offline" }.into();
    AgentView {
        number: agent.number,
        id: agent.id.clone(),
        name: agent.name.clone(),
        source: agent.source.clone(),
        status: status.clone(),
        registry_status: None,
        state: Observed::NoPid,
        state_reason: (!only_wrote).then(|| NO_LONGER_REGISTERED.into()),
        pid: None,
        started_at: None,
        restarts: agent.restarts,
        metadata: agent.metadata.clone(),
        metrics: Metrics { error_count: history.unresolved, ..Metrics::unknown(agent.last_seen, status) },
        leftovers: Leftovers::default(),
        alerts: Vec::new(),
    }
}

/// What the heart says of an agent; `Err` when it did not say anything in time.
async fn inspect(sources: &Sources, id: &AgentId) -> Result<Option<AgentDetail>, Unheard> {
    let (tell, heard) = oneshot::channel();
    (sources.inspect)(
        id.clone(),
        Answer::new(move |detail| {
            let _ = tell.send(detail); // who asked may have gone
        }),
    );
    match tokio::time::timeout(LOOK_UP_TIMEOUT, heard).await {
        Ok(Ok(detail)) => Ok(detail),
        Ok(Err(_)) | Err(_) => Err(Unheard),
    }
}

struct Unheard;

/// The names of the accounts that these run under, as far as they are known in time. A directory that hangs holds up one
/// look-up and a thread, whoever asks, and none of the answers.
async fn user_names(shared: &Shared, processes: &[ProcessView]) -> HashMap<u32, String> {
    let uids: HashSet<u32> = processes.iter().filter_map(|process| process.uid).collect();
    let (turn, name) = (Arc::clone(&shared.user_names), Arc::clone(&shared.sources.user_name));
    let names = async {
        let turn = turn.acquire_owned().await;
        blocking(move || (uids.into_iter().filter_map(|uid| Some((uid, name(uid)?))).collect(), turn).0).await
    };
    tokio::time::timeout(USER_NAMES_TIMEOUT, names).await.unwrap_or_default()
}

/// The agent a path is about: its segment after `agents`, percent-decoded.
pub(super) struct AgentPath(pub(super) AgentId);

impl<S: Sync> FromRequestParts<S> for AgentPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<AgentPath, Problem> {
        let segment = parts.uri.path().split('/').skip_while(|segment| *segment != "agents").nth(1).unwrap_or("");
        let text = percent_decoded(segment)
            .ok_or_else(|| Problem::bad_request("the agent id is not percent-encoded UTF-8 (RFC 3986, 2.1)"))?;
        AgentId::new(&text).map(AgentPath).map_err(|error| Problem::bad_request(error.to_string()))
    }
}

/// `None` when an escape is not two hex digits, or the outcome is not UTF-8.
fn percent_decoded(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            _ => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_decoded_strictly() {
        let table: &[(&str, Option<&str>)] = &[
            ("", Some("")),
            ("coder-1", Some("coder-1")),
            ("a%2Fb", Some("a/b")),
            ("a%2fb", Some("a/b")),
            ("%25%32%35", Some("%25")),
            ("a+b", Some("a+b")),
            ("%C3%A9", Some("é")),
            ("é", Some("é")),
            ("%00", Some("\0")),
            ("%", None),
            ("%2", None),
            ("%ZZ", None),
            ("%+1", None),
            ("%C3", None),
            ("%FF%FE", None),
            ("%C0%AF", None),
            ("%ED%A0%80", None),
            ("%é0", None),
        ];
        for (segment, expected) in table {
            assert_eq!(percent_decoded(segment).as_deref(), *expected, "{segment:?}");
        }
    }
}
