//! Watches the AI agents of one host: what the kernel shows of them, beside what their broker's registry claims.

pub mod clock;
pub mod config;
pub mod feed;
pub mod model;
pub mod monitor;
pub mod process;
pub mod retention;
pub mod store;
