//! The only place that asks the operating system for the time.

use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::model::{Mono, Now, Timestamp};

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// Both clocks, read together.
    fn now(&self) -> Now;
}

/// The machine's clocks. The monotonic one does not count time spent suspended: processes burn nothing then.
#[derive(Clone, Copy, Default, Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one owner of the wall clock")]
    fn now(&self) -> Now {
        let wall = SystemTime::now();
        let ms = match wall.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
        };
        Now { wall: Timestamp::from_unix_ms(ms), mono: monotonic() }
    }
}

/// `CLOCK_MONOTONIC`, clock_gettime(2).
#[cfg(target_os = "linux")]
pub fn monotonic() -> Mono {
    let at = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(at.tv_sec).unwrap_or(0);
    Mono(seconds * 1_000_000_000 + u64::try_from(at.tv_nsec).unwrap_or(0))
}

/// What Rust takes for the monotonic clock, counted from a second before it was first asked here. On macOS that is the one that
/// stands still while the machine sleeps, which its `CLOCK_MONOTONIC` does not.
#[cfg(not(target_os = "linux"))]
#[expect(clippy::disallowed_methods, reason = "the one owner of the monotonic clock")]
pub fn monotonic() -> Mono {
    static FIRST: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    let now = std::time::Instant::now();
    Mono(1_000_000_000) + now.saturating_duration_since(*FIRST.get_or_init(|| now))
}

/// Processor time that this process used, `CLOCK_PROCESS_CPUTIME_ID`, clock_gettime(2).
pub fn own_cpu_time() -> Duration {
    Duration::try_from(rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime)).unwrap_or_default()
}

/// A clock that moves only when told to: for tests and simulation.
#[derive(Debug)]
pub struct ManualClock(Mutex<Now>);

impl ManualClock {
    /// Starts at `wall`, with the monotonic clock at one second.
    pub fn new(wall: Timestamp) -> ManualClock {
        ManualClock(Mutex::new(Now { wall, mono: Mono(1_000_000_000) }))
    }

    /// Moves both clocks on.
    pub fn advance(&self, span: Duration) {
        let mut now = self.0.lock().expect("no holder of this lock panics");
        *now = Now { wall: now.wall + span, mono: now.mono + span };
    }

    /// Starts the machine again: the monotonic clock begins anew, and for the wall clock it took so long.
    pub fn restart(&self, span: Duration) {
        let mut now = self.0.lock().expect("no holder of this lock panics");
        *now = Now { wall: now.wall + span, mono: Mono(1_000_000_000) };
    }

    /// Sets the wall clock, as an administrator or NTP does.
    pub fn set_wall(&self, wall: Timestamp) {
        self.0.lock().expect("no holder of this lock panics").wall = wall;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Now {
        *self.0.lock().expect("no holder of this lock panics")
    }
}
