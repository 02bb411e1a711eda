//! The life of one alert against the model, over random looks, with restarts at random points; and that the comparison
//! finds bugs.

use std::time::Duration;

use agent_monitor::alerts::{self, Observation};
use agent_monitor::model::{AlertState, Condition, Metric, Rule, Severity, Timestamp, Transition};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};

use super::model::{Look, Seen, Told, broken_promise, told};

/// A look, and whether the daemon was restarted before it.
type Moment = (Look, bool);

/// From the state before and a look: the state after, what is told, and whether the state is written down.
type Machine = fn(Option<AlertState>, &alerts::Evaluation<'_>) -> (Option<AlertState>, Option<Transition>, Written);

/// Whether the new state is written down.
#[derive(PartialEq)]
enum Written {
    Yes,
    No,
}

fn real(state: Option<AlertState>, look: &alerts::Evaluation<'_>) -> (Option<AlertState>, Option<Transition>, Written) {
    let (state, transition) = alerts::advance(state, look, |_| "it fires".into());
    (state, transition, Written::Yes)
}

fn rule(hold: u64, repeat: u64) -> Rule {
    Rule {
        name: "high_cpu".into(),
        condition: Condition::Above { metric: Metric::CpuPercent, limit: 80.0, clear: 70.0 },
        hold: Duration::from_secs(hold),
        severity: Severity::Warning,
        repeat: Duration::from_secs(repeat),
        agents: Vec::new(),
        enabled: true,
    }
}

/// What a machine tells. After a restart it has what was written down.
fn run(machine: Machine, moments: &[Moment], hold: u64, repeat: u64) -> Vec<(usize, Told)> {
    let rule = rule(hold, repeat);
    let (mut state, mut stored): (Option<AlertState>, _) = (None, None);
    let mut now = Timestamp::from_unix_ms(1_767_225_600_000);
    let mut all = Vec::new();
    for (place, (look, restart)) in moments.iter().enumerate() {
        if *restart {
            state = stored.clone();
        }
        let elapsed = Duration::from_secs(look.after);
        now = now + elapsed;
        let observation = alerts::compare(
            &rule.condition,
            match look.seen {
                Seen::High => Some(80.1),
                Seen::Middle => Some(75.0),
                Seen::Low => Some(70.0),
                Seen::Nothing => None,
            },
        );
        let look = alerts::Evaluation {
            observation,
            rule: &rule,
            threshold: Some(80.0),
            silenced: look.silenced,
            elapsed,
            now,
        };
        let (next, transition, written) = machine(state, &look);
        if written == Written::Yes {
            stored = next.clone();
        }
        state = next;
        all.extend(transition.map(|transition| {
            let told = match transition {
                Transition::Fired => Told::Fires,
                Transition::Repeated => Told::Again,
                Transition::Resolved => Told::Ends,
            };
            (place, told)
        }));
    }
    all
}

fn moment() -> impl Strategy<Value = Moment> {
    let seen = prop_oneof![
        6 => Just(Seen::High),
        1 => Just(Seen::Middle),
        1 => Just(Seen::Low),
        1 => Just(Seen::Nothing),
    ];
    let after = prop_oneof![4 => Just(10u64), 1 => 1u64..60];
    (seen, prop::bool::weighted(0.2), after, prop::bool::weighted(0.1))
        .prop_map(|(seen, silenced, after, restart)| (Look { seen, silenced, after }, restart))
}

/// Holds a machine against the model. The least series that tells them apart, if there is one.
fn compare(machine: Machine, cases: u32) -> Result<(), TestError<(Vec<Moment>, u64, u64)>> {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let series = (vec(moment(), 0..80), prop_oneof![Just(0u64), 1u64..100], 60u64..300);
    TestRunner::new(config).run(&series, |(moments, hold, repeat)| {
        let looks: Vec<Look> = moments.iter().map(|(look, _)| *look).collect();
        let tells = run(machine, &moments, hold, repeat);
        prop_assert_eq!(&tells, &told(&looks, hold, repeat));
        let broken = broken_promise(&looks, &tells, hold, repeat);
        prop_assert!(broken.is_none(), "{:?}", broken);
        Ok(())
    })
}

#[test]
fn the_machine_is_that_of_the_model() {
    if let Err(error) = compare(real, 20_000) {
        panic!("{error}");
    }
}

#[test]
fn planted_bugs_are_found() {
    let planted: [(&str, Machine); 5] = [
        ("it fires a look too soon", |state, look| {
            let rule = Rule { hold: look.rule.hold.saturating_sub(look.elapsed), ..look.rule.clone() };
            real(state, &alerts::Evaluation { rule: &rule, ..*look })
        }),
        ("what is not known counts as over", |state, look| {
            let over = look.observation == Observation::Missing;
            real(
                state,
                &alerts::Evaluation {
                    observation: if over { Observation::Over(None) } else { look.observation },
                    ..*look
                },
            )
        }),
        ("that it was told again is not written down", |state, look| {
            let (state, transition, _) = real(state, look);
            let written = if transition == Some(Transition::Repeated) { Written::No } else { Written::Yes };
            (state, transition, written)
        }),
        ("for how long it held is not written down", |state, look| {
            let (state, transition, _) = real(state, look);
            let pends = matches!(state, Some(AlertState::Pending { held, .. }) if !held.is_zero());
            (state, transition, if pends { Written::No } else { Written::Yes })
        }),
        ("it is not silenced", |state, look| real(state, &alerts::Evaluation { silenced: false, ..*look })),
    ];
    for (bug, machine) in planted {
        assert!(compare(machine, 20_000).is_err(), "not found: {bug}");
    }
}
