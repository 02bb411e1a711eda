//! How a file that we wrote is told from one that somebody edited: its last line has the hash of all above.

use std::fmt::Write;

use sha2::{Digest, Sha256};

const WORDS: &str = "written by `agent-monitor install-service`, which leaves it alone once it is edited; sha256";

/// How a comment is written in such a file.
#[derive(Clone, Copy)]
pub(super) enum Seal {
    /// From `#` to the end of the line.
    Hash,
    /// Between `<!--` and `-->`.
    Xml,
}

/// What is found where a file of ours goes.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Sealed<'a> {
    Missing,
    /// As we wrote it, this or another version.
    Intact(&'a str),
    /// Changed since, or never ours.
    Edited,
}

impl Seal {
    /// The text with its seal.
    pub(super) fn on(self, text: &str) -> String {
        let hash = Sha256::digest(text.as_bytes()).iter().fold(String::new(), |mut hash, byte| {
            // Writing to a String cannot fail.
            let _ = write!(hash, "{byte:02x}");
            hash
        });
        match self {
            Seal::Hash => format!("{text}# {WORDS} {hash}\n"),
            Seal::Xml => format!("{text}<!-- {WORDS} {hash} -->\n"),
        }
    }

    /// What this file is.
    pub(super) fn of(self, text: Option<&str>) -> Sealed<'_> {
        let Some(text) = text else { return Sealed::Missing };
        let last = text.trim_end_matches('\n').rfind('\n').map_or(0, |end| end + 1);
        if self.on(&text[..last]) == text { Sealed::Intact(text) } else { Sealed::Edited }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_edited_is_known() {
        for seal in [Seal::Hash, Seal::Xml] {
            let ours = seal.on("[Unit]\nA=b\n");
            assert_eq!(seal.of(Some(&ours)), Sealed::Intact(&ours));
            assert_eq!(seal.of(None), Sealed::Missing);
            let edits = [
                ours.replace("A=b", "A=c"),
                format!("{ours}B=c\n"),
                format!("# mine\n{ours}"),
                ours.replace('\n', "\n\n"),
            ];
            for edited in edits.iter().map(String::as_str).chain(["", "\n", "[Unit]\nA=b\n", "é"]) {
                assert_eq!(seal.of(Some(edited)), Sealed::Edited, "{edited}");
            }
        }
    }
}
