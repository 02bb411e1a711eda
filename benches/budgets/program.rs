//! B7: a daemon that nobody asks. B13: the program as agents call it. B14: its size.

use std::fs;
use std::time::Duration;

use agent_monitor::clock::monotonic;

use super::daemon::{Daemon, PROGRAM};
use super::herd::Floor;
use super::report::{Bound, Measured, Report, median};
use super::whole::pause;
use super::{Options, herd, tell};

/// Agents, percent of a core, and wake-ups a second.
const B7: (usize, f64, f64) = (20, 0.02, 2.0);
/// Milliseconds of processor time.
const B13: f64 = 5.0;
/// Megabytes (10⁶ bytes).
const B14: f64 = 10.0;

pub(crate) fn measure(report: &mut Report, floor: &Floor, options: &Options) {
    if options.wants("B7") {
        idle(report, floor, options.quick);
    }
    if options.wants("B13") {
        event(report, floor, options.quick);
    }
    if options.wants("B14") {
        size(report);
    }
}

fn idle(report: &mut Report, floor: &Floor, quick: bool) {
    let (agents, percent, wakes) = B7;
    let span = Duration::from_secs(if quick { 30 } else { 180 });
    tell(&format!("B7: {agents} agents at 10 s for {} s", span.as_secs()));
    let Some(herd) = herd(floor, agents) else { return report.leave_out("B7", "too few processes are allowed") };
    let daemon = Daemon::start(&herd, "10s");
    // After it has given back what only the start needed.
    pause(Duration::from_secs(65));
    let (began, cpu, woken) = (monotonic(), daemon.cpu_ns(), daemon.wake_ups());
    pause(span);
    let (cpu, woken, lasted) = (daemon.cpu_ns() - cpu, daemon.wake_ups() - woken, monotonic().since(began));
    assert!(daemon.stop() > 0, "it did what it was measured at");
    #[expect(clippy::cast_precision_loss, reason = "minutes in nanoseconds")]
    let (used, woken) = (cpu as f64 / lasted.as_nanos() as f64 * 100.0, woken as f64 / lasted.as_secs_f64());
    for (what, ours, unit, most) in [("processor time", used, "%", percent), ("wake-ups a second", woken, "", wakes)] {
        report.add(Measured {
            budget: "B7",
            what: format!("{agents} agents at 10 s, nobody asking: {what}"),
            ours,
            unit,
            bound: Bound::Most(most),
            notes: vec![format!("over {} s; percent of a core, times that a thread went to sleep", lasted.as_secs())],
        });
    }
}

/// `agent-monitor event`, as a hook calls it.
fn event(report: &mut Report, floor: &Floor, quick: bool) {
    let rounds = if quick { 20 } else { 200 };
    tell(&format!("B13: {rounds} events"));
    let Some(herd) = herd(floor, 1) else { return report.leave_out("B13", "no process is allowed") };
    let daemon = Daemon::start(&herd, "1s");
    let took_ms: Vec<f64> = (0..rounds).map(|_| daemon.tell_event().as_secs_f64() * 1000.0).collect();
    assert_eq!(daemon.events_told(), rounds, "each was stored");
    daemon.stop();
    report.add(Measured {
        budget: "B13",
        what: "agent-monitor event, the whole process".to_owned(),
        ours: median(&took_ms),
        unit: "ms",
        bound: Bound::Most(B13),
        notes: vec![format!("median processor time of {rounds}, each stored before the command ends")],
    });
}

fn size(report: &mut Report) {
    let bytes = fs::metadata(PROGRAM).unwrap().len();
    report.add(Measured {
        budget: "B14",
        what: "the program, stripped, everything in".to_owned(),
        ours: f64::from(u32::try_from(bytes / 1000).unwrap()) / 1000.0,
        unit: "MB",
        bound: Bound::Most(B14),
        notes: Vec::new(),
    });
}
