//! Operating the program: how it is started, asked, reloaded and stopped, and what it says when it cannot go on.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a helper of a test that cannot go on has nothing better to do")]

mod commands;
mod demo;
mod doctor;
mod documents;
mod follow;
mod frozen;
mod harness;
mod log;
mod manual;
mod messages;
mod picture;
mod refuse;
mod registry;
mod reload;
mod service;
mod takeout;
mod terminal;
mod top;
mod welcome;
mod writes;
