//! How an agent's root process is found, how it ends, and what is told of it.

use std::sync::Arc;

use crate::ledger::while_away;
use crate::model::{
    Body, Entry, ExitStatus, Now, Observed, Pid, ProcessEvent, ProcessKey, ProcessRow, ProcessState, RunRow, StartGuard,
};
use crate::process::{ReadError, Watch};
use crate::tree::{AgentIndex, Owner};
use crate::verdict::{Fact, Replaced, contradiction, is_expected};

use super::agent::{Denied, Run};
use super::{Monitor, event, warning};

impl Monitor {
    /// Looks for the process that an agent's record claims.
    pub(super) fn locate(&mut self, index: AgentIndex, now: Now) {
        let agent = &self.agents[index.0];
        let Some(pid) = agent.claim.as_ref().and_then(|claim| claim.record.pid) else {
            if agent.root().is_none() && agent.run.is_none() {
                self.agent(index).observe(Fact::NoPid, now);
            }
            return;
        };
        let guard = agent.claim.as_ref().map(|claim| claim.record.guard.clone()).unwrap_or_default();
        if agent.root().is_some_and(|root| root.pid == pid && self.means(&guard, root)) {
            return;
        }
        if let Some(old) = self.agents[index.0].root() {
            self.end_run(index, old, None, Some("superseded"), now);
        }
        if self.source.own_pid() == Some(pid) {
            return self.agent(index).observe(Fact::Ourselves, now);
        }
        if let Some(owner) = self.holder(pid).filter(|owner| *owner != index) {
            let owner = &self.agents[owner.0];
            let fact = Fact::Shared { owner: owner.stored.id.clone(), state: Observed::Running };
            self.agent(index).observe(fact, now);
            return;
        }
        match self.source.look(pid) {
            Ok(row) if row.state == ProcessState::Zombie => self.lost_sight(index, pid, Fact::Zombie(None), now),
            Ok(row) => match self.refusal(index, &guard, &row, now) {
                Some(refusal) => self.lost_sight(index, pid, Fact::Replaced(refusal), now),
                None => self.begin_run(index, &row, now),
            },
            Err(ReadError::Gone) => {
                self.lost_sight(index, pid, Fact::Exited { status: None, seen: false }, now);
            }
            Err(ReadError::Denied { .. }) => {
                self.own.reads_denied += 1;
                self.agent(index).observe(Fact::Denied, now);
            }
            Err(error) => {
                self.own.read_errors += 1;
                tracing::debug!(%pid, %error, "cannot look at a process");
                self.agent(index).observe(Fact::Denied, now);
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
    fn lost_sight(&mut self, index: AgentIndex, pid: Pid, fact: Fact, now: Now) {
        let agent = self.agent(index);
        let ended = agent.run.as_ref().is_some_and(|run| run.end.is_some() && run.root.pid == pid);
        let known = matches!(agent.fact, Fact::Exited { seen: true, .. } | Fact::Zombie(_)) && ended;
        let says_more = matches!(fact, Fact::Replaced(_)) && !matches!(agent.fact, Fact::Replaced(_));
        if known && !says_more || agent.fact == fact {
            return;
        }
        let replaced = says_more && agent.stored.number.get() < u32::MAX;
        agent.observe(fact, now);
        self.changed = true;
        if replaced {
            let reason = self.agents[index.0].verdict().reason.unwrap_or_default();
            self.tell(index, warning("pid_replaced", &reason), now);
        }
    }

    /// Why the process at the claimed pid is not the one that is meant.
    fn refusal(&self, index: AgentIndex, guard: &StartGuard, row: &ProcessRow, now: Now) -> Option<Replaced> {
        let started_at = now.wall - row.age;
        if let Some(refusal) = contradiction(guard, row.key, &self.boot, started_at, row.kernel) {
            return Some(refusal);
        }
        // The agent's process of this pid ended; without a guard that fits, the next process of the same number is a
        // stranger.
        let run = self.agents[index.0].run.as_ref()?;
        let guarded = guard.start_ticks.is_some() || guard.started_at.is_some();
        let reused = run.boot == self.boot && run.root.pid == row.key.pid && run.root != row.key && !guarded;
        reused.then_some(Replaced::StartTicks)
    }

    fn means(&self, guard: &StartGuard, root: ProcessKey) -> bool {
        guard.start_ticks.is_none_or(|ticks| ticks == root.start_ticks)
            && guard.boot.as_deref().is_none_or(|boot| boot == &*self.boot)
    }

    /// The agent whose root has this pid.
    fn holder(&self, pid: Pid) -> Option<AgentIndex> {
        let key = self.forest.at(pid)?;
        let index = *self.roots.get(&key)?;
        (self.agents[index.0].root() == Some(key)).then_some(index)
    }

    /// From now on this process is the agent's root.
    fn begin_run(&mut self, index: AgentIndex, row: &ProcessRow, now: Now) {
        if let Err(error) = self.source.keep(row.key, Watch::Exit) {
            if !matches!(error, ReadError::Gone) {
                self.own.read_errors += 1;
            }
            return self.lost_sight(index, row.key.pid, Fact::Exited { status: None, seen: false }, now);
        }
        let started_at = now.wall - row.age;
        self.plant(index, row, now);
        let boot = Arc::clone(&self.boot);
        let agent = &mut self.agents[index.0];
        let first = agent.run.is_none() && agent.stored.restarts == 0;
        agent.run = Some(Run {
            root: row.key,
            boot,
            started_at,
            cpu_before_us: agent.tree.cpu.total(),
            peak_memory_bytes: None,
            last_memory_bytes: None,
            root_cpu: crate::model::Cpu::default(),
            others_us: 0,
            end: None,
            denied: Denied::No,
        });
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
    fn plant(&mut self, index: AgentIndex, row: &ProcessRow, now: Now) {
        let owner = Owner { agent: index, left: false };
        if self.forest.get(row.key).is_some() {
            for key in self.forest.move_below(row.key, owner) {
                self.adopt_shares(key, owner);
            }
        } else {
            let born = self.scanned_at.is_some_and(|at| row.age < now.mono.since(at));
            self.forest.insert(row, owner, now.wall - row.age, born);
            self.scan_all = true;
        }
        self.roots.insert(row.key, index);
        let agent = self.agent(index);
        agent.read_at = None;
        agent.due = true;
        self.early = Some(now.mono);
        self.changed = true;
    }

    /// A member came over from another account: what is still on its way below it comes along.
    fn adopt_shares(&mut self, key: ProcessKey, owner: Owner) {
        let Some(seen) = self.forest.get(key).and_then(|member| member.seen) else { return };
        let account = self.agents[owner.agent.0].account(owner.left);
        account.cpu.adopt(&seen.cpu);
        if let Some((read, written)) = &seen.io {
            account.read.adopt(read);
            account.written.adopt(written);
        }
    }

    /// Goes on with the run that the last daemon watched, if its root still lives.
    pub(super) fn resume_run(&mut self, index: AgentIndex, row: &RunRow, now: Now) {
        let agent = self.agent(index);
        // The word of a registry goes into the database when it comes: the last daemon has told of this one.
        let told = agent.stored.registry_status.as_deref().is_some_and(|status| !is_expected(status));
        let denied = if told { Denied::Told } else { Denied::No };
        agent.run = Some(Run {
            root: row.root,
            boot: Arc::clone(&row.boot),
            started_at: row.started_at,
            cpu_before_us: agent.tree.cpu.total().saturating_sub(row.cpu_us),
            peak_memory_bytes: row.peak_memory_bytes,
            last_memory_bytes: row.last_memory_bytes,
            root_cpu: row.root_cpu,
            others_us: row.others_us,
            end: None,
            denied,
        });
        if let Some(end) = &row.end {
            let run = agent.run.as_mut().expect("just set");
            run.end(end.status, now);
            let known = run.end.as_mut().expect("just set");
            known.at = end.at;
            known.reason = Some(Arc::clone(&end.reason));
            return agent.observe(Fact::Exited { status: end.status, seen: true }, now);
        }
        let alive = if row.boot == self.boot { self.source.look(row.root.pid).ok() } else { None };
        let alive = alive.filter(|found| found.key == row.root && found.state != ProcessState::Zombie);
        let kept = alive.filter(|found| self.source.keep(found.key, Watch::Exit).is_ok());
        let Some(found) = kept else {
            return self.end_run(index, row.root, None, Some("unobserved"), now);
        };
        self.plant(index, &found, now);
        if let Ok(reading) = self.source.read(found.key, false) {
            let before = row.root_cpu;
            let agent = self.agent(index);
            agent.tree.cpu.add(while_away(
                reading.cpu.own_us,
                before.own_us,
                reading.cpu.children_us,
                before.children_us,
                row.others_us,
            ));
        }
        self.agent(index).observe(Fact::Running, now);
    }

    /// Takes in what the kernel told of processes since the last step.
    pub(super) fn take_events(&mut self, now: Now) {
        let mut events = std::mem::take(&mut self.events);
        self.source.drain(&mut events);
        let exits: Vec<(ProcessKey, Option<ExitStatus>)> = events
            .iter()
            .filter_map(|event| match event {
                ProcessEvent::Exited { process, status } => Some((*process, *status)),
                _ => None,
            })
            .collect();
        // A last reading while the dead can still be read: zombies keep their counters.
        let mut last_readings = false;
        for (process, _) in &exits {
            if let Some(index) = self.roots.get(process).copied() {
                let agent = self.agent(index);
                if agent.root() == Some(*process) {
                    agent.due = true;
                    last_readings = true;
                }
            }
        }
        if last_readings {
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
                ProcessEvent::Forked { parent, child } => self.take_fork(parent, child, now),
                ProcessEvent::Execed(pid) => self.take_exec(pid),
                ProcessEvent::Lost => self.scan_all = true,
                ProcessEvent::Exited { .. } => {}
            }
        }
        self.events = events;
    }

    /// A child of a member is a member, whether or not it is ever read.
    fn take_fork(&mut self, parent: Pid, child: Pid, now: Now) {
        let Some(owner) = self.forest.at(parent).and_then(|key| self.forest.get(key)).map(|member| member.owner) else {
            return;
        };
        if let Ok(row) = self.source.look(child)
            && self.forest.get(row.key).is_none()
            && self.source.keep(row.key, Watch::Counters).is_ok()
        {
            self.forest.insert(&row, owner, now.wall - row.age, true);
        }
    }

    /// A member that became another program has another name.
    fn take_exec(&mut self, pid: Pid) {
        if let Some(key) = self.forest.at(pid)
            && let Ok(row) = self.source.look(pid)
            && let Some(member) = self.forest.get_mut(key)
        {
            member.name = row.name;
        }
    }

    /// The root process ended, or the run is over for another reason: what is left of its tree is leftovers.
    pub(super) fn end_run(
        &mut self,
        index: AgentIndex,
        root: ProcessKey,
        status: Option<ExitStatus>,
        reason: Option<&str>,
        now: Now,
    ) {
        let row = self.source.look(root.pid).ok().filter(|row| row.key == root);
        let zombie = row.is_some_and(|row| row.state == ProcessState::Zombie);
        let agent = self.agent(index);
        let Some(run) = agent.run.as_mut().filter(|run| run.root == root) else { return };
        let first = run.end.is_none();
        run.end(status, now);
        let status = run.end.as_ref().and_then(|end| end.status);
        let superseded = reason == Some("superseded");
        if !superseded {
            let gone = if zombie { Fact::Zombie(status) } else { Fact::Exited { status, seen: true } };
            agent.observe(gone, now);
        }
        agent.metrics.cpu_percent = None;
        agent.metrics.memory_bytes = None;
        agent.metrics.process_count = None;
        agent.metrics.thread_count = None;
        agent.read_at = None;
        agent.view = None;
        self.changed = true;
        if first {
            self.leave_behind(index, root, superseded);
        }
        match reason {
            Some(reason) => {
                let end = self.agent(index).run.as_mut().and_then(|run| run.end.as_mut()).expect("just ended");
                end.reason = Some(reason.into());
                self.batch.runs.extend(self.agents[index.0].run_row());
                let reason_event = format!("run_{reason}");
                let message = format!("the run of process {} is over: {reason}", root.pid);
                self.tell(index, warning(&reason_event, &message), now);
            }
            None if status.is_some() => self.tell_end(index, now),
            None => {}
        }
    }

    /// The tree of an ended root goes on as leftovers, on an account of its own.
    fn leave_behind(&mut self, index: AgentIndex, root: ProcessKey, root_lives: bool) {
        let tree = Owner { agent: index, left: false };
        let left = Owner { agent: index, left: true };
        let keys: Vec<ProcessKey> = self
            .forest
            .iter()
            .filter(|(key, member)| member.owner == tree && (root_lives || *key != root))
            .map(|(key, _)| key)
            .collect();
        for key in keys {
            self.forest.get_mut(key).expect("just seen").owner = left;
            self.adopt_shares(key, left);
        }
        if root_lives {
            self.roots.remove(&root);
        }
    }

    /// Tells the ends whose cause did not come in time.
    pub(super) fn tell_overdue_ends(&mut self, now: Now) {
        let overdue: Vec<AgentIndex> = self
            .roots
            .values()
            .copied()
            .filter(|index| {
                let end = self.agents[index.0].run.as_ref().and_then(|run| run.end.as_ref());
                end.is_some_and(|end| end.reason.is_none() && end.deadline <= now.mono)
            })
            .collect();
        for index in overdue {
            self.tell_end(index, now);
        }
    }

    /// Tells the end of a run, once.
    fn tell_end(&mut self, index: AgentIndex, now: Now) {
        let agent = self.agent(index);
        let ended_on_request = agent
            .claim
            .as_ref()
            .and_then(|claim| claim.record.status.as_deref())
            .is_some_and(|status| !is_expected(status));
        let Some(run) = agent.run.as_mut() else { return };
        let root = run.root;
        let Some(end) = run.end.as_mut().filter(|end| end.reason.is_none()) else { return };
        let status = end.status;
        let orderly = ended_on_request || status.is_some_and(ExitStatus::is_orderly);
        let word = if orderly { "stopped" } else { "error" };
        end.reason = Some(word.into());
        let row = agent.run_row().expect("there is a run");
        let oom_killed = row.end.as_ref().and_then(|end| end.oom_killed);
        self.batch.runs.push(row);
        let totals = self.agent(index).totals(now);
        self.batch.agents.push(totals);
        let how = status.map_or_else(|| "how is not known".to_owned(), |status| status.to_string());
        let (code, signal) = match status {
            Some(ExitStatus::Code(code)) => (Some(code), None),
            Some(ExitStatus::Signal(_)) => (None, status.and_then(ExitStatus::signal_name)),
            None => (None, None),
        };
        let facts = [
            ("reason", word.into()),
            ("pid", root.pid.get().into()),
            ("exit_code", code.into()),
            ("exit_signal", signal.into()),
            ("oom_killed", oom_killed.into()),
        ];
        self.tell(index, event(word, &format!("process {} ended: {how}", root.pid), facts), now);
        if self.forest.get(root).is_none() {
            self.roots.remove(&root);
            self.source.release(root);
        }
    }

    /// The root's place in the tree is gone: it was reaped. Its cause may still be on its way.
    pub(super) fn root_vanished(&mut self, index: AgentIndex, root: ProcessKey, now: Now) {
        if self.agents[index.0].root() == Some(root) {
            self.end_run(index, root, None, None, now);
        }
        let agent = self.agent(index);
        if let Fact::Zombie(status) = agent.fact {
            agent.observe(Fact::Exited { status, seen: true }, now);
        }
        let told = agent
            .run
            .as_ref()
            .is_none_or(|run| run.root != root || run.end.as_ref().is_some_and(|end| end.reason.is_some()));
        if told {
            self.roots.remove(&root);
            self.source.release(root);
        }
    }

    /// Writes a line about an agent into the journal.
    pub(super) fn tell(&mut self, index: AgentIndex, body: Body, now: Now) {
        let stored = &self.agents[index.0].stored;
        let entry = Entry { agent: Some((stored.number, stored.id.clone())), at: now.wall, body };
        self.batch.entries.push(entry);
    }
}
