//! Whose proportional set size is measured next, and when. Pure.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use crate::model::{Mono, ProcessKey, PssCounts, PssReading};
use crate::process::{ReadError, Watch};

/// Of this many nanoseconds one may be spent on measuring: 0.4 % of a core. The budget is 0.5 %; the rest is for what
/// cannot be foreseen, since a read is paid for only when it is over.
const SHARE: u64 = 250;

/// What may be spent in one go after a rest, so that many small processes cost few wakes.
const GO: Duration = Duration::from_millis(1);

/// How many reads may hang at once. With one more, nothing is measured until one of them returns.
const HANGING: usize = 4;

/// Every process that is measured, what is known of it, and what measuring has cost.
///
/// Those that were never measured come first, roots before members; then whoever was measured longest ago.
pub(super) struct Schedule {
    /// A process is measured again no sooner than this after the last time.
    pub(super) every: Duration,
    pub(super) counts: PssCounts,
    known: HashMap<ProcessKey, Known>,
    /// Who is to be measured, the next one first: when last, how it is watched, who. Without those under way.
    queue: BTreeSet<(Option<Mono>, Watch, ProcessKey)>,
    allowance: Allowance,
    /// Whose turn it is: threads have numbers that only grow.
    turn: u64,
    /// Whether a thread has it.
    taken: bool,
    /// What the thread whose turn it is reads, and since when.
    reading: Option<(ProcessKey, Mono)>,
    /// What those read that lost their turn.
    hanging: Vec<ProcessKey>,
    ended: bool,
}

#[derive(Clone, Copy)]
struct Known {
    watch: Watch,
    measured_at: Option<Mono>,
    pss: PssReading,
}

/// What a thread is to do now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// Measure this process, and say what came of it.
    Read(ProcessKey),
    /// Ask again after this long.
    Wait(Duration),
    /// Ask again when something has changed.
    Rest,
    /// End: it is another's turn.
    End,
}

impl Schedule {
    /// Nobody to be measured yet.
    pub(super) fn new(every: Duration, counts: PssCounts, now: Mono) -> Schedule {
        Schedule {
            every,
            counts,
            known: HashMap::new(),
            queue: BTreeSet::new(),
            allowance: Allowance::new(now),
            turn: 0,
            taken: false,
            reading: None,
            hanging: Vec::new(),
            ended: false,
        }
    }

    /// Takes a process in. Whether a thread that waits should ask again.
    pub(super) fn keep(&mut self, process: ProcessKey, watch: Watch) -> bool {
        self.forget(process);
        self.known.insert(process, Known { watch, measured_at: None, pss: PssReading::Unknown });
        // One that is being read, and hangs perhaps, is not read twice.
        let under_way = self.reading.is_some_and(|(read, _)| read == process) || self.hanging.contains(&process);
        if !under_way {
            self.queue.insert((None, watch, process));
        }
        !under_way && !self.allowance.resting
    }

    /// Lets a process go.
    pub(super) fn forget(&mut self, process: ProcessKey) {
        if let Some(known) = self.known.remove(&process) {
            self.queue.remove(&(known.measured_at, known.watch, process));
        }
    }

    /// What is known of a process.
    pub(super) fn of(&self, process: ProcessKey) -> PssReading {
        self.known.get(&process).map_or(PssReading::Unknown, |known| known.pss)
    }

    /// A number for another thread, if it is to go on: because there is none, or because the read under way has taken
    /// longer than `deadline`.
    pub(super) fn take_turn(&mut self, now: Mono, deadline: Duration) -> Option<u64> {
        if self.taken {
            let (hangs, _) = self.reading.filter(|(_, since)| now.since(*since) > deadline)?;
            if self.hanging.len() >= HANGING {
                return None;
            }
            self.counts.overdue += 1;
            self.hanging.push(hangs);
            self.reading = None;
        }
        self.turn += 1;
        self.taken = true;
        Some(self.turn)
    }

    /// There is no thread to take the turn that was given last.
    pub(super) fn give_turn_back(&mut self) {
        self.taken = false;
    }

    /// From now on there is nothing to do.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// What measuring has cost since the last call, in processor time.
    pub(super) fn spend(&mut self, cost: Duration) {
        self.allowance.spend(cost);
    }

    /// What the thread of this turn is to do.
    pub(super) fn next(&mut self, turn: u64, now: Mono) -> Next {
        if self.ended || turn != self.turn {
            return Next::End;
        }
        // First, so that one that rests always asks again by itself.
        if let Some(wait) = self.allowance.wait(now) {
            return Next::Wait(wait);
        }
        let Some(first) = self.queue.first().copied() else { return Next::Rest };
        let (measured_at, _, process) = first;
        let age = measured_at.map_or(Duration::MAX, |at| now.since(at));
        if age < self.every {
            return Next::Wait(self.every - age);
        }
        self.queue.remove(&first);
        self.reading = Some((process, now));
        Next::Read(process)
    }

    /// What came of measuring a process.
    pub(super) fn done(&mut self, process: ProcessKey, read: &Result<u64, ReadError>, now: Mono) {
        match self.hanging.iter().position(|hanging| *hanging == process) {
            Some(place) => drop(self.hanging.swap_remove(place)),
            None => self.reading = None,
        }
        let pss = match read {
            Ok(bytes) => PssReading::Known { bytes: *bytes, at: now },
            Err(ReadError::Denied { .. }) => {
                self.counts.denied += 1;
                PssReading::Denied
            }
            Err(ReadError::Gone) => PssReading::Unknown,
            Err(ReadError::Io { .. } | ReadError::Parse { .. }) => {
                self.counts.failed += 1;
                PssReading::Unknown
            }
        };
        // Let go of meanwhile, perhaps.
        if let Some(known) = self.known.get_mut(&process) {
            *known = Known { watch: known.watch, measured_at: Some(now), pss };
            self.queue.insert((Some(now), known.watch, process));
        }
    }
}

/// Processor time that may be spent: it grows with time, by one part in [`SHARE`], up to [`GO`]. Whoever has used it up
/// rests until it should be whole again.
struct Allowance {
    /// Nanoseconds; less than nothing after a read that cost more than there was.
    left: i64,
    at: Mono,
    resting: bool,
}

impl Allowance {
    fn new(now: Mono) -> Allowance {
        Allowance { left: nanoseconds(GO), at: now, resting: false }
    }

    fn spend(&mut self, cost: Duration) {
        self.left = self.left.saturating_sub(nanoseconds(cost));
    }

    /// How long to rest; none when there is something to be spent.
    fn wait(&mut self, now: Mono) -> Option<Duration> {
        let grown = nanoseconds(now.since(self.at)) / SHARE.cast_signed();
        self.left = self.left.saturating_add(grown).min(nanoseconds(GO));
        self.at = now;
        // Less than whole, since waking up costs something too: whoever waited for all of it would never begin.
        let rested = self.left >= nanoseconds(GO) / 2;
        self.resting = self.left <= 0 || self.resting && !rested;
        let missing = nanoseconds(GO).saturating_sub(self.left).unsigned_abs();
        self.resting.then(|| Duration::from_nanos(missing.saturating_mul(SHARE)))
    }
}

fn nanoseconds(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Pid;

    const SECOND: Duration = Duration::from_secs(1);
    const EVERY: Duration = Duration::from_secs(10);
    const DEADLINE: Duration = Duration::from_secs(2);

    fn key(number: u32) -> ProcessKey {
        ProcessKey { start_ticks: u64::from(number), pid: Pid::new(i64::from(number)).unwrap() }
    }

    fn at(span: Duration) -> Mono {
        Mono(1_000_000_000) + span
    }

    /// A schedule of these, the roots among them above 100, whose first thread has the turn.
    fn schedule(numbers: &[u32]) -> Schedule {
        let mut schedule = Schedule::new(EVERY, PssCounts::default(), at(Duration::ZERO));
        for number in numbers {
            schedule.keep(key(*number), if *number > 100 { Watch::Exit } else { Watch::Counters });
        }
        assert_eq!(schedule.take_turn(at(Duration::ZERO), DEADLINE), Some(1));
        schedule
    }

    /// Measures whoever is next at `now`, for nothing.
    fn read(schedule: &mut Schedule, now: Mono) -> Option<u32> {
        let Next::Read(process) = schedule.next(schedule.turn, now) else { return None };
        schedule.done(process, &Ok(u64::from(process.pid.get())), now);
        Some(process.pid.get())
    }

    #[test]
    fn the_new_ones_first_and_roots_before_members_then_the_oldest() {
        let mut schedule = schedule(&[1, 102, 3, 104]);
        let order: Vec<u32> = (0..4).map_while(|n| read(&mut schedule, at(SECOND * n))).collect();
        assert_eq!(order, [102, 104, 1, 3]);
        assert_eq!(schedule.next(1, at(SECOND * 4)), Next::Wait(SECOND * 6), "until the first is ten seconds old");
        assert!(schedule.keep(key(5), Watch::Counters), "whoever waits has something to do");
        assert_eq!(read(&mut schedule, at(SECOND * 4)), Some(5));
        schedule.forget(key(104));
        let order: Vec<u32> = (0..3).map_while(|_| read(&mut schedule, at(SECOND * 20))).collect();
        assert_eq!(order, [102, 1, 3]);
        let known = |number, seconds| PssReading::Known { bytes: number, at: at(SECOND * seconds) };
        assert_eq!([key(1), key(5)].map(|key| schedule.of(key)), [known(1, 20), known(5, 4)]);
        assert_eq!(schedule.of(key(104)), PssReading::Unknown);
    }

    #[test]
    fn nobody_to_measure() {
        let mut schedule = schedule(&[]);
        assert_eq!(schedule.next(1, at(SECOND)), Next::Rest);
        schedule.spend(SECOND);
        assert!(matches!(schedule.next(1, at(SECOND)), Next::Wait(_)), "nobody wakes one that rests");
        assert!(!schedule.keep(key(1), Watch::Exit));
        schedule.end();
        assert_eq!(schedule.next(1, at(SECOND)), Next::End);
    }

    /// What it costs to wake up, on a slow machine.
    const WAKE: Duration = Duration::from_micros(100);

    /// Whatever a read costs, in the long run there is so much rest that it is 0.4 % of a core.
    #[test]
    fn the_pace_keeps_the_budget_whatever_a_read_costs() {
        for (cost, count) in [(Duration::from_micros(8), 3_000), (Duration::from_millis(2), 3), (SECOND, 1)] {
            let numbers: Vec<u32> = (1..=count).collect();
            let mut schedule = schedule(&numbers);
            schedule.every = Duration::ZERO;
            let (mut now, mut spent, mut read, mut waits) = (at(Duration::ZERO), Duration::ZERO, Duration::ZERO, 0);
            let end = at(SECOND * 1000);
            let mut last = Duration::ZERO;
            while now < end {
                match schedule.next(1, now) {
                    Next::Read(process) => {
                        now = now + cost;
                        schedule.done(process, &Ok(1), now);
                        schedule.spend(cost);
                        spent += cost;
                        read += cost;
                        last = cost;
                    }
                    Next::Wait(span) => {
                        assert!(span > Duration::ZERO);
                        waits += 1;
                        now = now + span;
                        schedule.spend(WAKE);
                        spent += WAKE;
                    }
                    other => panic!("{other:?}"),
                }
            }
            let most = SECOND * 4 + GO + last + WAKE;
            assert!(spent <= most, "{cost:?} each: {spent:?} of 1,000 s");
            assert!(read >= SECOND * 3, "{cost:?} each: only {read:?}, the allowance is to be used");
            assert!(waits <= 5_000, "{cost:?} each: {waits} wakes in 1,000 s");
        }
    }

    #[test]
    fn a_turn_is_lost_after_the_deadline_and_never_without_end() {
        let mut schedule = schedule(&[101, 102, 103, 104, 105, 106, 7]);
        assert_eq!(schedule.take_turn(at(SECOND), DEADLINE), None, "it has not begun");
        let mut now = at(SECOND);
        for turn in 1..=4 {
            assert_eq!(schedule.next(turn, now), Next::Read(key(100 + u32::try_from(turn).unwrap())));
            assert_eq!(schedule.take_turn(now + DEADLINE, DEADLINE), None, "it is not over");
            now = now + SECOND * 3;
            assert_eq!(schedule.take_turn(now, DEADLINE), Some(turn + 1));
            assert_eq!(schedule.next(turn, now), Next::End, "whoever lost its turn");
        }
        assert_eq!(schedule.next(5, now), Next::Read(key(105)));
        now = now + SECOND * 60;
        assert_eq!(schedule.take_turn(now, DEADLINE), None, "a fifth may not hang");
        assert_eq!(schedule.counts.overdue, 4);

        // Let go of and taken in again while its read hangs: it is not read twice.
        schedule.keep(key(103), Watch::Exit);
        schedule.done(key(101), &Ok(1), now);
        assert_eq!(schedule.take_turn(now, DEADLINE), Some(6));
        let order: Vec<u32> = (0..9).map_while(|_| read(&mut schedule, now)).collect();
        assert_eq!(order, [106, 7]);
        schedule.done(key(103), &Ok(3), now);
        assert_eq!(schedule.of(key(103)), PssReading::Known { bytes: 3, at: now });
        assert_eq!(read(&mut schedule, now + SECOND * 10), Some(101), "the roots, measured at the same time");
    }

    #[test]
    fn what_came_of_a_read() {
        let mut schedule = schedule(&[101]);
        let path = || "/proc/101/smaps_rollup".into();
        for (read, expected) in [
            (Err(ReadError::Denied { path: path() }), PssReading::Denied),
            (Err(ReadError::Parse { path: path(), what: "x" }), PssReading::Unknown),
            (Err(ReadError::Gone), PssReading::Unknown),
        ] {
            let Next::Read(process) = schedule.next(1, at(EVERY * 2)) else { panic!("its turn") };
            schedule.done(process, &read, at(Duration::ZERO));
            assert_eq!(schedule.of(process), expected);
        }
        assert_eq!(schedule.counts, PssCounts { denied: 1, failed: 1, overdue: 0 });
    }
}
