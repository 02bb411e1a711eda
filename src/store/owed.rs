use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::model::{
    AccountRow, AgentNumber, AlertKey, Batch, BootId, Delivered, LeftoverRow, ProcessKey, RunRow, StoredAgent,
    StoredAlert,
};

/// The most runs remembered, and as many leftovers: a crash loop must not fill the memory while the disk is full.
const RUN_LIMIT: usize = 4_096;

/// What refused batches said of how things are, to be stored with the next one that is taken: whoever sends batches
/// sends only what changed, so samples of an agent that was never stored would belong to nobody. What happened (samples,
/// journal entries) is not kept: it would grow as long as the trouble lasts.
#[derive(Default)]
pub(super) struct Owed {
    agents: BTreeMap<AgentNumber, StoredAgent>,
    runs: HashMap<(AgentNumber, ProcessKey, BootId), RunRow>,
    leftovers: HashMap<(AgentNumber, ProcessKey, BootId), LeftoverRow>,
    accounts: BTreeMap<AgentNumber, AccountRow>,
    alerts: HashMap<AlertKey, StoredAlert>,
    delivered: HashMap<Arc<str>, Delivered>,
}

impl Owed {
    /// Takes what must be remembered out of a batch. Returns how many runs and leftovers were too many.
    pub(super) fn absorb(&mut self, batch: &mut Batch) -> usize {
        self.agents.extend(batch.agents.drain(..).map(|agent| (agent.number, agent)));
        self.accounts.extend(batch.accounts.drain(..).map(|account| (account.agent, account)));
        self.alerts.extend(batch.alerts.drain(..).map(|alert| (alert.key.clone(), alert)));
        self.delivered.extend(batch.delivered.drain(..).map(|one| (Arc::clone(&one.receiver), one)));
        let mut dropped = 0;
        for run in batch.runs.drain(..) {
            let key = (run.agent, run.root, run.boot.clone());
            if self.runs.len() < RUN_LIMIT || self.runs.contains_key(&key) {
                self.runs.insert(key, run);
            } else {
                dropped += 1;
            }
        }
        for leftover in batch.leftovers.drain(..) {
            let key = (leftover.agent, leftover.process, leftover.boot.clone());
            if self.leftovers.len() < RUN_LIMIT || self.leftovers.contains_key(&key) {
                self.leftovers.insert(key, leftover);
            } else {
                dropped += 1;
            }
        }
        dropped
    }

    /// Whether nothing is owed.
    pub(super) fn is_empty(&self) -> bool {
        self.agents.is_empty()
            && self.runs.is_empty()
            && self.leftovers.is_empty()
            && self.accounts.is_empty()
            && self.alerts.is_empty()
            && self.delivered.is_empty()
    }

    /// Puts what is owed in front of what `batch` says, which is newer.
    pub(super) fn settle(self, batch: &mut Batch) {
        batch.agents.splice(..0, self.agents.into_values());
        batch.runs.splice(..0, self.runs.into_values());
        batch.leftovers.splice(..0, self.leftovers.into_values());
        batch.accounts.splice(..0, self.accounts.into_values());
        batch.alerts.splice(..0, self.alerts.into_values());
        batch.delivered.splice(..0, self.delivered.into_values());
    }
}
