use std::time::Duration;

/// The machine at one moment. `None`: not known here, which is not zero.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct HostReading {
    /// Mean number of processes that could run, over the last minute.
    pub load_1m: Option<f64>,
    /// Memory in all, bytes.
    pub memory_total_bytes: Option<u64>,
    /// Memory that can be had without swapping, bytes: `MemAvailable` of `/proc/meminfo`.
    pub memory_available_bytes: Option<u64>,
    /// Time since boot.
    pub uptime: Option<Duration>,
    /// Processors online.
    pub cpu_count: Option<u32>,
}
