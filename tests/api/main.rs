//! The HTTP edge as clients see it: real sockets, raw bytes, a hand-made snapshot behind it.

#![allow(clippy::unwrap_used, reason = "a helper of a test that cannot go on has nothing better to do")]

mod guard;
mod history;
mod limits;
mod listeners;
mod lists;
mod metrics;
mod openapi;
mod shapes;
mod streams;
mod world;
mod writes;
