//! The fields of a record that mean something to us.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::document::{cause, is_container};

/// The fields of an object that mean something to us, as they are written. However large the object, this is small.
#[derive(Default)]
pub(super) struct Fields<'a>(Vec<(&'static str, &'a RawValue)>);

pub(super) const KNOWN: [&str; 21] = [
    "agentId",
    "agent_id",
    "id",
    "name",
    "sessionId",
    "pid",
    "processId",
    "pidNs",
    "pid_ns",
    "metadata",
    "status",
    "state",
    "current_state",
    "alive",
    "procStart",
    "proc_start",
    "startedAt",
    "started_at",
    "startTime",
    "messageCount",
    "message_count",
];

impl<'a> Fields<'a> {
    pub(super) fn of(raw: &'a RawValue) -> Result<Fields<'a>, String> {
        serde_json::from_str(raw.get()).map_err(|error| cause(&error))
    }

    /// The field's text; none if it is missing or null.
    pub(super) fn get(&self, key: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(name, raw)| *name == key && raw.get() != "null").map(|(_, raw)| *raw)
    }
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fields<'de>, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields: Vec<(&'static str, &'de RawValue)> = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            match KNOWN.into_iter().find(|known| *known == key) {
                None => _ = map.next_value::<IgnoredAny>()?,
                // Which of them is meant, nobody can tell: RFC 8259 §4.
                Some(key) if fields.iter().any(|(before, _)| *before == key) => {
                    return Err(serde::de::Error::duplicate_field(key));
                }
                Some(key) => fields.push((key, map.next_value()?)),
            }
        }
        Ok(Fields(fields))
    }
}

/// The decimal number that a text is, and nothing else.
pub(super) fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// A text, number or boolean; null for everything else.
pub(super) fn scalar(raw: &RawValue) -> Value {
    if is_container(raw) { Value::Null } else { serde_json::from_str(raw.get()).unwrap_or(Value::Null) }
}
