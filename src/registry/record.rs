//! What a registry's bytes say. Pure: bytes in, a reading out.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use serde_json::value::RawValue;

use super::document::{self, Entry, ID_KEYS};
use super::fields::{Fields, digits, scalar};
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
    records: Vec<Arc<Record>>,
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
        let (record, notes) = match understand(entry) {
            Ok(understood) => understood,
            Err(reason) => return self.skip(&place, &reason),
        };
        self.count += 1;
        let place = match &entry.key {
            Some(key) if key == record.id.as_str() => place,
            _ => format!("{place} (id {:?})", printable(record.id.as_str(), AgentId::LIMIT_BYTES)),
        };
        if let Some(first) = self.places.get(&record.id) {
            let reason = format!("the same id as {first}, which counts");
            return self.note(&place, &reason);
        }
        for note in &notes {
            self.note(&place, note);
        }
        self.places.insert(record.id.clone(), place.into());
        self.records.push(Arc::new(record));
    }

    fn note(&mut self, place: &str, reason: &str) {
        self.skipped.push(format!("{place}: {reason}").into());
    }
}

/// A record, and what of it could not be understood. One without an id cannot be used. One whose pid is no pid can: it is
/// still an agent that is to be seen, its state `no_pid`, with a note that says why.
fn understand(entry: &Entry<'_>) -> Result<(Record, Vec<String>), String> {
    let mut parts = Parts::of(entry.raw)?;
    let id = parts.id(entry.key.as_deref())?;
    let mut notes = Vec::new();
    let pid = parts.pid().unwrap_or_else(|note| {
        notes.push(note);
        None
    });
    // A number of a namespace that cannot be understood would mean a stranger here.
    let (pid, pid_namespace) = match parts.pid_namespace() {
        Ok(namespace) => (pid, namespace),
        Err(note) => {
            notes.push(note);
            (None, None)
        }
    };
    let name = parts.word("name");
    let status = parts.status();
    let guard = parts.guard();
    let message_count = parts.message_count();
    let metadata = metadata::gather(entry.raw, &parts.used).unwrap_or_else(|reason| {
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
    Ok((record, notes))
}

/// The parts of a record, as they are asked for one after the other.
struct Parts<'a> {
    fields: Fields<'a>,
    /// Those of its `metadata`.
    inside: Fields<'a>,
    /// Which of `fields` were understood: what is left of them is metadata.
    used: Vec<&'static str>,
}

impl<'a> Parts<'a> {
    fn of(raw: &'a RawValue) -> Result<Parts<'a>, String> {
        if !raw.get().starts_with('{') {
            return Err("it is not an object".to_owned());
        }
        let fields = Fields::of(raw)?;
        let inside = match fields.get("metadata") {
            Some(raw) if raw.get().starts_with('{') => Fields::of(raw)?,
            _ => Fields::default(),
        };
        Ok(Parts { fields, inside, used: Vec::new() })
    }

    fn id(&mut self, map_key: Option<&str>) -> Result<AgentId, String> {
        let given = ID_KEYS.iter().find_map(|key| Some((*key, self.fields.get(key)?)));
        let text = match given {
            Some((key, raw)) => {
                self.used.push(key);
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

    /// The first field that is there decides: to pass over one that is wrong might watch another agent's process.
    fn first<T>(
        &mut self,
        keys: &[(bool, &'static str)],
        what: &str,
        read: impl Fn(Value) -> Option<T>,
    ) -> Result<Option<T>, String> {
        let found = keys.iter().find_map(|(within, key)| {
            let raw = if *within { self.inside.get(key) } else { self.fields.get(key) };
            Some((*within, *key, raw?))
        });
        let Some((within, key, raw)) = found else { return Ok(None) };
        let Some(value) = read(scalar(raw)) else {
            let field = if within { "metadata." } else { "" };
            return Err(format!("its {field}{key} is no {what}: {}", printable(raw.get(), 64)));
        };
        if !within {
            self.used.push(key);
        }
        Ok(Some(value))
    }

    fn pid(&mut self) -> Result<Option<Pid>, String> {
        self.first(&PID_KEYS, "process id", |value| match value {
            Value::Number(number) => Pid::new(number.as_i64()?),
            Value::String(text) => Pid::new(i64::try_from(digits(&text)?).ok()?),
            _ => None,
        })
    }

    /// The inode number of the namespace, or the whole text of the link `/proc/PID/ns/pid`: namespaces(7).
    fn pid_namespace(&mut self) -> Result<Option<u64>, String> {
        self.first(&NAMESPACE_KEYS, "pid namespace", |value| match value {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => {
                let link = text.strip_prefix("pid:[").and_then(|rest| rest.strip_suffix(']'));
                digits(link.unwrap_or(&text))
            }
            _ => None,
        })
    }

    fn status(&mut self) -> Option<String> {
        let given = ["status", "state", "current_state"].into_iter().find_map(|key| self.word(key));
        given.or_else(|| match scalar(self.fields.get("alive")?) {
            Value::Bool(alive) => {
                self.used.push("alive");
                Some(if alive { "online" } else { "offline" }.to_owned())
            }
            _ => None,
        })
    }

    fn guard(&mut self) -> StartGuard {
        let start = self.first_understood(["procStart", "proc_start"], start_ticks);
        let (boot, start_ticks) = start.map_or((None, None), |(boot, ticks)| (boot, Some(ticks)));
        let started_at = self.first_understood(["startedAt", "started_at", "startTime"], moment);
        StartGuard { start_ticks, boot, started_at }
    }

    fn message_count(&mut self) -> Option<u64> {
        const KEYS: [&str; 2] = ["messageCount", "message_count"];
        // SQLite has no larger numbers than those of 64 bits with a sign.
        let count = |raw: &RawValue| match scalar(raw) {
            Value::Number(number) => number.as_u64().filter(|count| i64::try_from(*count).is_ok()),
            _ => None,
        };
        self.first_understood(KEYS, count).or_else(|| KEYS.into_iter().find_map(|key| count(self.inside.get(key)?)))
    }

    /// The first of these fields that says something.
    fn first_understood<T, const N: usize>(
        &mut self,
        keys: [&'static str; N],
        read: impl Fn(&RawValue) -> Option<T>,
    ) -> Option<T> {
        let (key, value) = keys.into_iter().find_map(|key| Some((key, read(self.fields.get(key)?)?)))?;
        self.used.push(key);
        Some(value)
    }

    /// A text that is not blank, harmless and short.
    fn word(&mut self, key: &'static str) -> Option<String> {
        match scalar(self.fields.get(key)?) {
            Value::String(text) if !text.trim().is_empty() => {
                if !self.used.contains(&key) {
                    self.used.push(key);
                }
                Some(printable(text.trim(), LIMIT_WORD_BYTES))
            }
            _ => None,
        }
    }
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

/// ISO text, or a number as [`Timestamp::from_number`] has it.
fn moment(raw: &RawValue) -> Option<Timestamp> {
    const LIMIT_TEXT_BYTES: usize = 64;
    match scalar(raw) {
        Value::String(text) if text.len() <= LIMIT_TEXT_BYTES => Timestamp::parse(&text).ok(),
        Value::Number(number) => Timestamp::from_number(number.as_f64()?),
        _ => None,
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
