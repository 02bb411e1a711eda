//! The life of an alert: quiet, pending, firing, resolved. Which rule is for which agent, and which silences which.

mod growth;
mod recent;

use std::sync::Arc;
use std::time::Duration;

use crate::model::{AlertState, Condition, Rule, Timestamp, Transition};

pub use growth::{Growth, GrowthWindow};
pub use recent::Recent;

/// Runs that end as `error` within [`CRASH_WINDOW`] before that is a crash loop.
pub const CRASHES: u64 = 3;

/// For how long the end of a run counts.
pub const CRASH_WINDOW: Duration = Duration::from_secs(600);

/// Ticks skipped within [`LAG_WINDOW`] before the monitor lags.
pub const SKIPS: u64 = 3;

/// For how long a skipped tick counts.
pub const LAG_WINDOW: Duration = Duration::from_secs(60);

/// What an evaluation sees of a rule's condition.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Observation {
    /// The condition holds.
    Breach(Option<f64>),
    /// It does not, but it is not over either: between `clear` and the threshold.
    Between(Option<f64>),
    /// It is over.
    Over(Option<f64>),
    /// Nothing is known now: everything stays as it is, and time does not count.
    Missing,
}

impl Observation {
    /// The number that was seen, where there is one.
    pub fn value(self) -> Option<f64> {
        match self {
            Observation::Breach(value) | Observation::Between(value) | Observation::Over(value) => value,
            Observation::Missing => None,
        }
    }
}

/// One evaluation of an alert's rule.
#[derive(Clone, Copy, Debug)]
pub struct Evaluation<'r> {
    /// What was observed.
    pub observation: Observation,
    /// The rule it is about.
    pub rule: &'r Rule,
    /// The number that the condition is held against, where it has one.
    pub threshold: Option<f64>,
    /// Whether another alert says it all: then it does not begin to fire and is not told again. Its end is told.
    pub silenced: bool,
    /// How long ago the evaluation before was, by the monotonic clock.
    pub elapsed: Duration,
    /// When it is.
    pub now: Timestamp,
}

/// Takes one evaluation into account.
///
/// `message` is asked for only when it fires, with the moment since when the condition holds. Returns the new state (none
/// when quiet) and what is to be told, if anything.
pub fn advance(
    state: Option<AlertState>,
    evaluation: &Evaluation<'_>,
    message: impl FnOnce(Timestamp) -> Arc<str>,
) -> (Option<AlertState>, Option<Transition>) {
    match (state, evaluation.observation) {
        (state, Observation::Missing) => (state, None),
        (None | Some(AlertState::Pending { .. }), Observation::Between(_) | Observation::Over(_)) => (None, None),
        (None, Observation::Breach(_)) => pend(evaluation.now, Duration::ZERO, evaluation, message),
        (Some(AlertState::Pending { since, held }), Observation::Breach(_)) => {
            pend(since, held + evaluation.elapsed, evaluation, message)
        }
        (Some(AlertState::Firing { .. }), Observation::Over(_)) => (None, Some(Transition::Resolved)),
        (Some(mut state @ AlertState::Firing { .. }), Observation::Breach(_) | Observation::Between(_)) => {
            let transition = remind(&mut state, evaluation).then_some(Transition::Repeated);
            (Some(state), transition)
        }
    }
}

fn pend(
    since: Timestamp,
    held: Duration,
    evaluation: &Evaluation<'_>,
    message: impl FnOnce(Timestamp) -> Arc<str>,
) -> (Option<AlertState>, Option<Transition>) {
    if evaluation.silenced || held < evaluation.rule.hold {
        // No more than is needed: the time that it was silenced does not add up for ever.
        return (Some(AlertState::Pending { since, held: held.min(evaluation.rule.hold) }), None);
    }
    let state = AlertState::Firing {
        since: evaluation.now,
        notified_at: evaluation.now,
        severity: evaluation.rule.severity,
        value: evaluation.observation.value(),
        threshold: evaluation.threshold,
        message: message(since),
    };
    (Some(state), Some(Transition::Fired))
}

/// Whether it is time to tell again of an alert that fires.
fn remind(state: &mut AlertState, evaluation: &Evaluation<'_>) -> bool {
    let AlertState::Firing { notified_at, .. } = state else { return false };
    // A wall clock that was set back must not silence it until it has caught up.
    *notified_at = (*notified_at).min(evaluation.now);
    let due = !evaluation.silenced && evaluation.now.since(*notified_at) >= evaluation.rule.repeat;
    if due {
        *notified_at = evaluation.now;
    }
    due
}

/// The rules that silence the one of this name, while they fire for the same agent or for its registry source.
pub fn silencers(rule: &str) -> &'static [&'static str] {
    match rule {
        "high_cpu" | "high_memory" | "memory_growth" => &["agent_down"],
        "agent_down" => &["crash_loop", "registry_stale"],
        _ => &[],
    }
}

/// Holds a count against the number at which it is too many; over at none.
pub fn count(count: u64, limit: u64) -> Observation {
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let value = Some(count as f64);
    match count {
        0 => Observation::Over(value),
        _ if count < limit => Observation::Between(value),
        _ => Observation::Breach(value),
    }
}

/// Holds a number against a threshold.
pub fn compare(condition: &Condition, value: Option<f64>) -> Observation {
    let Some(number) = value else { return Observation::Missing };
    match condition {
        Condition::Above { limit, .. } if number > *limit => Observation::Breach(value),
        Condition::Above { clear, .. } if number <= *clear => Observation::Over(value),
        Condition::Below { limit, .. } if number < *limit => Observation::Breach(value),
        Condition::Below { clear, .. } if number >= *clear => Observation::Over(value),
        _ => Observation::Between(value),
    }
}

/// The rules that are for this agent, by their places in `rules`: of each name the one that fits best, those that silence
/// others first. A rule that is switched off for an agent is none. One such list is kept for each agent, and most are the same:
/// then it is shared with `like`.
pub fn rules_for(rules: &[Rule], id: &str, like: Option<&Arc<[usize]>>) -> Arc<[usize]> {
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
    places.sort_by_key(|place| match rules[*place].condition {
        Condition::CrashLoop => 0,
        Condition::AgentDown => 1,
        _ => 2,
    });
    like.filter(|like| ***like == *places).map_or_else(|| places.as_slice().into(), Arc::clone)
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

    /// The evaluation of this number: one every ten seconds.
    fn evaluation(rule: &Rule, number: usize) -> Evaluation<'_> {
        let now = Timestamp::from_unix_ms(10_000 * i64::try_from(number).unwrap());
        let (elapsed, threshold) = (Duration::from_secs(10), Some(80.0));
        Evaluation { observation: Observation::Missing, rule, threshold, silenced: false, elapsed, now }
    }

    /// Evaluated every ten seconds; returns what was told at which second.
    fn told(values: &[Option<f64>]) -> Vec<(usize, Transition)> {
        let rule = rule("high_cpu", &[]);
        let mut state = None;
        let mut told = Vec::new();
        for (number, value) in values.iter().enumerate() {
            let evaluation = Evaluation { observation: compare(&rule.condition, *value), ..evaluation(&rule, number) };
            let (next, transition) = advance(state, &evaluation, |_| "high".into());
            state = next;
            told.extend(transition.map(|transition| (number * 10, transition)));
        }
        told
    }

    #[test]
    fn fires_after_its_time_and_ends_at_clear() {
        let (high, mid, low) = (Some(90.0), Some(75.0), Some(70.0));
        assert_eq!(told(&[high, high, low]), []);
        assert_eq!(told(&[high, mid, high, high]), [], "it must hold all the time");
        assert_eq!(told(&[high, high, high]), [(20, Transition::Fired)]);
        assert_eq!(told(&[high, high, high, mid, low, low]), [(20, Transition::Fired), (40, Transition::Resolved)]);
        assert_eq!(told(&[high, None, None, high, high]), [(40, Transition::Fired)], "missing data holds");
        let long = [high; 10];
        assert_eq!(told(&long), [(20, Transition::Fired), (80, Transition::Repeated)]);
        assert_eq!(told(&[Some(80.0); 5]), [], "above means above");
    }

    #[test]
    fn what_fired_is_kept_as_it_was() {
        let rule = rule("high_cpu", &[]);
        let breach = Observation::Breach(Some(93.0));
        let pending = advance(None, &Evaluation { observation: breach, ..evaluation(&rule, 0) }, |_| unreachable!()).0;
        let fires = Evaluation { observation: breach, elapsed: Duration::from_secs(30), ..evaluation(&rule, 3) };
        let (state, _) = advance(pending, &fires, |since| format!("since {since}").into());
        let at = fires.now;
        let expected = AlertState::Firing {
            since: at,
            notified_at: at,
            severity: Severity::Warning,
            value: Some(93.0),
            threshold: Some(80.0),
            message: "since 1970-01-01T00:00:00.000Z".into(),
        };
        assert_eq!(state, Some(expected));
    }

    #[test]
    fn a_silenced_alert_waits_and_its_end_is_told() {
        let rule = rule("high_cpu", &[]);
        let breach = Observation::Breach(Some(93.0));
        let silenced = |number, observation| Evaluation { observation, silenced: true, ..evaluation(&rule, number) };
        let mut state = None;
        for number in 0..10 {
            let (next, told) = advance(state, &silenced(number, breach), |_| unreachable!());
            assert_eq!(told, None);
            state = next;
        }
        assert_eq!(state, Some(AlertState::Pending { since: evaluation(&rule, 0).now, held: rule.hold }));
        let (state, told) =
            advance(state, &Evaluation { observation: breach, ..evaluation(&rule, 10) }, |_| "high".into());
        assert_eq!(told, Some(Transition::Fired), "at once when nothing silences it any more");
        let (state, told) = advance(state, &silenced(100, breach), |_| unreachable!());
        assert_eq!(told, None, "not told again");
        let (state, told) = advance(state, &silenced(101, Observation::Over(None)), |_| unreachable!());
        assert_eq!((state, told), (None, Some(Transition::Resolved)));
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_silence() {
        let rule = rule("high_cpu", &[]);
        let breach = Observation::Breach(None);
        let fires = Evaluation { observation: breach, elapsed: Duration::from_secs(30), ..evaluation(&rule, 1_000) };
        let pending = Some(AlertState::Pending { since: fires.now, held: Duration::ZERO });
        let mut state = advance(pending, &fires, |_| "high".into()).0;
        let mut told = Vec::new();
        for number in 0..13 {
            let (next, transition) =
                advance(state, &Evaluation { observation: breach, ..evaluation(&rule, number) }, |_| unreachable!());
            state = next;
            told.extend(transition.map(|_| number));
        }
        assert_eq!(told, [6, 12]);
    }

    #[test]
    fn counts() {
        assert_eq!(
            [0, 1, 2, 3, 9].map(|n| count(n, 3)),
            [
                Observation::Over(Some(0.0)),
                Observation::Between(Some(1.0)),
                Observation::Between(Some(2.0)),
                Observation::Breach(Some(3.0)),
                Observation::Breach(Some(9.0)),
            ]
        );
    }

    #[test]
    fn the_best_rule_of_each_name() {
        let mut off = rule("high_cpu", &["coder-9"]);
        off.enabled = false;
        let rules = [rule("high_cpu", &[]), rule("high_cpu", &["coder-*"]), off, rule("other", &["x"])];
        let for_agent = |id: &str| rules_for(&rules, id, None).to_vec();
        assert_eq!(for_agent("planner"), [0]);
        assert_eq!(for_agent("coder-1"), [1]);
        assert_eq!(for_agent("coder-9"), [] as [usize; 0]);
        assert_eq!(for_agent("x"), [0, 3]);
        let with = |name, condition| Rule { condition, ..rule(name, &[]) };
        let rules =
            [rule("high_cpu", &[]), with("agent_down", Condition::AgentDown), with("crash_loop", Condition::CrashLoop)];
        assert_eq!(*rules_for(&rules, "x", None), [2, 1, 0], "what silences is evaluated first");
    }
}
