//! What sources of several systems have in common.

mod images;
pub(in crate::process) mod line;
#[cfg(any(not(target_os = "linux"), test))]
mod shown;

use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

pub(in crate::process) use self::images::Images;
#[cfg(any(not(target_os = "linux"), test))]
pub(in crate::process) use self::shown::Shown;

/// Called from a thread of a source when [`drain`](super::ProcessSource::drain) has something to give. Must not block.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Raises the number of files that this program may have open to the most it may ask for, and says how many that is:
/// getrlimit(2), `RLIMIT_NOFILE`. To be called once at start.
pub fn raise_open_files() -> usize {
    /// `OPEN_MAX`, sys/syslimits.h: where there is no limit, macOS grants no more than this.
    const MOST: u64 = 10_240;
    let limit = getrlimit(Resource::Nofile);
    let asked = if cfg!(target_os = "macos") { Some(limit.maximum.map_or(MOST, |most| most.min(MOST))) } else { limit.maximum };
    let raised = Rlimit { current: asked, maximum: limit.maximum };
    let current = if setrlimit(Resource::Nofile, raised).is_ok() { asked } else { limit.current };
    current.map_or(usize::MAX, |count| usize::try_from(count).unwrap_or(usize::MAX))
}
