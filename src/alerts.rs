//! The life of an alert: quiet, pending, firing, resolved. Which rule is for which agent.

use std::sync::Arc;
use std::time::Duration;

use crate::model::{AlertState, Condition, Rule, Timestamp};

/// What one look at a rule's condition shows.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Sighting {
    /// The condition holds.
    Breach(Option<f64>),
    /// It does not, but it is not over either: between `clear` and the threshold.
    Between(Option<f64>),
    /// It is over.
    Over(Option<f64>),
    /// Nothing is known now: everything stays as it is, and time does not count.
    Missing,
}

/// What a turn of an alert's life is to the world.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Turn {
    /// It fires now.
    Fired(Option<f64>),
    /// It still fires, and it is time to say so again.
    Repeated(Option<f64>),
    /// It is over.
    Resolved(Option<f64>),
}

/// Takes one look into account.
///
/// `elapsed`: how long ago the look before was, by the monotonic clock. `message` is asked for only when it fires.
/// Returns the new state (none when quiet) and what is to be told, if anything.
pub fn turn(
    state: Option<AlertState>,
    sighting: Sighting,
    rule: &Rule,
    elapsed: Duration,
    now: Timestamp,
    message: impl FnOnce() -> Arc<str>,
) -> (Option<AlertState>, Option<Turn>) {
    match (state, sighting) {
        (state, Sighting::Missing) => (state, None),
        (None | Some(AlertState::Pending { .. }), Sighting::Between(_) | Sighting::Over(_)) => (None, None),
        (None, Sighting::Breach(value)) => pend(now, Duration::ZERO, value, rule, now, message),
        (Some(AlertState::Pending { since, held }), Sighting::Breach(value)) => {
            pend(since, held + elapsed, value, rule, now, message)
        }
        (Some(AlertState::Firing { .. }), Sighting::Over(value)) => (None, Some(Turn::Resolved(value))),
        (
            Some(AlertState::Firing { since, notified_at, value: first, message }),
            Sighting::Breach(value) | Sighting::Between(value),
        ) => {
            let due = now.since(notified_at) >= rule.repeat;
            let notified_at = if due { now } else { notified_at };
            let state = AlertState::Firing { since, notified_at, value: first, message };
            (Some(state), due.then_some(Turn::Repeated(value)))
        }
    }
}

fn pend(
    since: Timestamp,
    held: Duration,
    value: Option<f64>,
    rule: &Rule,
    now: Timestamp,
    message: impl FnOnce() -> Arc<str>,
) -> (Option<AlertState>, Option<Turn>) {
    if held < rule.hold {
        return (Some(AlertState::Pending { since, held }), None);
    }
    let state = AlertState::Firing { since: now, notified_at: now, value, message: message() };
    (Some(state), Some(Turn::Fired(value)))
}

/// Holds a number against a threshold.
pub fn compare(condition: &Condition, value: Option<f64>) -> Sighting {
    let Some(number) = value else { return Sighting::Missing };
    match condition {
        Condition::Above { limit, .. } if number > *limit => Sighting::Breach(value),
        Condition::Above { clear, .. } if number <= *clear => Sighting::Over(value),
        Condition::Below { limit, .. } if number < *limit => Sighting::Breach(value),
        Condition::Below { clear, .. } if number >= *clear => Sighting::Over(value),
        _ => Sighting::Between(value),
    }
}

/// The rules that are for this agent, by their places in `rules`: of each name the one that fits best. A rule that is
/// switched off for an agent is none.
pub fn rules_for(rules: &[Rule], id: &str) -> Vec<usize> {
    let mut best: Vec<(usize, usize)> = Vec::new();
    for (place, rule) in rules.iter().enumerate() {
        let fit = if rule.agents.is_empty() {
            Some(0)
        } else {
            rule.agents.iter().filter_map(|pattern| pattern.fit(id)).max()
        };
        let Some(fit) = fit else { continue };
        match best.iter_mut().find(|(other, _)| rules[*other].name == rule.name) {
            Some(known) if fit > known.1 => *known = (place, fit),
            Some(_) => {}
            None => best.push((place, fit)),
        }
    }
    let mut places: Vec<usize> =
        best.into_iter().map(|(place, _)| place).filter(|place| rules[*place].enabled).collect();
    // Collected in the memory of `best`, of which most is not needed: one of these is kept for each agent.
    places.shrink_to_fit();
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AgentPattern, Metric, Severity};

    fn rule(name: &str, agents: &[&str]) -> Rule {
        Rule {
            name: name.into(),
            condition: Condition::Above { metric: Metric::CpuPercent, limit: 80.0, clear: 70.0 },
            hold: Duration::from_secs(20),
            severity: Severity::Warning,
            repeat: Duration::from_secs(60),
            agents: agents.iter().map(|text| AgentPattern::new(text)).collect(),
            enabled: true,
        }
    }

    /// Looks every ten seconds; returns what was told at which second.
    fn told(values: &[Option<f64>]) -> Vec<(usize, Turn)> {
        let rule = rule("high_cpu", &[]);
        let mut state = None;
        let mut told = Vec::new();
        for (look, value) in values.iter().enumerate() {
            let now = Timestamp::from_unix_ms(10_000 * i64::try_from(look).unwrap());
            let sighting = compare(&rule.condition, *value);
            let (next, turn) = turn(state, sighting, &rule, Duration::from_secs(10), now, || "high".into());
            state = next;
            told.extend(turn.map(|turn| (look * 10, turn)));
        }
        told
    }

    #[test]
    fn fires_after_its_time_and_ends_at_clear() {
        let (high, mid, low) = (Some(90.0), Some(75.0), Some(70.0));
        assert_eq!(told(&[high, high, low]), []);
        assert_eq!(told(&[high, mid, high, high]), [], "it must hold all the time");
        assert_eq!(told(&[high, high, high]), [(20, Turn::Fired(high))]);
        assert_eq!(told(&[high, high, high, mid, low, low]), [(20, Turn::Fired(high)), (40, Turn::Resolved(low))]);
        assert_eq!(told(&[high, None, None, high, high]), [(40, Turn::Fired(high))], "missing data holds");
        let long = [high; 10];
        assert_eq!(told(&long), [(20, Turn::Fired(high)), (80, Turn::Repeated(high))]);
        assert_eq!(told(&[Some(80.0); 5]), [], "above means above");
    }

    #[test]
    fn the_best_rule_of_each_name() {
        let mut off = rule("high_cpu", &["coder-9"]);
        off.enabled = false;
        let rules = [rule("high_cpu", &[]), rule("high_cpu", &["coder-*"]), off, rule("other", &["x"])];
        assert_eq!(rules_for(&rules, "planner"), [0]);
        assert_eq!(rules_for(&rules, "coder-1"), [1]);
        assert_eq!(rules_for(&rules, "coder-9"), [] as [usize; 0]);
        assert_eq!(rules_for(&rules, "x"), [0, 3]);
    }
}
