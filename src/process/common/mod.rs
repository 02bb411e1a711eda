//! What sources of several systems have in common.

#[cfg(any(not(target_os = "linux"), test))]
pub(in crate::process) mod groups;
#[cfg(any(target_os = "linux", target_os = "macos"))]
mod images;
pub(in crate::process) mod line;
#[cfg(any(not(target_os = "linux"), test))]
mod shown;
#[cfg(any(target_os = "linux", target_os = "macos"))]
mod worker;

use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[cfg(any(target_os = "linux", target_os = "macos"))]
pub(in crate::process) use self::images::Images;
#[cfg(any(not(target_os = "linux"), test))]
pub(in crate::process) use self::shown::Shown;
#[cfg(any(target_os = "linux", target_os = "macos"))]
pub(in crate::process) use self::worker::Worker;

/// How many events may wait to be drained: the memory for them is taken at once. When there are more, some are lost, and
/// that is told.
pub(in crate::process) const EVENTS: usize = 4_096;

/// Called from a thread of a source when [`drain`](super::ProcessSource::drain) has something to give. Must not block.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Raises the number of files that this program may have open to the most it may ask for, and says how many that is:
/// getrlimit(2), `RLIMIT_NOFILE`. To be called once at start.
pub fn raise_open_files() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let asked = asked(limit.current, limit.maximum, cfg!(target_os = "macos").then_some(OPEN_MAX));
    let raised = Rlimit { current: asked, maximum: limit.maximum };
    let current = if setrlimit(Resource::Nofile, raised).is_ok() { asked } else { limit.current };
    current.map_or(usize::MAX, |count| usize::try_from(count).unwrap_or(usize::MAX))
}

/// sys/syslimits.h of macOS: asked for more, even where there is no limit, it refuses.
const OPEN_MAX: u64 = 10_240;

/// What to ask for: as much as is granted, and never less than there is. `None` is no limit.
fn asked(current: Option<u64>, maximum: Option<u64>, granted: Option<u64>) -> Option<u64> {
    let most = match (maximum, granted) {
        (Some(maximum), Some(granted)) => Some(maximum.min(granted)),
        (maximum, granted) => maximum.or(granted),
    };
    Some(current?.max(most?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_files_as_are_granted() {
        for (current, maximum, granted, expected) in [
            (Some(256), None, Some(OPEN_MAX), Some(OPEN_MAX)),
            (Some(256), Some(4_096), Some(OPEN_MAX), Some(4_096)),
            (Some(65_536), Some(65_536), Some(OPEN_MAX), Some(65_536)),
            (None, None, Some(OPEN_MAX), None),
            (Some(1_024), Some(524_288), None, Some(524_288)),
            (Some(1_024), None, None, None),
        ] {
            assert_eq!(asked(current, maximum, granted), expected, "{current:?} {maximum:?}");
        }
    }
}
