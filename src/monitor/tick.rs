//! One sampling pass: find new members, read all oldest first, charge the ledgers, make samples.

use std::sync::Arc;

use crate::alerts::GrowthWindow;
use crate::model::{Metrics, Now, ProcessKey, ProcessState, Sample, Tick};
use crate::process::ReadError;
use crate::tree::{AgentIndex, Member, Seen};
use crate::verdict::Fact;

use super::account::{Sum, Usage, percent};
use super::agent::Agent;
use super::gone::Found;
use super::{Monitor, SECOND_READING, count_failure};

impl Monitor {
    /// The regular pass, over all agents.
    pub(super) fn sample_all(&mut self, now: Now) {
        self.let_found_go(now);
        self.locate_missing(now);
        self.due.fill(true);
        // Only here: another pass would take the turn from all agents that it is not for.
        let io = self.timers.io.fire(now.mono).is_some();
        self.look_at_host(io, now);
        self.pass(io, now);
        self.forest.forget_former();
        self.tell_claimed_ended(now);
        self.own.pss = self.processes.pss_counts();
        self.own.last_tick_at = Some(now.wall);
        self.own.last_tick_mono = Some(now.mono);
    }

    /// A pass over the agents that cannot wait for the regular one: they have had one reading, or none.
    pub(super) fn sample_due(&mut self, now: Now) {
        self.pass(false, now);
    }

    fn pass(&mut self, io: bool, now: Now) {
        self.early = None;
        self.discover(now);
        for index in self.read_due(io, now) {
            let agent = &self.agents[index];
            if agent.root().is_some() && agent.metrics.cpu_percent.is_none() {
                // One reading is no rate: the second follows soon.
                self.due[index.0] = true;
                self.early = Some(now.mono + SECOND_READING);
            }
        }
        self.locate_sharers(now);
        self.outcome.changed = true;
    }

    /// Makes samples of those that were read in this step, for whatever reason: what is shown is written down.
    pub(super) fn sample_read(&mut self, now: Now) {
        self.outcome.unsampled.sort_unstable();
        self.outcome.unsampled.dedup();
        let tick = Tick { ordinal: self.next_tick, at: now.wall };
        self.outcome.batch.samples.reserve(self.outcome.unsampled.len());
        for index in self.outcome.unsampled.drain(..) {
            self.outcome.batch.samples.extend(sample(&mut self.agents[index], tick));
        }
        if !self.outcome.batch.samples.is_empty() {
            self.outcome.batch.tick = Some(tick);
            self.next_tick += 1;
        }
    }

    /// Reads the members of all agents that are due, oldest first, and charges their ledgers: that of storage only if
    /// `io`. Returns those agents. Where agents nest, nobody is read without the others: what an inner one had charged
    /// would come up in the counters of an outer one as if it were new.
    pub(super) fn read_due(&mut self, io: bool, now: Now) -> Vec<AgentIndex> {
        let due: Vec<AgentIndex> = self.all_due().collect();
        if self.nested && !due.is_empty() {
            self.due.fill(true);
        }
        let read: Vec<AgentIndex> = self.all_due().collect();
        for index in &read {
            let agent = &mut self.agents[*index];
            agent.tree.sum = Sum::default();
            if let Some(leftovers) = &mut agent.leftovers {
                leftovers.sum = Sum::default();
            }
        }
        let found = self.read_members(&read, io);
        self.let_go(found, io, now);
        for index in &read {
            self.charge(*index, io, now);
            self.note_leftovers(*index, now);
        }
        self.outcome.unsampled.extend(read);
        due
    }

    fn all_due(&self) -> impl Iterator<Item = AgentIndex> {
        self.agents.indices().filter(|index| self.due[index.0])
    }

    fn read_members(&mut self, agents: &[AgentIndex], io: bool) -> Found {
        let mut found = Found::default();
        let mut regrouped = Vec::new();
        let mut read = |key: ProcessKey, member: &mut Member| {
            let agent = &mut self.agents[member.owner.agent];
            let usage = agent.usage(member.owner.leftover);
            let first_io = member.seen.is_none_or(|seen| seen.io.is_none());
            match self.processes.read(key, io || first_io) {
                Ok(reading) => {
                    if reading.state == ProcessState::Zombie {
                        found.dead.extend(member.seen.filter(Seen::waits).map(|seen| (key, seen)));
                    }
                    if member.parent != reading.parent {
                        found.moved.insert(key, std::mem::replace(&mut member.parent, reading.parent));
                    }
                    let groups = [reading.session, reading.group];
                    if member.groups != groups {
                        regrouped.push((key, groups));
                    }
                    usage.sum.add(&reading);
                    usage.account.take(member, &reading);
                }
                Err(ReadError::Gone) => found.gone.push(key),
                Err(error) => {
                    count_failure(&mut self.own, &error);
                    usage.sum.failed = true;
                    // While its parent lives it is that one's child.
                    usage.account.miss(member, io);
                }
            }
        };
        if agents.len() == self.due.len() {
            self.forest.iter_mut().for_each(|(key, member)| read(key, member));
        } else {
            agents.iter().for_each(|index| self.forest.each_of(*index, &mut read));
        }
        regrouped.into_iter().for_each(|(key, groups)| self.forest.set_groups(key, groups));
        found
    }

    /// Ends the tick in an agent's ledgers and makes its numbers of it.
    fn charge(&mut self, index: AgentIndex, io: bool, now: Now) {
        let root = self.agents[index].root();
        let holds = root.and_then(|root| self.forest.get(root)?.seen).is_some_and(|seen| seen.rss_bytes > 0);
        let agent = &mut self.agents[index];
        self.due[index.0] = false;
        let used_us = agent.tree.account.charge(io);
        if let Some(leftovers) = &mut agent.leftovers {
            leftovers.account.charge(io);
        }
        let Usage { account, sum } = agent.tree;
        let lives = root.is_some() && sum.read_at.is_some();
        let cpu_percent = match (agent.read_at, sum.read_at) {
            (Some(before), Some(read_at)) if lives => percent(used_us, read_at, before).or(agent.metrics.cpu_percent),
            _ => None,
        };
        let first = lives && std::mem::replace(&mut agent.read_at, sum.read_at).is_none();
        if first || agent.nests && agent.count_members() > 0 {
            // What its members had at their first reading; and what is shown of one that nests, which may come up in
            // another's account, had it not been written down.
            self.outcome.unsaved.push(index);
        }
        // A root that is ending has given its memory back already: what is left is not what the agent held.
        let memory = (lives && !sum.failed && holds).then(|| sum.memory());
        if let (Some((bytes, method)), Some(at)) = (memory, sum.read_at) {
            if let Some(run) = &mut agent.run {
                run.note_memory(bytes, method, self.config.sampling.memory);
            }
            match &mut agent.growth {
                // What is added up in another way is no growth.
                Some(growth) if method == agent.metrics.memory_method => growth.read(bytes, at),
                growth => *growth = Some(Box::new(GrowthWindow::new(bytes, at))),
            }
        }
        let known = agent.run.is_some() || account.cpu.total() > 0;
        let verdict = agent.verdict();
        agent.metrics = Metrics {
            at: now.wall,
            cpu_percent,
            memory_bytes: memory.map(|(bytes, _)| bytes),
            memory_method: memory.map(|(_, method)| method).unwrap_or_default(),
            process_count: lives.then_some(sum.processes),
            thread_count: (lives && !sum.failed && !sum.threads_missing).then_some(sum.threads),
            cpu_us: known.then(|| account.cpu.total()),
            io: (known && !sum.io_denied).then(|| account.io()),
            status: if agent.metrics.status == verdict.status {
                Arc::clone(&agent.metrics.status)
            } else {
                verdict.status
            },
            error_count: agent.unresolved,
            message_count: agent.message_count(),
        };
        agent.listing.stale = true;
        let told = std::mem::replace(&mut agent.told.failing, sum.failed);
        if sum.failed && !told {
            self.warn(index, "sampling_failed", "a process of its tree could not be read", now);
        }
        self.tell_pss_denied(index, now);
    }
}

/// The row of history that a pass gives an agent: each time while it runs, otherwise when status or a count changed.
fn sample(agent: &mut Agent, tick: Tick) -> Option<Sample> {
    let metrics = &agent.metrics;
    let now = (Arc::clone(&metrics.status), metrics.error_count, metrics.message_count);
    let runs = agent.root().is_some() && agent.fact == Fact::Running;
    if !agent.is_listed() || (!runs && agent.recorded.as_ref() == Some(&now)) {
        return None;
    }
    agent.recorded = Some(now);
    Some(Sample { agent: agent.stored.number, metrics: Metrics { at: tick.at, ..agent.metrics.clone() } })
}
