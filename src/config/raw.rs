//! The file as it may be written: every table, its keys, and what may stand there. All of it is optional here.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use toml::de::DeValue;

use super::notes::{At, Notes};
use super::read::{Field, FromToml, Given, Word, field, table};
use super::text::{Mode, Size};
use super::{LogFormat, LogLevel, ReceiverKind};
use crate::model::{MemoryMethod, Metric, Severity};

/// A list, each element with its place.
pub(super) type List<T> = Vec<Given<T>>;

/// Makes a struct of a table's keys, and reads it. A field is called as its key unless `as` says otherwise.
macro_rules! tables {
    ($($(#[$doc:meta])* $name:ident { $($field:ident $(as $key:literal)?: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Default)]
        pub(super) struct $name { $(pub(super) $field: Field<$type>,)* }

        impl $name {
            const KEYS: &[&str] = &[$(tables!(@key $field $($key)?),)*];

            /// The keys that are given, with their places.
            #[allow(dead_code, reason = "only asked of tables with a `kind`")]
            pub(super) fn present(&self) -> Vec<(&'static str, &At)> {
                [$((tables!(@key $field $($key)?), self.$field.at()),)*]
                    .into_iter()
                    .filter_map(|(key, at)| Some((key, at?)))
                    .collect()
            }
        }

        impl FromToml for $name {
            const WHAT: &'static str = "a table";

            fn example(at: &At) -> String {
                format!("write [{}]", at.key)
            }

            fn from_toml(value: &DeValue<'_>, at: &At, notes: &mut Notes<'_>) -> Option<$name> {
                let table = table::<$name>(value, $name::KEYS, at, notes)?;
                Some($name { $($field: field(table, tables!(@key $field $($key)?), at, notes),)* })
            }

            fn keys(prefix: &str, all: &mut Vec<String>) {
                $(
                    let key = format!("{prefix}{}", tables!(@key $field $($key)?));
                    all.push(key.clone());
                    <$type as FromToml>::keys(&format!("{key}."), all);
                )*
            }
        }
    )*};
    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
}

tables! {
    /// The whole file.
    File {
        registry: Registry,
        sampling: Sampling,
        messages: Messages,
        storage: Storage,
        alerts: Alerts,
        api: Api,
        ingest: Ingest,
        log: Log,
    }

    /// `[registry]`
    Registry {
        refresh: Duration,
        stale_after: Duration,
        source: List<Source>,
    }

    /// `[[registry.source]]`, of any kind.
    Source {
        kind: SourceKind,
        path: PathBuf,
        url: String,
        token_file: PathBuf,
        timeout: Duration,
        agent: String,
        program: String,
        command_line: String,
    }

    /// `[sampling]`
    Sampling {
        interval: Duration,
        memory: MemoryMethod,
    }

    /// `[messages]`
    Messages {
        database: PathBuf,
    }

    /// `[storage]`
    Storage {
        directory: PathBuf,
        retention: Duration,
        rollup_retention: Duration,
        max_size: Size,
    }

    /// `[alerts]`
    Alerts {
        interval: Duration,
        rule: List<Rule>,
        notify: List<Receiver>,
    }

    /// `[[alerts.rule]]`
    Rule {
        name: String,
        metric: Metric,
        above: f64,
        below: f64,
        clear: f64,
        hold as "for": Duration,
        severity: Severity,
        repeat: Duration,
        agents: List<String>,
        enabled: bool,
    }

    /// `[[alerts.notify]]`, of either kind.
    Receiver {
        kind: ReceiverKind,
        url: String,
        secret_file: PathBuf,
        token_file: PathBuf,
    }

    /// `[api]`
    Api {
        listen: SocketAddr,
        allowed_hosts: List<String>,
        token_file: PathBuf,
    }

    /// `[ingest]`
    Ingest {
        socket: PathBuf,
        mode: Mode,
        group: String,
    }

    /// `[log]`
    Log {
        level: LogLevel,
        format: LogFormat,
        directory: PathBuf,
    }
}

/// Every key of the file, parents first, without the indices of lists: `registry`, `registry.refresh`, …
pub(super) fn keys() -> &'static [String] {
    static KEYS: LazyLock<Vec<String>> = LazyLock::new(|| {
        let mut all = Vec::new();
        File::keys("", &mut all);
        all
    });
    &KEYS
}

/// A table whose `kind` decides which of its keys may be given.
pub(super) trait Kind: Word {
    /// The keys of this kind, besides `kind`.
    fn keys(self) -> &'static [&'static str];
}

/// What a source is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SourceKind {
    File,
    Http,
    Match,
}

impl Kind for SourceKind {
    fn keys(self) -> &'static [&'static str] {
        match self {
            SourceKind::File => &["path"],
            SourceKind::Http => &["url", "token_file", "timeout"],
            SourceKind::Match => &["agent", "program", "command_line"],
        }
    }
}

impl Kind for ReceiverKind {
    fn keys(self) -> &'static [&'static str] {
        match self {
            ReceiverKind::Webhook => &["url", "secret_file", "token_file"],
            ReceiverKind::Alertmanager => &["url", "token_file"],
        }
    }
}

/// Says which words an enum has.
macro_rules! words {
    ($($type:ident, $what:literal, $($variant:ident = $word:literal),+;)*) => {$(
        impl Word for $type {
            const WHAT: &'static str = $what;
            const ALL: &'static [$type] = &[$($type::$variant),+];

            fn word(self) -> &'static str {
                match self { $($type::$variant => $word),+ }
            }
        }
    )*};
}

words! {
    SourceKind, "a kind of source", File = "file", Http = "http", Match = "match";
    ReceiverKind, "a kind of receiver", Webhook = "webhook", Alertmanager = "alertmanager";
    LogLevel, "a log level", Error = "error", Warn = "warn", Info = "info", Debug = "debug", Trace = "trace";
    LogFormat, "a log format", Text = "text", Json = "json";
}

impl Word for Metric {
    const WHAT: &'static str = "a metric";
    const ALL: &'static [Metric] = &Metric::ALL;

    fn word(self) -> &'static str {
        self.name()
    }
}

impl Word for Severity {
    const WHAT: &'static str = "a severity";
    const ALL: &'static [Severity] = &[Severity::Info, Severity::Warning, Severity::Critical];

    fn word(self) -> &'static str {
        Severity::word(self)
    }
}

impl Word for MemoryMethod {
    const WHAT: &'static str = "a way to count memory";
    const ALL: &'static [MemoryMethod] = &[MemoryMethod::Rss, MemoryMethod::Pss];

    fn word(self) -> &'static str {
        MemoryMethod::word(self)
    }
}
