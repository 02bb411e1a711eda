//! The proportional set size of processes, measured on a thread of its own.
//!
//! `smaps_rollup` walks every resident page of a process, microseconds a MiB, and waits for its memory lock, which may be
//! held for ever. So nobody waits for it: one thread reads, process after process, and readings take the last value. A
//! read that takes longer than [`DEADLINE`] loses its turn: another thread goes on with the others, and the first one
//! ends when its read does. What the reading costs, by the threads' own clocks and so with the kernel's part, decides how
//! soon the next one may come: see [`Schedule`].

mod schedule;

use std::panic::resume_unwind;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use self::schedule::{Next, Schedule};
use super::procfs::{Procfs, TEXT_BYTES};
use super::stat::labelled;
use crate::clock::monotonic;
use crate::model::{ProcessKey, PssCounts, PssReading};
use crate::process::{ReadError, Watch};

/// How long a read may take before another thread goes on with the others: by then the lock is held by somebody who does
/// not let go of it, or a hundred gigabytes are being counted. Looked at when events are drained.
const DEADLINE: Duration = Duration::from_secs(2);

const STACK_BYTES: usize = 128 * 1024;

/// Measures the kept processes, while it is asked to.
#[derive(Default)]
pub(super) struct Pss {
    measuring: Option<Measuring>,
    /// What was counted before, while nothing is measured.
    counts: PssCounts,
}

/// Measures until dropped. Reads that hang then are left to themselves: nothing can end them but the end of the process,
/// theirs or ours.
struct Measuring {
    shared: Arc<Shared>,
    /// The one whose turn it is, and those that lost theirs.
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    procfs: Arc<Procfs>,
    schedule: Mutex<Schedule>,
    /// There may be something to do before it was expected.
    changed: Condvar,
}

impl Pss {
    /// Begins, goes on at another pace, or ends: see [`measure_pss`](crate::process::ProcessSource::measure_pss).
    pub(super) fn measure(
        &mut self,
        every: Option<Duration>,
        procfs: &Arc<Procfs>,
        kept: impl Iterator<Item = (ProcessKey, Watch)>,
    ) {
        match (every, &self.measuring) {
            (Some(every), Some(Measuring { shared, .. })) => {
                shared.lock().every = every;
                shared.changed.notify_all();
            }
            (Some(every), None) => {
                let schedule = Mutex::new(Schedule::new(every, self.counts, monotonic()));
                let shared = Arc::new(Shared { procfs: Arc::clone(procfs), schedule, changed: Condvar::new() });
                self.measuring = Some(Measuring { shared, threads: Vec::new() });
                kept.for_each(|(process, watch)| self.keep(process, watch));
                self.check();
            }
            (None, _) => {
                self.counts = self.counts();
                self.measuring = None;
            }
        }
    }

    /// From now on this process is measured, until [`forget`](Pss::forget).
    pub(super) fn keep(&self, process: ProcessKey, watch: Watch) {
        if let Some(Measuring { shared, .. }) = &self.measuring
            && shared.lock().keep(process, watch)
        {
            shared.changed.notify_all();
        }
    }

    pub(super) fn forget(&self, process: ProcessKey) {
        if let Some(Measuring { shared, .. }) = &self.measuring {
            shared.lock().forget(process);
        }
    }

    /// What is known of a process.
    pub(super) fn of(&self, process: ProcessKey) -> PssReading {
        self.measuring.as_ref().map_or(PssReading::Unknown, |measuring| measuring.shared.lock().of(process))
    }

    pub(super) fn counts(&self) -> PssCounts {
        self.measuring.as_ref().map_or(self.counts, |measuring| measuring.shared.lock().counts)
    }

    /// Gives the turn to another thread if the present one waits for too long, or if there is none.
    ///
    /// # Panics
    /// With the panic of a thread, if one had one.
    pub(super) fn check(&mut self) {
        let Some(Measuring { shared, threads }) = &mut self.measuring else { return };
        for place in (0..threads.len()).rev() {
            if threads[place].is_finished()
                && let Err(panic) = threads.swap_remove(place).join()
            {
                resume_unwind(panic);
            }
        }
        let Some(turn) = shared.lock().take_turn(monotonic(), DEADLINE) else { return };
        let work = Arc::clone(shared);
        let thread = std::thread::Builder::new().name("process-pss".to_owned()).stack_size(STACK_BYTES);
        match thread.spawn(move || work.run(turn)) {
            Ok(thread) => threads.push(thread),
            // Nothing is measured until there is one: at the next look.
            Err(_) => shared.lock().give_turn_back(),
        }
    }
}

impl Drop for Measuring {
    fn drop(&mut self) {
        self.shared.lock().end();
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, turn: u64) {
        let mut used = thread_cpu_time();
        let mut schedule = self.lock();
        loop {
            let before = std::mem::replace(&mut used, thread_cpu_time());
            schedule.spend(used.saturating_sub(before));
            schedule = match schedule.next(turn, monotonic()) {
                Next::End => return,
                Next::Rest => self.changed.wait(schedule).unwrap_or_else(PoisonError::into_inner),
                Next::Wait(span) => self.changed.wait_timeout(schedule, span).unwrap_or_else(PoisonError::into_inner).0,
                Next::Read(process) => {
                    drop(schedule);
                    let read = measure(&self.procfs, process);
                    let mut schedule = self.lock();
                    schedule.done(process, &read, monotonic());
                    schedule
                }
            };
        }
    }
}

/// Reads `smaps_rollup`. Even opening it may wait for the process: for the end of an execve(2).
fn measure(procfs: &Procfs, process: ProcessKey) -> Result<u64, ReadError> {
    let pid = process.pid;
    let stat = procfs.open_file(pid, "stat")?;
    let rollup = procfs.open_file(pid, "smaps_rollup")?;
    let mut buffer = [0; TEXT_BYTES];
    let text = procfs.read(rollup, &mut buffer, pid, "smaps_rollup")?;
    let kib = labelled(text, b"Pss:")
        .ok_or_else(|| procfs.parse_error("there is no number after Pss", pid, "smaps_rollup"))?;
    procfs.stat_of(stat, process, &mut buffer)?;
    Ok(kib.saturating_mul(1024))
}

/// Processor time of this thread, `CLOCK_THREAD_CPUTIME_ID`, clock_gettime(2).
fn thread_cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}
