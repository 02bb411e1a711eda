//! How things are now, for Prometheus and whatever else scrapes it.
//!
//! Two forms: the text format 0.0.4 (<https://prometheus.io/docs/instrumenting/exposition_formats/>) and OpenMetrics 1.0
//! (<https://prometheus.io/docs/specs/om/open_metrics_spec/>). What is not known has no line: it is not zero. An agent
//! has as many series as there are families, never one for a process or a command line, and none any more when it left
//! the lists.

use std::collections::BTreeSet;
use std::fmt::{Display, Write};
use std::time::Duration;

use crate::model::{ActiveAlert, AgentView, Observed, Snapshot, Timestamp};

/// How it is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Prometheus text, version 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// The media type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What there is to say beside the snapshot.
#[derive(Clone, PartialEq, Debug)]
pub struct Own<'a> {
    /// The program's.
    pub version: &'a str,
    /// For the age of registries.
    pub now: Timestamp,
    /// How long the last regular sampling pass took; none before the first.
    pub tick: Option<Duration>,
    /// The database with its log.
    pub database_bytes: u64,
    /// Operations that wait to be written.
    pub queue_length: u64,
    /// What was lost, dropped or refused since the start, each with its name.
    pub dropped: &'a [(&'static str, u64)],
    /// Whether the last reload of the configuration took effect.
    pub reloaded: bool,
}

/// Everything, as one text.
pub fn render(format: Format, snapshot: &Snapshot, own: &Own<'_>) -> String {
    // About a hundred bytes a line, a dozen lines an agent.
    let text = String::with_capacity(4096 + snapshot.agents.len() * 1300);
    let mut page = Page { format, text };
    agents(&mut page, snapshot);
    alerts(&mut page, snapshot);
    daemon(&mut page, snapshot, own);
    if format == Format::OpenMetrics {
        page.text.push_str("# EOF\n");
    }
    page.text
}

fn agents(page: &mut Page, snapshot: &Snapshot) {
    let labels: Vec<(String, &AgentView)> =
        snapshot.agents.iter().map(|view| (labels(&[("agent", view.id.as_str())]), &**view)).collect();
    let mut family = |kind, name, help, value: &dyn Fn(&AgentView) -> Option<Number>| {
        page.family(kind, name, help);
        for (labels, view) in &labels {
            if let Some(value) = value(view) {
                page.line(kind, name, labels, value);
            }
        }
    };
    use Kind::{Counter, Gauge};
    family(Gauge, "agent_up", "Whether the agent's process runs.", &|view| match view.state {
        Observed::Running => Some(Number::Whole(1)),
        Observed::Zombie | Observed::Exited | Observed::Replaced => Some(Number::Whole(0)),
        Observed::Unknown | Observed::NoPid => None,
    });
    family(Counter, "agent_cpu_seconds", "Processor time of the agent's process tree over all its runs.", &|view| {
        view.metrics.cpu_us.map(Number::Micro)
    });
    family(Gauge, "agent_memory_bytes", "Memory of the agent's process tree.", &|view| {
        view.metrics.memory_bytes.map(Number::Whole)
    });
    family(Gauge, "agent_processes", "Processes of the agent's tree.", &|view| {
        view.metrics.process_count.map(Number::from)
    });
    family(Gauge, "agent_threads", "Threads of the agent's tree.", &|view| view.metrics.thread_count.map(Number::from));
    family(Counter, "agent_read_bytes", "Bytes that the agent's tree read from storage over all its runs.", &|view| {
        view.metrics.io.map(|io| Number::Whole(io.read_bytes))
    });
    family(
        Counter,
        "agent_written_bytes",
        "Bytes that the agent's tree wrote to storage over all its runs.",
        &|view| view.metrics.io.map(|io| Number::Whole(io.written_bytes)),
    );
    family(Counter, "agent_restarts", "Restarts of the agent ever.", &|view| Some(Number::Whole(view.restarts)));
    family(Gauge, "agent_errors_unresolved", "Errors of the agent that nobody dealt with.", &|view| {
        Some(Number::Whole(view.metrics.error_count))
    });
    family(Gauge, "agent_messages", "Messages of the agent, where something counts them.", &|view| {
        view.metrics.message_count.map(Number::Whole)
    });
    family(Gauge, "agent_leftover_processes", "Processes that outlived the agent.", &|view| {
        Some(Number::from(view.leftovers.process_count))
    });
    family(Gauge, "agent_leftover_memory_bytes", "Memory of processes that outlived the agent.", &|view| {
        Some(Number::Whole(view.leftovers.memory_bytes))
    });
}

fn alerts(page: &mut Page, snapshot: &Snapshot) {
    page.family(Kind::Gauge, "alert_firing", "Alerts that fire, each 1; without an agent, the daemon's own.");
    let labels_of = |alert: &ActiveAlert| {
        let agent = alert.agent.as_ref().map_or("", |id| id.as_str());
        labels(&[("alert", &alert.rule), ("agent", agent), ("severity", alert.severity.word())])
    };
    // A rule may fire for several registry sources at once, and a series is told once.
    for labels in snapshot.alerts.iter().map(labels_of).collect::<BTreeSet<String>>() {
        page.line(Kind::Gauge, "alert_firing", &labels, Number::Whole(1));
    }
}

fn daemon(page: &mut Page, snapshot: &Snapshot, own: &Own<'_>) {
    let state = &snapshot.own;
    page.family(Kind::Info, "build", "The program.");
    page.line(Kind::Info, "build", &labels(&[("version", own.version)]), Number::Whole(1));
    page.family(Kind::Gauge, "tick_duration_seconds", "How long the last regular sampling pass took.");
    if let Some(tick) = own.tick {
        let us = u64::try_from(tick.as_micros()).unwrap_or(u64::MAX);
        page.line(Kind::Gauge, "tick_duration_seconds", "", Number::Micro(us));
    }
    page.family(Kind::Counter, "ticks_skipped", "Sampling passes that were due while one was late.");
    page.line(Kind::Counter, "ticks_skipped", "", Number::Whole(state.ticks_skipped));
    page.family(Kind::Counter, "read_errors", "Readings of processes that failed, or were not permitted.");
    for (reason, count) in [("failed", state.read_errors), ("denied", state.reads_denied)] {
        page.line(Kind::Counter, "read_errors", &labels(&[("reason", reason)]), Number::Whole(count));
    }
    page.family(Kind::Gauge, "registry_age_seconds", "Time since the last good read of a registry source.");
    let mut ages: Vec<(&str, Duration)> =
        state.sources.iter().filter_map(|source| source.good_at.map(|at| (&*source.name, own.now.since(at)))).collect();
    // Two sources may have one name, and a series is told once: the oldest.
    ages.sort_by(|a, b| a.0.cmp(b.0).then(b.1.cmp(&a.1)));
    ages.dedup_by(|later, kept| later.0 == kept.0);
    for (source, age) in ages {
        let us = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
        page.line(Kind::Gauge, "registry_age_seconds", &labels(&[("source", source)]), Number::Micro(us));
    }
    page.family(Kind::Gauge, "database_size_bytes", "The database with its log.");
    page.line(Kind::Gauge, "database_size_bytes", "", Number::Whole(own.database_bytes));
    page.family(Kind::Gauge, "write_queue_length", "Operations that wait to be written to the database.");
    page.line(Kind::Gauge, "write_queue_length", "", Number::Whole(own.queue_length));
    page.family(Kind::Counter, "dropped", "What was lost, dropped or refused.");
    for (what, count) in own.dropped {
        page.line(Kind::Counter, "dropped", &labels(&[("what", what)]), Number::Whole(*count));
    }
    let help = "Whether the last reload of the configuration took effect.";
    page.family(Kind::Gauge, "config_last_reload_successful", help);
    page.line(Kind::Gauge, "config_last_reload_successful", "", Number::Whole(own.reloaded.into()));
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Gauge,
    Counter,
    Info,
}

impl Kind {
    /// What the names of its samples end in.
    fn suffix(self) -> &'static str {
        match self {
            Kind::Gauge => "",
            Kind::Counter => "_total",
            Kind::Info => "_info",
        }
    }
}

/// A number without the noise of floating point.
#[derive(Clone, Copy)]
enum Number {
    Whole(u64),
    /// In millionths.
    Micro(u64),
}

impl From<u32> for Number {
    fn from(number: u32) -> Number {
        Number::Whole(number.into())
    }
}

impl Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Number::Whole(number) => number.fmt(f),
            Number::Micro(us) => write!(f, "{}.{:06}", us / 1_000_000, us % 1_000_000),
        }
    }
}

struct Page {
    format: Format,
    text: String,
}

impl Page {
    /// A family's description; its lines follow.
    fn family(&mut self, kind: Kind, name: &str, help: &str) {
        // OpenMetrics names the family, the older format each of its samples.
        let (suffix, word) = match (self.format, kind) {
            (_, Kind::Gauge) => ("", "gauge"),
            (Format::OpenMetrics, Kind::Counter) => ("", "counter"),
            (Format::OpenMetrics, Kind::Info) => ("", "info"),
            (Format::Prometheus, Kind::Counter) => ("_total", "counter"),
            (Format::Prometheus, Kind::Info) => ("_info", "gauge"),
        };
        let name = format_args!("agent_monitor_{name}{suffix}");
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {word}");
    }

    fn line(&mut self, kind: Kind, name: &str, labels: &str, value: Number) {
        let _ = writeln!(self.text, "agent_monitor_{name}{}{labels} {value}", kind.suffix());
    }
}

/// Labels in braces. Their values are untrusted text: `\`, `"` and line breaks are escaped, as both formats want it.
fn labels(pairs: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (place, (name, value)) in pairs.iter().enumerate() {
        let _ = write!(text, "{}{name}=\"", if place == 0 { '{' } else { ',' });
        for letter in value.chars() {
            match letter {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                other => text.push(other),
            }
        }
        text.push('"');
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        assert_eq!(labels(&[("a", r#"x"y\z"#), ("b", "1\n2")]), "{a=\"x\\\"y\\\\z\",b=\"1\\n2\"}");
        assert_eq!(labels(&[("a", "}\u{7}é{")]), "{a=\"}\u{7}é{\"}");
    }

    #[test]
    fn numbers_are_exact() {
        assert_eq!(Number::Micro(61_234_567).to_string(), "61.234567");
        assert_eq!(Number::Micro(1).to_string(), "0.000001");
        assert_eq!(Number::Whole(u64::MAX).to_string(), "18446744073709551615");
    }
}
