//! Makes rows per minute and hour of the samples of hours that are over, a slice at a time.

use rusqlite::Connection;

use super::query::{self, Stretch};
use super::{StoreError, apply};
use crate::model::{AgentNumber, Timestamp};
use crate::rollup::{self, Bucket, Resolution};

const MINUTES: usize = 60;

/// The work on one stretch. Where it has come to is stored with the rows, so that a daemon that was killed goes on there.
pub(super) struct Rolling {
    stretch: Stretch,
    hour: Timestamp,
    /// Ordinals and minutes.
    passes: Vec<(u64, usize)>,
}

impl Rolling {
    /// The oldest stretch that is over, if there is one.
    pub(super) fn find(connection: &Connection) -> Result<Option<Rolling>, StoreError> {
        let mut stretches = query::stretches(connection)?;
        if stretches.len() < 2 {
            return Ok(None);
        }
        let stretch = stretches.swap_remove(0);
        let hour = Timestamp::parse(&format!("{}:00:00.000", stretch.hour))
            .map_err(|_| StoreError::Value { what: "the hour of a stretch" })?;
        Ok(Some(Rolling { passes: query::passes(connection, &stretch)?, stretch, hour }))
    }

    /// Makes the rows of some agents. False when the stretch is done.
    pub(super) fn slice(&mut self, connection: &Connection) -> Result<bool, StoreError> {
        let first_tick = self.stretch.first_tick.unsigned_abs();
        let Some(first) = query::next_agent(connection, self.stretch.next_agent)? else {
            apply::end_stretch(connection, first_tick)?;
            return Ok(false);
        };
        let agents = rollup::slice(first, self.passes.len());
        let mut minutes: Vec<[Bucket; MINUTES]> = Vec::new();
        for &(tick, minute) in &self.passes {
            query::samples_of_pass(connection, tick, &agents, |number, sample| {
                let place = (number - first) as usize;
                if minutes.len() <= place {
                    minutes.resize(place + 1, [Bucket::default(); MINUTES]);
                }
                minutes[place][minute % MINUTES].merge(&sample);
            })?;
        }
        for (number, minutes) in (first..).zip(&minutes) {
            if let Some(agent) = AgentNumber::new(number) {
                self.store(connection, agent, minutes)?;
            }
        }
        match agents.end().checked_add(1).and_then(AgentNumber::new) {
            Some(next) => {
                apply::reach(connection, first_tick, next)?;
                self.stretch.next_agent = next.get();
                Ok(true)
            }
            None => {
                apply::end_stretch(connection, first_tick)?;
                Ok(false)
            }
        }
    }

    fn store(
        &self,
        connection: &Connection,
        agent: AgentNumber,
        minutes: &[Bucket; MINUTES],
    ) -> Result<(), StoreError> {
        let at = |minute: usize| self.hour + std::time::Duration::from_secs(60 * minute as u64);
        let rows = minutes.iter().enumerate().filter(|(_, bucket)| bucket.samples > 0);
        let rows = rows.map(|(minute, bucket)| (at(minute), *bucket));
        let whole = minutes.iter().fold(Bucket::default(), |mut whole, minute| {
            whole.merge(minute);
            whole
        });
        if whole.samples == 0 {
            return Ok(());
        }
        apply::rollups(connection, Resolution::Minute, agent, rows)?;
        apply::rollups(connection, Resolution::Hour, agent, std::iter::once((self.hour, whole)))
    }
}
