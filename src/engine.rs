//! Turns time and messages into calls on the monitor, and what it wants into I/O.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError};

use crate::clock::Clock;
use crate::feed::Feed;
use crate::model::Now;
use crate::monitor::{Effect, Input, Monitor, NotRecorded};
use crate::store::{NotTaken, Op, WriteHandle};

/// How many messages may wait for the engine.
pub(crate) const INBOX: usize = 1024;

/// What wakes the engine before something is due.
pub(crate) enum Message {
    /// Something for the monitor.
    Input(Input),
    /// Something happened to a process.
    Wake,
    /// Write down what must not be lost, and end.
    Stop,
}

/// Tells the engine something for the monitor. Never waits.
///
/// # Errors
/// When its inbox is full, or it has ended.
pub(crate) fn tell(inbox: &SyncSender<Message>, input: Input) -> Result<(), NotRecorded> {
    inbox.try_send(Message::Input(input)).map_err(|error| match error {
        TrySendError::Full(_) => NotRecorded::Busy,
        TrySendError::Disconnected(_) => NotRecorded::Stopped,
    })
}

/// Drives the monitor until it is told to stop. Whoever calls it lets the write handle go afterwards, so that the writer ends
/// after it.
///
/// # Errors
/// When the writer has ended: without it there is nothing to go on for.
pub(crate) fn run(
    mut monitor: Monitor,
    clock: &dyn Clock,
    inbox: &Receiver<Message>,
    store: &WriteHandle,
    feed: &Feed,
) -> Result<(), NotTaken> {
    let perform = |effects: Vec<Effect>, now: Now| -> Result<(), NotTaken> {
        for effect in effects {
            let op = match effect {
                Effect::Store { batch, reply } => Op::Store { batch, reply },
                Effect::Prune { limits } => Op::Prune { limits, now: clock.now() },
                Effect::Publish(snapshot) => {
                    let ticked = snapshot.own.last_tick_mono == Some(now.mono);
                    feed.publish(snapshot);
                    if ticked {
                        feed.ticked(clock.now().mono.since(now.mono));
                    }
                    continue;
                }
            };
            match store.submit(op) {
                // Sampling never waits for the disk: what does not fit is counted, and totals make the next row right.
                Ok(()) | Err(NotTaken::Busy) => {}
                Err(stopped) => return Err(stopped),
            }
        }
        Ok(())
    };
    let mut works = Ok(());
    loop {
        let wait = monitor.next_due().since(clock.now().mono);
        let message = inbox.recv_timeout(wait);
        let now = clock.now();
        match message {
            Ok(Message::Input(input)) => perform(monitor.handle(input, now), now)?,
            Ok(Message::Wake) | Err(RecvTimeoutError::Timeout) => {}
            Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return perform(monitor.stop(now), now),
        }
        // Always, or a flood of messages would keep the timers from ever firing.
        perform(monitor.step(now), now)?;
        let works_now = store.works();
        if works_now != works {
            works.clone_from(&works_now);
            perform(monitor.handle(Input::Storage(works_now), now), now)?;
        }
    }
}
