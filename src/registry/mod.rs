//! Reads what a registry claims: a file, a folder, or an answer over HTTP, all of them hostile until proven otherwise.
//!
//! `record` turns bytes into a reading and touches nothing else; `file` and `http` bring the bytes, bounded.
#![deny(
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unwrap_used,
    clippy::panic,
    clippy::unreachable,
    reason = "no input may end the daemon"
)]

pub mod file;
pub mod http;
pub mod record;

mod document;
mod fields;
mod metadata;

use std::fmt::Write;

/// The most that is read of one file or one answer, bytes.
pub const LIMIT_BYTES: usize = 16 << 20;

/// The most records of one source, and the most files of one folder.
pub const LIMIT_RECORDS: usize = 20_000;

/// The text with everything taken out that could forge a line, an escape sequence or a reading direction, cut to
/// `limit_bytes`.
fn printable(text: &str, limit_bytes: usize) -> String {
    const ELLIPSIS: char = '…';
    let mut shown = String::with_capacity(text.len().min(limit_bytes));
    for char in text.chars() {
        let char = if is_harmless(char) { char } else { char::REPLACEMENT_CHARACTER };
        if shown.len() + char.len_utf8() > limit_bytes {
            while shown.len() + ELLIPSIS.len_utf8() > limit_bytes && shown.pop().is_some() {}
            shown.push(ELLIPSIS);
            break;
        }
        shown.push(char);
    }
    shown
}

fn is_harmless(char: char) -> bool {
    let reorders =
        matches!(char, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    !char.is_control() && !reorders
}

/// A number of bytes as people write it.
fn mebibytes(bytes: u64) -> String {
    let mut text = format!("{}", bytes >> 20);
    if bytes & 0xf_ffff != 0 {
        let _ = write!(text, ".{}", ((bytes & 0xf_ffff) * 10) >> 20);
    }
    text + " MiB"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_harmless_and_short() {
        for (text, expected) in [
            ("coder", "coder"),
            ("\u{1b}[31mred\u{7}", "\u{fffd}[31mre…"),
            ("abc\u{202e}def", "abc\u{fffd}def"),
            ("éééééééé", "éééé…"),
            ("0123456789ab", "0123456789ab"),
            ("0123456789abc", "012345678…"),
        ] {
            assert_eq!(printable(text, 12), expected, "{text:?}");
        }
        assert_eq!(mebibytes(16 << 20), "16 MiB");
        assert_eq!(mebibytes((1 << 30) + (1 << 19)), "1024.5 MiB");
    }
}
