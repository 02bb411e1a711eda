#![no_main]

use agent_monitor::model;
use libfuzzer_sys::fuzz_target;

#[path = "../checks/mod.rs"]
mod checks;

fuzz_target!(|bytes: &[u8]| checks::fingerprint(bytes));
