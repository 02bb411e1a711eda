//! P4: what is given to be stored is stored, waits, or is counted as dropped; and what waits is bounded. What a daemon was
//! given is known here, what is counted is what its status route shows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use agent_monitor::model::{Batch, Body, Recorded, Write};
use agent_monitor::monitor::{Answer, NotRecorded, Reply};
use agent_monitor::store::{Committed, StoreStats};

/// As many may wait, as `docs/reliability.md` has it; and operations between heart and writer.
const WAITING: [(&str, u64); 3] = [("samples", 16_384), ("entries", 4_096), ("operations", 256)];

/// The words of what agents tell here.
pub(crate) const TOLD: [&str; 2] = ["noted", "flood"];

/// What one daemon gave its store, and what it heard of it.
#[derive(Default)]
pub(crate) struct Books {
    /// Samples of each pass, since these were last held against what is stored.
    passes: BTreeMap<u64, u64>,
    /// When the first of them was given.
    pub(crate) since: Option<u64>,
    /// Dropped by then, and rows that were deleted for their age.
    samples_dropped: u64,
    expired: u64,
    /// Rows that were deleted when that was asked last.
    deleted: u64,
    /// Entries of its own.
    own: u64,
    /// Those of them that were told with their ids, and when, with the last ids and not held against what is stored yet.
    numbered: u64,
    pub(crate) ids: Vec<(i64, u64)>,
    /// Reports, and those of them that were answered otherwise than that they are not stored.
    reports: u64,
    taken: Arc<AtomicU64>,
}

fn is_own(entry: &Recorded) -> bool {
    match &entry.entry.body {
        Body::Event(event) => !TOLD.contains(&&*event.event_type),
        Body::Error(_) => false,
        Body::Alert(_) => true,
    }
}

impl Books {
    /// The store is given this.
    pub(crate) fn give(&mut self, batch: &Batch, reply: Option<Reply>, now: u64) -> Option<Reply> {
        if let Some(tick) = batch.tick {
            self.passes.insert(tick.ordinal, count(batch.samples.len()));
            self.since.get_or_insert(now);
        }
        self.own += count(batch.entries.len());
        if !matches!(batch.write.as_deref(), Some(Write::Report(_))) {
            return reply;
        }
        self.reports += 1;
        let taken = Arc::clone(&self.taken);
        reply.map(|reply| {
            Answer::new(move |answer| {
                if !matches!(answer, Err(NotRecorded::Storage { .. })) {
                    taken.fetch_add(1, Ordering::Relaxed);
                }
                reply.send(answer);
            })
        })
    }

    /// The store told this.
    pub(crate) fn hear(&mut self, committed: &Committed, now: u64) {
        let told = committed.entries.iter().chain(&committed.late);
        let ids: Vec<i64> = told.filter(|entry| is_own(entry)).filter_map(|entry| entry.id).collect();
        self.numbered += count(ids.len());
        self.ids.extend(ids.into_iter().map(|id| (id, now)));
    }

    /// `settled`: nothing waits, and all is well.
    pub(crate) fn check(&self, stats: &StoreStats, settled: bool) -> Result<(), String> {
        let waiting = [&stats.waiting_samples, &stats.waiting_entries, &stats.queue_length];
        for ((what, most), waits) in WAITING.into_iter().zip(waiting.map(|counter| counter.load(Ordering::Relaxed))) {
            if waits > most {
                return Err(format!("P4: {waits} {what} wait"));
            }
        }
        let dropped = self.own + self.reports - self.taken.load(Ordering::Relaxed);
        let counted = self.numbered + stats.dropped_entries.load(Ordering::Relaxed);
        if settled && dropped != counted {
            return Err(format!(
                "P4: {dropped} entries were given, {counted} are stored or counted as dropped: {stats:?}"
            ));
        }
        Ok(())
    }

    /// Holds the passes against those that are stored: of each, how many samples. If some may be gone for their age, for
    /// they are not young and something was deleted, nothing can be said.
    pub(crate) fn compare(
        &mut self,
        stats: &StoreStats,
        stored: &BTreeMap<u64, u64>,
        young: bool,
    ) -> Result<(), String> {
        let of = |(tick, samples): (&u64, &u64)| samples - stored.get(tick).copied().unwrap_or(0);
        let missing: u64 = self.passes.iter().map(of).sum();
        let counted = stats.dropped_samples.load(Ordering::Relaxed);
        let dropped = counted - std::mem::replace(&mut self.samples_dropped, counted);
        let expired = stats.expired_rows.load(Ordering::Relaxed);
        let kept = std::mem::replace(&mut self.expired, expired) == expired || young;
        self.passes.clear();
        self.since = None;
        if kept && missing != dropped {
            return Err(format!("P4: {missing} samples are missing, {dropped} were counted as dropped"));
        }
        Ok(())
    }

    /// Whether anything was deleted for its age since this was asked last.
    pub(crate) fn deleted(&mut self, stats: &StoreStats) -> bool {
        let expired = stats.expired_rows.load(Ordering::Relaxed);
        std::mem::replace(&mut self.deleted, expired) != expired
    }

    /// The first pass that was not compared yet.
    pub(crate) fn first(&self) -> Option<u64> {
        self.passes.keys().next().copied()
    }
}

fn count(length: usize) -> u64 {
    length.try_into().unwrap()
}
