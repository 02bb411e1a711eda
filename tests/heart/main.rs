//! The heart, driven by a loop on a machine and a clock that exist only in memory.
#![allow(clippy::unwrap_used, reason = "a test")]

mod alerts;
mod bench;
mod claims;
mod ends;
mod host;
mod memory;
mod nested;
mod register;
mod reports;
mod restarts;
mod sampling;
mod tree;
