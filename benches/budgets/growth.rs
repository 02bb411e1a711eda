//! B3: what an agent costs among many, and beside many that are none. B4: what trees cost.

use std::time::Duration;

use agent_monitor::clock::monotonic;

use super::daemon::Daemon;
use super::herd::{Floor, Herd, Rounds};
use super::report::{Bound, Measured, Report, mean, median};
use super::whole::{Ticks, by_turns, pause};
use super::{Options, herd, tell};

/// Agents of one process, few and many, and how many times as much one may cost among many.
const FEW: usize = 1_000;
const MANY: usize = 4_000;
const GROWTH: f64 = 1.4;
/// As many agents as a daemon can be asked to watch, the processes beside them, the interval, and percent of a core.
const MOST: usize = 10_000;
const BESIDE: usize = 20_000;
const INTERVAL: (&str, Duration) = ("10s", Duration::from_secs(10));
const PERCENT: f64 = 5.0;
/// Trees, and the processes of each.
const TREES: (usize, usize) = (1_000, 6);

pub(crate) fn measure(report: &mut Report, floor: &Floor, options: &Options) {
    if options.wants("B3") {
        growth(report, floor, options.quick);
        limit(report, floor, options.quick);
    }
    if options.wants("B4") {
        trees(report, floor, options.quick);
    }
}

/// What one agent costs a tick, among few and among many.
fn growth(report: &mut Report, floor: &Floor, quick: bool) {
    let ticks = if quick { 10 } else { 60 };
    let cost = |size| {
        tell(&format!("B3: the daemon with {size} agents for {ticks} s"));
        let herd = herd(floor, size)?;
        let mut opens = Rounds::start(floor, "open", &herd);
        let daemon = Daemon::start(&herd, "1s");
        let Ticks { ours, floors } = by_turns(&daemon, &mut opens, size, ticks);
        let rows = daemon.stop();
        assert!(rows >= (size * ticks) as u64, "only {rows} rows of history in {ticks} s");
        // In floors of its own minutes: many processes make every read of one dearer.
        Some((mean(&ours), mean(&floors)))
    };
    let (Some(few), Some(many)) = (cost(FEW), cost(MANY)) else {
        return report.leave_out("B3", &format!("{MANY} processes are not allowed"));
    };
    report.add(Measured {
        budget: "B3",
        what: format!("one of {MANY} agents, per tick"),
        ours: many.0,
        unit: "µs",
        bound: Bound::Ratio { floor: few.0, of: "one of 1,000 agents", most: GROWTH },
        notes: vec![format!(
            "means of {ticks} ticks; open, read, close of a stat meanwhile {:.2} and {:.2} µs",
            many.1, few.1
        )],
    });
}

/// All the agents there may be, on a host with as many processes again and again.
fn limit(report: &mut Report, floor: &Floor, quick: bool) {
    let rounds = if quick { 3 } else { 12 };
    tell(&format!("B3: {MOST} agents beside {BESIDE} processes for {rounds} intervals"));
    let (Some(beside), Some(herd)) = (Herd::start(floor, BESIDE), Herd::start(floor, MOST)) else {
        return report.leave_out("B3", &format!("{} processes are not allowed", BESIDE + MOST));
    };
    let daemon = Daemon::start(&herd, INTERVAL.0);
    pause(2 * INTERVAL.1);
    let (began, before) = (monotonic(), daemon.cpu_ns());
    pause(rounds * INTERVAL.1);
    let (used, lasted) = (daemon.cpu_ns() - before, monotonic().since(began));
    let rows = daemon.stop();
    drop(beside);
    // One interval may be cut at either end.
    let least = MOST as u64 * u64::from(rounds);
    assert!(rows >= least, "the interval was not kept: {rows} rows of history, not {least}");
    #[expect(clippy::cast_precision_loss, reason = "minutes in nanoseconds")]
    let percent = used as f64 / lasted.as_nanos() as f64 * 100.0;
    report.add(Measured {
        budget: "B3",
        what: format!("{MOST} agents at {}, {} processes in all", INTERVAL.0, BESIDE + MOST),
        ours: percent,
        unit: "%",
        bound: Bound::Most(PERCENT),
        notes: vec![format!(
            "percent of a core over {} s; {rows} rows of history, no interval missed",
            lasted.as_secs()
        )],
    });
}

/// The whole daemon, against finding all processes once.
fn trees(report: &mut Report, floor: &Floor, quick: bool) {
    let ((size, processes), ticks) = (TREES, if quick { 10 } else { 60 });
    tell(&format!("B4: {size} trees of {processes} processes for {ticks} s"));
    let Some(herd) = Herd::trees(floor, size, processes) else {
        return report.leave_out("B4", "too few processes are allowed");
    };
    let daemon = Daemon::start(&herd, "1s");
    let Ticks { ours, floors } = by_turns(&daemon, &mut Rounds::scans(floor, size), size, ticks);
    let (members, rows) = (daemon.processes(), daemon.stop());
    assert!(rows >= (size * ticks) as u64, "only {rows} rows of history in {ticks} s");
    assert_eq!(members, (size * processes) as u64, "all of each tree is seen");
    report.add(Measured {
        budget: "B4",
        what: format!("{size} trees of {processes} processes, per tree and tick"),
        ours: mean(&ours),
        unit: "µs",
        bound: Bound::Ratio { floor: mean(&floors), of: "one scan of /proc", most: 1.0 },
        notes: vec![format!(
            "means of {ticks} ticks, by turns; medians {:.2} and {:.2} µs",
            median(&ours),
            median(&floors)
        )],
    });
}
