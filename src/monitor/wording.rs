//! What is told of alerts, in words.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use crate::alerts::{CRASH_WINDOW, LAG_WINDOW, Observation};
use crate::model::{Condition, Metric, Now, Pid, ProcessState, Rule, Timestamp};
use crate::tree::{Member, Owner, Seen};

use super::Monitor;
use super::conditions::{growth, mebibytes};
use super::evaluate::Subject;

/// How many of the heaviest processes are named.
const HEAVIEST: usize = 3;

impl Monitor {
    /// Of an alert that fires: whom it is about, what was seen, what it was held against, and since when.
    pub(super) fn firing_message(
        &self,
        subject: &Subject,
        rule: &Rule,
        observation: Observation,
        since: Timestamp,
        now: Now,
    ) -> Arc<str> {
        let who = self.name_of(subject);
        let held = if rule.hold.is_zero() { String::new() } else { format!(" for {}", span(rule.hold)) };
        let agent = subject.agent.map(|index| &self.agents[index]);
        let count = observation.value().unwrap_or_default();
        let mut text = match &rule.condition {
            Condition::Above { metric, limit, .. } => {
                format!("{who}: {} above {limit}{held}", amount(*metric, observation))
            }
            Condition::Below { metric, limit, .. } => {
                format!("{who}: {} below {limit}{held}", amount(*metric, observation))
            }
            Condition::AgentDown => {
                let reason = agent.and_then(|agent| agent.verdict().reason);
                format!("{who} should run and does not{held}: {}", reason.as_deref().unwrap_or("its process is gone"))
            }
            Condition::CrashLoop => {
                let end = agent.and_then(|agent| agent.end()?.status);
                let last = end.map(|status| format!(", the last one with {status}")).unwrap_or_default();
                format!("{who}: {count} runs ended as errors within {}{last}", span(CRASH_WINDOW))
            }
            Condition::MemoryGrowth => match agent.and_then(|agent| growth(agent, now.mono)) {
                Some(growth) => format!(
                    "{who}: memory_mb grew from {:.1} to {:.1} within 15m, above {:.1}",
                    growth.before / f64::from(1 << 20),
                    growth.after / f64::from(1 << 20),
                    growth.threshold()
                ),
                None => format!("{who}: memory grows"),
            },
            Condition::RegistryStale => {
                let limit = span(self.config.registry.stale_after);
                let error =
                    subject.source.as_ref().and_then(|source| self.roster.freshness(now.mono).remove(source)?.error);
                let error = error.map(|error| format!(": {error}")).unwrap_or_default();
                format!("registry source {who}: no good read for {count:.0}s, limit {limit}{error}")
            }
            Condition::StorageDegraded => {
                let reason = self.storage_trouble.as_deref().unwrap_or("it is not known why");
                format!("{who} cannot store{held}: {reason}")
            }
            Condition::MonitorLagging => {
                format!("{who}: {count} or more sampling passes skipped within {}", span(LAG_WINDOW))
            }
        };
        // Writing to a String cannot fail.
        let _ = write!(text, ", since {since}");
        self.name_heaviest(subject, rule, &mut text);
        harmless(&text)
    }

    /// Of an alert that is over. `fired_at`: when it fired.
    pub(super) fn resolved_message(
        &self,
        subject: &Subject,
        rule: &Rule,
        observation: Observation,
        fired_at: Timestamp,
        now: Now,
    ) -> Arc<str> {
        let who = self.name_of(subject);
        let after = span(now.wall.since(fired_at));
        let mut text = format!("{who}: {} is over after {after}, since {fired_at}", rule.name);
        if let (Some(_), Condition::Above { metric, clear, .. } | Condition::Below { metric, clear, .. }) =
            (observation.value(), &rule.condition)
        {
            let _ = write!(text, ": {}, clear at {clear}", amount(*metric, observation));
        }
        self.name_heaviest(subject, rule, &mut text);
        harmless(&text)
    }

    /// What a subject is called.
    fn name_of<'s>(&'s self, subject: &'s Subject) -> &'s str {
        match (subject.agent, &subject.source) {
            (Some(index), _) => self.agents[index].stored.id.as_str(),
            (None, Some(source)) => source,
            (None, None) => "agent-monitor",
        }
    }

    /// Adds the heaviest processes of an agent, by what the rule is about: of its tree, or of what it left behind. Where the
    /// rule says nothing of those, the text does.
    fn name_heaviest(&self, subject: &Subject, rule: &Rule, text: &mut String) {
        let Some(agent) = subject.agent else { return };
        let metric = match &rule.condition {
            Condition::Above { metric, .. } | Condition::Below { metric, .. } => Some(*metric),
            _ => None,
        };
        let of_leftovers = matches!(metric, Some(Metric::LeftoverMemoryMb | Metric::LeftoverProcesses));
        let leftover = of_leftovers || self.agents[agent].root().is_none();
        let who = if leftover && !of_leftovers { "left behind" } else { "heaviest" };
        let by_cpu = matches!(metric, Some(Metric::CpuPercent | Metric::CpuSeconds));
        let weight = |seen: &Seen| {
            if by_cpu { seen.cpu_percent.unwrap_or_default() } else { mebibytes(seen.rss_bytes) }
        };
        let owner = Owner { agent, leftover };
        let living = |member: &Member| member.seen.filter(|seen| seen.state != ProcessState::Zombie);
        let members = self.forest.of(owner);
        let mut heaviest: Vec<(f64, &str, Pid)> =
            members.filter_map(|(key, member)| Some((weight(&living(member)?), &*member.name, key.pid))).collect();
        heaviest.sort_by(|a, b| b.0.total_cmp(&a.0));
        let unit = if by_cpu { "%" } else { "MiB" };
        for (place, (weight, name, pid)) in heaviest.into_iter().take(HEAVIEST).enumerate() {
            let before = if place == 0 { format!("; {who}: ") } else { ", ".to_owned() };
            let _ = write!(text, "{before}{name} ({pid}) {weight:.1} {unit}");
        }
    }
}

/// A number with its name.
fn amount(metric: Metric, observation: Observation) -> String {
    match observation.value() {
        Some(value) => format!("{} {value:.1}", metric.name()),
        None => metric.name().to_owned(),
    }
}

/// A duration as people write it, in whole seconds.
pub(super) fn span(span: Duration) -> String {
    humantime::format_duration(Duration::from_secs(span.as_secs())).to_string()
}

/// Names of processes and words of registries are other people's text: nothing in it forges a line of a log.
fn harmless(text: &str) -> Arc<str> {
    if text.contains(char::is_control) { text.replace(char::is_control, "\u{fffd}").into() } else { text.into() }
}
