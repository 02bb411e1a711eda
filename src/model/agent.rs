//! Who an agent is, and what a registry says of it.

use std::fmt;
use std::sync::Arc;

use serde_json::value::{RawValue, to_raw_value};

use super::{Pid, Timestamp};

/// The source of agents that are known only by what they write.
pub(crate) const UNREGISTERED: &str = "unregistered";

/// The reason of agents that no registry names any more.
pub(crate) const NO_LONGER_REGISTERED: &str = "no longer registered";

/// An agent's name for itself: 1 to 128 bytes, no control characters. Untrusted text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AgentId(Arc<str>);

impl AgentId {
    /// The longest id, bytes.
    pub const LIMIT_BYTES: usize = 128;

    /// Checks the text.
    ///
    /// # Errors
    /// When it is empty, too long, or has control characters.
    pub fn new(text: &str) -> Result<AgentId, InvalidAgentId> {
        if text.is_empty() {
            Err(InvalidAgentId::Empty)
        } else if text.len() > AgentId::LIMIT_BYTES {
            Err(InvalidAgentId::TooLong { bytes: text.len() })
        } else if text.chars().any(char::is_control) {
            Err(InvalidAgentId::ControlCharacter)
        } else {
            Ok(AgentId(text.into()))
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no agent id.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidAgentId {
    /// Nothing there.
    #[error("an agent id must not be empty")]
    Empty,
    /// More than [`AgentId::LIMIT_BYTES`].
    #[error("an agent id has at most 128 bytes, this one has {bytes}")]
    TooLong {
        /// How long it was.
        bytes: usize,
    },
    /// A newline, an escape, …
    #[error("an agent id must not have control characters")]
    ControlCharacter,
}

/// The database's short name for an agent: 0 to 2^20 - 1, given to another only when nothing is stored of the first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AgentNumber(u32);

impl AgentNumber {
    /// One more than the highest number: what fits beside a tick in a sample's key.
    pub const COUNT: u32 = 1 << 20;

    /// `None` beyond the range.
    pub const fn new(number: u32) -> Option<AgentNumber> {
        if number < AgentNumber::COUNT { Some(AgentNumber(number)) } else { None }
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// The text of a JSON object that we only pass on: metadata of an agent or an event.
#[derive(Clone, Debug)]
pub struct JsonObject(Arc<RawValue>);

impl JsonObject {
    /// Takes the text if it is one JSON object.
    ///
    /// # Errors
    /// When it is not.
    pub fn parse(text: &str) -> Result<JsonObject, NotAnObject> {
        let map: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(text).map_err(|error| NotAnObject { reason: error.to_string() })?;
        Ok(JsonObject::from(map))
    }

    /// The object as JSON text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// The object as a part of other JSON.
    pub fn as_raw(&self) -> &RawValue {
        &self.0
    }
}

/// By their texts.
impl PartialEq for JsonObject {
    fn eq(&self, other: &JsonObject) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for JsonObject {}

impl Default for JsonObject {
    fn default() -> JsonObject {
        JsonObject::from(serde_json::Map::new())
    }
}

impl From<serde_json::Map<String, serde_json::Value>> for JsonObject {
    fn from(map: serde_json::Map<String, serde_json::Value>) -> JsonObject {
        JsonObject(to_raw_value(&map).expect("values of JSON have a JSON form").into())
    }
}

/// A text that is not one JSON object.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a JSON object: {reason}")]
pub struct NotAnObject {
    reason: String,
}

/// What a registry says of one agent: a claim, not a fact.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Which agent.
    pub id: AgentId,
    /// What people call it.
    pub name: Option<Arc<str>>,
    /// The process it claims.
    pub pid: Option<Pid>,
    /// The pid namespace that `pid` is of, as [`InnerPid`](super::InnerPid) has it; `None`: that of the monitor's `/proc`.
    pub pid_namespace: Option<u64>,
    /// The registry's word for its state; `online` where the record had none. `None`: the source makes no claim.
    pub status: Option<Arc<str>>,
    /// What the claimed process must satisfy to be the one that was meant.
    pub guard: StartGuard,
    /// Messages the registry counted.
    pub message_count: Option<u64>,
    /// Every other field, secrets taken out.
    pub metadata: JsonObject,
}

/// What a record says of the start of its process. Empty: nothing.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct StartGuard {
    /// Start ticks, which must be equal.
    pub start_ticks: Option<u64>,
    /// The boot those ticks count from, which must be equal.
    pub boot: Option<Arc<str>>,
    /// The record's time: a process that began more than 60 s after it is another one.
    pub started_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        assert_eq!(AgentId::new("coder 1").unwrap().as_str(), "coder 1");
        assert_eq!(AgentId::new(""), Err(InvalidAgentId::Empty));
        assert_eq!(AgentId::new("a\nb"), Err(InvalidAgentId::ControlCharacter));
        assert!(AgentId::new(&"é".repeat(64)).is_ok());
        assert_eq!(AgentId::new(&"é".repeat(65)), Err(InvalidAgentId::TooLong { bytes: 130 }));
    }

    #[test]
    fn objects() {
        assert_eq!(JsonObject::parse(r#"{ "a": [1] }"#).unwrap().as_str(), r#"{"a":[1]}"#);
        for text in ["[]", "1", "", "{", "{} x"] {
            assert!(JsonObject::parse(text).is_err(), "{text}");
        }
    }
}
