//! The daemon without its threads' timing: the real heart and the real store, and after everything that the heart wants
//! stored a wait until that is done.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use agent_monitor::clock::{Clock, ManualClock};
use agent_monitor::config::Config;
use agent_monitor::model::{Now, Snapshot};
use agent_monitor::monitor::{Effect, Input, Monitor};
use agent_monitor::process::ProcessSource;
use agent_monitor::store::{Committed, Op};

use super::support::{Store, until};

pub(crate) struct Daemon {
    pub(crate) monitor: Monitor,
    pub(crate) store: Store,
    /// Up to where the daemon before it had stored.
    pub(crate) last_tick: u64,
    pub(crate) snapshot: Option<Arc<Snapshot>>,
    clock: Arc<ManualClock>,
    works: bool,
    /// Whether the last effects asked for deleting, and all of that was done.
    pub(crate) pruned: bool,
    /// Whether trouble with the disk is over as soon as it was met, so that it is waited for at once.
    pub(crate) waits: bool,
}

impl Daemon {
    pub(crate) fn start(
        directory: &Path,
        config: &Arc<Config>,
        source: Box<dyn ProcessSource>,
        clock: &Arc<ManualClock>,
    ) -> Daemon {
        let mut store = Store::start(directory);
        let resume = std::mem::take(&mut store.resume);
        let last_tick = resume.last_tick;
        let monitor = Monitor::new(Arc::clone(config), source, resume, clock.now());
        Daemon {
            monitor,
            store,
            last_tick,
            snapshot: None,
            clock: Arc::clone(clock),
            works: true,
            pruned: false,
            waits: false,
        }
    }

    /// Whether everything so far is on disk.
    pub(crate) fn is_well(&self) -> bool {
        self.store.stats.trouble().is_none() && self.store.stats.waiting_entries.load(Ordering::Relaxed) == 0
    }

    pub(crate) fn tell(&mut self, input: Input) {
        let effects = self.monitor.handle(input, self.clock.now());
        self.perform(effects);
    }

    /// Does what the heart wants, and tells it what came of that, until nothing comes any more.
    pub(crate) fn perform(&mut self, effects: Vec<Effect>) {
        self.pruned = false;
        self.hand_over(effects);
        loop {
            self.settle();
            let mut inputs = Vec::new();
            while let Ok(Committed { unresolved, deleted, .. }) = self.store.told.try_recv() {
                inputs.extend((!unresolved.is_empty()).then_some(Input::Unresolved(unresolved)));
                inputs.extend((!deleted.is_empty()).then_some(Input::Deleted(deleted)));
            }
            let works = self.store.handle.works().is_ok();
            if works != self.works {
                self.works = works;
                // What the system says changes from one try to the next, of which there are as many as there is time.
                inputs.push(Input::Storage(if works { Ok(()) } else { Err("the disk refuses".into()) }));
            }
            if inputs.is_empty() {
                return;
            }
            for input in inputs {
                let effects = self.monitor.handle(input, self.clock.now());
                self.hand_over(effects);
            }
        }
    }

    pub(crate) fn hand_over(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            let op = match effect {
                Effect::Publish(snapshot) => {
                    self.snapshot = Some(snapshot);
                    continue;
                }
                Effect::Store { batch, reply } => Op::Store { batch, reply },
                Effect::Prune { limits } => {
                    self.pruned = true;
                    Op::Prune { limits, now: self.clock.now() }
                }
            };
            self.store.handle.submit(op).expect("the queue is empty");
            // One at a time: which of them share a transaction would be chance.
            self.settle();
        }
    }

    /// Waits until all is done, and for a disk that is whole again.
    fn settle(&self) {
        self.store.flush();
        if self.waits && self.store.stats.trouble().is_some() {
            until(&self.store, "trouble is over", || self.store.stats.trouble().is_none());
        }
    }

    pub(crate) fn now(&self) -> Now {
        self.clock.now()
    }

    /// Waits until the store has mended itself.
    pub(crate) fn await_recovery(&mut self) {
        self.waits = true;
        self.perform(Vec::new());
        self.waits = false;
    }

    /// Ends it in order.
    pub(crate) fn stop(mut self) {
        let effects = self.monitor.stop(self.clock.now());
        self.perform(effects);
        self.store.stop();
    }

    /// Leaves what a daemon leaves that is killed now: a copy of its files as they are. The writer rests, and where
    /// writes fail it can change nothing.
    pub(crate) fn leave(&self, from: &Path, to: &Path) {
        let mut copy = Command::new("cp");
        copy.args(["-a", "--"]).arg(from).arg(to).env_remove("LD_PRELOAD");
        assert!(copy.status().expect("cp").success());
    }
}
