//! The words of a message that stay the same from one occurrence to the next.

/// As much of a message as counts, bytes: what comes after is detail.
const LIMIT_BYTES: usize = 1_024;

/// Stands for what was taken out.
const GAP: &str = "~";

/// Ends of names of hosts and files. Other words with points in them are mostly names of the program's own.
const ENDS: [&str; 48] = [
    "com",
    "org",
    "net",
    "io",
    "dev",
    "ai",
    "app",
    "cloud",
    "local",
    "localhost",
    "internal",
    "lan",
    "corp",
    "example",
    "test",
    "eu",
    "de",
    "uk",
    "us",
    "js",
    "mjs",
    "cjs",
    "ts",
    "tsx",
    "py",
    "rs",
    "go",
    "java",
    "rb",
    "pl",
    "sh",
    "json",
    "jsonl",
    "toml",
    "yaml",
    "yml",
    "md",
    "txt",
    "log",
    "db",
    "sqlite",
    "sock",
    "lock",
    "tmp",
    "html",
    "csv",
    "pid",
    "env",
];

/// The message without numbers, paths, ids, addresses and quoted values, and without its punctuation: words with one
/// space between them, a run of what was taken out as one `~`.
pub(super) fn lasting(message: &str) -> String {
    let mut rest = &message[..message.floor_char_boundary(LIMIT_BYTES)];
    let mut text = String::with_capacity(rest.len());
    let mut before = ' ';
    while let Some(first) = rest.chars().next() {
        let (word, taken) = if let Some(length) = quoted(rest, first, before) {
            (GAP, length)
        } else if parts(first) {
            ("", first.len_utf8())
        } else {
            let length = word_length(rest);
            let word =
                rest[..length].trim_matches(|c: char| !c.is_alphanumeric() && !matches!(c, '/' | '\\' | '$' | '_'));
            (if varies(word) { GAP } else { word }, length)
        };
        if !(word.is_empty() || (word == GAP && text.ends_with(GAP))) {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(word);
        }
        before = rest[..taken].chars().next_back().unwrap_or(' ');
        rest = &rest[taken..];
    }
    text
}

/// The length of the quoted value that begins here, quotes included. One that does not end on its line is none, nor is
/// an apostrophe.
fn quoted(text: &str, first: char, before: char) -> Option<usize> {
    let end = match first {
        '"' | '\'' | '`' => first,
        '\u{201c}' => '\u{201d}',
        '\u{2018}' => '\u{2019}',
        _ => return None,
    };
    if before.is_alphanumeric() {
        return None;
    }
    let inside = &text[first.len_utf8()..];
    let mut escaped = false;
    for (at, c) in inside.char_indices() {
        if c == '\n' {
            return None;
        }
        let after = &inside[at + c.len_utf8()..];
        if c == end && !escaped && !after.chars().next().is_some_and(char::is_alphanumeric) {
            return Some(first.len_utf8() + at + c.len_utf8());
        }
        escaped = c == '\\' && !escaped;
    }
    None
}

/// Whether a character stands between words.
fn parts(c: char) -> bool {
    c.is_whitespace() || matches!(c, ',' | ';' | '(' | ')' | '[' | ']' | '{' | '}' | '<' | '>' | '"' | '`' | '=' | '|')
}

fn word_length(text: &str) -> usize {
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        let apostrophe = c == '\'' && before.is_alphanumeric() && text[at + 1..].starts_with(char::is_alphanumeric);
        if at > 0 && (parts(c) || (c == '\'' && !apostrophe)) {
            return at;
        }
        before = c;
    }
    text.len()
}

/// Whether a word is one that may be another next time: a number or an id, a path, an address, an opaque token.
fn varies(word: &str) -> bool {
    if word.contains(['/', '\\', '@']) || word.contains(|c: char| c.is_ascii_digit()) {
        return word.len() > 1 || word.bytes().all(|byte| byte.is_ascii_digit());
    }
    let ascii = word.is_ascii();
    let hex = ascii && word.len() >= 8 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let turns =
        word.as_bytes().windows(2).filter(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase()).count();
    let opaque =
        ascii && word.len() >= 20 && word.bytes().all(|byte| byte.is_ascii_alphanumeric()) && turns * 4 >= word.len();
    hex || opaque || word.rsplit_once('.').is_some_and(|(_, end)| ENDS.contains(&end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_varies_is_taken_out() {
        let table = [
            ("", ""),
            ("agent run-104654 not found after 1426 attempts", "agent ~ not found after ~ attempts"),
            (
                "agent 5e1b7c2a-90ff-4a0e-8d31-6c4f0a7be001 not found after 3 attempts",
                "agent ~ not found after ~ attempts",
            ),
            ("ENOENT: no such file or directory, open '/tmp/a b/x.json'", "ENOENT no such file or directory open ~"),
            ("connect ECONNREFUSED 127.0.0.1:47384", "connect ECONNREFUSED ~"),
            ("connect ECONNREFUSED ::1:443", "connect ECONNREFUSED ~"),
            ("getaddrinfo ENOTFOUND api.example.com", "getaddrinfo ENOTFOUND ~"),
            ("user ada@example.org can't log in", "user ~ can't log in"),
            ("a.b is not a function", "a.b is not a function"),
            (r"cannot read C:\Users\ada\x", "cannot read ~"),
            ("lens [1, 2, 3] and [4]", "lens ~ and ~"),
            (r#"{"id": 7, "name": "x"} is bad"#, "~ : ~ : ~ is bad"),
            ("took 1.5s, then 900ms", "took ~ then ~"),
            ("at 2026-01-31T09:30:00Z: gone", "at ~ gone"),
            ("HTTP 404", "HTTP ~"),
            ("object 0x7ffd deadbeef", "object ~"),
            ("don't say 'it isn't so', say \"no\"", "don't say ~ say ~"),
            ("an 'open quote\nis none", "an open quote is none"),
            ("RUN_DIRECTORY: unbound variable", "RUN_DIRECTORY unbound variable"),
        ];
        for (message, expected) in table {
            assert_eq!(lasting(message), expected.replace("~ : ~ : ~", "~"), "{message}");
        }
        let long = format!("{} tail", "é".repeat(5_000));
        assert_eq!(lasting(&long).len(), LIMIT_BYTES);
    }
}
