//! The daemon without its threads' timing: the real heart and the real store, and after everything that the heart wants
//! stored a wait until that is done.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;
use std::time::Duration;

use agent_monitor::clock::{Clock, ManualClock};
use agent_monitor::config::Config;
use agent_monitor::model::{Batch, Delivered, Now, Snapshot};
use agent_monitor::monitor::{Effect, Input, Monitor};
use agent_monitor::process::ProcessSource;
use agent_monitor::store::{NotTaken, Op};

use super::books::Books;
use super::support::{PATIENCE, Store, until};

pub(crate) struct Daemon {
    pub(crate) monitor: Monitor,
    pub(crate) store: Store,
    /// Up to where the daemon before it had stored.
    pub(crate) last_tick: u64,
    pub(crate) snapshot: Option<Arc<Snapshot>>,
    pub(crate) books: Books,
    clock: Arc<ManualClock>,
    works: bool,
    /// Whether the last effects asked for deleting, and all of that was done; and whether any did.
    pub(crate) pruned: bool,
    pub(crate) has_limits: bool,
    /// Whether trouble with the disk is over as soon as it was met, so that it is waited for at once.
    pub(crate) waits: bool,
    /// Whether the disk does not answer, so that nothing is waited for; and how often the queue was too full then.
    pub(crate) stalled: bool,
    pub(crate) turned_away: u64,
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
            books: Books::default(),
            clock: Arc::clone(clock),
            works: true,
            pruned: false,
            has_limits: false,
            waits: false,
            stalled: false,
            turned_away: 0,
        }
    }

    /// Whether everything so far is on disk.
    pub(crate) fn is_well(&self) -> bool {
        let stats = &self.store.stats;
        !self.stalled && stats.trouble().is_none() && stats.waiting_entries.load(Ordering::Relaxed) == 0
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
            while let Ok(committed) = self.store.told.try_recv() {
                self.books.hear(&committed, self.clock.now().mono.0);
                let (unresolved, deleted) = (committed.unresolved, committed.deleted);
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
                Effect::Store { batch, reply } => {
                    let reply = self.books.give(&batch, reply, self.clock.now().mono.0);
                    Op::Store { batch, reply }
                }
                Effect::Prune { limits } => {
                    (self.pruned, self.has_limits) = (true, true);
                    Op::Prune { limits, now: self.clock.now() }
                }
            };
            match self.store.handle.submit(op) {
                Err(NotTaken::Busy) if self.stalled => self.turned_away += 1,
                taken => taken.expect("the queue is empty"),
            }
            // One at a time: which of them share a transaction would be chance.
            self.settle();
        }
    }

    /// From now on the disk does not answer: not for what a receiver of alerts has come to, nor for anything after it.
    pub(crate) fn stall(&mut self, moment: u64) {
        self.stalled = true;
        let delivered = vec![Delivered { receiver: "webhook".into(), up_to: Some(moment.cast_signed()) }];
        let batch = Batch { delivered, ..Batch::default() };
        self.store.handle.submit(Op::Store { batch, reply: None }).expect("the queue is empty");
    }

    /// The disk answers again: what waited for that is done.
    pub(crate) fn go_on(&mut self) {
        let (_sender, never) = channel::<()>();
        let mut moments = 0..PATIENCE.as_millis();
        while self.store.stats.queue_length.load(Ordering::Relaxed) > 0 {
            moments.next().expect("the writer works");
            let _ = never.recv_timeout(Duration::from_millis(1));
        }
        self.stalled = false;
        self.perform(Vec::new());
    }

    /// Waits until all is done, and for a disk that is whole again.
    fn settle(&self) {
        if self.stalled {
            return;
        }
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
    /// writes fail it can change nothing but what it tries that with.
    pub(crate) fn leave(&self, from: &Path, to: &Path) {
        fs::create_dir(to).unwrap();
        fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            match fs::copy(entry.path(), to.join(entry.file_name())) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                copied => drop(copied.unwrap()),
            }
        }
    }
}
