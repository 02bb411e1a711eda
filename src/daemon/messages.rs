//! Keeps the heart told of how many messages agents have, where a broker's database says it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::engine::{self, Message};
use crate::messages::Counter;
use crate::monitor::Input;
use crate::supervise::Failure;

/// Messages are counted at most this often.
const PERIOD: Duration = Duration::from_secs(60);

/// Counts until `stop` fires, in whichever database is configured.
///
/// # Errors
/// When counting panics.
pub(super) async fn count(
    mut configured: watch::Receiver<Option<PathBuf>>,
    inbox: SyncSender<Message>,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let mut before: Option<Counter> = None;
    while !stop.is_cancelled() {
        let path = configured.borrow_and_update().clone();
        let kept = before.take().filter(|counter| Some(counter.path()) == path.as_deref());
        let counter = kept.or_else(|| path.map(Counter::new));
        let tell = |counted| engine::tell(&inbox, Input::Messages(counted)).is_ok();
        match counter {
            // Nobody counted, or nobody counts any more. If the inbox is full, there is nothing yet to take back.
            None => {
                tell(None);
            }
            Some(mut counter) => {
                let work = tokio::task::spawn_blocking(move || (counter.read(), counter));
                let (counted, mut counter) = tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    done = work => done?,
                };
                let counted = counted.map(|counted| counted.map(Arc::new).map_err(Arc::from));
                if counted.is_some_and(|counted| !tell(Some(counted))) {
                    counter.forget();
                }
                before = Some(counter);
            }
        }
        tokio::select! {
            () = stop.cancelled() => {}
            // A change, or none for so long.
            changed = tokio::time::timeout(PERIOD, configured.changed()) => if let Ok(Err(_)) = changed {
                stop.cancelled().await;
            },
        }
    }
    Ok(())
}
