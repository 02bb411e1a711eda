//! CPU and I/O of a process tree, added up from the counters of its members so that the sum is what the kernel charged
//! to the tree: never above it, and never falling.
//!
//! A process's counters hold what it used itself (`own`) and what its children had used by the time it waited for them
//! (`children`, their descendants included). A child that ends moves from its own counters into its parent's, and
//! nothing says who waited for whom. So only sums over the tree count:
//!
//! ```text
//! survivors: members seen at both reads      born: new since the last tick
//! V         = Σ over those that are gone of their last own + children, where a member may have waited for them
//! L         = the part of V that is known not to have arrived
//! G         = max(0, Σ over survivors of Δchildren − carry)
//! increment = Σ over survivors of Δown + Σ over born of (own + children) + max(0, G − (V − L))
//! carry     = max(0, V − L − G) + L + the part of the old carry that can still arrive
//! ```
//!
//! `G − V` is what ended children used after they were last read. Whose parent lives can only have gone to that one: as
//! far as its counter has grown by less than such children had, that has not arrived, which is `L`. Where parent and child
//! are gone together, or the parent is dead, an ancestor that takes orphans in may have waited for the child: it may have
//! arrived anywhere above. `carry` holds what vanished before its parent's counter showed it: members are read oldest
//! first, so a child that is waited for between the reading of its parent and its own is gone in this tick and arrives in
//! the parent's counter in the next. What has not arrived by then never will (nobody waited for it), unless that parent
//! vanished too, or could not be read: then it arrives one tick later still, in the grandparent's counter or in its own.
//! So each member knows what is `late` below it, and only that much outlives a tick in `carry`.
//!
//! What a tree without anybody above it takes along, an orphan that belongs to process 1, arrives nowhere: held against
//! `G`, it would hide what others' children used. So `V` leaves it out.
//!
//! Where trees nest, what an orphan had may come up in that of another. What no counter above it has yet is expected in
//! each of them: it is held against too much then, rather than charged twice.
//!
//! Nobody looks while the daemon is started again: that is a long tick, and no rule of its own. What the ledgers and
//! shares held is written down together, and the first tick of the next daemon goes on from there. What was shown later
//! than that is a floor: the sum is at least as much.

use crate::model::{Balance, Held};

/// The counter of one process, in any unit. Never falls while the process lives.
///
/// A counter that does not tell the two apart, as `/proc/PID/io` does not, is all `children`: then what ended children
/// brought cannot be told from the process's own, and all of it is held against what vanished.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Counter {
    /// What it used itself.
    pub(crate) own: u64,
    /// What came from children that ended.
    pub(crate) children: u64,
}

/// The running sum of one counter over one tree, and what the tick under way has shown so far.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Ledger {
    total: u64,
    carry: u64,
    /// What was charged at least, of which the first tick may not know.
    floor: u64,
    tally: Tally,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Tally {
    own: u64,
    children: u64,
    born: u64,
    /// Of those that are gone, what may have come up in this tick.
    vanished: u64,
    /// The part of it that no counter of those that live has yet, as far as is known.
    open: u64,
    /// And what can only come up in the next.
    coming: u64,
    /// And what was late below them.
    late: u64,
}

/// One member's part in a ledger: its counter when it was last read.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Share {
    last: Counter,
    /// How much came from ended children at the last reading, and is not yet known to have vanished below this member.
    grown: u64,
    /// What vanished below this member and was not in its counter when that was last read.
    late: u64,
    /// The part of it that can only come up here.
    sure: u64,
}

impl Ledger {
    /// Goes on from what an earlier one held, and `floor`, which was charged by a later one at least. Of what was on its
    /// way, nothing says how far it had come: all of it may arrive a tick later still.
    pub(crate) fn resume(held: Balance, floor: u64) -> Ledger {
        let tally = Tally { late: held.coming, ..Tally::default() };
        Ledger { total: held.total, carry: held.coming, floor, tally }
    }

    /// Everything charged so far. Never falls.
    pub(crate) fn total(&self) -> u64 {
        self.total.max(self.floor)
    }

    /// What another ledger can go on from, together with the shares of the same moment.
    pub(crate) fn balance(&self) -> Balance {
        let Tally { own, born, vanished, coming, .. } = self.tally;
        Balance { total: self.total + own + born, coming: self.carry + vanished + coming }
    }

    /// A member that began since the last tick: all it has was used in this tree.
    pub(crate) fn born(&mut self, now: Counter) -> Share {
        self.tally.born += now.own + now.children;
        Share::new(now)
    }

    /// A member read again.
    pub(crate) fn survived(&mut self, share: &mut Share, now: Counter) {
        self.tally.own += now.own.saturating_sub(share.last.own);
        let came = now.children.saturating_sub(share.last.children);
        self.tally.children += came;
        // What was late here for sure comes before anything else.
        share.grown = came.saturating_sub(share.sure);
        (share.late, share.sure) = (0, 0);
        share.last = now;
    }

    /// A member that is there and could not be read: what is late below it stays late.
    pub(crate) fn missed(&mut self, share: &mut Share) {
        share.grown = 0;
        self.tally.late += share.late;
    }

    /// So much of what vanished has come up in this tree in this tick.
    pub(crate) fn explain(&mut self, amount: u64) {
        self.tally.vanished += amount;
    }

    /// So much of what vanished may come up in this tree, now or later.
    pub(crate) fn expect(&mut self, amount: u64) {
        self.tally.vanished += amount;
        self.tally.open += amount;
    }

    /// So much of what vanished cannot have come up yet.
    pub(crate) fn expect_later(&mut self, amount: u64) {
        self.tally.coming += amount;
    }

    /// So much of what was expected before may still come up in the next tick.
    pub(crate) fn expect_longer(&mut self, amount: u64) {
        self.tally.late += amount;
    }

    /// Everything that is still expected: no more than this can come up below members that come from this tree.
    pub(crate) fn expected(&self) -> u64 {
        self.carry + self.tally.open + self.tally.coming
    }

    /// Ends the tick; returns what it added.
    pub(crate) fn charge(&mut self) -> u64 {
        let tally = std::mem::take(&mut self.tally);
        let gathered = tally.children.saturating_sub(self.carry);
        let increment = tally.own + tally.born + gathered.saturating_sub(tally.vanished);
        let not_arrived = self.carry.saturating_sub(tally.children);
        self.carry = tally.vanished.saturating_sub(gathered) + tally.coming + not_arrived.min(tally.late);
        self.total += increment;
        // Charged of processes that this ledger never knew: if they ended a moment ago, it is on its way.
        let unknown = std::mem::take(&mut self.floor).saturating_sub(self.total);
        self.total += unknown;
        self.carry += unknown;
        self.tally.late += unknown;
        increment
    }
}

impl Share {
    /// A member whose counter is taken as it is, without charging it: it was already running when it was first seen.
    pub(crate) fn new(now: Counter) -> Share {
        Share { last: now, ..Share::default() }
    }

    /// That of a member that an earlier ledger held.
    pub(crate) fn resume(held: Held) -> Share {
        Share { last: Counter { own: held.own, children: held.children }, grown: 0, late: held.late, sure: 0 }
    }

    /// What another ledger can go on from.
    pub(crate) fn held(&self) -> Held {
        Held { own: self.last.own, children: self.last.children, late: self.late }
    }

    /// The counter when it was last read.
    pub(crate) fn last(&self) -> Counter {
        self.last
    }

    /// What it had at the last reading.
    pub(crate) fn had(&self) -> u64 {
        self.last.own + self.last.children
    }

    /// What vanished below it and can still come up in its counter.
    pub(crate) fn late(&self) -> u64 {
        self.late
    }

    /// Up to `amount` of what vanished came up in its counter: returns how much. That much of its growth is explained.
    pub(crate) fn explain(&mut self, amount: u64) -> u64 {
        let arrived = self.grown.min(amount);
        self.grown -= arrived;
        arrived
    }

    /// So much that vanished below it may still come up in its counter; `sure`: or nowhere.
    pub(crate) fn inherit(&mut self, amount: u64, sure: bool) {
        self.late += amount;
        self.sure += if sure { amount } else { 0 };
    }
}

#[cfg(test)]
mod tests;
