//! What the ledgers of one tree hold, and what a pass adds up of its members.

use std::time::Duration;

use crate::ledger::{Counter, Ledger, Share};
use crate::model::{Io, IoReading, MemberRow, Mono, ProcessKey, ProcessState, Reading, Sums};
use crate::tree::{Member, Seen};

/// Processor time is counted in hundredths of a second, and on a busy host a loop without end may wait for its turn for more
/// than a tenth: in a shorter time than this it makes no rate. Well below the time to an agent's second reading.
const SHORTEST: Duration = Duration::from_millis(300);

/// What is added up of a tree, in a ledger each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Resource {
    Cpu,
    Read,
    Written,
}

/// The ledgers of one tree.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Account {
    /// Processor time, microseconds.
    pub cpu: Ledger,
    /// Bytes read from storage.
    pub read: Ledger,
    /// Bytes written to storage.
    pub written: Ledger,
}

/// What one pass adds up over the members of a tree.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Sum {
    /// Processes that have not ended.
    pub processes: u32,
    /// Processes that have, and that nobody has waited for.
    pub zombies: u32,
    /// The threads of those that have not, as far as they are known.
    pub threads: u32,
    /// Whether those of one of them are not known.
    pub threads_missing: bool,
    /// Their resident memory, bytes.
    pub rss_bytes: u64,
    /// Their proportional set sizes, as far as they are known, bytes.
    pub pss_bytes: u64,
    /// Whether that of one of them is not known, or too old.
    pub pss_missing: bool,
    /// Whether that of one of them may not be seen.
    pub pss_denied: bool,
    /// When the first of them was read.
    pub read_at: Option<Mono>,
    /// Whether the storage I/O of one of them may not be seen.
    pub io_denied: bool,
    /// Whether one of them could not be read.
    pub failed: bool,
}

/// What the members of a tree used and hold, or those who outlived it.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Usage {
    /// What they used, over all runs.
    pub account: Account,
    /// What the last pass added up, or what that under way has.
    pub sum: Sum,
}

impl Resource {
    /// All of them.
    pub(super) const ALL: [Resource; 3] = [Resource::Cpu, Resource::Read, Resource::Written];

    /// Whether a pass reads it, that reads storage I/O only if `io`.
    pub(super) fn is_read(self, io: bool) -> bool {
        self == Resource::Cpu || io
    }
}

impl Sum {
    /// How many members were read.
    pub(super) fn count(&self) -> usize {
        usize::try_from(self.processes + self.zombies).unwrap_or(0)
    }

    /// Adds one member.
    pub(super) fn add(&mut self, reading: &Reading) {
        self.read_at = self.read_at.or(Some(reading.read_at));
        self.io_denied |= reading.io == IoReading::Denied;
        if reading.state == ProcessState::Zombie {
            self.zombies += 1;
        } else {
            self.processes += 1;
            self.threads += reading.threads.unwrap_or(0);
            self.threads_missing |= reading.threads.is_none();
            self.add_memory(reading);
        }
    }
}

impl Account {
    /// Goes on from what was written down; at least these were shown.
    pub(super) fn resume(held: &Sums, cpu_us: u64, io: Io) -> Account {
        Account {
            cpu: Ledger::resume(held.cpu_us, cpu_us),
            read: Ledger::resume(held.read_bytes, io.read_bytes),
            written: Ledger::resume(held.written_bytes, io.written_bytes),
        }
    }

    /// What another daemon can go on from.
    pub(super) fn sums(&self) -> Sums {
        Sums { cpu_us: self.cpu.balance(), read_bytes: self.read.balance(), written_bytes: self.written.balance() }
    }

    /// Ends the tick, for storage I/O only if `io`; returns the processor time that it added, microseconds.
    pub(super) fn charge(&mut self, io: bool) -> u64 {
        if io {
            self.read.charge();
            self.written.charge();
        }
        self.cpu.charge()
    }

    /// All storage I/O that was charged.
    pub(super) fn io(&self) -> Io {
        Io { read_bytes: self.read.total(), written_bytes: self.written.total() }
    }

    /// A member is there and could not be read.
    pub(super) fn miss(&mut self, member: &mut Member, io: bool) {
        let Some(seen) = &mut member.seen else { return };
        self.cpu.missed(&mut seen.cpu);
        if let Some((read, written)) = seen.io.as_mut().filter(|_| io) {
            self.read.missed(read);
            self.written.missed(written);
        }
    }

    /// One of its ledgers.
    pub(super) fn ledger(&mut self, resource: Resource) -> &mut Ledger {
        match resource {
            Resource::Cpu => &mut self.cpu,
            Resource::Read => &mut self.read,
            Resource::Written => &mut self.written,
        }
    }

    /// Takes in the reading of one member.
    pub(super) fn take(&mut self, member: &mut Member, reading: &Reading) {
        let (before, born) = (member.seen.as_ref(), member.born);
        let counters = match reading.io {
            // What a process reads itself cannot be told from what came from children: all of it counts as theirs.
            IoReading::Known(io) => {
                Some([io.read_bytes, io.written_bytes].map(|children| Counter { own: 0, children }))
            }
            // Nothing of a child ever comes up in its parent: what is gone is held against nothing.
            IoReading::Own(io) => Some([io.read_bytes, io.written_bytes].map(|own| Counter { own, children: 0 })),
            IoReading::Denied | IoReading::Skipped => None,
        };
        let io_before = before.and_then(|seen| seen.io);
        let io = counters.map(|[read, written]| {
            let (read_before, written_before) = io_before.unzip();
            (enter(&mut self.read, read_before, read, born), enter(&mut self.written, written_before, written, born))
        });
        let cpu = Counter { own: reading.cpu.own_us, children: reading.cpu.children_us };
        let cpu_percent = before.and_then(|seen| {
            let used_us = cpu.own.saturating_sub(seen.cpu.last().own);
            percent(used_us, reading.read_at, seen.read_at).or(seen.cpu_percent)
        });
        member.seen = Some(Seen {
            read_at: reading.read_at,
            state: reading.state,
            rss_bytes: reading.rss_bytes,
            threads: reading.threads,
            cpu_percent,
            cpu: enter(&mut self.cpu, before.map(|seen| seen.cpu), cpu, born),
            io: io.or(io_before),
        });
    }
}

impl Seen {
    /// Its part in one of the ledgers, if it has one there.
    pub(super) fn share(mut self, resource: Resource) -> Option<Share> {
        self.share_mut(resource).copied()
    }

    /// The same, to be changed.
    pub(super) fn share_mut(&mut self, resource: Resource) -> Option<&mut Share> {
        match (resource, &mut self.io) {
            (Resource::Cpu, _) => Some(&mut self.cpu),
            (Resource::Read, Some((read, _))) => Some(read),
            (Resource::Written, Some((_, written))) => Some(written),
            (_, None) => None,
        }
    }

    /// Whether something of what vanished below it is still to come up.
    pub(super) fn waits(&self) -> bool {
        self.cpu.late() > 0 || self.io.is_some_and(|(read, written)| read.late() + written.late() > 0)
    }
}

/// A member, to be written down.
pub(super) fn member_row(process: ProcessKey, member: &Member) -> MemberRow {
    MemberRow {
        process,
        parent: member.parent,
        leftover: member.owner.leftover,
        born: member.born,
        cpu_us: member.seen.map(|seen| seen.cpu.held()),
        io_bytes: member.seen.and_then(|seen| seen.io).map(|(read, written)| (read.held(), written.held())),
    }
}

/// What an earlier daemon saw of a member last, at `read_at`; none if it never read it.
pub(super) fn seen_before(row: &MemberRow, read_at: Mono) -> Option<Seen> {
    Some(Seen {
        read_at,
        state: ProcessState::Sleeping,
        rss_bytes: 0,
        threads: None,
        cpu_percent: None,
        cpu: Share::resume(row.cpu_us?),
        io: row.io_bytes.map(|(read, written)| (Share::resume(read), Share::resume(written))),
    })
}

/// A member's part in a ledger after a reading: its first, or another.
fn enter(ledger: &mut Ledger, share: Option<Share>, now: Counter, born: bool) -> Share {
    match share {
        Some(mut share) => {
            ledger.survived(&mut share, now);
            share
        }
        None if born => ledger.born(now),
        None => Share::new(now),
    }
}

/// Microseconds of processor time between two moments, as percent of one core; none if they are too close for a rate.
pub(super) fn percent(used_us: u64, at: Mono, before: Mono) -> Option<f64> {
    let span: Duration = at.since(before);
    #[expect(clippy::cast_precision_loss, reason = "a rate of one decimal")]
    let rate = (span >= SHORTEST).then(|| used_us as f64 / span.as_secs_f64() / 10_000.0);
    rate
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Cpu, Io, Pid, ProcessRow, PssReading, Timestamp};
    use crate::tree::{AgentIndex, Forest, Owner};

    /// A parent reads 10 bytes and its child 100; the child ends, and the parent reads 50 more: 160, whether the kernel adds
    /// what children did to their parent (Linux) or to nobody (macOS).
    #[test]
    fn what_a_child_read_counts_once_however_it_is_told() {
        type Tell = fn(Io) -> IoReading;
        for (tell, at_last) in [(IoReading::Known as Tell, 160), (IoReading::Own as Tell, 60)] {
            let mut forest = Forest::default();
            let [parent, child] = [7, 8].map(|pid| ProcessKey { start_ticks: 1, pid: Pid::new(pid).unwrap() });
            for key in [parent, child] {
                let row = ProcessRow {
                    key,
                    parent: (key == child).then_some(parent.pid),
                    group: None,
                    session: None,
                    state: ProcessState::Running,
                    kernel: false,
                    name: "x".into(),
                    uid: None,
                    age: Duration::ZERO,
                };
                let owner = Owner::tree(AgentIndex(0));
                forest.insert(&row, owner, Timestamp::default(), true);
            }
            let mut account = Account::default();
            let mut read = |account: &mut Account, key: ProcessKey, bytes: u64| {
                let reading = Reading {
                    read_at: Mono(1),
                    parent: None,
                    group: None,
                    session: None,
                    state: ProcessState::Running,
                    cpu: Cpu::default(),
                    rss_bytes: 0,
                    pss: PssReading::Unknown,
                    threads: None,
                    io: tell(Io { read_bytes: bytes, written_bytes: 2 * bytes }),
                };
                let member = forest.get_mut(key).unwrap();
                account.take(member, &reading);
                member.seen.unwrap()
            };
            let charge = |account: &mut Account| (account.read.charge(), account.written.charge());
            read(&mut account, parent, 10);
            let gone = read(&mut account, child, 100);
            assert_eq!(charge(&mut account), (110, 220));
            for resource in Resource::ALL {
                let had = gone.share(resource).unwrap().had();
                account.ledger(resource).expect(had);
            }
            read(&mut account, parent, at_last);
            assert_eq!(charge(&mut account), (50, 100));
            assert_eq!((account.read.total(), account.written.total()), (160, 320));
        }
    }
}
