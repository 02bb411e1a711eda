//! How an agent's root process is found, and what the kernel tells of it.

use std::sync::Arc;
use std::time::Duration;

use crate::model::{
    Body, Entry, ExitStatus, Mono, Now, Observed, Pid, ProcessEvent, ProcessKey, ProcessRow, ProcessState, StartGuard,
    in_one_line,
};
use crate::process::{ReadError, Watch};
use crate::tree::{AgentIndex, Owner};
use crate::verdict::{Fact, Mismatch, mismatch, start_mismatch};

use super::agent::{Agent, Run};
use super::{FULL_SCANS, Monitor, event, warning};

/// Start times are read in hundredths of a second, and time passes between a fork and its reading.
const FORK_SLACK: Duration = Duration::from_millis(100);

impl Monitor {
    /// Looks for the process that an agent's record claims.
    pub(super) fn locate(&mut self, index: AgentIndex, now: Now) {
        let agent = &self.agents[index.0];
        let Some(claimed) = agent.claim.as_ref().and_then(|claim| claim.record.pid) else {
            if agent.root().is_none() && agent.run.is_none() {
                self.agent(index).observe(Fact::NoPid, now);
            }
            return;
        };
        let guard = agent.claim.as_ref().map(|claim| claim.record.guard.clone()).unwrap_or_default();
        let inner = agent.inner_pid();
        let boot = Arc::clone(&self.boot);
        let is_root = |agent: &Agent, pid| {
            let is = |root: ProcessKey| Some(root.pid) == pid && start_mismatch(&guard, root, &boot).is_none();
            agent.root().is_some_and(is)
        };
        if is_root(agent, agent.claimed_pid()) {
            return;
        }
        // A pid of another namespace means nothing here before its process is found.
        let inside = inner.map(|inner| self.processes.look_inside(inner));
        let pid = match &inside {
            None => Some(claimed),
            Some(looked) => looked.as_ref().ok().map(|row| row.key.pid),
        };
        if let Some(old) = self.agents[index.0].root() {
            // The last daemon found it.
            if is_root(&self.agents[index.0], pid) {
                self.agent(index).found_at = inner.zip(pid);
                return;
            }
            self.end_run(index, old, None, Some("superseded"), now);
        }
        if pid.is_some() && self.processes.own_pid() == pid {
            return self.agent(index).observe(Fact::Ourselves, now);
        }
        if let Some(owner) = pid.and_then(|pid| self.holder(pid)).filter(|owner| *owner != index) {
            if let Some(mismatch) = self.root_mismatch(owner, &guard) {
                return self.lost_sight(index, Fact::Replaced(mismatch), now);
            }
            let owner = &self.agents[owner.0];
            let fact = Fact::Shared { owner: owner.stored.id.clone(), state: Observed::Running };
            let agent = self.agent(index);
            agent.found_at = inner.zip(pid);
            return agent.observe(fact, now);
        }
        match inside.unwrap_or_else(|| self.processes.look(claimed)) {
            Ok(row) => match self.mismatch(index, &guard, &row, now) {
                // A dead one too can be another than the one that is meant.
                Some(mismatch) => self.lost_sight(index, Fact::Replaced(mismatch), now),
                None if row.state == ProcessState::Zombie => self.lost_sight(index, Fact::Zombie(None), now),
                None => {
                    self.agent(index).found_at = inner.zip(pid);
                    self.begin_run(index, &row, now);
                }
            },
            Err(ReadError::Gone) => self.lost_sight(index, Fact::Exited { status: None, seen: false }, now),
            Err(ReadError::Denied { .. }) => {
                self.own.reads_denied += 1;
                self.agent(index).observe(Fact::Denied, now);
            }
            Err(error) => {
                self.own.read_errors += 1;
                self.agent(index).observe(Fact::Unreadable(in_one_line(&error)), now);
            }
        }
    }

    /// Looks again for the processes of agents that have none, at every tick: a claim may come true late.
    pub(super) fn locate_missing(&mut self, now: Now) {
        for place in 0..self.agents.len() {
            let agent = &self.agents[place];
            if agent.claim.is_some() && agent.root().is_none() {
                self.locate(AgentIndex(place), now);
            }
        }
    }

    /// The claimed process is not there. What is known of its end stays known.
    fn lost_sight(&mut self, index: AgentIndex, fact: Fact, now: Now) {
        let agent = self.agent(index);
        let claimed = agent.claimed_pid();
        let of_claim = |root: ProcessKey| claimed.is_none_or(|pid| pid == root.pid);
        let ended = agent.run.as_ref().is_some_and(|run| run.end.is_some() && of_claim(run.root));
        let known = matches!(agent.fact, Fact::Exited { seen: true, .. } | Fact::Zombie(_)) && ended;
        let says_more = matches!(fact, Fact::Replaced(_)) && !matches!(agent.fact, Fact::Replaced(_));
        let fact = match (&agent.fact, fact) {
            // What is new is whether anybody has waited for it.
            (Fact::Zombie(status), Fact::Exited { .. }) if known => Fact::Exited { status: *status, seen: true },
            (Fact::Exited { status, .. }, Fact::Zombie(_)) if known => Fact::Zombie(*status),
            (_, fact) if known && !says_more => return drop(fact),
            (_, fact) => fact,
        };
        if agent.fact == fact {
            return;
        }
        agent.observe(fact, now);
        self.changed = true;
        if says_more {
            let reason = self.agents[index.0].verdict().reason.unwrap_or_default();
            self.tell(index, warning("pid_replaced", &reason), now);
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
        let agent = &self.agents[index.0];
        let run = agent.run.as_ref()?;
        let guarded = guard.start_ticks.is_some() || guard.started_at.is_some();
        let claimed_before = run.boot == self.boot && agent.claimed_pid() == Some(run.root.pid);
        let reused = claimed_before && run.root != row.key && !guarded;
        reused.then_some(Mismatch::StartTicks)
    }

    /// Why another agent's process is not the one that is meant.
    fn root_mismatch(&self, owner: AgentIndex, guard: &StartGuard) -> Option<Mismatch> {
        let root = self.agents[owner.0].root()?;
        mismatch(guard, root, &self.boot, self.forest.get(root)?.started_at, false)
    }

    /// The agent whose root has this pid.
    pub(super) fn holder(&self, pid: Pid) -> Option<AgentIndex> {
        let key = self.forest.at(pid)?;
        let index = *self.roots.get(&key)?;
        (self.agents[index.0].root() == Some(key)).then_some(index)
    }

    /// From now on this process is the agent's root.
    pub(super) fn begin_run(&mut self, index: AgentIndex, row: &ProcessRow, now: Now) {
        if let Err(error) = self.processes.keep(row.key, Watch::Exit) {
            if !matches!(error, ReadError::Gone) {
                self.own.read_errors += 1;
            }
            return self.lost_sight(index, Fact::Exited { status: None, seen: false }, now);
        }
        let started_at = now.wall - row.age;
        self.plant(index, row, now);
        let boot = Arc::clone(&self.boot);
        let oom_kills = self.processes.oom_kills(row.key);
        let agent = &mut self.agents[index.0];
        // The number of one that was found is free again after its end: who gets it is somebody else.
        let first = agent.is_found() || agent.run.is_none() && agent.stored.restarts == 0;
        let run = Run::new(row.key, boot, started_at, agent.tree.cpu.total());
        agent.run = Some(Run { oom_kills, ..run });
        agent.observe(Fact::Running, now);
        if !first {
            agent.stored.restarts += 1;
        }
        let word = if first { "started" } else { "restarted" };
        self.batch.runs.extend(self.agents[index.0].run_row());
        let totals = self.agents[index.0].totals(now);
        self.batch.agents.push(totals);
        let message = format!("process {} ({}) is running", row.key.pid, row.name);
        let facts = [("reason", word.into()), ("pid", row.key.pid.get().into())];
        self.tell(index, event(word, &message, facts), now);
    }

    /// Makes a process the root of an agent's tree; what hangs below it is found by the next pass.
    pub(super) fn plant(&mut self, index: AgentIndex, row: &ProcessRow, now: Now) {
        let owner = Owner::tree(index);
        self.unsaved.push(index);
        if self.forest.get(row.key).is_some() {
            self.regroup(row.key, owner, now);
        } else {
            let born = self.is_born(row, now);
            self.forest.insert(row, owner, now.wall, born);
            self.full_scans = FULL_SCANS;
        }
        self.roots.insert(row.key, index);
        if let Some(around) = self.around(row.key).filter(|around| *around != index) {
            self.nests(around);
            self.nests(index);
        }
        let agent = self.agent(index);
        agent.read_at = None;
        self.due[index.0] = true;
        self.early = Some(now.mono);
        self.changed = true;
    }

    /// In whose tree a process hangs.
    fn around(&self, process: ProcessKey) -> Option<AgentIndex> {
        let above = self.forest.at(self.forest.get(process)?.parent?)?;
        self.forest.get(above).map(|above| above.owner.agent)
    }

    /// Gives a member and what is its agent's below it to another agent.
    pub(super) fn regroup(&mut self, root: ProcessKey, to: Owner, now: Now) {
        let Some(from) = self.forest.get(root).map(|member| member.owner) else { return };
        self.unsaved.extend([from.agent, to.agent]);
        if from.agent != to.agent {
            self.nests(from.agent);
            self.nests(to.agent);
        }
        let moved = self.forest.move_subtree(root, to);
        self.move_late(&moved, from, to);
        for key in moved {
            self.no_leftover_any_more(key, from.agent, now);
        }
    }

    /// Takes in what the kernel told of processes since the last step.
    pub(super) fn take_events(&mut self, now: Now) {
        let mut events = std::mem::take(&mut self.events);
        self.processes.drain(&mut events);
        let exits: Vec<(ProcessKey, Option<ExitStatus>)> = events
            .iter()
            .filter_map(|event| match event {
                ProcessEvent::Exited { process, status } => Some((*process, *status)),
                _ => None,
            })
            .collect();
        // A last reading while the dead can still be read: zombies keep their counters.
        let mut last_readings = false;
        for (process, status) in &exits {
            self.note_program_end(*process, *status, now);
            let index = self.roots.get(process).copied();
            if let Some(index) = index.filter(|index| self.agents[index.0].root() == Some(*process)) {
                self.due[index.0] = true;
                last_readings = true;
            }
        }
        if last_readings {
            // What a new root's children used before would come up in its counter later as if it were new.
            if self.full_scans == FULL_SCANS {
                self.discover(now);
            }
            self.read_due(true, now);
        }
        for (process, status) in exits {
            let Some(index) = self.roots.get(&process).copied() else { continue };
            self.end_run(index, process, status, None, now);
            let end = self.agent(index).run.as_mut().and_then(|run| run.end.as_mut());
            let Some(end) = end.filter(|_| status.is_none()) else { continue };
            if std::mem::replace(&mut end.announced, true) {
                // Told twice without a status: there will be none.
                self.tell_end(index, now);
            }
        }
        for event in events.drain(..) {
            match event {
                ProcessEvent::Forked { parent, child, at } => self.take_fork(parent, child, at, now),
                ProcessEvent::Execed(pid) => self.take_exec(pid),
                ProcessEvent::Lost => {
                    self.own.events_lost += 1;
                    self.full_scans = FULL_SCANS;
                    // They may be older than the last pass: events come a moment late, and so does the news of a loss.
                    self.scanned_at = self.scanned_before.or(self.scanned_at);
                }
                ProcessEvent::Exited { .. } => {}
            }
        }
        self.events = events;
    }

    /// A child of a member is a member, whether or not it is ever read: what it starts in turn is a member too.
    fn take_fork(&mut self, parent: Pid, child: Pid, at: Mono, now: Now) {
        let Some(owner) = self.forest.last_owner(parent).filter(|_| self.processes.own_pid() != Some(child)) else {
            return;
        };
        match self.processes.look(child) {
            // Much younger than the fork: the number went round, and means a stranger now.
            Ok(row) if row.age + FORK_SLACK < now.mono.since(at) => self.forest.remember(child, owner.agent),
            Ok(row) if self.forest.get(row.key).is_some() => {}
            Ok(row) => {
                self.forest.insert(&row, owner, now.wall, true);
                self.keep_member(row.key);
            }
            Err(ReadError::Gone) => self.forest.remember_short_lived(child, owner.agent),
            Err(_) => self.forest.remember(child, owner.agent),
        }
    }

    /// A member that became another program has another name.
    fn take_exec(&mut self, pid: Pid) {
        self.recognise_again(pid);
        if let Some(key) = self.forest.at(pid)
            && let Ok(row) = self.processes.look(pid)
            && let Some(member) = self.forest.get_mut(key)
        {
            member.name = row.name;
        }
    }

    /// Writes a line about an agent into the journal.
    pub(super) fn tell(&mut self, index: AgentIndex, body: Body, now: Now) {
        let stored = &self.agents[index.0].stored;
        let entry = Entry { agent: Some((stored.number, stored.id.clone())), at: now.wall, body };
        self.batch.entries.push(entry);
    }
}
