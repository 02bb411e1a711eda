//! What is written through trouble with the database, and what must have come of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;

use agent_monitor::model::{AgentNumber, Batch};
use agent_monitor::monitor::NotRecorded;
use agent_monitor::store::Committed;

use crate::support::{PATIENCE, Store, after, agent, ask, error, event, number, of_agent, pass, run_of, until};

pub(crate) fn noted(tick: u64) -> Batch {
    let entries = vec![of_agent(1, after(tick), event(&format!("event {tick}")))];
    Batch { entries, ..pass(tick, after(tick), &[1]) }
}

/// What somebody outside tells, and waits for.
pub(crate) fn told_from_outside(tick: u64) -> Batch {
    let entries = vec![of_agent(1, after(tick), event(&format!("outside {tick}")))];
    Batch { agents: vec![agent(1)], entries, ..Batch::default() }
}

pub(crate) fn await_recovery(store: &Store) {
    until(store, "trouble is over", || store.stats.trouble().is_none());
}

/// What the daemon and somebody outside write through trouble, and what came of it.
pub(crate) struct Diary {
    ticks: u64,
    /// What the disk has, as far as somebody outside was told.
    acknowledged: Vec<u64>,
    refused: Vec<u64>,
    /// How many of the refusals said that the disk is full.
    pub(crate) full: usize,
    /// Entries that were told without an id.
    pub(crate) without_id: usize,
    late: usize,
    /// How many errors of each agent are unresolved, as was told last.
    unresolved: BTreeMap<AgentNumber, u64>,
}

/// Whose error came with this tick, and no other.
fn troubled(tick: u64) -> u32 {
    200 + u32::try_from(tick).unwrap()
}

impl Diary {
    pub(crate) fn new() -> Diary {
        let (acknowledged, refused, unresolved) = (Vec::new(), Vec::new(), BTreeMap::new());
        Diary { ticks: 0, acknowledged, refused, full: 0, without_id: 0, late: 0, unresolved }
    }

    pub(crate) fn refused(&self) -> usize {
        self.refused.len()
    }

    /// One more tick of the daemon, with an event, an error, agents and a run that are new, and something from outside. All
    /// is told at once, whatever the disk does.
    pub(crate) fn go_on(&mut self, store: &Store) {
        self.ticks += 1;
        let mut batch = noted(self.ticks);
        batch.agents.push(agent(100));
        batch.runs.push(run_of(100, i64::try_from(self.ticks).unwrap()));
        batch.agents.push(agent(troubled(self.ticks)));
        batch.entries.push(of_agent(troubled(self.ticks), after(self.ticks), error("broken")));
        store.bring(batch);
        match store.store(told_from_outside(self.ticks)) {
            Ok(recorded) => {
                assert!(recorded[0].id.is_some());
                self.acknowledged.push(self.ticks);
            }
            Err(NotRecorded::Storage { full, .. }) => {
                assert!(store.stats.trouble().is_some());
                self.full += usize::from(full);
                self.refused.push(self.ticks);
            }
            Err(other) => panic!("{other}"),
        }
        let mut told = 0;
        while told < 3 {
            told += self.hear(&store.told.recv_timeout(PATIENCE).expect("live watching goes on"));
        }
    }

    fn hear(&mut self, committed: &Committed) -> usize {
        self.without_id += committed.entries.iter().filter(|entry| entry.id.is_none()).count();
        self.late += committed.late.len();
        self.unresolved.extend(committed.unresolved.iter().copied());
        assert!(committed.late.iter().all(|entry| entry.id.is_some()));
        committed.entries.len()
    }

    /// Holds what is on disk, all being well again, against what was told.
    pub(crate) fn check(&mut self, directory: &Path, store: &Store) {
        store.flush();
        while let Ok(committed) = store.told.try_recv() {
            self.hear(&committed);
        }
        let count = |counter: &std::sync::atomic::AtomicU64| usize::try_from(counter.load(Ordering::Relaxed)).unwrap();
        assert_eq!(count(&store.stats.dropped_entries), self.refused.len(), "what was refused is counted");
        assert_eq!((count(&store.stats.dropped_samples), count(&store.stats.dropped_runs)), (0, 0));
        assert_eq!((count(&store.stats.waiting_samples), count(&store.stats.waiting_entries)), (0, 0));
        let own = ask(directory, "select message from agent_events where message like 'event %' order by id");
        let expected: Vec<String> = (1..=self.ticks).map(|tick| format!("event {tick}")).collect();
        assert_eq!(own, expected, "the daemon's own, each once and in order");
        let outside =
            ask(directory, "select substr(message, 9) from agent_events where message like 'outside %' order by id");
        let outside: Vec<u64> = outside.iter().map(|tick| tick.parse().unwrap()).collect();
        let (known, more): (Vec<u64>, Vec<u64>) = outside.iter().partition(|tick| self.acknowledged.contains(tick));
        assert_eq!(known, self.acknowledged, "what was acknowledged, each once and in order");
        // Of a sync that fails nobody knows what is on disk: that one is refused, and may be there. Told again under its
        // id, it is a duplicate.
        assert!(more.len() <= 1 && more.iter().all(|tick| self.refused.contains(tick)), "{more:?}");
        let waited = self.without_id - self.refused.len() + more.len();
        assert_eq!(self.late, waited, "what waited is told again, once, with its id");
        assert_eq!(ask(directory, "select count(*) from ticks"), [self.ticks.to_string()], "samples waited as well");
        assert_eq!(ask(directory, "select count(*) from run where agent_number = 100"), [self.ticks.to_string()]);
        let unresolved: Vec<u64> =
            (1..=self.ticks).filter_map(|tick| self.unresolved.get(&number(troubled(tick))).copied()).collect();
        assert_eq!(unresolved, vec![1; usize::try_from(self.ticks).unwrap()], "whoever counts hears of each");
        assert!(store.reader.agent(&agent(100).id).unwrap().is_some());
        assert_eq!(ask(directory, "pragma integrity_check"), ["ok"]);
    }
}
