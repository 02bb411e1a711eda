//! How an agent's memory is added up.

use std::time::Duration;

use crate::config::Config;
use crate::model::{MemoryMethod, Now, PssReading, Reading};
use crate::tree::AgentIndex;

use super::Monitor;
use super::account::Sum;
use super::runs::Run;

/// How old a proportional set size may be and still stand for the present. It is measured beside the readings and within a
/// budget, so it lags once agents hold much. Within five minutes 24 GB can be gone round where measuring is slow (50 µs a
/// MiB, on a small virtual machine), 200 GB where it is quick (6 µs): with less time an agent would change between both
/// ways again and again, which no rule could tell from growth. With more, `high_memory`, which looks at five minutes,
/// could fire for what was over before they began.
const PSS_FRESH: Duration = Duration::from_secs(300);

/// Each is measured again after one interval, since a newer value would be seen by nobody; but well before it is too old.
const PSS_PERIOD: Duration = Duration::from_secs(60);

impl Monitor {
    /// Lets proportional set sizes be measured, or not, as the configuration says.
    pub(super) fn ask_for_pss(&mut self) {
        let Config { sampling, .. } = &*self.config;
        let wanted = sampling.memory == MemoryMethod::Pss;
        self.processes.measure_pss(wanted.then_some(sampling.interval.min(PSS_PERIOD)));
    }

    /// Tells once that an agent's memory cannot be added up as configured: until it can be.
    pub(super) fn tell_pss_denied(&mut self, index: AgentIndex, now: Now) {
        let agent = self.agent(index);
        let denied = agent.tree.sum.pss_denied;
        agent.told.pss_denied &= agent.metrics.memory_method == MemoryMethod::Rss;
        if denied && !std::mem::replace(&mut agent.told.pss_denied, true) {
            let message = "the shared pages of a process of its tree may not be seen: its memory is the sum of resident \
                           pages (rss), which counts them once for each";
            self.warn(index, "pss_denied", message, now);
        }
    }
}

impl Sum {
    /// Adds the memory of one member.
    pub(super) fn add_memory(&mut self, reading: &Reading) {
        self.rss_bytes += reading.rss_bytes;
        match reading.pss {
            PssReading::Known { bytes, at } if reading.read_at.since(at) <= PSS_FRESH => self.pss_bytes += bytes,
            PssReading::Known { .. } | PssReading::Unknown => self.pss_missing = true,
            PssReading::Denied => {
                self.pss_missing = true;
                self.pss_denied = true;
            }
        }
    }

    /// What the tree holds, and how that was added up: exactly, if that of every member is known and fresh; a sum of both
    /// kinds would be neither.
    pub(super) fn memory(&self) -> (u64, MemoryMethod) {
        if self.pss_missing || self.processes == 0 {
            (self.rss_bytes, MemoryMethod::Rss)
        } else {
            (self.pss_bytes, MemoryMethod::Pss)
        }
    }
}

impl Run {
    /// Takes in what the tree holds. `wanted`: how it is to be added up. What was or is added up in the other way, before
    /// the first measuring or where one value is too old, is another kind of number and must not be the peak.
    pub(super) fn note_memory(&mut self, bytes: u64, method: MemoryMethod, wanted: MemoryMethod) {
        match (self.memory_method, method) {
            (MemoryMethod::Pss, MemoryMethod::Rss) if wanted == MemoryMethod::Pss => return,
            (MemoryMethod::Rss, MemoryMethod::Pss) => self.peak_memory_bytes = None,
            _ => {}
        }
        self.memory_method = method;
        self.last_memory_bytes = Some(bytes);
        self.peak_memory_bytes = self.peak_memory_bytes.max(Some(bytes));
    }
}
