//! Names that are given to secrets.

use serde_json::Value;

/// What is said of secrets without being one.
const ABOUT: [&str; 18] = [
    "error",
    "exception",
    "warning",
    "required",
    "expired",
    "invalid",
    "missing",
    "count",
    "length",
    "limit",
    "type",
    "name",
    "id",
    "file",
    "path",
    "url",
    "usage",
    "budget",
];

/// Headers that hold nothing but secrets, whatever they look like.
const HEADERS: [&str; 7] =
    ["authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "x-auth-token", "api-key"];

/// Whether it is the name of such a header.
pub(super) fn is_header(name: &str) -> bool {
    HEADERS.iter().any(|header| name.eq_ignore_ascii_case(header))
}

/// How much a name says about its value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Name {
    /// Nothing.
    Plain,
    /// Often another thing: a `token` of a grammar, a `key` of a map.
    Doubtful,
    /// A secret.
    Secret,
}

/// Whether a value must not be shown. "No" and "none" are no secrets, and a number of tokens is a count.
pub(super) fn hides(key: &str, value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) => false,
        Value::Number(_) => words(key).any(|word| is_secret(&word) && !is_token(&word)),
        _ => is_header(key) || words(key).any(|word| is_secret(&word)),
    }
}

/// What a name in the middle of a text says.
pub(super) fn of(name: &str) -> Name {
    // Nearly all words are none of these, and need not be taken apart.
    const PARTS: [&str; 8] = ["key", "token", "secret", "pass", "auth", "cred", "cookie", "sig"];
    let has = |part: &str| name.as_bytes().windows(part.len()).any(|at| at.eq_ignore_ascii_case(part.as_bytes()));
    if !PARTS.iter().any(|part| has(part)) {
        return Name::Plain;
    }
    let (mut found, mut of_key) = (Name::Plain, false);
    for word in words(name).filter(|word| !word.is_empty()) {
        if ABOUT.contains(&&*word) {
            // So far it was about a secret, and is none: KeyError, token_count.
            found = Name::Plain;
            continue;
        }
        let word = word.strip_suffix('s').unwrap_or(&word);
        found = found.max(match word {
            "key" | "cookie" | "credential" | "signature" | "sig" => Name::Doubtful,
            _ if is_token(word) => Name::Doubtful,
            _ if is_secret(word) => Name::Secret,
            _ => Name::Plain,
        });
        of_key |= matches!(
            word,
            "api"
                | "acces"
                | "private"
                | "encryption"
                | "signing"
                | "auth"
                | "refresh"
                | "service"
                | "master"
                | "ssh"
                | "account"
        );
    }
    if found == Name::Doubtful && of_key { Name::Secret } else { found }
}

fn is_token(word: &str) -> bool {
    word.trim_end_matches('s').ends_with("token")
}

/// `key` only as a word of its own, for the sake of monkeys; the others also at the end of words run together.
fn is_secret(word: &str) -> bool {
    let word = word.strip_suffix('s').unwrap_or(word);
    is_token(word)
        || ["secret", "password", "passwd", "passphrase", "authorization", "apikey", "privatekey", "accesskey"]
            .iter()
            .any(|end| word.ends_with(end))
        || word == "key"
}

/// The words of a key in lower case: `apiKey`, `API_KEY`, `APIKey` and `x-api-key` all have `key`.
fn words(key: &str) -> impl Iterator<Item = String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    let mut chars = key.chars().peekable();
    while let Some(char) = chars.next() {
        let ends_acronym = before.is_uppercase() && chars.peek().is_some_and(|next| next.is_lowercase());
        if !char.is_alphabetic() || (char.is_uppercase() && (!before.is_uppercase() || ends_acronym)) {
            words.push(String::new());
        }
        if char.is_alphabetic() {
            words.last_mut().expect("never empty").extend(char.to_lowercase());
        }
        before = char;
    }
    words.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in [
            "password",
            "DB_PASSWORD",
            "apiKey",
            "x-api-key",
            "AWS_SECRET_ACCESS_KEY",
            "client_secret",
            "access_token",
            "authToken",
            "OPENAI_API_KEY",
            "passphrase",
            "Authorization",
            "ssh_private_key",
        ] {
            assert_eq!(of(name), Name::Secret, "{name}");
        }
        for name in ["token", "key", "primary_key", "max_tokens", "next_token", "sig", "cookie"] {
            assert_eq!(of(name), Name::Doubtful, "{name}");
        }
        for name in [
            "monkey",
            "keyboard",
            "secretary",
            "author",
            "name",
            "tokenizer",
            "KeyError",
            "token_count",
            "passwordLength",
            "",
        ] {
            assert_eq!(of(name), Name::Plain, "{name}");
        }
    }
}
