//! Watches the AI agents of one host: what the kernel shows of them, beside what their broker's registry claims.

pub mod alerts;
pub mod api;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod discovery;
pub mod endpoint;
pub mod engine;
pub mod feed;
pub mod ingest;
pub mod ledger;
pub mod model;
pub mod monitor;
pub mod openmetrics;
pub mod process;
pub mod recognise;
pub mod registry;
pub mod retention;
pub mod rollup;
pub mod store;
pub mod supervise;
pub mod testing;
pub mod timers;
pub mod tree;
pub mod verdict;
