//! Growth, step by step, to be looked at: no budget, and only when it is named, `--only steps`.

use super::Options;
use super::daemon::Daemon;
use super::herd::{Floor, Herd, Rounds};
use super::report::{Bound, Measured, Report, mean};
use super::whole::by_turns;
use super::{herd, tell};

/// Agents of one process, alone.
const AGENTS: [usize; 6] = [10, 100, 1_000, 2_000, 4_000, 10_000];
/// So many agents …
const FEW: usize = 100;
/// … beside so many processes that are none.
const BESIDE: [usize; 5] = [0, 1_000, 5_000, 10_000, 30_000];
const TICKS: usize = 20;

pub(crate) fn measure(report: &mut Report, floor: &Floor, options: &Options) {
    if !options.names("steps") {
        return;
    }
    for size in AGENTS {
        step(report, floor, size, 0);
    }
    for beside in BESIDE {
        step(report, floor, FEW, beside);
    }
}

fn step(report: &mut Report, floor: &Floor, size: usize, beside: usize) {
    tell(&format!("steps: {size} agents beside {beside} processes for {TICKS} s"));
    let (Some(others), Some(herd)) = (Herd::start(floor, beside), herd(floor, size)) else {
        return report.leave_out("steps", &format!("{} processes are not allowed", size + beside));
    };
    let mut opens = Rounds::start(floor, "open", &herd);
    let daemon = Daemon::start(&herd, "1s");
    let ticks = by_turns(&daemon, &mut opens, size, TICKS);
    let rows = daemon.stop();
    drop(others);
    report.add(Measured {
        budget: "",
        what: format!("one of {size} agents, per tick, beside {beside} processes"),
        ours: mean(&ticks.ours),
        unit: "µs",
        bound: Bound::Beside { floor: mean(&ticks.floors), of: "open, read, close of a stat" },
        notes: vec![format!("means of {TICKS} ticks; {rows} rows of history")],
    });
}
