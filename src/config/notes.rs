//! The problems found so far, each with its place in the text.

use std::ops::Range;
use std::path::Path;

use super::error::{ConfigErrors, Place, Problem};

/// Characters shown of a line.
const EXCERPT: usize = 120;

/// Where a value stands.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct At {
    /// Its full key, such as `alerts.rule[0].for`.
    pub(super) key: String,
    /// The bytes of the text that are meant.
    pub(super) span: Range<usize>,
}

impl At {
    /// The document itself.
    pub(super) fn root() -> At {
        At { key: String::new(), span: 0..0 }
    }

    /// A key of the table that stands here.
    pub(super) fn key(&self, key: &str, span: Range<usize>) -> At {
        let key = shown_key(key);
        At { key: if self.key.is_empty() { key } else { format!("{}.{key}", self.key) }, span }
    }

    /// An element of the array that stands here.
    pub(super) fn element(&self, index: usize, span: Range<usize>) -> At {
        At { key: format!("{}[{index}]", self.key), span }
    }
}

/// What is wrong with a value, whatever it came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Complaint {
    /// What is wrong.
    pub(super) message: String,
    /// What to do.
    pub(super) hint: Option<String>,
}

impl Complaint {
    /// Without a hint.
    pub(super) fn new(message: impl Into<String>) -> Complaint {
        Complaint { message: message.into(), hint: None }
    }

    /// With one.
    pub(super) fn hint(self, hint: impl Into<String>) -> Complaint {
        Complaint { hint: Some(hint.into()), ..self }
    }
}

/// Collects the problems of one text.
pub(super) struct Notes<'t> {
    origin: &'t Path,
    text: &'t str,
    line_starts: Vec<usize>,
    problems: Vec<Problem>,
    untold: usize,
}

impl<'t> Notes<'t> {
    /// Nothing noted yet. `origin` is what the text is called in messages.
    pub(super) fn new(origin: &'t Path, text: &'t str) -> Notes<'t> {
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Notes { origin, text, line_starts, problems: Vec::new(), untold: 0 }
    }

    /// Notes one problem. Beyond the limit it is only counted, which bounds the work as well.
    pub(super) fn note(&mut self, at: &At, complaint: Complaint) {
        if self.problems.len() == ConfigErrors::LIMIT {
            self.untold += 1;
            return;
        }
        let problem = self.problem(at, complaint);
        self.problems.push(problem);
    }

    /// A problem of this text.
    pub(super) fn problem(&self, at: &At, Complaint { message, hint }: Complaint) -> Problem {
        let (file, place) = (Some(self.origin.to_owned()), Some(self.place(&at.span)));
        Problem { file, place, key: at.key.clone(), message, hint }
    }

    /// The line that `at` stands in.
    pub(super) fn line(&self, at: &At) -> usize {
        self.line_starts.partition_point(|start| *start <= at.span.start)
    }

    /// What was found, if anything.
    pub(super) fn into_errors(self) -> Option<ConfigErrors> {
        ConfigErrors::new(self.problems, self.untold)
    }

    fn place(&self, span: &Range<usize>) -> Place {
        let line = self.line_starts.partition_point(|start| *start <= span.start);
        let start = self.line_starts.get(line - 1).copied().unwrap_or(0);
        let text = self.text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or("");
        let offset = (span.start - start).min(text.len());
        let before = text.char_indices().take_while(|(at, char)| at + char.len_utf8() <= offset).count();
        let width = self.text.get(span.clone()).map_or(0, |meant| meant.lines().next().unwrap_or("").chars().count());
        // A long line is cut so that the place stays in view.
        let skipped = before.saturating_sub(EXCERPT / 2);
        let excerpt: String = text.chars().skip(skipped).take(EXCERPT).map(printable).collect();
        let from = before - skipped;
        let room = excerpt.chars().count().saturating_sub(from);
        Place { line, column: before + 1, excerpt, marked: (from, width.min(room).max(1)) }
    }
}

/// One character for one, so that marks stay below what they mean.
fn printable(character: char) -> char {
    match character {
        '\t' => ' ',
        other if other.is_control() => '\u{fffd}',
        other => other,
    }
}

/// A key of the file as messages show it: in quotes unless it is a bare key, and never long.
pub(super) fn shown_key(key: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !key.is_empty() && key.len() <= 64 && key.bytes().all(bare) { key.to_owned() } else { shown(key) }
}

/// Text of the file as messages show it: in quotes, on one line, and never long.
pub(super) fn shown(text: &str) -> String {
    let mut chars = text.chars();
    let head: String = chars.by_ref().take(64).collect();
    let rest = if chars.next().is_some() { "…" } else { "" };
    format!("\"{}{rest}\"", head.escape_debug())
}

/// The candidate that was probably meant: at most a third of the letters differ, or one is the other's beginning.
pub(super) fn near<'c>(text: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let folded = |text: &str| text.replace('-', "_").to_lowercase();
    if text.len() > 64 {
        return None;
    }
    let text = folded(text);
    let distance = |candidate: &str| strsim::damerau_levenshtein(&text, &folded(candidate));
    candidates
        .into_iter()
        .map(|candidate| (distance(candidate), candidate))
        .filter(|(distance, candidate)| {
            let beginning = text.len() >= 3 && (candidate.starts_with(&text) || text.starts_with(candidate));
            beginning || distance * 3 <= candidate.len().max(text.len())
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses() {
        let keys = ["retention", "rollup_retention", "max_size"];
        for (text, meant) in [
            ("retenton", Some("retention")),
            ("max-size", Some("max_size")),
            ("maxSize", Some("max_size")),
            ("retentions_of_samples", Some("retention")),
            ("max", Some("max_size")),
            ("ma", None),
            ("rolup_retention", Some("rollup_retention")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(near(text, keys), meant, "{text}");
        }
    }

    #[test]
    fn place_in_a_long_line_of_other_alphabets() {
        let text = format!("a = 1\n{} = \u{1b}[31m\n", "é".repeat(500));
        let notes = Notes::new(Path::new("x"), &text);
        let place = notes.place(&(6 + 1000..6 + 1001));
        assert_eq!((place.line, place.column), (2, 501));
        assert_eq!(place.excerpt.chars().nth(place.marked.0), Some(' '));
        assert!(!place.excerpt.contains('\u{1b}'));
    }

    #[test]
    fn place_at_the_end() {
        for text in ["", "a =", "a =\n"] {
            let end = text.len();
            let place = Notes::new(Path::new("x"), text).place(&(end..end));
            assert_eq!(place.marked.1, 1, "{text:?}");
        }
    }
}
