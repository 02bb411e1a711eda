//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use agent_monitor::config::{LogLevel, Overrides};
use agent_monitor::model::{AgentId, Pid};

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
}

#[derive(Args)]
pub(crate) struct RunOptions {
    /// The configuration file [default: /etc/agent-monitor.toml if it exists]
    #[arg(long, value_name = "FILE", env = "AGENT_MONITOR_CONFIG")]
    pub(crate) config: Option<PathBuf>,

    /// A file, folder or URL that names the agents; replaces the sources of the file (repeatable)
    #[arg(long, value_name = "FILE-OR-URL", env = "AGENT_MONITOR_REGISTRY")]
    registry: Vec<String>,

    /// One agent and its process; replaces the sources of the file (repeatable)
    #[arg(long, value_name = "ID=PID", value_parser = agent)]
    agent: Vec<(AgentId, Pid)>,

    /// Time from one sample to the next
    #[arg(long, value_name = "TIME", env = "AGENT_MONITOR_INTERVAL", value_parser = humantime::parse_duration)]
    interval: Option<Duration>,

    /// Where the endpoint listens; port 0 picks one
    #[arg(long, value_name = "ADDR:PORT", env = "AGENT_MONITOR_LISTEN")]
    listen: Option<SocketAddr>,

    /// The Unix socket
    #[arg(long, value_name = "PATH", env = "AGENT_MONITOR_SOCKET")]
    socket: Option<PathBuf>,

    /// Where history is kept
    #[arg(long, value_name = "DIR", env = "AGENT_MONITOR_STATE_DIR")]
    state_dir: Option<PathBuf>,

    /// What is logged: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", env = "AGENT_MONITOR_LOG", value_parser = level)]
    log: Option<LogLevel>,

    /// Take two readings one second apart, print them, and end: no database, no socket
    #[arg(long)]
    pub(crate) once: bool,

    /// With --once: print the dashboard document
    #[arg(long, requires = "once")]
    pub(crate) json: bool,
}

impl RunOptions {
    /// What flags and environment change in the configuration.
    pub(crate) fn overrides(&self) -> Overrides {
        Overrides {
            registry: self.registry.clone(),
            agents: self.agent.clone(),
            interval: self.interval,
            listen: self.listen,
            socket: self.socket.clone(),
            state_dir: self.state_dir.clone(),
            log: self.log,
        }
    }
}

fn agent(text: &str) -> Result<(AgentId, Pid), String> {
    let (id, pid) = text.rsplit_once('=').ok_or("write it as ID=PID, such as coder=4711")?;
    let id = AgentId::new(id).map_err(|error| error.to_string())?;
    let pid = pid.parse().ok().and_then(Pid::new).ok_or_else(|| format!("{pid:?} is not a process id"))?;
    Ok((id, pid))
}

fn level(text: &str) -> Result<LogLevel, String> {
    text.parse().map_err(|_| format!("{text:?} is not one of error, warn, info, debug, trace"))
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
