//! What is due when.

use std::time::Duration;

use crate::model::Mono;

/// Something that is to happen again and again. What was missed is counted, never made up for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timer {
    every: Duration,
    due: Mono,
}

impl Timer {
    /// Due first at `first`, then `every` so long after, which is at least a millisecond.
    pub fn new(every: Duration, first: Mono) -> Timer {
        Timer { every: every.max(Duration::from_millis(1)), due: first }
    }

    /// When it is due next.
    pub fn due(&self) -> Mono {
        self.due
    }

    /// If it is due: sets it to the next time in its rhythm after `now`, and returns how many times were missed.
    pub fn fire(&mut self, now: Mono) -> Option<u64> {
        if now < self.due {
            return None;
        }
        let every_ns = u64::try_from(self.every.as_nanos()).unwrap_or(u64::MAX);
        let missed = (now.0 - self.due.0) / every_ns;
        self.due = Mono(self.due.0.saturating_add(every_ns.saturating_mul(missed + 1)));
        Some(missed)
    }

    /// Changes the rhythm; the next time is at most one new period away.
    pub fn change(&mut self, every: Duration, now: Mono) {
        *self = Timer { due: self.due.min(now + every), ..Timer::new(every, now) };
    }
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
}
