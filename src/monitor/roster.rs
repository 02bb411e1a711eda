//! The registry sources' last good lists, and what they say together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::config;
use crate::model::{AgentId, Mono, Now, Record, SourceState};

use super::claims::Claim;
use super::exchange::SourceReading;

/// How many different complaints about one source are told.
const COMPLAINTS: usize = 50;

/// Every source with its last good list.
pub(super) struct Roster {
    sources: Vec<Listing>,
    /// What was told of records that others go before.
    passed_over: BTreeSet<Arc<str>>,
}

struct Listing {
    /// None: the built-in rules.
    source: Option<config::Source>,
    state: SourceState,
    records: Arc<[Arc<Record>]>,
    /// When the last good read was, by the monotonic clock.
    good_at: Option<Mono>,
    /// When it was configured: before the first good read its age counts from here.
    since: Mono,
    /// Whether it can never go stale: it says the same for ever, or it is this monitor that looks.
    constant: bool,
    /// Whether its agents are found by their programs.
    found: bool,
    told: BTreeSet<Arc<str>>,
}

impl Listing {
    /// Not read yet.
    fn new(source: Option<&config::Source>, now: Mono) -> Listing {
        let name = source.map_or_else(|| "match".to_owned(), config::Source::name).into();
        let found = matches!(source, None | Some(config::Source::Match { .. }));
        Listing {
            source: source.cloned(),
            state: SourceState { name, good_at: None, error: None, failing_since: None, records: 0, skipped: 0 },
            records: Arc::default(),
            good_at: None,
            since: now,
            constant: found || matches!(source, Some(config::Source::Flags(_))),
            found,
            told: BTreeSet::new(),
        }
    }
}

/// How a source is doing.
#[derive(PartialEq, Debug)]
pub(super) struct Freshness {
    /// For how long there was no good read.
    pub age: Duration,
    /// Whether there was one since it was configured.
    pub was_read: bool,
    /// What went wrong since then.
    pub error: Option<Arc<str>>,
}

/// What a reading changed.
#[derive(Default, PartialEq, Debug)]
pub(super) struct Changes {
    /// Whether the list is another than before.
    pub list: bool,
    /// Complaints that were not told before.
    pub complaints: Vec<Arc<str>>,
}

impl Roster {
    /// No source has been read yet. Without any there are the built-in rules.
    pub(super) fn new(sources: &[config::Source], now: Mono) -> Roster {
        let mut roster = Roster { sources: Vec::new(), passed_over: BTreeSet::new() };
        roster.change(sources, now);
        roster
    }

    /// Other sources are configured. Those that stay keep what they said, wherever they stand now.
    pub(super) fn change(&mut self, sources: &[config::Source], now: Mono) {
        let mut before = std::mem::take(&mut self.sources);
        let mut listing =
            |source: Option<&config::Source>| match before.iter().position(|listing| listing.source.as_ref() == source)
            {
                Some(place) => before.remove(place),
                None => Listing::new(source, now),
            };
        self.sources = match sources {
            [] => vec![listing(None)],
            named => named.iter().map(|source| listing(Some(source))).collect(),
        };
    }

    /// Whether every source that names agents was read once, well or not.
    pub(super) fn heard(&self) -> bool {
        let mut naming = self.sources.iter().filter(|source| !source.found);
        naming.all(|source| source.good_at.is_some() || source.state.error.is_some())
    }

    /// Takes in that agents were searched for among all processes. `count`: how many agents there are of a source.
    pub(super) fn searched(&mut self, count: impl Fn(&str) -> usize, now: Now) {
        for source in self.sources.iter_mut().filter(|source| source.found) {
            source.state.good_at = Some(now.wall);
            source.good_at = Some(now.mono);
            source.state.records = count(&source.state.name);
        }
    }

    /// Takes in what came of reading a source. A failure keeps the last good list.
    pub(super) fn read(&mut self, index: usize, reading: Result<SourceReading, Arc<str>>, now: Now) -> Changes {
        let mut changes = Changes::default();
        let Some(source) = self.sources.get_mut(index) else { return changes };
        let mut complain = |complaint: Arc<str>| {
            if source.told.len() < COMPLAINTS && source.told.insert(Arc::clone(&complaint)) {
                changes.complaints.push(complaint);
            }
        };
        match reading {
            Err(error) => {
                if source.state.error.as_ref() != Some(&error) {
                    tracing::warn!(source = %source.state.name, %error, "registry source cannot be read; its last good list stands");
                }
                source.state.error = Some(error);
                source.state.failing_since = source.state.failing_since.or(Some(now.wall));
            }
            Ok(SourceReading { records, skipped: complaints }) => {
                if source.state.error.take().is_some() {
                    tracing::info!(source = %source.state.name, records = records.len(), "registry source is back");
                } else if source.good_at.is_none() {
                    tracing::info!(source = %source.state.name, records = records.len(), "registry source read");
                }
                let still: BTreeSet<Arc<str>> = complaints.iter().cloned().collect();
                let skipped = complaints.len();
                for complaint in complaints {
                    complain(complaint);
                }
                // What is mended may be told again should it come back.
                source.told.retain(|complaint| still.contains(complaint));
                source.state.failing_since = None;
                source.state.skipped = skipped;
                source.state.good_at = Some(now.wall);
                source.good_at = Some(now.mono);
                source.state.records = records.len();
                if source.records != records {
                    source.records = records;
                    changes.list = true;
                }
            }
        }
        changes
    }

    /// What all sources say together: the first record of an id counts. With it, what was passed over and not told before.
    pub(super) fn merged(&mut self) -> (BTreeMap<AgentId, Claim>, Vec<Arc<str>>) {
        let mut claims: BTreeMap<AgentId, Claim> = BTreeMap::new();
        let mut passed_over: BTreeSet<Arc<str>> = BTreeSet::new();
        for (place, source) in self.sources.iter().enumerate() {
            for record in source.records.iter() {
                match claims.get(&record.id) {
                    None => {
                        claims.insert(record.id.clone(), Claim { record: Arc::clone(record), source: place });
                    }
                    Some(first) => {
                        let (name, before) = (&source.state.name, &self.sources[first.source].state.name);
                        let id = record.id.as_str();
                        tracing::debug!(source = %name, agent = id, %before, "registry record passed over");
                        // Many of them are one mistake.
                        if passed_over.len() < COMPLAINTS {
                            passed_over.insert(format!("{name}: agent {id:?} is already named by {before}").into());
                        }
                    }
                }
            }
        }
        let new = passed_over.difference(&self.passed_over).cloned().collect();
        self.passed_over = passed_over;
        (claims, new)
    }

    /// Whether every source has been read well since the start.
    pub(super) fn is_complete(&self) -> bool {
        self.sources.iter().all(|source| source.constant || source.good_at.is_some())
    }

    /// Whether a source was read well after `then`, so that what it says was said knowing what happened then.
    pub(super) fn confirmed_since(&self, source: usize, then: Mono) -> bool {
        self.sources.get(source).is_some_and(|source| source.constant || source.good_at.is_some_and(|at| at > then))
    }

    /// How every source that can go stale is doing. Those of one name are one: the one that is worst off.
    pub(super) fn freshness(&self, now: Mono) -> BTreeMap<Arc<str>, Freshness> {
        let mut all: BTreeMap<Arc<str>, Freshness> = BTreeMap::new();
        for source in self.sources.iter().filter(|source| !source.constant) {
            let age = now.since(source.good_at.unwrap_or(source.since));
            let fresh = Freshness { age, was_read: source.good_at.is_some(), error: source.state.error.clone() };
            match all.get_mut(&source.state.name) {
                Some(worst) if worst.age >= age => {}
                Some(worst) => *worst = fresh,
                None => drop(all.insert(Arc::clone(&source.state.name), fresh)),
            }
        }
        all
    }

    /// The name of a source.
    pub(super) fn name(&self, source: usize) -> Arc<str> {
        Arc::clone(&self.sources[source].state.name)
    }

    /// The sources as they are shown.
    pub(super) fn states(&self) -> Vec<SourceState> {
        self.sources.iter().map(|source| source.state.clone()).collect()
    }
}
