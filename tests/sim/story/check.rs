//! What must be so at each moment.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use agent_monitor::clock::Clock;
use agent_monitor::model::{ProcessKey, Snapshot};

use super::calm::members;
use super::{BOUND, Kept, PRUNE_NS, SECOND, Story};
use crate::daemon::Daemon;
use crate::faults::Fault;
use crate::oracle::{Files, is_read, sums_are_possible, verdict_is_true};

/// The text of a full queue, bytes.
const AT_ONCE: u64 = 1 << 20;

impl Story<'_> {
    /// Everything that is shown is possible; after a pass during which nothing happened, and with all there to be seen, it
    /// is so.
    pub(super) fn check(&mut self, exact: bool) -> Result<(), String> {
        if let Some(wrong) = self.reporter.wrong.take() {
            return Err(wrong);
        }
        let daemon = self.daemon.as_mut().expect("it lives");
        daemon.books.check(&daemon.store.stats, daemon.is_well())?;
        self.note_what_was_done();
        let Some(snapshot) = self.snapshot() else { return Ok(()) };
        self.watching_goes_on(&snapshot)?;
        let mut world = self.world.lock().unwrap();
        let before = self.sums.clone();
        let possible = sums_are_possible(&snapshot, &self.clans, &world, &mut self.sums);
        for (id, shown) in self.sums.iter().filter(|(id, shown)| before.get(*id) != Some(shown)) {
            world.tell(|_| format!("{id} is shown with {shown:?}"));
        }
        possible?;
        let hidden = self.sight.lock().unwrap().hidden.clone();
        for said in self.said.iter().flatten().filter(|_| exact) {
            let Some(view) = snapshot.agents.iter().find(|view| view.id.as_str() == said.id) else {
                return Err(format!("{} is registered, and not in the lists", said.id));
            };
            if said.named.as_ref().is_none_or(|named| !hidden.iter().any(|key| key.pid == named.pid)) {
                verdict_is_true(view, said, &world)?;
            }
            is_read(view, said, &snapshot, &hidden, &world)?;
        }
        let passes = world.passes;
        drop(world);
        if self.is_well() {
            self.kept = Kept { sums: self.sums.clone(), passes, tick: snapshot.tick };
        }
        if !self.clocks_were_set() {
            self.owners_are_one()?;
        }
        if self.daemon().pruned && self.is_well() {
            self.believes_since.get_or_insert(self.pruned_at);
            let believed = self.files().nothing_is_too_old(self.config.storage.retention)?;
            self.tell(|| format!("what is too old is deleted; it is believed to be {believed}"));
        }
        Ok(())
    }

    /// P7: whatever the disk does.
    fn watching_goes_on(&self, snapshot: &Snapshot) -> Result<(), String> {
        // After a reload the interval may be shorter than it was.
        let patience = self.config.sampling.interval * 2 + 60 * SECOND;
        let since = snapshot.own.last_tick_mono.map_or(Duration::ZERO, |at| self.clock.now().mono.since(at));
        if since > patience { Err(format!("P7: no pass for {since:?}")) } else { Ok(()) }
    }

    /// Entries that the daemon told with their ids; and whether it deleted anything, asked or not.
    pub(super) fn note_what_was_done(&mut self) {
        let Daemon { books, store, .. } = self.daemon();
        let told = std::mem::take(&mut books.ids);
        if books.deleted(&store.stats) {
            self.pruned_at = self.now();
        }
        self.ids.extend(told.into_iter().map(|(id, at)| (id, self.booted_at + at)));
    }

    fn owners_are_one(&mut self) -> Result<(), String> {
        let mut owners: BTreeMap<ProcessKey, &str> = BTreeMap::new();
        for id in self.clans.keys() {
            for process in members(self.daemon.as_mut().expect("it lives"), id, &self.clock) {
                if let Some(other) = owners.insert(process, id) {
                    return Err(format!("process {} is {other}'s and {id}'s", process.pid));
                }
            }
        }
        Ok(())
    }

    fn clocks_were_set(&self) -> bool {
        let clocks = [Fault::WallAhead, Fault::WallBack, Fault::Suspended];
        clocks.iter().any(|fault| self.faults.struck().contains_key(fault))
    }

    pub(super) fn files(&self) -> Files<'_> {
        let retention = u64::try_from(self.config.storage.retention.as_nanos()).unwrap();
        let since = |ns: u64| self.now().saturating_sub(ns);
        let set = |fault| self.faults.struck().contains_key(&fault);
        let kept_since_ns = if set(Fault::WallBack) {
            // What is told then is dated as if it were old.
            since(retention).max(self.pruned_at)
        } else if set(Fault::WallAhead) || set(Fault::Suspended) {
            // Deleting goes by a time that may run four times as fast as the monotonic clock, from when it was done last;
            // that begins when it is done first.
            since((retention - 3 * PRUNE_NS) / 4).max(self.believes_since.unwrap_or(self.now()))
        } else {
            since(retention)
        };
        Files { directory: &self.directory, kept_since_ns, bounded: self.is_bounded() }
    }

    pub(super) fn look_at_files(&mut self) -> Result<(), String> {
        let Some(snapshot) = self.snapshot().filter(|_| self.is_well()) else { return Ok(()) };
        self.hold_passes()?;
        self.what_was_told_is_there()?;
        self.files().episodes_are_one(&snapshot)?;
        self.files().history_is_in_order()?;
        self.files().sharers_have_nothing()?;
        let (daemon, limits) = (self.daemon.as_ref().expect("it lives"), self.config.storage.max_size_bytes);
        let size = daemon.store.stats.database_size_bytes.load(Ordering::Relaxed);
        // A full queue is stored at once, before anything is deleted for it.
        if daemon.has_limits && size > limits + AT_ONCE {
            return Err(format!("P4: the database may have {limits} bytes: {:?}", daemon.store.stats));
        }
        Ok(())
    }

    /// P1: what was acknowledged, and what was told with its id.
    pub(super) fn what_was_told_is_there(&mut self) -> Result<(), String> {
        let files = self.files();
        let (gone, kept_since_ns) = (files.acknowledged_is_there(&self.reporter.told)?, files.kept_since_ns);
        files.entries_are_there(&self.ids)?;
        files.nothing_is_set_aside()?;
        self.ids.retain(|(_, at)| *at > kept_since_ns);
        self.faults.strike(Fault::Bounded, gone);
        Ok(())
    }

    /// Holds the passes that were given to be stored since the last time against those that are.
    pub(super) fn hold_passes(&mut self) -> Result<(), String> {
        let books = &self.daemon.as_ref().expect("it lives").books;
        let (Some(since), Some(first)) = (books.since, books.first()) else { return Ok(()) };
        let files = self.files();
        let stored = files.passes(first);
        let young = self.booted_at + since > files.kept_since_ns && !files.bounded;
        let daemon = self.daemon();
        daemon.books.compare(&daemon.store.stats, &stored, young)
    }

    fn is_bounded(&self) -> bool {
        self.config.storage.max_size_bytes == BOUND
    }
}
