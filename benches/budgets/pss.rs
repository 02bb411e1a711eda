//! B5: measuring proportional set sizes, when that is switched on.

use std::time::Duration;

use agent_monitor::clock::monotonic;

use super::daemon::Daemon;
use super::herd::{Floor, Herd};
use super::report::{Bound, Measured, Report};
use super::tell;
use super::whole::pause;

/// Agents that share this many MiB: resident in each, so that measuring costs as if each had its own.
const SIZE: usize = 4;
const MIB: u32 = 2_048;
/// Percent of a core.
const MOST: f64 = 0.5;

pub(crate) fn measure(report: &mut Report, floor: &Floor, quick: bool) {
    let span = Duration::from_secs(if quick { 30 } else { 120 });
    tell(&format!("B5: proportional set sizes for {} s", span.as_secs()));
    let Some(herd) = Herd::large(floor, SIZE, MIB) else {
        return report.leave_out("B5", &format!("{MIB} MiB are not to be had"));
    };
    let daemon = Daemon::configured(&herd, "1s", "[sampling]\nmemory = \"pss\"\n");
    // The first time round: by then every value is known, and all that may be spent at once was spent.
    let begun = monotonic();
    while daemon.exact_samples() == 0 {
        assert!(monotonic().since(begun) < Duration::from_secs(300), "no sample is exact");
        pause(Duration::from_millis(500));
    }
    let first = monotonic().since(begun);
    let (at, before, exact) = (monotonic(), daemon.thread_cpu_ns("process-pss"), daemon.exact_samples());
    pause(span);
    let (used, lasted) = (daemon.thread_cpu_ns("process-pss") - before, monotonic().since(at));
    let exact = daemon.exact_samples() - exact;
    daemon.stop();
    #[expect(clippy::cast_precision_loss, reason = "minutes in nanoseconds")]
    let percent = used as f64 / lasted.as_nanos() as f64 * 100.0;
    report.add(Measured {
        budget: "B5",
        what: format!("measuring the PSS of {SIZE} agents of {MIB} MiB each"),
        ours: percent,
        unit: "%",
        bound: Bound::Most(MOST),
        notes: vec![format!(
            "percent of a core over {} s; the first agent was exact after {:.1} s, then {exact} samples were",
            lasted.as_secs(),
            first.as_secs_f64()
        )],
    });
}
