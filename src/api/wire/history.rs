//! The shape of `GET /api/monitoring/agents/{agentId}/history`.

use serde::Serialize;

use super::rows::{Id, Time, mib, one_decimal};
use crate::api::HistoryQuery;
use crate::model::{self, HistoryPoint};

/// One list for each number, all as long as `t`. `null` where nothing was observed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct History<'a> {
    agent_id: Id<'a>,
    from: Time,
    to: Time,
    /// Seconds.
    step: u64,
    /// When each bucket begins, milliseconds since 1970.
    t: Vec<i64>,
    cpu_percent: Spread,
    memory_mb: Spread,
    process_count: Most,
}

#[derive(Serialize)]
struct Spread {
    avg: Vec<Option<f64>>,
    max: Vec<Option<f64>>,
}

#[derive(Serialize)]
struct Most {
    max: Vec<Option<u32>>,
}

impl<'a> History<'a> {
    /// Of an agent that is too young to have a past, there are no buckets.
    pub(in crate::api) fn new(query: &'a HistoryQuery, history: Option<&model::History>) -> History<'a> {
        fn list<T>(history: Option<&model::History>, of: impl Fn(&HistoryPoint) -> T) -> Vec<T> {
            history.map(|history| history.points.iter().map(of).collect()).unwrap_or_default()
        }
        History {
            agent_id: Id(&query.agent),
            from: Time(history.map_or(query.from, |history| history.from)),
            to: Time(history.map_or(query.to, |history| history.to)),
            step: history.map_or(1, |history| history.step.as_secs()),
            t: list(history, |point| point.at.unix_ms()),
            cpu_percent: Spread {
                avg: list(history, |point| point.cpu_percent_avg.map(one_decimal)),
                max: list(history, |point| point.cpu_percent_max.map(one_decimal)),
            },
            memory_mb: Spread {
                avg: list(history, |point| point.memory_bytes_avg.map(|bytes| one_decimal(bytes / 1_048_576.0))),
                max: list(history, |point| point.memory_bytes_max.map(mib)),
            },
            process_count: Most { max: list(history, |point| point.process_count_max) },
        }
    }
}
