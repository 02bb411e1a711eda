//! What outlives its agent: noted, charged and told until it ends.

use std::sync::Arc;

use crate::model::{LeftoverRow, Now, ProcessKey, ProcessState};
use crate::process::Watch;
use crate::tree::{AgentIndex, Baseline, Member, Owner};

use super::Monitor;

/// How many names a message gives.
const NAMES: usize = 5;

impl Monitor {
    /// After a pass: notes what is new among an agent's leftovers and what has ended, and tells once for each run that
    /// there are some. At the pass after the end, not at the end itself: most children end with their agent, a moment
    /// later.
    pub(super) fn note_leftovers(&mut self, index: AgentIndex, now: Now) {
        let agent = &self.agents[index];
        if !agent.has_leftovers() {
            return;
        }
        let since = agent.end().map_or(now.wall, |end| end.at);
        let told = agent.told.leftovers;
        let mut names = Vec::new();
        let mut changed = Vec::new();
        self.forest.each_of(index, |key, member| {
            if !member.owner.leftover {
                return;
            }
            let Some(seen) = member.seen else { return };
            if seen.state == ProcessState::Zombie {
                // Whoever is to wait for it may never do so.
                if member.baseline.is_some_and(|baseline| baseline.noted) {
                    changed.push((key, Some(now.wall)));
                }
                return;
            }
            if !told {
                names.push(format!("{} ({})", member.name, key.pid));
            }
            // What a leftover starts is a leftover, and all of its use counts, unless it ran before it was known.
            let used_before_us = if member.born { 0 } else { seen.cpu.had() };
            let baseline = member.baseline.get_or_insert(Baseline { since, used_before_us, noted: false });
            if !std::mem::replace(&mut baseline.noted, true) {
                changed.push((key, None));
            }
        });
        for (key, ended_at) in changed {
            let row = self.leftover_row(key).map(|row| LeftoverRow { ended_at, ..row });
            self.outcome.batch.leftovers.extend(row);
            if let Some(baseline) = self.forest.get_mut(key).and_then(|member| member.baseline.as_mut()) {
                baseline.noted = ended_at.is_none();
            }
        }
        if !names.is_empty() {
            self.agent(index).told.leftovers = true;
            let count = names.len();
            let more = if count > NAMES { ", …" } else { "" };
            names.truncate(NAMES);
            let one = if count == 1 { "process" } else { "processes" };
            let message = format!("{count} {one} outlived the agent: {}{more}", names.join(", "));
            self.warn(index, "leftovers_found", &message, now);
        }
    }

    /// A member is gone; if it was a leftover, that is over.
    pub(super) fn leftover_ended(&mut self, key: ProcessKey, member: &Member, now: Now) {
        if let Some(row) = self.row_of(key, member) {
            self.outcome.batch.leftovers.push(LeftoverRow { ended_at: Some(now.wall), ..row });
        }
    }

    /// What was left of an agent, `whose`, came into an agent's tree again: another daemon must not go on with it as a
    /// leftover.
    pub(super) fn no_leftover_any_more(&mut self, key: ProcessKey, whose: AgentIndex, now: Now) {
        let agent = self.agents[whose].stored.number;
        let row = self.leftover_row(key).map(|row| LeftoverRow { agent, ended_at: Some(now.wall), ..row });
        self.outcome.batch.leftovers.extend(row);
        if let Some(member) = self.forest.get_mut(key) {
            member.baseline = None;
        }
    }

    /// What an agent left behind that lives.
    pub(super) fn leftovers(&self, index: AgentIndex) -> Vec<LeftoverRow> {
        let members = self.forest.of(Owner::leftovers(index));
        members.filter_map(|(key, member)| self.row_of(key, member)).collect()
    }

    /// All that is left behind, to be written down.
    pub(super) fn all_leftovers(&self) -> Vec<LeftoverRow> {
        self.forest.iter().filter_map(|(key, member)| self.row_of(key, member)).collect()
    }

    /// Goes on with a leftover that the last daemon noted: one of its accounts, or one that came up after those were
    /// written down.
    pub(super) fn resume_leftover(&mut self, row: LeftoverRow, now: Now) {
        let Some(index) = self.agents.of_number(row.agent) else { return };
        let owner = Owner::leftovers(index);
        let same_boot = row.boot == self.boot;
        if same_boot
            && self.forest.get(row.process).is_none()
            && let Some(found) = self.look_at(row.process)
        {
            self.take_in(&found, owner, Watch::Counters, now);
        }
        let member = self.forest.get_mut(row.process).filter(|member| same_boot && member.owner == owner);
        let Some(member) = member else {
            self.outcome.batch.leftovers.push(LeftoverRow { ended_at: Some(now.wall), ..row });
            return;
        };
        if member.name.is_empty() {
            member.name = (*row.name).into();
        }
        if let Some(seen) = &mut member.seen {
            seen.rss_bytes = row.memory_bytes;
        }
        member.baseline = Some(Baseline { since: row.since, used_before_us: row.used_before_us, noted: true });
    }

    /// The row of a member, if it was noted as a leftover.
    fn leftover_row(&self, key: ProcessKey) -> Option<LeftoverRow> {
        self.row_of(key, self.forest.get(key)?)
    }

    fn row_of(&self, key: ProcessKey, member: &Member) -> Option<LeftoverRow> {
        let (baseline, seen) = (member.baseline.filter(|baseline| baseline.noted)?, member.seen.as_ref()?);
        Some(LeftoverRow {
            agent: self.agents[member.owner.agent].stored.number,
            process: key,
            boot: Arc::clone(&self.boot),
            name: (*member.name).into(),
            since: baseline.since,
            memory_bytes: seen.rss_bytes,
            cpu_us: seen.cpu.had().saturating_sub(baseline.used_before_us),
            used_before_us: baseline.used_before_us,
            ended_at: None,
        })
    }
}
