//! `run`: the daemon in the foreground.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_monitor::config::Config;
use agent_monitor::daemon::{Daemon, Handle, Parts};
use agent_monitor::endpoint::{self, Announced, Endpoint};
use agent_monitor::model::Pid;
use agent_monitor::process::here::{identify, release_unused, spare_memory};
use anyhow::{Context, anyhow};
use futures_util::StreamExt;

use crate::configuration::{ConfigOptions, DEFAULT_FILE};
use crate::failure::{Failure, Kind};
use crate::logging::Logging;
use crate::welcome::Welcome;
use crate::{client, logging, notify, runtime, signals};

/// Runs the daemon until it is asked to stop.
pub(crate) fn run(options: ConfigOptions) -> Result<(), Failure> {
    let sparing = spare_memory();
    let config = options.read()?;
    let log = logging::start(&config.log)
        .context("cannot start the log")
        .map_err(|error| Failure::new(Kind::Unusable, error))?;
    if !sparing {
        tracing::debug!("the allocator cannot be told to spare memory");
    }
    let runtime = runtime()?;
    let log = Arc::new(Mutex::new(log));
    let outcome = runtime.block_on(serve(config, options, Arc::clone(&log)));
    // A file system that hangs under a reload must not hold up the end.
    runtime.shutdown_background();
    outcome
}

async fn serve(config: Config, options: ConfigOptions, log: Arc<Mutex<Logging>>) -> Result<(), Failure> {
    // Before anything else: until somebody listens, a SIGHUP ends the process.
    let reloads = signals::reloads().context("cannot handle signals")?;
    signals::survive_file_limits().context("cannot handle signals")?;
    let welcome = is_bare(&config, &options).then(|| config.clone());
    let daemon = Daemon::bind(config, Parts::system()).await?;
    let shutdown = signals::shutdown().context("cannot handle signals")?;
    let handle = daemon.handle();
    let lost = log.lock().expect("no holder of this lock panics").lost();
    handle.count_lost_log_lines(move || lost.lines());
    let announced = options.directories().ok().and_then(|found| announce(&daemon, &found.runtime));
    let socket = daemon.socket_path().to_owned();
    let welcome = welcome.map(|config| Welcome::new(DEFAULT_FILE, daemon.url(), daemon.state_directory(), &config));
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        dashboard = %daemon.url(),
        socket = %socket.display(),
        state = %daemon.state_directory().display(),
        "agent-monitor is running"
    );
    // The one result of this command; a closed standard output is no reason to stop watching.
    let _ = writeln!(std::io::stdout(), "{}", daemon.url());
    notify::ready(&handle);
    let asked = async move {
        shutdown.await;
        notify::stopping();
        // Before the state directory is free for a successor.
        drop(announced);
    };
    tokio::select! {
        ended = daemon.run(asked) => ended.map_err(|error| Failure::new(Kind::Failed, error))?,
        () = keep_reloading(reloads, handle.clone(), Arc::new(options), log) => {}
        () = greet(welcome, handle.clone()) => {}
        () = notify::keep_telling(handle, socket) => {}
        () = keep_small() => {}
    }
    tracing::info!("agent-monitor stopped");
    Ok(())
}

/// Gives back memory that was needed once: for the start, for the first readings, then for what is seldom asked.
async fn keep_small() {
    const FIRST: Duration = Duration::from_secs(60);
    let mut moments = tokio::time::interval(Duration::from_secs(3600));
    moments.reset_after(FIRST);
    loop {
        if let Err(error) = release_unused() {
            tracing::debug!(%error, "memory that was needed once cannot be given back");
        }
        moments.tick().await;
    }
}

/// Whether nobody said anything about which agents there are, or how to watch.
fn is_bare(config: &Config, options: &ConfigOptions) -> bool {
    options.file().is_none() && !Path::new(DEFAULT_FILE).exists() && config.registry.sources.is_empty()
}

async fn greet(welcome: Option<Welcome>, handle: Handle) {
    match welcome {
        Some(welcome) => welcome.say(handle).await,
        None => std::future::pending().await,
    }
}

/// Writes where the daemon can be asked, unless another one that lives has written it there.
fn announce(daemon: &Daemon, runtime: &Path) -> Option<Announced> {
    let file = runtime.join(endpoint::FILE_NAME);
    if let Ok(Some(other)) = Endpoint::read(runtime)
        && client::lives(&other)
        && other.process.pid.get() != std::process::id()
    {
        let (file, pid) = (file.display(), other.process.pid);
        tracing::warn!(%file, %pid, "another daemon is announced here; ask this one with --url or --socket");
        return None;
    }
    let announced = Pid::new(i64::from(std::process::id()))
        .ok_or_else(|| anyhow!("no process id"))
        .and_then(|pid| Ok(identify(pid)?))
        .and_then(|(process, boot)| {
            let endpoint = Endpoint {
                url: daemon.url(),
                socket: daemon.socket_path().to_owned(),
                process,
                boot,
                version: env!("CARGO_PKG_VERSION").to_owned(),
            };
            Ok(endpoint.announce(runtime)?)
        });
    match announced {
        Ok(announced) => Some(announced),
        Err(error) => {
            let file = file.display();
            tracing::warn!(%file, error = %format!("{error:#}"), "cannot announce; other commands need --url or --socket");
            None
        }
    }
}

/// Reloads the configuration at each signal, for ever.
async fn keep_reloading(
    mut signals: impl futures_util::Stream<Item = ()> + Unpin,
    handle: Handle,
    options: Arc<ConfigOptions>,
    log: Arc<Mutex<Logging>>,
) {
    while signals.next().await.is_some() {
        notify::reloading();
        let (told, options, log) = (handle.clone(), Arc::clone(&options), Arc::clone(&log));
        // Files are read, and wherever they are may be slow.
        let reloaded = tokio::task::spawn_blocking(move || reload(&told, &options, &log)).await;
        if let Err(error) = reloaded {
            tracing::error!(%error, "a reload panicked");
            handle.reload_failed("it panicked: a bug");
        }
        notify::ready(&handle);
    }
    std::future::pending::<()>().await;
}

fn reload(handle: &Handle, options: &ConfigOptions, log: &Mutex<Logging>) {
    let config = match options.read() {
        Ok(config) => config,
        Err(failure) => {
            let reason = failure.to_string();
            tracing::error!("the configuration cannot be used, the old one stays in force: {reason}");
            return handle.reload_failed(&reason);
        }
    };
    // First what can be undone.
    let mut log = log.lock().expect("no holder of this lock panics");
    let before = log.settings();
    if let Err(error) = log.change(&config.log) {
        let reason = format!("cannot change the log: {error:#}");
        tracing::error!("the old configuration stays in force: {reason}");
        return handle.reload_failed(&reason);
    }
    match handle.reload(config) {
        Ok(keys) if keys.is_empty() => tracing::info!("the configuration was read again"),
        Ok(keys) => {
            let keys = keys.join(", ");
            tracing::warn!(need_restart = keys, "the configuration was read again; some keys wait for the next start");
        }
        Err(error) => {
            let reason = format!("{:#}", anyhow::Error::from(error));
            if let Err(error) = log.change(&before) {
                tracing::error!(%error, "cannot change the log back");
            }
            tracing::error!("the configuration cannot be used, the old one stays in force: {reason}");
        }
    }
}
