//! What a refused batch said of how things are.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{
    AccountRow, AgentNumber, AlertKey, Batch, BootId, Delivered, LeftoverRow, ProcessKey, RunRow, StoredAgent,
    StoredAlert,
};

/// The most runs remembered, and as many leftovers: a crash loop must not fill the memory while the disk is full.
const RUN_LIMIT: usize = 4_096;

/// What refused batches said of how things are, to be stored as soon as anything is again: whoever sends batches sends only what changed, so samples of an agent that was never stored would belong to nobody. What happened (samples,
/// journal entries) waits in the `Backlog`.
#[derive(Default)]
pub(super) struct Owed {
    agents: BTreeMap<AgentNumber, StoredAgent>,
    runs: Latest<(AgentNumber, ProcessKey, BootId), RunRow>,
    leftovers: Latest<(AgentNumber, ProcessKey, BootId), LeftoverRow>,
    accounts: BTreeMap<AgentNumber, AccountRow>,
    alerts: BTreeMap<AlertKey, StoredAlert>,
    delivered: BTreeMap<Arc<str>, Delivered>,
}

/// The latest row of each key, in the order in which the keys came: of an agent's runs, the row that is made last is the last
/// run.
struct Latest<K, V> {
    places: BTreeMap<K, usize>,
    rows: Vec<V>,
}

impl<K: Ord, V> Default for Latest<K, V> {
    fn default() -> Latest<K, V> {
        Latest { places: BTreeMap::new(), rows: Vec::new() }
    }
}

impl<K: Ord, V> Latest<K, V> {
    /// Takes a row, if there is room for its key. Whether there is.
    fn take(&mut self, key: K, row: V) -> bool {
        match self.places.get(&key) {
            Some(place) => self.rows[*place] = row,
            None if self.rows.len() < RUN_LIMIT => {
                self.places.insert(key, self.rows.len());
                self.rows.push(row);
            }
            None => return false,
        }
        true
    }
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
            dropped += usize::from(!self.runs.take(key, run));
        }
        for leftover in batch.leftovers.drain(..) {
            let key = (leftover.agent, leftover.process, leftover.boot.clone());
            dropped += usize::from(!self.leftovers.take(key, leftover));
        }
        dropped
    }

    /// Whether nothing is owed.
    pub(super) fn is_empty(&self) -> bool {
        self.agents.is_empty()
            && self.runs.rows.is_empty()
            && self.leftovers.rows.is_empty()
            && self.accounts.is_empty()
            && self.alerts.is_empty()
            && self.delivered.is_empty()
    }

    /// Moves what is owed into a batch that is empty, all but alerts.
    pub(super) fn settle(&mut self, batch: &mut Batch) {
        let owed = std::mem::take(self);
        batch.agents = owed.agents.into_values().collect();
        batch.runs = owed.runs.rows;
        batch.leftovers = owed.leftovers.rows;
        batch.accounts = owed.accounts.into_values().collect();
        batch.delivered = owed.delivered.into_values().collect();
        self.alerts = owed.alerts;
    }

    /// Moves how alerts are.
    pub(super) fn settle_alerts(&mut self, batch: &mut Batch) {
        batch.alerts = std::mem::take(&mut self.alerts).into_values().collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{MemoryMethod, Pid, Timestamp};

    fn run(pid: i64, cpu_us: u64) -> RunRow {
        RunRow {
            agent: AgentNumber::new(1).unwrap(),
            root: ProcessKey { start_ticks: u64::try_from(100 - pid).unwrap(), pid: Pid::new(pid).unwrap() },
            boot: "boot".into(),
            started_at: Timestamp::default(),
            end: None,
            cpu_us,
            peak_memory_bytes: None,
            last_memory_bytes: None,
            memory_method: MemoryMethod::Rss,
        }
    }

    #[test]
    fn runs_are_stored_in_the_order_in_which_they_came_each_as_it_was_last() {
        let mut owed = Owed::default();
        for runs in [vec![run(3, 0), run(1, 0)], vec![run(2, 0), run(3, 9)], vec![run(4, 0)]] {
            owed.absorb(&mut Batch { runs, ..Batch::default() });
        }
        let mut batch = Batch::default();
        owed.settle(&mut batch);
        assert_eq!(batch.runs, [run(3, 9), run(1, 0), run(2, 0), run(4, 0)]);
        assert!(owed.is_empty());
    }
}
