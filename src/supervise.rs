//! Named parts, threads and tasks alike: the first that ends without being asked to ends all, and is named. And what
//! tasks use that wait for a thread.

mod crew;

use std::collections::HashMap;
use std::error::Error;
use std::future::Future;
use std::io;
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::model::in_one_line;

pub(crate) use crew::keep_at_work;

/// What a part ends with when it fails.
pub type Failure = Box<dyn Error + Send + Sync>;

/// The parts of a running program. Dropped, it aborts its tasks; threads it cannot abort.
pub struct Parts {
    stop: CancellationToken,
    set: JoinSet<Result<(), Failure>>,
    names: HashMap<Id, &'static str>,
}

impl Parts {
    /// Nothing runs yet. Every part ends when `stop` fires, and may fire it to end the program in good order.
    pub fn new(stop: CancellationToken) -> Parts {
        Parts { stop, set: JoinSet::new(), names: HashMap::new() }
    }

    /// Starts a task.
    pub fn spawn<E: Into<Failure>>(
        &mut self,
        name: &'static str,
        body: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let task = self.set.spawn(async move { body.await.map_err(Into::into) });
        self.names.insert(task.id(), name);
    }

    /// Starts a thread of this name.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn spawn_thread<E: Into<Failure>>(
        &mut self,
        name: &'static str,
        body: impl FnOnce() -> Result<(), E> + Send + 'static,
    ) -> io::Result<()> {
        let (alive, ended) = oneshot::channel::<()>();
        let thread = thread::Builder::new().name(name.into()).spawn(move || {
            let _alive = alive; // dropped on return and on panic alike
            body().map_err(Into::into)
        })?;
        self.spawn(name, async move {
            let _ = ended.await;
            // At most the thread's last few instructions are waited for here.
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        Ok(())
    }

    /// Waits until the stop token fires, or until the first part ends, which stops all the others. Then gives the rest
    /// `grace` to end.
    ///
    /// # Errors
    /// The first thing that went wrong, with the name of the part. What goes wrong after it is logged.
    pub async fn run(mut self, grace: Duration) -> Result<(), PartError> {
        let mut outcome = tokio::select! {
            biased; // a part that ends because of the token is no failure
            () = self.stop.cancelled() => Ok(()),
            Some(ended) = self.set.join_next_with_id() => match self.settle(ended) {
                // It may have fired the token itself as the last thing it did.
                Ok(_) if self.stop.is_cancelled() => Ok(()),
                Ok(name) => Err(PartError::EndedEarly { name }),
                Err(error) => Err(error),
            },
        };
        self.stop.cancel();

        let drain = async {
            while let Some(ended) = self.set.join_next_with_id().await {
                let Err(error) = self.settle(ended) else { continue };
                if outcome.is_ok() {
                    outcome = Err(error);
                } else {
                    tracing::error!(error = %in_one_line(&error), "another part failed while stopping");
                }
            }
        };
        if tokio::time::timeout(grace, drain).await.is_err() {
            let mut names: Vec<&'static str> = self.names.values().copied().collect();
            names.sort_unstable();
            let late = PartError::Stragglers { grace, names };
            if outcome.is_ok() {
                outcome = Err(late);
            } else {
                tracing::error!(error = %late, "not everything stopped in time");
            }
        }
        outcome
    }

    /// The name of a part that ended well, or what went wrong with it.
    fn settle(&mut self, ended: Result<(Id, Result<(), Failure>), JoinError>) -> Result<&'static str, PartError> {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let name = self.names.remove(&id).expect("every part was given a name when it was started");
        match ended {
            Ok((_, Ok(()))) => Ok(name),
            Ok((_, Err(source))) => Err(PartError::Failed { name, source }),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => Err(PartError::Panicked { name, message: panic_message(&*panic).to_owned() }),
                Err(aborted) => Err(PartError::Failed { name, source: aborted.into() }),
            },
        }
    }
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&'static str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// Does `work`, which may take long, on a thread that may wait. A panic there is one here.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await.map_err(JoinError::try_into_panic) {
        Ok(done) => done,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        // Only a runtime that shuts down gives blocking work back undone; this future goes down with it.
        Err(Err(_)) => std::future::pending().await,
    }
}

/// What went wrong with a part of the program.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// It ended with an error.
    #[error("{name} failed")]
    Failed {
        /// Which.
        name: &'static str,
        /// Why.
        source: Failure,
    },
    /// It panicked: a bug.
    #[error("{name} panicked: {message}")]
    Panicked {
        /// Which.
        name: &'static str,
        /// What the panic said.
        message: String,
    },
    /// It ended without an error, and without having been asked to: a bug.
    #[error("{name} ended although nobody asked it to")]
    EndedEarly {
        /// Which.
        name: &'static str,
    },
    /// Some did not end in time.
    #[error("still running {}s after being asked to stop: {}", grace.as_secs_f32(), names.join(", "))]
    Stragglers {
        /// How long they were given.
        grace: Duration,
        /// Which, by name.
        names: Vec<&'static str>,
    },
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::{Arc, mpsc};

    use super::*;

    const GENEROUS: Duration = Duration::from_secs(30);

    /// Beside one part that does `what`, a thread and a task that end as they should.
    fn beside(what: impl FnOnce(&mut Parts, CancellationToken)) -> Parts {
        let stop = CancellationToken::new();
        let mut parts = Parts::new(stop.clone());
        let asked = stop.clone();
        parts.spawn("quiet-task", async move {
            asked.cancelled().await;
            Ok::<_, Infallible>(())
        });
        let (held, told) = mpsc::channel::<()>();
        parts
            .spawn_thread("quiet-thread", move || {
                let _ = told.recv();
                Ok::<_, Infallible>(())
            })
            .unwrap();
        let asked = stop.clone();
        parts.spawn("relay", async move {
            asked.cancelled().await;
            drop(held);
            Ok::<_, Infallible>(())
        });
        what(&mut parts, stop);
        parts
    }

    async fn message_of(parts: Parts) -> Arc<str> {
        in_one_line(&parts.run(GENEROUS).await.unwrap_err())
    }

    #[tokio::test]
    async fn a_clean_stop_is_no_error() {
        let parts = beside(|_, stop| stop.cancel());
        assert!(parts.run(GENEROUS).await.is_ok());

        let parts = beside(|parts, stop| {
            parts.spawn("asks-for-it", async move {
                stop.cancel();
                Ok::<_, Infallible>(())
            });
        });
        assert!(parts.run(GENEROUS).await.is_ok());
    }

    #[tokio::test]
    async fn an_early_end_stops_all_and_is_named() {
        let parts = beside(|parts, _| parts.spawn("hasty", async { Ok::<_, Infallible>(()) }));
        assert_eq!(&*message_of(parts).await, "hasty ended although nobody asked it to");
    }

    #[tokio::test]
    async fn an_error_stops_all_and_is_named() {
        let parts = beside(|parts, _| parts.spawn("broken", async { Err("no more paper") }));
        assert_eq!(&*message_of(parts).await, "broken failed: no more paper");

        let parts = beside(|parts, _| parts.spawn_thread("torn", || Err("no more ink")).unwrap());
        assert_eq!(&*message_of(parts).await, "torn failed: no more ink");
    }

    #[tokio::test]
    async fn a_panic_stops_all_and_is_named() {
        let panics = || -> Result<(), Infallible> { panic!("seven is not eight") };
        let parts = beside(|parts, _| parts.spawn_thread("confused-thread", panics).unwrap());
        assert_eq!(&*message_of(parts).await, "confused-thread panicked: seven is not eight");

        let parts = beside(|parts, _| parts.spawn("confused-task", async move { panics() }));
        assert_eq!(&*message_of(parts).await, "confused-task panicked: seven is not eight");
    }

    #[tokio::test]
    async fn an_error_while_stopping_is_seen() {
        let parts = beside(|parts, stop| {
            let asked = stop.clone();
            parts.spawn("sore-loser", async move {
                asked.cancelled().await;
                Err("could not flush")
            });
            stop.cancel();
        });
        assert_eq!(&*message_of(parts).await, "sore-loser failed: could not flush");
    }

    #[tokio::test]
    async fn stragglers_are_named() {
        let (held, told) = mpsc::channel::<()>();
        let parts = beside(|parts, stop| {
            parts.spawn("deaf-task", std::future::pending::<Result<(), Infallible>>());
            parts
                .spawn_thread("deaf-thread", move || {
                    let _ = told.recv();
                    Ok::<_, Infallible>(())
                })
                .unwrap();
            stop.cancel();
        });
        let error = parts.run(Duration::from_millis(250)).await.unwrap_err();
        drop(held);
        let PartError::Stragglers { names, .. } = &error else { panic!("{error}") };
        assert_eq!(names, &["deaf-task", "deaf-thread"]);
        assert_eq!(error.to_string(), "still running 0.25s after being asked to stop: deaf-task, deaf-thread");
    }
}
