//! The machine: now, and in a minute of the past.

use serde::Serialize;

use super::rows::{Time, mib, one_decimal};
use crate::model::{HostMinute, HostPressure, HostReading};

/// Both spellings are of this one list. Pressures: percent of the last ten seconds in which a task waited, or (`full`) in
/// which none went on.
macro_rules! numbers {
    ($(#[$attribute:meta])* $name:ident) => {
        #[derive(Serialize)]
        $(#[$attribute])*
        pub(super) struct $name {
            load1: Option<f64>,
            load5: Option<f64>,
            load15: Option<f64>,
            cpu_count: Option<u32>,
            memory_total_mb: Option<f64>,
            memory_available_mb: Option<f64>,
            cpu_pressure: Option<f64>,
            memory_pressure: Option<f64>,
            memory_pressure_full: Option<f64>,
            io_pressure: Option<f64>,
            io_pressure_full: Option<f64>,
        }

        impl $name {
            pub(super) fn new(host: &HostReading, pressure: &HostPressure) -> $name {
                $name {
                    load1: host.load_1m,
                    load5: host.load_5m,
                    load15: host.load_15m,
                    cpu_count: host.cpu_count,
                    memory_total_mb: host.memory_total_bytes.map(mib),
                    memory_available_mb: host.memory_available_bytes.map(mib),
                    cpu_pressure: pressure.cpu_some.map(one_decimal),
                    memory_pressure: pressure.memory_some.map(one_decimal),
                    memory_pressure_full: pressure.memory_full.map(one_decimal),
                    io_pressure: pressure.io_some.map(one_decimal),
                    io_pressure_full: pressure.io_full.map(one_decimal),
                }
            }
        }
    };
}

numbers!(
    #[serde(rename_all = "camelCase")]
    HostNow
);
numbers!(RowNumbers);

/// A row: the host in one minute, loads and pressures the highest, available memory the lowest that was seen.
#[derive(Serialize)]
pub(super) struct Host {
    timestamp: Time,
    #[serde(flatten)]
    numbers: RowNumbers,
}

impl From<&HostMinute> for Host {
    fn from(HostMinute { at, host, pressure }: &HostMinute) -> Host {
        Host { timestamp: Time(*at), numbers: RowNumbers::new(host, pressure) }
    }
}
