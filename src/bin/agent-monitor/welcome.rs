//! The first minute of a daemon that nobody configured: where it looked, what it found, where it can be seen, what to do
//! next.

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;

use agent_monitor::config::{Config, format_duration};
use agent_monitor::daemon::Handle;
use agent_monitor::feed::Update;
use agent_monitor::model::{Pid, Snapshot};
use agent_monitor::recognise;
use tokio::sync::broadcast::error::RecvError;

use crate::view::text::printable;

/// Agents that are named; of more, only how many.
const NAMED: usize = 8;

/// What is known before anything was looked at.
pub(crate) struct Welcome {
    /// The configuration file that would have been read.
    config_file: &'static str,
    url: String,
    state: String,
    refresh: String,
}

impl Welcome {
    pub(crate) fn new(config_file: &'static str, url: String, state: &Path, config: &Config) -> Welcome {
        let state = printable(&state.to_string_lossy());
        Welcome { config_file, url, state, refresh: format_duration(config.registry.refresh) }
    }

    /// Says it once the processes of this host were looked at; then waits for ever.
    pub(crate) async fn say(self, handle: Handle) {
        let mut updates = handle.subscribe();
        let mut snapshot = handle.latest();
        while !has_looked(&snapshot) {
            match updates.recv().await {
                Ok(Update::Snapshot(newer)) => snapshot = newer,
                Ok(Update::Recorded(_)) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => break,
            }
        }
        // Who subscribes and does not read keeps hundreds of snapshots in memory.
        drop(updates);
        // A closed standard error is no reason to stop.
        let _ = std::io::stderr().write_all(self.text(&snapshot).as_bytes());
        std::future::pending::<()>().await;
    }

    fn text(&self, snapshot: &Snapshot) -> String {
        let known: Vec<&str> = recognise::known().collect();
        let mut text = "\nNothing is configured, so agents are recognised by the programs they are.\n".to_owned();
        let mut line = |name: &str, value: &str| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {name:<11} {value}");
        };
        let places = format!("--config, AGENT_MONITOR_CONFIG, {}: none is there", self.config_file);
        line("looked at", &places);
        line("looks for", &known.join(", "));
        line("found", &self.found(snapshot));
        line("dashboard", &self.url);
        line("history", &self.state);
        line("next", "agent-monitor status                        the same in another terminal");
        line("", "agent-monitor run --registry FILE-OR-URL    watch what your broker runs");
        line("", "agent-monitor run --agent ID=PID            watch a process of your own");
        line("", "agent-monitor demo                          a minute with agents of its own");
        text.push('\n');
        text
    }

    fn found(&self, snapshot: &Snapshot) -> String {
        let running = snapshot.agents.iter().filter(|agent| agent.started_at.is_some());
        let named = |id: &str, pid: Option<Pid>| match pid {
            Some(pid) => format!("{} (process {pid})", printable(id)),
            None => printable(id),
        };
        let all: Vec<String> = running.map(|agent| named(agent.id.as_str(), agent.pid)).collect();
        match all.len() {
            0 => format!("none now; one that starts is seen within {}", self.refresh),
            few if few <= NAMED => all.join(", "),
            many => format!("{}, and {} more", all[..NAMED].join(", "), many - NAMED),
        }
    }
}

fn has_looked(snapshot: &Snapshot) -> bool {
    snapshot.own.sources.iter().all(|source| source.good_at.is_some()) && snapshot.own.last_tick_at.is_some()
}

#[cfg(test)]
mod tests {
    use agent_monitor::model::{SourceState, Timestamp};

    use super::*;

    #[test]
    fn a_host_without_agents() {
        let at = Timestamp::from_unix_ms(0);
        let mut snapshot = Snapshot::empty(at);
        let source = |good_at| {
            let (name, error) = ("match".into(), None);
            SourceState { name, good_at, error, failing_since: None, records: 0, skipped: 0 }
        };
        snapshot.own.sources = vec![source(None)];
        snapshot.own.last_tick_at = Some(at);
        assert!(!has_looked(&snapshot), "not for agents");
        snapshot.own.sources = vec![source(Some(at))];
        assert!(has_looked(&snapshot), "though there was nothing to sample");
        let welcome = Welcome {
            config_file: "/etc/x.toml",
            url: "http://127.0.0.1:7717/".to_owned(),
            state: "/state".to_owned(),
            refresh: "10s".to_owned(),
        };
        let text = welcome.text(&snapshot);
        assert!(text.contains("found       none now; one that starts is seen within 10s\n"), "{text}");
    }
}
