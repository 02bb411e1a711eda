//! `run`: the daemon in the foreground.

use std::io::Write;
use std::path::Path;

use agent_monitor::config::Config;
use agent_monitor::daemon::{Daemon, Parts, StartError};
use anyhow::Context;

use crate::cli::RunOptions;
use crate::failure::{Failure, Kind};
use crate::{environment, logging, signals};

const DEFAULT_CONFIG: &str = "/etc/agent-monitor.toml";

/// Runs the daemon until it is asked to stop.
pub(crate) fn run(options: &RunOptions) -> Result<(), Failure> {
    let config = configuration(options)?;
    let _log = logging::start(&config.log)
        .context("cannot start the log")
        .map_err(|error| Failure::new(Kind::Unusable, error))?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    runtime.block_on(serve(config))
}

async fn serve(config: Config) -> Result<(), Failure> {
    let daemon = Daemon::bind(config, Parts::system()).await.map_err(start_failure)?;
    let shutdown = signals::shutdown().context("cannot handle signals")?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        dashboard = %daemon.url(),
        socket = %daemon.socket_path().display(),
        state = %daemon.state_directory().display(),
        "agent-monitor is running"
    );
    // The one result of this command; a closed standard output is no reason to stop watching.
    let _ = writeln!(std::io::stdout(), "{}", daemon.url());
    daemon.run(shutdown).await.map_err(|error| Failure::new(Kind::Failed, error))?;
    tracing::info!("agent-monitor stopped");
    Ok(())
}

/// The configuration: flags over environment over file over defaults.
pub(crate) fn configuration(options: &RunOptions) -> Result<Config, Failure> {
    let directories = environment::directories()?;
    let unusable = |error| Failure::new(Kind::Unusable, error);
    let default = Path::new(DEFAULT_CONFIG);
    let mut config = match options.config() {
        Some(path) => Config::load(&path, &directories).map_err(unusable)?,
        None if default.exists() => Config::load(default, &directories).map_err(unusable)?,
        None => Config::defaults(&directories),
    };
    options.overrides().apply(&mut config).map_err(unusable)?;
    Ok(config)
}

fn start_failure(error: StartError) -> Failure {
    let kind = match &error {
        StartError::Held(_) => Kind::Held,
        StartError::Listen { .. } | StartError::Socket(_) => Kind::Unavailable,
        StartError::Store(_) | StartError::Token { .. } => Kind::Unusable,
        StartError::Processes { .. } => Kind::Failed,
    };
    Failure::new(kind, error)
}
