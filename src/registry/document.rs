//! Finds the records in a JSON document, whichever of the accepted shapes it has, without building a tree of it: a
//! document of 16 MiB must not cost half a gigabyte.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::LIMIT_RECORDS;

/// Where a record of an object may say who it is, in order of precedence.
pub(super) const ID_KEYS: [&str; 5] = ["agentId", "agent_id", "id", "name", "sessionId"];

/// Why a whole document cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidDocument {
    /// Not UTF-8, as RFC 8259 §8.1 wants it, or not JSON.
    #[error("line {line}, column {column}: {what}")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in bytes.
        column: usize,
        /// What is wrong there.
        what: String,
    },
    /// More than [`LIMIT_RECORDS`].
    #[error("{count} records, at most {LIMIT_RECORDS} are read")]
    TooManyRecords {
        /// How many there are.
        count: usize,
    },
    /// There are records, and none of them can be used: a list of another kind, and no evidence that no agents run.
    #[error("none of its {count} records can be used, the first: {first}")]
    NothingUsable {
        /// How many there are.
        count: usize,
        /// What is wrong with the first.
        first: String,
    },
}

/// One record, not yet understood.
pub(super) struct Entry<'a> {
    /// Its key, where the records are a map.
    pub(super) key: Option<String>,
    /// Its text: valid JSON but for escapes in strings.
    pub(super) raw: &'a RawValue,
}

/// The records of a document: an array, a map from id to record, either of them under `agents`, `data`, `workers` or
/// `data.agents`, or a single record.
pub(super) fn entries(bytes: &[u8]) -> Result<Vec<Entry<'_>>, InvalidDocument> {
    let text = text(bytes)?;
    let fields = match part(text, text)? {
        Part::List(items) => return listed(items),
        Part::Object(fields) => fields,
    };
    let is_id = |raw: &RawValue| !is_container(raw) && raw.get() != "null";
    let identified = ID_KEYS.iter().any(|key| field(&fields, key).is_some_and(is_id));
    for key in ["agents", "data", "workers"] {
        let Some(raw) = field(&fields, key).filter(|raw| is_container(raw)) else { continue };
        let inner = part(text, raw.get())?;
        if key == "data"
            && let Part::Object(data) = &inner
        {
            if let Some(raw) = field(data, "agents").filter(|raw| is_container(raw)) {
                return list_or_map(part(text, raw.get())?);
            }
            if identified {
                continue; // one record that has data of its own
            }
        }
        return list_or_map(inner);
    }
    if identified { Ok(vec![Entry { key: None, raw: whole(text)? }]) } else { mapped(fields) }
}

/// The document as the one record it is to be.
pub(super) fn single(bytes: &[u8]) -> Result<Entry<'_>, InvalidDocument> {
    Ok(Entry { key: None, raw: whole(text(bytes)?)? })
}

/// Whether this is an array or an object.
pub(super) fn is_container(raw: &RawValue) -> bool {
    raw.get().starts_with(['[', '{'])
}

fn list_or_map(part: Part<'_>) -> Result<Vec<Entry<'_>>, InvalidDocument> {
    match part {
        Part::List(items) => listed(items),
        Part::Object(fields) => mapped(fields),
    }
}

fn listed(items: Counted<&RawValue>) -> Result<Vec<Entry<'_>>, InvalidDocument> {
    Ok(items.all()?.into_iter().map(|raw| Entry { key: None, raw }).collect())
}

fn mapped(fields: Counted<(String, &RawValue)>) -> Result<Vec<Entry<'_>>, InvalidDocument> {
    Ok(fields.all()?.into_iter().map(|(key, raw)| Entry { key: Some(key), raw }).collect())
}

fn field<'a>(fields: &Counted<(String, &'a RawValue)>, key: &str) -> Option<&'a RawValue> {
    fields.kept.iter().find(|(name, _)| name == key).map(|(_, raw)| *raw)
}

/// The document as text: UTF-8, with or without a byte order mark.
fn text(bytes: &[u8]) -> Result<&str, InvalidDocument> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| {
        let (line, column) = position(bytes.get(..error.valid_up_to()).unwrap_or_default());
        InvalidDocument::Syntax { line, column, what: "not UTF-8".to_owned() }
    })
}

fn whole(text: &str) -> Result<&RawValue, InvalidDocument> {
    serde_json::from_str(text).map_err(|error| syntax(text, text, &error))
}

/// Reads `inner`, a part of `text`, one level deep.
fn part<'a>(text: &'a str, inner: &'a str) -> Result<Part<'a>, InvalidDocument> {
    serde_json::from_str(inner).map_err(|error| syntax(text, inner, &error))
}

fn syntax(text: &str, inner: &str, error: &serde_json::Error) -> InvalidDocument {
    let offset = (inner.as_ptr().addr()).saturating_sub(text.as_ptr().addr()).min(text.len());
    let (first_line, first_column) = position(text.as_bytes().get(..offset).unwrap_or_default());
    InvalidDocument::Syntax {
        line: first_line + error.line().saturating_sub(1),
        column: if error.line() <= 1 { first_column - 1 + error.column().max(1) } else { error.column() },
        what: if text.trim_ascii().is_empty() { "it is empty".to_owned() } else { cause(error) },
    }
}

/// What is wrong, without the place, which counts from the start of some part.
pub(super) fn cause(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

/// Line and column, from 1, of what follows these bytes.
fn position(before: &[u8]) -> (usize, usize) {
    let lines = before.iter().filter(|byte| **byte == b'\n').count();
    let column = before.iter().rev().take_while(|byte| **byte != b'\n').count();
    (lines + 1, column + 1)
}

/// An array or an object, its elements as they are written.
enum Part<'a> {
    List(Counted<&'a RawValue>),
    Object(Counted<(String, &'a RawValue)>),
}

/// The first [`LIMIT_RECORDS`] of some things, and how many there were. The rest is checked for syntax and forgotten.
struct Counted<T> {
    kept: Vec<T>,
    count: usize,
}

impl<T> Counted<T> {
    fn all(self) -> Result<Vec<T>, InvalidDocument> {
        if self.count > LIMIT_RECORDS {
            return Err(InvalidDocument::TooManyRecords { count: self.count });
        }
        Ok(self.kept)
    }
}

impl<'de> Deserialize<'de> for Part<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Part<'de>, D::Error> {
        deserializer.deserialize_any(PartVisitor)
    }
}

struct PartVisitor;

impl<'de> Visitor<'de> for PartVisitor {
    type Value = Part<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list or an object of records")
    }

    // A text at the top would else be quoted, whole, in the error.
    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<Part<'de>, E> {
        Err(E::invalid_type(serde::de::Unexpected::Other("a text"), &self))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Part<'de>, A::Error> {
        let mut kept = Vec::new();
        while kept.len() < LIMIT_RECORDS {
            let Some(raw) = seq.next_element()? else { break };
            kept.push(raw);
        }
        let mut count = kept.len();
        while seq.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(Part::List(Counted { kept, count }))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Part<'de>, A::Error> {
        let mut kept = Vec::new();
        while kept.len() < LIMIT_RECORDS {
            let Some(entry) = map.next_entry()? else { break };
            kept.push(entry);
        }
        let mut count = kept.len();
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(Part::Object(Counted { kept, count }))
    }
}
