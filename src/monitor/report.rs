//! What agents tell, on its way to the store.

use std::time::Duration;

use crate::fingerprint;
use crate::model::{
    AgentNumber, Batch, Entry, Mono, Now, Report, Resolve, StoredReport, Submission, UNREGISTERED, Usage, Write,
};

use super::Monitor;
use super::exchange::{Effect, NotRecorded, Reply};

/// How many agents there may be that are known only by what they write.
const UNREGISTERED_LIMIT: usize = 1_000;

/// An agent may write one report in this time, in the long run …
const PER_REPORT: Duration = Duration::from_millis(20);

/// … and so many at once.
const BURST: u32 = 500;

/// How fast an agent writes: the generic cell rate algorithm (ITU-T I.371), which needs one number.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct RateLimit {
    /// When all that was written will have had its time.
    due: Mono,
}

impl RateLimit {
    /// Whether one more may be written now.
    fn admit(&mut self, now: Mono) -> bool {
        let due = self.due.max(now) + PER_REPORT;
        let admitted = due.since(now) <= PER_REPORT * BURST;
        if admitted {
            self.due = due;
        }
        admitted
    }
}

impl Monitor {
    pub(super) fn report(&mut self, submission: Submission, reply: Reply, now: Now) {
        let Submission { agent: id, mut report, at, client_id, uid } = submission;
        let is_new = self.agents.of_id(&id).is_none();
        let unregistered =
            || self.agents.iter().filter(|agent| agent.is_unregistered() && agent.listing.writes).count();
        if is_new && unregistered() >= UNREGISTERED_LIMIT {
            return reply.send(Err(NotRecorded::TooManyUnregistered));
        }
        let Some(index) = self.agent_or_new(&id, &UNREGISTERED.into(), now) else {
            return reply.send(Err(NotRecorded::TooManyUnregistered));
        };
        let agent = self.agent(index);
        if !agent.rate.admit(now.mono) {
            return reply.send(Err(NotRecorded::TooFast));
        }
        if agent.is_unregistered() {
            agent.listing.writes = true;
            // Its last observation is what keeps it known.
            self.write_agent(index, now);
        }
        let agent = self.agent(index);
        if let Report::Error(error) = &mut report {
            // Who tells the heart directly may have left it out.
            fingerprint::complete(error, &id);
        }
        let usage = Usage { cpu_percent: agent.metrics.cpu_percent, memory_bytes: agent.metrics.memory_bytes };
        let whose = (agent.stored.number, agent.stored.id.clone());
        let entry = Entry { agent: Some(whose), at: at.unwrap_or(now.wall), body: report.into() };
        self.write(Write::Report(StoredReport { entry, client_id, uid, usage }), reply);
        self.outcome.changed |= is_new;
    }

    pub(super) fn resolve(&mut self, what: Resolve, reply: Reply, now: Now) {
        self.write(Write::Resolve { what, at: now.wall }, reply);
    }

    /// A batch of its own: whoever told it waits for it alone.
    fn write(&mut self, write: Write, reply: Reply) {
        let batch = Batch { write: Some(Box::new(write)), ..Batch::default() };
        self.outcome.effects.push(Effect::Store { batch, reply: Some(reply) });
    }

    /// Takes in how many errors of these agents are unresolved.
    pub(super) fn count_errors(&mut self, counts: &[(AgentNumber, u64)]) {
        for (number, count) in counts {
            if let Some(index) = self.agents.of_number(*number) {
                let agent = &mut self.agents[index];
                agent.unresolved = *count;
                agent.metrics.error_count = *count;
                agent.listing.stale = true;
                self.outcome.changed = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_hundred_at_once_and_fifty_a_second() {
        let mut rate = RateLimit::default();
        let start = Mono(7_000_000_000);
        let burst = |rate: &mut RateLimit, at| (0..1_000).filter(|_| rate.admit(at)).count();
        assert_eq!(burst(&mut rate, start), 500);
        assert_eq!(burst(&mut rate, start + Duration::from_millis(19)), 0);
        assert_eq!(burst(&mut rate, start + Duration::from_secs(1)), 50);
        assert_eq!(burst(&mut rate, start + Duration::from_secs(2)), 50, "what was refused did not count");
        assert_eq!(burst(&mut rate, start + Duration::from_secs(3600)), 500, "and not more after a rest");
    }
}
