//! The past in buckets.

use std::time::Duration;

use super::Timestamp;

/// How long the buckets of an answer about the past are to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// So long, if that does not give too many of them.
    Exactly(Duration),
    /// As suits the range: no shorter than this, the time between two samples.
    Auto {
        /// The sampling interval.
        interval: Duration,
    },
}

/// An agent's past in buckets of equal length, without holes.
#[derive(Clone, PartialEq, Debug)]
pub struct History {
    /// The beginning of the first bucket, at or before the moment asked for.
    pub from: Timestamp,
    /// The end of the last bucket, at or after the moment asked for.
    pub to: Timestamp,
    /// The length of a bucket: whole seconds. Not shorter than what was asked for, but it may be longer.
    pub step: Duration,
    /// The buckets, oldest first. Each begins at a multiple of `step` since the Unix epoch.
    pub points: Vec<HistoryPoint>,
}

/// What was observed in one bucket. `None`: nothing, which is not zero.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct HistoryPoint {
    /// When the bucket begins.
    pub at: Timestamp,
    /// Percent of one core, mean of the samples.
    pub cpu_percent_avg: Option<f64>,
    /// The highest of them.
    pub cpu_percent_max: Option<f64>,
    /// Memory, bytes, mean of the samples.
    pub memory_bytes_avg: Option<f64>,
    /// The highest of them.
    pub memory_bytes_max: Option<u64>,
    /// The most processes.
    pub process_count_max: Option<u32>,
}
