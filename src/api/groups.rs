//! The list of problems: errors that have something in common, the one seen last first.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;

use super::error::Problem;
use super::lists::{Asked, Client, Question, answer};
use super::routes::Shared;
use super::wire;
use crate::model::{ErrorGroup, GroupPage, GroupState, Timestamp};

pub(super) async fn groups(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    asked: Question,
) -> Result<Response, Problem> {
    let Query(asked) = asked.map_err(|rejection| Problem::bad_request(rejection.body_text()))?;
    let page = page(&asked).map_err(Problem::bad_request)?;
    answer(Client::new(&shared, &headers), page, &shared.sources.lists.groups, cursor, wire::groups).await
}

fn page(asked: &Asked) -> Result<GroupPage, String> {
    let unresolved = vec![GroupState::Open, GroupState::Regressed];
    let states = match (&*asked.state, &*asked.resolved) {
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
    Ok(GroupPage {
        agent: asked.agent()?,
        error_type: asked.kind(),
        states,
        before: asked.before(place)?,
        limit: asked.limit()?,
    })
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
