//! The list of problems: errors that have something in common, the one seen last first.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use super::agent::PATIENCE;
use super::error::Problem;
use super::lists::LIMIT;
use super::render::{elsewhere, json};
use super::routes::Shared;
use super::wire;
use crate::model::{AgentId, ErrorGroup, GroupPage, GroupState, Timestamp};

/// What the list is asked with. An empty value is as good as none.
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

pub(super) async fn groups(
    State(shared): State<Arc<Shared>>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(asked) = asked.map_err(|rejection| Problem::bad_request(rejection.body_text()))?;
    let mut page = asked.page().map_err(Problem::bad_request)?;
    let limit = page.limit as usize;
    // One more, to know whether there is a next page.
    page.limit += 1;
    let look = Arc::clone(&shared.sources.lists.groups);
    let answer = elsewhere(move || {
        let mut rows = look(&page)?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(cursor);
        Ok::<_, String>(wire::groups(&rows, next))
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
    fn page(self) -> Result<GroupPage, String> {
        let given = |text: String| Some(text).filter(|text| !text.is_empty());
        let agent = given(self.agent).map(|text| AgentId::new(&text)).transpose();
        let unresolved = vec![GroupState::Open, GroupState::Regressed];
        let states = match (&*self.state, &*self.resolved) {
            ("", "") => Vec::new(),
            ("", "false") => unresolved,
            ("", "true") => vec![GroupState::Resolved],
            ("", _) => return Err("resolved is false or true".to_owned()),
            (word, "") => match GroupState::ALL.into_iter().find(|state| state.word() == word) {
                Some(state) => vec![state],
                None => return Err("state is open, resolved or regressed".to_owned()),
            },
            _ => return Err("give state or resolved, not both".to_owned()),
        };
        let limit = match &*self.limit {
            "" => LIMIT.0,
            text => match text.parse() {
                Ok(0) | Err(_) => return Err(format!("limit is a number from 1 to {}", LIMIT.1)),
                Ok(number) => LIMIT.1.min(number),
            },
        };
        let before = given(self.before)
            .map(|text| place(&text).ok_or("before is `next` of another answer of this list, as it was"))
            .transpose()?;
        Ok(GroupPage {
            agent: agent.map_err(|error| format!("agent: {error}"))?,
            error_type: given(self.r#type).map(Into::into),
            states,
            before,
            limit,
        })
    }
}

/// When a problem was seen last, and which it was: a problem that is seen again moves to the front.
fn cursor(group: &ErrorGroup) -> String {
    format!("g{:x}-{:x}", group.last_seen.unix_ms(), group.id)
}

fn place(cursor: &str) -> Option<(Timestamp, i64)> {
    let (at, id) = cursor.strip_prefix('g')?.split_once('-')?;
    let number = |digits: &str| {
        let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        i64::from_str_radix(digits, 16).ok().filter(|_| plain)
    };
    Some((Timestamp::from_unix_ms(number(at)?), number(id)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back_and_nothing_else_passes() {
        assert_eq!(place("g19b0-1f"), Some((Timestamp::from_unix_ms(0x19b0), 31)));
        for text in
            ["", "g", "g1", "g-", "g1-", "g-1", "g+1-1", "g1--1", "j1-1", "g1-1 ", "gx-1", "gffffffffffffffff-1"]
        {
            assert_eq!(place(text), None, "{text}");
        }
    }
}
