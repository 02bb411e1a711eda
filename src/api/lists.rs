//! Lists of everyone's events, errors, error groups, alerts, runs and leftovers: filtered, newest first, a page at a time.

use std::num::IntErrorKind;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::{MethodRouter, get};
use serde::Deserialize;

use super::error::Problem;
use super::routes::Shared;
use super::{Lists, Look, wire};
use crate::model::{AgentId, ErrorGroup, GroupPage, GroupState, Page, Recorded, Rows, Timestamp};

/// Rows of one answer, where the question names no number, and at most.
const LIMIT: (u32, u32) = (50, 500);

/// What cursors begin with: places in one sequence mean nothing in another.
const JOURNAL: char = 'j';
const GROUPS: char = 'g';
const RUNS: char = 'r';
const LEFTOVERS: char = 'l';

pub(super) fn events() -> MethodRouter<Arc<Shared>> {
    list(|asked| asked.page(JOURNAL, None), |lists| &lists.events, |row| cursor(JOURNAL, line(row)), wire::events)
}

pub(super) fn errors() -> MethodRouter<Arc<Shared>> {
    let page = |asked: Asked| asked.page(JOURNAL, Some(("resolved", "false", "true")));
    list(page, |lists| &lists.errors, |row| cursor(JOURNAL, line(&row.recorded)), wire::errors)
}

pub(super) fn groups() -> MethodRouter<Arc<Shared>> {
    list(Asked::group_page, |lists| &lists.groups, group_cursor, wire::groups)
}

pub(super) fn alerts() -> MethodRouter<Arc<Shared>> {
    let page = |asked: Asked| asked.page(JOURNAL, Some(("state", "firing", "resolved")));
    list(page, |lists| &lists.alerts, |row| cursor(JOURNAL, row.id), wire::alerts)
}

pub(super) fn runs() -> MethodRouter<Arc<Shared>> {
    let page = |asked: Asked| asked.page(RUNS, Some(("state", "running", "ended")));
    list(page, |lists| &lists.runs, |row| cursor(RUNS, row.id), wire::runs)
}

pub(super) fn leftovers() -> MethodRouter<Arc<Shared>> {
    let page = |asked: Asked| asked.page(LEFTOVERS, Some(("state", "running", "ended")));
    list(page, |lists| &lists.leftovers, |row| cursor(LEFTOVERS, row.id), wire::leftovers)
}

/// The route of a list: `page` says what is asked for, `look` where it is looked up, and `cursor` where the page after a
/// row begins.
fn list<P: Send + 'static, R: 'static>(
    page: fn(Asked) -> Result<P, String>,
    look: fn(&Lists) -> &Look<P, Rows<R>>,
    cursor: fn(&R) -> String,
    render: fn(&[R], Option<String>) -> Vec<u8>,
) -> MethodRouter<Arc<Shared>> {
    let answer = async move |State(shared): State<Arc<Shared>>,
                             asked: Result<Query<Asked>, QueryRejection>,
                             headers: HeaderMap|
                -> Result<Response, Problem> {
        let Query(asked) = asked?;
        let page = page(asked).map_err(Problem::bad_request)?;
        let look = Arc::clone(look(&shared.sources.lists));
        let text = shared.answers.look_up("a list", move || {
            let Rows { rows, more } = look(&page)?;
            Ok(render(&rows, rows.last().filter(|_| more).map(cursor)))
        });
        shared.answers.json_unless_known(&headers, text.await?)
    };
    get(answer)
}

/// What a list is asked with. An empty value is as good as none.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Asked {
    agent: String,
    r#type: String,
    resolved: String,
    state: String,
    limit: String,
    before: String,
}

/// The filter of a list that tells what is open, and its words for open and for not.
type OpenFilter = Option<(&'static str, &'static str, &'static str)>;

impl Asked {
    fn page(self, sequence: char, open: OpenFilter) -> Result<Page, String> {
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
        Ok(Page {
            agent: self.agent()?,
            open: is_open,
            before: self.before(|text| place(sequence, text))?,
            limit: self.limit()?,
            kind: self.kind(),
        })
    }

    fn group_page(self) -> Result<GroupPage, String> {
        let states = match (&*self.state, &*self.resolved) {
            ("", "") => Vec::new(),
            ("", "false") => vec![GroupState::Open, GroupState::Regressed],
            ("", "true") => vec![GroupState::Resolved],
            ("", _) => return Err("resolved is false or true".to_owned()),
            (word, "") => match GroupState::ALL.into_iter().find(|state| state.word() == word) {
                Some(state) => vec![state],
                None => return Err("state is open, resolved or regressed".to_owned()),
            },
            _ => return Err("give state or resolved, not both".to_owned()),
        };
        Ok(GroupPage {
            agent: self.agent()?,
            error_type: self.kind(),
            states,
            before: self.before(group_place)?,
            limit: self.limit()?,
        })
    }

    fn agent(&self) -> Result<Option<AgentId>, String> {
        match &*self.agent {
            "" => Ok(None),
            text => AgentId::new(text).map(Some).map_err(|error| format!("agent: {error}")),
        }
    }

    fn kind(&self) -> Option<Arc<str>> {
        (!self.r#type.is_empty()).then(|| self.r#type.as_str().into())
    }

    /// How many rows are shown.
    fn limit(&self) -> Result<u32, String> {
        match &*self.limit {
            "" => Ok(LIMIT.0),
            text => match text.parse() {
                Ok(number @ 1..) => Ok(LIMIT.1.min(number)),
                // However large.
                Err(error) if *error.kind() == IntErrorKind::PosOverflow => Ok(LIMIT.1),
                Ok(0) | Err(_) => Err(format!("limit is a number from 1 to {}", LIMIT.1)),
            },
        }
    }

    /// The place from which the answer goes on.
    fn before<T>(&self, place: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, String> {
        match &*self.before {
            "" => Ok(None),
            text => {
                let found = place(text).ok_or("before is `next` of another answer of this list, as it was")?;
                Ok(Some(found))
            }
        }
    }
}

fn line(recorded: &Recorded) -> i64 {
    recorded.id.expect("what is in the database has an id")
}

fn cursor(sequence: char, id: i64) -> String {
    format!("{sequence}{id:x}")
}

fn place(sequence: char, cursor: &str) -> Option<i64> {
    hex(cursor.strip_prefix(sequence)?)
}

/// When a problem was seen last, and which it was: a problem that is seen again moves to the front.
fn group_cursor(group: &ErrorGroup) -> String {
    format!("{GROUPS}{:x}-{:x}", group.last_seen.unix_ms(), group.id)
}

fn group_place(cursor: &str) -> Option<(Timestamp, i64)> {
    let (at, id) = cursor.strip_prefix(GROUPS)?.split_once('-')?;
    Some((Timestamp::from_unix_ms(hex(at)?), hex(id)?))
}

/// A number in hexadecimal digits, without a sign.
fn hex(digits: &str) -> Option<i64> {
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
        assert_eq!(group_place("g19b0-1f"), Some((Timestamp::from_unix_ms(0x19b0), 31)));
        for text in
            ["", "g", "g1", "g-", "g1-", "g-1", "g+1-1", "g1--1", "j1-1", "g1-1 ", "gx-1", "gffffffffffffffff-1"]
        {
            assert_eq!(group_place(text), None, "{text}");
        }
    }
}
