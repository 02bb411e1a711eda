//! Who is a member of whose tree: found among all processes, made the root of one, or given over to another agent.

use crate::model::{Mono, Now, ProcessKey, ProcessRow, ProcessState};
use crate::process::{Scan, Watch};
use crate::tree::{AgentIndex, Owner};

use super::Monitor;

/// A full scan finds the tree of a new root as it is at that moment; what members that it found started before they
/// were kept is found by a second.
const FULL_SCANS: u8 = 2;

/// When processes were looked for, and how.
pub(super) struct Scans {
    /// How many of the next passes must look at every process: there is a new root, or events were lost.
    full: u8,
    /// Until when all that began is known: until the last scan, if nothing was lost; none before the first.
    pub known_until: Option<Mono>,
    /// When the last scan was.
    last: Option<Mono>,
    /// When the one before was: what was told by then is complete, even if events that came later were lost.
    before: Option<Mono>,
}

impl Scans {
    /// The last scan was the last daemon's, if it told of one; more than one say so.
    pub(super) fn resume(&mut self, at: Mono) {
        self.known_until = self.known_until.max(Some(at));
        self.last = self.known_until;
    }

    /// The next passes must look at every process.
    pub(super) fn look_at_all(&mut self) {
        self.full = FULL_SCANS;
    }

    /// Whether none of those passes has been made yet.
    pub(super) fn is_first_due(&self) -> bool {
        self.full == FULL_SCANS
    }

    /// Events were lost. They may be older than the last pass: events come a moment late, and so does the news of a loss.
    pub(super) fn lose_events(&mut self) {
        self.look_at_all();
        self.known_until = self.before.or(self.known_until);
    }

    fn note(&mut self, now: Now) {
        self.before = self.last.replace(now.mono);
        self.known_until = self.last;
    }
}

impl Default for Scans {
    fn default() -> Scans {
        Scans { full: FULL_SCANS, known_until: None, last: None, before: None }
    }
}

impl Monitor {
    /// Finds the processes that became members since the last pass.
    pub(super) fn discover(&mut self, now: Now) {
        let all = self.scans.full > 0 || self.is_searching();
        if !all && self.processes.tells_forks() {
            return self.scans.note(now);
        }
        let scope = if all { Scan::All } else { Scan::New };
        let mut rows = std::mem::take(&mut self.rows);
        match self.processes.scan(scope, &mut rows) {
            Ok(count) => {
                self.find_agents(&rows, now);
                self.own.reads_denied += count.denied;
                self.own.read_errors += count.failed;
                let since = self.scans.known_until.map(|at| now.mono.since(at));
                self.scans.note(now);
                self.scans.full = self.scans.full.saturating_sub(1);
                // What the last scan did not show began since; a first look at a whole tree goes by its age.
                let born = |row: &ProcessRow| scope == Scan::New || since.is_some_and(|since| row.age <= since);
                for key in self.forest.adopt(&mut rows, now.wall, born) {
                    self.keep_member(key);
                }
                if scope == Scan::All {
                    self.first_sight();
                    for index in self.forest.nested() {
                        self.nests(index);
                    }
                }
            }
            Err(error) => {
                self.own.read_errors += 1;
                tracing::warn!(%error, "cannot list the processes");
            }
        }
        rows.clear();
        self.rows = rows;
    }

    /// Takes down what those had that were already running when they were found, youngest first: one that ends before its
    /// turn was waited for before the turn of its parent, and what it burned in its life is in that one's counter by
    /// then, and not charged.
    fn first_sight(&mut self) {
        let new = self.forest.iter_mut().rev().filter(|(_, member)| !member.born && member.seen.is_none());
        for (key, member) in new {
            if let Ok(reading) = self.processes.read(key, true) {
                self.agents.account(member.owner).take(member, &reading);
            }
        }
    }

    /// This very process, dead or alive; none when it is gone or cannot be looked at.
    pub(super) fn look_at(&mut self, process: ProcessKey) -> Option<ProcessRow> {
        self.processes.look(process.pid).ok().filter(|row| row.key == process)
    }

    /// The same if it lives.
    pub(super) fn alive(&mut self, process: ProcessKey) -> Option<ProcessRow> {
        self.look_at(process).filter(|row| row.state != ProcessState::Zombie)
    }

    /// Makes a process a member. One that began since the last scan has used all that it used where it is now.
    pub(super) fn insert_member(&mut self, row: &ProcessRow, owner: Owner, now: Now) {
        let born = self.scans.known_until.is_some_and(|at| row.age <= now.mono.since(at));
        self.forest.insert(row, owner, now.wall, born);
    }

    /// Has a new member read from now on, if it still lives. What an agent has without a root is left over.
    pub(super) fn keep_member(&mut self, key: ProcessKey) {
        let Some(member) = self.forest.get_mut(key) else { return };
        if self.agents[member.owner.agent].root().is_none() {
            member.owner.leftover = true;
        }
        if self.processes.keep(key, Watch::Counters).is_err() {
            // Gone already; if somebody waited for it, its parent's counter has it.
            self.forest.remove(key);
        }
    }

    /// Takes a process into an agent's tree that need not hang there. False when it is gone.
    pub(super) fn take_in(&mut self, row: &ProcessRow, owner: Owner, watch: Watch, now: Now) -> bool {
        if self.processes.keep(row.key, watch).is_err() {
            return false;
        }
        if self.forest.get(row.key).is_none() {
            self.insert_member(row, owner, now);
        }
        true
    }

    /// Makes a process the root of an agent's tree; what hangs below it is found by the next pass.
    pub(super) fn plant(&mut self, index: AgentIndex, row: &ProcessRow, now: Now) {
        let owner = Owner::tree(index);
        self.outcome.unsaved.push(index);
        if self.forest.get(row.key).is_some() {
            self.regroup(row.key, owner, now);
        } else {
            self.insert_member(row, owner, now);
            self.scans.look_at_all();
        }
        self.roots.by_key.insert(row.key, index);
        if let Some(outer) = self.agent_above(row.key).filter(|outer| *outer != index) {
            self.nests(outer);
            self.nests(index);
        }
        let agent = self.agent(index);
        agent.read_at = None;
        self.due[index.0] = true;
        self.early = Some(now.mono);
        self.outcome.changed = true;
    }

    /// Whose member the parent of a process is.
    fn agent_above(&self, process: ProcessKey) -> Option<AgentIndex> {
        self.forest.owner_at(self.forest.get(process)?.parent?).map(|owner| owner.agent)
    }

    /// Gives a member and what is its agent's below it to another agent.
    pub(super) fn regroup(&mut self, root: ProcessKey, to: Owner, now: Now) {
        let Some(from) = self.forest.get(root).map(|member| member.owner) else { return };
        self.outcome.unsaved.extend([from.agent, to.agent]);
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

    /// An agent has members in another's tree, or another in its.
    pub(super) fn nests(&mut self, index: AgentIndex) {
        self.nested = true;
        self.agent(index).nests = true;
    }
}
