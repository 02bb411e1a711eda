//! What goes wrong around the program, on purpose: clocks, registries, processes, clients, descriptors, memory, stops. Parts
//! B to G of `docs/reliability.md`, as far as no other target has them.
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
#[path = "../daemon/harness.rs"]
#[allow(dead_code, reason = "the tests of the daemon use the rest")]
mod harness;
mod herd;
mod registries;
mod shortage;
mod stops;
#[path = "../daemon/tree.rs"]
#[allow(dead_code, reason = "the tests of the daemon use the rest")]
mod tree;
