//! What waits in memory while the database cannot be written. Bounded: a disk may be full for days.

use std::collections::VecDeque;

use super::owed::Owed;
use crate::model::{Batch, Body, Entry, HostMinute, Sample, Tick};

/// The most samples that wait. Beyond it every second pass goes, and from then on every second one that comes, so that what
/// waits covers all of the time evenly: samples carry totals, so the rest stays true.
const SAMPLE_LIMIT: usize = 16_384;

/// The most entries of the journal that wait, …
const ENTRY_LIMIT: usize = 4_096;

/// … and the most bytes of their text. Beyond it, what is new goes: the first of it tells what began.
const ENTRY_BYTES: usize = 4 << 20;

/// The most minutes of the host that wait: a day. Beyond it, the oldest goes.
const MINUTE_LIMIT: usize = 1_440;

/// Batches that could not be stored, or may not be yet, put together and in order.
#[derive(Default)]
pub(super) struct Backlog {
    owed: Owed,
    entries: VecDeque<Entry>,
    entry_bytes: usize,
    minutes: VecDeque<HostMinute>,
    passes: VecDeque<Batch>,
    samples: usize,
    /// Of so many passes, as a power of two, one waits.
    thinned: u32,
    /// Passes that came since the last time that none waited.
    came: u64,
}

/// How much found no room.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Dropped {
    /// Samples, and minutes of the host.
    pub(super) samples: usize,
    /// Entries of the journal.
    pub(super) entries: usize,
    /// Runs and leftovers.
    pub(super) runs: usize,
}

/// How much is taken at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Portion {
    /// All that there is no great number of, and some entries, or else some passes.
    Much,
    /// Only what cannot be parted.
    Least,
}

/// Passes that are taken at once.
const PASSES: usize = 64;

/// Entries that are taken at once: on a disk that is nearly full, a transaction must not be too long.
const ENTRIES: usize = 512;

impl Backlog {
    /// Takes a batch in behind what waits already. What comes from outside is answered by itself, and does not wait.
    pub(super) fn absorb(&mut self, mut batch: Batch) -> Dropped {
        let mut dropped = self.absorb_pass(&mut batch);
        dropped.runs += self.owed.absorb(&mut batch);
        self.minutes.extend(batch.host);
        while self.minutes.len() > MINUTE_LIMIT {
            self.minutes.pop_front();
            dropped.samples += 1;
        }
        for entry in batch.entries {
            let bytes = bytes(&entry);
            if self.entries.len() < ENTRY_LIMIT && self.entry_bytes + bytes <= ENTRY_BYTES {
                self.entries.push_back(entry);
                self.entry_bytes += bytes;
            } else {
                dropped.entries += 1;
            }
        }
        dropped
    }

    /// Takes in the pass of a batch, which keeps the rest.
    pub(super) fn absorb_pass(&mut self, batch: &mut Batch) -> Dropped {
        let mut dropped = Dropped::default();
        let Some(tick) = batch.tick.take() else { return dropped };
        let samples = std::mem::take(&mut batch.samples);
        if self.passes.is_empty() {
            (self.thinned, self.came) = (0, 0);
        }
        let place = self.came;
        self.came += 1;
        if !place.is_multiple_of(1 << self.thinned) {
            dropped.samples = samples.len();
            return dropped;
        }
        self.samples += samples.len();
        self.passes.push_back(pass(tick, samples));
        while self.samples > SAMPLE_LIMIT && self.passes.len() > 1 {
            dropped.samples += self.thin();
        }
        dropped
    }

    /// Lets go of every second pass; the first stays.
    fn thin(&mut self) -> usize {
        let before = self.samples;
        let mut stays = false;
        self.passes.retain(|_| {
            stays = !stays;
            stays
        });
        self.samples = self.passes.iter().map(|pass| pass.samples.len()).sum();
        // Far beyond the passes of any outage.
        self.thinned = (self.thinned + 1).min(u64::BITS - 1);
        before - self.samples
    }

    /// Samples that wait.
    pub(super) fn samples(&self) -> usize {
        self.samples
    }

    /// Entries of the journal that wait.
    pub(super) fn entries(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing waits; `without_samples`: sampling passes aside.
    pub(super) fn is_empty(&self, without_samples: bool) -> bool {
        self.owed.is_empty()
            && self.entries.is_empty()
            && self.minutes.is_empty()
            && (without_samples || self.passes.is_empty())
    }

    /// Takes out what is to be stored next, how things are before all else, since everything refers to it; nothing when
    /// nothing waits. With `without_samples`, sampling passes stay.
    pub(super) fn next(&mut self, portion: Portion, without_samples: bool) -> Vec<Batch> {
        let mut batch = Batch::default();
        let all = portion == Portion::Much;
        self.owed.settle(&mut batch);
        if all || batch.is_empty() {
            let count = self.entries.len().min(if all { ENTRIES } else { 1 });
            batch.entries = self.entries.drain(..count).collect();
            self.entry_bytes -= batch.entries.iter().map(bytes).sum::<usize>();
        }
        // An alert that has ended since must not fire again by an entry that comes later.
        if self.entries.is_empty() && (all || batch.is_empty()) {
            self.owed.settle_alerts(&mut batch);
        }
        if all || batch.is_empty() {
            batch.host = std::mem::take(&mut self.minutes).into();
        }
        if !batch.is_empty() {
            return vec![batch];
        }
        let count = if without_samples { 0 } else { self.passes.len().min(if all { PASSES } else { 1 }) };
        let passes: Vec<Batch> = self.passes.drain(..count).collect();
        self.samples -= passes.iter().map(|pass| pass.samples.len()).sum::<usize>();
        passes
    }

    /// Lets go of what turned out to be on disk: the passes up to this one, and so many entries from the first on.
    pub(super) fn forget(&mut self, tick: u64, entries: usize) {
        self.passes.retain(|pass| pass.tick.is_none_or(|known| known.ordinal > tick));
        self.samples = self.passes.iter().map(|pass| pass.samples.len()).sum();
        for entry in self.entries.drain(..entries.min(self.entries.len())) {
            self.entry_bytes -= bytes(&entry);
        }
    }

    /// Takes back what was taken out and could not be stored.
    pub(super) fn put_back(&mut self, batches: Vec<Batch>) {
        for mut batch in batches.into_iter().rev() {
            if let Some(tick) = batch.tick.take() {
                self.samples += batch.samples.len();
                self.passes.push_front(pass(tick, batch.samples));
                continue;
            }
            // Nothing was absorbed in between, so this brings nothing back that is older than what waits.
            self.owed.absorb(&mut batch);
            for entry in batch.entries.into_iter().rev() {
                self.entry_bytes += bytes(&entry);
                self.entries.push_front(entry);
            }
            for minute in batch.host.into_iter().rev() {
                self.minutes.push_front(minute);
            }
        }
    }
}

fn pass(tick: Tick, samples: Vec<Sample>) -> Batch {
    Batch { tick: Some(tick), samples, ..Batch::default() }
}

/// What an entry takes up, about.
fn bytes(entry: &Entry) -> usize {
    let text = match &entry.body {
        Body::Event(event) => event.event_type.len() + event.message.len() + event.metadata.as_str().len(),
        Body::Error(error) => {
            let stack = error.stack.as_ref().map_or(0, |stack| stack.len());
            error.error_type.len() + error.message.len() + error.metadata.as_str().len() + stack
        }
        Body::Alert(note) => note.message.len(),
    };
    size_of::<Entry>() + text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AgentNumber, AlertKey, EventReport, JsonObject, Metrics, StoredAlert, Timestamp};

    fn passed(ordinal: u64, samples: usize) -> Batch {
        let at = Timestamp::default();
        let metrics = Metrics::unknown(at, "online".into());
        let sample = Sample { agent: AgentNumber::new(1).unwrap(), metrics };
        pass(Tick { ordinal, at }, vec![sample; samples])
    }

    fn entry(message: &str) -> Entry {
        let event = EventReport { event_type: "x".into(), message: message.into(), metadata: JsonObject::default() };
        Entry { agent: None, at: Timestamp::default(), body: Body::Event(event) }
    }

    fn told(messages: &[&str]) -> Batch {
        Batch { entries: messages.iter().map(|message| entry(message)).collect(), ..Batch::default() }
    }

    fn messages(batches: &[Batch]) -> Vec<&str> {
        let entries = batches.iter().flat_map(|batch| &batch.entries);
        entries.map(|entry| if let Body::Event(event) = &entry.body { &*event.message } else { "" }).collect()
    }

    fn ordinals(batches: &[Batch]) -> Vec<u64> {
        batches.iter().filter_map(|batch| Some(batch.tick?.ordinal)).collect()
    }

    #[test]
    fn passes_grow_thinner_and_cover_all_of_the_time() {
        let mut backlog = Backlog::default();
        let mut dropped = 0;
        for ordinal in 1..=1_000 {
            dropped += backlog.absorb(passed(ordinal, 100)).samples;
            assert!(backlog.samples() <= SAMPLE_LIMIT);
        }
        let mut kept = Vec::new();
        while !backlog.is_empty(false) {
            kept.extend(ordinals(&backlog.next(Portion::Much, false)));
        }
        assert_eq!(dropped + 100 * kept.len(), 100_000, "each is kept or counted");
        assert!(kept.len() > 80 && kept.is_sorted());
        let gaps: Vec<u64> = kept.windows(2).map(|two| two[1] - two[0]).collect();
        assert!(gaps.iter().all(|gap| *gap == 8), "evenly: {kept:?}");
        assert!(kept[0] == 1 && kept.last() > Some(&992), "{kept:?}");
        assert_eq!(backlog.absorb(passed(1_001, 1)).samples + backlog.absorb(passed(1_002, 1)).samples, 0);
        assert_eq!(
            ordinals(&backlog.next(Portion::Much, false)),
            [1_001, 1_002],
            "all again, when none waits any more"
        );
    }

    #[test]
    fn one_pass_of_a_large_fleet_waits_whole() {
        let mut backlog = Backlog::default();
        assert_eq!(backlog.absorb(passed(1, SAMPLE_LIMIT + 1)), Dropped::default());
        assert_eq!(backlog.absorb(passed(2, SAMPLE_LIMIT + 1)).samples, SAMPLE_LIMIT + 1);
        assert_eq!(ordinals(&backlog.next(Portion::Much, false)), [1]);
    }

    #[test]
    fn entries_are_bounded_in_number_and_in_size() {
        let mut backlog = Backlog::default();
        for n in 0..ENTRY_LIMIT + 3 {
            let dropped = backlog.absorb(told(&["short"])).entries;
            assert_eq!(dropped, usize::from(n >= ENTRY_LIMIT), "{n}");
        }
        assert_eq!(backlog.next(Portion::Much, false)[0].entries.len(), ENTRIES);
        assert_eq!(backlog.entries(), ENTRY_LIMIT - ENTRIES);

        let mut backlog = Backlog::default();
        let long = "x".repeat(ENTRY_BYTES / 4);
        let dropped = backlog.absorb(told(&[&long, &long, &long, &long, "short"]));
        assert_eq!(dropped.entries, 1);
        assert_eq!(backlog.entries(), 4, "what still fits is taken");
        backlog.next(Portion::Much, false);
        assert_eq!(backlog.entry_bytes, 0);
    }

    #[test]
    fn how_alerts_are_comes_after_all_entries() {
        let key = AlertKey { agent: None, source: None, rule: "r".into() };
        let ended = vec![StoredAlert { key, state: None, episode: None }];
        for (portion, parts) in [(Portion::Much, 2), (Portion::Least, ENTRIES + 2)] {
            let mut backlog = Backlog::default();
            backlog.absorb(Batch { alerts: ended.clone(), ..told(&["x"; ENTRIES + 1]) });
            let mut taken = Vec::new();
            while !backlog.is_empty(false) {
                taken.extend(backlog.next(portion, false));
            }
            let last = taken.pop().unwrap();
            assert_eq!((last.alerts, taken.len() + 1), (ended.clone(), parts));
            assert!(taken.iter().all(|part| part.alerts.is_empty() && !part.entries.is_empty()));
        }
    }

    #[test]
    fn what_is_put_back_comes_again_in_its_place() {
        let mut backlog = Backlog::default();
        for ordinal in 1..=3 {
            backlog.absorb(Batch { ..passed(ordinal, 1) });
        }
        backlog.absorb(told(&["a", "b", "c"]));
        for portion in [Portion::Much, Portion::Least, Portion::Least] {
            let taken = backlog.next(portion, false);
            assert!(taken[0].tick.is_none(), "entries before passes");
            backlog.put_back(taken);
        }
        let first = backlog.next(Portion::Least, false);
        assert_eq!(messages(&first), ["a"]);
        assert_eq!(messages(&backlog.next(Portion::Much, true)), ["b", "c"]);
        assert!(backlog.is_empty(true) && !backlog.is_empty(false));
        assert_eq!(backlog.next(Portion::Much, true), [], "passes are spared");
        let taken = backlog.next(Portion::Least, false);
        assert_eq!(ordinals(&taken), [1]);
        backlog.put_back(taken);
        let taken = backlog.next(Portion::Much, false);
        assert_eq!((ordinals(&taken), backlog.samples()), (vec![1, 2, 3], 0));
        backlog.put_back(taken);
        backlog.absorb(told(&["d", "e", "f"]));
        backlog.forget(2, 2);
        assert_eq!(messages(&backlog.next(Portion::Much, false)), ["f"]);
        assert_eq!((ordinals(&backlog.next(Portion::Much, false)), backlog.entry_bytes), (vec![3], 0));
    }
}
