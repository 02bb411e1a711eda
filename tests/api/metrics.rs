//! `/metrics`, in both of its formats.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

use agent_monitor::api::{OwnFacts, Reloads, Sources};
use agent_monitor::model::*;
use insta::assert_snapshot;

use crate::world::*;

const OPEN: &str = "Accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";

/// What is told of two agents, one of which has a name that wants to be more than a name.
fn hostile() -> Sources {
    let mut now = snapshot();
    now.agents = replaced(&now, 1, unknown("a\\b\"} 1\u{2028}é"));
    now.own.sources.push(SourceState { name: "match:\"x\"".into(), good_at: None, ..now.own.sources[0].clone() });
    now.own.sources.push(now.own.sources[0].clone());
    let feed = feed(now);
    feed.ticked(std::time::Duration::from_micros(1_234));
    Sources { feed, ..sources() }
}

fn shown(answer: &Answer) -> String {
    assert_eq!(answer.status, 200);
    answer.body.replace(env!("CARGO_PKG_VERSION"), "VERSION")
}

#[test]
fn both_formats() {
    let server = Server::start(hostile());
    let plain = server.get("/metrics");
    assert_eq!(plain.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert_snapshot!("prometheus", shown(&plain));
    let open = server.ask("GET", "/metrics", &[OPEN]);
    assert_eq!(open.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert_snapshot!("openmetrics", shown(&open));
    // The same samples in both, in the same order.
    let samples =
        |text: &str| -> Vec<String> { text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect() };
    assert_eq!(samples(&plain.body), samples(&open.body));
}

/// Every name of the contract, and no other.
#[test]
fn names() {
    let text = Server::start(hostile()).get("/metrics").body;
    let mut names: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE agent_monitor_"))
        .map(|rest| rest.split(' ').next().unwrap())
        .collect();
    names.sort_unstable();
    let mut promised = vec![
        "agent_up",
        "agent_cpu_seconds_total",
        "agent_memory_bytes",
        "agent_processes",
        "agent_threads",
        "agent_read_bytes_total",
        "agent_written_bytes_total",
        "agent_restarts_total",
        "agent_errors_unresolved",
        "agent_messages",
        "agent_leftover_processes",
        "agent_leftover_memory_bytes",
        "alert_firing",
        "build_info",
        "tick_duration_seconds",
        "ticks_skipped_total",
        "read_errors_total",
        "registry_age_seconds",
        "database_size_bytes",
        "write_queue_length",
        "dropped_total",
        "config_last_reload_successful",
    ];
    promised.sort_unstable();
    assert_eq!(names, promised);
}

/// Prometheus's own judge.
#[test]
fn promtool_finds_nothing() {
    let check = |text: &str| {
        let mut promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("promtool (Debian: prometheus)");
        promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = promtool.wait_with_output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let text = Server::start(hostile()).get("/metrics").body;
    assert_eq!(check(&text), (true, String::new()));
    assert!(!check(&text.replace("_cpu_seconds_total", "_cpu_seconds")).0, "it does judge");
}

#[test]
fn what_is_not_known_has_no_line() {
    let mut now = snapshot();
    now.agents = [unknown("one").into()].into_iter().collect();
    let own = || OwnFacts { log_lines_dropped: None, ..own() };
    let text = Server::start(Sources { feed: feed(now), own: Arc::new(own), ..sources() }).get("/metrics").body;
    let of_agent: Vec<&str> = text.lines().filter(|line| line.contains("{agent=\"one\"}")).collect();
    let expected = ["restarts_total", "errors_unresolved", "leftover_processes", "leftover_memory_bytes"]
        .map(|name| format!("agent_monitor_agent_{name}{{agent=\"one\"}} 0"));
    assert_eq!(of_agent, expected);
    assert!(!text.contains("log_lines") && !text.contains("\nagent_monitor_tick_duration_seconds"));
}

/// A series is told once, or whoever scrapes takes none of the page.
#[test]
fn a_rule_that_fires_for_two_sources_is_one_series() {
    let mut now = snapshot();
    let stale = |source: &str| ActiveAlert { source: Some(source.into()), ..now.alerts[1].clone() };
    now.alerts = vec![stale("file:/a"), stale("file:/b")];
    let text = Server::start(Sources { feed: feed(now), ..sources() }).get("/metrics").body;
    assert_eq!(text.matches("agent_monitor_alert_firing{alert=").count(), 1, "{text}");
}

/// Each of the numbers about the daemon moves when what it counts happens.
#[test]
fn counters_move() {
    let mut now = snapshot();
    now.own = OwnState { ticks_skipped: 2, read_errors: 3, reads_denied: 4, events_lost: 5, ..now.own };
    let reloads = Reloads { failed: 1, error: Some("no".into()), ..Reloads::default() };
    let storage = Arc::new(|| panic!("a bug"));
    let facts = move || OwnFacts { reloads: reloads.clone(), ..own() };
    let server = Server::start(Sources { feed: feed(now), storage, own: Arc::new(facts), ..sources() });
    let value = |name: &str| {
        let text = server.get("/metrics").body;
        let line =
            text.lines().find_map(|line| line.strip_prefix(&format!("agent_monitor_{name} ")).map(str::to_owned));
        line.unwrap_or_else(|| panic!("{name}: {text}"))
    };
    assert_eq!(value("dropped_total{what=\"requests\"}"), "0");
    assert_eq!(server.ask("GET", "/", &["Origin: http://evil.example"]).status, 403);
    assert_eq!(value("dropped_total{what=\"requests\"}"), "1");
    assert_eq!(server.get("/readyz").status, 500);
    for (name, expected) in [
        ("dropped_total{what=\"requests_panicked\"}", "1"),
        ("dropped_total{what=\"samples\"}", "4"),
        ("dropped_total{what=\"entries\"}", "5"),
        ("dropped_total{what=\"runs\"}", "6"),
        ("dropped_total{what=\"log_lines\"}", "7"),
        ("dropped_total{what=\"process_events\"}", "5"),
        ("ticks_skipped_total", "2"),
        ("read_errors_total{reason=\"failed\"}", "3"),
        ("read_errors_total{reason=\"denied\"}", "4"),
        ("config_last_reload_successful", "0"),
        ("database_size_bytes", "123456"),
        ("write_queue_length", "1"),
    ] {
        assert_eq!(value(name), expected, "{name}");
    }
    for (counter, what) in [
        (&server.counts.writes_limited, "writes_limited"),
        (&server.counts.writes_failed, "writes_failed"),
        (&server.counts.accept_failures, "connections"),
        (&server.counts.answers_refused, "answers"),
        (&server.counts.streams_refused, "streams"),
        (&server.counts.streams_dropped, "slow_streams"),
    ] {
        counter.store(9, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(value(&format!("dropped_total{{what=\"{what}\"}}")), "9");
    }
}
