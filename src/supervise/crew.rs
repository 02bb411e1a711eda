//! Workers that come and go with what is configured.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::Future;
use std::hash::Hash;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Failure;

/// Keeps one worker at each job that is wanted until `stop` fires; `changed` says when to look at `wanted` again. A job
/// that is no longer wanted loses its worker, which may take its time to end, beside the one who follows. `begin` returns
/// none for a job that nobody need, or can, do.
///
/// # Errors
/// When a worker panics, or fails at a job that is still wanted.
pub(crate) async fn keep_at_work<Key, Job, Work>(
    mut changed: watch::Receiver<()>,
    stop: CancellationToken,
    mut wanted: impl FnMut() -> Vec<(Key, Job)>,
    mut begin: impl FnMut(Job, CancellationToken) -> Option<Work>,
) -> Result<(), Failure>
where
    Key: Clone + Eq + Hash + Send + 'static,
    Work: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let mut asked: HashMap<Key, CancellationToken> = HashMap::new();
    let mut workers = JoinSet::new();
    while !stop.is_cancelled() {
        changed.mark_unchanged();
        let jobs = wanted();
        asked.retain(|key, asked| {
            let stays = jobs.iter().any(|(wanted, _)| wanted == key);
            if !stays {
                asked.cancel();
            }
            stays
        });
        for (key, job) in jobs {
            let Entry::Vacant(place) = asked.entry(key.clone()) else { continue };
            let stop = place.insert(stop.child_token()).clone();
            if let Some(work) = begin(job, stop) {
                workers.spawn(async move { (key, work.await) });
            }
        }
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = changed.changed() => break,
                Some(ended) = workers.join_next() => match ended? {
                    (_, Ok(())) => {}
                    (key, Err(error)) if asked.contains_key(&key) => return Err(error),
                    (_, Err(error)) => tracing::warn!(%error, "what is no longer configured did not end well"),
                },
            }
        }
    }
    while let Some(ended) = workers.join_next().await {
        ended?.1?;
    }
    Ok(())
}
