//! The machine as a whole. What macOS calls memory pressure is no share of time, so of pressure nothing is known.

use super::kernel::{Host, Name, sysctl};
use super::units::{loads, moment_us, number, pages_bytes};
use crate::model::{HostReading, Timestamp};

/// Reads what can be read; `now` is by the wall clock.
pub(super) fn read(host: Host, now: Timestamp) -> HostReading {
    let bytes = |name| sysctl(Name::Text(name)).ok();
    let count = |name| number(&bytes(name)?);
    let loads = bytes(c"vm.loadavg").as_deref().and_then(loads);
    let page = count(c"hw.pagesize");
    HostReading {
        load_1m: loads.map(|loads| loads[0]),
        load_5m: loads.map(|loads| loads[1]),
        load_15m: loads.map(|loads| loads[2]),
        memory_total_bytes: count(c"hw.memsize"),
        memory_available_bytes: page.and_then(|page| Some(pages_bytes(host.available_pages()?, page))),
        // When the wall clock is set, the kernel moves the moment of the boot with it.
        uptime: booted(&bytes(c"kern.boottime").unwrap_or_default()).map(|booted| now.since(booted)),
        cpu_count: count(c"hw.activecpu").and_then(|count| u32::try_from(count).ok()),
    }
}

/// The moment of the boot: a `struct timeval`.
fn booted(bytes: &[u8]) -> Option<Timestamp> {
    let (seconds, rest) = bytes.split_first_chunk::<8>()?;
    let us = moment_us(i64::from_ne_bytes(*seconds), i32::from_ne_bytes(*rest.first_chunk()?).into())?;
    Some(Timestamp::from_unix_ms(i64::try_from(us / 1_000).ok()?))
}
