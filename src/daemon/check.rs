//! Looks at all of the database now and then: a damaged page that nobody reads is not met before it is needed.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::store::{Reader, StoreError, StoreStats};
use crate::supervise::Failure;

/// The first look comes this long after the start, when nobody waits for anything any more, …
const FIRST: Duration = Duration::from_secs(600);

/// … and the others so long after one another.
const PERIOD: Duration = Duration::from_secs(24 * 3600);

/// What is needed to look.
pub(super) struct Checks {
    pub(super) reader: Reader,
    pub(super) stats: Arc<StoreStats>,
    pub(super) clock: Arc<dyn Clock>,
}

/// Looks at all of the database each day. What is found is the writer's business.
///
/// # Errors
/// When looking panics.
pub(super) async fn check(checks: Checks, stop: CancellationToken) -> Result<(), Failure> {
    let Checks { reader, stats, clock } = checks;
    let mut due = interval(PERIOD);
    due.reset_after(FIRST);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = due.tick() => {}
        }
        let reader = reader.clone();
        let looking = tokio::task::spawn_blocking(move || reader.check());
        let checked = tokio::select! {
            // It is given up when the database is closed.
            () = stop.cancelled() => return Ok(()),
            done = looking => done?,
        };
        match checked {
            Ok(()) => stats.set_checked(clock.now().wall),
            Err(StoreError::Closed) => {}
            Err(error) => tracing::warn!(reason = error.chain(), "the database could not be found whole"),
        }
    }
}
