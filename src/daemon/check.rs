//! Looks at all of the database now and then: a damaged page that nobody reads is not met before it is needed.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::model::Mono;
use crate::store::{Reader, StoreError, StoreStats};
use crate::supervise::Failure;
use crate::timers::Timer;

/// The first look comes this long after the start, when nobody waits for anything any more, …
const FIRST: Duration = Duration::from_secs(600);

/// … and the others so long after one another.
const PERIOD: Duration = Duration::from_secs(24 * 3600);

/// Between two on suspicion: somebody may write into the file time and again, as who copies it elsewhere all the time does.
const SUSPICIONS: Duration = Duration::from_secs(600);

/// How often it is asked whether it is time, or there is another reason.
const PACE: Duration = Duration::from_secs(30);

/// What is needed to look.
pub(super) struct Checks {
    reader: Reader,
    stats: Arc<StoreStats>,
    clock: Arc<dyn Clock>,
    pace: Duration,
}

impl Checks {
    /// Of this database, by this clock.
    pub(super) fn new(reader: Reader, stats: Arc<StoreStats>, clock: Arc<dyn Clock>) -> Checks {
        Checks { reader, stats, clock, pace: PACE }
    }

    /// Looks at all of the database each day, and when somebody else wrote into it, at most every ten minutes. What is found
    /// is the writer's business.
    ///
    /// # Errors
    /// When looking panics.
    pub(super) async fn run(self, stop: CancellationToken) -> Result<(), Failure> {
        let mut look = Timer::new(PERIOD, self.clock.now().mono + FIRST);
        let mut next_suspicion = Mono::default();
        while tokio::time::timeout(self.pace, stop.cancelled()).await.is_err() {
            let now = self.clock.now().mono;
            let due = look.fire(now).is_some();
            let suspected = (due || next_suspicion <= now) && self.reader.take_suspicion();
            if suspected {
                next_suspicion = now + SUSPICIONS;
            } else if !due {
                continue;
            }
            let reader = self.reader.clone();
            let looking = tokio::task::spawn_blocking(move || reader.check(suspected));
            // It is given up when the database is closed.
            let Some(checked) = stop.run_until_cancelled(looking).await else { break };
            match checked? {
                Ok(()) => self.stats.set_checked(self.clock.now().wall),
                Err(StoreError::Closed) => {}
                Err(error) => tracing::warn!(reason = error.chain(), "the database could not be found whole"),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::clock::ManualClock;
    use crate::model::{Now, Timestamp};
    use crate::store::{FILE_NAME, StateLock, open};

    const MINUTE: Duration = Duration::from_secs(60);
    const DAY: Duration = Duration::from_secs(24 * 3600);
    const NOON: Timestamp = Timestamp::from_unix_ms(1_767_268_800_000);

    /// Moves only when told to, and counts how often it was asked.
    struct Asked {
        clock: ManualClock,
        times: AtomicU64,
    }

    impl Clock for Asked {
        fn now(&self) -> Now {
            self.times.fetch_add(1, Ordering::SeqCst);
            self.clock.now()
        }
    }

    impl Asked {
        /// Waits until it was asked twice more: then whatever was due has been done, and nothing else.
        async fn settle(&self) {
            let before = self.times.load(Ordering::SeqCst);
            while self.times.load(Ordering::SeqCst) < before + 2 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// A whole database, closed, in a directory of its own.
    fn database() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let opened = open(StateLock::acquire(directory.path()).unwrap(), Box::new(drop)).unwrap();
        drop(opened.handle);
        opened.writer.run();
        directory
    }

    #[tokio::test]
    async fn a_look_comes_after_ten_minutes_then_each_day_and_on_suspicion() {
        let directory = database();
        let clock = Arc::new(Asked { clock: ManualClock::new(NOON), times: AtomicU64::new(0) });
        let (stats, stop) = (Arc::new(StoreStats::default()), CancellationToken::new());
        let reader = Reader::new(directory.path());
        let checks = Checks {
            reader: reader.clone(),
            stats: Arc::clone(&stats),
            clock: Arc::<Asked>::clone(&clock),
            pace: Duration::from_millis(1),
        };
        let story = async {
            clock.settle().await;
            clock.clock.advance(10 * MINUTE - Duration::from_secs(1));
            clock.settle().await;
            assert_eq!(stats.checked_at(), None, "too early");
            clock.clock.advance(Duration::from_secs(1));
            clock.settle().await;
            let first = NOON + 10 * MINUTE;
            assert_eq!(stats.checked_at(), Some(first));
            clock.clock.advance(DAY - MINUTE);
            clock.settle().await;
            assert_eq!(stats.checked_at(), Some(first), "not yet a day later");
            clock.clock.advance(MINUTE);
            clock.settle().await;
            assert_eq!(stats.checked_at(), Some(first + DAY));
            // As after a machine was held for days: one look, and the rhythm goes on.
            clock.clock.advance(5 * DAY + MINUTE);
            clock.settle().await;
            assert_eq!(stats.checked_at(), Some(first + 6 * DAY + MINUTE));
            clock.clock.advance(DAY - MINUTE);
            clock.settle().await;
            assert_eq!(stats.checked_at(), Some(first + 7 * DAY));
            // Somebody else wrote into it.
            reader.suspect();
            clock.clock.advance(MINUTE);
            clock.settle().await;
            let suspected = first + 7 * DAY + MINUTE;
            assert_eq!(stats.checked_at(), Some(suspected));
            // And does so again.
            reader.suspect();
            clock.clock.advance(SUSPICIONS - MINUTE);
            clock.settle().await;
            assert_eq!(stats.checked_at(), Some(suspected), "not all the time");
            clock.clock.advance(MINUTE);
            clock.settle().await;
            assert_eq!(stats.checked_at(), Some(suspected + SUSPICIONS), "it is not forgotten");
            // What is not whole is not said to be.
            std::fs::write(directory.path().join(FILE_NAME), [7; 8192]).unwrap();
            clock.clock.advance(DAY);
            clock.settle().await;
            assert_eq!(stats.checked_at(), Some(suspected + SUSPICIONS));
            stop.cancel();
        };
        let (ended, ()) = tokio::join!(checks.run(stop.clone()), story);
        ended.unwrap();
    }
}
