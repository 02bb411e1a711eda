//! Programs that watch by themselves, each as its documentation says to start it, and us.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::group::Grouped;

/// The name of the program whose processes are watched: what those look for that cannot be told process ids.
pub const WATCHED: &str = "peers-watched";

/// Where the programs are.
pub struct Programs {
    /// Ours.
    pub monitor: PathBuf,
    /// The directory of Python's programs.
    pub python: PathBuf,
}

/// Which program.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Ours,
    ProcessExporter,
    Procpath,
    AgentUsageManager,
}

impl Kind {
    pub const ALL: [Kind; 4] = [Kind::Ours, Kind::ProcessExporter, Kind::Procpath, Kind::AgentUsageManager];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Ours => "agent-monitor",
            Kind::ProcessExporter => "process-exporter",
            Kind::Procpath => "procpath",
            Kind::AgentUsageManager => "agent-usage-manager",
        }
    }

    /// Seconds from one look to the next: what was asked for, or what cannot be changed.
    pub fn interval(self) -> f64 {
        if self == Kind::AgentUsageManager { 3.0 } else { 1.0 }
    }
}

/// One at work.
pub struct Service {
    pub kind: Kind,
    pub group: Grouped,
    directory: tempfile::TempDir,
    address: SocketAddr,
    root: u32,
    /// What the percentages of a program that gives nothing else add up to, seconds.
    integral: f64,
}

impl Service {
    /// Starts it on these processes, looking once a second if it can be told so.
    pub fn start(kind: Kind, programs: &Programs, pids: &[u32]) -> Service {
        let directory = tempfile::tempdir().expect("a place");
        let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port");
        let file = |name: &str, text: String| {
            let path = directory.path().join(name);
            fs::write(&path, text).expect("a file");
            path
        };
        let mut command = match kind {
            Kind::Ours => {
                let record =
                    |pid: &u32| json!({"agentId": pid.to_string(), "status": "online", "metadata": {"pid": pid}});
                let registry = file("agents.json", Value::from_iter(pids.iter().map(record)).to_string());
                let mut command = Command::new(&programs.monitor);
                command.args(["run", "--interval", "1s", "--listen", &address.to_string(), "--registry"]).arg(registry);
                command.arg("--config").arg(file("agent-monitor.toml", String::new()));
                command.arg("--state-dir").arg(directory.path().join("state"));
                command.arg("--socket").arg(directory.path().join("socket"));
                command
            }
            Kind::ProcessExporter => {
                let config = format!("process_names:\n  - name: \"{{{{.PID}}}}\"\n    comm: [{WATCHED}]\n");
                let mut command = Command::new("prometheus-process-exporter");
                command.arg("-config.path").arg(file("config.yml", config));
                command.args(["-web.listen-address", &address.to_string()]);
                command
            }
            Kind::Procpath => {
                let mut command = Command::new(programs.python.join("procpath"));
                command.args(["record", "-i", "1", "-d"]).arg(directory.path().join("procpath.db"));
                command.arg(format!("$..children[?(@.stat.comm == '{WATCHED}')]"));
                command
            }
            Kind::AgentUsageManager => {
                let config = format!("agents:\n  - label: watched\n    match: {WATCHED}\n");
                let mut command = Command::new(programs.python.join("agent-usage-manager"));
                command.args([
                    "--no-browser",
                    "--host",
                    "127.0.0.1",
                    "--port",
                    &address.port().to_string(),
                    "--config",
                ]);
                command.arg(file("agents.yaml", config));
                command
            }
        };
        command.current_dir(directory.path());
        let group = Grouped::start(kind.name(), &command);
        Service { kind, group, directory, address, root: pids[0], integral: 0.0 }
    }

    /// What a second brings: exporters look when they are asked.
    pub fn second(&mut self) {
        match self.kind {
            Kind::ProcessExporter => drop(self.get("/metrics")),
            Kind::AgentUsageManager | Kind::Ours | Kind::Procpath => {}
        }
    }

    /// How many processes it is watching, as it says itself.
    pub fn watches(&self) -> usize {
        match self.kind {
            Kind::Ours => {
                let agents = self.json("/api/monitoring/dashboard")["agents"].take();
                agents.as_array().map_or(0, |agents| agents.iter().filter(|agent| agent["state"] == "running").count())
            }
            Kind::ProcessExporter => {
                let text = self.get("/metrics").unwrap_or_default();
                text.lines().filter(|line| line.starts_with("namedprocess_namegroup_num_procs{")).count()
            }
            Kind::Procpath => self.sql("select count(distinct stat_pid) from record").parse().unwrap_or(0),
            Kind::AgentUsageManager => self.json("/api/agents")["agents"].as_array().map_or(0, Vec::len),
        }
    }

    /// The processor time of the first process and all that it started, as far as it shows it, seconds.
    pub fn shown(&mut self) -> f64 {
        match self.kind {
            Kind::Ours => {
                let agents = self.json("/api/monitoring/dashboard")["agents"].take();
                agents[0]["metrics"]["cpuSeconds"].as_f64().unwrap_or(f64::NAN)
            }
            Kind::ProcessExporter => {
                let text = self.get("/metrics").unwrap_or_default();
                let group = format!("namedprocess_namegroup_cpu_seconds_total{{groupname=\"{}\"", self.root);
                let lines = text.lines().filter(|line| line.starts_with(&group));
                lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
            }
            Kind::Procpath => {
                let each = "select max(stat_utime + stat_stime) as used from record group by stat_pid, stat_starttime";
                let ticks = self.sql(&format!("select sum(used) from ({each})"));
                ticks.parse::<f64>().unwrap_or(f64::NAN) / procfs::ticks_per_second() as f64
            }
            Kind::AgentUsageManager => self.integral,
        }
    }

    /// Adds up what it shows only as a percentage: to be called once an interval.
    pub fn add_up(&mut self) {
        if self.kind == Kind::AgentUsageManager {
            let percent = self.json("/api/agents")["agents"][0]["cpu_percent"].as_f64().unwrap_or(0.0);
            self.integral += percent / 100.0 * self.kind.interval();
        }
    }

    fn json(&self, path: &str) -> Value {
        self.get(path).and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }

    /// The body of an answer, None while nobody listens.
    fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
    }

    fn sql(&self, query: &str) -> String {
        let database: &Path = &self.directory.path().join("procpath.db");
        let output = Command::new("sqlite3").arg("-readonly").arg(database).arg(query).output().expect("sqlite3");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}
