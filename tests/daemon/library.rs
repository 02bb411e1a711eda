//! The same daemon within another program.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agent_monitor::clock::ManualClock;
use agent_monitor::config::{Config, Directories, Overrides, Setting};
use agent_monitor::daemon::{Daemon, Handle, Parts};
use agent_monitor::feed::Update;
use agent_monitor::model::{AgentId, AgentView, ErrorReport, EventReport, Pid, Snapshot, Timestamp};
use agent_monitor::store::StoreError;
use agent_monitor::testing::Host;
use rusqlite::{Connection, params};
use serde_json::{Value, json};
use tokio::sync::broadcast::Receiver;
use tokio::sync::oneshot;

use super::harness::{Deadline, PATIENCE, get};
use super::tree::Tree;

#[path = "../../examples/embedded.rs"]
#[expect(dead_code, reason = "its `main` is not this test's")]
mod embedded;

pub(crate) fn config(directory: &Path, agents: &[(&str, Pid)]) -> Config {
    let directories = Directories { state: directory.join("state"), runtime: directory.to_owned() };
    let mut config = Config::defaults(&directories);
    config.registry.sources.clear();
    let agents = agents.iter().map(|(id, pid)| (AgentId::new(id).unwrap(), *pid)).collect();
    let overrides = Overrides {
        agents,
        interval: Some(Setting::new("1s", "--interval")),
        listen: Some(Setting::new("127.0.0.1:0", "--listen")),
        ..Overrides::default()
    };
    overrides.apply(&mut config).unwrap();
    config.alerts.interval = Duration::from_secs(1);
    config
}

/// Runs a daemon for as long as `test` takes, which hears of everything.
pub(crate) fn run<F: Future<Output = ()>>(config: Config, parts: Parts, test: impl FnOnce(Running) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let daemon = Daemon::bind(config, parts).await.unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let handle = daemon.handle();
        let outside = Running { address: daemon.address(), updates: handle.subscribe(), handle };
        let running = daemon.run(async { drop(stopped.await) });
        let (ended, ()) = tokio::join!(running, async {
            test(outside).await;
            drop(stop);
        });
        ended.unwrap();
    });
}

pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    updates: Receiver<Update>,
    pub(crate) handle: Handle,
}

impl Running {
    /// Waits for a snapshot that is as it should be.
    pub(crate) async fn until(&mut self, what: &str, seen: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                let now = self.handle.latest();
                if seen(&now) {
                    return now;
                }
                let _ = self.updates.recv().await;
            }
        });
        waited.await.unwrap_or_else(|_| panic!("{what}: {:#?}", self.handle.latest()))
    }

    pub(crate) async fn get(&self, path: &'static str) -> Value {
        let address = self.address;
        tokio::task::spawn_blocking(move || get(address, path).1).await.unwrap()
    }
}

fn view<'a>(snapshot: &'a Snapshot, id: &str) -> &'a AgentView {
    snapshot.agents.iter().find(|agent| agent.id.as_str() == id).unwrap()
}

pub(crate) fn failure(number: u32) -> ErrorReport {
    ErrorReport::new("Timeout", format!("no answer to question {number}"))
}

#[test]
fn eleven_errors_are_too_many() {
    let directory = tempfile::tempdir().unwrap();
    let us = AgentId::new("writer").unwrap();
    let config = config(directory.path(), &[]);
    run(config.clone(), Parts::system(), |mut daemon| async move {
        let mut last = 0;
        for number in 1..=10 {
            let recorded = daemon.handle.record_error(us.clone(), failure(number)).await.unwrap();
            assert!(recorded.id > last, "ids grow");
            last = recorded.id;
        }
        let ten =
            daemon.until("ten errors", |now| now.agents.iter().any(|agent| agent.metrics.error_count == 10)).await;
        let tick = ten.own.last_tick_mono;
        let two_looks = Duration::from_secs(2);
        daemon
            .until("two looks at the rules", |now| {
                now.own.last_tick_mono.zip(tick).is_some_and(|(now, then)| now.since(then) > two_looks)
            })
            .await;
        // On a busy machine it may be told that passes are late.
        let too_many = |now: &Snapshot| now.alerts.iter().find(|alert| &*alert.rule == "high_errors").cloned();
        assert_eq!(too_many(&daemon.handle.latest()), None, "ten are not above ten");
        daemon.handle.record_error(us.clone(), failure(11)).await.unwrap();
        let now = daemon.until("the alert", |now| too_many(now).is_some()).await;
        assert_eq!(too_many(&now).unwrap().value, Some(11.0));
        let dashboard = daemon.get("/api/monitoring/dashboard").await;
        assert_eq!(dashboard["activeErrors"], json!([{ "agent_id": "writer", "count": 11 }]));
        let writer = &dashboard["agents"][0];
        assert_eq!((&writer["metrics"]["errorCount"], &writer["alerts"]), (&json!(11), &json!(["high_errors"])));
        assert_eq!((&writer["status"], &writer["pid"]), (&json!("unknown"), &Value::Null));
        let alerts = dashboard["alerts"].as_array().unwrap();
        let alert = alerts.iter().find(|alert| alert["type"] == "high_errors").unwrap();
        assert_eq!(alert["severity"], "critical");
        assert_eq!((&alert["value"], &alert["threshold"]), (&json!(11.0), &json!(10.0)));
        let page = daemon.get("/api/monitoring/agents/writer").await;
        assert_eq!(page["errors"].as_array().unwrap().len(), 11);
        assert_eq!(page["errors"][0]["message"], "no answer to question 11");
    });
    // Another daemon on the same history.
    run(config, Parts::system(), |mut daemon| async move {
        let now = daemon.until("the errors are known", |now| !now.alerts.is_empty() && !now.agents.is_empty()).await;
        assert_eq!(view(&now, "writer").metrics.error_count, 11, "also in its numbers, without a new error");
    });
}

#[test]
fn what_is_a_week_old_goes() {
    let directory = tempfile::tempdir().unwrap();
    // 2026-01-01T00:00:00Z
    let start = Timestamp::from_unix_ms(1_767_225_600_000);
    let clock = Arc::new(ManualClock::new(start));
    let host = Host::new(Arc::clone(&clock));
    let pid = host.start("agent");
    let source = host.source();
    let parts = Parts { clock: Arc::clone(&clock) as Arc<_>, processes: Box::new(|_| Ok(source)) };
    let config = config(directory.path(), &[("a", pid)]);
    let path = config.storage.directory.join("agent-monitor.db");
    let told = |name: &'static str| EventReport::new("note", name);
    run(config, parts, |mut daemon| async move {
        let us = AgentId::new("a").unwrap();
        daemon.until("the agent runs", |now| !now.agents.is_empty()).await;
        daemon.handle.record_event(us.clone(), told("long ago")).await.unwrap();
        daemon.handle.record_error(us.clone(), failure(1)).await.unwrap();
        let kept = |what: &str| -> i64 {
            let sql = format!("select count(*) from {what} where timestamp < ?1");
            let database = Connection::open(&path).unwrap();
            database.query_row(&sql, params!["2026-01-02"], |row| row.get(0)).unwrap()
        };
        assert!(kept("agent_metrics") > 0);
        assert_eq!(kept("agent_events"), 2, "the start and the note");

        // Nearly a week: everything stays. The message lets the daemon look at the clock.
        clock.advance(Duration::from_secs(6 * 24 * 3600));
        daemon.handle.record_event(us.clone(), told("lately")).await.unwrap();
        daemon.until("it samples", |now| now.at > start + Duration::from_secs(5 * 24 * 3600)).await;
        assert!(kept("agent_metrics") > 0);
        assert_eq!(kept("agent_events"), 2);

        clock.advance(Duration::from_secs(36 * 3600));
        let deadline = Deadline::new();
        while kept("agent_metrics") + kept("agent_events") > 0 {
            assert!(!deadline.is_over(), "{} rows of numbers are left", kept("agent_metrics"));
            // Time for the daemon: it deletes a slice at a time, and its timer goes by its own clock.
            daemon.handle.record_event(us.clone(), told("now")).await.unwrap();
        }
        assert_eq!(kept("error_logs"), 1, "what is unresolved stays");
        let page = daemon.get("/api/monitoring/agents/a").await;
        let messages: Vec<&Value> = page["events"].as_array().unwrap().iter().map(|event| &event["message"]).collect();
        assert!(messages.contains(&&json!("lately")) && !messages.contains(&&json!("long ago")), "{messages:?}");
    });
}

/// A broker that embeds the daemon starts its agents itself: they are watched, the broker is not.
#[test]
fn a_program_that_embeds_it_is_not_watched_but_its_children_are() {
    let directory = tempfile::tempdir().unwrap();
    let tree = Tree::start();
    let pid = |number: u32| Pid::new(number.into()).unwrap();
    let agents = [("child", pid(tree.pid())), ("ourselves", pid(std::process::id()))];
    run(config(directory.path(), &agents), Parts::system(), |mut daemon| async move {
        let now = daemon
            .until("the child has a rate", |now| {
                now.agents.iter().any(|agent| agent.id.as_str() == "child" && agent.metrics.cpu_percent.is_some())
            })
            .await;
        assert_eq!(view(&now, "child").metrics.process_count, Some(1));
        let ourselves = view(&now, "ourselves");
        assert_eq!(ourselves.state.word(), "running");
        assert_eq!((ourselves.metrics.cpu_us, ourselves.metrics.process_count), (None, None));
        let reason = ourselves.state_reason.as_deref().unwrap();
        assert!(reason.contains("agent-monitor itself"), "{reason}");
        let page = daemon.get("/api/monitoring/agents/ourselves").await;
        assert_eq!(page["processes"], json!([]));
    });
}

/// What embedding looks like, as the example shows it.
#[test]
fn the_example_hears_and_reads_what_it_says() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let watched = async { tokio::time::timeout(PATIENCE, embedded::watch(directory.path())).await };
    let heard = runtime.block_on(watched).unwrap().unwrap();
    let told = |words: &str| {
        heard.iter().find(|line| line.starts_with(words)).unwrap_or_else(|| panic!("{words:?} is not in {heard:#?}"))
    };
    told("metrics: coder running ");
    told("event: coder started: ");
    told("event: tester started: ");
    told("event: coder task: it begins with ticket 7");
    told("error: coder Timeout: no answer within 30 s");
    told("alert: coder high_errors: ");
    told("history: ");
    let dashboard: Value = serde_json::from_str(told("dashboard: ").trim_start_matches("dashboard: ")).unwrap();
    assert_eq!(dashboard["activeErrors"], json!([{ "agent_id": "coder", "count": 1 }]));
    assert_eq!(dashboard["alerts"][0]["type"], "high_errors");
    let agents = dashboard["agents"].as_array().unwrap().iter();
    let states: Vec<(&Value, &Value)> = agents.map(|agent| (&agent["agentId"], &agent["state"])).collect();
    assert_eq!(states, [(&json!("coder"), &json!("running")), (&json!("tester"), &json!("running"))]);
}

#[test]
fn a_stopped_daemon_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let mut kept = None;
    run(config(directory.path(), &[]), Parts::system(), |daemon| {
        kept = Some(daemon.handle.clone());
        async {}
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (handle, agent) = (kept.unwrap(), AgentId::new("a").unwrap());
    let refused = runtime.block_on(handle.record_error(agent.clone(), failure(1)));
    assert!(refused.unwrap_err().to_string().contains("has ended"));
    let closed = runtime.block_on(handle.history(agent));
    assert!(matches!(closed, Err(StoreError::Closed)), "{closed:?}");
    let left = fs::read_dir(directory.path().join("state")).unwrap().count();
    assert_eq!(left, 3, "the database, its mark and the lock");
}
