//! Rules, and alerts from pending to resolved.

use std::sync::Arc;
use std::time::Duration;

use super::{AgentNumber, Timestamp};

/// How much an alert matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// To know.
    Info,
    /// To look at today.
    Warning,
    /// To look at now.
    Critical,
}

impl Severity {
    /// The word used in configuration and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

/// A number of an agent's that a rule can watch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Metric {
    /// `cpu_percent`: percent of one core.
    CpuPercent,
    /// `memory_mb`: MiB of the tree.
    MemoryMb,
    /// `process_count`.
    ProcessCount,
    /// `thread_count`.
    ThreadCount,
    /// `cpu_seconds`: processor time since first seen.
    CpuSeconds,
    /// `read_bytes`: bytes read from storage since first seen.
    ReadBytes,
    /// `written_bytes`: bytes written to storage since first seen.
    WrittenBytes,
    /// `error_count`: unresolved errors.
    ErrorCount,
    /// `message_count`.
    MessageCount,
    /// `leftover_memory_mb`: MiB of what outlived the agent.
    LeftoverMemoryMb,
    /// `leftover_processes`.
    LeftoverProcesses,
}

impl Metric {
    /// Every metric, in the order of the documentation.
    pub const ALL: [Metric; 11] = [
        Metric::CpuPercent,
        Metric::MemoryMb,
        Metric::ProcessCount,
        Metric::ThreadCount,
        Metric::CpuSeconds,
        Metric::ReadBytes,
        Metric::WrittenBytes,
        Metric::ErrorCount,
        Metric::MessageCount,
        Metric::LeftoverMemoryMb,
        Metric::LeftoverProcesses,
    ];

    /// The name used in configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Metric::CpuPercent => "cpu_percent",
            Metric::MemoryMb => "memory_mb",
            Metric::ProcessCount => "process_count",
            Metric::ThreadCount => "thread_count",
            Metric::CpuSeconds => "cpu_seconds",
            Metric::ReadBytes => "read_bytes",
            Metric::WrittenBytes => "written_bytes",
            Metric::ErrorCount => "error_count",
            Metric::MessageCount => "message_count",
            Metric::LeftoverMemoryMb => "leftover_memory_mb",
            Metric::LeftoverProcesses => "leftover_processes",
        }
    }
}

/// What a rule looks for.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Condition {
    /// The metric is greater than `limit`; over when it is at most `clear`.
    Above {
        /// Which number.
        metric: Metric,
        /// The threshold, in the metric's unit.
        limit: f64,
        /// At most `limit`.
        clear: f64,
    },
    /// The metric is less than `limit`; over when it is at least `clear`.
    Below {
        /// Which number.
        metric: Metric,
        /// The threshold, in the metric's unit.
        limit: f64,
        /// At least `limit`.
        clear: f64,
    },
    /// Expected to run, and exited, zombie or replaced.
    AgentDown,
    /// 3 runs ended as `error` within 10 minutes; over when none did.
    CrashLoop,
    /// Over 15 minutes the lowest of the last 5 lies above the median of the first 5 by 30 % and 128 MiB; over when it
    /// is at most half of that.
    MemoryGrowth,
    /// A registry source without a good read for `registry.stale_after`. Each source has an alert of its own.
    RegistryStale,
    /// The database cannot be written.
    StorageDegraded,
    /// 3 ticks skipped within a minute; over when none was.
    MonitorLagging,
}

impl Condition {
    /// Whether it is about the daemon rather than about an agent.
    pub const fn is_own(&self) -> bool {
        matches!(self, Condition::RegistryStale | Condition::StorageDegraded | Condition::MonitorLagging)
    }
}

/// A rule, complete: defaults filled in.
#[derive(Clone, PartialEq, Debug)]
pub struct Rule {
    /// Its name, the alert's type. Several rules may share one name when they are for different agents.
    pub name: Arc<str>,
    /// What it looks for.
    pub condition: Condition,
    /// How long the condition must hold before it fires.
    pub hold: Duration,
    /// How much it matters.
    pub severity: Severity,
    /// How often a firing alert is told again.
    pub repeat: Duration,
    /// Only agents that fit one of these; all when empty.
    pub agents: Vec<AgentPattern>,
    /// Whether it is in use.
    pub enabled: bool,
}

/// An agent id, or a pattern in which `*` stands for any text.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct AgentPattern(Arc<str>);

impl AgentPattern {
    /// Any text is a pattern.
    pub fn new(text: &str) -> AgentPattern {
        AgentPattern(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How well it fits `id`: `None` not at all; an exact id beats a pattern, a longer pattern a shorter.
    pub fn fit(&self, id: &str) -> Option<usize> {
        if !self.0.contains('*') {
            return (*self.0 == *id).then_some(usize::MAX);
        }
        wildcard(&self.0, id).then_some(self.0.len())
    }
}

/// Greedy match with one point of return: linear in practice, at worst pattern times text, both at most 128 bytes.
fn wildcard(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            back = Some((p, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            p += 1;
            t += 1;
        } else if let Some((star, from)) = back {
            back = Some((star, from + 1));
            p = star + 1;
            t = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Which alert: a rule and whom it is about.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct AlertKey {
    /// The agent; none for the daemon's own.
    pub agent: Option<AgentNumber>,
    /// The registry source, of a rule that looks at each; else none.
    pub source: Option<Arc<str>>,
    /// The rule's name.
    pub rule: Arc<str>,
}

/// Where an alert is in its life. Quiet alerts have no state.
#[derive(Clone, PartialEq, Debug)]
pub enum AlertState {
    /// The condition holds, not yet for long enough.
    Pending {
        /// Since when.
        since: Timestamp,
        /// For how long it was seen to hold.
        held: Duration,
    },
    /// Fired, and not over.
    Firing {
        /// When it fired.
        since: Timestamp,
        /// When it was last told.
        notified_at: Timestamp,
        /// How much it matters. It stays what it was when it fired, whatever becomes of the rule: receivers know the
        /// alert by it.
        severity: Severity,
        /// The number that made it fire.
        value: Option<f64>,
        /// The number it was held against.
        threshold: Option<f64>,
        /// What was told.
        message: Arc<str>,
    },
}

/// What a look at an alert leads to, and the world is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transition {
    /// It fires now.
    Fired,
    /// It still fires, and it is time to say so again.
    Repeated,
    /// It is over.
    Resolved,
}

/// An alert's state as the store keeps it. `state: None` removes it.
#[derive(Clone, PartialEq, Debug)]
pub struct StoredAlert {
    /// Which alert.
    pub key: AlertKey,
    /// Its state.
    pub state: Option<AlertState>,
    /// Where in the journal it fired: known to the store alone, and told by it when it is read again.
    pub episode: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let fits = |pattern: &str, id: &str| AgentPattern::new(pattern).fit(id).is_some();
        assert!(fits("coder-*", "coder-") && fits("coder-*", "coder-12") && fits("*", "") && fits("a*b*c", "a-b-b-c"));
        assert!(!fits("coder-*", "coder") && !fits("a*b", "a") && !fits("", "a") && !fits("a*b*c", "acb"));
        let rank = |pattern: &str| AgentPattern::new(pattern).fit("coder-1").unwrap();
        assert!(rank("coder-1") > rank("coder-*") && rank("coder-*") > rank("c*"));
    }
}
