//! What must be so of any input, for the fuzzers and for the test that tries what they found.
//!
//! Everything goes through what is public. The text of `/proc/PID/stat` alone has no way in that needs no process: its parser
//! is compiled once more here.
#![allow(dead_code, reason = "each fuzzer has one of them")]
#![allow(clippy::unwrap_used, reason = "a test")]

mod http;
#[path = "../../src/process/linux/stat.rs"]
mod parsed;

use std::num::NonZeroU64;
use std::path::Path;

use agent_monitor::config::{Config, Directories};
use agent_monitor::fingerprint;
use agent_monitor::redact;
use agent_monitor::registry::{LIMIT_RECORDS, record};

#[allow(unused_imports, reason = "each fuzzer has one of them")]
pub(crate) use http::{bodies, heads, questions};

/// A registry of any shape: what is read keeps its bounds, each id is there once, and the same text says the same again.
pub(crate) fn registry(bytes: &[u8]) {
    let Ok(reading) = record::parse(bytes) else { return };
    let mut ids: Vec<&str> = reading.records.iter().map(|record| record.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), reading.records.len(), "an id is there twice");
    assert!(ids.len() <= LIMIT_RECORDS);
    for record in reading.records.iter() {
        let words = [record.status.as_deref(), record.name.as_deref()];
        for word in words.into_iter().flatten() {
            assert!(word.len() <= record::LIMIT_WORD_BYTES && !word.contains(char::is_control), "{word:?}");
        }
        let metadata: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(record.metadata.as_str()).expect("metadata is an object");
        let mut hidden = metadata.clone();
        redact::values(&mut hidden);
        assert_eq!(hidden, metadata, "a secret is left");
    }
    for complaint in &reading.skipped {
        assert!(!complaint.contains(char::is_control), "{complaint:?}");
    }
    assert_eq!(record::parse(bytes).as_ref(), Ok(&reading));
}

/// What the kernel shows of a process, whatever the process calls itself.
pub(crate) fn stat(bytes: &[u8]) {
    if let Ok(stat) = parsed::Stat::parse(bytes) {
        assert!(bytes.windows(stat.name.len().max(1)).any(|part| part == stat.name || stat.name.is_empty()));
        let hertz = NonZeroU64::new(100).unwrap();
        let _ = (stat.cpu.at(hertz), stat.exit(true), stat.exit(false));
        // Another name changes nothing else.
        let mut other = b"1 (".to_vec();
        other.extend_from_slice(b"x) (y");
        other.extend_from_slice(&bytes[bytes.iter().rposition(|byte| *byte == b')').unwrap()..]);
        let renamed = parsed::Stat::parse(&other).expect("all but the name is as before");
        let facts = |stat: &parsed::Stat<'_>| {
            (
                stat.state,
                stat.parent,
                stat.group,
                stat.session,
                stat.kernel,
                stat.cpu,
                stat.start_ticks,
                stat.exit(true),
            )
        };
        assert_eq!(facts(&renamed), facts(&stat));
    }
    let _ = parsed::resident_pages(bytes);
    let _ = parsed::storage_io(bytes);
    let _ = parsed::labelled(bytes, b"read_bytes:");
    if let Some(number) = parsed::decimal(bytes) {
        assert_eq!(std::str::from_utf8(bytes).unwrap().parse(), Ok(number));
    }
}

/// A configuration that is accepted says the same when it is written down and read again; one that is not says where.
pub(crate) fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let directories = Directories { state: "/state".into(), runtime: "/run".into() };
    match Config::parse(text, Path::new("x.toml"), &directories) {
        Ok(config) => {
            let written = config.to_toml();
            let again = Config::parse(&written, Path::new("again.toml"), &directories);
            assert_eq!(again.expect("what was written is accepted"), config, "{written}");
        }
        Err(errors) => {
            assert!(!errors.problems().is_empty());
            let _ = errors.to_string();
        }
    }
}

/// Text of an agent, in four parts.
pub(crate) fn fingerprint(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = text.splitn(4, '\0');
    let mut part = || parts.next().unwrap_or_default();
    let (agent, error_type, message) = (part(), part(), part());
    for stack in [None, Some(part())] {
        let print = fingerprint::of(agent, error_type, message, stack);
        assert!(print.len() == 32 && print.bytes().all(|byte| byte.is_ascii_hexdigit()), "{print}");
        assert_eq!(print, fingerprint::of(agent, error_type, message, stack));
    }
    // A number is no part of what an error is.
    let numbered = |number: &str| fingerprint::of(agent, error_type, &format!("{message} {number}"), None);
    assert_eq!(numbered("17"), numbered("4711"));
}

/// What is clean stays as it is, and what a well-known token begins is not left.
pub(crate) fn redact(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let clean = redact::text(&text);
    assert_eq!(redact::text(&clean), clean, "clean text is changed");
    if let Ok(mut object) = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text) {
        redact::object(&mut object);
        let mut again = object.clone();
        redact::object(&mut again);
        assert_eq!(again, object);
    }
    const TOKEN: &str = "ghp_0123456789abcdefghijABCDEFGHIJ012345";
    let told = format!("{text} {TOKEN} {text}");
    assert!(!redact::text(&told).contains(TOKEN), "{told:?}");
}
