//! Secrets within a text: one pass from its beginning to its end.

use std::borrow::Cow;

use super::keys::{self, Name};
use super::{REDACTED, shapes};

/// As much of a value as is looked at to judge it, bytes.
const JUDGED: usize = 256;

/// The text with its secrets replaced; the text itself when there are none.
///
/// ```
/// use agent_monitor::redact::text;
///
/// assert_eq!(text("login failed: password=hunter2 is wrong"), "login failed: password=[redacted] is wrong");
/// assert_eq!(text("the password is wrong"), "the password is wrong");
/// ```
pub fn redact(text: &str) -> Cow<'_, str> {
    let mut clean = String::new();
    let mut copied = 0;
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        if let Some((start, end)) = secret(text, at, c) {
            clean.push_str(&text[copied..start]);
            clean.push_str(REDACTED);
            (copied, at) = (end, end);
        } else {
            at += if begins_word(text, at) { name(&text[at..]).len().max(c.len_utf8()) } else { c.len_utf8() };
        }
    }
    if clean.is_empty() {
        return Cow::Borrowed(text);
    }
    clean.push_str(&text[copied..]);
    Cow::Owned(clean)
}

/// Where the secret is that something at `at` leads to: its beginning, not before `at`, and its end.
fn secret(text: &str, at: usize, first: char) -> Option<(usize, usize)> {
    let rest = &text[at..];
    let found = match first {
        '-' if rest.starts_with("-----BEGIN ") => private_key(rest),
        ':' if rest.starts_with("://") => password_in_url(rest),
        _ if begins_word(text, at) => shapes::length(rest)
            .map(|length| (0, length))
            .or_else(|| shapes::in_url(rest))
            .or_else(|| credentials(rest))
            .or_else(|| named(&text[..at], rest)),
        _ => None,
    };
    let (start, end) = found?;
    (end > start && !rest[start..].starts_with(REDACTED)).then_some((at + start, at + end))
}

fn begins_word(text: &str, at: usize) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    word(text.as_bytes()[at]) && !text[..at].bytes().next_back().is_some_and(word)
}

/// A name as it may stand before a value.
fn name(text: &str) -> &str {
    let part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    &text[..text.bytes().take_while(|byte| part(*byte)).count()]
}

/// A private key in PEM (RFC 7468), also with its line breaks escaped; to the end of the text if that is missing.
fn private_key(text: &str) -> Option<(usize, usize)> {
    let label = text["-----BEGIN ".len()..].split("-----").next()?;
    if label.len() > 64 || !label.ends_with("PRIVATE KEY") && !label.ends_with("PRIVATE KEY BLOCK") {
        return None;
    }
    let end = text.find("-----END ").map_or(text.len(), |end| {
        let label = end + "-----END ".len();
        text[label..].find("-----").map_or(text.len(), |dashes| label + dashes + 5)
    });
    Some((0, end))
}

/// The password of `://user:password@host`, or a token in the place of the user.
fn password_in_url(text: &str) -> Option<(usize, usize)> {
    let authority = &text[3..];
    let ends = |c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\'' | '<' | '>' | '`' | '\\');
    let authority = &authority[..authority.find(ends).unwrap_or(authority.len())];
    let (user, _) = authority.rsplit_once('@')?;
    match user.split_once(':') {
        Some((name, _)) => Some((3 + name.len() + 1, 3 + user.len())),
        None if user.len() >= 20 => Some((3, 3 + user.len())),
        None => None,
    }
}

/// `Bearer …` and `Basic …`, RFC 6750 and 7617, where what follows is no word of a sentence.
fn credentials(text: &str) -> Option<(usize, usize)> {
    let scheme = name(text);
    let is = |word: &str| scheme.eq_ignore_ascii_case(word);
    if !(is("bearer") || is("basic")) || !text[scheme.len()..].starts_with(' ') {
        return None;
    }
    let start = scheme.len() + 1;
    let value = unquoted(&text[start..]);
    (value.len() >= 8 && is_random(value)).then(|| (start, start + value.len()))
}

/// The value after a name that is given to secrets.
fn named(before: &str, text: &str) -> Option<(usize, usize)> {
    let key = name(text);
    let kind = keys::of(key);
    let header = keys::is_header(key);
    if kind == Name::Plain && !header {
        return None;
    }
    let mut at = key.len();
    let closing = quote(&text[at..]);
    at += closing.len();
    let spaces = blanks(&text[at..]);
    at += spaces;
    let sign = text[at..].chars().next();
    let flag = before.ends_with("--")
        && closing.is_empty()
        && spaces > 0
        && sign.is_some_and(|c| !matches!(c, '-' | '=' | ':'));
    if !flag {
        at += ["=>", ":=", "=", ":"].into_iter().find(|sign| text[at..].starts_with(sign))?.len();
        // `==` and `::` name no value.
        if text[at..].starts_with(['=', ':']) {
            return None;
        }
        at += blanks(&text[at..]);
    }
    let opening = quote(&text[at..]);
    let start = at + opening.len();
    // Judged by its beginning: a hostile text must not make each of its words look at all that follows.
    let head = &text[start..text.floor_char_boundary(start + JUDGED)];
    let judged = if opening.is_empty() { unquoted(head) } else { head.split(opening).next().unwrap_or_default() };
    let sign = if flag { '=' } else { sign.unwrap_or_default() };
    let is_field = sign == '=' || !closing.is_empty() || begins_field(before);
    let reveals = match kind {
        _ if header => true,
        Name::Secret => is_field && !is_code(judged, !opening.is_empty()) || is_random(judged),
        _ if is_number(judged) || judged.trim_end_matches('=').contains(['=', ':', ' ']) => false,
        _ => (is_field && !opening.is_empty() && judged.len() >= 8) || (is_random(judged) && judged.len() >= 12),
    };
    if !reveals || is_nothing(judged) {
        return None;
    }
    let length = match opening {
        "" if header => header_value(&text[start..]),
        "" => unquoted(&text[start..]).len(),
        // As in JSON: the value ends where its quote does.
        _ => closing_quote(&text[start..], opening),
    };
    let skipped = scheme(&text[start..start + length]);
    Some((start + skipped, start + length))
}

/// The length of a header's value: to the end of its line, or of the quoted text or list that it stands in.
fn header_value(text: &str) -> usize {
    let line = text.find(['\n', '\r', '"', '\'', '`']).unwrap_or(text.len());
    text[..line].trim_end_matches(['\\', ' ', ',', '}', ')', ']']).len()
}

/// The length of an authentication scheme and its space, which may stay.
fn scheme(value: &str) -> usize {
    let scheme = name(value);
    let known = ["bearer", "basic", "token", "digest", "apikey"].iter().any(|word| scheme.eq_ignore_ascii_case(word));
    let rest = &value[scheme.len()..];
    if known && rest.starts_with(' ') && rest.trim() != "" { scheme.len() + blanks(rest) } else { 0 }
}

/// A quote, with the backslashes of a text within a text: `"`, `'`, `\"`.
fn quote(text: &str) -> &str {
    let slashes = text.bytes().take_while(|byte| *byte == b'\\').count();
    match text.as_bytes().get(slashes) {
        Some(b'"' | b'\'' | b'`') => &text[..=slashes],
        _ => "",
    }
}

/// Where a quoted value ends: at the next such quote that is not escaped; else with the text.
fn closing_quote(value: &str, quote: &str) -> usize {
    let mut from = 0;
    while let Some(found) = value[from..].find(quote) {
        let at = from + found;
        if !value[..at].ends_with('\\') || quote.starts_with('\\') {
            return at;
        }
        from = at + quote.len();
    }
    value.len()
}

fn unquoted(text: &str) -> &str {
    let ends =
        |c: char| c.is_whitespace() || matches!(c, ',' | ';' | '&' | ')' | '}' | ']' | '"' | '\'' | '`' | '<' | '>');
    &text[..text.find(ends).unwrap_or(text.len())]
}

fn blanks(text: &str) -> usize {
    text.bytes().take_while(|byte| matches!(byte, b' ' | b'\t')).count()
}

/// Whether what follows stands where a field of a list, an object or a file begins, and not within a sentence.
fn begins_field(before: &str) -> bool {
    let before = before.trim_end_matches([' ', '\t', '"', '\'', '\\']);
    before.is_empty() || before.ends_with(['\n', '\r', '{', ',', '(', '[', '&', '?', ';', '-'])
}

/// Letters and digits mixed, as no word of a sentence has them.
fn is_random(value: &str) -> bool {
    let has = |of: fn(&char) -> bool| value.chars().any(|c| of(&c));
    let mixed = has(char::is_ascii_digit) && has(char::is_ascii_alphabetic);
    value.len() >= 6 && (mixed || (value.len() >= 16 && has(char::is_ascii_uppercase) && has(char::is_ascii_lowercase)))
}

/// An expression of a program: a call, a field, a name that is the same on both sides.
fn is_code(value: &str, quoted: bool) -> bool {
    let name = |c: char| c.is_ascii_alphabetic() || c == '_';
    !quoted
        && value.starts_with(name)
        && value.contains(['.', '(', '['])
        && !value.contains(|c: char| c.is_ascii_digit())
        || value.starts_with(['$', '%', '<', '*', '{'])
}

/// Words for no value.
fn is_nothing(value: &str) -> bool {
    let value = value.trim_end_matches(['.', ':', '!', '?']);
    [
        "",
        "null",
        "none",
        "nil",
        "undefined",
        "true",
        "false",
        "empty",
        "missing",
        "required",
        "invalid",
        "string",
        "str",
    ]
    .iter()
    .any(|word| value.eq_ignore_ascii_case(word))
}

fn is_number(value: &str) -> bool {
    value.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+'))
}
