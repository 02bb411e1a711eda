//! Where adding up processor time and storage goes on after a restart.

use super::{AgentNumber, BootId, Mono, Pid, ProcessKey};

/// What the ledgers of one agent held at one moment, with every member that they held it of: where another daemon goes
/// on adding up.
#[derive(Clone, PartialEq, Debug)]
pub struct AccountRow {
    /// Whose.
    pub agent: AgentNumber,
    /// The boot that the members live in.
    pub boot: BootId,
    /// When processes were last looked for, on the monotonic clock of that boot. What began later is in no row.
    pub scanned_at: Mono,
    /// Of its tree.
    pub tree: Sums,
    /// Of its leftovers.
    pub leftovers: Sums,
    /// All members of both.
    pub members: Vec<MemberRow>,
}

/// The sums of one account.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Sums {
    /// Processor time, microseconds.
    pub cpu_us: Balance,
    /// Bytes read from storage.
    pub read_bytes: Balance,
    /// Bytes written to storage.
    pub written_bytes: Balance,
}

/// One sum.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Balance {
    /// What was charged.
    pub total: u64,
    /// What was charged and may come up in the counter of another member.
    pub coming: u64,
}

/// A member, and what its counters showed when it was last read.
#[derive(Clone, PartialEq, Debug)]
pub struct MemberRow {
    /// Which process.
    pub process: ProcessKey,
    /// Its parent when it was last looked at.
    pub parent: Option<Pid>,
    /// Whether it is a leftover.
    pub leftover: bool,
    /// Whether all it used was used in this tree.
    pub born: bool,
    /// Processor time, microseconds; none before its first reading.
    pub cpu_us: Option<Held>,
    /// Bytes read and written; none until they could be read.
    pub io_bytes: Option<(Held, Held)>,
}

/// A counter of a member.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Held {
    /// What it used itself.
    pub own: u64,
    /// What came from children that ended.
    pub children: u64,
    /// What was charged of processes below it and may come up in its counter.
    pub late: u64,
}
