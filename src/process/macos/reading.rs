//! The counters of a process, from what the kernel says of them.

use super::facts::Facts;
use super::units::Timebase;
use crate::model::{Cpu, Io, IoReading, Mono, Pid, PssReading, Reading};

/// What `proc_pid_rusage` of flavour `RUSAGE_INFO_V4` says, sys/resource.h. Times are in ticks of the machine's clock.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Usage {
    pub(super) user: u64,
    pub(super) system: u64,
    /// Of children that ended and that it waited for, and theirs.
    pub(super) child_user: u64,
    pub(super) child_system: u64,
    pub(super) resident_bytes: u64,
    /// Of the process alone: what a child did is not added to its parent.
    pub(super) read_bytes: u64,
    pub(super) written_bytes: u64,
}

/// What is told of a living one alone: `pti_threadnum` and `pti_numrunning` of `struct proc_taskinfo`, sys/proc_info.h.
#[derive(Clone, Copy, Debug)]
pub(super) struct Threads {
    pub(super) all: u32,
    pub(super) running: u32,
}

/// The reading of the process `facts`, in this session. `threads`: none of one that has ended.
pub(super) fn reading(
    facts: &Facts,
    session: Option<Pid>,
    usage: &Usage,
    threads: Option<Threads>,
    timebase: Timebase,
    read_at: Mono,
    io: bool,
) -> Reading {
    let io = if io {
        IoReading::Own(Io { read_bytes: usage.read_bytes, written_bytes: usage.written_bytes })
    } else {
        IoReading::Skipped
    };
    Reading {
        read_at,
        parent: facts.parent,
        group: facts.group,
        session,
        state: facts.state(threads.map(|threads| threads.running)),
        cpu: Cpu {
            own_us: timebase.us(usage.user.saturating_add(usage.system)),
            children_us: timebase.us(usage.child_user.saturating_add(usage.child_system)),
        },
        // Written down at its end, a dead one's is what it had: nobody has that now.
        rss_bytes: if threads.is_some() { usage.resident_bytes } else { 0 },
        pss: PssReading::Unknown,
        threads: Some(threads.map_or(0, |threads| threads.all)),
        io,
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::tests::kinfo;
    use super::*;
    use crate::model::ProcessState;

    const USAGE: Usage = Usage {
        user: 24_000_000,
        system: 12_000_000,
        child_user: 48_000_000,
        child_system: 24,
        resident_bytes: 7 << 20,
        read_bytes: 4096,
        written_bytes: 8192,
    };

    #[test]
    fn a_living_one() {
        let facts = Facts::parse(&kinfo()).unwrap();
        let apple = Timebase::new(125, 3).unwrap();
        let threads = Threads { all: 9, running: 1 };
        let expected = Reading {
            read_at: Mono(7),
            parent: Pid::new(1),
            group: facts.group,
            session: Pid::new(5),
            state: ProcessState::Running,
            cpu: Cpu { own_us: 1_500_000, children_us: 2_000_001 },
            rss_bytes: 7 << 20,
            pss: PssReading::Unknown,
            threads: Some(9),
            io: IoReading::Own(Io { read_bytes: 4096, written_bytes: 8192 }),
        };
        assert_eq!(reading(&facts, Pid::new(5), &USAGE, Some(threads), apple, Mono(7), true), expected);
        let skipped = Reading { io: IoReading::Skipped, ..expected };
        assert_eq!(reading(&facts, Pid::new(5), &USAGE, Some(threads), apple, Mono(7), false), skipped);
    }

    #[test]
    fn one_that_has_ended_keeps_its_counters() {
        let mut facts = Facts::parse(&kinfo()).unwrap();
        facts.stat = 5;
        let dead = reading(&facts, Pid::new(5), &USAGE, None, Timebase::new(1, 1).unwrap(), Mono(7), true);
        assert_eq!((dead.state, dead.rss_bytes, dead.threads), (ProcessState::Zombie, 0, Some(0)));
        assert_eq!(dead.cpu, Cpu { own_us: 36_000, children_us: 48_000 });
        let most = Usage { user: u64::MAX, system: 1, ..USAGE };
        let apple = Timebase::new(125, 3).unwrap();
        assert_eq!(reading(&facts, Pid::new(5), &most, None, apple, Mono(7), true).cpu.own_us, 768_614_336_404_564_650);
    }
}
