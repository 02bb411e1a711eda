//! What an evaluation sees of the conditions of alert rules: of agents, and of the daemon itself.

use std::sync::Arc;

use crate::alerts::{self, CRASH_WINDOW, CRASHES, Growth, LAG_WINDOW, Observation, SKIPS};
use crate::model::{Condition, Metric, Mono, Now, Observed, Rule};

use super::Monitor;
use super::agent::Agent;

impl Monitor {
    /// What there is to see of a rule's condition for an agent.
    pub(super) fn observation(&self, agent: &Agent, rule: &Rule, now: Now) -> Observation {
        if !agent.is_listed() {
            // Nobody names it and nothing of it lives: there is nothing left to complain of. But whoever could name it
            // has to have been asked.
            return if self.roster.is_complete() { Observation::Over(None) } else { Observation::Missing };
        }
        match &rule.condition {
            condition @ (Condition::Above { metric, .. } | Condition::Below { metric, .. }) => {
                alerts::compare(condition, measure(agent, *metric))
            }
            Condition::AgentDown => self.down(agent),
            Condition::CrashLoop => alerts::count(agent.crashes.count(CRASH_WINDOW, now.mono), CRASHES),
            Condition::MemoryGrowth => growth(agent, now.mono).map_or(Observation::Missing, Growth::observation),
            Condition::RegistryStale | Condition::StorageDegraded | Condition::MonitorLagging => Observation::Missing,
        }
    }

    /// Down counts from the first good read of the agent's source after its end that still claims it: until then the
    /// registry may just not have been told.
    fn down(&self, agent: &Agent) -> Observation {
        let verdict = agent.verdict();
        match (&agent.claim, agent.gone_at) {
            (Some(claim), Some(gone_at)) if verdict.down => {
                if self.roster.confirmed_since(claim.source, gone_at) {
                    Observation::Breach(None)
                } else {
                    Observation::Missing
                }
            }
            _ if verdict.state == Observed::Unknown => Observation::Missing,
            _ => Observation::Over(None),
        }
    }

    /// The same of a rule about the daemon, for each alert that it may have: with the name of the registry source, where
    /// each has its own.
    pub(super) fn own_observations(&self, rule: &Rule, now: Now) -> Vec<(Option<Arc<str>>, Observation)> {
        match &rule.condition {
            Condition::RegistryStale => {
                let stale_after = self.config.registry.stale_after;
                let look = |(source, fresh): (Arc<str>, super::roster::Freshness)| {
                    let observation = if fresh.age > stale_after {
                        Observation::Breach(Some(fresh.age.as_secs_f64()))
                    } else if fresh.was_read {
                        Observation::Over(Some(fresh.age.as_secs_f64()))
                    } else {
                        // It may have been stale before this daemon began.
                        Observation::Missing
                    };
                    (Some(source), observation)
                };
                self.roster.freshness(now.mono).into_iter().map(look).collect()
            }
            Condition::StorageDegraded => {
                let works = self.storage_trouble.is_none();
                vec![(None, if works { Observation::Over(None) } else { Observation::Breach(None) })]
            }
            Condition::MonitorLagging => {
                let observation = match alerts::count(self.skips.count(LAG_WINDOW, now.mono), SKIPS) {
                    // The daemon before this one may have lagged a moment ago.
                    Observation::Over(_) if now.mono.since(self.began_at) < LAG_WINDOW => Observation::Missing,
                    seen => seen,
                };
                vec![(None, observation)]
            }
            _ => Vec::new(),
        }
    }

    /// The number that a rule's condition is held against now, in the unit of the number it looks at.
    pub(super) fn threshold(&self, agent: Option<&Agent>, condition: &Condition, now: Now) -> Option<f64> {
        match condition {
            Condition::Above { limit, .. } | Condition::Below { limit, .. } => Some(*limit),
            Condition::CrashLoop => Some(number(CRASHES)),
            Condition::MemoryGrowth => agent.and_then(|agent| growth(agent, now.mono)).map(Growth::threshold),
            Condition::RegistryStale => Some(self.config.registry.stale_after.as_secs_f64()),
            Condition::MonitorLagging => Some(number(SKIPS)),
            Condition::AgentDown | Condition::StorageDegraded => None,
        }
    }
}

/// How an agent's memory grew; none while that cannot be known.
pub(super) fn growth(agent: &Agent, now: Mono) -> Option<Growth> {
    agent.growth.as_ref().and_then(|window| window.growth(now))
}

/// A number of an agent's, in the unit of its name.
fn measure(agent: &Agent, metric: Metric) -> Option<f64> {
    let metrics = &agent.metrics;
    let leftovers = Some(agent.leftover_sum()).filter(|leftovers| !leftovers.failed);
    match metric {
        Metric::CpuPercent => metrics.cpu_percent,
        Metric::MemoryMb => metrics.memory_bytes.map(mebibytes),
        Metric::ProcessCount => metrics.process_count.map(f64::from),
        Metric::ThreadCount => metrics.thread_count.map(f64::from),
        Metric::CpuSeconds => metrics.cpu_us.map(|us| number(us) / 1e6),
        Metric::ReadBytes => metrics.io.map(|io| number(io.read_bytes)),
        Metric::WrittenBytes => metrics.io.map(|io| number(io.written_bytes)),
        Metric::ErrorCount => Some(number(agent.unresolved)),
        Metric::MessageCount => metrics.message_count.map(number),
        Metric::LeftoverMemoryMb => leftovers.map(|leftovers| mebibytes(leftovers.rss_bytes)),
        Metric::LeftoverProcesses => leftovers.map(|leftovers| f64::from(leftovers.processes)),
    }
}

#[expect(clippy::cast_precision_loss, reason = "compared with a threshold that a person wrote")]
fn number(count: u64) -> f64 {
    count as f64
}

pub(super) fn mebibytes(bytes: u64) -> f64 {
    number(bytes) / f64::from(1 << 20)
}
