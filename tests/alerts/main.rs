//! Alerts: each rule on a machine that exists only in memory, and the life of an alert held against a model.
#![allow(clippy::unwrap_used, reason = "a test")]

mod bench;
mod machine;
mod model;
mod monitor;
mod rules;
