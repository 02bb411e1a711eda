//! `demo`: the newcomer's minute. A few real processes as agents, a registry that names them, and the daemon on top, with
//! a directory of its own that goes with it.

mod broker;
mod part;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agent_monitor::api;
use agent_monitor::clock::monotonic;
use agent_monitor::config::{Config, Directories, Source};
use agent_monitor::daemon::{Daemon, Handle, Parts};
use agent_monitor::feed::{Present, Update};
use agent_monitor::model::{AgentId, Body, ErrorReport, JsonObject, Mono, Recorded, Snapshot, Transition};
use anyhow::Context;
use tokio::sync::broadcast::error::RecvError;

use crate::agents::agents;
use crate::failure::Failure;
use crate::view::screen::{Look, Screen};
use crate::view::table::{Cell, Column, table};
use crate::view::text::printable;
use crate::{logging, runtime, signals};

use broker::{Broker, Crash};
pub(crate) use part::{Part, play};

/// Patient rules are for real agents: here a minute is all there is.
const CONFIG: &str = r#"
[registry]
refresh = "1s"
[sampling]
interval = "1s"
[alerts]
interval = "1s"
[[alerts.rule]]
name = "high_cpu"
above = 20
clear = 10
for = "3s"
[[alerts.rule]]
name = "high_memory"
above = 64
clear = 48
for = "1s"
[[alerts.rule]]
name = "leftovers"
for = "1s"
[api]
listen = "127.0.0.1:0"
[log]
level = "error"
"#;

/// How often the broker looks at its agents.
const BROKER_INTERVAL: Duration = Duration::from_millis(200);

/// When the agents are shown as a table.
const TABLE_AFTER: Duration = Duration::from_secs(10);

/// Runs until it is asked to stop.
///
/// # Errors
/// When the system refuses what the demo needs, or a part of the daemon fails.
pub(crate) fn demo() -> Result<(), Failure> {
    let broker = Broker::open()?;
    let config = config(&broker)?;
    let _log = logging::start(&config.log).context("cannot start the log")?;
    runtime()?.block_on(show(config, broker))
}

fn config(broker: &Broker) -> Result<Config, Failure> {
    let directories = Directories { state: broker.directory().join("state"), runtime: broker.directory().to_owned() };
    let mut config = Config::parse(CONFIG, Path::new("demo"), &directories).context("the demo's configuration")?;
    config.registry.sources = vec![Source::File { path: broker.registry() }];
    Ok(config)
}

async fn show(config: Config, mut broker: Broker) -> Result<(), Failure> {
    let shutdown = signals::ended().context("cannot handle signals")?;
    let daemon = Daemon::bind(config, Parts::system()).await?;
    let handle = daemon.handle();
    let url = daemon.url();
    // The one result of this command.
    let _ = writeln!(std::io::stdout(), "{url}");
    say(&introduction(&broker, &url));
    let begun = monotonic();
    tokio::select! {
        ended = daemon.run(shutdown) => ended.context("the demo failed")?,
        failed = keep_going(&mut broker, &handle) => failed?,
        () = keep_telling(&handle, begun) => {}
    }
    say("\nThe demo is over; its processes and files are gone with it.\n");
    Ok(())
}

/// A closed standard error is no reason to stop.
fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn introduction(broker: &Broker, url: &str) -> String {
    let screen = Screen::of_stderr();
    let rows = broker.agents().iter().map(|agent| vec![Cell::new(format!("  {}", agent.id)), Cell::new(agent.does)]);
    let columns = [Column::words("  AGENT"), Column::words("WHAT IT DOES")];
    format!(
        "\nagent-monitor demo: real processes, watched every second. Ctrl-C ends it and leaves nothing behind.\n\n\
         {}\n  \
         In a browser          {url}\n  \
         In another terminal   agent-monitor top --url {url}\n                        \
         agent-monitor agent crashing --url {url}\n\n\
         What the monitor sees:\n",
        table(&columns, rows.collect(), screen),
    )
}

/// The broker's work, and its reports of crashes, until something fails.
async fn keep_going(broker: &mut Broker, handle: &Handle) -> Result<(), Failure> {
    let mut timer = tokio::time::interval(BROKER_INTERVAL);
    loop {
        timer.tick().await;
        for Crash { id, status } in broker.go_on(&handle.latest())? {
            let error = ErrorReport {
                error_type: "AgentCrashed".into(),
                message: format!("{id} ended with {status}").into(),
                stack: None,
                metadata: JsonObject::default(),
                fingerprint: None,
            };
            // The daemon is told as by any other broker; if it is too busy, this one is lost.
            let _ = handle.record_error(AgentId::new(id).context("an id")?, error).await;
        }
    }
}

/// Tells what is recorded, and once shows all agents, for ever.
async fn keep_telling(handle: &Handle, begun: Mono) {
    let mut updates = handle.subscribe();
    let mut shown = false;
    loop {
        let elapsed = || monotonic().since(begun);
        match updates.recv().await {
            Ok(Update::Recorded(lines)) => lines.iter().for_each(|line| say(&told(&line.recorded, elapsed()))),
            Ok(Update::Snapshot(snapshot)) if !shown && elapsed() >= TABLE_AFTER => {
                shown = true;
                say(&as_table(snapshot));
            }
            Ok(Update::Snapshot(_)) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}

fn told(Recorded { entry, .. }: &Recorded, elapsed: Duration) -> String {
    let screen = Screen::of_stderr();
    let (kind, look, message) = match &entry.body {
        Body::Event(event) => {
            let look = match &*event.event_type {
                "error" => Look::Bad,
                "warning" => Look::Warning,
                _ => Look::Plain,
            };
            (printable(&event.event_type), look, printable(&event.message))
        }
        Body::Alert(alert) if alert.transition == Transition::Fired => {
            (format!("alert {}", printable(&alert.rule)), Look::Bad, printable(&alert.message))
        }
        Body::Alert(alert) => (format!("alert {}", printable(&alert.rule)), Look::Good, printable(&alert.message)),
        // The same crash, as its broker reports it.
        Body::Error(_) => return String::new(),
    };
    let agent = entry.agent.as_ref().map(|(_, id)| printable(id.as_str())).unwrap_or_default();
    let kind = screen.paint(look, &format!("{kind:<18}"));
    format!("  {:>3}s  {agent:<9}  {kind}  {message}\n", elapsed.as_secs())
}

fn as_table(snapshot: Arc<Snapshot>) -> String {
    let document = serde_json::from_slice(&api::dashboard(&Present::alone(snapshot))).unwrap_or_default();
    let text = agents(&document, Screen::of_stderr());
    let lines: String = text.lines().map(|line| format!("  {line}\n")).collect();
    format!("\nAll agents now, as `agent-monitor status` shows them:\n\n{lines}\n")
}
