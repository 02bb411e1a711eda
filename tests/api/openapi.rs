//! The description of the endpoint, held to what it answers.

use std::collections::BTreeSet;
use std::sync::Arc;

use agent_monitor::api::{Guard, Limits, Sources};
use agent_monitor::clock::ManualClock;
use agent_monitor::model::*;
use boon::{Compiler, Schemas};
use serde_json::{Map, Value};

use crate::listeners::{self, Events, Socket};
use crate::world::*;

const NAME: &str = "http://localhost/openapi.json";

fn description() -> Value {
    let answer = Server::start(sources()).get("/openapi.json");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    answer.json()
}

/// Says no to members that are not described, which a client must not.
fn strict(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if map.contains_key("properties") {
                map.insert("additionalProperties".into(), false.into());
            }
            map.values_mut().for_each(strict);
        }
        Value::Array(list) => list.iter_mut().for_each(strict),
        _ => {}
    }
}

/// Judges documents by the schemas of the description.
struct Judge {
    schemas: Schemas,
    compiler: Compiler,
}

impl Judge {
    fn new() -> Judge {
        let mut document = description();
        strict(&mut document);
        let mut compiler = Compiler::new();
        compiler.enable_format_assertions();
        compiler.add_resource(NAME, document).unwrap();
        Judge { schemas: Schemas::new(), compiler }
    }

    fn objection(&mut self, schema: &str, document: &Value) -> Option<String> {
        let place = format!("{NAME}#/components/schemas/{schema}");
        let index = self.compiler.compile(&place, &mut self.schemas).unwrap();
        self.schemas.validate(document, index).err().map(|error| format!("{schema}: {error:#}\n{document:#}"))
    }
}

/// One of each kind of answer there is.
fn answers(server: &Server) -> Vec<(&'static str, Answer)> {
    let list = |name: &str| server.get(&format!("/api/monitoring/{name}?limit=7"));
    vec![
        ("Dashboard", server.get("/api/monitoring/dashboard")),
        ("Agents", server.get("/api/monitoring/agents")),
        ("AgentPage", server.get("/api/monitoring/agents/coder-1")),
        ("History", server.get("/api/monitoring/agents/coder-1/history")),
        ("EventList", list("events")),
        ("ErrorList", list("errors")),
        ("ErrorGroupList", list("error-groups")),
        ("AlertList", list("alerts")),
        ("RunList", list("runs")),
        ("LeftoverList", list("leftovers")),
        ("Status", server.get("/api/monitoring/status")),
        ("Health", server.get("/healthz")),
        ("Ready", server.get("/readyz")),
        ("Problem", server.get("/nothing")),
        ("Problem", server.get("/api/monitoring/stream?after=x")),
        ("Problem", server.get("/api/monitoring/ws")),
        ("Problem", server.ask("POST", "/", &[])),
        ("Problem", server.ask("GET", "/", &["Origin: null"])),
    ]
}

#[test]
fn answers_are_as_described() {
    let mut judge = Judge::new();
    let server = Server::start(sources());
    for (schema, answer) in answers(&server) {
        assert_eq!(judge.objection(schema, &answer.json()), None);
    }
    // Of one who knows nothing, and is late.
    let mut bare = snapshot();
    bare.host = HostReading::default();
    bare.own = OwnState::default();
    let unheard = Sources {
        feed: feed(bare),
        clock: Arc::new(ManualClock::new(NEW_YEAR)),
        agent: Arc::new(|_| Err("disk".into())),
        inspect: Arc::new(|_, unanswered| drop(unanswered)),
        ..sources()
    };
    let server = Server::with(unheard, Limits::default(), Guard::new(&[], None));
    for (schema, target) in [
        ("Dashboard", "/api/monitoring/dashboard"),
        ("AgentPage", "/api/monitoring/agents/coder-1"),
        ("Status", "/api/monitoring/status"),
        ("Problem", "/readyz"),
    ] {
        assert_eq!(judge.objection(schema, &server.get(target).json()), None);
    }
}

#[test]
fn streams_are_as_described() {
    let mut judge = Judge::new();
    let (server, feed) = listeners::server();
    let mut events = Events::open(&server, "?after=0", &[]);
    let mut socket = Socket::open(&server, "");
    listeners::until("it listens", || server.open_streams() == 2);
    listeners::all_happens(&feed);
    for _ in 0..15 {
        let (_, name, data) = events.message();
        let schema = match &*name {
            "hello" => "Hello",
            "metrics_update" => "MetricsUpdate",
            "event" => "Event",
            "agent_error" => "Error",
            "alert" => "Alert",
            other => panic!("{other}"),
        };
        assert_eq!(judge.objection(schema, &data), None);
    }
    for _ in 0..7 {
        assert_eq!(judge.objection("SocketMessage", &socket.message()), None);
    }
}

#[test]
fn the_judge_says_no() {
    let mut judge = Judge::new();
    let server = Server::start(sources());
    for (schema, answer) in answers(&server) {
        let whole = answer.json();
        let members: Map<String, Value> = whole.as_object().unwrap().clone();
        for name in members.keys() {
            let mut less = members.clone();
            less.remove(name);
            assert!(judge.objection(schema, &less.into()).is_some(), "{schema} without {name}");
        }
        let mut more = members;
        more.insert("unheard_of".into(), 1.into());
        assert!(judge.objection(schema, &more.into()).is_some(), "{schema} with more");
    }
}

/// Every route of the table is described, and nothing else is.
#[test]
fn every_route_is_described() {
    let described = description();
    let paths: BTreeSet<&str> = described["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    let table = concat!(
        include_str!("../../src/api/routes.rs"),
        include_str!("../../src/api/writes.rs"),
        include_str!("../../src/api/page.rs")
    );
    // Routes for an empty id only say that it is a bad one; files of the page are its own.
    let routes: BTreeSet<&str> = table
        .split(".route(\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .filter(|route| *route == "/" || !route.ends_with('/'))
        .filter(|route| !route.starts_with("/page/"))
        .collect();
    assert_eq!(routes, paths);
    assert_eq!(described["info"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(described["openapi"], "3.1.0");
}
