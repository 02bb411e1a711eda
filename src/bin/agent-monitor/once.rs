//! `run --once`: two readings one second apart, printed. No lock, database or socket.

use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use agent_monitor::clock::{Clock, SystemClock};
use agent_monitor::config::{Config, Source};
use agent_monitor::daemon::Parts;
use agent_monitor::discovery::{self, HttpSource, Reading};
use agent_monitor::feed::Present;
use agent_monitor::model::{Resume, Snapshot, in_one_line};
use agent_monitor::monitor::{Effect, Input, Monitor};
use agent_monitor::{api, registry};
use anyhow::Context;

use crate::cli::RunOptions;
use crate::client::Document;
use crate::failure::Failure;
use crate::output::{print, print_json};
use crate::view::screen::Screen;
use crate::{agents, runtime};

/// Time from the first reading to the second.
const APART: Duration = Duration::from_secs(1);

/// Reads twice and prints.
pub(crate) fn once(options: &RunOptions) -> Result<(), Failure> {
    let config = options.config.read()?;
    let text = String::from_utf8(api::dashboard(&Present::alone(look(config)?))).context("no JSON")?;
    let value = serde_json::from_str(&text).context("no JSON")?;
    let document = Document { text, value };
    if options.json { print_json(&document) } else { print(&agents::agents(&document.value, Screen::of_stdout(None))) }
}

fn look(config: Config) -> Result<Arc<Snapshot>, Failure> {
    let clock = SystemClock;
    let source = (Parts::system().processes)(Arc::new(|| ()))
        .map_err(|error| anyhow::anyhow!(error).context("cannot read the processes of this host"))?;
    let config = Arc::new(config);
    let mut monitor = Monitor::new(Arc::clone(&config), source, Resume::default(), clock.now());
    let mut latest = Arc::new(Snapshot::empty(clock.now().wall));
    let mut take = |effects: Vec<Effect>| {
        for effect in effects {
            if let Effect::Publish(snapshot) = effect {
                latest = snapshot;
            }
        }
    };
    for input in read_sources(&config)? {
        take(monitor.handle(input, clock.now()));
    }
    let end = clock.now().mono + APART;
    let (_open, wait) = sync_channel::<()>(0);
    loop {
        let now = clock.now();
        take(monitor.step(now));
        if now.mono >= end {
            break;
        }
        let due = monitor.next_due().min(end);
        if wait.recv_timeout(due.since(now.mono)) == Err(RecvTimeoutError::Disconnected) {
            break;
        }
    }
    take(monitor.sample_now(clock.now()));
    Ok(latest)
}

/// Every source, read once.
fn read_sources(config: &Config) -> Result<Vec<Input>, Failure> {
    let mut inputs = Vec::new();
    for (index, source) in config.registry.sources.iter().enumerate() {
        let Some(reading) = read_source(source)? else { continue };
        if let Err(error) = &reading {
            let _ = writeln!(std::io::stderr(), "agent-monitor: {}: {error}", source.name());
        }
        inputs.push(Input::Source { index, reading });
    }
    Ok(inputs)
}

/// One source, read once; none for one that names nobody.
pub(crate) fn read_source(source: &Source) -> Result<Option<Reading>, Failure> {
    Ok(Some(match source {
        Source::File { path } => registry::file::read(path).map_err(|error| in_one_line(&error)),
        Source::Flags(agents) => Ok(discovery::flags(agents)),
        Source::Http { url, token_file, timeout } => {
            let source = HttpSource { url: url.clone(), token_file: token_file.clone(), timeout: *timeout };
            runtime()?.block_on(discovery::read_http(&source))
        }
        Source::Match { .. } => return Ok(None),
    }))
}
