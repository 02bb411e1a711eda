//! What members had that are gone: who may have waited for them, and in whose account it is expected to come up.
//!
//! While a parent lives nobody else can have waited for its child. An orphan's time may have gone to any of those that
//! were above it: they are asked, nearest first, whether their counters have grown by it. What none of them has yet may
//! come up in each.

use std::collections::HashMap;

use crate::model::{Now, Pid, ProcessKey, ProcessState};
use crate::tree::{Ancestors, Changes, Member, Owner, Seen};

use super::Monitor;
use super::account::Resource;

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
    ancestors: Ancestors,
}

/// What is to come up somewhere above.
struct Amount<'a> {
    /// In whose ledger it was charged, and is expected as far as it was late already.
    owner: Owner,
    /// What one had that just left.
    had: u64,
    /// What was late below it already.
    late: u64,
    ancestors: &'a Ancestors,
}

impl Monitor {
    /// Lets members go that are gone.
    pub(super) fn let_go(&mut self, found: Found, io: bool, now: Now) {
        let Found { gone, dead, moved } = found;
        let remove = |key: ProcessKey| self.forest.remove(key).map(|member| (key, member));
        let gone: Vec<(ProcessKey, Member)> = gone.into_iter().filter_map(remove).collect();
        let since = Changes { gone: gone.iter().map(|(key, member)| (key.pid, member.parent)).collect(), moved };
        let ancestors = |(key, member): &(ProcessKey, Member)| self.forest.ancestors(*key, member.parent, &since);
        let ancestors: Vec<Ancestors> = gone.iter().map(ancestors).collect();
        let dead: Vec<Dead> = dead
            .into_iter()
            .filter_map(|(key, before)| {
                let member = self.forest.get(key)?;
                let parent = *since.moved.get(&key).unwrap_or(&member.parent);
                let ancestors = self.forest.ancestors(key, parent, &since);
                Some(Dead { owner: member.owner, before, now: member.seen?, ancestors })
            })
            .collect();
        // Before any root's end makes leftovers of its tree: what came up in this pass is on the account of its tree.
        for resource in Resource::ALL {
            self.pass_on(resource, &gone, &ancestors, &dead, resource.is_read(io));
        }
        for (key, member) in gone {
            // What is written down of one that ended must not name its processes for ever.
            if member.owner.leftover || self.agents[member.owner.agent].root().is_none() {
                self.outcome.unsaved.push(member.owner.agent);
            }
            self.leftover_ended(key, &member, now);
            match self.roots.by_key.get(&key).copied() {
                Some(index) => self.root_vanished(index, key, now),
                None => self.processes.release(key),
            }
        }
    }

    /// Members came over to another account. What is late below them was charged before, and comes up there. Below several
    /// of them it may be the same: it is no more than what was expected where they come from.
    pub(super) fn move_late(&mut self, keys: &[ProcessKey], from: Owner, to: Owner) {
        for resource in Resource::ALL {
            let shares = keys.iter().filter_map(|key| self.forest.get(*key)?.seen?.share(resource));
            let late: u64 = shares.map(|share| share.late()).sum();
            if late > 0 {
                let expected = self.agents.account(from).ledger(resource).expected();
                self.agents.account(to).ledger(resource).expect(expected.min(late));
            }
        }
    }

    /// What only one can have waited for goes first: what came up there is nobody else's. `read`: whether the counters of
    /// those that live were read in this pass.
    fn pass_on(
        &mut self,
        resource: Resource,
        gone: &[(ProcessKey, Member)],
        ancestors: &[Ancestors],
        dead: &[Dead],
        read: bool,
    ) {
        let mut amounts = Vec::new();
        for ((_, member), ancestors) in gone.iter().zip(ancestors) {
            let Some(share) = member.seen.and_then(|seen| seen.share(resource)) else { continue };
            let parent = ancestors.members.first().filter(|above| Some(above.pid) == member.parent);
            let mut had = share.had();
            if let Some(parent) = parent.filter(|parent| self.waits_for_its_own(**parent)) {
                self.pass_to_parent(resource, *parent, std::mem::take(&mut had), read);
            }
            amounts.push(Amount { owner: member.owner, had, late: share.late(), ancestors });
        }
        // What was late below one that died has come up there by now, or it died too soon to wait for it.
        for Dead { owner, before, now, ancestors } in dead.iter().filter(|_| read) {
            if let (Some(before), Some(now)) = (before.share(resource), now.share(resource)) {
                let late = before.late().saturating_sub(now.last().children.saturating_sub(before.last().children));
                amounts.push(Amount { owner: *owner, had: 0, late, ancestors });
            }
        }
        for amount in amounts {
            self.pass_up(resource, &amount, read);
        }
    }

    /// Whether a member's turn was in this pass, and it can wait for its children: nobody else can have, then.
    fn waits_for_its_own(&self, process: ProcessKey) -> bool {
        let Some(member) = self.forest.get(process) else { return false };
        let lives = member.seen.is_some_and(|seen| seen.state != ProcessState::Zombie);
        lives && member.parent.is_some() && self.due[member.owner.agent.0]
    }

    /// Nobody but this member can have waited for so much. What its counter, if it was read, does not have comes later.
    fn pass_to_parent(&mut self, resource: Resource, parent: ProcessKey, had: u64, read: bool) {
        let member = self.forest.get_mut(parent).expect("ancestors are members");
        let ledger = self.agents.account(member.owner).ledger(resource);
        let share = member.seen.as_mut().and_then(|seen| seen.share_mut(resource));
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
    fn pass_up(&mut self, resource: Resource, amount: &Amount, read: bool) {
        let Amount { owner, mut had, mut late, ancestors } = *amount;
        if had + late == 0 {
            return;
        }
        let mut heirs = Vec::new();
        for above in &ancestors.members {
            let member = self.forest.get_mut(*above).expect("ancestors are members");
            let read = read && self.due[member.owner.agent.0];
            // The dead have what they will ever have.
            let lives = member.seen.is_none_or(|seen| seen.state != ProcessState::Zombie);
            if lives || !read {
                heirs.push(*above);
            }
            let share = member.seen.as_mut().and_then(|seen| seen.share_mut(resource));
            let Some(share) = share.filter(|_| read) else { continue };
            let (of_had, of_late) = (share.explain(had), share.explain(late));
            let elsewhere = if member.owner == owner { 0 } else { of_late };
            self.agents.account(member.owner).ledger(resource).explain(of_had + elsewhere);
            had -= of_had;
            late -= of_late;
        }
        let mut expecting = Vec::new();
        for heir in heirs {
            let member = self.forest.get_mut(heir).expect("ancestors are members");
            if let Some(share) = member.seen.as_mut().and_then(|seen| seen.share_mut(resource)) {
                share.inherit(had + late, false);
            }
            if !expecting.contains(&member.owner) {
                expecting.push(member.owner);
            }
        }
        if expecting.is_empty() && ancestors.open {
            expecting.push(owner);
        }
        for to in expecting {
            let ledger = self.agents.account(to).ledger(resource);
            if to == owner {
                ledger.expect(had);
                ledger.expect_longer(late);
            } else {
                ledger.expect(had + late);
            }
        }
    }
}
