//! What is told from outside, before anyone acts on it: held to its limits, dated, its secrets taken out, errors given
//! their fingerprint. Pure, and done by whoever brings it, so that the heart need not.
#![deny(
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unwrap_used,
    clippy::panic,
    clippy::unreachable,
    reason = "no input may end the daemon"
)]

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::fingerprint;
use crate::model::{JsonObject, Report, Submission, Timestamp};
use crate::redact;

/// The longest type of an event or an error, bytes.
pub const TYPE_BYTES: usize = 256;

/// The longest id that a teller gives, or fingerprint, bytes.
pub const ID_BYTES: usize = 128;

/// The longest message and the longest stack, bytes: as long as the body that brings them.
pub const TEXT_BYTES: usize = 64 << 10;

/// The most metadata, bytes of JSON without spaces.
pub const METADATA_BYTES: usize = 16 << 10;

/// The deepest metadata; the object itself is the first level.
pub const METADATA_LEVELS: usize = 32;

/// A time of the teller's own is kept if it is this old at most …
const PAST: Duration = Duration::from_secs(7 * 24 * 3600);

/// … or this far ahead: clocks differ.
const FUTURE: Duration = Duration::from_secs(5 * 60);

/// What is wrong with something told.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Invalid {
    /// A name that cannot be used as one.
    #[error("{field} has 1 to {limit} bytes and no control characters")]
    Name {
        /// Which.
        field: &'static str,
        /// How long it may be.
        limit: usize,
    },
    /// A text that is too long.
    #[error("{field} has at most {limit} bytes, this one has {bytes}")]
    TooLong {
        /// Which.
        field: &'static str,
        /// How long it may be.
        limit: usize,
        /// How long it is.
        bytes: usize,
    },
    /// Metadata that is nested too deeply.
    #[error("metadata has at most {METADATA_LEVELS} levels")]
    TooDeep,
}

/// Checks a submission and makes it what is stored. `now`: when it was received.
///
/// # Errors
/// Says what is wrong with it.
pub fn prepare(mut submission: Submission, now: Timestamp) -> Result<Submission, Invalid> {
    if let Some(id) = &submission.client_id {
        check_name("id", id, ID_BYTES)?;
    }
    submission.at = submission.at.filter(|at| now.since(*at) <= PAST && at.since(now) <= FUTURE);
    match &mut submission.report {
        Report::Event(event) => {
            check_name("eventType", &event.event_type, TYPE_BYTES)?;
            clean("message", &mut event.message)?;
            clean_metadata(&mut event.metadata)?;
        }
        Report::Error(error) => {
            check_name("error.name", &error.error_type, TYPE_BYTES)?;
            if let Some(given) = &error.fingerprint {
                check_name("fingerprint", given, ID_BYTES)?;
            }
            clean("error.message", &mut error.message)?;
            if let Some(stack) = &mut error.stack {
                clean("error.stack", stack)?;
            }
            clean_metadata(&mut error.metadata)?;
            fingerprint::complete(error, &submission.agent);
        }
    }
    Ok(submission)
}

fn check_name(field: &'static str, text: &str, limit: usize) -> Result<(), Invalid> {
    let fits = !text.is_empty() && text.len() <= limit && !text.chars().any(char::is_control);
    if fits { Ok(()) } else { Err(Invalid::Name { field, limit }) }
}

fn clean(field: &'static str, text: &mut Arc<str>) -> Result<(), Invalid> {
    if text.len() > TEXT_BYTES {
        return Err(Invalid::TooLong { field, limit: TEXT_BYTES, bytes: text.len() });
    }
    if let Cow::Owned(redacted) = redact::text(text) {
        *text = redacted.into();
    }
    Ok(())
}

fn clean_metadata(metadata: &mut JsonObject) -> Result<(), Invalid> {
    let bytes = metadata.as_str().len();
    if bytes > METADATA_BYTES {
        return Err(Invalid::TooLong { field: "metadata", limit: METADATA_BYTES, bytes });
    }
    if metadata.as_str() == "{}" {
        return Ok(());
    }
    let mut map: Map<String, Value> = serde_json::from_str(metadata.as_str()).expect("a JsonObject holds an object");
    if map.values().any(|value| is_deeper(value, METADATA_LEVELS - 1)) {
        return Err(Invalid::TooDeep);
    }
    redact::object(&mut map);
    *metadata = JsonObject::from(map);
    Ok(())
}

/// Whether a value has more levels than that.
fn is_deeper(value: &Value, levels: usize) -> bool {
    let any = |mut inside: Box<dyn Iterator<Item = &Value> + '_>| {
        levels == 0 || inside.any(|value| is_deeper(value, levels - 1))
    };
    match value {
        Value::Object(object) => any(Box::new(object.values())),
        Value::Array(items) => any(Box::new(items.iter())),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AgentId, ErrorReport, EventReport};

    const NOW: Timestamp = Timestamp::from_unix_ms(1_767_268_800_000);

    fn event(message: &str, metadata: &str) -> Submission {
        let metadata = JsonObject::parse(metadata).unwrap();
        let report = Report::Event(EventReport { event_type: "note".into(), message: message.into(), metadata });
        Submission::new(AgentId::new("a").unwrap(), report)
    }

    fn error(fingerprint: Option<&str>) -> Submission {
        let report = ErrorReport {
            error_type: "Error".into(),
            message: "refused with password=hunter2".into(),
            stack: Some("Error\n  at f (https://me:hunter2@h/a.js:1:1)".into()),
            metadata: JsonObject::parse(r#"{"api_key":"hunter2","note":"token=hunter2hunter2"}"#).unwrap(),
            fingerprint: fingerprint.map(Into::into),
        };
        Submission::new(AgentId::new("a").unwrap(), Report::Error(report))
    }

    #[test]
    fn times_are_kept_within_reason() {
        let at = |at| prepare(Submission { at: Some(at), ..event("m", "{}") }, NOW).unwrap().at;
        let ms = Duration::from_millis(1);
        for kept in [NOW, NOW - PAST, NOW + FUTURE] {
            assert_eq!(at(kept), Some(kept));
        }
        for ignored in [NOW - PAST - ms, NOW + FUTURE + ms, Timestamp::from_unix_ms(i64::MIN)] {
            assert_eq!(at(ignored), None);
        }
    }

    #[test]
    fn limits() {
        let nested = |levels: usize| format!("{}{{}}{}", r#"{"a":"#.repeat(levels - 1), "}".repeat(levels - 1));
        assert!(prepare(event("m", &nested(METADATA_LEVELS)), NOW).is_ok());
        assert_eq!(prepare(event("m", &nested(METADATA_LEVELS + 1)), NOW), Err(Invalid::TooDeep));
        let arrays = |levels: usize| format!(r#"{{"a":{}1{}}}"#, "[".repeat(levels - 1), "]".repeat(levels - 1));
        assert!(prepare(event("m", &arrays(METADATA_LEVELS)), NOW).is_ok());
        assert_eq!(prepare(event("m", &arrays(METADATA_LEVELS + 1)), NOW), Err(Invalid::TooDeep));
        let long = |bytes: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes - 8));
        assert!(prepare(event("m", &long(METADATA_BYTES)), NOW).is_ok());
        assert!(matches!(prepare(event("m", &long(METADATA_BYTES + 1)), NOW), Err(Invalid::TooLong { .. })));
        assert!(matches!(prepare(event(&"x".repeat(TEXT_BYTES + 1), "{}"), NOW), Err(Invalid::TooLong { .. })));
        for id in ["", "a\n", &"x".repeat(129)] {
            let named = Submission { client_id: Some(id.into()), ..event("m", "{}") };
            assert!(matches!(prepare(named, NOW), Err(Invalid::Name { field: "id", .. })), "{id}");
            assert!(matches!(prepare(error(Some(id)), NOW), Err(Invalid::Name { field: "fingerprint", .. })), "{id}");
        }
    }

    #[test]
    fn secrets_go_and_a_fingerprint_comes() {
        let of = |submission| match prepare(submission, NOW).unwrap().report {
            Report::Error(error) => error,
            Report::Event(event) => panic!("{event:?}"),
        };
        let found = of(error(None));
        let text = format!("{found:?}");
        assert!(!text.contains("hunter2") && text.matches("[redacted]").count() == 4, "{text}");
        assert_eq!(found.fingerprint.as_deref().map(str::len), Some(32));
        assert_eq!(of(error(Some("mine"))).fingerprint.as_deref(), Some("mine"));
    }
}
