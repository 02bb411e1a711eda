//! The machine that agents run on.

use std::time::Duration;

use super::Timestamp;

/// The machine at one moment. `None`: not known here, which is not zero.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct HostReading {
    /// Mean number of processes that could run, over the last minute.
    pub load_1m: Option<f64>,
    /// The same over the last five minutes.
    pub load_5m: Option<f64>,
    /// The same over the last fifteen minutes.
    pub load_15m: Option<f64>,
    /// Memory in all, bytes.
    pub memory_total_bytes: Option<u64>,
    /// Memory that can be had without swapping, bytes: `MemAvailable` of `/proc/meminfo`.
    pub memory_available_bytes: Option<u64>,
    /// Time since boot.
    pub uptime: Option<Duration>,
    /// Processors online.
    pub cpu_count: Option<u32>,
}

/// How much tasks of the machine had to wait: percent of the last ten seconds, 0 to 100. `some`: at least one task waited;
/// `full`: no task could go on. `None`: the kernel does not tell. Documentation/accounting/psi.rst, which has no `full` of
/// the processor for a whole machine.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct HostPressure {
    /// For a processor.
    pub cpu_some: Option<f64>,
    /// For memory.
    pub memory_some: Option<f64>,
    /// All of them for memory.
    pub memory_full: Option<f64>,
    /// For storage.
    pub io_some: Option<f64>,
    /// All of them for storage.
    pub io_full: Option<f64>,
}

/// The machine in one minute, as bad as it was seen: loads and pressures are the highest, available memory the lowest.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct HostMinute {
    /// When the minute began.
    pub at: Timestamp,
    /// Its load and memory. `uptime` is not kept.
    pub host: HostReading,
    /// How much had to wait.
    pub pressure: HostPressure,
}

impl HostMinute {
    /// Takes in another look.
    pub fn worsen(&mut self, host: &HostReading, pressure: &HostPressure) {
        let seen = &mut self.host;
        seen.load_1m = highest(seen.load_1m, host.load_1m);
        seen.load_5m = highest(seen.load_5m, host.load_5m);
        seen.load_15m = highest(seen.load_15m, host.load_15m);
        seen.memory_total_bytes = host.memory_total_bytes.or(seen.memory_total_bytes);
        seen.memory_available_bytes =
            [seen.memory_available_bytes, host.memory_available_bytes].into_iter().flatten().min();
        seen.cpu_count = host.cpu_count.or(seen.cpu_count);
        let waited = &mut self.pressure;
        waited.cpu_some = highest(waited.cpu_some, pressure.cpu_some);
        waited.memory_some = highest(waited.memory_some, pressure.memory_some);
        waited.memory_full = highest(waited.memory_full, pressure.memory_full);
        waited.io_some = highest(waited.io_some, pressure.io_some);
        waited.io_full = highest(waited.io_full, pressure.io_full);
    }
}

fn highest(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.max(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_as_bad_as_it_was_seen() {
        let none = (HostReading::default(), HostPressure::default());
        let mut minute = HostMinute { at: Timestamp::default(), host: none.0, pressure: none.1 };
        minute.worsen(&none.0, &none.1);
        assert_eq!((minute.host, minute.pressure), none, "not known is not zero");
        let look = |load, available, pressure| {
            let host = HostReading {
                load_1m: Some(load),
                load_15m: Some(load),
                memory_available_bytes: Some(available),
                cpu_count: Some(2),
                ..HostReading::default()
            };
            (host, HostPressure { memory_some: Some(pressure), io_full: Some(pressure), ..HostPressure::default() })
        };
        for (host, pressure) in [look(1.5, 300, 2.0), look(0.5, 100, 9.5), look(1.0, 200, 0.0), none] {
            minute.worsen(&host, &pressure);
        }
        let (host, pressure) = look(1.5, 100, 9.5);
        assert_eq!((minute.host, minute.pressure), (host, pressure));
    }
}
