//! Where the last daemon stopped.

use crate::alerts::CRASH_WINDOW;
use crate::model::{Io, Mono, Now, Resume, Timestamp};
use crate::tree::AgentIndex;

use super::Monitor;
use super::agent::{Account, Agent};

impl Monitor {
    /// Takes over what the last daemon knew.
    pub(super) fn resume(&mut self, resume: Resume, now: Now) {
        for known in resume.agents {
            let number = known.agent.number;
            let index = self.admit(known.agent);
            self.count_errors(&[(number, known.unresolved)]);
            let unseen = known.run.and_then(|row| self.resume_run(index, &row, now));
            // What was written down goes with the run's counters of the same moment; a younger sample is a floor.
            self.agents[index.0].tree.raise(known.sampled_cpu_us, known.sampled_io);
            if let Some(root) = unseen {
                self.end_run(index, root, None, Some("unobserved"), now);
            }
        }
        for row in resume.leftovers {
            self.resume_leftover(row, now);
        }
        for stored in resume.alerts {
            if let Some(state) = stored.state {
                self.alerts.insert(stored.key, state);
            }
        }
        // The last one comes first, and of too many the first to be noted are forgotten.
        for (number, ended_at) in resume.crashes.into_iter().rev() {
            let index = self.by_number.get(&number).copied();
            if let Some(index) = index.filter(|_| now.wall.since(ended_at) < CRASH_WINDOW) {
                self.agent(index).crashes.note(1, ago(ended_at, now));
            }
        }
        self.let_writers_go(now);
        self.end_orphaned_alerts(now);
    }

    /// Notes beside each run what others have that may come up in its root: the rest of its agent's, and where agents
    /// nest, anybody's. Another daemon must not charge it again.
    pub(super) fn note_others(&mut self, read: &[AgentIndex]) {
        let anybody = self.nested.then(|| self.agents.iter().map(Agent::may_come_up_us).sum::<u64>());
        for index in read {
            let agent = &mut self.agents[index.0];
            let others_us = anybody.unwrap_or_else(|| agent.may_come_up_us());
            let Some(run) = agent.run.as_mut().filter(|run| run.end.is_none() && agent.sum.read_at.is_some()) else {
                continue;
            };
            run.others_us = others_us.saturating_sub(run.root_cpu.own_us + run.root_cpu.children_us);
            if !std::mem::replace(&mut run.noted, true) {
                // What its processes had before they were known.
                self.batch.runs.extend(agent.run_row());
            }
        }
    }
}

impl Agent {
    /// What its processes had at the last pass, and what was on its way from those that were gone, microseconds.
    fn may_come_up_us(&self) -> u64 {
        let left = self.left.as_ref().map_or(0, |left| left.sum.all_us + left.account.cpu.on_its_way());
        self.sum.all_us + self.tree.cpu.on_its_way() + left
    }
}

impl Account {
    /// Makes the sums at least these.
    fn raise(&mut self, cpu_us: Option<u64>, io: Option<Io>) {
        let io = io.unwrap_or_default();
        let floors = [
            (&mut self.cpu, cpu_us.unwrap_or(0)),
            (&mut self.read, io.read_bytes),
            (&mut self.written, io.written_bytes),
        ];
        for (ledger, floor) in floors {
            ledger.add(floor.saturating_sub(ledger.total()));
        }
    }
}

/// A moment of an earlier daemon's, on this one's clock.
pub(super) fn ago(then: Timestamp, now: Now) -> Mono {
    let span = u64::try_from(now.wall.since(then).as_nanos()).unwrap_or(u64::MAX);
    Mono(now.mono.0.saturating_sub(span))
}
