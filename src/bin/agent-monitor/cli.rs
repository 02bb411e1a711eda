//! The command line.

use std::path::PathBuf;
use std::sync::LazyLock;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use agent_monitor::store;

use crate::configuration::{ConfigOptions, StateOptions};
use crate::demo::Part;
use crate::environment::variable;
use crate::view::screen::Times;

/// Watches the AI agents of this host: which are alive, what each uses with everything it started, why one ended.
#[derive(Parser)]
#[command(version = version(), max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// This version, the commit it is made of where that is known, and the SQLite in it.
fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let commit = option_env!("AGENT_MONITOR_MADE_OF").map(|commit| format!("commit {commit}, "));
        format!("{} ({}SQLite {})", env!("CARGO_PKG_VERSION"), commit.unwrap_or_default(), store::sqlite_version())
    });
    &VERSION
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
        /// Go on telling of them as they happen, oldest first, with --json a document a line; ends with Ctrl-C
        #[arg(short, long)]
        follow: bool,
        #[command(flatten)]
        list: ListOptions,
    },
    /// The unresolved problems and the latest occurrences of errors
    Errors {
        /// Resolved ones too
        #[arg(long)]
        all: bool,
        /// Only the problems; with --json, the document of the error groups
        #[arg(long)]
        groups: bool,
        /// Go on telling of errors as they are reported, oldest first, with --json a document a line; ends with Ctrl-C
        #[arg(short, long, conflicts_with = "groups")]
        follow: bool,
        #[command(flatten)]
        list: ListOptions,
    },
    /// The alerts that fire
    Alerts {
        /// Those that are over too
        #[arg(long)]
        all: bool,
        /// Go on telling as alerts fire and are over, oldest first, with --json a document a line; ends with Ctrl-C
        #[arg(short, long)]
        follow: bool,
        /// Send one message through every receiver of the configuration, and say what came back
        #[arg(long, conflicts_with_all = ["all", "follow", "agent", "limit", "url", "json"])]
        test: bool,
        /// With --test: the configuration file [env: AGENT_MONITOR_CONFIG] [default: /etc/agent-monitor.toml if it exists]
        #[arg(long, value_name = "FILE", requires = "test")]
        config: Option<PathBuf>,
        #[command(flatten)]
        list: ListOptions,
    },
    /// Tell the daemon of an event of an agent; done when it is on disk
    Event {
        /// The agent's id
        id: String,
        /// `started`, `stopped`, `error`, `warning`, or any word
        #[arg(value_name = "TYPE")]
        kind: String,
        /// One sentence
        #[arg(allow_hyphen_values = true)]
        message: String,
        #[command(flatten)]
        tell: TellOptions,
    },
    /// Tell the daemon of an error inside an agent; done when it is on disk
    Error {
        /// The agent's id
        id: String,
        /// The error's class or name
        name: String,
        /// Its message
        #[arg(allow_hyphen_values = true)]
        message: String,
        /// A file with its stack trace; `-` for standard input
        #[arg(long, value_name = "FILE")]
        stack: Option<PathBuf>,
        /// What it has in common with other occurrences of the same problem [default: worked out]
        #[arg(long, value_name = "TEXT")]
        fingerprint: Option<String>,
        #[command(flatten)]
        tell: TellOptions,
    },
    /// Say that an error is dealt with, or all of a problem
    Resolve {
        /// The id of an occurrence, or the fingerprint of a problem
        #[arg(value_name = "ERROR_ID")]
        what: String,
        /// It is a fingerprint, even if it is a number
        #[arg(long)]
        group: bool,
        /// With a fingerprint: only of this agent
        #[arg(long, value_name = "ID")]
        agent: Option<String>,
        #[command(flatten)]
        reach: Reach,
    },
    /// Take samples out of the database, whether the daemon runs or not
    Export {
        /// How they are written: a line each, or as OpenMetrics with their times
        #[arg(long, value_enum)]
        format: Format,
        /// Only of this agent
        #[arg(long, value_name = "ID")]
        agent: Option<String>,
        /// From this moment: a time (RFC 3339), seconds or milliseconds since 1970, `now`, or how long ago, such as `-7d`
        #[arg(long, value_name = "TIME", allow_hyphen_values = true, default_value = "0")]
        from: String,
        /// Up to this moment, which is not included
        #[arg(long, value_name = "TIME", allow_hyphen_values = true, default_value = "now")]
        to: String,
        #[command(flatten)]
        state: StateOptions,
    },
    /// Write a copy of the database into a new file, whether the daemon runs or not
    Backup {
        /// The file, which must not be there
        file: PathBuf,
        #[command(flatten)]
        state: StateOptions,
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
    /// Run the daemon as a service from now on: write and enable the systemd unit or the launchd property list
    InstallService(ServiceOptions),
    /// Stop that service and remove it; configuration and history stay
    UninstallService(ServiceOptions),
    /// Print what completes commands and options in a shell
    Completions {
        /// Which shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Print the manual page, for `man -l -`
    Man,
}

/// Whose service.
#[derive(Args)]
pub(crate) struct ServiceOptions {
    /// A service of this user, with its rights, instead of one of the host
    #[arg(long)]
    pub(crate) user: bool,

    /// Only print what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// How samples are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Format {
    /// RFC 4180, with the columns of the view `agent_metrics`
    Csv,
    /// An object a line
    Json,
    /// The text format of OpenMetrics
    Openmetrics,
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

    #[command(flatten)]
    pub(crate) socket: SocketOption,

    /// Print the JSON document
    #[arg(long)]
    pub(crate) json: bool,

    /// How times are told [default: ages on a terminal, else utc]
    #[arg(long, value_enum, value_name = "FORM", conflicts_with = "json")]
    pub(crate) times: Option<Times>,
}

impl ClientOptions {
    /// The daemon at this socket.
    pub(crate) fn at(socket: PathBuf) -> ClientOptions {
        ClientOptions { url: None, socket: SocketOption { socket: Some(socket) }, json: false, times: None }
    }
}

/// Where the daemon may be asked and told.
#[derive(Args)]
pub(crate) struct SocketOption {
    /// The Unix socket of the daemon [env: AGENT_MONITOR_SOCKET]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

impl SocketOption {
    /// The socket that was named.
    pub(crate) fn named(&self) -> Option<PathBuf> {
        self.socket.clone().or_else(|| variable("AGENT_MONITOR_SOCKET").map(PathBuf::from))
    }
}

/// What is told beside the message.
#[derive(Args)]
pub(crate) struct TellOptions {
    /// The rest, as a JSON object
    #[arg(long, value_name = "JSON", value_parser = object)]
    pub(crate) metadata: Option<serde_json::Map<String, serde_json::Value>>,

    /// A name for this report: told again, it is stored once
    #[arg(long = "id", value_name = "TEXT")]
    pub(crate) client_id: Option<String>,

    /// When it happened, RFC 3339 [default: now]
    #[arg(long, value_name = "TIME")]
    pub(crate) timestamp: Option<String>,

    #[command(flatten)]
    pub(crate) reach: Reach,
}

/// Which daemon is told, and what if none is there.
#[derive(Args)]
pub(crate) struct Reach {
    #[command(flatten)]
    pub(crate) socket: SocketOption,

    /// Say nothing and succeed when no daemon takes it
    #[arg(long)]
    pub(crate) best_effort: bool,

    /// Print the daemon's answer
    #[arg(long)]
    pub(crate) json: bool,
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

fn object(text: &str) -> Result<serde_json::Map<String, serde_json::Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("not a JSON object: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
