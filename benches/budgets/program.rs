//! B7: a daemon that nobody asks. B13: the program as agents call it. B14: its size.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use agent_monitor::clock::monotonic;
use rustix::time::ClockId;

use super::daemon::{Daemon, PROGRAM};
use super::herd::{Floor, Herd};
use super::report::{Bound, Measured, Report, median};
use super::storage::{cpu_us, pass, words};
use super::whole::pause;
use super::{Options, herd, plain, tell};

/// Agents, times the least that can be done, and wake-ups a second.
const B7: (u32, f64, f64) = (20, 2.0, 2.0);
const SECOND: Duration = Duration::from_secs(1);
/// Seconds between two samples.
const INTERVAL: u64 = 10;
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
    let (agents, times, wakes) = B7;
    let ticks = if quick { 3 } else { 18 };
    tell(&format!("B7: {agents} agents at {INTERVAL} s for {} s", ticks * INTERVAL));
    let Some(herd) = herd(floor, agents as usize) else {
        return report.leave_out("B7", "too few processes are allowed");
    };
    let daemon = Daemon::start(&herd, &format!("{INTERVAL}s"));
    // After it has given back what only the start needed.
    pause(65 * SECOND);
    let (began, cpu, woken) = (monotonic(), daemon.cpu_ns(), daemon.wake_ups());
    let least = least(&herd, &daemon.registry(), ticks);
    let (cpu, woken, lasted) = (daemon.cpu_ns() - cpu, daemon.wake_ups() - woken, monotonic().since(began));
    assert!(daemon.stop() > 0, "it did what it was measured at");
    #[expect(clippy::cast_precision_loss, reason = "minutes in nanoseconds")]
    let used = cpu as f64 / lasted.as_nanos() as f64;
    report.add(Measured {
        budget: "B7",
        what: format!("{agents} agents at {INTERVAL} s, nobody asking: CPU a second"),
        ours: used * 1e6,
        unit: "µs",
        bound: Bound::Ratio {
            floor: least,
            of: "bare pread, plain SQLite, and a stat a second of the registry",
            most: times,
        },
        notes: vec![format!("{:.3} % of a core over {} s, both at once", used * 100.0, lasted.as_secs())],
    });
    #[expect(clippy::cast_precision_loss, reason = "a number of wake-ups")]
    report.add(Measured {
        budget: "B7",
        what: format!("{agents} agents at {INTERVAL} s, nobody asking: wake-ups a second"),
        ours: woken as f64 / lasted.as_secs_f64(),
        unit: "",
        bound: Bound::Most(wakes),
        notes: vec![format!("over {} s; times that a thread went to sleep", lasted.as_secs())],
    });
}

/// The least that such a daemon can do for so many ticks: kept files read and one transaction at each, and each second a
/// look at whether the registry has changed. Microseconds of processor time a second.
fn least(herd: &Herd, registry: &Path, ticks: u64) -> f64 {
    let open = |pid: &u32| ["stat", "statm"].map(|name| File::open(format!("/proc/{pid}/{name}")).unwrap());
    let files: Vec<File> = herd.pids.iter().flat_map(open).collect();
    let words = words(B7.0);
    let (mut done, mut began, mut ended) = (0, 0.0, 0.0);
    let ticking = std::iter::from_fn(|| {
        if done == 0 {
            began = cpu_us(ClockId::ThreadCPUTime);
        }
        ended = cpu_us(ClockId::ThreadCPUTime);
        done += 1;
        (done <= ticks).then(|| {
            for _ in 0..INTERVAL {
                pause(SECOND);
                fs::metadata(registry).unwrap();
            }
            for file in &files {
                assert!(file.read_at(&mut [0; 1536], 0).unwrap() > 0);
            }
            pass(done, done * INTERVAL, &words)
        })
    });
    plain::inserting(ticking);
    #[expect(clippy::cast_precision_loss, reason = "minutes")]
    let seconds = (ticks * INTERVAL) as f64;
    (ended - began) / seconds
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
