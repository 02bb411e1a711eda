//! Registries as the world serves them: files that are none, servers that misbehave, and lists that change under us.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests are tests too")]

mod discovery;
mod files;
mod http;
mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use agent_monitor::monitor::SourceReading;
use tempfile::TempDir;

/// No event of these tests takes this long; it only keeps a broken build from hanging.
const DEADLINE: Duration = Duration::from_secs(60);

const LIST: &str = r#"[{"agentId":"a","status":"online","metadata":{"pid":41}},{"agentId":"b","status":"offline"}]"#;

/// A message of an error, all its causes included.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn ids(reading: &SourceReading) -> Vec<&str> {
    reading.records.iter().map(|record| record.id.as_str()).collect()
}

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agents.json");
    (folder, file)
}

/// Replaces a file as a careful writer does.
fn replace(path: &Path, content: &[u8]) {
    let new = path.with_extension("new");
    fs::write(&new, content).unwrap();
    fs::rename(&new, path).unwrap();
}

/// Held by a test that measures memory or needs much of it, so that it measures its own.
fn peak() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Makes the present resident memory the highest so far (proc_pid_clear_refs(5)) and says how much that is.
fn reset_peak_kib() -> u64 {
    fs::write("/proc/self/clear_refs", "5").unwrap();
    peak_kib()
}

fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Reading costs the bytes that may be read, twice at worst, and what the other tests use meanwhile.
fn grew_little(what: &str, before_kib: u64) {
    let grown_kib = peak_kib().saturating_sub(before_kib);
    println!("{what}: peak grew by {grown_kib} KiB");
    assert!(grown_kib < 64 << 10, "{what}: peak grew by {grown_kib} KiB");
}
