//! A real Prometheus scrapes a real daemon.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::harness::{BRISK, Daemon, Place, until};
use super::tree::{Strays, Tree, child};

const PACKAGING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging");

/// Killed when dropped.
struct Prometheus {
    child: Child,
    address: SocketAddr,
    directory: TempDir,
}

impl Prometheus {
    /// Scrapes these, and evaluates the rules of the packaging, each second.
    fn start(targets: &[String]) -> Prometheus {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let config = json!({"global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                            "rule_files": [format!("{PACKAGING}/prometheus/rules.yml")],
                            "scrape_configs": [{"job_name": "agent-monitor", "static_configs": [{"targets": targets}]}]});
        fs::write(path("prometheus.yml"), config.to_string()).unwrap(); // JSON is YAML
        // A port that was free a moment ago.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", path("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", path("tsdb").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(path("log")).unwrap())
            .spawn()
            .expect("Prometheus (Debian: prometheus)");
        Prometheus { child, address, directory }
    }

    fn scraping(daemon: &Daemon) -> Prometheus {
        Prometheus::start(&[daemon.address().to_string()])
    }

    /// A document of its API. While it starts, it may not listen or not be ready.
    fn get(&self, path: &str) -> Result<Value, String> {
        let asked = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(self.address)?;
            write!(stream, "GET /api/v1/{path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = asked().map_err(|error| error.to_string())?;
        let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        let document: Value = serde_json::from_str(body).unwrap_or_default();
        if document["status"] == "success" {
            return Ok(document["data"].clone());
        }
        Err(format!("{path}: {answer} {}", fs::read_to_string(self.directory.path().join("log")).unwrap()))
    }

    /// The series of an instant query.
    fn query(&self, query: &str) -> Result<Vec<Value>, String> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        Ok(self.get(&format!("query?query={encoded}"))?["result"].as_array().cloned().unwrap_or_default())
    }

    /// The value of an instant query with one answer.
    fn value(&self, query: &str) -> Result<String, String> {
        let series = self.query(query)?;
        match &*series {
            [one] => Ok(one["value"][1].as_str().unwrap().to_owned()),
            _ => Err(format!("{query}: {series:?}")),
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn prometheus_answers_with_the_dashboards_number() {
    let mut tree = Tree::start();
    let place = Place::new();
    place.register(&json!([{ "agentId": "a \"b\" \\ é", "pid": tree.pid(), "messageCount": 17 }]));
    let daemon = place.start_with_registry();
    daemon.until_known("a \"b\" \\ é");
    tree.ask(&format!("{}; echo done", child("burn 30")));
    daemon.readings("a \"b\" \\ é", 2);

    let prometheus = Prometheus::scraping(&daemon);
    let of = |metric: &str| prometheus.value(&format!(r#"agent_monitor_agent_{metric}{{agent="a \"b\" \\ é"}}"#));
    until("it has scraped", || if of("up")? == "1" { Ok(()) } else { Err("it is not up".to_owned()) });
    assert_eq!(of("messages").unwrap(), "17");
    // Nothing runs in the tree but a shell that waits: the number stands still.
    until("the same processor time", || {
        let shown = daemon.agent("a \"b\" \\ é")["metrics"]["cpuSeconds"].as_f64().unwrap();
        let scraped: f64 = of("cpu_seconds_total")?.parse().unwrap();
        if (scraped - shown).abs() < 0.0011 && shown >= 0.3 { Ok(()) } else { Err(format!("{scraped} and {shown}")) }
    });
}

/// One query of a dashboard: where it stands, what it asks, and which labels it shows.
struct Asked {
    place: String,
    query: String,
    labels: Vec<String>,
}

/// All queries of a dashboard for Grafana, with its variables as Grafana would fill them in.
fn queries(name: &str, instance: &str) -> Vec<Asked> {
    let text = fs::read_to_string(format!("{PACKAGING}/grafana/{name}")).unwrap();
    let text = text.replace("$__rate_interval", "1m").replace("$instance", instance).replace("$agent", ".+");
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let string = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{name}: {value}")).to_owned();
    let variables = dashboard["templating"]["list"].as_array().unwrap().iter().filter(|one| one["type"] == "query");
    let variables = variables.map(|variable| {
        // label_values(METRIC, LABEL): the label of these series.
        let query = string(&variable["query"]["query"]);
        let (query, label) = query.strip_prefix("label_values(").unwrap().rsplit_once(", ").unwrap();
        let labels = vec![label.trim_end_matches(')').to_owned()];
        Asked { place: format!("{name}, variable {}", variable["name"]), query: query.to_owned(), labels }
    });
    let targets = dashboard["panels"].as_array().unwrap().iter().flat_map(|panel| {
        let targets = panel["targets"].as_array().unwrap().iter();
        targets.map(|target| {
            let legend = target["legendFormat"].as_str().unwrap_or_default();
            let labels = legend.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap().trim().to_owned());
            let place = format!("{name}, panel {}", panel["title"]);
            Asked { place, query: string(&target["expr"]), labels: labels.collect() }
        })
    });
    variables.chain(targets).collect()
}

/// What `packaging/` has for Prometheus and Grafana asks for series that a daemon really has. Grafana itself is not run.
#[test]
fn every_query_of_the_packaging_yields_series() {
    let mut tree = Tree::start();
    let place = Place::new();
    place.configure(&format!("{BRISK}[[alerts.rule]]\nname = \"leftovers\"\nfor = \"1s\"\n"));
    // One that lives, and one that left a process behind and does not.
    let mut gone = Tree::start();
    let mut strays = Strays::default();
    strays.take(gone.spawn("setsid sleep 1000"));
    place.register(&json!([{ "agentId": "coder", "pid": tree.pid() }, { "agentId": "gone", "pid": gone.pid() }]));
    let daemon = place.start_with_registry();
    daemon.until("gone", "both processes are seen", |agent| agent["metrics"]["processCount"] == 2);
    daemon.until_known("coder");
    gone.kill();
    gone.wait();
    daemon.until("gone", "an alert fires", |agent| agent["alerts"].as_array().is_some_and(|alerts| !alerts.is_empty()));
    tree.ask(&format!("{}; echo done", child("burn 30")));

    let prometheus = Prometheus::scraping(&daemon);
    let instance = daemon.address().to_string();
    let asked: Vec<Asked> = ["host.json", "fleet.json"].iter().flat_map(|name| queries(name, &instance)).collect();
    for Asked { place, query, labels } in &asked {
        let series = until(&format!("{place} yields series"), || match prometheus.query(query) {
            Ok(series) if series.is_empty() => Err(format!("{query} yields none")),
            other => other,
        });
        for one in &series {
            let missing = labels.iter().find(|label| one["metric"][label.as_str()].is_null());
            assert_eq!(missing, None, "{place} shows a label that is not there: {one}");
        }
    }
    assert!(asked.len() > 20, "{} queries", asked.len());
    assert_eq!(prometheus.value("sum(agent_monitor_agent_leftover_processes)").unwrap(), "1");

    let rules = prometheus.get("rules").unwrap();
    let rules: Vec<&Value> =
        rules["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
    for rule in &rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        if rule["type"] == "recording" {
            let name = rule["name"].as_str().unwrap();
            until(name, || match prometheus.query(name)?.len() {
                1 => Ok(()),
                other => Err(format!("{other} series")),
            });
        }
    }
    let alerts: BTreeSet<&str> =
        rules.iter().filter(|rule| rule["type"] == "alerting").map(|rule| rule["name"].as_str().unwrap()).collect();
    assert_eq!(alerts, BTreeSet::from(["AgentMonitorConfigRefused", "AgentMonitorDown", "AgentMonitorLosesData"]));
    let fires = |name: &str| prometheus.query(&format!("ALERTS{{alertname=\"{name}\"}}")).map(|series| series.len());
    for name in &alerts {
        assert_eq!(fires(name).unwrap(), 0, "{name}: nothing is wrong");
    }
    // Two of them as they begin; that data is lost needs a disk that fails.
    place.configure("nonsense");
    daemon.signal(Signal::HUP);
    let pending = |name: &str| match fires(name)? {
        1 => Ok(()),
        other => Err(format!("{name}: {other} alerts")),
    };
    until("a refused configuration is noticed", || pending("AgentMonitorConfigRefused"));
    daemon.stop();
    until("its end is noticed", || pending("AgentMonitorDown"));
}
