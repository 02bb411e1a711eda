//! One agent's past: what is asked, and the shape of the answer.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_monitor::api::{HistoryQuery, Sources};
use agent_monitor::model::*;
use insta::assert_snapshot;
use serde_json::json;

use crate::world::*;

const ROUTE: &str = "/api/monitoring/agents/coder-1/history";

#[test]
fn shape() {
    let server = Server::start(sources());
    assert_snapshot!("history", server.get(ROUTE).shown());
}

#[test]
fn questions_reach_the_database() {
    let asked = Arc::new(Mutex::new(None));
    let heard = Arc::clone(&asked);
    let history = Arc::new(move |query: &HistoryQuery| {
        *heard.lock().unwrap() = Some(query.clone());
        Ok(None)
    });
    let server = Server::start(Sources { history, ..sources() });
    let question = |query: &str| {
        assert_eq!(server.get(&format!("{ROUTE}{query}")).status, 200, "{query}");
        asked.lock().unwrap().take().unwrap()
    };
    let auto = Step::Auto { interval: Duration::from_secs(10) };
    let hour = Duration::from_secs(3600);
    let last_hour = HistoryQuery { agent: id("coder-1"), from: NEW_YEAR - hour, to: NEW_YEAR, step: auto };
    assert_eq!(question(""), last_hour);
    assert_eq!(question("?from=&to=&step=auto&other=1"), last_hour);
    let step = Step::Exactly(Duration::from_secs(30));
    let from = NEW_YEAR - Duration::from_secs(900);
    assert_eq!(question("?from=-15m&to=now&step=30s"), HistoryQuery { from, step, ..last_hour.clone() });
    let (from, to) = (Timestamp::from_unix_ms(0), Timestamp::from_unix_ms(1_500));
    assert_eq!(question("?from=0&to=1970-01-01T01:00:01.500%2B01:00"), HistoryQuery { from, to, ..last_hour });
}

#[test]
fn what_is_no_question_is_refused() {
    let server = Server::start(sources());
    for (query, status) in [
        ("?from=yesterday", 400),
        ("?to=-", 400),
        ("?step=0s", 400),
        ("?step=1", 400),
        ("?from=1&from=2", 400),
        ("?from=now&to=now", 422),
        ("?from=now&to=-1s", 422),
    ] {
        let answer = server.get(&format!("{ROUTE}{query}"));
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (status, Some("application/problem+json")),
            "{query}"
        );
    }
}

#[test]
fn an_agent_is_known_or_not() {
    let server = Server::start(Sources { history: Arc::new(|_| Ok(None)), ..sources() });
    assert_eq!(server.get("/api/monitoring/agents/nobody/history").status, 404);
    assert_eq!(server.get("/api/monitoring/agents/%00/history").status, 400);
    let young = server.get(ROUTE);
    assert_eq!((young.status, &young.json()["t"]), (200, &json!([])), "in the lists, not in the database yet");
    let server = Server::start(Sources { history: Arc::new(|_| Err("disk I/O error".into())), ..sources() });
    assert_eq!(server.get(ROUTE).status, 503);
}
