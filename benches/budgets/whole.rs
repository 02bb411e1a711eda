//! The whole daemon, SQLite included, nobody asking. B2: its processor time. B6: its memory.

use std::time::Duration;

use agent_monitor::clock::monotonic;
use agent_monitor::model::Mono;

use super::daemon::Daemon;
use super::herd::{Floor, Rounds, each};
use super::report::{Bound, Measured, Report, mean, median};
use super::{Options, herd, tell};

/// Agents, and the megabytes (10⁶ bytes) that the daemon may take with them.
pub(crate) const SIZES: [(usize, f64); 3] = [(20, 10.0), (1_000, 26.0), (10_000, 64.0)];
/// The size that processor time is measured at, and its budget.
const B2: (usize, f64) = (1_000, 2.0);
/// What the kernel holds for a kept file of `/proc`: measured as 4.7 KB.
const KEPT_BYTES: u64 = 5_000;
/// The daemon's interval.
const TICK: Duration = Duration::from_secs(1);

pub(crate) fn measure(report: &mut Report, floor: &Floor, (size, most): (usize, f64), options: &Options) {
    let (cpu, memory) = (options.wants("B2") && size == B2.0, options.wants("B6"));
    if !cpu && !memory {
        return;
    }
    let ticks = if options.quick { 30 } else { 120 };
    tell(&format!("the daemon with {size} agents for {ticks} s"));
    let Some(herd) = herd(floor, size) else {
        return report.leave_out("B6", &format!("{size} processes are not allowed"));
    };
    let mut opens = Rounds::start(floor, "open", &herd);
    let daemon = Daemon::start(&herd, "1s");
    let Ticks { ours, floors } = by_turns(&daemon, &mut opens, size, ticks);
    let held = daemon.held();
    let rows = daemon.stop();
    assert!(rows >= (size * ticks) as u64, "only {rows} rows of history in {ticks} s");
    if cpu {
        report.add(Measured {
            budget: "B2",
            what: format!("the whole daemon, {size} agents, per agent and tick"),
            ours: mean(&ours),
            unit: "µs",
            bound: Bound::Ratio { floor: mean(&floors), of: "open, read, close of a stat", most: B2.1 },
            // The mean, since each tenth tick reads storage I/O, and each sixtieth writes totals down.
            notes: vec![format!(
                "means of {ticks} ticks, by turns; medians {:.2} and {:.2} µs",
                median(&ours),
                median(&floors)
            )],
        });
    }
    if memory {
        let megabytes = |bytes: u64| f64::from(u32::try_from(bytes / 1000).unwrap()) / 1000.0;
        report.add(Measured {
            budget: "B6",
            what: format!("memory with {size} agents, after {} s", ticks + 10),
            ours: megabytes(held.resident_bytes + held.files * KEPT_BYTES),
            unit: "MB",
            bound: Bound::Most(most),
            notes: vec![format!(
                "{:.1} MB resident, {} files of /proc kept at 5 KB; beside them {} pidfds",
                megabytes(held.resident_bytes),
                held.files,
                held.pidfds
            )],
        });
    }
}

/// Microseconds of processor time a tick, for each of `size`.
pub(crate) struct Ticks {
    pub(crate) ours: Vec<f64>,
    pub(crate) floors: Vec<f64>,
}

/// Ticks of a daemon with an interval of a second, and between two of them a round of the floor.
pub(crate) fn by_turns(daemon: &Daemon, floor: &mut Rounds, size: usize, ticks: usize) -> Ticks {
    pause(10 * TICK);
    let mut at = quiet_moment(daemon);
    let (mut ours, mut floors) = (Vec::new(), Vec::new());
    let mut before = daemon.cpu_ns();
    for _ in 0..ticks {
        floors.push(floor.round());
        at = at + TICK;
        pause(at.since(monotonic()));
        let after = daemon.cpu_ns();
        #[expect(clippy::cast_precision_loss, reason = "a second in nanoseconds")]
        ours.push(each((after - before) as f64, size));
        before = after;
    }
    Ticks { ours, floors }
}

/// A moment half way between two ticks of the daemon.
fn quiet_moment(daemon: &Daemon) -> Mono {
    let mut before = daemon.cpu_ns();
    let started = monotonic();
    loop {
        pause(Duration::from_millis(10));
        let after = daemon.cpu_ns();
        let busy = after - before > 100_000;
        before = after;
        if busy || monotonic().since(started) > 3 * TICK {
            return monotonic() + TICK / 2;
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a budget over two minutes takes two minutes")]
pub(crate) fn pause(span: Duration) {
    std::thread::sleep(span);
}
