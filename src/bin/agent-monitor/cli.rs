//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use agent_monitor::config::{Overrides, Setting};
use agent_monitor::model::{AgentId, Pid};

use crate::demo::Part;
use crate::environment::variable;

/// Watches the AI agents of this host: which are alive, what each uses with everything it started, why one ended.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run the daemon in the foreground
    Run(RunOptions),
    /// A minute to see what this is: starts a few small processes as agents, watches them, and leaves nothing behind
    Demo,
    /// One process of the demo
    #[command(hide = true)]
    DemoPart {
        /// Which
        part: Part,
    },
    /// One screen: health of the daemon, firing alerts, a line per agent
    Status(ClientOptions),
    /// All agents, live, in the terminal; without a terminal the same as `status`
    Top(ClientOptions),
    /// One agent: identity, processes, runs, recent samples, events, errors, leftovers
    Agent {
        /// Its id
        id: String,
        #[command(flatten)]
        client: ClientOptions,
    },
    /// The latest events
    Events {
        /// Only this type, such as `error`
        #[arg(long = "type", value_name = "TYPE")]
        kind: Option<String>,
        #[command(flatten)]
        list: ListOptions,
    },
    /// The latest unresolved errors
    Errors {
        /// Resolved ones too
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        list: ListOptions,
    },
    /// The alerts that fire
    Alerts {
        /// Those that are over too
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        list: ListOptions,
    },
    /// Check this host: what the daemon needs, what it will not see, and what to do about it
    Doctor {
        #[command(flatten)]
        config: ConfigOptions,
        /// Print the checks as JSON
        #[arg(long)]
        json: bool,
    },
    /// Check the configuration: tell every problem at once, else print what is in force
    Check(ConfigOptions),
}

#[derive(Args)]
pub(crate) struct RunOptions {
    #[command(flatten)]
    pub(crate) config: ConfigOptions,

    /// Take two readings one second apart, print them, and end: no database, no socket
    #[arg(long)]
    pub(crate) once: bool,

    /// With --once: print the dashboard document
    #[arg(long, requires = "once")]
    pub(crate) json: bool,
}

/// Which daemon is asked, and how the answer is printed.
#[derive(Args)]
pub(crate) struct ClientOptions {
    /// The address of the daemon [default: that of the daemon of this user, else of this host]
    #[arg(long, value_name = "URL", conflicts_with = "socket")]
    pub(crate) url: Option<String>,

    /// The Unix socket of the daemon [env: AGENT_MONITOR_SOCKET]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,

    /// Print the JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

impl ClientOptions {
    /// The daemon at this socket.
    pub(crate) fn at(socket: PathBuf) -> ClientOptions {
        ClientOptions { url: None, socket: Some(socket), json: false }
    }

    /// The socket that was named.
    pub(crate) fn socket(&self) -> Option<PathBuf> {
        self.socket.clone().or_else(|| variable("AGENT_MONITOR_SOCKET").map(PathBuf::from))
    }
}

#[derive(Args)]
pub(crate) struct ListOptions {
    /// Only of this agent
    #[arg(long, value_name = "ID")]
    pub(crate) agent: Option<String>,

    /// At most so many
    #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub(crate) limit: u32,

    #[command(flatten)]
    pub(crate) client: ClientOptions,
}

/// What decides about the configuration.
#[derive(Args)]
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
    /// The configuration file that was named.
    pub(crate) fn config(&self) -> Option<PathBuf> {
        self.config.clone().or_else(|| variable("AGENT_MONITOR_CONFIG").map(PathBuf::from))
    }

    /// The state directory that a flag names.
    pub(crate) fn state_dir(&self) -> Option<PathBuf> {
        self.state_dir.clone()
    }

    /// What flags change in the configuration, and the environment where no flag does.
    pub(crate) fn overrides(&self) -> Overrides {
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
    fn the_definition_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn agents() {
        let (id, pid) = agent("a=b=7").unwrap();
        assert_eq!((id.as_str(), pid.get()), ("a=b", 7));
        for text in ["", "a", "a=", "=7", "a=0", "a=-1", "a=x", "a=99999999999"] {
            assert!(agent(text).is_err(), "{text}");
        }
    }
}
