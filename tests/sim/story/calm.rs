//! What must be so again when nothing goes wrong any more.

use agent_monitor::clock::{Clock, ManualClock};
use agent_monitor::model::{AgentId, ProcessKey, ProcessView};
use agent_monitor::monitor::{AgentDetail, Answer, Input};

use super::{SECOND, Story};
use crate::broker::Said;
use crate::daemon::Daemon;
use crate::oracle::alerts_are_right;

impl Story<'_> {
    /// Nothing goes wrong any more, and nothing happens: a few intervals later everything is as it should be.
    pub(super) fn calm_down(&mut self) -> Result<(), String> {
        self.end_all_faults()?;
        self.quiet = true;
        self.tell(|| "nothing goes wrong any more".to_owned());
        self.moment += 100;
        for _ in 0..6 {
            self.reporter.tell_again(self.daemon.as_mut().expect("it lives"), &mut self.faults);
            self.reporter.hear(self.now(), true);
            self.read_registry(true)?;
            self.pass(self.config.sampling.interval.max(20 * SECOND))?;
        }
        self.tell(|| "all should be well".to_owned());
        self.all_is_well()
    }

    fn all_is_well(&mut self) -> Result<(), String> {
        let snapshot = self.snapshot().expect("it was looked");
        if !self.is_well() {
            return Err(format!("P7: the store is not well: {:?}", self.daemon().store.stats));
        }
        if let Some(source) = snapshot.own.sources.iter().find(|source| source.error.is_some()) {
            return Err(format!("the source is not well: {source:?}"));
        }
        if let Some(told) = self.reporter.told.iter().find(|told| told.stored.is_none()) {
            return Err(format!("{} was told again and again, and never acknowledged", told.name));
        }
        self.look_at_files()?;
        let files = self.files();
        files.is_whole()?;
        let world = self.world();
        let running = |said: &&Said| said.named.as_ref().is_some_and(|named| world.lives[named.life].ended.is_none());
        let said: Vec<&Said> = self.said.iter().flatten().collect();
        files.runs_are(&said.iter().copied().filter(running).map(|said| said.id.as_str()).collect())?;
        files.leftovers_live(&world)?;
        alerts_are_right(&snapshot, &said, &world)?;
        drop(world);
        self.members_are_kin()
    }

    /// Whoever is shown as an agent's descends from it.
    fn members_are_kin(&mut self) -> Result<(), String> {
        for (id, clan) in &self.clans {
            for ProcessKey { pid, .. } in members(self.daemon.as_mut().expect("it lives"), id, &self.clock) {
                let of = self.world.lock().unwrap().at(pid).and_then(|life| life.clan);
                if of != Some(*clan) {
                    return Err(format!("process {pid} of clan {of:?} is taken for {id}'s"));
                }
            }
        }
        Ok(())
    }
}

/// The processes that are shown as an agent's, its leftovers included. When they began is right as long as no clock was set.
pub(super) fn members(daemon: &mut Daemon, id: &str, clock: &ManualClock) -> Vec<ProcessKey> {
    let (tell, told) = std::sync::mpsc::channel();
    let answer = Answer::new(move |detail: Option<AgentDetail>| tell.send(detail).unwrap());
    let now = clock.now();
    let effects = daemon.monitor.handle(Input::Inspect { agent: AgentId::new(id).unwrap(), answer }, now);
    assert!(effects.is_empty(), "a question changes nothing");
    let Some(detail) = told.recv().unwrap() else { return Vec::new() };
    let key = |process: &ProcessView| {
        let age = u64::try_from(now.wall.since(process.started_at).as_nanos()).unwrap();
        ProcessKey { start_ticks: now.mono.0.saturating_sub(age) / 10_000_000, pid: process.pid }
    };
    detail.processes.iter().map(key).chain(detail.leftovers.iter().map(|leftover| leftover.process)).collect()
}
