//! The alert rules, held against what is known of the agents.

use std::sync::Arc;
use std::time::Duration;

use crate::alerts::{self, Sighting, Turn};
use crate::model::{
    AgentNumber, AlertKey, AlertNote, AlertState, Body, Condition, Entry, Metric, Mono, Now, Observed, Rule, Severity,
    StoredAlert,
};
use crate::tree::AgentIndex;
use crate::verdict::{Fact, is_expected};

use super::agent::{Agent, Denied};
use super::{Monitor, warning};

impl Monitor {
    /// Looks at every rule for every agent.
    pub(super) fn evaluate(&mut self, now: Now) {
        // By the rhythm, not by the moment: looks ten seconds apart must add up to ten seconds, however late each was.
        let due = Mono(self.timers.alerts.due().0.saturating_sub(nanoseconds(self.config.alerts.interval)));
        let elapsed = due.since(self.evaluated_at);
        self.evaluated_at = due;
        let config = Arc::clone(&self.config);
        for place in 0..self.agents.len() {
            for rule in 0..self.agents[place].rules.len() {
                let agent = &self.agents[place];
                let rule = &config.alerts.rules[agent.rules[rule]];
                if !is_own(&rule.condition) {
                    let sighting = self.sighting(agent, rule);
                    self.turn(Some(AgentIndex(place)), rule, sighting, elapsed, now);
                }
            }
        }
        for rule in config.alerts.rules.iter().filter(|rule| rule.enabled && is_own(&rule.condition)) {
            let sighting = self.own_sighting(rule, now);
            self.turn(None, rule, sighting, elapsed, now);
        }
    }

    /// Tells of agents that run although their registry says that they ended: at the second look, since one that is just
    /// ending is no contradiction.
    pub(super) fn tell_denials(&mut self, now: Now) {
        for place in 0..self.agents.len() {
            let agent = &mut self.agents[place];
            let running = agent.fact == Fact::Running;
            let word = agent.claim.as_ref().and_then(|claim| claim.record.status.as_deref());
            let denies = running && word.is_some_and(|word| !is_expected(word));
            let Some(run) = agent.run.as_mut().filter(|run| run.end.is_none()) else { continue };
            let before = run.denied;
            run.denied = match (before, denies) {
                (Denied::Told, _) | (Denied::Seen, true) => Denied::Told,
                (Denied::No, true) => Denied::Seen,
                (_, false) => Denied::No,
            };
            if (before, run.denied) == (Denied::Seen, Denied::Told) {
                let reason = agent.verdict().reason.unwrap_or_default();
                self.tell(AgentIndex(place), warning("claimed_ended_but_running", &reason), now);
            }
        }
    }

    fn turn(&mut self, index: Option<AgentIndex>, rule: &Rule, sighting: Sighting, elapsed: Duration, now: Now) {
        let agent = index.map(|index| &self.agents[index.0]);
        let key = AlertKey { rule: Arc::clone(&rule.name), agent: agent.map(|agent| agent.stored.number) };
        let before = self.alerts.get(&key);
        if before.is_none() && !matches!(sighting, Sighting::Breach(_)) {
            return;
        }
        let before = before.cloned();
        let told = || describe(agent, rule, sighting).into();
        let (state, turn) = alerts::turn(before.clone(), sighting, rule, elapsed, now.wall, told);
        if state != before {
            self.batch.alerts.push(StoredAlert { key: key.clone(), state: state.clone(), episode: None });
            match state {
                Some(state) => self.alerts.insert(key.clone(), state),
                None => self.alerts.remove(&key),
            };
        }
        let Some(turn) = turn else { return };
        let message: Arc<str> = match turn {
            Turn::Fired(_) | Turn::Repeated(_) => describe(agent, rule, sighting).into(),
            Turn::Resolved(_) => format!("{} is over", subject(agent, rule)).into(),
        };
        let (Turn::Fired(value) | Turn::Repeated(value) | Turn::Resolved(value)) = turn;
        let firing = !matches!(turn, Turn::Resolved(_));
        let name = agent.map_or("", |agent| agent.stored.id.as_str());
        if firing {
            tracing::warn!(alert = %rule.name, agent = name, severity = rule.severity.word(), "{message}");
        } else {
            tracing::info!(alert = %rule.name, agent = name, "{message}");
        }
        if !matches!(turn, Turn::Repeated(_)) {
            let note = AlertNote {
                rule: Arc::clone(&rule.name),
                severity: rule.severity,
                firing,
                message,
                value,
                threshold: threshold(&rule.condition),
            };
            let whose = agent.map(|agent| (agent.stored.number, agent.stored.id.clone()));
            self.batch.entries.push(Entry { agent: whose, at: now.wall, body: Body::Alert(note) });
        }
        if let Some(index) = index {
            self.agents[index.0].view = None;
        }
        self.changed = true;
    }

    /// Ends the alerts that no rule looks after any more, now that the rules are others.
    pub(super) fn end_orphaned_alerts(&mut self, now: Now) {
        let config = Arc::clone(&self.config);
        let has_rule = |key: &AlertKey| match key.agent.and_then(|number| self.by_number.get(&number)) {
            Some(index) => self.agents[index.0].rules.iter().any(|rule| config.alerts.rules[*rule].name == key.rule),
            None => config.alerts.rules.iter().any(|rule| rule.enabled && rule.name == key.rule),
        };
        let orphans: Vec<AlertKey> = self.alerts.keys().filter(|key| !has_rule(key)).cloned().collect();
        for key in orphans {
            let state = self.alerts.remove(&key);
            self.batch.alerts.push(StoredAlert { key: key.clone(), state: None, episode: None });
            let index = key.agent.and_then(|number| self.by_number.get(&number).copied());
            if let Some(index) = index {
                self.agents[index.0].view = None;
            }
            if !matches!(state, Some(AlertState::Firing { .. })) {
                continue;
            }
            let agent = index.map(|index| &self.agents[index.0].stored);
            let message = format!("{} is over: it is no longer configured", key.rule).into();
            tracing::info!(alert = %key.rule, agent = agent.map_or("", |agent| agent.id.as_str()), "{message}");
            let note = AlertNote {
                rule: key.rule,
                severity: Severity::Warning,
                firing: false,
                message,
                value: None,
                threshold: None,
            };
            let whose = agent.map(|agent| (agent.number, agent.id.clone()));
            self.batch.entries.push(Entry { agent: whose, at: now.wall, body: Body::Alert(note) });
        }
    }

    fn sighting(&self, agent: &Agent, rule: &Rule) -> Sighting {
        if !agent.is_listed() {
            // Nobody names it and nothing of it lives: there is nothing left to complain of. But whoever could name it
            // has to have been asked.
            return if self.roster.is_complete() { Sighting::Over(None) } else { Sighting::Missing };
        }
        match &rule.condition {
            condition @ (Condition::Above { metric, .. } | Condition::Below { metric, .. }) => {
                alerts::compare(condition, measure(agent, *metric))
            }
            Condition::AgentDown => self.down(agent),
            _ => Sighting::Missing,
        }
    }

    /// Down counts from the first good read of the agent's source after its end that still claims it: until then the
    /// registry may just not have been told.
    fn down(&self, agent: &Agent) -> Sighting {
        let verdict = agent.verdict();
        match (&agent.claim, agent.gone_at) {
            (Some(claim), Some(gone_at)) if verdict.down => {
                if self.roster.confirmed_since(claim.source, gone_at) {
                    Sighting::Breach(None)
                } else {
                    Sighting::Missing
                }
            }
            _ if verdict.state == Observed::Unknown => Sighting::Missing,
            _ => Sighting::Over(None),
        }
    }

    fn own_sighting(&self, rule: &Rule, now: Now) -> Sighting {
        match &rule.condition {
            Condition::RegistryStale => match self.roster.stalest(now.mono) {
                Some((age, _)) if age > self.config.registry.stale_after => Sighting::Breach(Some(age.as_secs_f64())),
                _ => Sighting::Over(None),
            },
            _ => Sighting::Missing,
        }
    }

    /// The names of the rules that fire for an agent.
    pub(super) fn firing(&self, agent: AgentNumber) -> Vec<Arc<str>> {
        if self.alerts.is_empty() {
            return Vec::new();
        }
        let first = AlertKey { agent: Some(agent), rule: "".into() };
        let of_agent = self.alerts.range(first..).take_while(|(key, _)| key.agent == Some(agent));
        let firing = of_agent.filter(|(_, state)| matches!(state, AlertState::Firing { .. }));
        firing.map(|(key, _)| Arc::clone(&key.rule)).collect()
    }
}

fn nanoseconds(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// Whether a condition is about the daemon rather than about an agent.
fn is_own(condition: &Condition) -> bool {
    matches!(condition, Condition::RegistryStale | Condition::StorageDegraded | Condition::MonitorLagging)
}

/// A number of an agent's, in the unit of its name.
fn measure(agent: &Agent, metric: Metric) -> Option<f64> {
    let metrics = &agent.metrics;
    match metric {
        Metric::CpuPercent => metrics.cpu_percent,
        Metric::MemoryMb => metrics.memory_bytes.map(mebibytes),
        Metric::ProcessCount => metrics.process_count.map(f64::from),
        Metric::ThreadCount => metrics.thread_count.map(f64::from),
        Metric::CpuSeconds => metrics.cpu_us.map(|us| number(us) / 1e6),
        Metric::ReadBytes => metrics.io.map(|io| number(io.read_bytes)),
        Metric::WrittenBytes => metrics.io.map(|io| number(io.written_bytes)),
        Metric::ErrorCount => Some(number(agent.unresolved)),
        Metric::MessageCount => metrics.message_count.map(number),
        Metric::LeftoverMemoryMb => Some(mebibytes(agent.left_sum().rss_bytes)),
        Metric::LeftoverProcesses => Some(f64::from(agent.left_sum().processes)),
    }
}

#[expect(clippy::cast_precision_loss, reason = "compared with a threshold that a person wrote")]
fn number(count: u64) -> f64 {
    count as f64
}

fn mebibytes(bytes: u64) -> f64 {
    number(bytes) / f64::from(1 << 20)
}

/// The threshold of a rule that has one.
pub(super) fn threshold(condition: &Condition) -> Option<f64> {
    match condition {
        Condition::Above { limit, .. } | Condition::Below { limit, .. } => Some(*limit),
        _ => None,
    }
}

fn subject(agent: Option<&Agent>, rule: &Rule) -> String {
    match agent {
        Some(agent) => format!("{} of {}", rule.name, agent.stored.id),
        None => rule.name.to_string(),
    }
}

fn describe(agent: Option<&Agent>, rule: &Rule, sighting: Sighting) -> String {
    let value = match sighting {
        Sighting::Breach(value) | Sighting::Between(value) | Sighting::Over(value) => value,
        Sighting::Missing => None,
    };
    let held =
        if rule.hold.is_zero() { String::new() } else { format!(" for {}", humantime::format_duration(rule.hold)) };
    let who = agent.map_or("agent-monitor", |agent| agent.stored.id.as_str());
    match (&rule.condition, value) {
        (Condition::Above { metric, limit, .. }, Some(value)) => {
            format!("{who}: {} {value:.1} above {limit}{held}", metric.name())
        }
        (Condition::Below { metric, limit, .. }, Some(value)) => {
            format!("{who}: {} {value:.1} below {limit}{held}", metric.name())
        }
        (Condition::AgentDown, _) => {
            let reason = agent.and_then(|agent| agent.verdict().reason);
            format!("{who} should run and does not: {}", reason.as_deref().unwrap_or("its process is gone"))
        }
        (Condition::RegistryStale, Some(age)) => format!("a registry source had no good read for {age:.0} s"),
        _ => format!("{who}: {}", rule.name),
    }
}
