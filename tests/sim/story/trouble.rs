//! What goes wrong in a world, for how long, and how daemons die.

use std::sync::Arc;
use std::time::Duration;

use agent_monitor::clock::Clock;
use agent_monitor::model::Condition;
use agent_monitor::monitor::{Effect, Input};
use agent_monitor::store::{FILE_NAME, StoreError};

use super::power::settle;
use super::{HOUR, SECOND, Story};
use crate::control::{STALL, SYNC, TRUNCATE, WRITE};
use crate::daemon::Daemon;
use crate::faults::Fault;
use crate::mistakes::{Mistake, Onlooker};
use crate::oracle::Shown;
use crate::support::opened;

impl Story<'_> {
    pub(super) fn begin_faults(&mut self) -> Result<(), String> {
        self.strike_disk();
        self.stall_disk();
        if self.faults.now(Fault::Blind, 25) {
            self.until.blind = self.moment + self.faults.below(4);
            self.sight.lock().unwrap().blind = true;
            self.tell(|| "there is no list of processes for a while".to_owned());
        }
        if self.faults.now(Fault::Hidden, 15) {
            self.until.hidden = self.moment + self.faults.below(6);
            self.hide();
        }
        self.move_clocks();
        if self.faults.now(Fault::Reloaded, 30) {
            self.reload();
        }
        Ok(())
    }

    /// From one of the next writes on all fail, for a while; or one call fails, and that is noticed and over at once.
    fn strike_disk(&mut self) {
        let kinds = [
            (Fault::WritesFail, WRITE, true, libc::EIO),
            (Fault::DiskFull, WRITE, true, libc::ENOSPC),
            (Fault::SyncFails, SYNC, false, libc::EIO),
            (Fault::WriteFails, WRITE, false, libc::EIO),
        ];
        if self.until.disk.is_some() {
            return;
        }
        let Some((fault, what, lasts, error)) = kinds.into_iter().find(|(fault, ..)| self.faults.now(*fault, 20))
        else {
            return;
        };
        let moments = if lasts { self.faults.below(8) } else { 0 };
        let at = usize::try_from(1 + self.faults.below(9)).unwrap();
        self.until.disk = Some((fault, self.moment + moments));
        self.daemon().waits = !lasts;
        self.control.arm(what, at, lasts, error);
        self.tell(|| format!("the disk: {fault:?}"));
    }

    /// A write does not end for a moment, in which more is told than may wait for it.
    fn stall_disk(&mut self) {
        if self.until.disk.is_some() || !self.faults.now(Fault::WriteStalls, 30) {
            return;
        }
        self.tell(|| "the disk does not answer".to_owned());
        self.until.disk = Some((Fault::WriteStalls, self.moment));
        self.control.arm(WRITE, 1, true, STALL);
        let daemon = self.daemon.as_mut().expect("it lives");
        daemon.stall(self.moment);
        self.control.await_strike();
        self.reporter.flood(daemon, &mut self.faults);
    }

    /// The disk is whole again. How often that struck.
    fn mend_disk(&mut self) -> Result<(), String> {
        let struck = u64::try_from(self.control.disarm()).unwrap();
        let Some((fault, _)) = self.until.disk.take() else { return Ok(()) };
        let daemon = self.daemon();
        let struck = if daemon.stalled { std::mem::take(&mut daemon.turned_away) } else { struck };
        self.faults.strike(fault, struck);
        self.tell(|| format!("the disk is whole again: {fault:?} struck {struck} times"));
        if self.control.overslept() { Err("P7: the heart waited for the disk".to_owned()) } else { Ok(()) }
    }

    pub(super) fn end_faults(&mut self) -> Result<(), String> {
        if let Some((fault, _)) = self.until.disk.filter(|(_, until)| *until <= self.moment) {
            self.mend_disk()?;
            if fault == Fault::WriteStalls {
                self.daemon().go_on();
            }
            self.daemon().await_recovery();
            self.reporter.hear(self.now(), false);
            self.check(false)?;
            self.hold_passes()?;
        }
        self.see_again();
        Ok(())
    }

    fn see_again(&mut self) {
        let mut sight = self.sight.lock().unwrap();
        if self.until.blind <= self.moment {
            sight.blind = false;
        }
        if self.until.hidden <= self.moment {
            sight.hidden.clear();
        }
        let (scans, reads) = (std::mem::take(&mut sight.scans_refused), std::mem::take(&mut sight.reads_refused));
        drop(sight);
        self.faults.strike(Fault::Blind, scans);
        self.faults.strike(Fault::Hidden, reads);
    }

    /// From now on nothing goes wrong any more.
    pub(super) fn end_all_faults(&mut self) -> Result<(), String> {
        self.until.disk = self.until.disk.map(|(fault, _)| (fault, 0));
        (self.until.blind, self.until.hidden) = (0, 0);
        self.end_faults()?;
        self.faults.end();
        Ok(())
    }

    /// Every third process may not be read.
    fn hide(&mut self) {
        let third = usize::try_from(self.faults.below(3)).unwrap();
        self.tell(|| "some processes may not be read for a while".to_owned());
        let world = self.world();
        let living = world.living().into_iter().skip(third).step_by(3);
        self.sight.lock().unwrap().hidden = living.map(|who| super::people::named(&world, who).key()).collect();
    }

    fn move_clocks(&mut self) {
        let wall = self.clock.now().wall;
        let hours = |faults: u64| HOUR * u32::try_from(1 + faults).unwrap();
        let set = if self.faults.now(Fault::WallAhead, 30) {
            Some((Fault::WallAhead, wall + hours(self.faults.below(48))))
        } else if self.faults.now(Fault::WallBack, 30) {
            Some((Fault::WallBack, wall - hours(self.faults.below(48))))
        } else if self.faults.now(Fault::Suspended, 30) {
            Some((Fault::Suspended, wall + hours(self.faults.below(8))))
        } else {
            None
        };
        if let Some((fault, wall)) = set {
            self.clock.set_wall(wall);
            self.faults.strike(fault, 1);
            self.tell(|| format!("{fault:?}: it is {wall}"));
        }
    }

    /// Another rhythm, and another limit.
    fn reload(&mut self) {
        let mut config = (*self.config).clone();
        config.sampling.interval = if config.sampling.interval == SECOND { 10 * SECOND } else { SECOND };
        for rule in config.alerts.rules.iter_mut().filter(|rule| &*rule.name == "high_cpu") {
            if let Condition::Above { limit, clear, .. } = &mut rule.condition {
                (*limit, *clear) = (100.0 - *limit, 80.0 - *clear);
            }
        }
        self.config = Arc::new(config);
        self.faults.strike(Fault::Reloaded, 1);
        self.tell(|| "other settings".to_owned());
        let settings = Arc::clone(&self.config);
        self.daemon().tell(Input::Settings(settings));
    }

    /// Between two moments the daemon may end, or not get to run.
    pub(super) fn perhaps_die(&mut self) -> Result<(), String> {
        if self.faults.now(Fault::Stalled, 25) {
            self.faults.strike(Fault::Stalled, 1);
            self.tell(|| "the daemon does not run for a while".to_owned());
            let intervals = 3 + u32::try_from(self.faults.below(20)).unwrap();
            self.go_on_without(self.config.sampling.interval * intervals);
            return self.step(false);
        }
        if self.faults.now(Fault::Killed, 25) {
            self.faults.strike(Fault::Killed, 1);
            return self.die();
        }
        for (fault, in_order) in [(Fault::Rebooted, true), (Fault::PowerLost, false)] {
            if self.until.disk.is_none() && self.faults.now(fault, 40) {
                return self.start_again(in_order);
            }
        }
        if self.until.disk.is_none() && self.faults.now(Fault::Stopped, 25) {
            self.faults.strike(Fault::Stopped, 1);
            self.tell(|| "the daemon ends in order".to_owned());
            self.daemon.take().expect("it lives").stop();
            return self.another(true);
        }
        Ok(())
    }

    fn go_on_without(&mut self, span: Duration) {
        for _ in 0..self.faults.below(12) {
            self.world().act();
        }
        self.clock.advance(span);
    }

    /// Killed in the middle of what it writes: after one of the next calls nothing is written any more.
    pub(super) fn die_writing(&mut self, effects: Vec<Effect>) -> Result<(), String> {
        let at = usize::try_from(1 + self.faults.below(12)).unwrap();
        self.control.arm(WRITE | SYNC | TRUNCATE, at, true, libc::EIO);
        self.daemon().perform(effects);
        self.faults.strike(Fault::KilledWriting, u64::from(self.control.struck() > 0));
        if self.faults.has(Fault::PowerLost) && self.faults.below(2) == 0 {
            self.start_again(false)
        } else {
            self.die()
        }
    }

    /// Killed: what comes after finds the files as they are.
    pub(super) fn die(&mut self) -> Result<(), String> {
        self.leave_files()?;
        self.another(false)
    }

    /// The daemon is killed: what it left is where the next one is to go on.
    pub(super) fn leave_files(&mut self) -> Result<(), String> {
        self.tell(|| "the daemon is killed".to_owned());
        self.note_what_was_done();
        self.reporter.hear(self.now(), false);
        self.deaths += 1;
        let left = self.place.join(format!("state-{}", self.deaths));
        self.daemon.as_ref().expect("it lives").leave(&self.directory, &left);
        let mended = self.mend_disk();
        self.daemon.take().expect("it lives").store.stop();
        self.reporter.forget_answers();
        std::fs::remove_dir_all(&self.directory).unwrap();
        self.directory = left;
        mended
    }

    /// Another daemon goes on with what was stored, and the world went on meanwhile.
    pub(super) fn another(&mut self, in_order: bool) -> Result<(), String> {
        if !in_order {
            self.sums = self.kept.sums.clone();
            for shown in self.sums.values_mut() {
                // Samples are stored in milliseconds; what leftovers used in the last minute is known only as far as they
                // live.
                *shown = Shown { cpu_us: shown.cpu_us / 1000 * 1000, left_us: 0, ..*shown };
            }
            self.world().passes = self.kept.passes;
        }
        // A root that cannot be read when a daemon begins is taken for one that ended, and what others used that was shown and
        // not written down is charged again if they are left over: not right yet.
        (self.until.blind, self.until.hidden) = (0, 0);
        self.see_again();
        let away = Duration::from_millis(10 + self.faults.below(2_000));
        self.go_on_without(away);
        self.said = None;
        self.broker.forget_reader();
        self.leave_a_newer_one_alone()?;
        if self.faults.has(Fault::PowerLost) {
            settle(&self.directory);
        }
        self.last_pass = None;
        self.read_again = self.clock.now().mono;
        self.world().awake = true;
        let source = Onlooker::of(&self.world, &self.sight, Mistake::None);
        let daemon = Daemon::start(&self.directory, &self.config, source, &self.clock);
        self.world().awake = false;
        self.tell(|| "another daemon begins".to_owned());
        if daemon.last_tick < self.kept.tick {
            return Err(format!("P2: pass {} was stored, and {} is the last", self.kept.tick, daemon.last_tick));
        }
        self.daemon = Some(daemon);
        self.what_was_told_is_there()
    }

    /// P3: what a newer version wrote is refused, and stays as it is.
    fn leave_a_newer_one_alone(&mut self) -> Result<(), String> {
        if !self.faults.now(Fault::Newer, 3) {
            return Ok(());
        }
        let newer = self.place.join("newer");
        std::fs::create_dir(&newer).unwrap();
        let path = newer.join(FILE_NAME);
        std::fs::copy(self.directory.join(FILE_NAME), &path).unwrap();
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection.pragma_update(None, "user_version", 999).unwrap();
        connection.close().unwrap();
        let before = std::fs::read(&path).unwrap();
        let refused = matches!(opened(&newer), Err(StoreError::Newer { found: 999, .. }));
        let is_same = std::fs::read(&path).unwrap() == before;
        std::fs::remove_dir_all(&newer).unwrap();
        self.faults.strike(Fault::Newer, 1);
        if refused && is_same { Ok(()) } else { Err(format!("P3: refused: {refused}, the same: {is_same}")) }
    }
}
