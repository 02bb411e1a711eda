//! A machine that is started again, in order or because its power failed: nobody lives any more, the monotonic clock begins
//! anew, and of files is left what was synced, with any part of the rest.

use std::fs;
use std::path::{Path, PathBuf};

use super::{SECOND, Story};
use crate::chance::Chance;
use crate::faults::Fault;

/// What a disk writes whole.
const BLOCK: usize = 512;

impl Story<'_> {
    /// The machine goes down, and the daemon with it, and comes up again.
    pub(super) fn start_again(&mut self, in_order: bool) -> Result<(), String> {
        if in_order {
            self.faults.strike(Fault::Rebooted, 1);
            self.daemon.take().expect("it lives").stop();
        } else {
            self.leave_files()?;
            // By chances of its own: how many blocks there are changes with how often a disk was tried again.
            let mut chance = Chance::new(self.faults.below(u64::MAX));
            let lost = lose_unsynced(&self.directory, &mut chance);
            self.tell(|| format!("the power fails: {lost} blocks are lost"));
            self.faults.strike(Fault::PowerLost, lost);
        }
        let off = SECOND * u32::try_from(10 + self.faults.below(600)).unwrap();
        self.clock.advance(off);
        self.booted_at = self.now();
        self.clock.restart(SECOND);
        self.world().reboot();
        // What starts first does so at the same moment after each boot, and with the same number.
        self.clock.advance(SECOND);
        for _ in 0..3 {
            self.world().start();
        }
        for place in 0..self.broker.entries.len() {
            if self.chance.one_in(2) {
                self.replace(place);
            }
        }
        self.another(in_order)
    }
}

/// The files of a database, and those beside them that say what of each was synced.
fn files(directory: &Path) -> impl Iterator<Item = (PathBuf, PathBuf)> {
    let names = ["agent-monitor.db", "agent-monitor.db-wal", "agent-monitor.db-journal"];
    let files = names.map(|name| directory.join(name)).into_iter();
    files.map(|file| (file.clone(), PathBuf::from(format!("{}~", file.display()))))
}

/// From now on what is there counts as synced.
pub(super) fn settle(directory: &Path) {
    for (file, synced) in files(directory) {
        let _ = fs::remove_file(&synced);
        let _ = fs::copy(&file, &synced);
    }
}

/// Of each block that was not synced, either state may be the one that is on disk; how many were lost.
fn lose_unsynced(directory: &Path, chance: &mut Chance) -> u64 {
    let mut lost = 0;
    for (file, synced) in files(directory) {
        let Ok(now) = fs::read(&file) else { continue };
        let then = fs::read(&synced).unwrap_or_default();
        let length = if chance.one_in(2) { then.len() } else { now.len() };
        let mut left = vec![0; length];
        for (place, block) in left.chunks_mut(BLOCK).enumerate() {
            let at = |bytes: &[u8]| {
                bytes.get(place * BLOCK..).map_or(Vec::new(), |rest| rest.iter().take(BLOCK).copied().collect())
            };
            let (then, now): (Vec<u8>, Vec<u8>) = (at(&then), at(&now));
            let chosen = if chance.one_in(2) { &then } else { &now };
            lost += u64::from(chosen != &now);
            let known = chosen.len().min(block.len());
            block[..known].copy_from_slice(&chosen[..known]);
        }
        fs::write(&file, left).unwrap();
    }
    // It is never synced, and made anew from the log.
    let _ = fs::remove_file(directory.join("agent-monitor.db-shm"));
    if chance.one_in(2) {
        // Nor is that: it is written in place.
        fs::write(directory.join("agent-monitor.mark"), "").unwrap();
    }
    lost
}
