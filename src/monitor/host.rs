//! The host beside its agents: looked at with every pass, kept by the minute.

use std::time::Duration;

use crate::model::{HostMinute, HostPressure, Now};

use super::Monitor;

/// Agents that die within this time of each other share a look.
const LOOK: Duration = Duration::from_secs(1);

impl Monitor {
    /// Looks at the host, and at how much has to wait only if `pressure`: that is a mean over ten seconds.
    pub(super) fn look_at_host(&mut self, pressure: bool, now: Now) {
        self.host = self.source.host();
        let mut waited = HostPressure::default();
        if pressure {
            waited = self.source.pressure();
            self.pressure = waited;
        }
        self.host_looked_at = Some(now.mono);
        let at = now.wall.minute();
        match &mut self.minute {
            Some(minute) if minute.at == at => minute.worsen(&self.host, &waited),
            other => self.batch.host.extend(other.replace(HostMinute { at, host: self.host, pressure: waited })),
        }
    }

    /// An agent died: whoever asks why wants to know how the host was, and not only when the minute is over.
    pub(super) fn note_host(&mut self, now: Now) {
        if self.host_looked_at.is_none_or(|at| now.mono.since(at) >= LOOK) {
            self.look_at_host(true, now);
        }
        self.write_host();
    }

    /// Writes down what was seen of this minute so far.
    pub(super) fn write_host(&mut self) {
        if self.batch.host.last() != self.minute.as_ref() {
            self.batch.host.extend(self.minute);
        }
    }
}
