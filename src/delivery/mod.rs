//! Delivers what is told of alerts: to each receiver in order, at least once, for as long as it takes up to a day. The
//! journal is the queue, and each receiver's place in it is kept; what could not be stored is delivered from memory.

mod outbox;
mod worker;

use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};

pub use outbox::{Cursor, Next, Outbox};
pub use worker::{Context, Worker};

/// How delivery to one receiver is doing. Counters since the start of the daemon, or since the receiver was configured.
#[derive(Debug)]
pub struct Progress {
    /// The last entry of the journal it need not be told any more.
    pub up_to: AtomicI64,
    /// Messages that it took.
    pub delivered: AtomicU64,
    /// Attempts that failed and were made again.
    pub retried: AtomicU64,
    /// Messages that it refused for good.
    pub refused: AtomicU64,
    /// Messages that were given up after a day, or lost because they could not even be stored.
    pub lost: AtomicU64,
    /// Messages that wait in memory behind the one that is being delivered.
    pub waiting: AtomicU64,
    trouble: Mutex<Option<Arc<str>>>,
}

impl Progress {
    /// It has been told everything up to this entry of the journal.
    pub fn new(up_to: i64) -> Progress {
        Progress {
            up_to: AtomicI64::new(up_to),
            delivered: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            trouble: Mutex::default(),
        }
    }

    /// What came back from the last attempt, if it was not taken.
    pub fn trouble(&self) -> Option<Arc<str>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says what is in the way, and returns what was before.
    pub fn set_trouble(&self, trouble: Option<Arc<str>>) -> Option<Arc<str>> {
        std::mem::replace(&mut self.trouble.lock().unwrap_or_else(PoisonError::into_inner), trouble)
    }
}
