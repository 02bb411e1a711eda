//! The Linux process source against real processes.
#![cfg(target_os = "linux")]

mod births;
mod children;
mod counters;
mod ends;
mod foreign;
mod images;
mod memory;
mod namespaces;
mod odd;
mod pss;
mod resident;
mod who;
