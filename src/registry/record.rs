//! What a registry's bytes say. Pure: bytes in, a reading out.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::document::{self, Entry, ID_KEYS, is_container};
use super::{metadata, printable};
use crate::model::{AgentId, JsonObject, Pid, Record, StartGuard, Timestamp};
use crate::monitor::SourceReading;

pub use super::document::InvalidDocument;

/// The longest status and name, bytes. What is longer is cut.
pub const LIMIT_WORD_BYTES: usize = 128;

/// Where a record may name its process, in order of precedence; `true`: inside its `metadata`.
const PID_KEYS: [(bool, &str); 4] = [(true, "pid"), (false, "pid"), (true, "processId"), (false, "processId")];

/// Where a record may say which pid namespace that process id is of.
const NAMESPACE_KEYS: [(bool, &str); 4] = [(true, "pidNs"), (false, "pidNs"), (true, "pid_ns"), (false, "pid_ns")];

/// Reads a whole registry: every shape that is accepted. A byte order mark is passed over.
///
/// # Errors
/// When the document is not JSON, has too many records, or has records of which none can be used. A record that cannot
/// be used among others is no error: it is named in [`SourceReading::skipped`].
pub fn parse(bytes: &[u8]) -> Result<SourceReading, InvalidDocument> {
    let entries = document::entries(bytes)?;
    let mut gathering = Gathering { records: Vec::with_capacity(entries.len()), ..Gathering::default() };
    for (index, entry) in entries.iter().enumerate() {
        let place = match &entry.key {
            Some(key) => format!("record {:?}", printable(key, LIMIT_WORD_BYTES)),
            None => format!("record {}", index + 1),
        };
        gathering.add(place, entry);
    }
    gathering.finish()
}

/// Collects the records of one source: the first of an id wins.
#[derive(Default)]
pub(super) struct Gathering {
    records: Vec<Record>,
    skipped: Vec<Arc<str>>,
    places: HashMap<AgentId, Arc<str>>,
    count: usize,
}

impl Gathering {
    /// Takes the one record of a file in a folder.
    pub(super) fn add_file(&mut self, place: String, bytes: &[u8]) {
        match document::single(bytes) {
            Ok(entry) => self.add(place, &entry),
            Err(error) => self.skip(&place, &error.to_string()),
        }
    }

    /// Notes something that was to be a record and cannot be used.
    pub(super) fn skip(&mut self, place: &str, reason: &str) {
        self.count += 1;
        self.note(place, reason);
    }

    /// What came of it all.
    pub(super) fn finish(self) -> Result<SourceReading, InvalidDocument> {
        match self.skipped.first() {
            Some(first) if self.records.is_empty() => {
                Err(InvalidDocument::NothingUsable { count: self.count, first: first.to_string() })
            }
            _ => Ok(SourceReading { records: self.records.into(), skipped: self.skipped }),
        }
    }

    fn add(&mut self, place: String, entry: &Entry<'_>) {
        let claim = match Claim::read(entry) {
            Ok(claim) => claim,
            Err(reason) => return self.skip(&place, &reason),
        };
        self.count += 1;
        let place = match &entry.key {
            Some(key) if key == claim.record.id.as_str() => place,
            _ => format!("{place} (id {:?})", printable(claim.record.id.as_str(), AgentId::LIMIT_BYTES)),
        };
        if let Some(first) = self.places.get(&claim.record.id) {
            let reason = format!("the same id as {first}, which counts");
            return self.note(&place, &reason);
        }
        for note in &claim.notes {
            self.note(&place, note);
        }
        self.places.insert(claim.record.id.clone(), place.into());
        self.records.push(claim.record);
    }

    fn note(&mut self, place: &str, reason: &str) {
        self.skipped.push(format!("{place}: {reason}").into());
    }
}

/// A record, understood, and what of it was not.
struct Claim {
    record: Record,
    notes: Vec<String>,
}

impl Claim {
    /// A record without an id cannot be used. One whose pid is no pid can: it is still an agent that is to be seen,
    /// its state `no_pid`, with a note that says why.
    fn read(entry: &Entry<'_>) -> Result<Claim, String> {
        if !entry.raw.get().starts_with('{') {
            return Err("it is not an object".to_owned());
        }
        let fields = Fields::of(entry.raw)?;
        let inside = match fields.get("metadata") {
            Some(raw) if raw.get().starts_with('{') => Fields::of(raw)?,
            _ => Fields::default(),
        };
        let mut used = Vec::new();
        let id = id(&fields, entry.key.as_deref(), &mut used)?;
        let mut notes = Vec::new();
        let pid = pid(&fields, &inside, &mut used).unwrap_or_else(|note| {
            notes.push(note);
            None
        });
        // A number of a namespace that cannot be understood would mean a stranger here.
        let namespace = pid_namespace(&fields, &inside, &mut used);
        let (pid, pid_namespace) = match namespace {
            Ok(namespace) => (pid, namespace),
            Err(note) => {
                notes.push(note);
                (None, None)
            }
        };
        let name = word(&fields, "name", &mut used);
        let status = status(&fields, &mut used);
        let guard = guard(&fields, &mut used);
        let message_count = message_count(&fields, &inside, &mut used);
        let metadata = metadata::gather(entry.raw, &used).unwrap_or_else(|reason| {
            notes.push(format!("its metadata is left out: {reason}"));
            JsonObject::default()
        });
        let record = Record {
            id,
            name: name.map(Arc::from),
            pid,
            pid_namespace,
            status: Some(status.as_deref().unwrap_or("online").into()),
            guard,
            message_count,
            metadata,
        };
        Ok(Claim { record, notes })
    }
}

fn id(fields: &Fields<'_>, map_key: Option<&str>, used: &mut Vec<&'static str>) -> Result<AgentId, String> {
    let given = ID_KEYS.iter().find_map(|key| Some((*key, fields.get(key)?)));
    let text = match given {
        Some((key, raw)) => {
            used.push(key);
            match scalar(raw) {
                Value::String(text) => text,
                Value::Number(number) if !number.is_f64() => number.to_string(),
                _ => return Err(format!("its {key} is neither a text nor a whole number")),
            }
        }
        None => map_key.ok_or_else(|| format!("it has no id: none of {}", ID_KEYS.join(", ")))?.to_owned(),
    };
    AgentId::new(&text).map_err(|error| error.to_string())
}

/// The first of these fields that is there: where, under which key, its text.
fn first<'a>(
    keys: &[(bool, &'static str)],
    fields: &Fields<'a>,
    inside: &Fields<'a>,
) -> Option<(bool, &'static str, &'a RawValue)> {
    keys.iter().find_map(|(within, key)| {
        let raw = if *within { inside.get(key) } else { fields.get(key) };
        Some((*within, *key, raw?))
    })
}

/// The first field that is there decides: to pass over one that is wrong might watch another agent's process.
fn pid(fields: &Fields<'_>, inside: &Fields<'_>, used: &mut Vec<&'static str>) -> Result<Option<Pid>, String> {
    let Some((within, key, raw)) = first(&PID_KEYS, fields, inside) else { return Ok(None) };
    let number = match scalar(raw) {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => digits(&text).and_then(|number| i64::try_from(number).ok()),
        _ => None,
    };
    let Some(pid) = number.and_then(Pid::new) else {
        let field = if within { "metadata." } else { "" };
        return Err(format!("its {field}{key} is no process id: {}", printable(raw.get(), 64)));
    };
    if !within {
        used.push(key);
    }
    Ok(Some(pid))
}

/// The inode number of the namespace, or the whole text of the link `/proc/PID/ns/pid`: namespaces(7).
fn pid_namespace(
    fields: &Fields<'_>,
    inside: &Fields<'_>,
    used: &mut Vec<&'static str>,
) -> Result<Option<u64>, String> {
    let Some((within, key, raw)) = first(&NAMESPACE_KEYS, fields, inside) else { return Ok(None) };
    let number = match scalar(raw) {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => {
            let link = text.strip_prefix("pid:[").and_then(|rest| rest.strip_suffix(']'));
            digits(link.unwrap_or(&text))
        }
        _ => None,
    };
    let Some(number) = number else {
        let field = if within { "metadata." } else { "" };
        return Err(format!("its {field}{key} is no pid namespace: {}", printable(raw.get(), 64)));
    };
    if !within {
        used.push(key);
    }
    Ok(Some(number))
}

fn status(fields: &Fields<'_>, used: &mut Vec<&'static str>) -> Option<String> {
    let given = ["status", "state", "current_state"].into_iter().find_map(|key| word(fields, key, used));
    given.or_else(|| match scalar(fields.get("alive")?) {
        Value::Bool(alive) => {
            used.push("alive");
            Some(if alive { "online" } else { "offline" }.to_owned())
        }
        _ => None,
    })
}

fn guard(fields: &Fields<'_>, used: &mut Vec<&'static str>) -> StartGuard {
    let mut guard = StartGuard::default();
    for key in ["procStart", "proc_start"] {
        if let Some((boot, ticks)) = fields.get(key).and_then(start_ticks) {
            used.push(key);
            guard.boot = boot;
            guard.start_ticks = Some(ticks);
            break;
        }
    }
    for key in ["startedAt", "started_at", "startTime"] {
        if let Some(moment) = fields.get(key).and_then(moment) {
            used.push(key);
            guard.started_at = Some(moment);
            break;
        }
    }
    guard
}

/// `ticks` or `<boot id>:<ticks>`. Anything else, such as the date that some write on other systems, is no guard.
fn start_ticks(raw: &RawValue) -> Option<(Option<Arc<str>>, u64)> {
    const BOOT_ID_BYTES: usize = 36;
    match scalar(raw) {
        Value::Number(number) => Some((None, number.as_u64()?)),
        Value::String(text) => match text.split_once(':') {
            None => Some((None, digits(&text)?)),
            Some((boot, ticks)) => {
                let is_boot_id =
                    boot.len() == BOOT_ID_BYTES && boot.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
                Some((Some(is_boot_id.then(|| boot.into())?), digits(ticks)?))
            }
        },
        _ => None,
    }
}

/// ISO text; a number from 1e12 on is milliseconds since the epoch, from 1e9 on seconds, and below no time at all.
fn moment(raw: &RawValue) -> Option<Timestamp> {
    const LIMIT_TEXT_BYTES: usize = 64;
    match scalar(raw) {
        Value::String(text) if text.len() <= LIMIT_TEXT_BYTES => Timestamp::parse(&text).ok(),
        Value::Number(number) => {
            let number = number.as_f64()?;
            let ms = if number >= 1e12 {
                number
            } else if number >= 1e9 {
                number * 1000.0
            } else {
                return None;
            };
            #[expect(clippy::cast_possible_truncation, reason = "saturates, and from_unix_ms keeps the range")]
            Some(Timestamp::from_unix_ms(ms as i64))
        }
        _ => None,
    }
}

fn message_count(fields: &Fields<'_>, inside: &Fields<'_>, used: &mut Vec<&'static str>) -> Option<u64> {
    const KEYS: [&str; 2] = ["messageCount", "message_count"];
    let count = |fields: &Fields<'_>, key| match scalar(fields.get(key)?) {
        Value::Number(number) => number.as_u64(),
        _ => None,
    };
    for key in KEYS {
        if let Some(count) = count(fields, key) {
            used.push(key);
            return Some(count);
        }
    }
    KEYS.into_iter().find_map(|key| count(inside, key))
}

/// A text that is not blank, harmless and short.
fn word(fields: &Fields<'_>, key: &'static str, used: &mut Vec<&'static str>) -> Option<String> {
    match scalar(fields.get(key)?) {
        Value::String(text) if !text.trim().is_empty() => {
            if !used.contains(&key) {
                used.push(key);
            }
            Some(printable(text.trim(), LIMIT_WORD_BYTES))
        }
        _ => None,
    }
}

fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// A text, number or boolean; null for everything else.
fn scalar(raw: &RawValue) -> Value {
    if is_container(raw) { Value::Null } else { serde_json::from_str(raw.get()).unwrap_or(Value::Null) }
}

/// The fields of an object that mean something to us, as they are written. However large the object, this is small.
#[derive(Default)]
struct Fields<'a>(Vec<(&'static str, &'a RawValue)>);

const KNOWN: [&str; 21] = [
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
    fn of(raw: &'a RawValue) -> Result<Fields<'a>, String> {
        serde_json::from_str(raw.get()).map_err(|error| document::cause(&error))
    }

    /// The field's text; none if it is missing or null.
    fn get(&self, key: &str) -> Option<&'a RawValue> {
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

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
