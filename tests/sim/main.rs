//! The real heart and the real store in random worlds in which everything goes wrong that can: registries, disks, clocks,
//! kills. At every moment nothing may be so that must not be; after the last fault all is well again; and the same world
//! leaves the same database, row by row.
//!
//! `AGENT_MONITOR_TEST_SEED=N` goes through one world and tells its story; `AGENT_MONITOR_TEST_SEEDS` says up to which, `300`,
//! or from which to which, `100..400`; `AGENT_MONITOR_TEST_SIM_SECONDS` goes on with new ones for so long.
#![allow(clippy::unwrap_used, reason = "a test")]

mod books;
mod broker;
#[path = "../simulation/chance.rs"]
mod chance;
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

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;

use agent_monitor::clock::monotonic;

use control::{CONTROL, Control, library};
use faults::{Fault, Strikes};
use story::Ending;

/// How many worlds the gate goes through.
const WORLDS: u64 = 8;

/// So many that are wrong are enough.
const ENOUGH: usize = 20;

/// So many processes for each processor: most of the time a world waits until its disk is tried again.
const AT_ONCE: u64 = 4;

const PLACE: &str = "AGENT_MONITOR_TEST_SIM_PLACE";
/// Which worlds a process goes through: `K/N`, of N each the K-th.
const PART: &str = "AGENT_MONITOR_TEST_SIM_PART";

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

/// Ends what one of several has found before them.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The disk is struck below SQLite, so the worlds go by in processes that were started with the library that does it.
#[test]
fn all_is_well_in_every_world() {
    // Where syncs cost nothing: that they come in time is tested elsewhere, and here only that they may fail.
    let place = support::in_memory();
    library(place.path());
    let (range, _) = worlds();
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let parts = (processors * AT_ONCE).min(range.end - range.start).max(1);
    let (tell, told) = channel();
    let mut children = Vec::new();
    for part in 0..parts {
        let place_of_it = place.path().join(part.to_string());
        std::fs::create_dir(&place_of_it).unwrap();
        Control::make(&place_of_it.join("control"));
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "go_through_the_worlds", "--ignored", "--nocapture"])
            .env("LD_PRELOAD", place.path().join("faults.so"))
            .env(CONTROL, place_of_it.join("control"))
            .env(PLACE, place_of_it)
            .env(PART, format!("{part}/{parts}"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (said, tell) = (child.stdout.take().unwrap(), tell.clone());
        std::thread::spawn(move || {
            BufReader::new(said).lines().map_while(Result::ok).try_for_each(|line| tell.send(line))
        });
        children.push(Killed(child));
    }
    drop(tell);
    let (mut strikes, mut count, mut wrong) = (BTreeMap::<String, u64>::new(), 0, 0);
    // Until all have ended, or enough is wrong.
    for line in told {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["struck", fault, times] => *strikes.entry(fault.into()).or_default() += times.parse::<u64>().unwrap(),
            ["passed", worlds] => count += worlds.parse::<u64>().unwrap(),
            _ => println!("{line}"),
        }
        wrong += usize::from(line.starts_with("world "));
        if wrong >= enough() {
            break;
        }
    }
    let again = "AGENT_MONITOR_TEST_SEED=… cargo test --locked --test sim -- --nocapture";
    assert!(wrong == 0, "{wrong} worlds are wrong\nonce more, each with its story: {again}");
    for child in &mut children {
        assert!(child.0.wait().unwrap().success());
    }
    println!("{count} worlds were gone through, each twice; so often it struck: {strikes:?}");
    assert!(count >= range.end - range.start);
    let never: Vec<Fault> =
        Fault::ALL.into_iter().filter(|fault| !strikes.contains_key(&format!("{fault:?}"))).collect();
    assert!(said("AGENT_MONITOR_TEST_SEED").is_some() || never.is_empty(), "these faults never struck: {never:?}");
}

fn enough() -> usize {
    said("AGENT_MONITOR_TEST_SIM_ENOUGH").map_or(ENOUGH, |text| text.parse().expect("a number"))
}

#[test]
#[ignore = "the child of the other test"]
fn go_through_the_worlds() {
    let (Some(place), Some(part)) = (std::env::var_os(PLACE), said(PART)) else { return };
    let place = Path::new(&place);
    let control = Control::make(&place.join("control"));
    let (range, tells) = worlds();
    let (part, parts) = part.split_once('/').expect("a part");
    let (part, parts): (u64, u64) = (part.parse().expect("a number"), parts.parse().expect("a number"));
    let seconds: u64 = said("AGENT_MONITOR_TEST_SIM_SECONDS").map_or(0, |text| text.parse().expect("a number"));
    let end = monotonic() + std::time::Duration::from_secs(seconds);
    let mut strikes = Strikes::new();
    let (mut count, mut wrong) = (0, 0);
    for seed in (range.start + part..).step_by(usize::try_from(parts).unwrap()) {
        if seed >= range.end && monotonic() >= end || wrong >= enough() {
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
            println!("world {seed}: {what}");
            wrong += 1;
        }
    }
    strikes.iter().for_each(|(fault, times)| println!("struck {fault:?} {times}"));
    println!("passed {count}");
}

/// Goes through one world twice, and holds what is left of it the second time against the first.
fn once(seed: u64, place: &Path, control: &Control) -> Ending {
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
