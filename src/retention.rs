//! What is old enough to go, and how much of it in one go. Pure.
//!
//! Rows are dated by the wall clock, and a wall clock can be wrong: set to 2036 for a minute, it would make everything
//! a week old. So deleting goes by a time of its own, [`Believed`], which follows the wall clock but does not jump with
//! it.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::model::{Mono, Now, Tick, Timestamp};

/// What is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Age at which samples, events, resolved errors, ended alerts, runs and leftovers go.
    pub samples: Duration,
    /// Age at which rows per minute and hour go, and agents that are history; at least `samples`.
    pub rollups: Duration,
    /// Of the database and its log together, whatever the ages.
    pub size_bytes: u64,
}

/// What is older goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cutoffs {
    /// Samples and what happened.
    pub samples: Timestamp,
    /// Rows per minute and hour.
    pub rollups: Timestamp,
    /// Agents of which nothing is left: a day before their last rows, since those of a day go together.
    pub agents: Timestamp,
    /// Whether errors that nobody resolved stay, however old.
    pub spare_unresolved: bool,
}

/// A part of the ages of [`Limits`], in 1,024ths. A file that is too large is made smaller by letting everything age
/// faster, so that what is kept of samples and of their summaries keeps its proportion. Below none of them unresolved errors
/// go as well.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Share(i32);

impl Share {
    /// The ages as they are configured.
    pub const WHOLE: Share = Share(1024);

    /// The share of `limit` that `age` has reached: at most the whole, and some of it at least.
    pub fn reached(age: Duration, limit: Duration) -> Share {
        let share = age.as_millis() * 1024 / limit.as_millis().max(1);
        Share(i32::try_from(share).unwrap_or(i32::MAX).clamp(1, Share::WHOLE.0))
    }

    /// An eighth less; `None` when nothing is left.
    pub fn less(self) -> Option<Share> {
        match self.0 {
            ..0 => None,
            0 => Some(Share(-1)),
            some => Some(Share(some * 7 / 8)),
        }
    }
}

impl Limits {
    /// What goes at this time, if a share of the ages is kept.
    pub fn cutoffs(&self, at: Timestamp, share: Share) -> Cutoffs {
        let part = |age: Duration| age.mul_f64(f64::from(share.0.max(0)) / f64::from(Share::WHOLE.0));
        let rollups = at - part(self.rollups);
        Cutoffs { samples: at - part(self.samples), rollups, agents: rollups - DAY, spare_unresolved: share.0 >= 0 }
    }

    /// Bytes in use from which on the database is too large. The rest is for its log, and for what comes while it is
    /// made smaller.
    pub fn full(&self) -> u64 {
        self.size_bytes / 4 * 3
    }

    /// Bytes in use to which it is made smaller then.
    pub fn target(&self) -> u64 {
        self.size_bytes / 16 * 11
    }

    /// Bytes of the log from which on it is worth a warning: somebody keeps it from being written back.
    pub fn long_log(&self) -> u64 {
        (self.size_bytes / 16).min(64 << 20)
    }

    /// Bytes of the log from which on samples wait. With a full database, that is all there may be.
    pub fn longest_log(&self) -> u64 {
        (self.size_bytes / 4).min(256 << 20)
    }

    /// Bytes to hold in reserve for a full disk: with them the log can be filled at least twice.
    pub fn reserve_bytes(&self) -> u64 {
        (self.size_bytes / 8).min(8 << 20)
    }

    /// Pages of the log after which it is written back: a sixteenth of the size at most. SQLite's own 1,000 would keep the
    /// writer for 20 ms at once.
    pub fn log_pages(&self, page_bytes: u64) -> u32 {
        u32::try_from(self.size_bytes / 16 / page_bytes.max(1)).unwrap_or(u32::MAX).clamp(64, 256)
    }
}

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How much faster than the monotonic clock the believed time may run while it is behind the wall clock. A machine that
/// is switched on for eight hours a day keeps up; a clock that is a month ahead for an hour ages history by four hours.
const PACE: u32 = 4;

/// A wall clock that went on as evenly as the monotonic one for this long is right, whatever it says.
const SETTLED: Duration = Duration::from_secs(24 * 3600);

/// Clocks that differ by more than this between two looks: one of them was set.
const STEP: Duration = Duration::from_secs(60);

/// Samples deleted in one transaction: about 1 ms of the writer's time.
pub const SAMPLES_PER_SLICE: u64 = 5_000;

/// Passes looked at, and deleted at most, in one transaction.
pub const TICKS_PER_SLICE: u32 = 1_000;

/// Rollups deleted in one transaction.
pub const ROLLUPS_PER_SLICE: u32 = 5_000;

/// Rows of other tables looked at, and deleted at most, in one transaction.
pub const ROWS_PER_SLICE: u32 = 250;

/// Pages given back to the file system in one transaction.
pub const PAGES_PER_SLICE: u32 = 128;

/// The time, as far as deleting trusts the clock. Never ahead of the wall clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Believed {
    at: Timestamp,
    seen: Now,
    even_since: Mono,
}

impl Believed {
    /// Goes on from what was believed when something was last deleted; without that there is nothing to lose yet, and
    /// the wall clock is believed.
    pub fn new(stored: Option<Timestamp>, now: Now) -> Believed {
        Believed { at: stored.map_or(now.wall, |at| at.min(now.wall)), seen: now, even_since: now.mono }
    }

    /// Looks at the clocks again.
    pub fn advance(&mut self, now: Now) -> Timestamp {
        let passed = now.mono.since(self.seen.mono);
        let expected = self.seen.wall + passed;
        if now.wall.since(expected).max(expected.since(now.wall)) > STEP {
            self.even_since = now.mono;
        }
        self.seen = now;
        let settled = now.mono.since(self.even_since) >= SETTLED;
        self.at = if settled { now.wall } else { now.wall.min(self.at + passed * PACE) };
        self.at
    }
}

/// A pass that is still stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OldTick {
    /// Which.
    pub tick: Tick,
    /// How many samples it has.
    pub samples: u64,
}

/// Which of `oldest`, the passes in order of time, go in one transaction: those before `cutoff`, as many as fit, and one
/// at least.
pub fn expired(oldest: &[OldTick], cutoff: Timestamp) -> &[OldTick] {
    let mut samples = 0;
    let mut count = 0;
    for old in oldest.iter().take_while(|old| old.tick.at < cutoff) {
        samples += old.samples;
        if count > 0 && samples > SAMPLES_PER_SLICE {
            break;
        }
        count += 1;
    }
    &oldest[..count]
}

/// The ordinals of `ticks` as ranges without gaps. One range, as long as the clock was never set.
pub fn ranges(ticks: &[OldTick]) -> Vec<RangeInclusive<u64>> {
    let mut ordinals: Vec<u64> = ticks.iter().map(|old| old.tick.ordinal).collect();
    ordinals.sort_unstable();
    ordinals
        .chunk_by(|before, after| after - before <= 1)
        .filter_map(|run| Some(*run.first()?..=*run.last()?))
        .collect()
}

/// How many free pages to give back to the file system now. A file that is full to its retention needs what it frees
/// again at once; only what goes beyond an eighth of it is given back, in slices worth a transaction.
pub fn pages_to_give_back(page_count: u64, free_count: u64) -> u32 {
    let spare = free_count.saturating_sub(page_count / 8);
    if spare < u64::from(PAGES_PER_SLICE) { 0 } else { PAGES_PER_SLICE }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const NOON: Timestamp = Timestamp::from_unix_ms(1_767_268_800_000);

    /// The clocks after `awake` on the monotonic clock, with the wall clock `ahead` of it.
    fn clocks(awake: Duration, ahead: Duration) -> Now {
        Now { wall: NOON + awake + ahead, mono: Mono(1_000_000_000) + awake }
    }

    fn start() -> Believed {
        Believed::new(None, clocks(Duration::ZERO, Duration::ZERO))
    }

    #[test]
    fn an_even_clock_is_believed() {
        let mut believed = start();
        for hours in 1..200 {
            let now = clocks(HOUR * hours, Duration::ZERO);
            assert_eq!(believed.advance(now), now.wall);
        }
    }

    #[test]
    fn a_clock_set_ahead_and_back_ages_nothing_by_more_than_the_pace() {
        let mut believed = start();
        assert_eq!(believed.advance(clocks(HOUR, DAY * 3650)), NOON + HOUR * 4);
        assert_eq!(believed.advance(clocks(HOUR * 2, DAY * 3650)), NOON + HOUR * 8);
        assert_eq!(believed.advance(clocks(HOUR * 3, Duration::ZERO)), NOON + HOUR * 3);
    }

    #[test]
    fn a_clock_that_stays_ahead_is_believed_after_a_day() {
        let mut believed = start();
        let mut at = |hours: u32| believed.advance(clocks(HOUR * hours, DAY * 3650));
        at(1);
        assert!(at(24) < NOON + DAY * 5);
        assert_eq!(at(25), NOON + HOUR * 25 + DAY * 3650);
    }

    #[test]
    fn a_new_daemon_goes_on_from_what_the_last_one_believed() {
        let ten_days_later = clocks(Duration::ZERO, DAY * 10);
        let mut believed = Believed::new(Some(NOON), ten_days_later);
        assert_eq!(believed.advance(ten_days_later), NOON);
        assert_eq!(believed.advance(clocks(HOUR, DAY * 10)), NOON + HOUR * 4);

        let clock_was_ahead = Believed::new(Some(NOON + DAY * 3650), clocks(HOUR, Duration::ZERO));
        assert_eq!(clock_was_ahead.at, NOON + HOUR);
    }

    #[test]
    fn sleeping_two_thirds_of_the_day_keeps_up() {
        let mut believed = start();
        for day in 1..30 {
            let (awake, asleep) = (HOUR * 8 * day, HOUR * 16 * day);
            let now = clocks(awake, asleep);
            assert_eq!(believed.advance(now), now.wall, "day {day}");
        }
    }

    fn old(ordinal: u64, seconds: u64, samples: u64) -> OldTick {
        OldTick { tick: Tick { ordinal, at: NOON + Duration::from_secs(seconds) }, samples }
    }

    #[test]
    fn cutoffs_keep_their_proportion() {
        let limits = Limits { samples: DAY * 7, rollups: DAY * 90, size_bytes: 1 << 30 };
        let whole = limits.cutoffs(NOON, Share::WHOLE);
        assert_eq!((whole.samples, whole.rollups, whole.agents), (NOON - DAY * 7, NOON - DAY * 90, NOON - DAY * 91));
        let eighth_less = Share::WHOLE.less().unwrap();
        let less = limits.cutoffs(NOON, eighth_less);
        assert_eq!((less.samples, less.rollups), (NOON - DAY * 49 / 8, NOON - DAY * 315 / 4));
        assert!(whole.spare_unresolved && less.spare_unresolved);
        assert_eq!(Share::reached(DAY * 9, DAY * 7), Share::WHOLE);
        assert_eq!(Share::reached(DAY, DAY * 2), Share(512));
        let rounds = std::iter::successors(Some(Share::WHOLE), |share| share.less()).collect::<Vec<_>>();
        assert!(rounds.len() < 60, "{}", rounds.len());
        let last = limits.cutoffs(NOON, rounds[rounds.len() - 1]);
        assert_eq!((last.samples, last.spare_unresolved), (NOON, false), "unresolved errors last");
    }

    #[test]
    fn sizes() {
        let limits = |size_bytes| Limits { samples: DAY, rollups: DAY, size_bytes };
        assert!(limits(16 << 20).target() < limits(16 << 20).full());
        assert_eq!((limits(16 << 20).log_pages(4096), limits(1 << 30).log_pages(4096)), (256, 256));
        assert_eq!((limits(1 << 30).long_log(), limits(1 << 40).long_log()), (64 << 20, 64 << 20));
        assert_eq!((limits(16 << 20).longest_log(), limits(1 << 30).longest_log()), (4 << 20, 256 << 20));
        assert_eq!((limits(16 << 20).reserve_bytes(), limits(1 << 30).reserve_bytes()), (2 << 20, 8 << 20));
        for size in [16 << 20, 1 << 30, 1 << 40] {
            let limits = limits(size);
            let log = u64::from(limits.log_pages(4096)) * 4096 * 2;
            assert!(log < limits.longest_log() && limits.full() + limits.longest_log() <= size, "{size}");
        }
    }

    #[test]
    fn slices() {
        let ticks = [old(1, 0, 3_000), old(2, 10, 2_000), old(3, 20, 1), old(4, 30, 50_000)];
        let count = |from: usize, seconds: u64| expired(&ticks[from..], NOON + Duration::from_secs(seconds)).len();
        assert_eq!(count(0, 0), 0, "none is before its own time");
        assert_eq!(count(0, 10), 1);
        assert_eq!(count(0, 99), 2, "up to the limit");
        assert_eq!(count(2, 99), 1);
        assert_eq!(count(3, 99), 1, "one at least, however large");
        assert!(expired(&[], NOON).is_empty());
    }

    #[test]
    fn range_of_ordinals() {
        let ticks = [old(7, 0, 1), old(1, 1, 1), old(2, 2, 1), old(8, 3, 1), old(4, 4, 1)];
        assert_eq!(ranges(&ticks), [1..=2, 4..=4, 7..=8]);
        assert!(ranges(&[]).is_empty());
    }

    #[test]
    fn pages() {
        assert_eq!(pages_to_give_back(80_000, 10_000), 0, "an eighth is kept");
        assert_eq!(pages_to_give_back(80_000, 10_127), 0, "too few for a transaction");
        assert_eq!(pages_to_give_back(80_000, 10_128), PAGES_PER_SLICE);
        assert_eq!(pages_to_give_back(0, 0), 0);
    }
}
