//! A real Prometheus scrapes a real daemon.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::harness::{Place, until};
use super::tree::{Tree, child};

/// Killed when dropped.
struct Prometheus(Child);

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The value of an instant query with one answer. While it starts, it may not listen or not be ready.
fn ask(prometheus: SocketAddr, query: &str) -> Result<String, String> {
    let asked = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(prometheus)?;
        write!(stream, "GET /api/v1/query?query={query} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = asked().map_err(|error| error.to_string())?;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let document: Value = serde_json::from_str(body).unwrap_or_default();
    document["data"]["result"][0]["value"][1].as_str().map(str::to_owned).ok_or(answer)
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

    let config = place.path("prometheus.yml");
    let target = daemon.url().trim_start_matches("http://").trim_end_matches('/').to_owned();
    let jobs = json!({"global": {"scrape_interval": "1s"},
                      "scrape_configs": [{"job_name": "agent-monitor", "static_configs": [{"targets": [target]}]}]});
    fs::write(&config, jobs.to_string()).unwrap(); // JSON is YAML
    // A port that was free a moment ago.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let log = fs::File::create(place.path("prometheus.log")).unwrap();
    let _prometheus = Prometheus(
        Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", place.path("tsdb").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("Prometheus (Debian: prometheus)"),
    );
    let series = "%7Bagent%3D%22a+%5C%22b%5C%22+%5C%5C+%C3%A9%22%7D";
    until("it has scraped", || match ask(address, &format!("agent_monitor_agent_up{series}")) {
        Ok(up) if up == "1" => Ok(()),
        other => Err(format!("{other:?} {}", fs::read_to_string(place.path("prometheus.log")).unwrap())),
    });
    assert_eq!(ask(address, &format!("agent_monitor_agent_messages{series}")).unwrap(), "17");
    // Nothing runs in the tree but a shell that waits: the number stands still.
    until("the same processor time", || {
        let shown = daemon.agent("a \"b\" \\ é")["metrics"]["cpuSeconds"].as_f64().unwrap();
        let scraped = ask(address, &format!("agent_monitor_agent_cpu_seconds_total{series}"))?;
        let scraped: f64 = scraped.parse().unwrap();
        if (scraped - shown).abs() < 0.0011 && shown >= 0.3 { Ok(()) } else { Err(format!("{scraped} and {shown}")) }
    });
}
