//! How far the database has come, noted beside it: a log that was lost or cut leaves a database that is whole and too old,
//! which nothing in it tells.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rusqlite::Connection;

use super::{StoreError, apply, query};
use crate::clock::{Clock, SystemClock};
use crate::model::Recorded;

const FILE_NAME: &str = "agent-monitor.mark";

/// The last that is on disk.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Reached {
    /// Of the journal.
    pub(super) entry: i64,
    /// Of the samples: the ordinal of their pass.
    pub(super) tick: u64,
}

impl Reached {
    /// The later of each.
    pub(super) fn max(self, other: Reached) -> Reached {
        Reached { entry: self.entry.max(other.entry), tick: self.tick.max(other.tick) }
    }
}

/// The note. It is written after each transaction and not synced: a killed daemon loses nothing of it, and with the power it
/// falls behind the database at most, so that it never tells of a loss that is none.
pub(super) struct Mark {
    file: Option<File>,
    reached: Reached,
}

impl Mark {
    /// Reads the note of the last daemon. Without a file, for want of room or rights, there is none.
    pub(super) fn open(directory: &Path) -> Mark {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(directory.join(FILE_NAME))
            .and_then(|file| Ok(file.metadata()?.is_file().then_some(file)));
        let file = file.inspect_err(|error| tracing::warn!(%error, "cannot open {FILE_NAME}")).ok().flatten();
        Mark { reached: file.as_ref().and_then(read).unwrap_or_default(), file }
    }

    /// The last that is known to have been on disk.
    pub(super) fn reached(&self) -> Reached {
        self.reached
    }

    /// Notes that so much is on disk.
    pub(super) fn reach(&mut self, reached: Reached) {
        let reached = self.reached.max(reached);
        if reached != self.reached {
            self.reached = reached;
            if let Some(file) = &self.file {
                // A full disk takes it all the same: it is as long as what is there. Else the note falls behind.
                let _ = file.write_all_at(line(reached).as_bytes(), 0);
            }
        }
    }
}

/// Always as long, so that it is written over in place.
fn line(Reached { entry, tick }: Reached) -> String {
    format!("{entry:020} {tick:020}\n")
}

fn read(file: &File) -> Option<Reached> {
    let mut text = String::new();
    file.take(42).read_to_string(&mut text).ok()?;
    let (entry, tick) = text.strip_suffix('\n')?.split_once(' ')?;
    Some(Reached { entry: entry.parse().ok().filter(|entry| *entry >= 0)?, tick: tick.parse().ok()? })
}

/// Holds the database against the note. What is missing is told in the journal, and its numbers are not used again: others
/// may have heard of them. Returns what was told.
pub(super) fn go_on(connection: &Connection, reached: Reached) -> Result<Option<Recorded>, StoreError> {
    let have = query::reached(connection)?;
    if have.max(reached) == have {
        return Ok(None);
    }
    let entries = reached.entry.saturating_sub(have.entry).max(0);
    let passes = reached.tick.saturating_sub(have.tick);
    tracing::error!(
        entries,
        passes,
        "the database is older than it was: its log was lost or cut, or an older one took its place"
    );
    let message = format!(
        "the database is older than it was, since its log was lost or cut, or an older one took its place: {entries} entries of \
         the journal and up to {passes} sampling passes that had been stored are gone"
    );
    let facts = [("reason", "data_gap".into()), ("entries_lost", entries.into()), ("passes_lost", passes.into())];
    let at = SystemClock.now().wall;
    let transaction = connection.unchecked_transaction()?;
    apply::skip_to(&transaction, reached, at)?;
    let told = apply::warning(&transaction, at, &message, facts)?;
    transaction.commit()?;
    Ok(Some(told))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_note_is_what_was_reached_last() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE_NAME);
        let mut mark = Mark::open(directory.path());
        assert_eq!(mark.reached(), Reached::default());
        mark.reach(Reached { entry: i64::MAX, tick: 0 });
        mark.reach(Reached { entry: 5, tick: u64::MAX });
        let last = Reached { entry: i64::MAX, tick: u64::MAX };
        assert_eq!((mark.reached(), Mark::open(directory.path()).reached()), (last, last));
        for text in ["", "7", "-0000000000000000001 00000000000000000001\n", "x y\n", "1 2"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(Mark::open(directory.path()).reached(), Reached::default(), "{text:?}");
        }
        std::fs::remove_file(&path).unwrap();
        let elsewhere = directory.path().join("elsewhere");
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        Mark::open(directory.path()).reach(Reached { entry: 1, tick: 1 });
        assert!(!elsewhere.exists(), "no link is followed");
    }
}
