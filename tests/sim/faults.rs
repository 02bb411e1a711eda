//! What can go wrong, what of it does in one world, and how often it struck.

use std::collections::BTreeMap;

use super::chance::Chance;

/// Something that goes wrong on purpose.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Fault {
    /// The registry cannot be read for a while.
    SourceFails,
    /// It is no JSON for once.
    SourceTorn,
    /// It is read so slowly that what it said is no longer so when it arrives.
    SourceSlow,
    /// One of its records cannot be used.
    RecordBad,
    /// One is missing for a while.
    RecordGone,
    /// One names the process before for a while.
    RecordStale,
    /// Another one names the same process for a while.
    RecordShared,
    /// Every write to the database fails for a while.
    WritesFail,
    /// There is no room for a while.
    DiskFull,
    /// One sync fails, so that nobody knows what is on disk.
    SyncFails,
    /// One write fails.
    WriteFails,
    /// A write does not end for a while, in which more comes than the queue takes.
    WriteStalls,
    /// The database may hardly grow.
    Bounded,
    /// A newer version had the database.
    Newer,
    /// The daemon is killed while it rests.
    Killed,
    /// It is killed after it has shown something, before that is stored.
    KilledBeforeStoring,
    /// It is killed in the middle of a transaction.
    KilledWriting,
    /// It is stopped in order, and another one goes on.
    Stopped,
    /// The machine is started again.
    Rebooted,
    /// It loses its power: what was not synced may be gone.
    PowerLost,
    /// It does not get to run for many intervals.
    Stalled,
    /// The wall clock is set ahead.
    WallAhead,
    /// The wall clock is set back.
    WallBack,
    /// The machine sleeps: only the wall clock goes on.
    Suspended,
    /// Some processes may not be read for a while.
    Hidden,
    /// The list of processes cannot be had for a while.
    Blind,
    /// Settings change while it runs.
    Reloaded,
    /// An agent writes more than it may.
    Flooded,
    /// What was refused, or not answered, is told again.
    ToldAgain,
}

impl Fault {
    pub(crate) const ALL: [Fault; 29] = [
        Fault::SourceFails,
        Fault::SourceTorn,
        Fault::SourceSlow,
        Fault::RecordBad,
        Fault::RecordGone,
        Fault::RecordStale,
        Fault::RecordShared,
        Fault::WritesFail,
        Fault::DiskFull,
        Fault::SyncFails,
        Fault::WriteFails,
        Fault::WriteStalls,
        Fault::Bounded,
        Fault::Newer,
        Fault::Killed,
        Fault::KilledBeforeStoring,
        Fault::KilledWriting,
        Fault::Stopped,
        Fault::Rebooted,
        Fault::PowerLost,
        Fault::Stalled,
        Fault::WallAhead,
        Fault::WallBack,
        Fault::Suspended,
        Fault::Hidden,
        Fault::Blind,
        Fault::Reloaded,
        Fault::Flooded,
        Fault::ToldAgain,
    ];
}

/// How often each fault struck.
pub(crate) type Strikes = BTreeMap<Fault, u64>;

/// The faults of one world: in each a random part of them is switched on, so that what one of them would prevent comes to
/// be as well. In one of eight none is.
pub(crate) struct Faults {
    on: Vec<Fault>,
    chance: Chance,
    struck: Strikes,
}

impl Faults {
    pub(crate) fn of(seed: u64) -> Faults {
        let mut chance = Chance::new(seed ^ 0x5EED);
        let none = chance.one_in(8);
        let on = Fault::ALL.into_iter().filter(|_| chance.one_in(2) && !none).collect();
        Faults { on, chance, struck: Strikes::new() }
    }

    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.on.contains(&fault)
    }

    /// Whether this fault strikes now, of so many occasions once.
    pub(crate) fn now(&mut self, fault: Fault, one_in: u64) -> bool {
        self.has(fault) && self.chance.one_in(one_in)
    }

    pub(crate) fn below(&mut self, below: u64) -> u64 {
        self.chance.below(below)
    }

    /// It struck so often.
    pub(crate) fn strike(&mut self, fault: Fault, times: u64) {
        if times > 0 {
            *self.struck.entry(fault).or_default() += times;
        }
    }

    pub(crate) fn struck(&self) -> &Strikes {
        &self.struck
    }

    /// From now on nothing goes wrong any more.
    pub(crate) fn end(&mut self) {
        self.on.clear();
    }
}
