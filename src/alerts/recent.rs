//! How often something happened lately.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::Mono;

/// How many moments are remembered at most: enough to know that there were too many.
const LIMIT: usize = 8;

/// How often something happened lately.
#[derive(Clone, Default, Debug)]
pub struct Recent(VecDeque<Mono>);

impl Recent {
    /// It happened `times` times.
    pub fn note(&mut self, times: u64, at: Mono) {
        for _ in 0..times.min(LIMIT as u64) {
            if self.0.len() == LIMIT {
                self.0.pop_front();
            }
            self.0.push_back(at);
        }
    }

    /// How often it happened within `window` before `now`; more than the limit counts as that.
    pub fn count(&self, window: Duration, now: Mono) -> u64 {
        self.0.iter().filter(|at| now.since(**at) < window).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_ago_does_not_count() {
        let second = |s: u64| Mono(s * 1_000_000_000);
        let minute = Duration::from_secs(60);
        let mut recent = Recent::default();
        recent.note(2, second(10));
        recent.note(1, second(40));
        assert_eq!([10, 40, 69, 70, 99, 100].map(|s| recent.count(minute, second(s))), [3, 3, 3, 1, 1, 0]);
        recent.note(u64::MAX, second(200));
        assert_eq!((recent.count(minute, second(200)), recent.0.len()), (8, 8), "bounded");
    }
}
