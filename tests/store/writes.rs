//! What comes from outside: once, in the right problem, until somebody deals with it.

use std::path::Path;
use std::time::Duration;

use agent_monitor::model::{
    AgentId, Batch, Body, ErrorReport, EventReport, GroupPage, GroupState, JsonObject, Resolve, StoredReport,
    Timestamp, Usage, Write,
};
use agent_monitor::monitor::{NotRecorded, Stored};
use agent_monitor::retention::Limits;
use agent_monitor::store::Op;

use crate::support::{Store, after, agent, ask, number, of_agent, stored, submit};

fn error(fingerprint: &str, message: &str) -> Body {
    Body::Error(ErrorReport {
        error_type: "TypeError".into(),
        message: message.into(),
        stack: Some("at main".into()),
        metadata: JsonObject::default(),
        fingerprint: Some(fingerprint.into()),
    })
}

fn event(message: &str) -> Body {
    let metadata = JsonObject::parse(r#"{"k":1}"#).unwrap();
    Body::Event(EventReport { event_type: "note".into(), message: message.into(), metadata })
}

fn told(n: u32, at: Timestamp, body: Body, client_id: Option<&str>) -> StoredReport {
    StoredReport {
        entry: of_agent(n, at, body),
        client_id: client_id.map(Into::into),
        uid: Some(1_000 + n),
        usage: Usage::default(),
    }
}

impl Store {
    fn write(&self, write: Write) -> Result<Stored, NotRecorded> {
        stored(submit(&self.handle, Batch { write: Some(Box::new(write)), ..Batch::default() }).unwrap())
    }

    fn tell(&self, told: StoredReport) -> Result<(i64, bool), NotRecorded> {
        let Stored { entries, duplicate } = self.write(Write::Report(told))?;
        Ok((entries[0].id.unwrap(), duplicate))
    }

    fn resolve(&self, what: Resolve, at: Timestamp) -> Result<(), NotRecorded> {
        self.write(Write::Resolve { what, at }).map(drop)
    }

    fn resolve_group(&self, fingerprint: &str, at: Timestamp) -> Result<(), NotRecorded> {
        self.resolve(Resolve::Group { fingerprint: fingerprint.into(), agent: None }, at)
    }

    /// State, count and unresolved of each problem, the one seen last first.
    fn groups(&self) -> Vec<(String, GroupState, u64, u64)> {
        let page = GroupPage { limit: 100, ..GroupPage::default() };
        let groups = self.reader.list_groups(&page).unwrap().rows.into_iter();
        groups.map(|group| (group.fingerprint.to_string(), group.state, group.count, group.unresolved)).collect()
    }

    /// The unresolved errors of agent 1 that were told last.
    fn unresolved_told(&self) -> Option<u64> {
        self.flush();
        let told: Vec<_> = self.told.try_iter().flat_map(|committed| committed.unresolved).collect();
        told.iter().rev().find(|(agent, _)| *agent == number(1)).map(|(_, count)| *count)
    }
}

/// A store that knows two agents.
fn store(directory: &Path) -> Store {
    let store = Store::start(directory);
    store.store(Batch { agents: vec![agent(1), agent(2)], ..Batch::default() }).unwrap();
    store
}

#[test]
fn a_problem_is_open_resolved_and_back() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    let tell = |at, message: &str| store.tell(told(1, after(at), error("f", message), None)).unwrap().0;
    let first = tell(10, "one");
    let usage = Usage { cpu_percent: Some(42.26), memory_bytes: Some(300 << 20) };
    store.tell(StoredReport { usage, ..told(1, after(20), error("f", "two"), None) }).unwrap();
    assert_eq!(store.groups(), [("f".to_owned(), GroupState::Open, 2, 2)]);
    assert_eq!(store.unresolved_told(), Some(2));
    let used = "select first_cpu_percent, first_memory_mb, last_cpu_percent, last_memory_mb from error_groups";
    assert_eq!(ask(directory.path(), used), ["null|null|42.3|300.0"]);

    store.resolve(Resolve::Error { id: first }, after(30)).unwrap();
    assert_eq!(store.groups(), [("f".to_owned(), GroupState::Open, 2, 1)], "one of two");
    assert_eq!(store.unresolved_told(), Some(1));
    store.resolve(Resolve::Error { id: first }, after(31)).unwrap();
    assert_eq!(store.groups(), [("f".to_owned(), GroupState::Open, 2, 1)], "again changes nothing");
    assert_eq!(store.unresolved_told(), None);

    store.resolve_group("f", after(40)).unwrap();
    assert_eq!(store.groups(), [("f".to_owned(), GroupState::Resolved, 2, 0)]);
    assert_eq!(store.unresolved_told(), Some(0));
    store.resolve_group("f", after(50)).unwrap();

    tell(39, "late news of the same");
    assert_eq!(store.groups(), [("f".to_owned(), GroupState::Resolved, 3, 0)], "dated before the resolve");
    tell(40, "back");
    assert_eq!(store.groups(), [("f".to_owned(), GroupState::Regressed, 4, 1)]);
    tell(35, "late again");
    assert_eq!(store.groups(), [("f".to_owned(), GroupState::Regressed, 5, 1)]);
    assert_eq!(store.unresolved_told(), Some(1));
    let rows = ask(directory.path(), "select message, resolved, fingerprint from error_logs order by id");
    assert_eq!(rows, ["one|1|f", "two|1|f", "late news of the same|1|f", "back|0|f", "late again|1|f"]);
    assert_eq!(
        ask(directory.path(), "select * from error_groups"),
        ["f|agent-1|TypeError|back|regressed|5|1|2026-01-01 12:00:10.000|2026-01-01 12:00:40.000|2026-01-01 \
          12:00:40.000|null|null|null|null"],
        "what the agent used is of the first and the latest occurrence only"
    );

    let unknown = [store.resolve_group("g", after(60)), store.resolve(Resolve::Error { id: 4711 }, after(60))];
    assert_eq!(unknown, [Err(NotRecorded::Unknown), Err(NotRecorded::Unknown)]);
    let an_event = store.tell(told(1, after(60), event("x"), None)).unwrap().0;
    assert_eq!(store.resolve(Resolve::Error { id: an_event }, after(60)), Err(NotRecorded::Unknown));
}

#[test]
fn the_last_one_resolved_resolves_the_problem() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    let ids: Vec<i64> = (0..3).map(|n| store.tell(told(1, after(n), error("f", "x"), None)).unwrap().0).collect();
    for id in &ids {
        store.resolve(Resolve::Error { id: *id }, after(10)).unwrap();
    }
    assert_eq!(store.groups(), [("f".to_owned(), GroupState::Resolved, 3, 0)]);
    store.tell(told(1, after(11), error("f", "x"), None)).unwrap();
    assert_eq!(store.groups(), [("f".to_owned(), GroupState::Regressed, 4, 1)]);
}

#[test]
fn a_hundred_are_kept_and_all_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    let ids: Vec<i64> = (0..130).map(|n| store.tell(told(1, after(n), error("f", "x"), None)).unwrap().0).collect();
    store.tell(told(1, after(200), error("g", "other"), None)).unwrap();
    assert_eq!(store.groups()[1], ("f".to_owned(), GroupState::Open, 130, 130));
    let kept = ask(directory.path(), "select count(*), min(id), max(id) from error_logs where fingerprint = 'f'");
    assert_eq!(kept, [format!("100|{}|{}", ids[30], ids[129])], "the latest");
    assert_eq!(store.resolve(Resolve::Error { id: ids[0] }, after(300)), Err(NotRecorded::Unknown));
    for id in &ids[30..129] {
        store.resolve(Resolve::Error { id: *id }, after(300)).unwrap();
    }
    assert_eq!(store.groups()[1], ("f".to_owned(), GroupState::Open, 130, 31));
    store.resolve(Resolve::Error { id: ids[129] }, after(300)).unwrap();
    assert_eq!(store.groups()[1], ("f".to_owned(), GroupState::Resolved, 130, 0), "with those that nobody can name");
    assert_eq!(store.unresolved_told(), Some(1));
}

#[test]
fn one_fingerprint_of_two_agents_is_two_problems() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    for n in [1, 2] {
        store.tell(told(n, after(n.into()), error("f", "x"), None)).unwrap();
    }
    assert_eq!(store.groups().len(), 2);
    let of = |n| Resolve::Group { fingerprint: "f".into(), agent: Some(agent(n).id) };
    store.resolve(of(1), after(10)).unwrap();
    let states = || store.groups().into_iter().map(|group| group.1).collect::<Vec<_>>();
    assert_eq!(states(), [GroupState::Open, GroupState::Resolved]);
    let nobody = Resolve::Group { fingerprint: "f".into(), agent: Some(AgentId::new("nobody").unwrap()) };
    assert_eq!(store.resolve(nobody, after(10)), Err(NotRecorded::Unknown));
    store.resolve_group("f", after(11)).unwrap();
    assert_eq!(states(), [GroupState::Resolved, GroupState::Resolved]);
}

#[test]
fn told_twice_is_stored_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    let (id, duplicate) = store.tell(told(1, after(1), event("x"), Some("mine"))).unwrap();
    assert!(!duplicate);
    assert_eq!(store.tell(told(1, after(9), event("x"), Some("mine"))), Ok((id, true)), "whenever it comes again");
    assert_eq!(store.tell(told(1, after(1), event("y"), Some("mine"))), Err(NotRecorded::Conflict));
    // Another agent's, another route's, and those without a name are others.
    let another = store.tell(told(2, after(1), event("x"), Some("mine"))).unwrap();
    let route = store.tell(told(1, after(1), error("f", "x"), Some("mine"))).unwrap();
    assert!(!another.1 && !route.1);
    assert_eq!(store.tell(told(1, after(2), error("f", "x"), Some("mine"))), Ok((route.0, true)));
    assert_eq!(store.tell(told(1, after(2), error("g", "x"), Some("mine"))), Err(NotRecorded::Conflict));
    assert_eq!(store.groups(), [("f".to_owned(), GroupState::Open, 1, 1)], "counted once");
    assert!(
        store.tell(told(1, after(1), event("x"), None)).unwrap().0
            != store.tell(told(1, after(1), event("x"), None)).unwrap().0
    );
    store.flush();
    let told: Vec<_> = store.told.try_iter().flat_map(|committed| committed.entries).collect();
    assert_eq!(told.len(), 5, "what was known is not told again");
    let rows =
        ask(directory.path(), "select agent_number, kind, client_id, writer_uid from journal order by id limit 3");
    assert_eq!(rows, ["1|0|mine|1001", "2|0|mine|1002", "1|1|mine|1001"]);
}

/// Many at once, of which most share a transaction.
#[test]
fn repeats_at_once_are_one() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    let answers: Vec<_> = (0..60)
        .map(|n| {
            let write = Write::Report(told(
                1,
                after(n),
                error("f", "x"),
                Some(["a", "b", "c"][usize::try_from(n % 3).unwrap()]),
            ));
            submit(&store.handle, Batch { write: Some(Box::new(write)), ..Batch::default() }).unwrap()
        })
        .collect();
    let answers: Vec<_> = answers.into_iter().map(|answer| stored(answer).unwrap()).collect();
    let mut ids: Vec<_> = answers.iter().map(|stored| stored.entries[0].id.unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), answers.iter().filter(|stored| !stored.duplicate).count()), (3, 3));
    assert_eq!(store.groups(), [("f".to_owned(), GroupState::Open, 3, 3)]);
}

#[test]
fn pages_of_problems() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    for n in 0..10 {
        let (agent, at) = (1 + n % 2, after(u64::from(n / 3)));
        store.tell(told(agent, at, error(&format!("f{n}"), "x"), None)).unwrap();
    }
    store.resolve_group("f3", after(100)).unwrap();
    let mut page = GroupPage { limit: 4, ..GroupPage::default() };
    let mut seen = Vec::new();
    loop {
        let groups = store.reader.list_groups(&page).unwrap().rows;
        let Some(last) = groups.last() else { break };
        page.before = Some((last.last_seen, last.id));
        seen.extend(groups.iter().map(|group| group.fingerprint.to_string()));
    }
    assert_eq!(seen, ["f9", "f8", "f7", "f6", "f5", "f4", "f3", "f2", "f1", "f0"]);
    let count = |page: GroupPage| store.reader.list_groups(&GroupPage { limit: 100, ..page }).unwrap().rows.len();
    assert_eq!(count(GroupPage { agent: Some(agent(1).id), ..GroupPage::default() }), 5);
    assert_eq!(count(GroupPage { error_type: Some("E".into()), ..GroupPage::default() }), 0);
    assert_eq!(count(GroupPage { states: vec![GroupState::Resolved], ..GroupPage::default() }), 1);
    assert_eq!(count(GroupPage { states: vec![GroupState::Open, GroupState::Regressed], ..GroupPage::default() }), 9);
}

#[test]
fn counts_outlive_the_daemon_and_problems_their_retention_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    for n in 0..120 {
        store.tell(told(1, after(n), error("f", "x"), None)).unwrap();
    }
    store.tell(told(2, after(1), error("g", "x"), None)).unwrap();
    store.resolve_group("g", after(2)).unwrap();
    store.stop();
    let store = Store::start(directory.path());
    let unresolved: Vec<u64> = store.resume.agents.iter().map(|agent| agent.unresolved).collect();
    assert_eq!(unresolved, [120, 0]);
    assert_eq!(store.reader.unresolved(number(1)).unwrap(), 120);
    let now = agent_monitor::model::Now { wall: after(1_000), mono: agent_monitor::model::Mono(1_000_000_000) };
    let ages = Duration::from_secs(10);
    let limits = Limits { samples: ages, rollups: ages, size_bytes: 1 << 30 };
    store.handle.submit(Op::Prune { limits, now }).unwrap();
    store.flush();
    assert_eq!(store.groups(), [("f".to_owned(), GroupState::Open, 120, 120)], "what is unresolved stays");
    assert_eq!(ask(directory.path(), "select count(*) from error_logs"), ["100"]);
}
