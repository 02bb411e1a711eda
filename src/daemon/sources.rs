//! What the endpoint answers from.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::unistd::User;

use super::{Handle, host_name, url};
use crate::api::{AgentHistory, DatabaseFacts, HistoryQuery, Lists, Look, OwnFacts, Sources, Writes};
use crate::clock::{Clock, own_cpu_time};
use crate::engine;
use crate::model::{AgentId, Timestamp};
use crate::monitor::Input;
use crate::process::here::own_memory_bytes;
use crate::store::{self, Reader, StoreError, StoreStats};

/// How far back an agent's page shows every sample, and at most how many.
const METRICS: (Duration, u32) = (Duration::from_secs(3600), 3600);
const EVENTS: u32 = 50;
const ERRORS: u32 = 20;
const RUNS: u32 = 20;

/// What the endpoint at `address` answers from.
pub(super) fn sources(
    handle: &Handle,
    clock: &Arc<dyn Clock>,
    address: SocketAddr,
    reader: Reader,
    stats: Arc<StoreStats>,
) -> Sources {
    let (inbox, live, now) = (handle.inbox().clone(), Arc::clone(handle.live()), Arc::clone(clock));
    let storage = Arc::clone(&stats);
    Sources {
        feed: handle.feed().clone(),
        clock: Arc::clone(clock),
        interval: Arc::new(move || live.config().sampling.interval),
        storage: Arc::new(move || storage.trouble().map_or(Ok(()), Err)),
        history: look(&reader, |reader, query: &HistoryQuery| {
            let Some(agent) = reader.agent(&query.agent)? else { return Ok(None) };
            reader.history(agent.number, query.from, query.to, query.step).map(Some)
        }),
        lists: lists(&reader),
        writes: writes(handle),
        replay: look(&reader, Reader::replay),
        agent: Arc::new(move |id| agent_history(&reader, id, now.now().wall).map_err(|error| error.chain())),
        user_name: Arc::new(|uid| User::from_uid(uid.into()).ok().flatten().map(|user| user.name)),
        // Who cannot be asked now drops the answer, and that is one.
        inspect: Arc::new(move |agent, answer| {
            drop(engine::tell(&inbox, Input::Inspect { agent, answer }));
        }),
        own: own(handle, clock, address, stats),
    }
}

/// What is told goes the way of those who embed the daemon.
fn writes(handle: &Handle) -> Writes {
    let (recording, resolving) = (handle.clone(), handle.clone());
    Writes {
        record: Arc::new(move |submission| {
            let handle = recording.clone();
            Box::pin(async move { handle.record(submission).await })
        }),
        resolve: Arc::new(move |what| {
            let handle = resolving.clone();
            Box::pin(async move { handle.resolve(what).await })
        }),
    }
}

fn lists(reader: &Reader) -> Lists {
    Lists {
        events: look(reader, Reader::list_events),
        errors: look(reader, Reader::list_errors),
        groups: look(reader, Reader::list_groups),
        alerts: look(reader, Reader::list_alerts),
        runs: look(reader, Reader::list_runs),
        leftovers: look(reader, Reader::list_leftovers),
    }
}

fn look<Q: 'static, A: 'static>(reader: &Reader, question: fn(&Reader, &Q) -> Result<A, StoreError>) -> Look<Q, A> {
    let reader = reader.clone();
    Arc::new(move |asked| question(&reader, asked).map_err(|error| error.chain()))
}

/// What the daemon knows of itself.
fn own(
    handle: &Handle,
    clock: &Arc<dyn Clock>,
    address: SocketAddr,
    stats: Arc<StoreStats>,
) -> Arc<dyn Fn() -> OwnFacts + Send + Sync> {
    let (live, clock, started) = (Arc::clone(handle.live()), Arc::clone(clock), handle.started());
    Arc::new(move || {
        let config = live.config();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        OwnFacts {
            hostname: host_name(),
            pid: std::process::id(),
            started_at: started.wall,
            uptime: clock.now().mono.since(started.mono),
            cpu: own_cpu_time(),
            memory_bytes: own_memory_bytes().ok(),
            url: url(address),
            socket: config.ingest.socket.clone(),
            database: DatabaseFacts {
                path: config.storage.directory.join(store::FILE_NAME),
                size_bytes: count(&stats.database_size_bytes),
                log_bytes: count(&stats.log_bytes),
                reserve_bytes: count(&stats.reserve_bytes),
                checked_at: stats.checked_at(),
                longest_pause: Duration::from_nanos(count(&stats.longest_slice_ns)),
                samples_waiting: count(&stats.waiting_samples),
                entries_waiting: count(&stats.waiting_entries),
                queue_length: count(&stats.queue_length),
                commits: count(&stats.commits),
                expired_rows: count(&stats.expired_rows),
                samples_dropped: count(&stats.dropped_samples),
                entries_dropped: count(&stats.dropped_entries),
                runs_dropped: count(&stats.dropped_runs),
            },
            receivers: live.receivers(),
            reloads: live.reloads(),
            log_lines_dropped: live.log_lines_dropped(),
        }
    })
}

/// What is kept of one agent.
pub(super) fn agent_history(reader: &Reader, id: &AgentId, now: Timestamp) -> Result<Option<AgentHistory>, StoreError> {
    let Some(agent) = reader.agent(id)? else { return Ok(None) };
    let number = agent.number;
    let runs = reader.runs(number, RUNS)?;
    let ends: Vec<Option<Timestamp>> = runs.iter().map(|run| run.end.as_ref().map(|end| end.at)).collect();
    Ok(Some(AgentHistory {
        metrics: reader.metrics(number, now - METRICS.0, METRICS.1)?,
        events: reader.latest_events(Some(id), EVENTS)?,
        errors: reader.latest_errors(id, ERRORS)?,
        host: reader.host_at(&ends)?,
        runs,
        unresolved: reader.unresolved(number)?,
        agent,
    }))
}
