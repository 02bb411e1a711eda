//! What members had that are gone: who may have waited for them, and in whose account it is expected to come up.
//!
//! While a parent lives nobody else can have waited for its child. An orphan's time may have gone to any of those that
//! were above it: they are asked, nearest first, whether their counters have grown by it. What none of them has yet may
//! come up in each.

use std::collections::HashMap;

use crate::model::{Now, Pid, ProcessKey, ProcessState};
use crate::tree::{Changes, Line, Member, Owner, Seen};

use super::Monitor;
use super::account::Counted;

/// What a pass found of those that end.
#[derive(Default)]
pub(super) struct Found {
    /// Members that are gone.
    pub gone: Vec<ProcessKey>,
    /// Members that have died below which something was late, as they were seen before.
    pub dead: Vec<(ProcessKey, Seen)>,
    /// The parents that others had before they were read.
    pub moved: HashMap<ProcessKey, Option<Pid>>,
}

/// A member that died, as it was seen before and now.
struct Dead {
    owner: Owner,
    before: Seen,
    now: Seen,
    line: Line,
}

/// What is to come up somewhere above.
struct Amount<'a> {
    /// In whose ledger it was charged, and is expected as far as it was late already.
    owner: Owner,
    /// What one had that just left.
    had: u64,
    /// What was late below it already.
    late: u64,
    /// Who was above.
    line: &'a Line,
}

impl Monitor {
    /// Lets members go that are gone.
    pub(super) fn let_go(&mut self, found: Found, io: bool, now: Now) {
        let Found { gone, dead, moved } = found;
        let mut members: Vec<(ProcessKey, Member)> = Vec::with_capacity(gone.len());
        for key in &gone {
            members.extend(self.forest.remove(*key).map(|member| (*key, member)));
        }
        let gone = members.iter().map(|(key, member)| (key.pid, member.parent)).collect();
        let since = Changes { gone, moved };
        let lines: Vec<Line> =
            members.iter().map(|(key, member)| self.forest.line(*key, member.parent, &since)).collect();
        let dead: Vec<Dead> = dead
            .into_iter()
            .filter_map(|(key, before)| {
                let member = self.forest.get(key)?;
                let parent = *since.moved.get(&key).unwrap_or(&member.parent);
                Some(Dead {
                    owner: member.owner,
                    before,
                    now: member.seen?,
                    line: self.forest.line(key, parent, &since),
                })
            })
            .collect();
        // Before any root's end makes leftovers of its tree: what came up in this pass is on the account of its tree.
        for counted in Counted::ALL {
            self.pass_on(counted, &members, &lines, &dead, counted.is_read(io));
        }
        for (key, member) in members {
            // What is written down of one that ended must not name its processes for ever.
            if member.owner.leftover || self.agents[member.owner.agent.0].root().is_none() {
                self.unsaved.push(member.owner.agent);
            }
            self.leftover_ended(key, &member, now);
            match self.roots.get(&key).copied() {
                Some(index) => self.root_vanished(index, key, now),
                None => self.processes.release(key),
            }
        }
    }

    /// Members came over to another account. What is late below them was charged before, and comes up there. Below several
    /// of them it may be the same: it is no more than what was expected where they come from.
    pub(super) fn move_late(&mut self, keys: &[ProcessKey], from: Owner, to: Owner) {
        for counted in Counted::ALL {
            let members = keys.iter().filter_map(|key| self.forest.get(*key)?.seen);
            let late: u64 = members.map(|mut seen| seen.share(counted).map_or(0, |share| share.late())).sum();
            if late > 0 {
                let expected = self.agents[from.agent.0].account(from.leftover).ledger(counted).expected();
                self.agents[to.agent.0].account(to.leftover).ledger(counted).expect(expected.min(late));
            }
        }
    }

    /// What only one can have waited for goes first: what came up there is nobody else's. `read`: whether the counters of
    /// those that live were read in this pass.
    fn pass_on(&mut self, counted: Counted, gone: &[(ProcessKey, Member)], lines: &[Line], dead: &[Dead], read: bool) {
        let mut amounts = Vec::new();
        for ((_, member), line) in gone.iter().zip(lines) {
            let Some(share) = member.seen.and_then(|mut seen| seen.share(counted).copied()) else { continue };
            let parent = line.members.first().filter(|above| Some(above.pid) == member.parent);
            let mut had = share.had();
            if let Some(parent) = parent.filter(|parent| self.waits_for_its_own(**parent)) {
                self.await_below(counted, *parent, std::mem::take(&mut had), read);
            }
            amounts.push(Amount { owner: member.owner, had, late: share.late(), line });
        }
        // What was late below one that died has come up there by now, or it died too soon to wait for it.
        for Dead { owner, before, now, line } in dead.iter().filter(|_| read) {
            let (mut before, mut now) = (*before, *now);
            if let (Some(before), Some(now)) = (before.share(counted), now.share(counted)) {
                let late = before.late().saturating_sub(now.last().children - before.last().children);
                amounts.push(Amount { owner: *owner, had: 0, late, line });
            }
        }
        for amount in amounts {
            self.hand_up(counted, &amount, read);
        }
    }

    /// Whether a member's turn was in this pass, and it can wait for its children: nobody else can have, then.
    fn waits_for_its_own(&self, process: ProcessKey) -> bool {
        let Some(member) = self.forest.get(process) else { return false };
        let lives = member.seen.is_some_and(|seen| seen.state != ProcessState::Zombie);
        lives && member.parent.is_some() && self.due[member.owner.agent.0]
    }

    /// Nobody but this member can have waited for so much. What its counter, if it was read, does not have comes later.
    fn await_below(&mut self, counted: Counted, process: ProcessKey, had: u64, read: bool) {
        let member = self.forest.get_mut(process).expect("a line is of members");
        let ledger = self.agents[member.owner.agent.0].account(member.owner.leftover).ledger(counted);
        let share = member.seen.as_mut().and_then(|seen| seen.share(counted));
        let Some(share) = share else { return ledger.expect(had) };
        let arrived = if read { share.explain(had) } else { 0 };
        share.inherit(had - arrived, true);
        if read {
            ledger.explain(arrived);
            ledger.expect_later(had - arrived);
        } else {
            ledger.expect(had);
        }
    }

    /// Looks among all above for those in whose counters an amount came up; what did not may come up in each.
    fn hand_up(&mut self, counted: Counted, amount: &Amount, read: bool) {
        let Amount { owner, mut had, mut late, line } = *amount;
        if had + late == 0 {
            return;
        }
        let mut heirs = Vec::new();
        for above in &line.members {
            let member = self.forest.get_mut(*above).expect("a line is of members");
            let agent = &mut self.agents[member.owner.agent.0];
            let read = read && self.due[member.owner.agent.0];
            // The dead have what they will ever have.
            let lives = member.seen.is_none_or(|seen| seen.state != ProcessState::Zombie);
            if lives || !read {
                heirs.push(*above);
            }
            let share = member.seen.as_mut().and_then(|seen| seen.share(counted));
            let Some(share) = share.filter(|_| read) else { continue };
            let (of_had, of_late) = (share.explain(had), share.explain(late));
            let elsewhere = if member.owner == owner { 0 } else { of_late };
            agent.account(member.owner.leftover).ledger(counted).explain(of_had + elsewhere);
            had -= of_had;
            late -= of_late;
        }
        let mut expecting = Vec::new();
        for heir in heirs {
            let member = self.forest.get_mut(heir).expect("a line is of members");
            if let Some(share) = member.seen.as_mut().and_then(|seen| seen.share(counted)) {
                share.inherit(had + late, false);
            }
            if !expecting.contains(&member.owner) {
                expecting.push(member.owner);
            }
        }
        if expecting.is_empty() && line.open {
            expecting.push(owner);
        }
        for to in expecting {
            let ledger = self.agents[to.agent.0].account(to.leftover).ledger(counted);
            if to == owner {
                ledger.expect(had);
                ledger.expect_longer(late);
            } else {
                ledger.expect(had + late);
            }
        }
    }
}
