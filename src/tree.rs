//! Which process belongs to which agent.
//!
//! A child of a member is a member. A process whose parent is not one belongs to the agent whose member leads or led its
//! session or process group. Nothing else is guessed. Once a member, always a member, whatever becomes of its parent.
//!
//! The monitor's own process is never a member, and what descends from it is nobody's unless it is an agent itself: an
//! agent that started the monitor is not charged for being watched.

mod ancestry;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

pub(crate) use ancestry::{Ancestors, Changes};

use crate::ledger::Share;
use crate::model::{Mono, Pid, ProcessKey, ProcessRow, ProcessState, Timestamp};

/// How many members that are gone are remembered.
const FORMER: usize = 65_536;

/// No process is older than the first.
const OLDEST: ProcessKey = ProcessKey { start_ticks: 0, pid: Pid::FIRST };

/// An agent's place in the monitor's list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct AgentIndex(pub usize);

/// Whose a member is, and on which of its accounts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Owner {
    /// The agent.
    pub(crate) agent: AgentIndex,
    /// Whether the agent's root ended before it.
    pub(crate) leftover: bool,
}

impl Owner {
    /// Of a member of the agent's tree.
    pub(crate) const fn tree(agent: AgentIndex) -> Owner {
        Owner { agent, leftover: false }
    }

    /// Of a process that outlived the agent.
    pub(crate) const fn leftovers(agent: AgentIndex) -> Owner {
        Owner { agent, leftover: true }
    }
}

/// A process of some agent's.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Member {
    /// Whose it is.
    pub(crate) owner: Owner,
    /// Its parent when it was last looked at.
    pub(crate) parent: Option<Pid>,
    /// Its session and its process group when it was last looked at: see [`Forest::set_groups`].
    pub(crate) groups: [Option<Pid>; 2],
    /// Its short name.
    pub(crate) name: Box<str>,
    /// The account it runs under.
    pub(crate) uid: Option<u32>,
    /// When it started.
    pub(crate) started_at: Timestamp,
    /// Whether all it used was used in this tree.
    pub(crate) born: bool,
    /// What the last reading showed; none before the first.
    pub(crate) seen: Option<Seen>,
    /// What it is measured from as a leftover; none while it is none.
    pub(crate) baseline: Option<Baseline>,
}

/// What a leftover is measured from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Baseline {
    /// When its agent ended.
    pub(crate) since: Timestamp,
    /// What it had used by then, and its children: taken off what it has now, microseconds.
    pub(crate) used_before_us: u64,
    /// Whether it was seen alive afterwards, and written down.
    pub(crate) noted: bool,
}

/// What readings of a member showed.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Seen {
    /// When the last one was.
    pub(crate) read_at: Mono,
    /// What it was doing.
    pub(crate) state: ProcessState,
    /// Resident memory, bytes.
    pub(crate) rss_bytes: u64,
    /// Its threads; none where the system does not tell.
    pub(crate) threads: Option<u32>,
    /// What it used itself since the reading before, percent of one core; none at the first.
    pub(crate) cpu_percent: Option<f64>,
    /// Its part in the ledger of processor time, microseconds.
    pub(crate) cpu: Share,
    /// Its parts in the ledgers of storage I/O, bytes read and written; none until they could be read.
    pub(crate) io: Option<(Share, Share)>,
}

/// A member that is gone.
#[derive(Clone, Copy, Debug)]
struct Former {
    agent: AgentIndex,
    /// Whether a regular pass has ended since.
    old: bool,
}

/// Every member of every agent, oldest first.
#[derive(Default, Debug)]
pub(crate) struct Forest {
    /// Boxed: they come in ascending order, which leaves half of each of the map's nodes empty.
    members: BTreeMap<ProcessKey, Box<Member>>,
    /// The same by agent.
    by_agent: BTreeSet<(AgentIndex, ProcessKey)>,
    by_pid: HashMap<Pid, ProcessKey>,
    /// Members that are gone. They may have led sessions or groups that live on: a leader's pid is not given away while
    /// its session or group lives, so the number still means the same as long as a process names it.
    former: HashMap<Pid, Former>,
    /// How many members are in the session of this number, or in the process group.
    in_group: HashMap<Pid, u32>,
    /// The monitor's own process.
    own: Option<Pid>,
    /// What descends from it, each with its start ticks.
    below_own: HashMap<Pid, u64>,
}

impl Forest {
    /// No members yet. `own`: the monitor's own process.
    pub(crate) fn new(own: Option<Pid>) -> Forest {
        Forest { own, ..Forest::default() }
    }

    /// The members, oldest first: the order in which they must be read.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ProcessKey, &Member)> {
        self.members.iter().map(|(key, member)| (*key, &**member))
    }

    /// The members, oldest first, to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = (ProcessKey, &mut Member)> {
        self.members.iter_mut().map(|(key, member)| (*key, &mut **member))
    }

    /// One member.
    pub(crate) fn get(&self, process: ProcessKey) -> Option<&Member> {
        self.members.get(&process).map(|member| &**member)
    }

    /// One member, to be changed.
    pub(crate) fn get_mut(&mut self, process: ProcessKey) -> Option<&mut Member> {
        self.members.get_mut(&process).map(|member| &mut **member)
    }

    /// The members of one owner, oldest first.
    pub(crate) fn of(&self, owner: Owner) -> impl Iterator<Item = (ProcessKey, &Member)> {
        self.all_of(owner.agent).filter(move |(_, member)| member.owner == owner)
    }

    /// The members of one agent, its leftovers among them, oldest first.
    pub(crate) fn all_of(&self, agent: AgentIndex) -> impl Iterator<Item = (ProcessKey, &Member)> {
        self.keys_of(agent).filter_map(|key| Some((key, self.get(key)?)))
    }

    /// The members of one agent, its leftovers among them, oldest first, to be changed.
    pub(crate) fn each_of(&mut self, agent: AgentIndex, mut change: impl FnMut(ProcessKey, &mut Member)) {
        for (_, key) in self.by_agent.range((agent, OLDEST)..).take_while(|(of, _)| *of == agent) {
            if let Some(member) = self.members.get_mut(key) {
                change(*key, member);
            }
        }
    }

    /// The agents that have members.
    pub(crate) fn agents(&self) -> impl Iterator<Item = AgentIndex> {
        let next = |from| self.by_agent.range((from, OLDEST)..).next().map(|(agent, _)| *agent);
        std::iter::successors(next(AgentIndex(0)), move |agent| next(AgentIndex(agent.0 + 1)))
    }

    /// Whether an agent has members.
    pub(crate) fn has_members(&self, agent: AgentIndex) -> bool {
        self.keys_of(agent).next().is_some()
    }

    fn keys_of(&self, agent: AgentIndex) -> impl Iterator<Item = ProcessKey> {
        self.by_agent.range((agent, OLDEST)..).take_while(move |(of, _)| *of == agent).map(|(_, key)| *key)
    }

    /// The member that has this pid now.
    pub(crate) fn at(&self, pid: Pid) -> Option<ProcessKey> {
        self.by_pid.get(&pid).copied()
    }

    /// Whose the process of this pid is, or was when it was last heard of. What an ended one started afterwards is still its
    /// agent's; whether it is a leftover is the agent's state, which the caller knows.
    pub(crate) fn last_owner(&self, pid: Pid) -> Option<Owner> {
        self.owner_at(pid).or_else(|| self.former.get(&pid).map(|former| Owner::tree(former.agent)))
    }

    /// A process that was an agent's and is gone before it could be looked at: what it started is the agent's too.
    pub(crate) fn remember(&mut self, pid: Pid, agent: AgentIndex) {
        if self.by_pid.contains_key(&pid) {
            return;
        }
        if self.former.len() >= FORMER {
            self.former.clear();
        }
        self.former.insert(pid, Former { agent, old: false });
    }

    /// A process of this number began and is gone again, and was an agent's: who had the number before is gone, too, noticed
    /// or not.
    pub(crate) fn remember_short_lived(&mut self, pid: Pid, agent: AgentIndex) {
        self.by_pid.remove(&pid);
        self.remember(pid, agent);
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Takes a process in. `now`: when the row was read; `born`: whether all it used was used in this tree.
    pub(crate) fn insert(&mut self, row: &ProcessRow, owner: Owner, now: Timestamp, born: bool) {
        let member = Member {
            owner,
            parent: row.parent,
            groups: [row.session, row.group],
            name: row.name.clone(),
            uid: row.uid,
            started_at: now - row.age,
            born,
            seen: None,
            baseline: None,
        };
        self.former.remove(&row.key.pid);
        self.by_pid.insert(row.key.pid, row.key);
        self.enter(member.groups);
        self.by_agent.insert((owner.agent, row.key));
        self.members.insert(row.key, Box::new(member));
    }

    /// A member is in another session or process group now: the numbers of those before may be free.
    pub(crate) fn set_groups(&mut self, process: ProcessKey, groups: [Option<Pid>; 2]) {
        let Some(member) = self.members.get_mut(&process) else { return };
        let before = std::mem::replace(&mut member.groups, groups);
        self.enter(groups);
        self.leave(before);
    }

    fn enter(&mut self, groups: [Option<Pid>; 2]) {
        for number in groups.into_iter().flatten() {
            *self.in_group.entry(number).or_default() += 1;
        }
    }

    fn leave(&mut self, groups: [Option<Pid>; 2]) {
        for number in groups.into_iter().flatten() {
            if let Entry::Occupied(mut count) = self.in_group.entry(number) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
        }
    }

    /// Lets a process that is gone go. Its pid is remembered, unless another process has it: it may have led a session or
    /// a group that lives on.
    pub(crate) fn remove(&mut self, process: ProcessKey) -> Option<Member> {
        let member = self.members.remove(&process)?;
        self.by_agent.remove(&(member.owner.agent, process));
        if self.by_pid.get(&process.pid) == Some(&process) {
            self.by_pid.remove(&process.pid);
            self.remember(process.pid, member.owner.agent);
        }
        self.leave(member.groups);
        Some(*member)
    }

    /// Nobody knows for how long this member has been gone: its number may be another's by now, or that of a session which
    /// another led since. As long as a living member is in its session or group, it is not.
    pub(crate) fn release_pid(&mut self, process: ProcessKey) {
        let Some(member) = self.members.get(&process) else { return };
        let agent = member.owner.agent;
        if self.by_pid.get(&process.pid) == Some(&process) {
            self.by_pid.remove(&process.pid);
            if self.in_group.contains_key(&process.pid) {
                self.remember(process.pid, agent);
            }
        }
    }

    /// At the end of a regular pass: forgets who was gone at the last one already and leads nothing that lives. By now all
    /// that it started was seen or told. Its number is free, and means whoever gets it next, even if that one is gone
    /// before anybody has seen it.
    pub(crate) fn forget_former(&mut self) {
        let in_group = &self.in_group;
        self.former.retain(|pid, former| in_group.contains_key(pid) || !std::mem::replace(&mut former.old, true));
    }

    /// Forgets an agent's former members.
    pub(crate) fn forget_former_of(&mut self, agent: AgentIndex) {
        self.former.retain(|_, former| former.agent != agent);
    }

    /// The agent that a process which is no member yet belongs to.
    fn owner_of(&self, row: &ProcessRow) -> Option<Owner> {
        if row.kernel || Some(row.key.pid) == self.own {
            return None;
        }
        let parent = row.parent.and_then(|pid| self.owner_at(pid));
        if parent.is_none() && self.is_below_own(row) {
            return None;
        }
        parent
            .or_else(|| row.session.and_then(|pid| self.last_owner(pid)))
            .or_else(|| row.group.and_then(|pid| self.last_owner(pid)))
    }

    /// Takes in all of `rows` that belong to some agent, parents before children; returns what it took in. `now` and `born`
    /// as for [`insert`](Forest::insert).
    pub(crate) fn adopt(
        &mut self,
        rows: &mut Vec<ProcessRow>,
        now: Timestamp,
        born: impl Fn(&ProcessRow) -> bool,
    ) -> Vec<ProcessKey> {
        rows.sort_unstable_by_key(|row| row.key);
        rows.retain(|row| !self.members.contains_key(&row.key));
        for row in rows.iter() {
            // A living process that is no member: whoever had its pid is over, noticed or not, and any session it led.
            self.former.remove(&row.key.pid);
            self.by_pid.remove(&row.key.pid);
            if self.below_own.get(&row.key.pid).is_some_and(|start_ticks| *start_ticks != row.key.start_ticks) {
                self.below_own.remove(&row.key.pid);
            }
        }
        let mut taken = Vec::new();
        loop {
            let before = (taken.len(), self.below_own.len());
            rows.retain(|row| {
                let Some(owner) = self.owner_of(row) else {
                    if self.is_below_own(row) {
                        self.below_own.insert(row.key.pid, row.key.start_ticks);
                    }
                    return true;
                };
                self.insert(row, owner, now, born(row));
                taken.push(row.key);
                false
            });
            // A second round only matters where a child sorts before its parent: started in the same clock tick.
            if (taken.len(), self.below_own.len()) == before || rows.is_empty() {
                if self.below_own.len() >= FORMER {
                    self.below_own.clear();
                }
                return taken;
            }
        }
    }

    /// Gives a member and all below it that had the same owner to another agent; returns those that moved.
    pub(crate) fn move_subtree(&mut self, root: ProcessKey, to: Owner) -> Vec<ProcessKey> {
        let Some(from) = self.members.get(&root).map(|member| member.owner) else { return Vec::new() };
        let mut moved = vec![root];
        for key in self.keys_of(from.agent).filter(|key| *key > root) {
            let member = &self.members[&key];
            let below = member.parent.and_then(|pid| self.at(pid)).is_some_and(|parent| moved.contains(&parent));
            if below && member.owner == from {
                moved.push(key);
            }
        }
        for key in &moved {
            self.by_agent.remove(&(from.agent, *key));
            self.by_agent.insert((to.agent, *key));
            self.members.get_mut(key).expect("just seen").owner = to;
        }
        moved
    }

    /// Whether a process descends from the monitor's own, also if what was in between has ended.
    fn is_below_own(&self, row: &ProcessRow) -> bool {
        let known = self.below_own.get(&row.key.pid) == Some(&row.key.start_ticks);
        known || row.parent.is_some_and(|pid| Some(pid) == self.own || self.below_own.contains_key(&pid))
    }

    /// Whose the member with this number is.
    pub(crate) fn owner_at(&self, pid: Pid) -> Option<Owner> {
        self.at(pid).map(|key| self.members[&key].owner)
    }
}

#[cfg(test)]
mod tests;
