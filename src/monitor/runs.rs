//! How a run begins and ends, and what is told of it.

use std::sync::Arc;
use std::time::Duration;

use crate::model::{
    BootId, ExitStatus, MemoryMethod, Mono, Now, ProcessKey, ProcessRow, ProcessState, RunRow, Timestamp,
};
use crate::process::{ProcessSource, ReadError, Watch};
use crate::tree::{AgentIndex, Baseline, Owner};
use crate::verdict::Fact;

use super::Monitor;
use super::journal::event;

/// The signal that the kernel kills with when memory is out: signal(7).
const SIGKILL: u8 = 9;

/// How long the end of a run waits for the exit status before it is told without.
const STATUS_PATIENCE: Duration = Duration::from_secs(1);

/// One life of the root process.
#[derive(Clone, Debug)]
pub(super) struct Run {
    /// The root.
    pub root: ProcessKey,
    /// The root it began with, which names its row: the launcher of `root`, if that ended first.
    pub first: ProcessKey,
    /// The boot it lives in.
    pub boot: BootId,
    /// When it started.
    pub started_at: Timestamp,
    /// What the agent had used before this run, microseconds.
    pub cpu_before_us: u64,
    /// The most memory seen, bytes.
    pub peak_memory_bytes: Option<u64>,
    /// The memory seen last, bytes.
    pub last_memory_bytes: Option<u64>,
    /// How both were added up.
    pub memory_method: MemoryMethod,
    /// Kills for memory in its cgroup, when it was last alive.
    pub oom_kills: Option<u64>,
    /// Its end.
    pub end: Option<End>,
    /// Whether its registry says that it ended although it runs.
    pub claimed_ended: ClaimedEnded,
}

/// What became of a registry's word that a running agent has ended.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum ClaimedEnded {
    /// It says no such thing.
    #[default]
    No,
    /// It was seen once: the process may be about to end.
    Seen,
    /// It was told, once for this run.
    Told,
}

/// The end of a run, as far as it is known.
#[derive(Clone, Debug)]
pub(super) struct End {
    /// When we learned of it.
    pub at: Timestamp,
    /// How it ended.
    pub status: Option<ExitStatus>,
    /// Whether the kernel killed it for memory.
    pub oom_killed: Option<bool>,
    /// Whether the kernel told it once already, without the status.
    pub announced: bool,
    /// The word of the run's row; none until it is told.
    pub reason: Option<Arc<str>>,
    /// When it is told even without a status.
    pub deadline: Mono,
}

impl Monitor {
    /// From now on this process is the agent's root.
    pub(super) fn begin_run(&mut self, index: AgentIndex, row: &ProcessRow, now: Now) {
        if let Err(error) = self.processes.keep(row.key, Watch::Exit) {
            if !matches!(error, ReadError::Gone) {
                self.own.read_errors += 1;
            }
            return self.lose_sight(index, Fact::Exited { status: None, seen: false }, now);
        }
        let started_at = now.wall - row.age;
        self.plant(index, row, now);
        let boot = Arc::clone(&self.boot);
        let oom_kills = self.processes.oom_kills(row.key);
        let agent = &mut self.agents[index];
        // The number of one that was found is free again after its end: who gets it is somebody else.
        let first = agent.is_found() || agent.run.is_none() && agent.stored.restarts == 0;
        let run = Run::new(row.key, boot, started_at, agent.tree.account.cpu.total());
        agent.run = Some(Run { oom_kills, ..run });
        agent.observe(Fact::Running, now);
        if !first {
            agent.stored.restarts += 1;
        }
        self.write_run(index);
        self.write_agent(index, now);
        let word = if first { "started" } else { "restarted" };
        let message = format!("process {} ({}) is running", row.key.pid, row.name);
        self.tell(index, event(word, word, &message, [("pid", row.key.pid.get().into())]), now);
    }

    /// The root process ended; `status` says how, where that is known by now.
    pub(super) fn end_run(&mut self, index: AgentIndex, root: ProcessKey, status: Option<ExitStatus>, now: Now) {
        let Some(status) = self.cause_of_end(index, root, status, now) else { return };
        let Some(run) = self.agents[index].run.as_ref().filter(|run| run.root == root) else { return };
        let first = run.end.is_none();
        // Of one that was seen to be one a moment ago nobody else need be asked.
        let seen =
            self.forest.get(root).and_then(|member| member.seen).is_some_and(|seen| seen.state == ProcessState::Zombie);
        let zombie = first && seen || self.is_zombie(root);
        let agent = self.agent(index);
        let Some(run) = agent.run.as_mut() else { return };
        let told_without = run.end.as_ref().is_some_and(|end| end.reason.is_some() && end.status.is_none());
        let status = run.note_end(status, now).status;
        let fact = if zombie { Fact::Zombie(status) } else { Fact::Exited { status, seen: true } };
        if first || agent.fact != fact {
            agent.observe(fact, now);
            self.outcome.changed = true;
        }
        if first {
            self.roots.ending.push(index);
            self.leave_behind(index, root, false);
            self.note_host(now);
        }
        match status {
            Some(_) if told_without => self.learn_cause(index),
            Some(_) => self.tell_end(index, now),
            None => {}
        }
    }

    /// Another process is the agent now, or none is any more, while its root lives: that is a leftover then.
    pub(super) fn supersede_run(&mut self, index: AgentIndex, now: Now) {
        if let Some(root) = self.agents[index].root() {
            self.close_run(index, root, "superseded", now);
        }
    }

    /// The root ended while no daemon looked.
    pub(super) fn end_run_unobserved(&mut self, index: AgentIndex, root: ProcessKey, now: Now) {
        let zombie = self.is_zombie(root);
        let fact = if zombie { Fact::Zombie(None) } else { Fact::Exited { status: None, seen: true } };
        self.agent(index).observe(fact, now);
        self.close_run(index, root, "unobserved", now);
    }

    /// Ends the run of this root with a reason that is not the end of a process.
    fn close_run(&mut self, index: AgentIndex, root: ProcessKey, reason: &str, now: Now) {
        if let Some(run) = &mut self.agent(index).run {
            run.note_end(None, now).reason = Some(reason.into());
        }
        self.leave_behind(index, root, reason == "superseded");
        self.outcome.changed = true;
        // With what was shown of it, which until now may be known from its samples alone.
        self.write_agent(index, now);
        self.write_run(index);
        let message = format!("the run of process {} is over: {reason}", root.pid);
        self.warn(index, &format!("run_{reason}"), &message, now);
    }

    fn is_zombie(&mut self, process: ProcessKey) -> bool {
        self.look_at(process).is_some_and(|row| row.state == ProcessState::Zombie)
    }

    /// The tree of an agent whose run is over goes on as leftovers, on an account of its own.
    fn leave_behind(&mut self, index: AgentIndex, root: ProcessKey, root_lives: bool) {
        let (tree, leftovers) = (Owner::tree(index), Owner::leftovers(index));
        let members = self.forest.of(tree).map(|(key, _)| key);
        let keys: Vec<ProcessKey> = members.filter(|key| root_lives || *key != root).collect();
        self.outcome.unsaved.push(index);
        let agent = self.agent(index);
        agent.stop();
        let since = agent.end().map(|end| end.at).unwrap_or_default();
        self.move_late(&keys, tree, leftovers);
        for key in keys {
            let member = self.forest.get_mut(key).expect("just seen");
            member.owner = leftovers;
            // Of one that was not read yet it shows at its first reading.
            let used = member.seen.map(|seen| seen.cpu.had());
            member.baseline = used.map(|used_before_us| Baseline { since, used_before_us, noted: false });
        }
        if root_lives {
            self.roots.by_key.remove(&root);
        }
    }

    /// Tells the ends whose cause did not come in time.
    pub(super) fn tell_overdue_ends(&mut self, now: Now) {
        self.roots.ending.retain(|index| self.agents[*index].awaited().is_some());
        let is_overdue = |end: &End| end.deadline <= now.mono;
        let overdue =
            self.roots.ending.iter().copied().filter(|index| self.agents[*index].awaited().is_some_and(is_overdue));
        for index in overdue.collect::<Vec<_>>() {
            self.tell_end(index, now);
        }
    }

    /// Tells the end of a run, once.
    pub(super) fn tell_end(&mut self, index: AgentIndex, now: Now) {
        let agent = &mut self.agents[index];
        let ended_on_request = agent.is_claimed_ended();
        let Some(run) = &mut agent.run else { return };
        let root = run.root;
        let Some(end) = run.end.as_mut().filter(|end| end.reason.is_none()) else { return };
        end.status = end.status.or(agent.program.take().and_then(|program| program.launcher));
        let status = end.status;
        let orderly = ended_on_request || status.is_some_and(ExitStatus::is_orderly);
        let word = if orderly { "stopped" } else { "error" };
        end.reason = Some(word.into());
        let oom_killed = run.note_oom_kill(&mut *self.processes);
        if !orderly {
            agent.crashes.note(1, now.mono);
        }
        self.write_run(index);
        self.write_agent(index, now);
        let how = status.map_or_else(|| "how is not known".to_owned(), |status| status.to_string());
        let facts = [
            ("pid", root.pid.get().into()),
            ("exit_code", status.and_then(ExitStatus::code).into()),
            ("exit_signal", status.and_then(ExitStatus::signal_name).into()),
            ("oom_killed", oom_killed.into()),
        ];
        self.tell(index, event(word, word, &format!("process {} ended: {how}", root.pid), facts), now);
        if self.forest.get(root).is_none() {
            self.release_root(index, root, now);
        }
    }

    /// A cause that comes after the end was told without it: its parent waited for it at last. The row has it then.
    fn learn_cause(&mut self, index: AgentIndex) {
        if let Some(run) = &mut self.agents[index].run {
            run.note_oom_kill(&mut *self.processes);
        }
        self.write_run(index);
    }

    /// The root's place in the tree is gone: it was reaped. Its cause may still be on its way.
    pub(super) fn root_vanished(&mut self, index: AgentIndex, root: ProcessKey, now: Now) {
        if self.agents[index].root() == Some(root) {
            self.end_run(index, root, None, now);
        }
        let agent = self.agent(index);
        // Another process may be claimed by now, and be a zombie itself.
        let meant = agent.claimed_pid().is_none_or(|pid| pid == root.pid);
        if let Fact::Zombie(status) = agent.fact
            && meant
        {
            agent.observe(Fact::Exited { status, seen: true }, now);
        }
        let is_told = |run: &Run| run.end.as_ref().is_some_and(|end| end.reason.is_some());
        if agent.run.as_ref().is_none_or(|run| run.root != root || is_told(run)) {
            self.release_root(index, root, now);
        }
    }

    /// A root is gone, and its end was told. A cause that is not known may be on its way: who reads that the process is gone
    /// may be faster than who is told why.
    fn release_root(&mut self, index: AgentIndex, root: ProcessKey, now: Now) {
        let end = self.agents[index].run.as_ref().filter(|run| run.root == root).and_then(|run| run.end.as_ref());
        if end.is_some_and(|end| end.status.is_none()) {
            return self.roots.parting.push((root, now.mono + STATUS_PATIENCE));
        }
        self.roots.by_key.remove(&root);
        self.processes.release(root);
    }

    /// Lets roots go of whose ends nothing more was told.
    pub(super) fn release_parting(&mut self, now: Now) {
        let (roots, processes) = (&mut self.roots.by_key, &mut self.processes);
        self.roots.parting.retain(|(root, until)| {
            let stays = *until > now.mono;
            if !stays {
                roots.remove(root);
                processes.release(*root);
            }
            stays
        });
    }
}

impl Run {
    /// One that begins.
    pub(super) fn new(root: ProcessKey, boot: BootId, started_at: Timestamp, cpu_before_us: u64) -> Run {
        Run {
            root,
            first: root,
            boot,
            started_at,
            cpu_before_us,
            peak_memory_bytes: None,
            last_memory_bytes: None,
            memory_method: MemoryMethod::Rss,
            oom_kills: None,
            end: None,
            claimed_ended: ClaimedEnded::No,
        }
    }

    /// One that the last daemon watched. `total_us`: what the agent has used.
    pub(super) fn resumed(root: ProcessKey, row: &RunRow, total_us: u64) -> Run {
        Run {
            first: row.root,
            peak_memory_bytes: row.peak_memory_bytes,
            last_memory_bytes: row.last_memory_bytes,
            memory_method: row.memory_method,
            ..Run::new(root, Arc::clone(&row.boot), row.started_at, total_us.saturating_sub(row.cpu_us))
        }
    }

    /// Notes the end, which waits a moment for its cause.
    pub(super) fn note_end(&mut self, status: Option<ExitStatus>, now: Now) -> &mut End {
        let end = self.end.get_or_insert_with(|| End {
            at: now.wall,
            status: None,
            oom_killed: None,
            announced: false,
            reason: None,
            deadline: now.mono + STATUS_PATIENCE,
        });
        end.status = end.status.or(status);
        end
    }

    /// Takes down whether the kernel killed its root for memory, which a kill says if it has counted more of them in its
    /// cgroup than before. None: not known, as long as the cause is not.
    fn note_oom_kill(&mut self, processes: &mut dyn ProcessSource) -> Option<bool> {
        let end = self.end.as_mut()?;
        end.oom_killed = match end.status {
            Some(ExitStatus::Signal(SIGKILL)) => {
                processes.oom_kills(self.root).zip(self.oom_kills).map(|(kills, before)| kills > before)
            }
            Some(_) => Some(false),
            None => None,
        };
        end.oom_killed
    }
}
