//! A broker that embeds the monitor: it starts two agents, hears what becomes of them, tells of one what only it knows,
//! reads the dashboard, and stops.
//!
//! `cargo run --example embedded`
#![allow(clippy::print_stdout, reason = "an example has something to show")]

use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;
use std::process::{Child, Command};

use agent_monitor::config::{Directories, Source};
use agent_monitor::daemon::Parts;
use agent_monitor::feed::Update;
use agent_monitor::model::{AgentId, Body, ErrorReport, EventReport, JournalLine, Pid};
use agent_monitor::{Config, Daemon};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::oneshot;

/// What a file would say. Whatever is left out is as usual.
const CONFIG: &str = r#"
[sampling]
interval = "1s"

[alerts]
interval = "1s"

[[alerts.rule]]
name = "high_errors"
above = 0
clear = 0

[api]
listen = "127.0.0.1:0"
"#;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    for line in watch(directory.path()).await? {
        println!("{line}");
    }
    Ok(())
}

/// Watches until each kind of news has come once. Returns what it heard and read.
pub(crate) async fn watch(directory: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let coder = Agent::start("coder", "while :; do :; done")?;
    let tester = Agent::start("tester", "exec sleep 1000")?;

    let directories = Directories { state: directory.join("state"), runtime: directory.to_owned() };
    let mut config = Config::parse(CONFIG, Path::new("the example"), &directories)?;
    config.registry.sources = vec![Source::Flags(vec![coder.claim()?, tester.claim()?])];

    let daemon = Daemon::bind(config, Parts::system()).await?;
    let handle = daemon.handle();
    let mut news = handle.subscribe();
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(daemon.run(async { drop(stopped.await) }));

    // When these return, what was told is on disk.
    handle.record_event(coder.id.clone(), EventReport::new("task", "it begins with ticket 7")).await?;
    handle.record_error(coder.id.clone(), ErrorReport::new("Timeout", "no answer within 30 s")).await?;

    let mut heard = Vec::new();
    let mut missing = BTreeSet::from(["metrics", "event", "error", "alert"]);
    while !missing.is_empty() {
        match news.recv().await {
            Ok(Update::Snapshot(now)) => {
                // Two readings make a rate: before the second it is not known.
                for agent in now.agents.iter() {
                    let Some(cpu) = agent.metrics.cpu_percent else { continue };
                    heard.push(format!("metrics: {} {} {cpu:.1} %", agent.id, agent.state.word()));
                    missing.remove("metrics");
                }
            }
            Ok(Update::Recorded(lines)) => {
                for JournalLine { recorded, .. } in lines.iter() {
                    let agent = recorded.entry.agent.as_ref().map_or("-", |(_, id)| id.as_str());
                    let (kind, told) = match &recorded.entry.body {
                        Body::Event(event) => ("event", format!("{}: {}", event.event_type, event.message)),
                        Body::Error(error) => ("error", format!("{}: {}", error.error_type, error.message)),
                        Body::Alert(alert) => ("alert", format!("{}: {}", alert.rule, alert.message)),
                    };
                    heard.push(format!("{kind}: {agent} {told}"));
                    missing.remove(kind);
                }
            }
            Err(RecvError::Lagged(lost)) => {
                heard.push(format!("{lost} messages were missed: `latest` has what is now"));
            }
            Err(RecvError::Closed) => break, // the daemon ended; `running` says why
        }
    }

    let document = String::from_utf8(handle.dashboard())?;
    let kept = handle.history(coder.id.clone()).await?.ok_or("it is known")?;
    heard.push(format!("dashboard: {document}"));
    heard.push(format!(
        "history: {} samples, {} events, {} errors",
        kept.metrics.len(),
        kept.events.len(),
        kept.unresolved
    ));

    drop(stop);
    running.await??;
    Ok(heard)
}

/// A process of ours, which ends with us.
struct Agent {
    id: AgentId,
    process: Child,
}

impl Agent {
    fn start(name: &str, script: &str) -> Result<Agent, Box<dyn Error>> {
        let process = Command::new("sh").args(["-c", script]).spawn()?;
        Ok(Agent { id: AgentId::new(name)?, process })
    }

    /// What a registry would say of it.
    fn claim(&self) -> Result<(AgentId, Pid), Box<dyn Error>> {
        let pid = Pid::new(self.process.id().into()).ok_or("it has no pid")?;
        Ok((self.id.clone(), pid))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
