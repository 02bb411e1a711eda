//! Memory that only grows.

use std::time::Duration;

use super::Observation;
use crate::model::Mono;

/// The window has this many parts, of a minute each.
const PARTS: usize = 15;

/// What is compared: as many parts at its beginning and at its end.
const COMPARED: usize = 5;

/// How long a part is.
const PART: Duration = Duration::from_secs(60);

/// With more than this between two readings, what lies between them was not observed.
const GAP: Duration = Duration::from_secs(90);

/// It grows by more than this much of what it was …
const SHARE: f64 = 0.3;

/// … and by more than this, bytes.
const BYTES: f64 = 128.0 * 1024.0 * 1024.0;

/// The memory of one tree over the last minutes, the lowest reading of each: what is only held for a moment is no growth.
/// Comparing the lowest of the end with the median of the beginning is blind to a sawtooth as collectors of garbage make it.
#[derive(Clone, Debug)]
pub struct GrowthWindow {
    /// The lowest readings of the parts, KiB, the present one last: that is not judged yet.
    parts: [u32; PARTS + 1],
    /// How many of them are over and in use, from the end.
    filled: usize,
    /// When the present part began.
    began: Mono,
    /// When memory was last read.
    read_at: Mono,
}

/// What a window shows.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Growth {
    /// The median of the beginning, bytes.
    pub before: f64,
    /// The lowest of the end, bytes.
    pub after: f64,
}

impl GrowthWindow {
    /// Begins with a first reading.
    pub fn new(bytes: u64, at: Mono) -> GrowthWindow {
        GrowthWindow { parts: [kib(bytes); PARTS + 1], filled: 0, began: at, read_at: at }
    }

    /// Takes in another reading.
    pub fn read(&mut self, bytes: u64, at: Mono) {
        if at.since(self.read_at) > GAP {
            *self = GrowthWindow::new(bytes, at);
            return;
        }
        self.read_at = at;
        while at.since(self.began) >= PART {
            self.began = self.began + PART;
            self.parts.rotate_left(1);
            // A part that no reading fell into lies between two that are near enough.
            self.parts[PARTS] = kib(bytes);
            self.filled = (self.filled + 1).min(PARTS);
        }
        let present = &mut self.parts[PARTS];
        *present = (*present).min(kib(bytes));
    }

    /// How it grew over the whole window; none before it was observed for that long, and while it is not observed.
    pub fn growth(&self, now: Mono) -> Option<Growth> {
        if self.filled < PARTS || now.since(self.read_at) > GAP {
            return None;
        }
        let mut first: [u32; COMPARED] = self.parts[..COMPARED].try_into().expect("the window is longer");
        first.sort_unstable();
        let last = self.parts[PARTS - COMPARED..PARTS].iter().min().expect("there are some");
        Some(Growth { before: f64::from(first[COMPARED / 2]) * 1024.0, after: f64::from(*last) * 1024.0 })
    }
}

impl Growth {
    /// What it is to the rule. The number is what it is now, MiB.
    pub fn observation(self) -> Observation {
        let by = self.after - self.before;
        let value = Some(self.after / f64::from(1 << 20));
        if by > SHARE * self.before && by > BYTES {
            Observation::Breach(value)
        } else if by > SHARE / 2.0 * self.before && by > BYTES / 2.0 {
            // Without this it would come and go at the limit.
            Observation::Between(value)
        } else {
            Observation::Over(value)
        }
    }

    /// What it must not be above, MiB.
    pub fn threshold(self) -> f64 {
        (self.before + BYTES.max(SHARE * self.before)) / f64::from(1 << 20)
    }
}

/// Up to 4 TiB.
fn kib(bytes: u64) -> u32 {
    u32::try_from(bytes / 1024).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn second(s: u64) -> Mono {
        Mono(s * 1_000_000_000)
    }

    /// Readings every `every` seconds for so many minutes.
    fn window(every: u64, minutes: u64, mib: impl Fn(u64) -> u64) -> (GrowthWindow, Mono) {
        let mut window = GrowthWindow::new(mib(0) * MIB, second(100));
        let mut at = 0;
        while at + every <= minutes * 60 {
            at += every;
            window.read(mib(at) * MIB, second(100 + at));
        }
        (window, second(100 + at))
    }

    fn seen(every: u64, minutes: u64, mib: impl Fn(u64) -> u64) -> Option<Observation> {
        let (window, now) = window(every, minutes, mib);
        window.growth(now).map(Growth::observation)
    }

    #[test]
    fn growth_is_told_from_what_is_none() {
        let steady = |_| 500;
        assert_eq!(seen(10, 15, steady), Some(Observation::Over(Some(500.0))));
        // By 240 MiB from the median of the first five minutes, 560, to the lowest of the last five.
        let growing = |at| 500 + at / 2;
        assert!(matches!(seen(10, 15, growing), Some(Observation::Breach(_))));
        let sawtooth = |at| 500 + at % 120 * 10;
        assert!(matches!(seen(10, 15, sawtooth), Some(Observation::Over(_))), "a collector of garbage");
        let spike = |at| if at > 800 { 5_000 } else { 500 };
        assert!(matches!(seen(10, 15, spike), Some(Observation::Over(_))), "for less than five minutes");
        let small = |at| 100 + at / 10;
        assert!(matches!(seen(10, 15, small), Some(Observation::Over(_) | Observation::Between(_))), "not by 128 MiB");
        let large = |at| 10_000 + at / 3;
        assert!(matches!(seen(10, 15, large), Some(Observation::Over(_))), "not by 30 %");
        let half = |at| 500 + at / 4;
        assert!(matches!(seen(10, 15, half), Some(Observation::Between(_))), "neither growing nor over");
    }

    #[test]
    fn only_a_window_that_was_fully_observed_is_judged() {
        for every in [1, 10, 60, 61, 90] {
            assert_eq!(seen(every, 14, |_| 500), None, "{every}");
            assert!(seen(every, 16, |_| 500).is_some(), "{every}");
        }
        assert_eq!(seen(100, 60, |_| 500), None, "readings too far apart");
        let (mut window, now) = window(10, 15, |at| 500 + at / 2);
        assert_eq!(window.growth(now + Duration::from_secs(91)), None, "not read any more");
        window.read(900 * MIB, now + Duration::from_secs(91));
        assert_eq!(window.growth(now + Duration::from_secs(91)), None, "from the beginning after a gap");
    }

    #[test]
    fn bounds() {
        let growth = Growth { before: 512.0 * 1_048_576.0, after: 0.0 };
        assert_eq!(growth.threshold(), 665.6);
        assert_eq!(Growth { before: 0.0, ..growth }.threshold(), 128.0);
        assert_eq!(kib(u64::MAX), u32::MAX);
        assert_eq!(size_of::<GrowthWindow>(), 88, "one of these is kept for each agent that runs");
    }
}
