//! B1: reading one member of a tree, its files kept open.

use std::sync::Arc;

use agent_monitor::model::{Pid, ProcessKey};
use agent_monitor::process::here::raise_open_files;
use agent_monitor::process::linux::{Forks, LinuxSource};
use agent_monitor::process::{ProcessSource, Watch};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

use super::herd::{Floor, Rounds, each};
use super::report::{Bound, Measured, Report, median};
use super::{herd, tell};

const SIZE: usize = 1_000;
const MOST: f64 = 1.3;

pub(crate) fn measure(report: &mut Report, floor: &Floor, quick: bool) {
    tell("B1: reading 1,000 members");
    let Some(herd) = herd(floor, SIZE) else { return report.leave_out("B1", "too few processes are allowed") };
    let mut source = LinuxSource::new(raise_open_files(), Forks::Scanned, Arc::new(|| ())).unwrap();
    let keep = |pid: &u32| {
        let key = source.look(Pid::new((*pid).into()).unwrap()).unwrap().key;
        source.keep(key, Watch::Counters).unwrap();
        key
    };
    let keys: Vec<ProcessKey> = herd.pids.iter().map(keep).collect();
    let _same_core = OneCore::enter();
    let mut bare = Rounds::start(floor, "pread", &herd);
    let (mut ours, mut floors) = (Vec::new(), Vec::new());
    let (warm_up, rounds) = if quick { (5, 50) } else { (20, 400) };
    for round in 0..warm_up + rounds {
        let taken = (read_all(&mut source, &keys), bare.round());
        if round >= warm_up {
            ours.push(taken.0);
            floors.push(taken.1);
        }
    }
    report.add(Measured {
        budget: "B1",
        what: "one member: CPU, memory, threads, files kept".to_owned(),
        ours: median(&ours),
        unit: "µs",
        bound: Bound::Ratio { floor: median(&floors), of: "pread of stat and statm", most: MOST },
        notes: vec![format!("medians of {rounds} rounds over {SIZE} processes, each by turns")],
    });
}

/// Until dropped, this thread and what it starts share one core: cores that carry other loads differ by half in speed,
/// and who got which would decide.
struct OneCore(CpuSet);

impl OneCore {
    fn enter() -> OneCore {
        let all = sched_getaffinity(None).unwrap();
        let mut one = CpuSet::new();
        one.set((0..CpuSet::MAX_CPU).find(|core| all.is_set(*core)).unwrap());
        sched_setaffinity(None, &one).unwrap();
        OneCore(all)
    }
}

impl Drop for OneCore {
    fn drop(&mut self) {
        sched_setaffinity(None, &self.0).unwrap();
    }
}

/// Microseconds of processor time for each.
fn read_all(source: &mut LinuxSource, keys: &[ProcessKey]) -> f64 {
    let before = cpu_ns();
    for key in keys {
        assert_eq!(source.read(*key, false).unwrap().threads, Some(1));
    }
    each(cpu_ns() - before, keys.len())
}

#[expect(clippy::cast_precision_loss, reason = "minutes in nanoseconds")]
fn cpu_ns() -> f64 {
    let at = clock_gettime(ClockId::ProcessCPUTime);
    at.tv_sec as f64 * 1e9 + at.tv_nsec as f64
}
