//! Agents that are found by their programs: simulated processes, and real ones.
#![allow(clippy::unwrap_used, reason = "a test")]

mod bench;
mod found;
mod launchers;
#[cfg(target_os = "linux")]
mod programs;
mod registries;
#[cfg(target_os = "linux")]
mod standins;
