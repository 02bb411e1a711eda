//! What the monitor holds of one agent.

use std::sync::Arc;

use crate::alerts::{GrowthWindow, Recent};
use crate::model::{
    Balance, InnerPid, Io, Metrics, Mono, NO_LONGER_REGISTERED, Now, Observed, Pid, ProcessKey, RunEnd, RunRow,
    StoredAgent, Sums, UNREGISTERED,
};
use crate::verdict::{Fact, Verdict, is_expected, judge};

use super::account::{Account, Sum, Usage};
use super::claims::Claim;
use super::program::Program;
use super::report::RateLimit;
use super::runs::{End, Run};

/// One agent: what is claimed, what is observed, and what it used.
pub(super) struct Agent {
    /// What is kept of it.
    pub stored: StoredAgent,
    /// What its registry says now; none when no registry names it.
    pub claim: Option<Claim>,
    /// Where the process was found that the registry gives by its pid in another namespace: what it was called, and its
    /// pid here.
    pub found_at: Option<(InnerPid, Pid)>,
    /// What the kernel shows.
    pub fact: Fact,
    /// When `fact` last became that of an agent that does not run.
    pub gone_at: Option<Mono>,
    /// Its present run, or its last.
    pub run: Option<Run>,
    /// The process that its root, a launcher, started to be the agent in its place.
    pub program: Option<Box<Program>>,
    /// What its tree used and holds.
    pub tree: Usage,
    /// The same of its leftovers; none as long as it never had any.
    pub leftovers: Option<Box<Usage>>,
    /// Unresolved errors.
    pub unresolved: u64,
    /// Its messages in the broker's database, where they are counted there.
    pub counted_messages: Option<u64>,
    /// How fast it writes.
    pub rate: RateLimit,
    /// The rules that are for it, by their places in the configuration.
    pub rules: Arc<[usize]>,
    /// When runs of it ended as `error`.
    pub crashes: Recent,
    /// Its memory in the last minutes, while it runs.
    pub growth: Option<Box<GrowthWindow>>,
    /// When its tree was last read; none before the first reading of this run.
    pub read_at: Option<Mono>,
    /// Its numbers.
    pub metrics: Metrics,
    /// The status and counts of its last row of history.
    pub recorded: Option<(Arc<str>, u64, Option<u64>)>,
    /// What was told of it, and is not to be told again.
    pub told: Told,
    /// Whether members of it are or were in another's tree, or another's in its.
    pub nests: bool,
    /// Its part in the lists.
    pub listing: Listing,
}

/// What was told of an agent already.
pub(super) struct Told {
    /// What the last run left behind.
    pub leftovers: bool,
    /// That reading its tree failed, at the last pass.
    pub failing: bool,
    /// That its memory cannot be added up as configured.
    pub pss_denied: bool,
}

/// An agent's part in the lists: what keeps it there beside its registry and its processes, and how it is shown.
pub(super) struct Listing {
    /// Whether one that was found by its program stays for a while.
    pub lingers: bool,
    /// Whether one that is known only by what it writes stays.
    pub writes: bool,
    /// Its place in the list of the last snapshot, if it is in it.
    pub place: Option<usize>,
    /// Whether it would be shown otherwise now.
    pub stale: bool,
}

impl Agent {
    /// An agent of which nothing has been seen yet.
    pub(super) fn new(stored: StoredAgent) -> Agent {
        let sum = |total| Balance { total, coming: 0 };
        let sums = Sums {
            cpu_us: sum(stored.cpu_us),
            read_bytes: sum(stored.io.read_bytes),
            written_bytes: sum(stored.io.written_bytes),
        };
        let metrics = Metrics::unknown(stored.last_seen, "unknown".into());
        Agent {
            tree: Usage { account: Account::resume(&sums, 0, Io::default()), sum: Sum::default() },
            stored,
            claim: None,
            found_at: None,
            fact: Fact::NoPid,
            gone_at: None,
            run: None,
            program: None,
            leftovers: None,
            unresolved: 0,
            counted_messages: None,
            rate: RateLimit::default(),
            rules: Arc::default(),
            crashes: Recent::default(),
            growth: None,
            read_at: None,
            metrics,
            recorded: None,
            told: Told { leftovers: true, failing: false, pss_denied: false },
            nests: false,
            listing: Listing { lingers: false, writes: false, place: None, stale: true },
        }
    }

    /// The end of its last run; none while it runs.
    pub(super) fn end(&self) -> Option<&End> {
        self.run.as_ref()?.end.as_ref()
    }

    /// The same, while it waits for its cause.
    pub(super) fn awaited(&self) -> Option<&End> {
        self.end().filter(|end| end.reason.is_none())
    }

    /// Whether its registry says that it is not to run.
    pub(super) fn is_claimed_ended(&self) -> bool {
        let word = self.claim.as_ref().and_then(|claim| claim.record.status.as_deref());
        word.is_some_and(|word| !is_expected(word))
    }

    /// The root process, while it lives.
    pub(super) fn root(&self) -> Option<ProcessKey> {
        self.run.as_ref().filter(|run| run.end.is_none()).map(|run| run.root)
    }

    /// The process its registry claims, or the one it last had.
    pub(super) fn pid(&self) -> Option<Pid> {
        self.claimed_pid().or_else(|| self.run.as_ref().map(|run| run.root.pid))
    }

    /// The pid of the process its registry claims, where that is known.
    pub(super) fn claimed_pid(&self) -> Option<Pid> {
        match self.inner_pid() {
            None => self.claim.as_ref()?.record.pid,
            Some(inner) => self.found_at.filter(|(process, _)| *process == inner).map(|(_, pid)| pid),
        }
    }

    /// What its registry calls its process, if it gives the pid of another namespace.
    pub(super) fn inner_pid(&self) -> Option<InnerPid> {
        let record = &self.claim.as_ref()?.record;
        Some(InnerPid { namespace: record.pid_namespace?, pid: record.pid? })
    }

    /// Claim and fact reconciled.
    pub(super) fn verdict(&self) -> Verdict {
        let word = self.claim.as_ref().and_then(|claim| claim.record.status.as_ref());
        let mut verdict = match (self.pid(), self.inner_pid()) {
            (None, Some(inner)) => judge(word, Some(inner), &self.fact),
            (pid, _) => judge(word, pid, &self.fact),
        };
        if self.claim.is_none() {
            if self.is_unregistered() {
                verdict.status = "unknown".into();
                verdict.reason = Some("known only by what it writes".into());
            } else if verdict.state == Observed::Running && !self.is_found() {
                verdict.reason = Some(NO_LONGER_REGISTERED.into());
            }
        }
        verdict
    }

    /// Its messages: by its record, else as the broker's database counts them.
    pub(super) fn message_count(&self) -> Option<u64> {
        self.claim.as_ref().and_then(|claim| claim.record.message_count).or(self.counted_messages)
    }

    /// Whether it is known only by what it writes.
    pub(super) fn is_unregistered(&self) -> bool {
        &*self.stored.source == UNREGISTERED
    }

    /// Whether it was found by its program, and nobody claims it.
    pub(super) fn is_found(&self) -> bool {
        self.claim.is_none() && self.stored.source.starts_with("match:")
    }

    /// The name of the rule that found it, if one did.
    pub(super) fn found_as(&self) -> Option<&str> {
        self.stored.source.strip_prefix("match:").filter(|_| self.is_found())
    }

    /// Whether it belongs into the lists: somebody names it, or something of it lives or did lately, or it writes.
    pub(super) fn is_listed(&self) -> bool {
        let left = self.leftover_sum();
        // One that cannot be read may live.
        let lives = self.root().is_some() || left.processes > 0 || left.failed;
        self.claim.is_some() || lives || self.listing.lingers || self.is_unregistered() && self.listing.writes
    }

    /// Says that the fact is another now.
    pub(super) fn observe(&mut self, fact: Fact, now: Now) {
        let lives = matches!(fact, Fact::Running | Fact::Ourselves | Fact::Shared { state: Observed::Running, .. });
        self.gone_at = if lives { None } else { self.gone_at.or(Some(now.mono)) };
        self.fact = fact;
        self.listing.stale = true;
    }

    /// Its run is over: what it used is no longer to be seen.
    pub(super) fn stop(&mut self) {
        self.metrics.cpu_percent = None;
        self.metrics.memory_bytes = None;
        self.metrics.process_count = None;
        self.metrics.thread_count = None;
        (self.read_at, self.growth, self.listing.stale) = (None, None, true);
        self.told.leftovers = false;
    }

    /// Its totals, for its row.
    pub(super) fn totals(&mut self, now: Now) -> StoredAgent {
        self.stored.cpu_us = self.tree.account.cpu.total();
        self.stored.io = self.tree.account.io();
        // Even if that is earlier than before: a clock that was ahead for a moment must not keep an agent for years.
        self.stored.last_seen = now.wall;
        self.stored.clone()
    }

    /// The row of its present or last run.
    pub(super) fn run_row(&self) -> Option<RunRow> {
        let run = self.run.as_ref()?;
        let end = run.end.as_ref().and_then(|end| {
            Some(RunEnd {
                at: end.at,
                status: end.status,
                oom_killed: end.oom_killed,
                reason: Arc::clone(end.reason.as_ref()?),
            })
        });
        Some(RunRow {
            agent: self.stored.number,
            root: run.first,
            boot: Arc::clone(&run.boot),
            started_at: run.started_at,
            end,
            cpu_us: self.tree.account.cpu.total().saturating_sub(run.cpu_before_us),
            peak_memory_bytes: run.peak_memory_bytes,
            last_memory_bytes: run.last_memory_bytes,
            memory_method: run.memory_method,
        })
    }

    /// What its tree used and holds, or its leftovers.
    pub(super) fn usage(&mut self, leftover: bool) -> &mut Usage {
        if leftover { self.leftovers.get_or_insert_default() } else { &mut self.tree }
    }

    /// Whether the last pass found something that outlived it, dead or alive.
    pub(super) fn has_leftovers(&self) -> bool {
        self.leftover_sum().count() > 0
    }

    /// How many members the last pass found, dead or alive, leftovers among them.
    pub(super) fn count_members(&self) -> usize {
        self.tree.sum.count() + self.leftover_sum().count()
    }

    /// What the last pass added up for its leftovers.
    pub(super) fn leftover_sum(&self) -> Sum {
        self.leftovers.as_ref().map_or_else(Sum::default, |usage| usage.sum)
    }
}
