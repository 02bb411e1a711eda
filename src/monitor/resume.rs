//! Where the last daemon stopped, and what is written down for the next one.
//!
//! Sums go with the members that they were made of, all of one moment: so the first pass of a daemon is an ordinary pass
//! over the processes that the last one knew, after a long time. An account is written down every minute, and whenever
//! processes change from one to another: what is charged later to either would else be charged to both.

use std::sync::Arc;

use crate::alerts::CRASH_WINDOW;
use crate::model::{
    AccountRow, Balance, Io, MemberRow, Mono, Now, ProcessKey, ProcessRow, ProcessState, Resume, ResumedAgent, RunRow,
    Sums, Timestamp,
};
use crate::process::Watch;
use crate::tree::{AgentIndex, Owner};
use crate::verdict::{Fact, is_expected};

use super::Monitor;
use super::account::{Account, member_row, seen_before};
use super::runs::{ClaimedEnded, Run};

impl Monitor {
    /// Takes over what the last daemon knew.
    pub(super) fn resume(&mut self, resume: Resume, now: Now) {
        let mut members = Vec::new();
        let mut runs = Vec::new();
        for known in resume.agents {
            let index = self.admit(known.agent.clone());
            self.count_errors(&[(known.agent.number, known.unresolved)]);
            self.resume_account(index, &known);
            members.extend(known.account.into_iter().flat_map(|account| self.of_this_boot(index, account)));
            runs.extend(known.run.map(|row| (index, row)));
        }
        // Of two that had one pid, the younger has it.
        members.sort_by_key(|(_, row, _)| row.process);
        let mut gone = Vec::new();
        for (index, row, read_at) in members {
            let lives = self.resume_member(index, &row, read_at, now);
            gone.extend((!lives).then_some(row.process));
        }
        for row in resume.leftovers {
            self.resume_leftover(row, now);
        }
        gone.into_iter().for_each(|process| self.forest.release_pid(process));
        let ended: Vec<_> = runs
            .into_iter()
            .filter_map(|(index, row)| self.resume_run(index, &row, now).map(|root| (index, root)))
            .collect();
        self.catch_up(now);
        for (index, root) in ended {
            self.end_run_unobserved(index, root, now);
        }
        for stored in resume.alerts {
            if let Some(state) = stored.state {
                self.alerts.insert(stored.key, state);
            }
        }
        // The last one comes first, and of too many the first to be noted are forgotten.
        for (number, ended_at) in resume.crashes.into_iter().rev() {
            let index = self.agents.of_number(number);
            if let Some(index) = index.filter(|_| now.wall.since(ended_at) < CRASH_WINDOW) {
                self.agent(index).crashes.note(1, ago(ended_at, now));
            }
        }
        self.let_writers_go(now);
        self.end_orphaned_alerts(now);
    }

    /// Goes on with an agent's sums: from what goes with its members, but from no less than was shown.
    fn resume_account(&mut self, index: AgentIndex, known: &ResumedAgent) {
        let io = known.sampled_io.unwrap_or_default();
        let cpu_us = known.agent.cpu_us.max(known.sampled_cpu_us.unwrap_or(0));
        let io = Io {
            read_bytes: known.agent.io.read_bytes.max(io.read_bytes),
            written_bytes: known.agent.io.written_bytes.max(io.written_bytes),
        };
        let same_boot = known.account.as_ref().is_some_and(|row| row.boot == self.boot);
        let held = |sums: Sums| if same_boot { sums } else { settled(sums) };
        let agent = &mut self.agents[index];
        let (tree, leftovers) = known
            .account
            .as_ref()
            .map_or_else(|| (agent.tree.account.sums(), Sums::default()), |row| (held(row.tree), held(row.leftovers)));
        agent.tree.account = Account::resume(&tree, cpu_us, io);
        if leftovers != Sums::default() {
            agent.usage(true).account = Account::resume(&leftovers, 0, Io::default());
        }
    }

    /// The members of an account, unless the machine was started again, and when the last of them can have begun.
    fn of_this_boot(&mut self, index: AgentIndex, account: AccountRow) -> Vec<(AgentIndex, MemberRow, Mono)> {
        if account.boot != self.boot || account.members.is_empty() {
            return Vec::new();
        }
        self.scans.resume(account.scanned_at);
        account.members.into_iter().map(|row| (index, row, account.scanned_at)).collect()
    }

    /// Takes in a process that the last daemon knew, whether or not it still lives: the next pass lets it go if not.
    /// Whether it does.
    fn resume_member(&mut self, index: AgentIndex, row: &MemberRow, read_at: Mono, now: Now) -> bool {
        let found = self.look_at(row.process);
        let lives = found.is_some();
        let found = found.unwrap_or_else(|| ProcessRow {
            key: row.process,
            parent: None,
            group: None,
            session: None,
            state: ProcessState::Zombie,
            kernel: false,
            name: "".into(),
            uid: None,
            age: now.mono.since(read_at),
        });
        let owner = Owner { agent: index, leftover: row.leftover };
        self.forest.insert(&found, owner, now.wall, row.born);
        // One that is gone cannot be kept, and is found gone when it is read.
        let _ = self.processes.keep(row.process, Watch::Counters);
        let member = self.forest.get_mut(row.process).expect("just put in");
        member.parent = row.parent;
        member.seen = seen_before(row, read_at);
        lives
    }

    /// Goes on with the run that the last daemon watched, if its root still lives. Returns the root of one that ended
    /// meanwhile.
    fn resume_run(&mut self, index: AgentIndex, row: &RunRow, now: Now) -> Option<ProcessKey> {
        let root = self.root_to_resume(index, row, now);
        let agent = self.agent(index);
        // The word of a registry goes into the database when it comes: the last daemon has told of this one.
        let told = agent.stored.registry_status.as_deref().is_some_and(|status| !is_expected(status));
        let claimed_ended = if told { ClaimedEnded::Told } else { ClaimedEnded::No };
        agent.run = Some(Run { claimed_ended, ..Run::resumed(root, row, agent.stored.cpu_us) });
        if let Some(end) = &row.end {
            let known = agent.run.as_mut().expect("just set").note_end(end.status, now);
            known.at = end.at;
            known.oom_killed = end.oom_killed;
            known.reason = Some(Arc::clone(&end.reason));
            agent.observe(Fact::Exited { status: end.status, seen: true }, now);
            return None;
        }
        let alive = if row.boot == self.boot { self.alive(root) } else { None };
        let kept = alive.filter(|found| self.processes.keep(found.key, Watch::Exit).is_ok());
        let Some(found) = kept else { return Some(root) };
        if self.forest.get(root).is_some() {
            self.roots.by_key.insert(root, index);
        } else {
            self.plant(index, &found, now);
        }
        let oom_kills = self.processes.oom_kills(found.key);
        let agent = self.agent(index);
        if let Some(run) = &mut agent.run {
            run.oom_kills = oom_kills;
        }
        agent.observe(Fact::Running, now);
        None
    }

    /// The pass that the last daemon did not come to: what its members used since, and what became of them.
    fn catch_up(&mut self, now: Now) {
        if self.forest.is_empty() {
            return;
        }
        self.due.fill(true);
        self.discover(now);
        self.read_due(true, now);
        // A rate over the time in which nobody looked is none of now.
        for index in self.agents.indices() {
            self.agents[index].read_at = None;
            self.outcome.unsaved.push(index);
        }
    }

    /// Writes down the accounts of agents that changed, with their members: where agents nest, those of all, since what
    /// one took may come up in another's.
    pub(super) fn save_accounts(&mut self, now: Now) {
        if self.outcome.unsaved.is_empty() {
            return;
        }
        let mut unsaved = std::mem::take(&mut self.outcome.unsaved);
        if self.nested {
            unsaved.extend(self.agents.indices().filter(|index| self.agents[*index].nests));
        }
        unsaved.sort_unstable();
        unsaved.dedup();
        for index in unsaved {
            let agent = &self.agents[index];
            if agent.run.is_none() && agent.leftovers.is_none() {
                continue;
            }
            // As many as the last pass has seen: thousands of agents have one each.
            let mut members = Vec::with_capacity(agent.count_members());
            members.extend(self.forest.all_of(index).map(|(key, member)| member_row(key, member)));
            self.outcome.batch.accounts.push(AccountRow {
                agent: agent.stored.number,
                boot: Arc::clone(&self.boot),
                scanned_at: self.scans.known_until.unwrap_or(now.mono),
                tree: agent.tree.account.sums(),
                leftovers: agent.leftovers.as_ref().map(|usage| usage.account.sums()).unwrap_or_default(),
                members,
            });
        }
    }
}

/// Sums of which nothing can arrive any more.
fn settled(sums: Sums) -> Sums {
    let settled = |sum: Balance| Balance { coming: 0, ..sum };
    Sums {
        cpu_us: settled(sums.cpu_us),
        read_bytes: settled(sums.read_bytes),
        written_bytes: settled(sums.written_bytes),
    }
}

/// A moment of an earlier daemon's, on this one's clock.
pub(super) fn ago(then: Timestamp, now: Now) -> Mono {
    now.mono - now.wall.since(then)
}
