//! The store on real files: what goes in comes out, through the views too, whatever happens to the process or the disk.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod alerts;
mod bound;
#[expect(dead_code, reason = "what only a world of the simulator meets")]
mod control;
mod crash;
mod damage;
mod diary;
mod disks;
mod expire;
mod faults;
mod full;
mod lists;
mod overwritten;
mod refuse;
mod rollup;
mod rows;
mod schema;
mod support;
mod trouble;
mod writes;
mod years;
