//! Memory that processes share, and the host beside the end of an agent.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use serde_json::json;

use super::harness::{Daemon, Place, outcome, program, until};

/// Two processes that share 16 MiB, until their input ends. More would take long to be measured: that has a budget.
struct Pair(Child);

impl Pair {
    fn start() -> Pair {
        let script = "import os, sys\nheld = b'x' * (16 << 20)\nchild = os.fork()\nif child: print(child, flush=True)\n\
                      sys.stdin.read()";
        let mut command = Command::new("python3");
        command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        Pair(child)
    }

    fn end(&mut self) {
        let _ = self.0.kill();
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.end();
    }
}

/// Waits until memory is added up by `method`; how many MiB then.
fn mib(daemon: &Daemon, method: &str) -> f64 {
    let agent = daemon.until("pair", method, |agent| {
        agent["metrics"]["memoryMethod"] == method
            && agent["metrics"]["memoryMb"].is_number()
            && agent["metrics"]["processCount"] == 2
    });
    agent["metrics"]["memoryMb"].as_f64().unwrap()
}

#[test]
fn shared_memory_counts_once_where_that_is_configured() {
    let mut pair = Pair::start();
    let place = Place::new();
    place.configure("[sampling]\nmemory = \"pss\"\n");
    place.register(&json!([{ "agentId": "pair", "pid": pair.0.id() }]));
    let daemon = place.start_with_registry();
    let exact = mib(&daemon, "pss");
    assert!((16.0..50.0).contains(&exact), "{exact} MiB");
    let cost = daemon.get("/api/monitoring/status");
    assert_eq!(cost["counters"]["pssReadsDenied"], 0, "{cost}");

    // Another configuration, and back.
    place.configure("[sampling]\nmemory = \"rss\"\n");
    daemon.signal(Signal::HUP);
    let doubled = mib(&daemon, "rss");
    assert!(doubled > 32.0 && doubled > exact + 12.0, "{doubled} MiB against {exact}");
    place.configure("[sampling]\nmemory = \"pss\"\n");
    daemon.signal(Signal::HUP);
    mib(&daemon, "pss");
    daemon.readings("pair", 2);

    // Its end, with the host beside it.
    pair.end();
    let whole = until("its run has ended", || {
        let whole = daemon.page("pair");
        if whole["runs"][0]["ended_at"].is_string() { Ok(whole) } else { Err(whole.to_string()) }
    });
    let peak = whole["runs"][0]["peak_memory_mb"].as_f64().unwrap();
    assert!((16.0..50.0).contains(&peak), "the peak is exact too: {peak} MiB");
    let host = &whole["host"][0];
    assert!(host["memory_available_mb"].as_f64().unwrap() > 0.0 && host["load1"].is_number(), "{host}");
    let has_pressure = std::fs::read("/proc/pressure/memory").is_ok();
    assert_eq!(host["memory_pressure"].is_number(), has_pressure, "{host}");
    let ended = whole["runs"][0]["ended_at"].as_str().unwrap();
    assert!(*host["timestamp"].as_str().unwrap() <= *ended, "{host} beside {ended}");
    let status = daemon.get("/api/monitoring/status");
    assert_eq!(status["host"]["memoryPressure"].is_number(), has_pressure, "{status}");
    let methods: Vec<String> = {
        let database = place.database();
        let mut statement = database.prepare("select distinct memory_method from agent_metrics order by 1").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    assert_eq!(methods, ["pss", "rss"]);
    let ask = |arguments: &[&str]| outcome(program().args(arguments).arg("--socket").arg(place.path("s"))).1;
    let (shown, line) = (ask(&["agent", "pair"]), ask(&["status"]));
    assert!(shown.contains("HOST AT THE END") && shown.contains(" MiB available"), "{shown}");
    assert!(line.contains(" MiB available, pressure: processor"), "{line}");
    daemon.stop();
    assert!(place.count("select count(*) from host_minutes where memory_available_mb > 0") > 0);
}
