//! The machine as a whole: `/proc/loadavg`, `meminfo`, `uptime` and `pressure`, proc(5). The number of processors comes from sysfs:
//! `/proc/stat` would tell it too, but adds up every interrupt of every processor to do so.

use std::path::Path;
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags};

use super::stat::labelled;
use crate::model::{HostPressure, HostReading};

/// Reads what can be read under `root`, which is `/` but in tests.
pub(super) fn read(root: &Path) -> HostReading {
    let mut buffer = [0; 4096];
    let mut reading = HostReading::default();
    if let Some(text) = file(&root.join("proc/loadavg"), &mut buffer) {
        let mut loads = numbers(text);
        reading.load_1m = loads.next();
        reading.load_5m = loads.next();
        reading.load_15m = loads.next();
    }
    if let Some(text) = file(&root.join("proc/meminfo"), &mut buffer) {
        reading.memory_total_bytes = memory_bytes(text, b"MemTotal:");
        reading.memory_available_bytes = memory_bytes(text, b"MemAvailable:");
    }
    if let Some(text) = file(&root.join("proc/uptime"), &mut buffer) {
        reading.uptime = numbers(text).next().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    }
    if let Some(text) = file(&root.join("sys/devices/system/cpu/online"), &mut buffer) {
        reading.cpu_count = listed(text);
    }
    reading
}

/// Reads how much had to wait: Documentation/accounting/psi.rst. A kernel without it has no such files, or refuses to
/// read them.
pub(super) fn pressure(root: &Path) -> HostPressure {
    let mut buffer = [0; 512];
    let mut of = |resource: &str| {
        let text = file(&root.join("proc/pressure").join(resource), &mut buffer).unwrap_or_default();
        [b"some avg10=".as_slice(), b"full avg10="].map(|label| percent_after(text, label))
    };
    let ([cpu_some, _], [memory_some, memory_full], [io_some, io_full]) = (of("cpu"), of("memory"), of("io"));
    HostPressure { cpu_some, memory_some, memory_full, io_some, io_full }
}

/// The start of a file; `None` if it cannot be read, which is as good as not being there.
pub(super) fn file<'b>(path: &Path, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    let file = rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let length = rustix::io::pread(file, &mut *buffer, 0).ok()?;
    Some(&buffer[..length])
}

/// The numbers that a text begins with.
fn numbers(text: &[u8]) -> impl Iterator<Item = f64> {
    let words = std::str::from_utf8(text).unwrap_or_default().split_ascii_whitespace();
    words.map_while(|word| word.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0))
}

/// The percentage after `label` at the start of a line.
fn percent_after(text: &[u8], label: &[u8]) -> Option<f64> {
    let rest = text.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(label))?;
    numbers(rest).next().filter(|percent| *percent <= 100.0)
}

/// The kernel's "kB" are 1,024 bytes.
fn memory_bytes(text: &[u8], label: &[u8]) -> Option<u64> {
    labelled(text, label)?.checked_mul(1024)
}

/// How many numbers a list such as `0-3,5` holds: Documentation/admin-guide/cputopology.rst.
fn listed(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.trim().split(',').try_fold(0u32, |count, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        count.checked_add(last.checked_sub(first)?.checked_add(1)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_a_text_begins_with() {
        for (text, expected) in [
            ("0.20 0.18 0.12 1/80 11206\n", &[0.2, 0.18, 0.12][..]),
            ("12345.67 1.0\n", &[12345.67, 1.0]),
            ("", &[]),
            ("nan 1", &[]),
            ("2 inf", &[2.0]),
            ("-1", &[]),
        ] {
            assert_eq!(numbers(text.as_bytes()).collect::<Vec<_>>(), expected, "{text}");
        }
        assert_eq!(numbers(b"1 \xff").next(), None);
    }

    #[test]
    fn percentages() {
        let text = b"some avg10=1.17 avg60=1.72 avg300=1.29 total=8552100\nfull avg10=0.00 avg60=0.15 total=9\n";
        assert_eq!(percent_after(text, b"some avg10="), Some(1.17));
        assert_eq!(percent_after(text, b"full avg10="), Some(0.0));
        for odd in ["", "some avg10=", "some avg10=x", "some avg10=100.01", "some avg60=1", " some avg10=1"] {
            assert_eq!(percent_after(odd.as_bytes(), b"some avg10="), None, "{odd}");
        }
    }

    #[test]
    fn memory() {
        let text = b"MemTotal:       16 kB\nMemFree:  3 kB\nMemAvailable:   8 kB\n";
        assert_eq!(memory_bytes(text, b"MemTotal:"), Some(16 * 1024));
        assert_eq!(memory_bytes(text, b"MemAvailable:"), Some(8 * 1024));
        assert_eq!(memory_bytes(b"MemTotal: 99999999999999999999 kB", b"MemTotal:"), None);
        assert_eq!(memory_bytes(b"MemTotal: 18446744073709551615 kB", b"MemTotal:"), None);
    }

    #[test]
    fn processors() {
        for (text, expected) in [
            ("0\n", Some(1)),
            ("0-3\n", Some(4)),
            ("0-3,5,8-9\n", Some(7)),
            ("", None),
            ("3-1", None),
            ("0-4294967295", None),
            ("a", None),
        ] {
            assert_eq!(listed(text.as_bytes()), expected, "{text}");
        }
    }
}
