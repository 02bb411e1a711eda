//! Durations and sizes as the file writes them.

use std::time::Duration;

/// Reads a duration such as `10s`, `5m`, `7d` or `1h 30m`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok()
}

/// Writes a duration in its largest whole unit, so that [`parse_duration`] reads the same one: `90s`, `5m`, `7d`.
pub fn format_duration(duration: Duration) -> String {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    let whole = match seconds {
        0 if nanos > 0 => String::new(),
        0 => return "0s".to_owned(),
        s if s % 86_400 == 0 => format!("{}d", s / 86_400),
        s if s % 3_600 == 0 => format!("{}h", s / 3_600),
        s if s % 60 == 0 => format!("{}m", s / 60),
        s => format!("{s}s"),
    };
    let part = match nanos {
        0 => return whole,
        n if n % 1_000_000 == 0 => format!("{}ms", n / 1_000_000),
        n if n % 1_000 == 0 => format!("{}us", n / 1_000),
        n => format!("{n}ns"),
    };
    if whole.is_empty() { part } else { format!("{whole} {part}") }
}

/// Units of size, the larger first; within one magnitude the binary one first.
const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

/// Reads a size such as `512MiB` or `1 GB`: a whole number and a unit, which is not optional. Bytes.
pub fn parse_size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let (number, unit) = (number.parse::<u64>().ok()?, unit.trim_start());
    let unit = match unit {
        "KB" => "kB",
        "kiB" => "KiB",
        other => other,
    };
    let (_, bytes) = SIZES.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*bytes)
}

/// Writes a size in its largest whole unit, so that [`parse_size`] reads the same one.
pub fn format_size(bytes: u64) -> String {
    let (name, unit) =
        SIZES.iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit)).unwrap_or(&("B", 1));
    format!("{}{name}", bytes / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, ms, written) in [
            ("10s", 10_000, "10s"),
            ("5m", 300_000, "5m"),
            ("90s", 90_000, "90s"),
            ("1h 30m", 5_400_000, "90m"),
            ("90d", 7_776_000_000, "90d"),
            ("250ms", 250, "250ms"),
            ("1s 5ms", 1_005, "1s 5ms"),
            ("0s", 0, "0s"),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(ms)), "{text}");
            assert_eq!(format_duration(Duration::from_millis(ms)), written);
        }
        for text in ["", "10", "s", "10x", "-5s", "1e3s", "99999999999999999999s", "10 5s x"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes, written) in [
            ("1GiB", 1 << 30, "1GiB"),
            ("512 MiB", 512 << 20, "512MiB"),
            ("1024KiB", 1 << 20, "1MiB"),
            ("3kB", 3_000, "3kB"),
            ("3KB", 3_000, "3kB"),
            ("20MB", 20_000_000, "20MB"),
            ("7B", 7, "7B"),
            ("0B", 0, "0B"),
        ] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
            assert_eq!(format_size(bytes), written);
        }
        for text in ["", "1", "GiB", "1.5GiB", "1Gib", "1mb", "-1B", "1 GiB ", "99999999TiB", "1é", "٣B"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }
}
