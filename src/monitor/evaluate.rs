//! Evaluates the alert rules: what is told when an alert fires, still fires or is over.

use std::sync::Arc;
use std::time::Duration;

use crate::alerts::{self, Evaluation, Observation};
use crate::model::{
    AgentNumber, AlertKey, AlertNote, AlertState, Body, Entry, Now, Rule, StoredAlert, Timestamp, Transition,
};
use crate::tree::AgentIndex;

use super::Monitor;
use super::agent::Agent;

/// Whom an alert is about; neither: the daemon as a whole.
#[derive(Clone, Default)]
pub(super) struct Subject {
    /// An agent.
    pub agent: Option<AgentIndex>,
    /// A registry source.
    pub source: Option<Arc<str>>,
}

impl Monitor {
    /// Evaluates every rule: those about the daemon first, since they can silence others.
    pub(super) fn evaluate(&mut self, now: Now) {
        // By the rhythm, not by the moment: what is due ten seconds apart must add up to ten seconds, however late it was.
        let due = self.timers.alerts.due() - self.config.alerts.interval;
        let elapsed = due.since(self.evaluated_at);
        self.evaluated_at = due;
        let config = Arc::clone(&self.config);
        for rule in config.alerts.rules.iter().filter(|rule| rule.enabled && rule.condition.is_own()) {
            for (source, observation) in self.own_observations(rule, now) {
                self.evaluate_rule(&Subject { agent: None, source }, rule, observation, elapsed, now);
            }
        }
        for index in self.agents.indices() {
            let has_alerts = self.alerts_of(self.agents[index].stored.number).next().is_some();
            for rule in 0..self.agents[index].rules.len() {
                let agent = &self.agents[index];
                let rule = &config.alerts.rules[agent.rules[rule]];
                let observation = self.observation(agent, rule, now);
                if has_alerts || matches!(observation, Observation::Breach(_)) {
                    let subject = Subject { agent: Some(index), source: None };
                    self.evaluate_rule(&subject, rule, observation, elapsed, now);
                }
            }
        }
    }

    fn evaluate_rule(&mut self, subject: &Subject, rule: &Rule, observation: Observation, elapsed: Duration, now: Now) {
        let agent = subject.agent.map(|index| &self.agents[index]);
        let key = AlertKey {
            agent: agent.map(|agent| agent.stored.number),
            source: subject.source.clone(),
            rule: Arc::clone(&rule.name),
        };
        let before = self.alerts.get(&key);
        if before.is_none() && !matches!(observation, Observation::Breach(_)) {
            return;
        }
        let evaluation = Evaluation {
            observation,
            rule,
            threshold: self.threshold(agent, &rule.condition, now),
            silenced: agent.is_some_and(|agent| self.is_silenced(agent, rule)),
            elapsed,
            now: now.wall,
        };
        let before = before.cloned();
        let message = |since| self.firing_message(subject, rule, observation, since, now);
        let (state, transition) = alerts::advance(before.clone(), &evaluation, message);
        if let Some(transition) = transition
            && let Some(AlertState::Firing { since, severity, threshold, message, .. }) =
                state.as_ref().or(before.as_ref())
        {
            let message = match transition {
                Transition::Fired => Arc::clone(message),
                Transition::Repeated => self.firing_message(subject, rule, observation, *since, now),
                Transition::Resolved => self.resolved_message(subject, rule, observation, *since, now),
            };
            // What it is held against can have moved since it fired; at its end there may be nothing to hold it against.
            let threshold = evaluation.threshold.or(*threshold);
            let note = AlertNote {
                rule: Arc::clone(&rule.name),
                source: subject.source.clone(),
                severity: *severity,
                transition,
                since: *since,
                message,
                value: observation.value(),
                threshold,
            };
            self.tell_alert(subject.agent, note, now.wall);
        }
        if state != before {
            self.set_alert(key, state);
        }
    }

    /// Writes down what is told of an alert.
    fn tell_alert(&mut self, agent: Option<AgentIndex>, note: AlertNote, at: Timestamp) {
        let agent = agent.map(|index| {
            let agent = self.agent(index);
            agent.listing.stale = true;
            (agent.stored.number, agent.stored.id.clone())
        });
        let name = agent.as_ref().map_or("", |(_, id)| id.as_str());
        if note.is_firing() {
            tracing::warn!(alert = %note.rule, agent = name, severity = note.severity.word(), "{}", note.message);
        } else {
            tracing::info!(alert = %note.rule, agent = name, "{}", note.message);
        }
        self.outcome.batch.entries.push(Entry { agent, at, body: Body::Alert(note) });
        self.outcome.changed = true;
    }

    /// Keeps the new state of an alert, here and on disk.
    fn set_alert(&mut self, key: AlertKey, state: Option<AlertState>) {
        self.outcome.batch.alerts.push(StoredAlert { key: key.clone(), state: state.clone(), episode: None });
        match state {
            Some(state) => self.alerts.insert(key, state),
            None => self.alerts.remove(&key),
        };
    }

    /// Ends the alerts that no rule looks after any more: the rules are others, or the sources.
    pub(super) fn end_orphaned_alerts(&mut self, now: Now) {
        let config = Arc::clone(&self.config);
        let sources = self.roster.freshness(now.mono);
        let has_rule = |key: &AlertKey| match (key.agent, &key.source) {
            (Some(number), _) => self.agents.of_number(number).is_some_and(|index| {
                self.agents[index].rules.iter().any(|rule| config.alerts.rules[*rule].name == key.rule)
            }),
            (None, source) => {
                source.as_ref().is_none_or(|source| sources.contains_key(source))
                    && config.alerts.rules.iter().any(|rule| rule.enabled && rule.name == key.rule)
            }
        };
        let orphans: Vec<AlertKey> = self.alerts.keys().filter(|key| !has_rule(key)).cloned().collect();
        for key in orphans {
            let state = self.alerts.get(&key).cloned();
            if let Some(AlertState::Firing { since, severity, threshold, .. }) = state {
                let index = key.agent.and_then(|number| self.agents.of_number(number));
                let whose = index.map_or("agent-monitor", |index| self.agents[index].stored.id.as_str());
                let whose = key.source.as_deref().unwrap_or(whose);
                let message = format!("{whose}: {} is over: it is no longer configured", key.rule).into();
                let (rule, source) = (Arc::clone(&key.rule), key.source.clone());
                let transition = Transition::Resolved;
                let note = AlertNote { rule, source, severity, transition, since, message, value: None, threshold };
                self.tell_alert(index, note, now.wall);
            }
            self.set_alert(key, None);
        }
    }

    /// Whether an alert that fires says all that this one could.
    fn is_silenced(&self, agent: &Agent, rule: &Rule) -> bool {
        let source = agent.claim.as_ref().map(|claim| self.roster.name(claim.source));
        let fires = |agent, source, rule: &str| {
            matches!(self.alerts.get(&AlertKey { agent, source, rule: rule.into() }), Some(AlertState::Firing { .. }))
        };
        alerts::silencers(&rule.name).iter().any(|silencer| {
            fires(Some(agent.stored.number), None, silencer)
                || source.as_ref().is_some_and(|source| fires(None, Some(Arc::clone(source)), silencer))
        })
    }

    /// The alerts of an agent that are pending or fire.
    fn alerts_of(&self, agent: AgentNumber) -> impl Iterator<Item = (&AlertKey, &AlertState)> {
        let first =
            (!self.alerts.is_empty()).then(|| AlertKey { agent: Some(agent), source: None, rule: Arc::default() });
        let later = first.map(|first| self.alerts.range(first..));
        later.into_iter().flatten().take_while(move |(key, _)| key.agent == Some(agent))
    }

    /// The names of the rules that fire for an agent.
    pub(super) fn firing(&self, agent: AgentNumber) -> Vec<Arc<str>> {
        let firing = self.alerts_of(agent).filter(|(_, state)| matches!(state, AlertState::Firing { .. }));
        firing.map(|(key, _)| Arc::clone(&key.rule)).collect()
    }
}
