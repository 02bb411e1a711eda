//! How a run ends, and what is told of it.

use crate::model::{ExitStatus, Now, ProcessKey, ProcessState};
use crate::process::ProcessSource;
use crate::tree::{AgentIndex, Baseline, Owner};
use crate::verdict::{Fact, is_expected};

use super::agent::End;
use super::{Monitor, event, warning};

/// The signal that the kernel kills with when memory is out: signal(7).
const SIGKILL: u8 = 9;

/// Whether the kernel killed a root for memory. `kills_before`: how many of its cgroup it had killed before.
fn oom_killed(
    processes: &mut dyn ProcessSource,
    root: ProcessKey,
    kills_before: Option<u64>,
    status: Option<ExitStatus>,
) -> Option<bool> {
    match status {
        Some(ExitStatus::Signal(SIGKILL)) => {
            processes.oom_kills(root).zip(kills_before).map(|(kills, before)| kills > before)
        }
        Some(_) => Some(false),
        None => None,
    }
}

impl Monitor {
    /// The root process ended, or the run is over for another reason: what is left of its tree is leftovers.
    pub(super) fn end_run(
        &mut self,
        index: AgentIndex,
        root: ProcessKey,
        status: Option<ExitStatus>,
        reason: Option<&str>,
        now: Now,
    ) {
        let Some(status) = self.cause_of_end(index, root, status, reason, now) else { return };
        let row = self.processes.look(root.pid).ok().filter(|row| row.key == root);
        let zombie = row.is_some_and(|row| row.state == ProcessState::Zombie);
        let agent = self.agent(index);
        let Some(run) = agent.run.as_mut().filter(|run| run.root == root) else { return };
        let first = run.end.is_none();
        let told_without = run.end.as_ref().is_some_and(|end| end.reason.is_some() && end.status.is_none());
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
        agent.growth = None;
        agent.view = None;
        self.changed = true;
        if first {
            self.ending.push(index);
            self.leave_behind(index, root, superseded);
            if reason.is_none() {
                self.note_host(now);
            }
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
            None if told_without && status.is_some() => self.learn_cause(index),
            None if status.is_some() => self.tell_end(index, now),
            None => {}
        }
    }

    /// The tree of an ended root goes on as leftovers, on an account of its own.
    fn leave_behind(&mut self, index: AgentIndex, root: ProcessKey, root_lives: bool) {
        let (tree, leftovers) = (Owner::tree(index), Owner::leftovers(index));
        let members = self.forest.of(tree).map(|(key, _)| key);
        let keys: Vec<ProcessKey> = members.filter(|key| root_lives || *key != root).collect();
        self.unsaved.push(index);
        let agent = self.agent(index);
        agent.leftovers_told = false;
        let since = agent.run.as_ref().and_then(|run| run.end.as_ref()).map(|end| end.at).unwrap_or_default();
        self.move_late(&keys, tree, leftovers);
        for key in keys {
            let member = self.forest.get_mut(key).expect("just seen");
            member.owner = leftovers;
            // Of one that was not read yet it shows at its first reading.
            let used = member.seen.map(|seen| seen.cpu.last().own + seen.cpu.last().children);
            member.baseline = used.map(|used_before_us| Baseline { since, used_before_us, noted: false });
        }
        if root_lives {
            self.roots.remove(&root);
        }
    }

    /// Tells the ends whose cause did not come in time.
    pub(super) fn tell_overdue_ends(&mut self, now: Now) {
        self.ending.retain(|index| self.agents[index.0].awaited().is_some());
        let is_overdue = |end: &End| end.deadline <= now.mono;
        let overdue =
            self.ending.iter().copied().filter(|index| self.agents[index.0].awaited().is_some_and(is_overdue));
        for index in overdue.collect::<Vec<_>>() {
            self.tell_end(index, now);
        }
    }

    /// Tells the end of a run, once.
    pub(super) fn tell_end(&mut self, index: AgentIndex, now: Now) {
        let agent = &mut self.agents[index.0];
        let ended_on_request = agent
            .claim
            .as_ref()
            .and_then(|claim| claim.record.status.as_deref())
            .is_some_and(|status| !is_expected(status));
        let Some(run) = agent.run.as_mut() else { return };
        let (root, kills_before) = (run.root, run.oom_kills);
        let Some(end) = run.end.as_mut().filter(|end| end.reason.is_none()) else { return };
        end.status = end.status.or(agent.program.take().and_then(|program| program.launcher));
        let status = end.status;
        end.oom_killed = oom_killed(&mut *self.processes, root, kills_before, status);
        let orderly = ended_on_request || status.is_some_and(ExitStatus::is_orderly);
        let word = if orderly { "stopped" } else { "error" };
        end.reason = Some(word.into());
        if !orderly {
            agent.crashes.note(1, now.mono);
        }
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
            self.processes.release(root);
        }
    }

    /// A cause that comes after the end was told without it: its parent waited for it at last. The row has it then.
    fn learn_cause(&mut self, index: AgentIndex) {
        let agent = &mut self.agents[index.0];
        let Some(run) = agent.run.as_mut() else { return };
        let (root, kills_before) = (run.root, run.oom_kills);
        if let Some(end) = &mut run.end {
            end.oom_killed = oom_killed(&mut *self.processes, root, kills_before, end.status);
        }
        self.batch.runs.extend(agent.run_row());
    }

    /// The root's place in the tree is gone: it was reaped. Its cause may still be on its way.
    pub(super) fn root_vanished(&mut self, index: AgentIndex, root: ProcessKey, now: Now) {
        if self.agents[index.0].root() == Some(root) {
            self.end_run(index, root, None, None, now);
        }
        let agent = self.agent(index);
        // Another process may be claimed by now, and be a zombie itself.
        let meant = agent.claimed_pid().is_none_or(|pid| pid == root.pid);
        if let Fact::Zombie(status) = agent.fact
            && meant
        {
            agent.observe(Fact::Exited { status, seen: true }, now);
        }
        let told = agent
            .run
            .as_ref()
            .is_none_or(|run| run.root != root || run.end.as_ref().is_some_and(|end| end.reason.is_some()));
        if told {
            self.roots.remove(&root);
            self.processes.release(root);
        }
    }
}
