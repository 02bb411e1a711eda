//! The real heart and the real store in random worlds in which everything goes wrong that can: registries, disks, clocks,
//! kills. At every moment nothing may be so that must not be; after the last fault all is well again; and the same world
//! leaves the same database, row by row.
//!
//! `AGENT_MONITOR_TEST_SEED=N` goes through one world and tells its story; `AGENT_MONITOR_TEST_SEEDS` says up to which, `300`,
//! or from which to which, `100..400`; `AGENT_MONITOR_TEST_SIM_SECONDS` goes on with new ones for so long.
#![allow(clippy::unwrap_used, reason = "a test")]

mod broker;
#[path = "../store/control.rs"]
#[expect(dead_code, reason = "nothing dies by itself here")]
mod control;
mod daemon;
mod faults;
#[path = "../simulation/mistakes.rs"]
#[expect(dead_code, reason = "its onlooker is used, and none of its mistakes")]
mod mistakes;
mod oracle;
mod reporter;
mod story;
#[path = "../store/support.rs"]
#[expect(dead_code, reason = "the rows of the store's tests are not used")]
mod support;
#[path = "../simulation/world.rs"]
#[expect(dead_code, reason = "whether daemons die is for the faults to say")]
mod world;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};

use agent_monitor::clock::monotonic;

use control::{CONTROL, Control, library};
use faults::{Fault, Strikes};
use story::Ending;

/// How many worlds the gate goes through.
const WORLDS: u64 = 10;

/// So many that are wrong are enough.
const ENOUGH: usize = 20;

const PLACE: &str = "AGENT_MONITOR_TEST_SIM_PLACE";

#[expect(clippy::disallowed_methods, reason = "which worlds is for who starts it to say")]
fn said(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Which worlds, and whether their stories are told.
fn worlds() -> (Range<u64>, bool) {
    if let Some(seed) = said("AGENT_MONITOR_TEST_SEED") {
        let seed = seed.parse().expect("a number");
        return (seed..seed + 1, true);
    }
    let text = said("AGENT_MONITOR_TEST_SEEDS").unwrap_or_else(|| WORLDS.to_string());
    let (from, to) = text.split_once("..").unwrap_or(("0", &text));
    (from.parse().expect("a number")..to.parse().expect("a number"), false)
}

/// The disk is struck below SQLite, so the worlds go by in a process that was started with the library that does it.
#[test]
fn all_is_well_in_every_world() {
    // Where syncs cost nothing: that they come in time is tested elsewhere, and here only that they may fail.
    let memory = std::path::Path::new("/dev/shm");
    let place = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    library(place.path());
    Control::make(&place.path().join("control"));
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "go_through_the_worlds", "--ignored", "--nocapture"])
        .env("LD_PRELOAD", place.path().join("faults.so"))
        .env(CONTROL, place.path().join("control"))
        .env(PLACE, place.path())
        .stdout(Stdio::piped())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    println!("{told}");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.contains(" worlds were gone through"), "they were gone through");
}

#[test]
#[ignore = "the child of the other test"]
fn go_through_the_worlds() {
    let Some(place) = std::env::var_os(PLACE) else { return };
    let place = std::path::Path::new(&place);
    let control = Control::make(&place.join("control"));
    let (range, tells) = worlds();
    let seconds: u64 = said("AGENT_MONITOR_TEST_SIM_SECONDS").map_or(0, |text| text.parse().expect("a number"));
    let end = monotonic() + std::time::Duration::from_secs(seconds);
    let mut strikes = Strikes::new();
    let (mut count, mut wrong) = (0, Vec::new());
    let enough = said("AGENT_MONITOR_TEST_SIM_ENOUGH").map_or(ENOUGH, |text| text.parse().expect("a number"));
    for seed in range.start.. {
        if seed >= range.end && monotonic() >= end || wrong.len() >= enough {
            break;
        }
        let ending = catch_unwind(AssertUnwindSafe(|| once(seed, place, &control)))
            .unwrap_or_else(|panicked| Ending::of_panic(&*panicked));
        ending.strikes.iter().for_each(|(fault, times)| *strikes.entry(*fault).or_default() += times);
        count += 1;
        if tells {
            let _ = catch_unwind(AssertUnwindSafe(|| story::go(seed, &place.join("told"), &control, true)));
        }
        if let Some(what) = ending.wrong {
            println!("world {seed}, the {count}th: {what}");
            wrong.push(seed);
        }
    }
    let again = "AGENT_MONITOR_TEST_SEED=… cargo test --locked --test sim -- --nocapture";
    assert!(wrong.is_empty(), "of {count} worlds these are wrong: {wrong:?}\nonce more, each with its story: {again}");
    println!("{count} worlds were gone through, each twice; so often it struck: {strikes:?}");
    let never: Vec<Fault> = Fault::ALL.into_iter().filter(|fault| !strikes.contains_key(fault)).collect();
    assert!(tells || never.is_empty(), "these faults never struck: {never:?}");
}

/// Goes through one world twice, and holds what is left of it the second time against the first.
fn once(seed: u64, place: &std::path::Path, control: &Control) -> Ending {
    let first = story::go(seed, &place.join("first"), control, false);
    if first.wrong.is_some() {
        return first;
    }
    let second = story::go(seed, &place.join("second"), control, false);
    let rows = first.rows.iter().zip(&second.rows);
    let differs = rows.into_iter().find(|(first, second)| first != second);
    let wrong = match (second.wrong, differs) {
        (Some(wrong), _) => Some(format!("only the second time: {wrong}")),
        (None, Some((first, second))) => Some(format!("the second time it is another\n{first}\n{second}")),
        (None, None) if first.rows.len() != second.rows.len() => Some("the second time there is more or less".into()),
        (None, None) => None,
    };
    Ending { wrong, ..first }
}
