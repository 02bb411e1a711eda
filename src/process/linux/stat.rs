//! What the text of `/proc/PID/stat`, `statm` and `io` says. Pure; nothing is allocated.
#![deny(
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unwrap_used,
    clippy::panic,
    clippy::unreachable,
    reason = "no input may end the daemon"
)]

use std::num::NonZeroU64;

use memchr::{memchr, memrchr};

use crate::model::{Cpu, ExitStatus, Io, Pid, ProcessState};

/// The bit of the kernel's flags word that marks its own threads: `PF_KTHREAD`, include/linux/sched.h.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// The fields of `/proc/PID/stat`, proc_pid_stat(5), up to the 24th.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stat<'a> {
    /// Field 2 without its parentheses: any bytes, chosen by the process.
    pub(super) name: &'a [u8],
    pub(super) state: ProcessState,
    pub(super) parent: Option<Pid>,
    pub(super) group: Option<Pid>,
    pub(super) session: Option<Pid>,
    pub(super) kernel: bool,
    pub(super) cpu: CpuTicks,
    pub(super) threads: u32,
    pub(super) start_ticks: u64,
    pub(super) memory: MemorySign,
    pub(super) work: WorkSign,
    /// The fields from the 25th on.
    rest: &'a [u8],
}

/// What changes when resident memory grows, and nearly always when it shrinks: how many pages were faulted in (fields 10 and
/// 12), and how many are resident by a rough count (field 24), from which each processor may hold back some. `statm` adds up
/// what is held back: Linux commit 82241a83cd15, "mm: fix the inaccurate memory statistics issue for users".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct MemorySign {
    faults: u64,
    rough_pages: u64,
}

/// What changes when a process works, or waits for a child that did: page faults and processor time, its own and those of such
/// children (fields 10 to 17). Each only grows, so that their sum tells. Every child has page faults, and what it did to
/// storage comes to its parent together with them: `wait_task_zombie`, kernel/exit.c.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct WorkSign(u64);

/// Processor time in clock ticks: fields 14 to 17.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct CpuTicks {
    own: u64,
    children: u64,
}

impl CpuTicks {
    /// The same in microseconds; `ticks_per_second` is the kernel's `USER_HZ`.
    pub(super) fn at(self, ticks_per_second: NonZeroU64) -> Cpu {
        let us = |ticks: u64| ticks.saturating_mul(1_000_000) / ticks_per_second;
        Cpu { own_us: us(self.own), children_us: us(self.children) }
    }
}

impl<'a> Stat<'a> {
    /// Reads the text from the LAST closing parenthesis: the name before it may hold anything, parentheses too.
    ///
    /// # Errors
    /// Names the field that is missing or no number.
    pub(super) fn parse(text: &'a [u8]) -> Result<Stat<'a>, &'static str> {
        let open = memchr(b'(', text).ok_or("field 2 (comm) has no parentheses")?;
        let close = memrchr(b')', text).ok_or("field 2 (comm) has no parentheses")?;
        let name = text.get(open + 1..close).ok_or("field 2 (comm) has its parentheses the wrong way round")?;
        let mut fields = Fields(text.get(close + 1..).unwrap_or_default());
        let letter = *fields.field().and_then(<[u8]>::first).ok_or("field 3 (state) is missing")?;
        let parent = fields.pid().ok_or("field 4 (ppid) is no number")?;
        let group = fields.pid().ok_or("field 5 (pgrp) is no number")?;
        let session = fields.pid().ok_or("field 6 (session) is no number")?;
        fields.skip(2); // tty_nr, tpgid
        let flags = fields.number().ok_or("field 9 (flags) is no number")?;
        let minor = fields.number().ok_or("field 10 (minflt) is no number")?;
        let children_minor = fields.number().ok_or("field 11 (cminflt) is no number")?;
        let major = fields.number().ok_or("field 12 (majflt) is no number")?;
        let children_major = fields.number().ok_or("field 13 (cmajflt) is no number")?;
        let user = fields.number().ok_or("field 14 (utime) is no number")?;
        let system = fields.number().ok_or("field 15 (stime) is no number")?;
        let children_user = fields.number().ok_or("field 16 (cutime) is no number")?;
        let children_system = fields.number().ok_or("field 17 (cstime) is no number")?;
        fields.skip(2); // priority, nice
        let threads = fields.number().ok_or("field 20 (num_threads) is no number")?;
        fields.skip(1); // itrealvalue
        let start_ticks = fields.number().ok_or("field 22 (starttime) is no number")?;
        fields.skip(1); // vsize
        let rough_pages = fields.number().ok_or("field 24 (rss) is no number")?;
        let work = [minor, children_minor, major, children_major, user, system, children_user, children_system];
        Ok(Stat {
            name,
            state: state(letter, threads),
            parent,
            group,
            session,
            kernel: flags & KERNEL_THREAD != 0,
            cpu: CpuTicks { own: user.saturating_add(system), children: children_user.saturating_add(children_system) },
            threads: u32::try_from(threads).unwrap_or(u32::MAX),
            start_ticks,
            memory: MemorySign { faults: minor.saturating_add(major), rough_pages },
            work: WorkSign(work.into_iter().fold(0, u64::wrapping_add)),
            rest: fields.0,
        })
    }

    /// How it ended: field 52, the wait status. The kernel shows 0 to those who may not see it, so whoever is not one who
    /// `may_see` learns only of an end that was not exit code 0.
    pub(super) fn exit(&self, may_see: bool) -> Option<ExitStatus> {
        let mut fields = Fields(self.rest);
        fields.skip(27);
        let status = i32::try_from(fields.number()?).ok()?;
        if status == 0 && !may_see { None } else { ExitStatus::from_wait(status) }
    }
}

/// A first thread that ended before the others is shown as a zombie too, but the process lives on.
fn state(letter: u8, threads: u64) -> ProcessState {
    match letter {
        b'R' => ProcessState::Running,
        b'S' | b'I' => ProcessState::Sleeping,
        b'D' => ProcessState::Waiting,
        b'T' | b't' => ProcessState::Stopped,
        b'Z' | b'X' | b'x' if threads <= 1 => ProcessState::Zombie,
        _ => ProcessState::Other,
    }
}

/// The resident pages of `/proc/PID/statm`, its second number.
pub(super) fn resident_pages(text: &[u8]) -> Result<u64, &'static str> {
    let mut fields = Fields(text);
    fields.skip(1);
    fields.number().ok_or("field 2 (resident) is no number")
}

/// The storage counters of `/proc/PID/io`, proc_pid_io(5).
pub(super) fn storage_io(text: &[u8]) -> Result<Io, &'static str> {
    Ok(Io {
        read_bytes: labelled(text, b"read_bytes:").ok_or("there is no number after read_bytes")?,
        written_bytes: labelled(text, b"write_bytes:").ok_or("there is no number after write_bytes")?,
    })
}

/// The number after `label` at the start of a line.
pub(super) fn labelled(text: &[u8], label: &[u8]) -> Option<u64> {
    text.split(|&byte| byte == b'\n').find_map(|line| Fields(line.strip_prefix(label)?).number())
}

/// The decimal number that `digits` are, and nothing else.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    let mut fields = Fields(digits);
    let number = fields.digits()?;
    fields.0.is_empty().then_some(number)
}

/// The rest of a line, taken field by field at the blanks. Each byte is looked at once: this runs for every process at
/// every tick.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<&'a [u8]> {
        let from = self.0.trim_ascii_start();
        let end = from.iter().position(u8::is_ascii_whitespace).unwrap_or(from.len());
        let (field, rest) = from.split_at(end);
        self.0 = rest;
        (!field.is_empty()).then_some(field)
    }

    /// The decimal number that is the next field.
    fn number(&mut self) -> Option<u64> {
        self.0 = self.0.trim_ascii_start();
        let number = self.digits()?;
        self.0.first().is_none_or(u8::is_ascii_whitespace).then_some(number)
    }

    /// The number that begins here, as far as its digits go.
    fn digits(&mut self) -> Option<u64> {
        let mut number = 0u64;
        let mut length = 0;
        while let Some(digit) = self.0.get(length).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit <= 9) {
            number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
            length += 1;
        }
        self.0 = self.0.get(length..).unwrap_or_default();
        (length > 0).then_some(number)
    }

    /// A process id; the inner `None` is 0 or negative: no process.
    fn pid(&mut self) -> Option<Option<Pid>> {
        self.0 = self.0.trim_ascii_start();
        let Some(digits) = self.0.strip_prefix(b"-") else {
            return Some(Pid::new(i64::try_from(self.number()?).ok()?));
        };
        self.0 = digits;
        self.number().map(|_| None)
    }

    fn skip(&mut self, count: usize) {
        for _ in 0..count {
            self.field();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TAIL: &str = "14404 14401 8580 0 -1 4228428 273 0 0 0 150 25 300 7 20 0 1 0 208185 16384 3 \
        18446744073709551615 1 1 0 0 0 0 0 16781312 2 1 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 9\n";

    #[test]
    fn every_field() {
        let text = format!("14445 (node) Z {TAIL}");
        let stat = Stat::parse(text.as_bytes()).unwrap();
        assert_eq!(stat.name, b"node");
        assert_eq!(stat.state, ProcessState::Zombie);
        assert_eq!([stat.parent, stat.group, stat.session], [14404, 14401, 8580].map(Pid::new));
        assert!(!stat.kernel);
        assert_eq!(stat.cpu.at(NonZeroU64::new(100).unwrap()), Cpu { own_us: 1_750_000, children_us: 3_070_000 });
        assert_eq!(stat.cpu.at(NonZeroU64::new(250).unwrap()), Cpu { own_us: 700_000, children_us: 1_228_000 });
        assert_eq!((stat.threads, stat.start_ticks), (1, 208_185));
        assert_eq!(stat.exit(true), Some(ExitStatus::Signal(9)));
    }

    #[test]
    fn states() {
        for (letter, threads, expected) in [
            (b'R', 1, ProcessState::Running),
            (b'S', 1, ProcessState::Sleeping),
            (b'I', 1, ProcessState::Sleeping),
            (b'D', 1, ProcessState::Waiting),
            (b'T', 1, ProcessState::Stopped),
            (b't', 1, ProcessState::Stopped),
            (b'Z', 1, ProcessState::Zombie),
            (b'Z', 0, ProcessState::Zombie),
            (b'X', 1, ProcessState::Zombie),
            (b'Z', 2, ProcessState::Other),
            (b'?', 1, ProcessState::Other),
        ] {
            assert_eq!(state(letter, threads), expected, "{} with {threads} threads", char::from(letter));
        }
    }

    #[test]
    fn no_process_is_none() {
        for (text, expected) in [("0 ", Some(None)), ("-1 ", Some(None)), ("7 ", Some(Pid::new(7))), ("x ", None)] {
            assert_eq!(Fields(text.as_bytes()).pid(), expected, "{text}");
        }
    }

    #[test]
    fn kernel_threads() {
        let text = "2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 3 0 0 20 0 1 0 4 0 0";
        let stat = Stat::parse(text.as_bytes()).unwrap();
        assert!(stat.kernel);
        assert_eq!((stat.parent, stat.group, stat.exit(true)), (None, None, None));
    }

    #[test]
    fn an_end_that_may_not_be_seen() {
        for (field, may_see, expected) in [
            ("0", true, Some(ExitStatus::Code(0))),
            ("0", false, None),
            ("1792", false, Some(ExitStatus::Code(7))),
            ("9", false, Some(ExitStatus::Signal(9))),
            ("137", true, Some(ExitStatus::Signal(9))),
            ("-1", true, None),
            ("", true, None),
        ] {
            let text = format!("1 (x) Z {}", TAIL.replace(" 9\n", &format!(" {field}\n")));
            assert_eq!(Stat::parse(text.as_bytes()).unwrap().exit(may_see), expected, "{field:?}, {may_see}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            ("", "field 2 (comm) has no parentheses"),
            ("1 )(", "field 2 (comm) has its parentheses the wrong way round"),
            ("1 (x)", "field 3 (state) is missing"),
            ("1 (x) R", "field 4 (ppid) is no number"),
            ("1 (x) R 1 1 1 0 -1 y", "field 9 (flags) is no number"),
            ("1 (x) R 1 1 1 0 -1 0 0 0 0 0 -4", "field 14 (utime) is no number"),
            ("1 (x) R 1 1 1 0 -1 0 0 0 0 0 1 2 3 4 20 0 1 0 99999999999999999999", "field 22 (starttime) is no number"),
        ] {
            assert_eq!(Stat::parse(text.as_bytes()), Err(expected), "{text}");
        }
    }

    #[test]
    fn resident() {
        assert_eq!(resident_pages(b"2048 612 480 4 0 100 0\n"), Ok(612));
        assert_eq!(resident_pages(b"0 0 0 0 0 0 0\n"), Ok(0));
        assert!(resident_pages(b"2048").is_err());
    }

    #[test]
    fn storage() {
        let text =
            b"rchar: 1\nwchar: 2\nsyscr: 3\nsyscw: 4\nread_bytes: 4096\nwrite_bytes: 8192\ncancelled_write_bytes: 5\n";
        assert_eq!(storage_io(text), Ok(Io { read_bytes: 4096, written_bytes: 8192 }));
        assert_eq!(storage_io(b"read_bytes: 4096\n"), Err("there is no number after write_bytes"));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Stat::parse(&text).map(|stat| stat.exit(true));
            let _ = resident_pages(&text);
            let _ = storage_io(&text);
        }

        #[test]
        fn no_text_after_a_name_panics(text in "1 \\([a-z()]{0,9}\\) [RSDZ] [-0-9 \n]{0,300}") {
            let _ = Stat::parse(text.as_bytes()).map(|stat| stat.exit(true));
        }

        #[test]
        fn any_name_comes_back(name in proptest::collection::vec(any::<u8>(), 0..16)) {
            check_name(&name);
        }
    }

    #[test]
    fn hostile_names_come_back() {
        for name in [&b"a) R 1 (x\n9"[..], b"", b"(", b")", b") Z 0", b"\xff\xfe"] {
            check_name(name);
        }
    }

    fn check_name(name: &[u8]) {
        let text = [b"1 (", name, b") S ", TAIL.as_bytes()].concat();
        let stat = Stat::parse(&text).unwrap();
        assert_eq!((stat.name, stat.start_ticks), (name, 208_185));
    }
}
