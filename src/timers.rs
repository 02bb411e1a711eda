//! What is due when.

use std::time::Duration;

use crate::model::Mono;

/// Something that is to happen again and again. What was missed is counted, never made up for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Timer {
    every: Duration,
    due: Mono,
}

impl Timer {
    /// Due first at `first`, then `every` so long after, which is at least a millisecond.
    pub(crate) fn new(every: Duration, first: Mono) -> Timer {
        Timer { every: every.max(Duration::from_millis(1)), due: first }
    }

    /// When it is due next.
    pub(crate) fn due(&self) -> Mono {
        self.due
    }

    /// If it is due: sets it to the next time in its rhythm after `now`, and returns how many times were missed.
    pub(crate) fn fire(&mut self, now: Mono) -> Option<u64> {
        if now < self.due {
            return None;
        }
        let every_ns = u64::try_from(self.every.as_nanos()).unwrap_or(u64::MAX);
        let missed = (now.0 - self.due.0) / every_ns;
        self.due = Mono(self.due.0.saturating_add(every_ns.saturating_mul(missed + 1)));
        Some(missed)
    }

    /// Changes the rhythm; the next time is at most one new period away.
    pub(crate) fn change(&mut self, every: Duration, now: Mono) {
        *self = Timer { due: self.due.min(now + every), ..Timer::new(every, now) };
    }
}

/// For how long at most the last sampling pass may be over, at this interval, while watching goes on.
pub(crate) fn late_after(interval: Duration) -> Duration {
    3 * interval
}

/// How long to wait after this many failures in a row, at least one: `first`, doubling up to `last`, moved by up to a fifth
/// so that many who failed together do not come back together. `seed` decides how.
pub(crate) fn back_off(failures: u32, first: Duration, last: Duration, seed: u64) -> Duration {
    let doubled = first.saturating_mul(1 << (failures.max(1) - 1).min(16)).min(last);
    // One step of SplitMix64 (Steele, Lea, Flood 2014): well spread, and the same for the same seed.
    let mut mixed = seed.wrapping_add(u64::from(failures).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let percent = 80 + (mixed ^ (mixed >> 31)) % 41;
    (doubled * u32::try_from(percent).expect("80 to 120") / 100).clamp(first, last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_its_rhythm_and_counts_what_it_missed() {
        let second = |s: u64| Mono(s * 1_000_000_000);
        let mut timer = Timer::new(Duration::from_secs(10), second(5));
        assert_eq!(timer.fire(second(4)), None);
        assert_eq!((timer.fire(second(5)), timer.due()), (Some(0), second(15)));
        assert_eq!((timer.fire(second(17)), timer.due()), (Some(0), second(25)));
        assert_eq!((timer.fire(second(58)), timer.due()), (Some(3), second(65)));
        timer.change(Duration::from_secs(2), second(60));
        assert_eq!(timer.due(), second(62));
        timer.change(Duration::from_secs(100), second(60));
        assert_eq!(timer.due(), second(62));
    }

    #[test]
    fn back_off_doubles_within_bounds_and_differs_between_hosts() {
        let back_off =
            |failures, seed| super::back_off(failures, Duration::from_secs(1), Duration::from_secs(60), seed);
        for (failures, nominal_s) in [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (8, 60), (u32::MAX, 60)] {
            let waits: Vec<u128> = (0..1000).map(|seed| back_off(failures, seed).as_millis()).collect();
            let nominal_ms = nominal_s * 1000;
            let low = (nominal_ms * 80 / 100).max(1000);
            let high = (nominal_ms * 120 / 100).min(60_000);
            assert!(waits.iter().all(|wait| (low..=high).contains(wait)), "{failures}: {waits:?}");
            assert!(waits.iter().any(|wait| *wait != waits[0]), "{failures}: no jitter");
            assert_eq!(back_off(failures, 7), back_off(failures, 7));
        }
    }
}
