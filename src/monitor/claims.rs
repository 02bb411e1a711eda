//! What registries claim of agents, and the processes that they mean.

use std::sync::Arc;

use crate::model::{Now, Observed, ProcessKey, ProcessRow, ProcessState, Record, StartGuard, in_one_line};
use crate::process::ReadError;
use crate::tree::AgentIndex;
use crate::verdict::{Fact, Mismatch, mismatch, start_mismatch};

use super::exchange::SourceReading;
use super::runs::ClaimedEnded;
use super::{Monitor, count_failure};

/// A record and where it came from.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Claim {
    /// What it says.
    pub record: Arc<Record>,
    /// The source's place among the configured ones.
    pub source: usize,
}

impl Monitor {
    /// Takes in what came of reading a source.
    pub(super) fn read_source(&mut self, index: usize, reading: Result<SourceReading, Arc<str>>, now: Now) {
        let changes = self.roster.read(index, reading, now);
        for complaint in changes.complaints {
            let source = self.roster.name(index);
            tracing::warn!(%source, %complaint, "registry record passed over");
            self.warn_own("registry_invalid", &format!("{source}: {complaint}"), now);
        }
        if changes.list {
            self.take_claims(now);
        }
        self.outcome.changed = true;
    }

    /// Brings the agents in line with what the sources now say together.
    pub(super) fn take_claims(&mut self, now: Now) {
        let (claims, passed_over) = self.roster.merged();
        for complaint in passed_over {
            tracing::warn!(%complaint, "registry record passed over");
            self.warn_own("registry_invalid", &complaint, now);
        }
        let gone: Vec<AgentIndex> = self
            .agents
            .in_order()
            .filter(|(id, index)| self.agents[*index].claim.is_some() && !claims.contains_key(*id))
            .map(|(_, index)| index)
            .collect();
        for index in gone {
            let agent = self.agent(index);
            agent.claim = None;
            agent.stored.registry_status = None;
            self.write_claimed(index, now);
        }
        for (id, claim) in claims {
            let source = self.roster.name(claim.source);
            let Some(index) = self.agent_or_new(&id, &source, now) else {
                self.refuse(&id, now);
                continue;
            };
            let agent = self.agent(index);
            // By its name too: another configuration gives the places to others.
            if agent.claim.as_ref() == Some(&claim) && agent.stored.source == source {
                // The one that is not also kept in a list that was read before.
                agent.claim = Some(claim);
                continue;
            }
            agent.stored.source = source;
            agent.stored.name.clone_from(&claim.record.name);
            agent.stored.registry_status.clone_from(&claim.record.status);
            agent.stored.metadata = claim.record.metadata.clone();
            agent.claim = Some(claim);
            agent.metrics.message_count = agent.message_count();
            self.write_claimed(index, now);
            self.make_way(index, now);
            self.locate(index, now);
        }
    }

    /// Writes down an agent of which something else is claimed now, and its run: another daemon takes the difference of
    /// their sums for what the agent had used when the run began, so both must be of one moment.
    fn write_claimed(&mut self, index: AgentIndex, now: Now) {
        self.agent(index).listing.stale = true;
        self.write_agent(index, now);
        if self.agents[index].root().is_some() {
            self.write_run(index);
        }
    }

    /// Looks for the process that an agent's record claims.
    pub(super) fn locate(&mut self, index: AgentIndex, now: Now) {
        let agent = &self.agents[index];
        let record = agent.claim.as_ref().map(|claim| &claim.record);
        let Some((record, claimed)) = record.and_then(|record| Some((record, record.pid?))) else {
            if agent.run.is_none() {
                self.agent(index).observe(Fact::NoPid, now);
            }
            return;
        };
        let (guard, inner) = (record.guard.clone(), agent.inner_pid());
        let root = agent.root();
        let meant = root.filter(|root| start_mismatch(&guard, *root, &self.boot).is_none()).map(|root| root.pid);
        if meant.is_some() && meant == agent.claimed_pid() {
            return;
        }
        // A pid of another namespace means nothing here before its process is found.
        let inside = inner.map(|inner| self.processes.look_inside(inner));
        let pid = match &inside {
            None => Some(claimed),
            Some(looked) => looked.as_ref().ok().map(|row| row.key.pid),
        };
        if meant.is_some() && meant == pid {
            // The last daemon found it.
            self.agent(index).found_at = inner.zip(pid);
            return;
        }
        self.supersede_run(index, now);
        if pid.is_some() && self.processes.own_pid() == pid {
            return self.agent(index).observe(Fact::Ourselves, now);
        }
        let holder = pid.and_then(|pid| self.agent_of_root(self.forest.at(pid)?));
        if let Some(holder) = holder.filter(|holder| *holder != index) {
            if let Some(mismatch) = self.root_mismatch(holder, &guard) {
                return self.lose_sight(index, Fact::Replaced(mismatch), now);
            }
            let owner = self.agents[holder].stored.id.clone();
            let agent = self.agent(index);
            agent.found_at = inner.zip(pid);
            return agent.observe(Fact::Shared { owner, state: Observed::Running }, now);
        }
        match inside.unwrap_or_else(|| self.processes.look(claimed)) {
            Ok(row) => match self.mismatch(index, &guard, &row, now) {
                // A dead one too can be another than the one that is meant.
                Some(mismatch) => self.lose_sight(index, Fact::Replaced(mismatch), now),
                None if row.state == ProcessState::Zombie => self.lose_sight(index, Fact::Zombie(None), now),
                None => {
                    self.agent(index).found_at = inner.zip(pid);
                    self.begin_run(index, &row, now);
                }
            },
            Err(ReadError::Gone) => self.lose_sight(index, Fact::Exited { status: None, seen: false }, now),
            Err(error) => {
                count_failure(&mut self.own, &error);
                let denied = matches!(error, ReadError::Denied { .. });
                let fact = if denied { Fact::Denied } else { Fact::Unreadable(in_one_line(&error)) };
                self.agent(index).observe(fact, now);
            }
        }
    }

    /// Looks again for the processes of agents that have none, at every tick: a claim may come true late.
    pub(super) fn locate_missing(&mut self, now: Now) {
        for index in self.agents.indices() {
            let agent = &self.agents[index];
            if agent.claim.is_some() && agent.root().is_none() {
                self.locate(index, now);
            }
        }
    }

    /// Looks again for processes that agents shared with another, if that was found to have ended.
    pub(super) fn locate_sharers(&mut self, now: Now) {
        for index in self.agents.indices() {
            if let Fact::Shared { owner, .. } = &self.agents[index].fact
                && self.agents.of_id(owner).is_none_or(|owner| self.agents[owner].root().is_none())
            {
                self.locate(index, now);
            }
        }
    }

    /// The claimed process is not there. What is known of its end stays known.
    pub(super) fn lose_sight(&mut self, index: AgentIndex, fact: Fact, now: Now) {
        let agent = self.agent(index);
        let claimed = agent.claimed_pid();
        let is_claimed = |root: ProcessKey| claimed.is_none_or(|pid| pid == root.pid);
        let ended = agent.run.as_ref().is_some_and(|run| run.end.is_some() && is_claimed(run.root));
        let known = ended && matches!(agent.fact, Fact::Exited { seen: true, .. } | Fact::Zombie(_));
        let replaced = matches!(fact, Fact::Replaced(_)) && !matches!(agent.fact, Fact::Replaced(_));
        let fact = match (&agent.fact, fact) {
            // What is new is whether anybody has waited for it.
            (Fact::Zombie(status), Fact::Exited { .. }) if known => Fact::Exited { status: *status, seen: true },
            (Fact::Exited { status, .. }, Fact::Zombie(_)) if known => Fact::Zombie(*status),
            _ if known && !replaced => return,
            (_, fact) => fact,
        };
        if agent.fact == fact {
            return;
        }
        agent.observe(fact, now);
        self.outcome.changed = true;
        if replaced {
            let reason = self.agents[index].verdict().reason.unwrap_or_default();
            self.warn(index, "pid_replaced", &reason, now);
        }
    }

    /// Why the process at the claimed pid is not the one that is meant.
    fn mismatch(&self, index: AgentIndex, guard: &StartGuard, row: &ProcessRow, now: Now) -> Option<Mismatch> {
        let started_at = now.wall - row.age;
        if let Some(mismatch) = mismatch(guard, row.key, &self.boot, started_at, row.kernel) {
            return Some(mismatch);
        }
        // The agent's process of this pid ended; without a guard that fits, the next process of the same number is a
        // stranger.
        let agent = &self.agents[index];
        let run = agent.run.as_ref()?;
        let guarded = guard.start_ticks.is_some() || guard.started_at.is_some();
        let claimed_before = run.boot == self.boot && agent.claimed_pid() == Some(run.root.pid);
        let reused = claimed_before && run.root != row.key && !guarded;
        reused.then_some(Mismatch::StartTicks)
    }

    /// Why another agent's process is not the one that is meant.
    fn root_mismatch(&self, owner: AgentIndex, guard: &StartGuard) -> Option<Mismatch> {
        let root = self.agents[owner].root()?;
        mismatch(guard, root, &self.boot, self.forest.get(root)?.started_at, false)
    }

    /// The agent whose living root this process is.
    pub(super) fn agent_of_root(&self, process: ProcessKey) -> Option<AgentIndex> {
        self.roots.by_key.get(&process).copied().filter(|index| self.agents[*index].root() == Some(process))
    }

    /// Tells of agents that run although their registry says that they ended: at the second look, since one that is just
    /// ending is no contradiction.
    pub(super) fn tell_claimed_ended(&mut self, now: Now) {
        for index in self.agents.indices() {
            let agent = &mut self.agents[index];
            let claimed_ended = agent.fact == Fact::Running && agent.is_claimed_ended();
            let Some(run) = agent.run.as_mut().filter(|run| run.end.is_none()) else { continue };
            let before = run.claimed_ended;
            run.claimed_ended = match (before, claimed_ended) {
                (ClaimedEnded::Told, _) | (ClaimedEnded::Seen, true) => ClaimedEnded::Told,
                (ClaimedEnded::No, true) => ClaimedEnded::Seen,
                (_, false) => ClaimedEnded::No,
            };
            if (before, run.claimed_ended) == (ClaimedEnded::Seen, ClaimedEnded::Told) {
                let reason = agent.verdict().reason.unwrap_or_default();
                self.warn(index, "claimed_ended_but_running", &reason, now);
            }
        }
    }
}
