//! What the routes answer.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use agent_monitor::api::Sources;
use agent_monitor::model::*;
use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::world::*;

const DASHBOARD: &str = "/api/monitoring/dashboard";
const AGENTS: &str = "/api/monitoring/agents";

#[test]
fn dashboard() {
    let server = Server::start(sources());
    let answer = server.get(DASHBOARD);
    assert_snapshot!("dashboard", answer.shown());
    assert!(answer.body.starts_with(r#"{"agents":[{"agentId":"coder-1","name":"Coder","source":"#), "{}", answer.body);
    assert_eq!(server.ask_socket("GET", DASHBOARD, "whatever").body, answer.body);
}

#[test]
fn agent() {
    let server = Server::start(sources());
    assert_snapshot!("agent", server.get("/api/monitoring/agents/coder-1").shown());
}

#[test]
fn a_directory_that_hangs_costs_the_names_of_accounts_and_nothing_else() {
    let (release, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let user_name = Arc::new(move |_| {
        let _ = gate.lock().unwrap().recv();
        None
    });
    let server = Server::start(Sources { user_name, ..sources() });
    let _release = release; // before the server, which waits for what it began
    // More often than answers are made at once.
    for _ in 0..4 {
        let answer = server.get("/api/monitoring/agents/coder-1");
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json()["processes"][0]["user"], "0");
    }
    assert_eq!(server.get("/metrics").status, 200);
}

#[test]
fn an_agent_that_is_gone_can_still_be_read() {
    let gone = |source: &'static str| Sources {
        inspect: Arc::new(|_, answer| answer.send(None)),
        agent: Arc::new(move |_| {
            let mut kept = history();
            kept.agent.source = source.into();
            Ok(Some(kept))
        }),
        ..sources()
    };
    let one = Server::start(gone("file:/agents.json")).get("/api/monitoring/agents/coder-1");
    let shape = one.json();
    assert_eq!((&shape["status"], &shape["state"]), (&json!("offline"), &json!("no_pid")));
    assert_eq!((&shape["pid"], &shape["registryStatus"]), (&Value::Null, &Value::Null));
    assert_eq!(shape["stateReason"], "no longer registered");
    assert_eq!((&shape["latest"]["errorCount"], &shape["latest"]["cpuPercent"]), (&json!(2), &Value::Null));
    assert_eq!((&shape["processes"], &shape["leftovers"]), (&json!([]), &json!([])));
    assert_eq!(shape["runs"].as_array().unwrap().len(), 4);

    let other = Server::start(gone("unregistered")).get("/api/monitoring/agents/coder-1").json();
    assert_eq!((&other["status"], &other["stateReason"]), (&json!("unknown"), &Value::Null));
}

#[test]
fn watching_and_history_go_on_without_each_other() {
    let no_history = || Sources { agent: Arc::new(|_| Err("disk I/O error".into())), ..sources() };
    let no_heart = || Sources { inspect: Arc::new(|_, unanswered| drop(unanswered)), ..sources() };
    let lists = |answer: &Answer| {
        let shape = answer.json();
        ["metrics", "events", "errors", "runs", "host", "processes", "leftovers"]
            .map(|list| shape[list].as_array().map(Vec::len))
    };

    let answer = Server::start(no_history()).get("/api/monitoring/agents/coder-1");
    assert_eq!((answer.status, lists(&answer)), (200, [None, None, None, None, None, Some(3), Some(1)]));
    let answer = Server::start(no_heart()).get("/api/monitoring/agents/coder-1");
    assert_eq!((answer.status, lists(&answer)), (200, [Some(2), Some(1), Some(2), Some(4), Some(4), None, None]));
    assert_eq!(answer.json()["pid"], 4242, "from the snapshot");

    // Seen a moment ago, not stored yet: its lists are known to be empty.
    let new = Sources { agent: Arc::new(|_| Ok(None)), ..sources() };
    let answer = Server::start(new).get("/api/monitoring/agents/coder-1");
    assert_eq!(lists(&answer), [Some(0), Some(0), Some(0), Some(0), Some(0), Some(3), Some(1)]);

    // An agent that is not listed may exist or not: only the one who did not answer knows.
    assert_eq!(Server::start(no_history()).get("/api/monitoring/agents/other").status, 503);
    let answer = Server::start(no_heart()).get("/api/monitoring/agents/other");
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    let neither = Sources { agent: no_history().agent, ..no_heart() };
    let answer = Server::start(neither).get("/api/monitoring/agents/coder-1");
    assert_eq!((answer.status, lists(&answer)), (200, [None; 7]));
}

#[test]
fn what_is_not_known_is_null() {
    let mut bare = snapshot();
    bare.host = HostReading::default();
    let server = Server::start(Sources { feed: feed(bare), ..sources() });
    let shape = server.get(DASHBOARD).json();
    let expected = json!({"cpuUsage": null, "totalMemory": null, "freeMemory": null, "uptime": null, "cpuCount": null});
    assert_eq!(shape["systemMetrics"], expected);
    let agent = &shape["agents"][1];
    for key in ["name", "registryStatus", "stateReason", "pid", "startedAt"] {
        assert_eq!(agent.as_object().unwrap()[key], Value::Null, "{key}");
    }
    let resources =
        ["cpuPercent", "memoryMb", "processCount", "threadCount", "cpuSeconds", "readBytes", "writtenBytes"];
    for key in resources.iter().chain(&["messageCount"]) {
        assert_eq!(agent["metrics"].as_object().unwrap()[*key], Value::Null, "{key}");
    }
    assert_eq!(agent["metrics"]["errorCount"], 0, "a count that is known");
    assert_eq!(shape["recentEvents"][1].as_object().unwrap()["id"], Value::Null, "not stored");
    assert_eq!(shape["recentEvents"][1].as_object().unwrap()["agent_id"], Value::Null, "the daemon's own");
    assert_eq!(shape["alerts"][1].as_object().unwrap()["value"], Value::Null);
}

#[test]
fn numbers_that_json_has_no_word_for_are_null() {
    let mut odd = snapshot();
    for (place, cpu_percent) in [(0, f64::NAN), (1, -0.01)] {
        let mut agent = AgentView::clone(&odd.agents[place]);
        agent.metrics.cpu_percent = Some(cpu_percent);
        odd.agents = replaced(&odd, place, agent);
    }
    let shape = Server::start(Sources { feed: feed(odd), ..sources() }).get(DASHBOARD);
    assert_eq!(shape.json()["agents"][0]["metrics"]["cpuPercent"], Value::Null);
    assert!(!shape.body.contains(":-"), "{}", shape.body);
}

#[test]
fn lists_can_be_filtered() {
    let server = Server::start(sources());
    let table: &[(&str, &[&str])] = &[
        ("", &["coder-1", "a/b <c>"]),
        ("?status=&q=", &["coder-1", "a/b <c>"]),
        ("?status=working", &["coder-1"]),
        ("?status=Working", &[]),
        ("?status=unknown", &["a/b <c>"]),
        ("?q=CODER", &["coder-1"]),
        ("?q=%3Cc", &["a/b <c>"]),
        ("?q=b+%3C", &["a/b <c>"]),
        ("?q=zzz", &[]),
        ("?q=coder&status=unknown", &[]),
        ("?other=1", &["coder-1", "a/b <c>"]),
    ];
    for (query, expected) in table {
        let shape = server.get(&format!("{AGENTS}{query}")).json();
        let ids: Vec<&str> =
            shape["agents"].as_array().unwrap().iter().map(|a| a["agentId"].as_str().unwrap()).collect();
        assert_eq!(&ids, expected, "{query}");
    }
    assert_eq!(server.get(AGENTS).json()["agents"], server.get(DASHBOARD).json()["agents"]);
    assert_eq!(server.get(&format!("{AGENTS}?q=a&q=b")).status, 400);
}

#[test]
fn problems() {
    let server = Server::start(sources());
    assert_snapshot!("not_found", server.get("/api/monitoring/agents/nobody").shown());
    let table = [
        ("/nothing/here", 404),
        ("/api/monitoring/dashboard/", 404),
        ("/page/../Cargo.toml", 404),
        ("/page/%2e%2e/%2e%2e/etc/passwd", 404),
        ("/%ZZ", 404),
        ("/api/monitoring/agents/%ZZ", 400),
        ("/api/monitoring/agents/%FF", 400),
        ("/api/monitoring/agents/%00", 400),
        ("/api/monitoring/agents/a%0Ab", 400),
        ("/api/monitoring/agents/%C2%85", 400),
        ("/api/monitoring/agents/", 400),
        ("/api/monitoring/agents/a/b", 404),
        ("/agents/%ZZ", 400),
        ("/agents/", 400),
    ];
    for (target, status) in table {
        let answer = server.get(target);
        assert_eq!(answer.status, status, "{target}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{target}");
        let shape = answer.json();
        assert_eq!((&shape["status"], &shape["success"]), (&json!(status), &json!(false)), "{target}");
        assert_eq!(shape["error"], shape["detail"], "{target}");
    }
    let longest = "é".repeat(64);
    assert_eq!(server.get(&format!("{AGENTS}/{}", longest.replace('é', "%C3%A9"))).status, 404);
    assert_eq!(server.get(&format!("{AGENTS}/{}x", longest.replace('é', "%C3%A9"))).status, 400);
    assert_eq!(server.get(&format!("{AGENTS}/{}", "x".repeat(10_000))).status, 400);
}

#[test]
fn an_id_may_hold_a_slash() {
    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let agent = Arc::new(move |id: &AgentId| {
        seen.lock().unwrap().push(id.to_string());
        Ok(None)
    });
    let server = Server::start(Sources { agent, ..sources() });
    for segment in ["a%2Fb", "%2e%2e%2Fx", "agents", "%25"] {
        assert_eq!(server.get(&format!("{AGENTS}/{segment}")).status, 404);
    }
    assert_eq!(*asked.lock().unwrap(), ["a/b", "../x", "agents", "%"]);
}

#[test]
fn readiness() {
    let ticked_ago = |age: Duration| {
        let clock = Arc::new(clock());
        clock.advance(age);
        Sources { clock, ..sources() }
    };
    let server = Server::start(sources());
    assert_snapshot!("ready", server.get("/readyz").shown());
    assert_eq!(server.get("/healthz").body, r#"{"status":"ok"}"#);

    let in_time = ticked_ago(Duration::from_secs(30));
    assert_eq!(Server::start(in_time).get("/readyz").json()["status"], "ready");
    let late = Server::start(ticked_ago(Duration::from_millis(30_001)));
    assert_snapshot!("not_ready", late.get("/readyz").shown());
    assert_eq!(late.get("/healthz").status, 200);

    // Whoever sets the wall clock changes nothing.
    let steps = Arc::new(clock());
    let server = Server::start(Sources { clock: steps.clone(), ..sources() });
    for wall in [0, 4_000_000_000_000] {
        steps.set_wall(Timestamp::from_unix_ms(wall));
        assert_eq!(server.get("/readyz").json()["status"], "ready");
    }

    let mut before = snapshot();
    before.own = OwnState::default();
    assert_eq!(Server::start(Sources { feed: feed(before), ..sources() }).get("/readyz").status, 503);
}

#[test]
fn trouble_elsewhere_only_degrades() {
    let mut stale = snapshot();
    stale.own.sources[0].error = Some("connection refused".into());
    let storage = Arc::new(|| Err("database or disk is full".into()));
    let server = Server::start(Sources { feed: feed(stale), storage, ..sources() });
    assert_snapshot!("degraded", server.get("/readyz").shown());
}

#[test]
fn head_is_get_without_the_body() {
    let server = Server::start(sources());
    for target in
        [DASHBOARD, AGENTS, "/api/monitoring/agents/coder-1", "/healthz", "/readyz", "/", "/page/page.js", "/x"]
    {
        let (get, head) = (server.get(target), server.ask("HEAD", target, &[]));
        assert_eq!((head.status, head.body.as_str()), (get.status, ""), "{target}");
        let but_date = |answer: &Answer| -> Vec<(String, String)> {
            answer.headers.iter().filter(|(name, _)| name != "date").cloned().collect()
        };
        assert_eq!(but_date(&head), but_date(&get), "{target}");
        assert_eq!(get.header("content-length").unwrap(), get.body.len().to_string(), "{target}");
    }
    let refused = server.raw(&head("HEAD", "/", "evil.com", &[]));
    assert_eq!((refused.status, refused.body.as_str()), (403, ""));
}

#[test]
fn an_unchanged_document_is_not_sent_again() {
    let sources = sources();
    let feed = sources.feed.clone();
    let server = Server::start(sources);
    for target in [DASHBOARD, AGENTS, "/api/monitoring/agents?q=coder"] {
        let first = server.get(target);
        let tag = first.header("etag").unwrap().to_owned();
        assert_eq!(first.header("cache-control"), Some("private, no-cache"));
        let again = server.ask("GET", target, &[&format!("If-None-Match: {tag}")]);
        assert_eq!((again.status, again.body.as_str(), again.header("etag")), (304, "", Some(tag.as_str())));
        assert_eq!(server.ask("GET", target, &["If-None-Match: \"0-0\""]).status, 200);

        feed.recorded(&[event(Some(13), None, "something else")]);
        let changed = server.ask("GET", target, &[&format!("If-None-Match: {tag}")]);
        assert_eq!(changed.status, 200);
        assert_ne!(changed.header("etag"), Some(tag.as_str()));
    }
    assert_eq!(server.get(DASHBOARD).json()["recentEvents"].as_array().unwrap().len(), 5);
}

/// What is made for one who asks is not sent again either while it is the same: its tag is made of its bytes.
#[test]
fn an_unchanged_answer_is_not_sent_again() {
    let server = Server::start(sources());
    let lists = ["events", "errors", "error-groups", "alerts", "runs", "leftovers"];
    let lists = lists.map(|list| (format!("/api/monitoring/{list}"), format!("/api/monitoring/{list}?limit=2")));
    let agents = "/api/monitoring/agents/coder-1";
    let others = [
        (agents.to_owned(), format!("{agents}/history")),
        (format!("{agents}/history"), agents.to_owned()),
        ("/openapi.json".to_owned(), "/".to_owned()),
        ("/page/page.js".to_owned(), "/page/dom.js".to_owned()),
        ("/agents/coder-1".to_owned(), "/page/page.css".to_owned()),
    ];
    for (target, another) in lists.into_iter().chain(others) {
        let first = server.get(&target);
        let tag = first.header("etag").unwrap_or_else(|| panic!("{target} has no tag")).to_owned();
        assert_eq!(first.header("cache-control"), Some("private, no-cache"));
        let again = server.ask("GET", &target, &[&format!("If-None-Match: {tag}")]);
        assert_eq!(
            (again.status, again.body.as_str(), again.header("etag")),
            (304, "", Some(tag.as_str())),
            "{target}"
        );
        assert_eq!(server.ask("GET", &another, &[&format!("If-None-Match: {tag}")]).status, 200, "{another}");
        assert_eq!(server.get(&another).header("etag").unwrap().len(), tag.len());
        assert_ne!(server.get(&another).header("etag"), Some(tag.as_str()), "{another}");
    }
    assert_eq!(server.get("/agents/coder-1").header("etag"), server.get("/").header("etag"), "one page");
    for target in ["/healthz", "/metrics", "/api/monitoring/status", "/nothing"] {
        assert_eq!(server.get(target).header("etag"), None, "{target} is of the moment");
    }
}

#[test]
fn the_page_is_part_of_the_program() {
    let server = Server::start(sources());
    let page = server.get("/");
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(server.get("/agents/coder-1").body, page.body);
    for (target, kind) in [
        ("/page/page.js", "text/javascript; charset=utf-8"),
        ("/page/page.css", "text/css; charset=utf-8"),
        ("/page/icon.svg", "image/svg+xml"),
    ] {
        assert!(page.body.contains(&format!("\"{target}\"")) && page.body.contains("<noscript>"), "{target}");
        assert_eq!(server.get(target).header("content-type"), Some(kind));
    }
    // What the content security policy would forbid anyway. A namespace is a name, and is never asked for.
    let mut texts = vec![page.body.clone()];
    for module in ["page", "agent", "chart", "dom", "model", "overview", "stream", "table"] {
        let answer = server.get(&format!("/page/{module}.js"));
        assert_eq!(answer.header("content-type"), Some("text/javascript; charset=utf-8"));
        texts.push(answer.body.replace("http://www.w3.org/2000/svg", ""));
    }
    for forbidden in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "http:", "https:"] {
        assert!(texts.iter().all(|text| !text.contains(forbidden)), "{forbidden}");
    }
    assert!(!page.body.contains("<style") && !page.body.contains(" on") && !page.body.contains("style="));
}

#[test]
fn what_agents_call_themselves_stays_text() {
    let payloads =
        ["<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "</script><svg/onload=alert(1)>", "\\\"}]"];
    for payload in payloads {
        let mut hostile = snapshot();
        let mut agent = unknown(payload);
        agent.name = Some(payload.into());
        agent.state_reason = Some(payload.into());
        agent.metadata = JsonObject::parse(&json!({payload: payload}).to_string()).unwrap();
        hostile.agents = [agent.into()].into_iter().collect();
        let server = Server::start(Sources { feed: feed(hostile), ..sources() });
        let answer = server.get(DASHBOARD);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        let agent = &answer.json()["agents"][0];
        assert_eq!((&agent["agentId"], &agent["stateReason"]), (&json!(payload), &json!(payload)));
        assert_eq!(agent["metadata"][payload], payload);

        let escaped: String = payload.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let page = server.get(&format!("/agents/{escaped}"));
        assert_eq!(page.body, server.get("/").body, "the page holds nothing of the id");
        let missing = server.get(&format!("{AGENTS}/{escaped}"));
        assert_eq!(missing.header("content-type"), Some("application/problem+json"));
        assert!(!missing.body.contains(payload));
    }
}
