//! Which configuration is in force: its options on the command line, and how it is read.

use std::path::{Path, PathBuf};

use agent_monitor::config::{Config, Directories, Overrides, Setting};
use agent_monitor::model::{AgentId, Pid};
use anyhow::anyhow;
use clap::Args;

use crate::environment::{self, variable};
use crate::failure::{Failure, Kind};

/// What is read when no other file is named, if it exists.
pub(crate) const DEFAULT_FILE: &str = "/etc/agent-monitor.toml";

/// What decides about the configuration.
#[derive(Args, Default)]
pub(crate) struct ConfigOptions {
    /// The configuration file [env: AGENT_MONITOR_CONFIG] [default: /etc/agent-monitor.toml if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// A file, folder or URL that names the agents; replaces the sources of the file (repeatable)
    /// [env: AGENT_MONITOR_REGISTRY]
    #[arg(long, value_name = "FILE-OR-URL")]
    registry: Vec<String>,

    /// One agent and its process; replaces the sources of the file (repeatable)
    #[arg(long, value_name = "ID=PID", value_parser = agent)]
    agent: Vec<(AgentId, Pid)>,

    /// Time from one sample to the next, 1s to 1h [env: AGENT_MONITOR_INTERVAL] [default: 10s]
    #[arg(long, value_name = "TIME")]
    interval: Option<String>,

    /// Where the endpoint listens; port 0 picks one [env: AGENT_MONITOR_LISTEN] [default: 127.0.0.1:7717]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,

    /// The Unix socket [env: AGENT_MONITOR_SOCKET]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,

    /// Where history is kept [env: AGENT_MONITOR_STATE_DIR]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,

    /// What is logged: error, warn, info, debug or trace [env: AGENT_MONITOR_LOG] [default: info]
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
}

impl ConfigOptions {
    /// Nothing but a configuration file.
    pub(crate) fn of_file(config: Option<PathBuf>) -> ConfigOptions {
        ConfigOptions { config, ..ConfigOptions::default() }
    }

    /// The configuration file that was named.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        self.config.clone().or_else(|| variable("AGENT_MONITOR_CONFIG").map(PathBuf::from))
    }

    /// The configuration: flags over environment over file over defaults.
    ///
    /// # Errors
    /// When there is no place for history, or the file or a setting cannot be used.
    pub(crate) fn read(&self) -> Result<Config, Failure> {
        let unusable = |error| Failure::new(Kind::Unusable, error);
        let directories = self.directories()?;
        let default = Path::new(DEFAULT_FILE);
        let mut config = match self.file() {
            Some(path) => Config::load(&path, &directories).map_err(unusable)?,
            None if default.exists() => Config::load(default, &directories).map_err(unusable)?,
            None => Config::defaults(&directories),
        };
        self.overrides().apply(&mut config).map_err(unusable)?;
        Ok(config)
    }

    /// Where history is kept and the daemon announced, when the file says nothing else.
    ///
    /// # Errors
    /// When nothing names a place.
    pub(crate) fn directories(&self) -> Result<Directories, Failure> {
        environment::directories(self.state_dir.clone()).ok_or_else(|| {
            let error = anyhow!("nowhere to keep history: neither XDG_STATE_HOME nor HOME is set; use --state-dir");
            Failure::new(Kind::Unusable, error)
        })
    }

    /// What flags change in the configuration, and the environment where no flag does.
    fn overrides(&self) -> Overrides {
        let registry = self.registry.iter().map(|value| Setting::new(value.as_str(), "--registry"));
        let mut registry: Vec<Setting> = registry.collect();
        if registry.is_empty() {
            registry.extend(setting(None::<String>, "", "AGENT_MONITOR_REGISTRY"));
        }
        Overrides {
            registry,
            agents: self.agent.clone(),
            interval: setting(self.interval.clone(), "--interval", "AGENT_MONITOR_INTERVAL"),
            listen: setting(self.listen.clone(), "--listen", "AGENT_MONITOR_LISTEN"),
            socket: setting(self.socket.clone(), "--socket", "AGENT_MONITOR_SOCKET"),
            state_dir: setting(self.state_dir.clone(), "--state-dir", "AGENT_MONITOR_STATE_DIR"),
            log: setting(self.log.clone(), "--log", "AGENT_MONITOR_LOG"),
        }
    }
}

fn setting<T: From<String>>(value: Option<T>, flag: &'static str, name: &'static str) -> Option<Setting<T>> {
    let given = value.map(|value| Setting::new(value, flag));
    given.or_else(|| variable(name).map(|value| Setting::new(value, name)))
}

/// Which database.
#[derive(Args)]
pub(crate) struct StateOptions {
    /// The configuration file, which names the directory [env: AGENT_MONITOR_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Where history is kept [env: AGENT_MONITOR_STATE_DIR]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

impl From<StateOptions> for ConfigOptions {
    fn from(StateOptions { config, state_dir }: StateOptions) -> ConfigOptions {
        ConfigOptions { config, state_dir, ..ConfigOptions::default() }
    }
}

fn agent(text: &str) -> Result<(AgentId, Pid), String> {
    let (id, pid) = text.rsplit_once('=').ok_or("write it as ID=PID, such as coder=4711")?;
    let id = AgentId::new(id).map_err(|error| error.to_string())?;
    let pid = pid.parse().ok().and_then(Pid::new).ok_or_else(|| format!("{pid:?} is not a process id"))?;
    Ok((id, pid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents() {
        let (id, pid) = agent("a=b=7").unwrap();
        assert_eq!((id.as_str(), pid.get()), ("a=b", 7));
        for text in ["", "a", "a=", "=7", "a=0", "a=-1", "a=x", "a=99999999999"] {
            assert!(agent(text).is_err(), "{text}");
        }
    }
}
