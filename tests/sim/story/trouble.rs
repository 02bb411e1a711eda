//! What goes wrong in a world, for how long, and how daemons die.

use std::sync::Arc;
use std::time::Duration;

use agent_monitor::clock::Clock;
use agent_monitor::model::Condition;
use agent_monitor::monitor::{Effect, Input};

use super::{HOUR, SECOND, Story};
use crate::control::{SYNC, TRUNCATE, WRITE};
use crate::daemon::Daemon;
use crate::faults::Fault;
use crate::mistakes::{Mistake, Onlooker};
use crate::oracle::Shown;

impl Story<'_> {
    pub(super) fn begin_faults(&mut self) {
        self.strike_disk();
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

    /// The disk is whole again. How often that struck.
    fn mend_disk(&mut self) {
        let struck = u64::try_from(self.control.disarm()).unwrap();
        if let Some((fault, _)) = self.until.disk.take() {
            self.faults.strike(fault, struck);
            self.tell(|| format!("the disk is whole again: {fault:?} struck {struck} times"));
        }
    }

    pub(super) fn end_faults(&mut self) {
        if self.until.disk.is_some_and(|(_, until)| until <= self.moment) {
            self.mend_disk();
            self.daemon().await_recovery();
        }
        self.see_again();
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
    pub(super) fn end_all_faults(&mut self) {
        self.until.disk = self.until.disk.map(|(fault, _)| (fault, 0));
        (self.until.blind, self.until.hidden) = (0, 0);
        self.end_faults();
        self.faults.end();
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
        self.reporter.hear(self.clock.now().mono.0, false);
        self.faults.strike(Fault::KilledWriting, u64::from(self.control.struck() > 0));
        self.die()
    }

    /// Killed: what comes after finds the files as they are.
    pub(super) fn die(&mut self) -> Result<(), String> {
        self.tell(|| "the daemon is killed".to_owned());
        self.deaths += 1;
        let left = self.place.join(format!("state-{}", self.deaths));
        let daemon = self.daemon.take().expect("it lives");
        daemon.leave(&self.directory, &left);
        self.mend_disk();
        daemon.store.stop();
        std::fs::remove_dir_all(&self.directory).unwrap();
        self.directory = left;
        self.another(false)
    }

    /// Another daemon goes on with what was stored, and the world went on meanwhile.
    fn another(&mut self, in_order: bool) -> Result<(), String> {
        if !in_order {
            self.sums = self.kept.sums.clone();
            for shown in self.sums.values_mut() {
                // Samples are stored in milliseconds; what leftovers used in the last minute is known only as far as they
                // live.
                *shown = Shown { cpu_us: shown.cpu_us / 1000 * 1000, left_us: 0, ..*shown };
            }
            self.world().passes = self.kept.passes;
        }
        // What could not be read when a daemon ended is charged twice by the next one: not right yet.
        (self.until.blind, self.until.hidden) = (0, 0);
        self.see_again();
        let away = Duration::from_millis(10 + self.faults.below(2_000));
        self.go_on_without(away);
        self.said = None;
        self.broker.forget_reader();
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
        self.files().acknowledged_is_there(&self.reporter.told)
    }
}
