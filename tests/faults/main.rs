//! What goes wrong around the program, on purpose: clocks, registries, processes, clients, descriptors, memory, stops.
//! Parts B to G of `docs/reliability.md`, as far as no other target has them.
//!
//! Each test says how often its fault struck, and fails if it did not.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod client;
mod clients;
mod clocks;
mod crowds;
#[path = "../operation/frozen.rs"]
mod frozen;
#[path = "../daemon/harness/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the tests of the daemon use the rest")]
mod harness;
mod herd;
mod registries;
mod shortage;
mod stops;
#[path = "../daemon/tree.rs"]
#[allow(dead_code, reason = "the tests of the daemon use the rest")]
mod tree;

/// Whether there is time for all of it: else a test tries some of its faults, or with less.
#[allow(clippy::disallowed_methods, reason = "how long it takes is for who starts it to say")]
pub(crate) fn thorough() -> bool {
    std::env::var_os("AGENT_MONITOR_TEST_EVERY_FAULT").is_some()
}
