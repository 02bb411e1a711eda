//! The machine as a whole: `/proc/loadavg`, `meminfo` and `uptime`, proc(5). The number of processors comes from sysfs:
//! `/proc/stat` would tell it too, but adds up every interrupt of every processor to do so.

use std::path::Path;
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags};

use super::stat::labelled;
use crate::model::HostReading;

/// Reads what can be read under `root`, which is `/` but in tests.
pub(super) fn read(root: &Path) -> HostReading {
    let mut buffer = [0; 4096];
    let mut reading = HostReading::default();
    if let Some(text) = file(&root.join("proc/loadavg"), &mut buffer) {
        reading.load_1m = first_number(text);
    }
    if let Some(text) = file(&root.join("proc/meminfo"), &mut buffer) {
        reading.memory_total_bytes = memory_bytes(text, b"MemTotal:");
        reading.memory_available_bytes = memory_bytes(text, b"MemAvailable:");
    }
    if let Some(text) = file(&root.join("proc/uptime"), &mut buffer) {
        reading.uptime = first_number(text).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    }
    if let Some(text) = file(&root.join("sys/devices/system/cpu/online"), &mut buffer) {
        reading.cpu_count = listed(text);
    }
    reading
}

/// The start of a file; `None` if it cannot be read, which is as good as not being there.
fn file<'b>(path: &Path, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    let file = rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let length = rustix::io::pread(file, &mut *buffer, 0).ok()?;
    Some(&buffer[..length])
}

fn first_number(text: &[u8]) -> Option<f64> {
    let number: f64 = std::str::from_utf8(text).ok()?.split_ascii_whitespace().next()?.parse().ok()?;
    (number.is_finite() && number >= 0.0).then_some(number)
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
    fn numbers() {
        for (text, expected) in [
            ("0.20 0.18 0.12 1/80 11206\n", Some(0.2)),
            ("12345.67 1.0\n", Some(12345.67)),
            ("", None),
            ("nan 1", None),
            ("inf", None),
            ("-1", None),
        ] {
            assert_eq!(first_number(text.as_bytes()), expected, "{text}");
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
