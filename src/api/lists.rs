//! Lists of everyone's events, errors, alerts, runs and leftovers: filtered, newest first, a page at a time.

use std::num::IntErrorKind;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;

use super::error::Problem;
use super::render::Stock;
use super::routes::Shared;
use super::{Look, wire};
use crate::model::{AgentId, Page, Recorded, Rows};

/// Rows of one answer, where the question names no number, and at most.
const LIMIT: (u32, u32) = (50, 500);

/// Who is answered.
#[derive(Clone, Copy)]
pub(super) struct Client<'a> {
    headers: &'a HeaderMap,
    stock: &'a Stock,
}

impl<'a> Client<'a> {
    pub(super) fn new(shared: &'a Shared, headers: &'a HeaderMap) -> Client<'a> {
        Client { headers, stock: &shared.stock }
    }
}

/// What a list is asked with. An empty value is as good as none.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Asked {
    agent: String,
    r#type: String,
    pub(super) resolved: String,
    pub(super) state: String,
    limit: String,
    before: String,
}

pub(super) type Question = Result<Query<Asked>, QueryRejection>;

pub(super) async fn events(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    asked: Question,
) -> Result<Response, Problem> {
    list(Client::new(&shared, &headers), asked, None, JOURNAL, &shared.sources.lists.events, line, wire::events).await
}

pub(super) async fn errors(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    asked: Question,
) -> Result<Response, Problem> {
    let open = Some(("resolved", "false", "true"));
    list(
        Client::new(&shared, &headers),
        asked,
        open,
        JOURNAL,
        &shared.sources.lists.errors,
        |told| line(&told.recorded),
        wire::errors,
    )
    .await
}

pub(super) async fn alerts(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    asked: Question,
) -> Result<Response, Problem> {
    let open = Some(("state", "firing", "resolved"));
    list(
        Client::new(&shared, &headers),
        asked,
        open,
        JOURNAL,
        &shared.sources.lists.alerts,
        |episode| episode.id,
        wire::alerts,
    )
    .await
}

pub(super) async fn runs(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    asked: Question,
) -> Result<Response, Problem> {
    let open = Some(("state", "running", "ended"));
    list(Client::new(&shared, &headers), asked, open, RUNS, &shared.sources.lists.runs, |listed| listed.id, wire::runs)
        .await
}

pub(super) async fn leftovers(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    asked: Question,
) -> Result<Response, Problem> {
    let open = Some(("state", "running", "ended"));
    list(
        Client::new(&shared, &headers),
        asked,
        open,
        LEFTOVERS,
        &shared.sources.lists.leftovers,
        |listed| listed.id,
        wire::leftovers,
    )
    .await
}

/// What cursors of these lists begin with: places in one sequence mean nothing in another.
const JOURNAL: char = 'j';
const RUNS: char = 'r';
const LEFTOVERS: char = 'l';

fn line(recorded: &Recorded) -> i64 {
    recorded.id.expect("what is in the database has an id")
}

/// The filter of a list that tells what is open, and its words for open and for not.
type OpenFilter = Option<(&'static str, &'static str, &'static str)>;

async fn list<R: Send + 'static>(
    client: Client<'_>,
    asked: Question,
    open: OpenFilter,
    sequence: char,
    look: &Look<Page, Rows<R>>,
    id: fn(&R) -> i64,
    render: fn(&[R], Option<String>) -> Vec<u8>,
) -> Result<Response, Problem> {
    let Query(asked) = asked.map_err(|rejection| Problem::bad_request(rejection.body_text()))?;
    let page = asked.page(open, sequence).map_err(Problem::bad_request)?;
    answer(client, page, look, move |row| cursor(sequence, id(row)), render).await
}

/// A page of a list.
pub(super) async fn answer<P: Send + 'static, R: Send + 'static>(
    client: Client<'_>,
    page: P,
    look: &Look<P, Rows<R>>,
    cursor: impl Fn(&R) -> String + Send + 'static,
    render: fn(&[R], Option<String>) -> Vec<u8>,
) -> Result<Response, Problem> {
    let look = Arc::clone(look);
    let text = client.stock.look_up("a list", move || {
        let Rows { rows, more } = look(&page)?;
        Ok(render(&rows, rows.last().filter(|_| more).map(cursor)))
    });
    client.stock.json_unless_known(client.headers, text.await?)
}

impl Asked {
    fn page(self, open: OpenFilter, sequence: char) -> Result<Page, String> {
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

    pub(super) fn agent(&self) -> Result<Option<AgentId>, String> {
        match &*self.agent {
            "" => Ok(None),
            text => AgentId::new(text).map(Some).map_err(|error| format!("agent: {error}")),
        }
    }

    pub(super) fn kind(&self) -> Option<Arc<str>> {
        (!self.r#type.is_empty()).then(|| self.r#type.as_str().into())
    }

    /// How many rows are shown.
    pub(super) fn limit(&self) -> Result<u32, String> {
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
    pub(super) fn before<T>(&self, place: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, String> {
        match &*self.before {
            "" => Ok(None),
            text => {
                let found = place(text).ok_or("before is `next` of another answer of this list, as it was")?;
                Ok(Some(found))
            }
        }
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
