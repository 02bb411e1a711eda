use std::sync::Arc;
use std::time::Duration;

use super::Handle;
use crate::api::{self, AgentHistory, Sources};
use crate::clock::Clock;
use crate::config::Config;
use crate::engine::Message;
use crate::model::{AgentId, Sample, Timestamp};
use crate::monitor::Input;
use crate::store::{JournalPage, Reader, StoreError, StoreStats};

/// How far back an agent's page shows every sample, and at most how many.
const METRICS: (Duration, u32) = (Duration::from_secs(3600), 3600);
const EVENTS: u32 = 50;
const ERRORS: u32 = 20;
const RUNS: u32 = 20;

/// What the endpoint answers from.
pub(super) fn sources(
    handle: &Handle,
    clock: &Arc<dyn Clock>,
    config: &Arc<Config>,
    reader: Reader,
    stats: Arc<StoreStats>,
) -> Sources {
    let (inbox, interval, now) = (handle.inbox().clone(), config.sampling.interval, Arc::clone(clock));
    Sources {
        feed: handle.feed().clone(),
        clock: Arc::clone(clock),
        interval: Arc::new(move || interval),
        storage: Arc::new(move || stats.trouble().map_or(Ok(()), Err)),
        history: Arc::new(move |id| history(&reader, id, now.now().wall).map_err(|error| error.chain())),
        // Who cannot be asked now drops the answer, and that is one.
        inspect: Arc::new(move |agent, answer| {
            drop(inbox.try_send(Message::Input(Input::Inspect { agent, answer })));
        }),
    }
}

/// What is kept of one agent.
fn history(reader: &Reader, id: &AgentId, now: Timestamp) -> Result<Option<AgentHistory>, StoreError> {
    let Some(agent) = reader.agent(id)? else { return Ok(None) };
    let number = agent.number;
    let page = |limit| JournalPage { agent: Some(number), before: None, limit };
    let metrics = reader.metrics(number, now - METRICS.0, METRICS.1)?;
    let errors = reader.errors(page(ERRORS))?.into_iter().map(|row| api::ErrorRow {
        id: row.id,
        at: row.at,
        report: row.report,
        resolved: row.resolved,
        fingerprint: None,
    });
    Ok(Some(AgentHistory {
        metrics: metrics.into_iter().map(|metrics| Sample { agent: number, metrics }).collect(),
        events: reader.events(page(EVENTS))?,
        errors: errors.collect(),
        runs: reader.runs(number, RUNS)?,
        unresolved: reader.unresolved(number)?,
        agent,
    }))
}
