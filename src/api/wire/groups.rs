//! The shape of an error group.

use serde::Serialize;

use super::rows::{Id, Time, mib, one_decimal};
use crate::model::ErrorGroup;

/// Error group: with what the agent used at its first and at its latest occurrence.
#[derive(Serialize)]
pub(super) struct Group<'a> {
    fingerprint: &'a str,
    agent_id: Option<Id<'a>>,
    error_type: &'a str,
    message: &'a str,
    state: &'static str,
    count: u64,
    unresolved: u64,
    first_seen: Time,
    last_seen: Time,
    resolved_at: Option<Time>,
    first_cpu_percent: Option<f64>,
    first_memory_mb: Option<f64>,
    last_cpu_percent: Option<f64>,
    last_memory_mb: Option<f64>,
}

impl<'a> From<&'a ErrorGroup> for Group<'a> {
    fn from(group: &'a ErrorGroup) -> Group<'a> {
        Group {
            fingerprint: &group.fingerprint,
            agent_id: group.agent.as_ref().map(Id),
            error_type: &group.error_type,
            message: &group.message,
            state: group.state.word(),
            count: group.count,
            unresolved: group.unresolved,
            first_seen: Time(group.first_seen),
            last_seen: Time(group.last_seen),
            resolved_at: group.resolved_at.map(Time),
            first_cpu_percent: group.first_usage.cpu_percent.map(one_decimal),
            first_memory_mb: group.first_usage.memory_bytes.map(mib),
            last_cpu_percent: group.last_usage.cpu_percent.map(one_decimal),
            last_memory_mb: group.last_usage.memory_bytes.map(mib),
        }
    }
}
