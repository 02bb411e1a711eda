//! What the kernel tells of processes: forks, execs and ends.

use std::time::Duration;

use crate::model::{ExitStatus, Mono, Now, Pid, ProcessEvent, ProcessKey};
use crate::process::ReadError;

use super::Monitor;

/// Start times are read in hundredths of a second, and time passes between a fork and its reading.
const FORK_SLACK: Duration = Duration::from_millis(100);

impl Monitor {
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
            if let Some(index) = self.agent_of_root(*process) {
                self.due[index.0] = true;
                last_readings = true;
            }
        }
        if last_readings {
            // What a new root's children used before would come up in its counter later as if it were new.
            if self.scans.is_first_due() {
                self.discover(now);
            }
            self.read_due(true, now);
        }
        let connector = self.processes.tells_forks();
        for (process, status) in exits {
            let Some(index) = self.roots.by_key.get(&process).copied() else { continue };
            self.end_run(index, process, status, now);
            let run = self.agent(index).run.as_mut().filter(|run| run.root == process);
            let end = run.and_then(|run| run.end.as_mut()).filter(|_| status.is_none());
            let announced = end.is_some_and(|end| std::mem::replace(&mut end.announced, true));
            if announced && !connector {
                // Told twice without a status: there will be none. Who tells of forks may still know it, a moment later.
                self.tell_end(index, now);
            }
        }
        for event in events.drain(..) {
            match event {
                ProcessEvent::Forked { parent, child, at } => self.take_fork(parent, child, at, now),
                ProcessEvent::Execed(pid) => self.take_exec(pid),
                ProcessEvent::Lost => {
                    self.own.events_lost += 1;
                    self.scans.lose_events();
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

    /// A member that became another program has another name, and may run as somebody else.
    fn take_exec(&mut self, pid: Pid) {
        self.recognise_again(pid);
        if let Some(key) = self.forest.at(pid)
            && let Some(row) = self.look_at(key)
            && let Some(member) = self.forest.get_mut(key)
        {
            (member.name, member.uid) = (row.name, row.uid);
        }
    }
}
