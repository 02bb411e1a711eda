//! What we only pass on of a record, with its secrets taken out.

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::document::cause;
use crate::model::JsonObject;
use crate::redact;

/// The most metadata of one record, bytes of JSON without spaces.
pub(super) const LIMIT_BYTES: usize = 16 << 10;

/// A longer record, spaces included, is not unpacked at all.
const LIMIT_RECORD_BYTES: usize = 64 << 10;

/// The record's `metadata` with its other fields merged in, except `used`; what `metadata` itself says wins.
///
/// # Errors
/// Says why there can be none: it is too large, or nested too deeply for `serde_json`, which stops at 128 levels.
pub(super) fn gather(record: &RawValue, used: &[&str]) -> Result<JsonObject, String> {
    if record.get().len() > LIMIT_RECORD_BYTES {
        return Err(format!("a record of {} bytes, at most {LIMIT_RECORD_BYTES}", record.get().len()));
    }
    let mut fields: Map<String, Value> = serde_json::from_str(record.get()).map_err(|error| cause(&error))?;
    for key in used {
        fields.remove(*key);
    }
    let mut merged = match fields.get_mut("metadata").map(Value::take) {
        Some(Value::Object(own)) => {
            fields.remove("metadata");
            own
        }
        Some(Value::Null) | None => {
            fields.remove("metadata");
            Map::new()
        }
        Some(other) => Map::from_iter([("metadata".to_owned(), other)]),
    };
    for (key, value) in fields {
        merged.entry(key).or_insert(value);
    }
    redact::values(&mut merged);
    let object = JsonObject::from(merged);
    match object.as_str().len() {
        bytes if bytes > LIMIT_BYTES => Err(format!("{bytes} bytes, at most {LIMIT_BYTES}")),
        _ => Ok(object),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(record: &str, used: &[&str], expected: &str) {
        let raw: &RawValue = serde_json::from_str(record).unwrap();
        assert_eq!(gather(raw, used).unwrap().as_str(), expected, "{record}");
    }

    #[test]
    fn merging() {
        check("{}", &[], "{}");
        check(r#"{"id": "a", "role": "coder"}"#, &["id"], r#"{"role":"coder"}"#);
        check(r#"{"role": "outer", "metadata": {"role": "own", "pid": 7}}"#, &["pid"], r#"{"pid":7,"role":"own"}"#);
        check(r#"{"metadata": null, "a": 1}"#, &[], r#"{"a":1}"#);
        check(r#"{"metadata": "free text", "a": 1}"#, &[], r#"{"a":1,"metadata":"free text"}"#);
    }

    #[test]
    fn secrets() {
        for key in [
            "token",
            "TOKEN",
            "apiKey",
            "API_KEY",
            "APIKey",
            "x-api-key",
            "apikey",
            "openai_api_keys",
            "clientSecret",
            "secrets",
            "password",
            "DB_PASSWORD",
            "userpassword",
            "Authorization",
            "proxy-authorization",
            "authToken",
            "authtoken",
            "access_token",
            "key",
            "privateKey2",
            "a.b.token",
        ] {
            check(&format!(r#"{{"{key}": "hunter2"}}"#), &[], &format!(r#"{{"{key}":"[redacted]"}}"#));
            let deep = format!(r#"{{"a":[[{{"b":{{"{key}":{{"c":["hunter2"]}}}}}}]]}}"#);
            check(&deep, &[], &deep.replace(r#"{"c":["hunter2"]}"#, r#""[redacted]""#));
        }
        for text in [
            r#"{"monkey":"george"}"#,
            r#"{"keyboard":"qwerty"}"#,
            r#"{"secretary":"Ada"}"#,
            r#"{"inputTokens":1200}"#,
            r#"{"hasToken":true}"#,
            r#"{"token":null}"#,
            r#"{"author":"Ada"}"#,
        ] {
            check(text, &[], text);
        }
        check(r#"{"password": 1234}"#, &[], r#"{"password":"[redacted]"}"#);
    }

    #[test]
    fn limits() {
        let of = |record: &str| {
            let raw: &RawValue = serde_json::from_str(record).unwrap();
            gather(raw, &[])
        };
        let text = |bytes: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes - 8));
        assert_eq!(of(&text(LIMIT_BYTES)).unwrap().as_str().len(), LIMIT_BYTES);
        assert!(of(&text(LIMIT_BYTES + 1)).unwrap_err().contains("16385 bytes"));
        assert!(of(&text(LIMIT_RECORD_BYTES + 1)).unwrap_err().contains("a record of 65537 bytes"));
        let nested = |levels: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
        assert!(of(&nested(100)).is_ok());
        assert!(of(&nested(10_000)).unwrap_err().contains("recursion limit"));
    }
}
