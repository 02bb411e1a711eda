//! Lists of everyone's rows, and the daemon about itself.

use std::sync::{Arc, Mutex};

use agent_monitor::api::{Lists, Reloads, Sources};
use agent_monitor::model::*;
use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::world::*;

const LISTS: [&str; 5] = ["events", "errors", "alerts", "runs", "leftovers"];

#[test]
fn shapes() {
    let server = Server::start(sources());
    for list in LISTS {
        let answer = server.get(&format!("/api/monitoring/{list}?limit=2"));
        assert_snapshot!(list, answer.shown());
    }
}

#[test]
fn pages_follow_next() {
    let server = Server::start(sources());
    for list in LISTS {
        let (mut lengths, mut next) = (Vec::new(), String::new());
        loop {
            let page = server.get(&format!("/api/monitoring/{list}?limit=3&before={next}")).json();
            lengths.push(page["items"].as_array().unwrap().len());
            let Some(cursor) = page["next"].as_str() else { break };
            next = cursor.to_owned();
        }
        assert_eq!(lengths, [3, 3, 1], "{list}");
    }
    // A last page that is full is known to be the last.
    let page = server.get("/api/monitoring/events?limit=7").json();
    assert_eq!((page["items"].as_array().unwrap().len(), &page["next"]), (7, &Value::Null));
}

/// A server that remembers what the list of errors was asked with.
fn listening() -> (Server, Arc<Mutex<Option<Page>>>) {
    let asked = Arc::new(Mutex::new(None));
    let heard = Arc::clone(&asked);
    let errors = Arc::new(move |page: &Page| {
        *heard.lock().unwrap() = Some(page.clone());
        Ok(Rows { rows: Vec::new(), more: false })
    });
    let whole = sources();
    let lists = Lists { errors, ..whole.lists };
    (Server::start(Sources { lists, ..whole }), asked)
}

/// Where rows are long there are fewer than were asked for, and the next page goes on behind them.
#[test]
fn a_page_may_be_short_and_not_the_last() {
    let events = Arc::new(move |page: &Page| {
        let first = page.before.map_or(5, |before| before - 1);
        let rows = (1..=first).rev().take(2).map(|id| event(Some(id), Some("coder-1"), "long")).collect();
        Ok(Rows { rows, more: first > 2 })
    });
    let Sources { lists, .. } = sources();
    let server = Server::start(Sources { lists: Lists { events, ..lists }, ..sources() });
    let (mut pages, mut next) = (Vec::new(), String::new());
    loop {
        let page = server.get(&format!("/api/monitoring/events?limit=500{next}")).json();
        let ids = page["items"].as_array().unwrap().iter().map(|item| item["id"].as_i64().unwrap());
        pages.push(ids.collect::<Vec<_>>());
        let Some(cursor) = page["next"].as_str() else { break };
        next = format!("&before={cursor}");
    }
    assert_eq!(pages, [vec![5, 4], vec![3, 2], vec![1]]);
}

#[test]
fn filters_reach_the_database() {
    let (server, asked) = listening();
    let page = |query: &str| {
        let answer = server.get(&format!("/api/monitoring/errors{query}"));
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.json(), json!({"items": [], "next": null}));
        asked.lock().unwrap().take().unwrap()
    };
    let none = Page { limit: 50, ..Page::default() };
    assert_eq!(page(""), none);
    assert_eq!(page("?agent=&type=&resolved=&state=&limit=&before=&other=1"), none);
    let agent = Some(id("a/b é"));
    assert_eq!(page("?agent=a%2Fb+%C3%A9"), Page { agent, ..none.clone() });
    assert_eq!(page("?type=TypeError"), Page { kind: Some("TypeError".into()), ..none.clone() });
    assert_eq!(page("?resolved=false"), Page { open: Some(true), ..none.clone() });
    assert_eq!(page("?resolved=true"), Page { open: Some(false), ..none.clone() });
    assert_eq!(page("?limit=1&before=jff"), Page { before: Some(255), limit: 1, ..none.clone() });
    assert_eq!(page("?limit=4000000000"), Page { limit: 500, ..none.clone() });
    assert_eq!(page("?limit=99999999999999999999"), Page { limit: 500, ..none });
}

#[test]
fn what_is_no_question_is_refused() {
    let server = Server::start(sources());
    for (target, word) in [
        ("events?limit=0", "limit"),
        ("events?limit=-1", "limit"),
        ("events?limit=many", "limit"),
        ("events?before=17", "before"),
        ("events?before=r7", "before"),
        ("runs?before=j7", "before"),
        ("events?agent=%00", "agent"),
        ("events?resolved=true", "resolved"),
        ("errors?resolved=maybe", "resolved is false or true"),
        ("errors?state=firing", "state"),
        ("alerts?state=pending", "state is firing or resolved"),
        ("runs?state=firing", "state is running or ended"),
        ("leftovers?before=r7", "before"),
        ("leftovers?state=open", "state is running or ended"),
        ("events?limit=1&limit=2", "limit"),
    ] {
        let answer = server.get(&format!("/api/monitoring/{target}"));
        assert_eq!(answer.status, 400, "{target}: {}", answer.body);
        assert!(answer.json()["detail"].as_str().unwrap().contains(word), "{target}: {}", answer.body);
    }
    for list in LISTS {
        let answer = server.ask("POST", &format!("/api/monitoring/{list}"), &[]);
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")));
    }
}

#[test]
fn a_database_that_cannot_be_read_is_503() {
    let whole = sources();
    let lists = Lists { events: Arc::new(|_| Err("disk I/O error".into())), ..whole.lists };
    let answer = Server::start(Sources { lists, ..whole }).get("/api/monitoring/events");
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert!(!answer.body.contains("disk I/O"), "{}", answer.body);
}

/// The answer, whichever version gave it.
fn shown(server: &Server) -> String {
    server.get("/api/monitoring/status").shown().replace(env!("CARGO_PKG_VERSION"), "VERSION")
}

#[test]
fn status() {
    let server = Server::start(sources());
    assert_snapshot!("status", shown(&server));
}

#[test]
fn status_of_one_in_trouble() {
    let mut late = snapshot();
    let pss = PssCounts { denied: 11, failed: 12, overdue: 13 };
    late.own = OwnState { ticks_skipped: 8, read_errors: 9, reads_denied: 10, events_lost: 11, pss, ..late.own };
    late.own.sources[0] = SourceState {
        error: Some("cannot connect: refused".into()),
        failing_since: Some(NEW_YEAR),
        skipped: 3,
        ..late.own.sources[0].clone()
    };
    let never = SourceState { name: "match:x".into(), good_at: None, error: None, ..late.own.sources[0].clone() };
    late.own.sources.push(SourceState { failing_since: None, records: 0, skipped: 0, ..never });
    let reloads = Reloads {
        done: 1,
        failed: 2,
        last_at: Some(after(6)),
        error: Some("bad.toml: 1 problem".into()),
        need_restart: vec!["api.listen"],
    };
    let server = Server::start(Sources {
        feed: feed(late),
        storage: Arc::new(|| Err("disk full".into())),
        own: Arc::new(move || agent_monitor::api::OwnFacts {
            memory_bytes: None,
            log_lines_dropped: None,
            reloads: reloads.clone(),
            ..own()
        }),
        ..sources()
    });
    assert_eq!(server.ask("GET", "/", &["Origin: http://evil.example"]).status, 403);
    assert_snapshot!("status_in_trouble", shown(&server));
}
