//! The configuration, checked: there is no way to hold one that cannot be run.
//!
//! Two stages: `raw` mirrors the file, `check` turns it into [`Config`]. Every problem of both is told at once.
#![deny(
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unwrap_used,
    clippy::panic,
    clippy::unreachable,
    reason = "no input may end the daemon"
)]

mod check;
mod error;
mod notes;
mod overrides;
mod raw;
mod read;
mod rules;
mod text;
mod units;
mod write;

use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use check::{is_guarded, socket_workshop};
pub use error::{ConfigErrors, Place, Problem};
pub use overrides::{Overrides, Setting};
pub use units::{format_duration, format_size, parse_duration, parse_size};

use crate::model::{MemoryMethod, Rule};

/// Everything that can be set.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// Where agents are learned of.
    pub registry: Registry,
    /// How often they are looked at.
    pub sampling: Sampling,
    /// Where their messages are counted.
    pub messages: Messages,
    /// Where and for how long history is kept.
    pub storage: Storage,
    /// What is told, when, and to whom.
    pub alerts: Alerts,
    /// The read-only endpoint.
    pub api: Api,
    /// The socket that takes events and errors.
    pub ingest: Ingest,
    /// The daemon's own log.
    pub log: Log,
}

impl Config {
    /// The largest file that is read, bytes.
    pub const LIMIT_BYTES: u64 = 1 << 20;

    /// What holds when nothing is said.
    pub fn defaults(directories: &Directories) -> Config {
        let mut notes = notes::Notes::new(Path::new(""), "");
        check::config(raw::File::default(), directories, &mut notes)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, is larger than [`LIMIT_BYTES`](Config::LIMIT_BYTES) or not UTF-8, and as
    /// [`parse`](Config::parse).
    pub fn load(path: &Path, directories: &Directories) -> Result<Config, ConfigErrors> {
        let whole = |message: String| Problem {
            file: Some(path.to_owned()),
            place: None,
            key: String::new(),
            message,
            hint: None,
        };
        let mut bytes = Vec::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(Config::LIMIT_BYTES + 1).read_to_end(&mut bytes))
            .map_err(|error| whole(format!("cannot be read: {error}")))?;
        if bytes.len() as u64 > Config::LIMIT_BYTES {
            return Err(whole(format!("is larger than {}", format_size(Config::LIMIT_BYTES))).into());
        }
        match std::str::from_utf8(&bytes) {
            Ok(text) => Config::parse(text, path, directories),
            Err(error) => {
                // Up to the first byte that is wrong, the repaired text is the same.
                let text = String::from_utf8_lossy(&bytes);
                let at = notes::At { span: error.valid_up_to()..error.valid_up_to(), ..notes::At::root() };
                Err(notes::Notes::new(path, &text).problem(&at, notes::Complaint::new("is not UTF-8")).into())
            }
        }
    }

    /// Takes the text of a file. `origin` is what messages call it.
    ///
    /// ```
    /// use std::path::Path;
    /// use agent_monitor::config::{Config, Directories};
    ///
    /// let directories = Directories { state: "/var/lib/agent-monitor".into(), runtime: "/run/agent-monitor".into() };
    /// let parse = |text| Config::parse(text, Path::new("my.toml"), &directories);
    /// assert_eq!(parse("[sampling]\ninterval = \"2s\"\n").unwrap().sampling.interval.as_secs(), 2);
    ///
    /// let problems = parse("[sampling]\nintervall = \"2s\"\n").unwrap_err().to_string();
    /// assert!(problems.starts_with("my.toml:2:1: sampling.intervall: unknown key (did you mean sampling.interval?)"));
    /// ```
    ///
    /// # Errors
    /// Everything that is wrong with it, at once; when it is not TOML, the first place where it is not.
    pub fn parse(text: &str, origin: &Path, directories: &Directories) -> Result<Config, ConfigErrors> {
        let mut notes = notes::Notes::new(origin, text);
        let file = read::document(text, &mut notes);
        let config = check::config(file, directories, &mut notes);
        notes.into_errors().map_or(Ok(config), Err)
    }
}

/// Every key that a file may have, parents first and without the indices of lists: `registry`, `registry.refresh`, …
pub fn keys() -> &'static [String] {
    raw::keys()
}

/// Compiles the regular expression of [`MatchBy::CommandLine`], within bounds of size and depth.
///
/// # Errors
/// When it is none, or too large.
pub fn command_line_regex(pattern: &str) -> Result<regex_lite::Regex, regex_lite::Error> {
    regex_lite::RegexBuilder::new(pattern).size_limit(1 << 20).build()
}

/// Where agents are learned of.
#[derive(Clone, PartialEq, Debug)]
pub struct Registry {
    /// How often every source is read again.
    pub refresh: Duration,
    /// Without a good read for this long a source is stale.
    pub stale_after: Duration,
    /// In order of precedence. Empty: the built-in match rules.
    pub sources: Vec<Source>,
}

/// One place that names agents.
#[derive(Clone, PartialEq, Debug)]
pub enum Source {
    /// A JSON file, or a folder with one JSON file per agent.
    File {
        /// Where it is.
        path: PathBuf,
    },
    /// A URL that answers with JSON.
    Http {
        /// `http` or `https`.
        url: String,
        /// A file with the token to send as Bearer.
        token_file: Option<PathBuf>,
        /// For the whole request.
        timeout: Duration,
    },
    /// Programs to recognise.
    Match {
        /// What agents found by it are called.
        agent: String,
        /// By which sign.
        by: MatchBy,
    },
    /// Given on the command line.
    Flags(Vec<(crate::model::AgentId, crate::model::Pid)>),
}

/// How a match source recognises a program.
#[derive(Clone, PartialEq, Debug)]
pub enum MatchBy {
    /// By the program's file name.
    Program(String),
    /// By a regular expression on program or script and its arguments, which must fit from the start.
    CommandLine(String),
}

/// How often agents are looked at, and how.
#[derive(Clone, PartialEq, Debug)]
pub struct Sampling {
    /// Time from one sample to the next: 1 s to 1 h.
    pub interval: Duration,
    /// How memory is added up.
    pub memory: MemoryMethod,
}

/// Where messages are counted.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Messages {
    /// The broker's SQLite database, opened read-only.
    pub database: Option<PathBuf>,
}

/// Where and for how long history is kept.
#[derive(Clone, PartialEq, Debug)]
pub struct Storage {
    /// The state directory.
    pub directory: PathBuf,
    /// Age at which samples, events, resolved errors, ended runs and leftovers, and minutes of the host go; at least 1 h.
    pub retention: Duration,
    /// Age at which summaries go; at least `retention`.
    pub rollup_retention: Duration,
    /// The most that database and log may take together, bytes; at least 16 MiB.
    pub max_size_bytes: u64,
}

/// What is told, when, and to whom.
#[derive(Clone, PartialEq, Debug)]
pub struct Alerts {
    /// How often rules are evaluated.
    pub interval: Duration,
    /// The rules in use: built-in ones with their changes, then the user's own.
    pub rules: Vec<Rule>,
    /// Who is told.
    pub receivers: Vec<Receiver>,
}

/// Who is told of alerts.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Receiver {
    /// Which protocol.
    pub kind: ReceiverKind,
    /// Where to.
    pub url: String,
    /// A file with the secret that signs each request.
    pub secret_file: Option<PathBuf>,
    /// A file with the token to send as Bearer.
    pub token_file: Option<PathBuf>,
}

/// How a receiver is spoken to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ReceiverKind {
    /// Alertmanager's webhook format, version 4.
    Webhook,
    /// Alertmanager's v2 API.
    Alertmanager,
}

/// The read-only endpoint.
#[derive(Clone, PartialEq, Debug)]
pub struct Api {
    /// Where it listens. Beyond loopback only with a token.
    pub listen: SocketAddr,
    /// Host names to answer to, besides those of loopback.
    pub allowed_hosts: Vec<String>,
    /// A file with the token that every request needs.
    pub token_file: Option<PathBuf>,
}

/// The socket that takes events and errors.
#[derive(Clone, PartialEq, Debug)]
pub struct Ingest {
    /// Where it is.
    pub socket: PathBuf,
    /// Its permissions, such as `0o660`.
    pub mode: u32,
    /// The group it is given to.
    pub group: Option<String>,
}

/// The daemon's own log.
#[derive(Clone, PartialEq, Debug)]
pub struct Log {
    /// What is told: this and what is graver.
    pub level: LogLevel,
    /// In which form.
    pub format: LogFormat,
    /// Daily files in this directory; standard error when none.
    pub directory: Option<PathBuf>,
}

/// How much is logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogLevel {
    /// Failures.
    Error,
    /// And what may become one.
    Warn,
    /// And the life cycle.
    Info,
    /// And what helps to find a mistake.
    Debug,
    /// And everything else.
    Trace,
}

/// The form of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// What the environment decides and the file may override: where things are when nothing says otherwise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Directories {
    /// For what is kept.
    pub state: PathBuf,
    /// For sockets and what is gone after a reboot.
    pub runtime: PathBuf,
}

impl Source {
    /// The name that agents and answers carry: `file:PATH`, the URL without user and query, `match:NAME`, `flag`.
    pub fn name(&self) -> String {
        match self {
            Source::File { path } => {
                let path = path.to_string_lossy();
                // A path may hold what would forge a line of a log.
                format!("file:{}", path.replace(char::is_control, "\u{fffd}"))
            }
            Source::Http { url, .. } => public_url(url),
            Source::Match { agent, .. } => format!("match:{agent}"),
            Source::Flags(_) => "flag".to_owned(),
        }
    }
}

/// The URL without user, password, query and fragment: all that may be shown of it.
pub fn public_url(url: &str) -> String {
    let Ok(mut url) = url::Url::parse(url) else { return "http:(not a URL)".to_owned() };
    // Fails for URLs that cannot have a user, which is as well.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_sources_are_harmless() {
        let file = |path: &str| Source::File { path: path.into() };
        let http = |url: &str| Source::Http { url: url.to_owned(), token_file: None, timeout: Duration::from_secs(5) };
        for (source, expected) in [
            (file("/run/broker/agents.json"), "file:/run/broker/agents.json"),
            (file("/run/a\nb"), "file:/run/a\u{fffd}b"),
            (http("http://127.0.0.1:3000/api/agents"), "http://127.0.0.1:3000/api/agents"),
            (http("https://me:hunter2@broker/api?token=hunter2#hunter2"), "https://broker/api"),
            (http("hunter2"), "http:(not a URL)"),
        ] {
            assert_eq!(source.name(), expected);
        }
    }
}
