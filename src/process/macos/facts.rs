//! Who a process is, as `struct kinfo_proc` of the `sysctl` `kern.proc` tells it: sys/sysctl.h and sys/proc.h of Apple's
//! xnu. It shows everyone's processes to everyone, the dead that nobody has waited for too, and is the same in every
//! program of 64 bits.
//!
//! What macOS does not tell is said where it is missing: whether a living process runs or sleeps (`p_stat` is `SRUN` for
//! either), and its session.

use super::units::moment_us;
use crate::model::{ExitStatus, Pid, ProcessKey, ProcessState};

/// Bytes of one `struct kinfo_proc`.
pub(super) const KINFO_BYTES: usize = 648;

/// Where in it is what, and how wide: `p_starttime.tv_sec`, `.tv_usec`, `p_flag`, `p_stat`, `p_pid`, `p_comm`, `p_xstat`;
/// `e_ucred.cr_uid`, `e_ppid`, `e_pgid`. Held to the C structures by a test.
mod at {
    pub(super) const START_SECONDS: usize = 0;
    pub(super) const START_US: usize = 8;
    pub(super) const FLAG: usize = 32;
    pub(super) const STAT: usize = 36;
    pub(super) const PID: usize = 40;
    pub(super) const COMM: usize = 243;
    pub(super) const XSTAT: usize = 280;
    pub(super) const UID: usize = 420;
    pub(super) const PPID: usize = 560;
    pub(super) const PGID: usize = 564;
}

/// `MAXCOMLEN`, sys/param.h: the longest name.
const NAME_BYTES: usize = 16;

/// `P_SYSTEM`: of the kernel's own. `P_WEXIT`: on its way out.
const SYSTEM: u32 = 0x200;
const EXITING: u32 = 0x2000;

/// `SSTOP` and `SZOMB`, sys/proc.h.
const STOPPED: u8 = 4;
const ZOMBIE: u8 = 5;

/// Who a process is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Facts {
    pub(super) pid: Pid,
    pub(super) parent: Option<Pid>,
    pub(super) group: Option<Pid>,
    /// The effective user.
    pub(super) uid: u32,
    /// When it was forked, by the wall clock of that moment, microseconds since the Unix epoch. Written down then, so it
    /// stays as it is when the clock is set; two processes of one number cannot have it in common.
    pub(super) start_us: u64,
    pub(super) stat: u8,
    pub(super) kernel: bool,
    pub(super) exiting: bool,
    /// The wait status, once it is on its way out.
    pub(super) exit: u16,
    /// Untrusted text.
    pub(super) name: Box<str>,
}

impl Facts {
    /// Reads one `struct kinfo_proc`. `None` for what is none, and for the kernel itself, whose number is 0.
    pub(super) fn parse(bytes: &[u8]) -> Option<Facts> {
        let bytes: &[u8; KINFO_BYTES] = bytes.try_into().ok()?;
        let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let number = |at: usize| word(at).cast_signed();
        let pid = |at: usize| Pid::new(number(at).into());
        let seconds = i64::from_ne_bytes(bytes[at::START_SECONDS..][..8].try_into().expect("eight bytes"));
        let name = &bytes[at::COMM..at::COMM + NAME_BYTES];
        let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
        Some(Facts {
            pid: pid(at::PID)?,
            parent: pid(at::PPID),
            group: pid(at::PGID),
            uid: word(at::UID),
            start_us: moment_us(seconds, number(at::START_US).into())?,
            stat: bytes[at::STAT],
            kernel: word(at::FLAG) & SYSTEM != 0,
            exiting: word(at::FLAG) & EXITING != 0,
            exit: u16::from_ne_bytes(bytes[at::XSTAT..at::XSTAT + 2].try_into().expect("two bytes")),
            name: String::from_utf8_lossy(name).into(),
        })
    }

    /// Reads a list of them, the kernel itself left out. Also how many could not be understood.
    pub(super) fn parse_all(bytes: &[u8]) -> (Vec<Facts>, u64) {
        let kernel = |bytes: &[u8]| bytes.get(at::PID..at::PID + 4) == Some(&[0; 4]);
        let (mut found, mut odd) = (Vec::with_capacity(bytes.len() / KINFO_BYTES), 0);
        for one in bytes.chunks(KINFO_BYTES) {
            match Facts::parse(one) {
                Some(facts) => found.push(facts),
                None => odd += u64::from(!kernel(one)),
            }
        }
        (found, odd)
    }

    /// Its identity.
    pub(super) fn key(&self) -> ProcessKey {
        ProcessKey { start_ticks: self.start_us, pid: self.pid }
    }

    /// What it is doing, of a living one whether it runs only if somebody counted its running threads.
    pub(super) fn state(&self, running_threads: Option<u32>) -> ProcessState {
        match (self.stat, running_threads) {
            (ZOMBIE, _) => ProcessState::Zombie,
            (STOPPED, _) => ProcessState::Stopped,
            (_, Some(0)) => ProcessState::Sleeping,
            (_, Some(_)) => ProcessState::Running,
            (_, None) => ProcessState::Other,
        }
    }

    /// How it ended; `None` while it has not begun to.
    pub(super) fn ended(&self) -> Option<ExitStatus> {
        (self.exiting || self.stat == ZOMBIE).then(|| ExitStatus::from_wait(self.exit.into()))?
    }
}

#[cfg(test)]
pub(super) mod tests;
