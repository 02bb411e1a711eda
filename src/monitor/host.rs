//! The host beside its agents: looked at with every pass, kept by the minute.

use std::time::Duration;

use crate::model::{HostMinute, HostPressure, HostReading, Mono, Now};

use super::Monitor;
use super::wording::span;

/// A wall clock that went on so much more or less than the monotonic one from one step to the next did not just drift.
const JUMP: Duration = Duration::from_secs(60);

/// Agents that die within this time of each other share a look.
const LOOK: Duration = Duration::from_secs(1);

/// What was seen of the host.
#[derive(Default)]
pub(super) struct Host {
    pub reading: HostReading,
    pub pressure: HostPressure,
    /// When it was last looked at; none before the first time.
    looked_at: Option<Mono>,
    /// What was seen in this minute.
    minute: Option<HostMinute>,
}

impl Monitor {
    /// Tells of a wall clock that was set, and of a machine that slept: what happened before it and after it is not as
    /// far apart as the dates say.
    pub(super) fn compare_clocks(&mut self, now: Now) {
        let before = std::mem::replace(&mut self.clocks, now);
        let expected = before.wall + now.mono.since(before.mono);
        let (ahead, behind) = (now.wall.since(expected), expected.since(now.wall));
        if ahead.max(behind) >= JUMP {
            let (by, whither) = if ahead > behind { (ahead, "forward") } else { (behind, "back") };
            // To the nearest second: the two are not read at the same moment.
            let by = span(by + Duration::from_millis(500));
            let message = format!("the wall clock jumped {by} {whither}: it was set, or the machine slept");
            self.warn_own("clock_jump", &message, now);
        }
    }

    /// Looks at the host, and at how much has to wait only if `pressure`, which is a mean over ten seconds, or once in each
    /// minute: whoever dies at its beginning has it beside it too.
    pub(super) fn look_at_host(&mut self, pressure: bool, now: Now) {
        let Host { reading, pressure: last_pressure, looked_at, minute } = &mut self.host;
        *reading = self.processes.host();
        let at = now.wall.minute();
        let mut waited = HostPressure::default();
        if pressure || minute.is_none_or(|minute| minute.at != at) {
            waited = self.processes.pressure();
            *last_pressure = waited;
        }
        *looked_at = Some(now.mono);
        match minute {
            Some(minute) if minute.at == at => minute.worsen(reading, &waited),
            other => self.outcome.batch.host.extend(other.replace(HostMinute { at, host: *reading, pressure: waited })),
        }
    }

    /// An agent died: whoever asks why wants to know how the host was, and not only when the minute is over.
    pub(super) fn note_host(&mut self, now: Now) {
        if self.host.looked_at.is_none_or(|at| now.mono.since(at) >= LOOK) {
            self.look_at_host(true, now);
        }
        self.write_host();
    }

    /// Writes down what was seen of this minute so far.
    pub(super) fn write_host(&mut self) {
        if self.outcome.batch.host.last() != self.host.minute.as_ref() {
            self.outcome.batch.host.extend(self.host.minute);
        }
    }
}
