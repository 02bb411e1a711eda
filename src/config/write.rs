//! The configuration in force, in the form of the file.

use std::fmt::Write as _;
use std::path::Path;

use toml::Value;

use super::read::Word as _;
use super::units::{format_duration, format_size};
use super::{Config, MatchBy, ReceiverKind, Source};
use crate::model::{AgentPattern, Condition, Rule};

impl Config {
    /// Every value in force, as a file that [`parse`](Config::parse) takes for the same configuration.
    ///
    /// Two things a file cannot say: an agent given on the command line appears as a comment, and a path that is not
    /// UTF-8 appears with replacement characters.
    pub fn to_toml(&self) -> String {
        let mut out = Document(String::new());
        out.table("registry");
        out.key("refresh", format_duration(self.registry.refresh));
        out.key("stale_after", format_duration(self.registry.stale_after));
        for source in &self.registry.sources {
            out.source(source);
        }
        out.table("sampling");
        out.key("interval", format_duration(self.sampling.interval));
        out.key("memory", self.sampling.memory.word());
        out.table("messages");
        out.path("database", self.messages.database.as_deref());
        out.table("storage");
        out.path("directory", Some(&self.storage.directory));
        out.key("retention", format_duration(self.storage.retention));
        out.key("rollup_retention", format_duration(self.storage.rollup_retention));
        out.key("max_size", format_size(self.storage.max_size_bytes));
        out.table("alerts");
        out.key("interval", format_duration(self.alerts.interval));
        for rule in &self.alerts.rules {
            out.rule(rule);
        }
        for receiver in &self.alerts.receivers {
            out.element("alerts.notify");
            out.key("kind", receiver.kind.word());
            out.key("url", receiver.url.as_str());
            if receiver.kind == ReceiverKind::Webhook {
                out.path("secret_file", receiver.secret_file.as_deref());
            }
            out.path("token_file", receiver.token_file.as_deref());
        }
        out.table("api");
        out.key("listen", self.api.listen.to_string());
        out.key("allowed_hosts", self.api.allowed_hosts.clone());
        out.path("token_file", self.api.token_file.as_deref());
        out.table("ingest");
        out.path("socket", Some(&self.ingest.socket));
        out.key("mode", format!("{:04o}", self.ingest.mode));
        if let Some(group) = &self.ingest.group {
            out.key("group", group.as_str());
        }
        out.table("log");
        out.key("level", self.log.level.word());
        out.key("format", self.log.format.word());
        out.path("directory", self.log.directory.as_deref());
        out.0
    }
}

struct Document(String);

impl Document {
    fn table(&mut self, name: &str) {
        let gap = if self.0.is_empty() { "" } else { "\n" };
        self.line(format_args!("{gap}[{name}]"));
    }

    fn element(&mut self, name: &str) {
        self.line(format_args!("\n[[{name}]]"));
    }

    fn key(&mut self, key: &str, value: impl Into<Value>) {
        self.line(format_args!("{key} = {}", value.into()));
    }

    fn path(&mut self, key: &str, path: Option<&Path>) {
        if let Some(path) = path {
            self.key(key, path.to_string_lossy().into_owned());
        }
    }

    fn source(&mut self, source: &Source) {
        if let Source::Flags(agents) = source {
            for (agent, pid) in agents {
                // An id has no control characters, so it cannot end the comment.
                self.line(format_args!("\n# from the command line: agent {agent} is process {pid}"));
            }
            return;
        }
        self.element("registry.source");
        match source {
            Source::File { path } => {
                self.key("kind", "file");
                self.path("path", Some(path));
            }
            Source::Http { url, token_file, timeout } => {
                self.key("kind", "http");
                self.key("url", url.as_str());
                self.path("token_file", token_file.as_deref());
                self.key("timeout", format_duration(*timeout));
            }
            Source::Match { agent, by } => {
                self.key("kind", "match");
                self.key("agent", agent.as_str());
                match by {
                    MatchBy::Program(program) => self.key("program", program.as_str()),
                    MatchBy::CommandLine(pattern) => self.key("command_line", pattern.as_str()),
                }
            }
            Source::Flags(_) => {}
        }
    }

    fn rule(&mut self, rule: &Rule) {
        self.element("alerts.rule");
        self.key("name", &*rule.name);
        let threshold = match rule.condition {
            Condition::Above { metric, limit, clear } => Some((metric, "above", limit, clear)),
            Condition::Below { metric, limit, clear } => Some((metric, "below", limit, clear)),
            _ => None,
        };
        if let Some((metric, side, limit, clear)) = threshold {
            self.key("metric", metric.name());
            self.key(side, limit);
            self.key("clear", clear);
        }
        self.key("for", format_duration(rule.hold));
        self.key("severity", rule.severity.word());
        self.key("repeat", format_duration(rule.repeat));
        if !rule.agents.is_empty() {
            self.key("agents", rule.agents.iter().map(AgentPattern::as_str).collect::<Vec<_>>());
        }
        self.key("enabled", rule.enabled);
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{line}");
    }
}
