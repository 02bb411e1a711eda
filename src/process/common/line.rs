//! A command line, bounded: its words are as long and as many as a process likes.

/// As many words of it as are kept.
const WORDS: usize = 1024;
/// As much of a word as is kept, bytes.
const WORD_BYTES: usize = 4096;

/// The words of a command line, which a zero byte ends each; empty ones at its end are none.
pub(in crate::process) fn words(line: &[u8]) -> Vec<Box<str>> {
    let end = line.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    if end == 0 {
        return Vec::new();
    }
    let word = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(WORD_BYTES)]).into();
    line[..end].split(|&byte| byte == 0).take(WORDS).map(word).collect()
}

/// The path of a script that a command line names. `folder`: the working directory of the process; a relative path without it
/// is nowhere.
pub(in crate::process) fn absolute(word: &str, folder: impl FnOnce() -> Option<Vec<u8>>) -> Option<String> {
    if word.starts_with('/') {
        return Some(word.to_owned());
    }
    Some(format!("{}/{}", String::from_utf8_lossy(&folder()?), word.strip_prefix("./").unwrap_or(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines() {
        let long = [b"a\0".repeat(3), vec![b'x'; WORD_BYTES + 1]].concat();
        for (line, expected) in [
            (&b""[..], &[][..]),
            (b"\0\0\0", &[]),
            (b"node\0/bin/x\0", &["node", "/bin/x"]),
            (b"pi\0\0\0\0", &["pi"]),
            (b"a\0\0b\0", &["a", "", "b"]),
            (b"no end", &["no end"]),
            (b"\xff\0", &["\u{fffd}"]),
            (&long, &["a", "a", "a", &"x".repeat(WORD_BYTES)]),
        ] {
            let words = words(line);
            assert_eq!(words.iter().map(|word| &**word).collect::<Vec<_>>(), expected);
        }
        assert_eq!(words(&b"a\0".repeat(64 << 10)).len(), WORDS);
    }
}
