//! The heart in random worlds: several agents, nested ones too, leftovers, orphans, numbers used again, lost events, and
//! processes that go on living between two readings of one pass. Whatever happens: no sum falls, no process is two
//! agents', nothing is charged that was not burned, and all that was burned is charged where everybody is waited for.
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "../heart/bench.rs"]
#[expect(dead_code, reason = "of the bench of the heart's tests only what makes a configuration is used")]
mod bench;
mod drive;
mod mistakes;
mod world;

use drive::drive;
use mistakes::Mistake;

/// How many worlds each test goes through; the first one more if `AGENT_MONITOR_TEST_WORLDS` says so.
const WORLDS: u64 = 400;

#[test]
#[expect(clippy::disallowed_methods, reason = "how many worlds is for who starts it to say")]
fn the_accounts_hold_in_every_world() {
    let worlds = std::env::var("AGENT_MONITOR_TEST_WORLDS").map_or(WORLDS, |text| text.parse().unwrap());
    let wrong: Vec<String> = (0..worlds)
        .filter_map(|seed| drive(seed, Mistake::None).err().map(|wrong| format!("world {seed}: {wrong}")))
        .collect();
    assert_eq!(wrong, [] as [String; 0], "in {worlds} worlds");
}

#[test]
fn mistakes_are_caught() {
    for mistake in Mistake::ALL {
        let caught = (0..WORLDS).find_map(|seed| drive(seed, mistake).err().map(|wrong| (seed + 1, wrong)));
        let Some((after, wrong)) = caught else { panic!("{mistake:?} was not caught in {WORLDS} worlds") };
        println!("{mistake:?}: caught after {after} worlds: {wrong}");
    }
}
