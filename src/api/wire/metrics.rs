//! The numbers of an agent: in camelCase beside what else is said of it, and under the names of the database in a row.

use serde::Serialize;

use super::rows::{Id, Time, mib, one_decimal, seconds};
use crate::model::Metrics;

/// Both spellings are of this one list.
macro_rules! numbers {
    ($(#[$attribute:meta])* $name:ident) => {
        #[derive(Serialize)]
        $(#[$attribute])*
        pub(super) struct $name<'a> {
            timestamp: Time,
            cpu_percent: Option<f64>,
            memory_mb: Option<f64>,
            memory_method: &'static str,
            process_count: Option<u32>,
            thread_count: Option<u32>,
            cpu_seconds: Option<f64>,
            read_bytes: Option<u64>,
            written_bytes: Option<u64>,
            status: &'a str,
            error_count: u64,
            message_count: Option<u64>,
        }

        impl<'a> From<&'a Metrics> for $name<'a> {
            fn from(metrics: &'a Metrics) -> $name<'a> {
                $name {
                    timestamp: Time(metrics.at),
                    cpu_percent: metrics.cpu_percent.map(one_decimal),
                    memory_mb: metrics.memory_bytes.map(mib),
                    memory_method: metrics.memory_method.word(),
                    process_count: metrics.process_count,
                    thread_count: metrics.thread_count,
                    cpu_seconds: metrics.cpu_us.map(seconds),
                    read_bytes: metrics.io.map(|io| io.read_bytes),
                    written_bytes: metrics.io.map(|io| io.written_bytes),
                    status: &metrics.status,
                    error_count: metrics.error_count,
                    message_count: metrics.message_count,
                }
            }
        }
    };
}

numbers!(
    #[serde(rename_all = "camelCase")]
    AgentMetrics
);
numbers!(RowNumbers);

/// METRIC: a row.
#[derive(Serialize)]
pub(super) struct Metric<'a> {
    agent_id: Id<'a>,
    #[serde(flatten)]
    numbers: RowNumbers<'a>,
}

impl<'a> Metric<'a> {
    pub(super) fn new(agent_id: Id<'a>, metrics: &'a Metrics) -> Metric<'a> {
        Metric { agent_id, numbers: RowNumbers::from(metrics) }
    }
}
