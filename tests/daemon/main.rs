//! The program against real process trees, as an operator sees it: over HTTP, in its database, by its exit code.
//!
//! Nothing here waits for a guessed time: a test asks again until it is so, or until it has waited far too long.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod accounting;
mod agents;
mod alertmanager;
mod causes;
mod churn;
mod damage;
mod dashboard;
mod ends;
mod harness;
mod hook;
mod leftovers;
mod library;
mod memory;
mod odd;
mod once;
mod passive;
mod prometheus;
mod receivers;
mod refusals;
mod registry;
mod routes;
mod stop;
mod storage;
mod streams;
mod tls;
mod tree;
mod verdicts;
mod ways;
