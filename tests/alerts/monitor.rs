//! The whole heart against the model: an agent that dies and comes back, a source that is read or not, numbers that are
//! known or not, and daemons that are killed, all at random.

use agent_monitor::model::{Record, Transition};
use proptest::collection::vec;
use proptest::prelude::*;

use super::bench::{Bench, SECOND, crash, record};
use super::model::{Look, Seen, Told, broken_promise, told};

const RULES: &str = "[[alerts.rule]]\nname = \"high_memory\"\nmetric = \"message_count\"\nabove = 80\nclear = 70\n\
                     for = \"30s\"\nrepeat = \"2m\"\n\
                     [[alerts.rule]]\nname = \"agent_down\"\nfor = \"10s\"\nrepeat = \"3m\"\n\
                     [[alerts.rule]]\nname = \"crash_loop\"\nenabled = false\n\
                     [[alerts.rule]]\nname = \"registry_stale\"\nenabled = false\n";

/// What happens between two looks.
#[derive(Clone, Copy, Debug)]
struct Round {
    restart: bool,
    /// The process ends, or another one begins.
    turns: bool,
    /// The source is read, and says this.
    read: Option<u64>,
}

fn round() -> impl Strategy<Value = Round> {
    let count = prop_oneof![5 => Just(90u64), 1 => Just(75), 1 => Just(60)];
    let read = prop::option::weighted(0.8, count);
    (prop::bool::weighted(0.15), prop::bool::weighted(0.15), read).prop_map(|(restart, turns, read)| Round {
        restart,
        turns,
        read,
    })
}

fn check(rounds: &[Round]) -> Result<(), TestCaseError> {
    let mut bench = Bench::new(RULES);
    let mut pid = bench.host.start("agent");
    let with = |pid, count| -> [Record; 1] {
        let mut claim = record("a", pid);
        claim.message_count = Some(count);
        [claim]
    };
    bench.read(0, &with(pid, 0));
    bench.read(1, &[]);
    bench.pass(10 * SECOND);
    bench.told();
    let (mut lives, mut confirmed, mut count) = (true, false, Some(0));
    let (mut down, mut high) = (Vec::new(), Vec::new());
    let mut heard: [Vec<(usize, Told)>; 2] = Default::default();
    for (place, round) in rounds.iter().enumerate() {
        if round.restart {
            bench.restart();
            (confirmed, count) = (false, None);
        }
        let mut read = round.read;
        if round.turns && lives {
            bench.host.finish(pid, crash());
            bench.step();
            (lives, confirmed) = (false, false);
        } else if round.turns {
            pid = bench.host.start("agent");
            // Who starts an agent tells its registry.
            read = read.or(Some(60));
            lives = true;
        }
        bench.pass(SECOND);
        if let Some(said) = read {
            bench.read(0, &with(pid, said));
            bench.read(1, &[]);
            (count, confirmed) = (Some(said), true);
        }
        bench.pass(9 * SECOND);

        let seen = match (lives, confirmed) {
            (true, _) => Seen::Low,
            (false, true) => Seen::High,
            (false, false) => Seen::Nothing,
        };
        down.push(Look { seen, silenced: false, after: 10 });
        let fires = matches!(told(&down, 10, 180).last(), Some((_, Told::Fires | Told::Again)));
        let seen = match count {
            None => Seen::Nothing,
            Some(count) if count > 80 => Seen::High,
            Some(count) if count > 70 => Seen::Middle,
            Some(_) => Seen::Low,
        };
        high.push(Look { seen, silenced: fires, after: 10 });
        for note in bench.told() {
            let which = usize::from(&*note.rule == "high_memory");
            heard[which].push((
                place,
                match note.transition {
                    Transition::Fired => Told::Fires,
                    Transition::Repeated => Told::Again,
                    Transition::Resolved => Told::Ends,
                },
            ));
        }
    }
    prop_assert_eq!(&heard[0], &told(&down, 10, 180));
    prop_assert_eq!(&heard[1], &told(&high, 30, 120));
    prop_assert_eq!(broken_promise(&down, &heard[0], 10, 180), None);
    prop_assert_eq!(broken_promise(&high, &heard[1], 30, 120), None);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_each_turn_is_told_once(rounds in vec(round(), 0..60)) {
        check(&rounds)?;
    }
}
