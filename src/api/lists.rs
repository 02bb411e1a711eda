//! Lists of everyone's events, errors, alerts, runs and leftovers: filtered, newest first, a page at a time.

use std::num::IntErrorKind;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use super::agent::PATIENCE;
use super::error::Problem;
use super::render::{elsewhere, json};
use super::routes::Shared;
use super::{Look, wire};
use crate::model::{AgentId, Page};

/// Rows of one answer, where the question names no number, and at most.
pub(super) const LIMIT: (u32, u32) = (50, 500);

/// What a list is asked with. An empty value is as good as none.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Asked {
    agent: String,
    r#type: String,
    resolved: String,
    state: String,
    limit: String,
    before: String,
}

type Question = Result<Query<Asked>, QueryRejection>;

pub(super) async fn events(State(shared): State<Arc<Shared>>, asked: Question) -> Result<Response, Problem> {
    let id = |row: &crate::model::Recorded| row.id.expect("what is in the database has an id");
    list(asked, None, JOURNAL, &shared.sources.lists.events, id, wire::events).await
}

pub(super) async fn errors(State(shared): State<Arc<Shared>>, asked: Question) -> Result<Response, Problem> {
    let open = Some(("resolved", "false", "true"));
    list(asked, open, JOURNAL, &shared.sources.lists.errors, |listed| listed.row.id, wire::errors).await
}

pub(super) async fn alerts(State(shared): State<Arc<Shared>>, asked: Question) -> Result<Response, Problem> {
    let open = Some(("state", "firing", "resolved"));
    list(asked, open, JOURNAL, &shared.sources.lists.alerts, |episode| episode.id, wire::alerts).await
}

pub(super) async fn runs(State(shared): State<Arc<Shared>>, asked: Question) -> Result<Response, Problem> {
    let open = Some(("state", "running", "ended"));
    list(asked, open, RUNS, &shared.sources.lists.runs, |listed| listed.id, wire::runs).await
}

pub(super) async fn leftovers(State(shared): State<Arc<Shared>>, asked: Question) -> Result<Response, Problem> {
    let open = Some(("state", "running", "ended"));
    list(asked, open, LEFTOVERS, &shared.sources.lists.leftovers, |listed| listed.id, wire::leftovers).await
}

/// What cursors of these lists begin with: places in one sequence mean nothing in another.
const JOURNAL: char = 'j';
const RUNS: char = 'r';
const LEFTOVERS: char = 'l';

/// The filter of a list that tells what is open, and its words for open and for not.
type OpenFilter = Option<(&'static str, &'static str, &'static str)>;

async fn list<R: Send + 'static>(
    asked: Question,
    open: OpenFilter,
    sequence: char,
    look: &Look<Page, Vec<R>>,
    id: fn(&R) -> i64,
    render: fn(&[R], Option<String>) -> Vec<u8>,
) -> Result<Response, Problem> {
    let Query(asked) = asked.map_err(|rejection| Problem::bad_request(rejection.body_text()))?;
    let mut page = asked.page(open, sequence).map_err(Problem::bad_request)?;
    let limit = page.limit as usize;
    // One more, to know whether there is a next page.
    page.limit += 1;
    let look = Arc::clone(look);
    let answer = elsewhere(move || {
        let mut rows = look(&page)?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|last| cursor(sequence, id(last)));
        Ok::<_, String>(render(&rows, next))
    });
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(text)) => Ok(json(StatusCode::OK, text)),
        Ok(Err(reason)) => {
            tracing::debug!(reason, "cannot read a list");
            Err(Problem::unavailable("the database cannot be read right now"))
        }
        Err(_) => Err(Problem::unavailable("the database takes too long to answer")),
    }
}

impl Asked {
    fn page(self, open: OpenFilter, sequence: char) -> Result<Page, String> {
        let agent = match &*self.agent {
            "" => None,
            text => Some(AgentId::new(text).map_err(|error| format!("agent: {error}"))?),
        };
        let mut is_open = None;
        for (name, given) in [("resolved", &self.resolved), ("state", &self.state)] {
            is_open = match (open, &**given) {
                (_, "") => is_open,
                (Some((ours, yes, _)), word) if ours == name && word == yes => Some(true),
                (Some((ours, _, no)), word) if ours == name && word == no => Some(false),
                (Some((ours, yes, no)), _) if ours == name => return Err(format!("{name} is {yes} or {no}")),
                _ => return Err(format!("this list has no filter {name}")),
            };
        }
        let limit = match &*self.limit {
            "" => LIMIT.0,
            text => match text.parse() {
                Ok(number @ 1..) => LIMIT.1.min(number),
                // However large.
                Err(error) if *error.kind() == IntErrorKind::PosOverflow => LIMIT.1,
                Ok(0) | Err(_) => return Err(format!("limit is a number from 1 to {}", LIMIT.1)),
            },
        };
        let before = match &*self.before {
            "" => None,
            text => Some(place(sequence, text).ok_or("before is `next` of another answer of this list, as it was")?),
        };
        let kind = (!self.r#type.is_empty()).then(|| self.r#type.into());
        Ok(Page { agent, kind, open: is_open, before, limit })
    }
}

fn cursor(sequence: char, id: i64) -> String {
    format!("{sequence}{id:x}")
}

fn place(sequence: char, cursor: &str) -> Option<i64> {
    let digits = cursor.strip_prefix(sequence)?;
    let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    i64::from_str_radix(digits, 16).ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back_and_nothing_else_passes() {
        for id in [0, 1, 4711, i64::MAX] {
            assert_eq!(place('j', &cursor('j', id)), Some(id));
            assert_eq!(place('r', &cursor('j', id)), None, "of another list");
        }
        for text in ["", "j", "j-1", "j+1", "1", "jx", "j8000000000000000", "j1 ", "J1"] {
            assert_eq!(place('j', text), None, "{text}");
        }
    }
}
