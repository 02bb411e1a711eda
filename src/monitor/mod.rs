//! The heart: takes inputs and the time, returns effects. No async, thread, file, SQL or clock in it.

mod exchange;

pub use exchange::{AgentDetail, Answer, Effect, Input, NotRecorded, Reply, Report, SourceReading};
