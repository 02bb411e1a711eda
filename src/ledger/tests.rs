use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::strategy::ValueTree;

use super::*;

/// A process of the little world below, with the truth about it.
#[derive(Clone)]
struct Life {
    parent: usize,
    own: u64,
    children: u64,
    ended: bool,
}

/// What can happen to a tree. Numbers choose among the processes that live.
#[derive(Clone, Debug)]
enum Act {
    Burn(usize, u64),
    Fork(usize),
    /// Ends and is waited for by its parent.
    End(usize),
    /// Ends and nobody waits: its parent ignores SIGCHLD.
    EndUnseen(usize),
    /// The monitor reads the member at this place of its order, if it is in the middle of a tick.
    Read,
    /// The monitor reads all that is left of this tick.
    Finish,
    /// What is known is written down, between two ticks.
    Save,
    /// The monitor ends, and another goes on from what was written down.
    Restart,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (0..8usize, 1..1000u64).prop_map(|(who, amount)| Act::Burn(who, amount)),
        2 => (0..8usize).prop_map(Act::Fork),
        2 => (0..8usize).prop_map(Act::End),
        1 => (0..8usize).prop_map(Act::EndUnseen),
        4 => Just(Act::Read),
        1 => Just(Act::Finish),
        1 => Just(Act::Save),
    ];
    let act = prop_oneof![60 => act, 1 => Just(Act::Restart)];
    proptest::collection::vec(act, 1..200)
}

#[derive(Default)]
struct World {
    lives: Vec<Life>,
    burned: u64,
    unseen: bool,
}

impl World {
    fn living(&self, pick: usize) -> Option<usize> {
        let living: Vec<usize> = (0..self.lives.len()).filter(|&i| !self.lives[i].ended).collect();
        (!living.is_empty()).then(|| living[pick % living.len()])
    }

    fn burn(&mut self, pick: usize, amount: u64) {
        if let Some(who) = self.living(pick) {
            self.lives[who].own += amount;
            self.burned += amount;
        }
    }

    fn fork(&mut self, pick: usize) {
        if let Some(parent) = self.living(pick) {
            self.lives.push(Life { parent, own: 0, children: 0, ended: false });
        }
    }

    fn end(&mut self, pick: usize, waited_for: bool) {
        let Some(who) = self.living(pick).filter(|who| *who != 0) else { return };
        // Its children go to init, outside the tree; they stay members, and nobody of the tree waits for them.
        for child in 1..self.lives.len() {
            if self.lives[child].parent == who && !self.lives[child].ended {
                self.lives[child].parent = usize::MAX;
            }
        }
        self.lives[who].ended = true;
        let parent = self.lives[who].parent;
        if waited_for && parent != usize::MAX {
            self.lives[parent].children += self.lives[who].own + self.lives[who].children;
        } else {
            self.unseen = true;
        }
    }
}

/// How a tick is taken, so that a test can take it wrongly.
#[derive(Clone, Copy)]
struct Way {
    youngest_first: bool,
    /// Spoils the ledger just before the tick is charged.
    spoil: fn(&mut Ledger),
    charge: fn(&mut Ledger),
    keep_late: bool,
    keep_floor: bool,
    keep_shares: bool,
}

const RIGHT: Way = Way {
    youngest_first: false,
    spoil: |_| (),
    charge: |ledger| {
        ledger.charge();
    },
    keep_late: true,
    keep_floor: true,
    keep_shares: true,
};

/// Drives a ledger through the acts, reading one member at a time between them.
fn drive(acts: &[Act], way: Way) -> Result<(), String> {
    let root = Life { parent: usize::MAX, own: 0, children: 0, ended: false };
    let mut world = World { lives: vec![root], ..World::default() };
    let mut ledger = Ledger::default();
    let mut known: BTreeMap<usize, Share> = BTreeMap::from([(0, Share::default())]);
    let mut order: Vec<usize> = Vec::new();
    let mut gone: Vec<(usize, Share)> = Vec::new();
    let mut saved = (ledger.balance(), known.clone());
    let mut shown = 0;
    for act in acts.iter().chain(&[Act::Finish, Act::Finish, Act::Finish, Act::Finish]) {
        let reads = match *act {
            Act::Burn(pick, amount) => {
                world.burn(pick, amount);
                0
            }
            Act::Fork(pick) => {
                world.fork(pick);
                0
            }
            Act::End(pick) | Act::EndUnseen(pick) => {
                world.end(pick, matches!(act, Act::End(_)));
                0
            }
            Act::Read => 1,
            Act::Finish => usize::MAX,
            Act::Save => {
                if order.is_empty() {
                    saved = (ledger.balance(), known.clone());
                }
                0
            }
            Act::Restart => {
                ledger = Ledger::resume(saved.0, if way.keep_floor { ledger.total() } else { 0 });
                let resumed =
                    |share: &Share| if way.keep_shares { Share::resume(share.held()) } else { Share::default() };
                known = saved.1.iter().map(|(who, share)| (*who, resumed(share))).collect();
                (order, gone, world.unseen) = (Vec::new(), Vec::new(), true);
                0
            }
        };
        for _ in 0..reads {
            if order.is_empty() {
                order = (0..world.lives.len()).filter(|i| known.contains_key(i) || !world.lives[*i].ended).collect();
                if !way.youngest_first {
                    order.reverse(); // taken from the end: oldest first
                }
            }
            let who = order.pop().expect("just filled");
            let life = &world.lives[who];
            let now = Counter { own: life.own, children: life.children };
            match (known.get_mut(&who), life.ended) {
                (Some(share), true) => {
                    gone.push((who, *share));
                    known.remove(&who);
                }
                (Some(share), false) => ledger.survived(share, now),
                (None, false) => {
                    known.insert(who, ledger.born(now));
                }
                (None, true) => {}
            }
            if !order.is_empty() {
                continue;
            }
            // First what only a parent that lives can have waited for.
            gone.sort_by_key(|(who, _)| !known.contains_key(&world.lives[*who].parent));
            for (who, share) in gone.drain(..) {
                let parent = world.lives[who].parent;
                let mut above = parent;
                while above != usize::MAX && !known.contains_key(&above) {
                    above = world.lives[above].parent;
                }
                if let Some(heir) = known.get_mut(&above) {
                    let arrived = heir.explain(share.had());
                    ledger.explain(arrived);
                    let rest = share.had() - arrived;
                    if above == parent {
                        ledger.expect_later(rest);
                    } else {
                        ledger.expect(rest);
                    }
                    heir.inherit(rest, above == parent);
                    ledger.expect_longer(share.late());
                    let late = share.late() - heir.explain(share.late());
                    heir.inherit(late, false);
                    heir.late *= u64::from(way.keep_late);
                }
            }
            (way.spoil)(&mut ledger);
            (way.charge)(&mut ledger);
            if ledger.total() < shown {
                return Err("the sum fell".to_owned());
            }
            shown = ledger.total();
            if ledger.total() > world.burned {
                return Err(format!("{} charged, {} burned", ledger.total(), world.burned));
            }
            break;
        }
    }
    if !world.unseen && ledger.total() != world.burned {
        return Err(format!("{} charged, {} burned, all waited for", ledger.total(), world.burned));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn never_above_the_truth_and_exact_when_all_are_waited_for(acts in acts()) {
        prop_assert_eq!(drive(&acts, RIGHT), Ok(()));
    }
}

/// After how many random sequences of acts it shows that a way of taking ticks is wrong.
fn caught_after(way: Way) -> Option<usize> {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    (1..5_000).find(|_| {
        let acts = acts().new_tree(&mut runner).expect("the strategy has no filter").current();
        drive(&acts, way).is_err()
    })
}

#[test]
fn mistakes_are_caught() {
    assert_eq!(caught_after(RIGHT), None, "the rule itself");
    let spoiled = |spoil| Way { spoil, ..RIGHT };
    let mistakes = [
        ("youngest first", Way { youngest_first: true, ..RIGHT }),
        ("children counted twice", spoiled(|ledger| ledger.tally.vanished = 0)),
        ("carry dropped", spoiled(|ledger| ledger.carry = 0)),
        ("late dropped", Way { keep_late: false, ..RIGHT }),
        ("resumed without what was shown", Way { keep_floor: false, ..RIGHT }),
        ("resumed without shares", Way { keep_shares: false, ..RIGHT }),
        ("ended children forgotten", spoiled(|ledger| ledger.tally.children = 0)),
        ("the born forgotten", spoiled(|ledger| ledger.tally.born = 0)),
        (
            // The sum over living processes, kept from falling by force, instead of the rule.
            "max(0, …) around a wrong sum",
            Way {
                charge: |ledger| {
                    let tally = std::mem::take(&mut ledger.tally);
                    ledger.total += (tally.own + tally.children + tally.born).saturating_sub(tally.vanished);
                },
                ..RIGHT
            },
        ),
    ];
    for (name, way) in mistakes {
        let after = caught_after(way);
        println!("{name}: caught after {after:?} sequences");
        assert!(after.is_some(), "{name} was not caught");
    }
}
