//! Agents' text as it may go to a terminal, and how much room it takes there.

use serde_json::Value;
use unicode_width::UnicodeWidthChar;

/// What is not known.
pub(crate) const UNKNOWN: &str = "–";

/// Marks on one letter that are shown. No language needs more; more of them are drawn over other lines.
const MARKS: usize = 4;

/// A text of a document, made harmless; a dash for none.
pub(crate) fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| UNKNOWN.to_owned(), printable)
}

/// A number of a document as it is; a dash for none.
pub(crate) fn figure(value: &Value) -> String {
    if value.is_number() { value.to_string() } else { UNKNOWN.to_owned() }
}

/// `1 record`, `2 records`, `3 processes`.
pub(crate) fn counted(count: u64, what: &str) -> String {
    let ending = match (count, what.ends_with('s')) {
        (1, _) => "",
        (_, false) => "s",
        (_, true) => "es",
    };
    format!("{count} {what}{ending}")
}

/// The same of a number of a document; a dash for none.
pub(crate) fn figure_of(value: &Value, what: &str) -> String {
    match value.as_u64() {
        Some(count) => counted(count, what),
        None => format!("{UNKNOWN}{}", &counted(0, what)[1..]),
    }
}

/// Agents' text as it may go to a terminal: whatever could steer it, or cannot be seen there, is shown, not obeyed. Two
/// texts that differ look different, but for the style of an emoji.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut marks = MARKS;
    for c in text.chars().filter(|c| !matches!(c, '\u{fe0e}' | '\u{fe0f}')) {
        let is_mark = cells(c) == 0;
        marks = if is_mark { marks + 1 } else { 0 };
        // A mark needs a letter: at the beginning of a text it would change what stands before it.
        shown.push(if steers(c) || hides(c) || marks > MARKS { '\u{fffd}' } else { c });
    }
    shown
}

/// A JSON document as it may go to a terminal. What steers one stands only within its strings, where an escape means the
/// same (RFC 8259, 7).
pub(crate) fn harmless_json(document: &str) -> String {
    let mut text = String::with_capacity(document.len());
    for c in document.chars() {
        if steers(c) || hides(c) {
            let mut units = [0; 2];
            text.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            text.push(c);
        }
    }
    text
}

/// Control characters, and those that turn the direction of text (Unicode 9, UAX #9).
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Characters without a shape of their own: Default_Ignorable_Code_Point of the Unicode Character Database, but for the
/// selectors of a style and for the one that Persian is written with. The joiner of emoji is among them: terminals do not agree
/// on how wide what it makes is.
fn hides(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}' | '\u{200d}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0d}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// How many cells a character takes: UAX #11, as terminals have it.
fn cells(c: char) -> usize {
    c.width().unwrap_or(0)
}

/// How many cells a text takes.
pub(crate) fn width(text: &str) -> usize {
    text.chars().map(cells).sum()
}

/// As much of a text as fits, with a sign that there is more.
pub(crate) fn cut(text: &str, room: usize) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let (head, _) = text.split_at(fitting(text, room.saturating_sub(1)));
    format!("{}…", head.trim_end())
}

/// A text in lines that fit: parted at blanks, and words that are too long for a line after a slash, else anywhere.
pub(crate) fn wrap(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for mut word in text.split(' ') {
        let line = lines.last_mut().expect("there is always one");
        let gap = usize::from(!line.is_empty());
        if width(line) + gap + width(word) <= room {
            line.extend([&" "[..gap], word]);
            continue;
        }
        if line.is_empty() {
            lines.pop();
        }
        while width(word) > room {
            let most = fitting(word, room).max(word.chars().next().map_or(1, char::len_utf8));
            let end = word[..most].rfind('/').map_or(most, |slash| slash + 1);
            lines.push(word[..end].to_owned());
            word = &word[end..];
        }
        if !word.is_empty() {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// Bytes of the beginning of a text that takes no more than so many cells.
fn fitting(text: &str, room: usize) -> usize {
    let mut left = room;
    let mut fits = |c: char| {
        let enough = cells(c) <= left;
        left = left.saturating_sub(cells(c));
        enough
    };
    text.char_indices().find(|(_, c)| !fits(*c)).map_or(text.len(), |(end, _)| end)
}

/// An id as an argument of a command that is to be copied into a shell: sh(1), XCU 2.2.2. None for one that cannot be
/// shown as it is.
pub(crate) fn argument(id: &str) -> Option<String> {
    if printable(id) != id || id.is_empty() {
        return None;
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "._/:@%+,-".contains(c);
    let quoted = if id.chars().all(plain) { id.to_owned() } else { format!("'{}'", id.replace('\'', r"'\''")) };
    Some(if id.starts_with('-') { format!("-- {quoted}") } else { quoted })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_one_or_many() {
        let said = [0, 1, 2].map(|count| figure_of(&count.into(), "process"));
        assert_eq!(said, ["0 processes", "1 process", "2 processes"]);
        assert_eq!(
            (counted(1, "error"), figure_of(&Value::Null, "error")),
            ("1 error".into(), format!("{UNKNOWN} errors"))
        );
    }

    #[test]
    fn text_cannot_steer_a_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\r\n\u{202e}c\u{9b}31m"), "a\u{fffd}[2Jb\u{fffd}\u{fffd}\u{fffd}c\u{fffd}31m");
        let document = serde_json::json!({"a": "\u{9b}31m \u{202e} \u{1b} é\n\"\\ \u{e0041}\u{200d}"});
        let text = harmless_json(&document.to_string());
        assert!(!text.chars().any(|c| steers(c) || hides(c)), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), document, "and it says the same");
    }

    #[test]
    fn what_cannot_be_seen_is_shown() {
        assert_eq!(printable("ad\u{200b}min\u{e0041}"), "ad\u{fffd}min\u{fffd}", "it is not `admin`");
        assert_eq!(printable("⚠\u{fe0f} é 界 می\u{200c}خواهم"), "⚠ é 界 می\u{200c}خواهم");
        assert_eq!(printable("\u{301}a"), "\u{fffd}a", "nothing to stand on");
        let tower = format!("a{}", "\u{301}".repeat(100));
        assert_eq!(width(&printable(&tower)), 97, "the rest does not stand on it");
        assert_eq!(printable("e\u{302}\u{301}"), "e\u{302}\u{301}", "two marks are a letter of Vietnamese");
    }

    #[test]
    fn cells_not_characters() {
        assert_eq!((width("abc"), width("é"), width("e\u{301}"), width("界"), width("")), (3, 1, 1, 2, 0));
        assert_eq!((cut("abc", 3).as_str(), cut("abcd", 3).as_str(), cut("a bc", 3).as_str()), ("abc", "ab…", "a…"));
        assert_eq!(cut("界界界", 4), "界…", "half a character does not fit");
    }

    #[test]
    fn lines_fit() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrap("at /var/lib/agent/x.db", 10), ["at", "/var/lib/", "agent/x.db"]);
        assert_eq!(wrap("界界 a", 3), ["界", "界", "a"]);
        assert_eq!((wrap("", 5), wrap("界", 1)), (vec![String::new()], vec!["界".to_owned()]), "a character at least");
    }

    #[test]
    fn arguments_mean_the_id_and_nothing_else() {
        assert_eq!(argument("coder-1/a:b").as_deref(), Some("coder-1/a:b"));
        assert_eq!(argument("a b").as_deref(), Some("'a b'"));
        assert_eq!(argument("$(rm -rf ~)'").as_deref(), Some(r"'$(rm -rf ~)'\'''"));
        assert_eq!(argument("--all").as_deref(), Some("-- --all"));
        assert_eq!((argument("a\u{202e}b"), argument("")), (None, None));
    }
}
