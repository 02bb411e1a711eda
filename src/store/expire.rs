//! Carries out what retention decides, a slice at a time.

use std::time::Duration;

use rusqlite::Connection;

use super::query::{self, JournalCursor};
use super::{StoreError, apply};
use crate::model::{AgentNumber, Timestamp};
use crate::retention::{self, Cutoffs, Limits, Share};
use crate::rollup::Resolution;

/// A deletion in progress.
pub(super) struct Pruning {
    limits: Limits,
    at: Timestamp,
    share: Share,
    cutoffs: Cutoffs,
    stage: Stage,
}

/// What one slice deleted.
#[derive(Default)]
pub(super) struct Gone {
    /// How many rows.
    pub(super) rows: usize,
    /// Whose problems.
    pub(super) problems_of: Vec<AgentNumber>,
    /// Which agents.
    pub(super) agents: Vec<AgentNumber>,
}

enum Stage {
    Ticks,
    Rollups(Resolution),
    Journal(JournalCursor),
    Groups,
    Runs,
    Leftovers,
    Host,
    Agents,
    Pages,
}

impl Pruning {
    /// Begins to delete what is too old at this time.
    pub(super) fn new(limits: Limits, at: Timestamp) -> Pruning {
        let share = Share::WHOLE;
        Pruning { limits, at, share, cutoffs: limits.cutoffs(at, share), stage: Stage::Ticks }
    }

    /// Does one slice of a deletion. Returns what went, `None` when nothing is left to do.
    pub(super) fn slice(&mut self, connection: &Connection) -> Result<Option<Gone>, StoreError> {
        let mut gone = Gone::default();
        if self.pressed() && used_bytes(connection)? <= self.limits.target() {
            // No more than is needed, whatever the clock made of the ages.
            self.stage = Stage::Pages;
        }
        let Cutoffs { samples: cutoff, rollups, agents, spare_unresolved } = self.cutoffs;
        let (rows, next) = match &mut self.stage {
            Stage::Ticks => {
                let oldest = query::oldest_ticks(connection)?;
                let expired = retention::expired(&oldest, cutoff);
                let rows = apply::delete_ticks(connection, expired, &retention::ranges(expired))?;
                (rows, expired.is_empty().then_some(Stage::Rollups(Resolution::Minute)))
            }
            Stage::Rollups(resolution) => {
                let rows = apply::delete_rollups(connection, *resolution, rollups)?;
                let next = match resolution {
                    Resolution::Minute => Stage::Rollups(Resolution::Hour),
                    Resolution::Hour => Stage::Journal(JournalCursor::default()),
                };
                (rows, (rows == 0).then_some(next))
            }
            Stage::Journal(cursor) => match query::old_entries(connection, cursor, cutoff, spare_unresolved)? {
                Some(ids) => {
                    let rows = apply::delete_entries(connection, &ids)?;
                    if !spare_unresolved {
                        // With their last occurrence, or all occurrences would go before the first problem does.
                        gone.problems_of = apply::delete_groups(connection, cutoff, false)?;
                    }
                    (rows + gone.problems_of.len(), None)
                }
                None => (0, Some(Stage::Groups)),
            },
            Stage::Groups => {
                gone.problems_of = apply::delete_groups(connection, cutoff, spare_unresolved)?;
                let rows = gone.problems_of.len();
                (rows, (rows == 0).then_some(Stage::Runs))
            }
            Stage::Runs => {
                let rows = apply::delete_ended(connection, "run", cutoff)?;
                (rows, (rows == 0).then_some(Stage::Leftovers))
            }
            Stage::Leftovers => {
                let rows = apply::delete_ended(connection, "leftover", cutoff)?;
                (rows, (rows == 0).then_some(Stage::Host))
            }
            Stage::Host => {
                let rows = apply::delete_minutes(connection, cutoff)?;
                (rows, (rows == 0).then_some(Stage::Agents))
            }
            Stage::Agents => {
                gone.agents = apply::delete_agents(connection, agents)?;
                let rows = gone.agents.len();
                (rows, (rows == 0).then_some(Stage::Pages))
            }
            Stage::Pages => {
                let (pages, free) = query::pages(connection)?;
                let spare = retention::pages_to_give_back(pages, free);
                // Unless somebody rewrote the file without the mode that this needs.
                if spare > 0 && give_back(connection, spare, free)? {
                    (0, None)
                } else if self.press(connection)? {
                    (0, Some(Stage::Ticks))
                } else {
                    return Ok(None);
                }
            }
        };
        if let Some(next) = next {
            self.stage = next;
        }
        Ok(Some(Gone { rows, ..gone }))
    }

    fn pressed(&self) -> bool {
        self.share < Share::WHOLE
    }

    /// Lets everything age faster, if the database is too large still. False when it is not, or nothing is left.
    fn press(&mut self, connection: &Connection) -> Result<bool, StoreError> {
        let most = if self.pressed() { self.limits.target() } else { self.limits.full() };
        if used_bytes(connection)? <= most {
            return Ok(false);
        }
        if !self.pressed() {
            // All has an age, whether the clock can be believed or not: what is dated last, too.
            let reach = query::reach(connection)?;
            self.at = self.at.max(reach.newest.map_or(self.at, |newest| newest + Duration::from_millis(1)));
            // Begins where there is something: a database that filled up within a day has nothing older.
            let reached = |oldest: Option<Timestamp>, limit| oldest.map(|at| Share::reached(self.at.since(at), limit));
            let samples = reached(reach.oldest_pass, self.limits.samples);
            let entries = reached(reach.oldest_entry, self.limits.samples);
            let rollups = reached(reach.oldest_minute, self.limits.rollups);
            self.share = samples.max(entries).max(rollups).unwrap_or(Share::WHOLE);
        }
        let Some(share) = self.share.less() else {
            tracing::warn!("the database is larger than storage.max_size allows, and nothing is left to be deleted");
            return Ok(false);
        };
        self.share = share;
        self.cutoffs = self.limits.cutoffs(self.at, share);
        Ok(true)
    }
}

/// What the database would take without its free pages, bytes.
pub(super) fn used_bytes(connection: &Connection) -> Result<u64, StoreError> {
    let (pages, free) = query::pages(connection)?;
    let page_bytes: u64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    Ok(pages.saturating_sub(free) * page_bytes)
}

/// Gives pages back. False when there are as many free ones as before.
fn give_back(connection: &Connection, pages: u32, free: u64) -> Result<bool, StoreError> {
    apply::give_back(connection, pages)?;
    Ok(query::pages(connection)?.1 < free)
}
