//! Carries out what retention decides, a slice at a time.

use rusqlite::Connection;

use super::query::{self, JournalCursor};
use super::{StoreError, apply, groups};
use crate::model::Timestamp;
use crate::retention;

/// A deletion in progress.
pub(super) struct Pruning {
    cutoff: Timestamp,
    stage: Stage,
}

enum Stage {
    Ticks,
    Journal(JournalCursor),
    Groups,
    Runs,
    Leftovers,
    Host,
    Agents,
    Pages,
}

impl Pruning {
    /// Begins to delete what is older than `cutoff`.
    pub(super) fn new(cutoff: Timestamp) -> Pruning {
        Pruning { cutoff, stage: Stage::Ticks }
    }

    /// Does one slice of a deletion. Returns how many rows went, `None` when nothing is left to do.
    pub(super) fn slice(&mut self, connection: &Connection) -> Result<Option<usize>, StoreError> {
        let cutoff = self.cutoff;
        let (rows, next) = match &mut self.stage {
            Stage::Ticks => {
                let oldest = query::oldest_ticks(connection)?;
                let expired = retention::expired(&oldest, cutoff);
                let rows = apply::delete_ticks(connection, expired, &retention::ranges(expired))?;
                (rows, expired.is_empty().then_some(Stage::Journal(JournalCursor::default())))
            }
            Stage::Journal(cursor) => match query::old_entries(connection, cursor, cutoff)? {
                Some(ids) => (apply::delete_entries(connection, &ids)?, None),
                None => (0, Some(Stage::Groups)),
            },
            Stage::Groups => {
                let rows = groups::expire(connection, cutoff)?;
                (rows, (rows == 0).then_some(Stage::Runs))
            }
            Stage::Runs => {
                let rows = apply::delete_runs(connection, cutoff)?;
                (rows, (rows == 0).then_some(Stage::Leftovers))
            }
            Stage::Leftovers => {
                let rows = apply::delete_leftovers(connection, cutoff)?;
                (rows, (rows == 0).then_some(Stage::Host))
            }
            Stage::Host => {
                let rows = apply::delete_minutes(connection, cutoff)?;
                (rows, (rows == 0).then_some(Stage::Agents))
            }
            Stage::Agents => {
                let rows = apply::delete_agents(connection, cutoff)?;
                (rows, (rows == 0).then_some(Stage::Pages))
            }
            Stage::Pages => {
                let (pages, free) = query::pages(connection)?;
                let spare = retention::pages_to_give_back(pages, free);
                if spare == 0 {
                    return Ok(None);
                }
                apply::give_back(connection, spare)?;
                if query::pages(connection)?.1 >= free {
                    // Somebody rewrote the file without the mode that this needs.
                    return Ok(None);
                }
                (0, None)
            }
        };
        if let Some(next) = next {
            self.stage = next;
        }
        Ok(Some(rows))
    }
}
