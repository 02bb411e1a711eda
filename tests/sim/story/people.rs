//! What happens to agents in a world: they begin, end, have another process, grow, are said to have ended.

use agent_monitor::model::Pid;

use super::{AGENTS, Story};
use crate::broker::Named;
use crate::oracle::start_ticks;
use crate::world::World;

/// What a registry may say of an agent's state.
const WORDS: [&str; 4] = ["online", "working", "idle", "stopped"];

impl Story<'_> {
    /// What happens in a moment.
    pub(super) fn live(&mut self) {
        let acts = self.chance.below(8);
        for _ in 0..acts {
            self.world().act();
        }
        match self.chance.below(30) {
            0..3 if self.broker.entries.len() < AGENTS => self.new_agent(),
            3 | 4 => self.end_an_agent(),
            5..8 => self.replace_an_agent(),
            8 | 9 => {
                let (place, word) = (self.one_of_the_agents(), self.chance.below(4));
                self.broker.entries[place].word = WORDS[usize::try_from(word).unwrap()];
            }
            10..13 => self.grow(),
            _ => {}
        }
    }

    /// An agent begins: a new process of a stranger's, a stranger with all it has started, or, in a nested world,
    /// somebody in another agent's tree.
    pub(super) fn new_agent(&mut self) {
        let id = format!("agent-{}", self.broker.entries.len());
        let Some((now, clan)) = self.choose_root(None, None) else { return };
        self.clans.insert(id.clone(), clan);
        self.broker.add(id, now);
    }

    fn one_of_the_agents(&mut self) -> usize {
        let count = u64::try_from(self.broker.entries.len()).unwrap();
        usize::try_from(self.chance.below(count)).unwrap()
    }

    fn choose_root(&mut self, clan: Option<usize>, not: Option<Pid>) -> Option<(Named, usize)> {
        let mut world = self.world.lock().unwrap();
        let taken = |who| self.broker.entries.iter().any(|entry| entry.has_had(who));
        let (root, clan) = world.choose_root(clan, not, taken)?;
        world.roots.insert(root);
        Some((named(&world, root), clan))
    }

    fn end_an_agent(&mut self) {
        let place = self.one_of_the_agents();
        let root = self.broker.entries[place].now.life;
        let mut world = self.world();
        if world.lives[root].ended.is_none() {
            world.end(root);
        }
    }

    /// An agent's registry names another process: its own has ended, or is left behind alive.
    fn replace_an_agent(&mut self) {
        let place = self.one_of_the_agents();
        self.replace(place);
    }

    pub(super) fn replace(&mut self, place: usize) {
        let entry = &self.broker.entries[place];
        let (clan, not) = (self.clans[&entry.id], entry.now.pid);
        if let Some((now, _)) = self.choose_root(Some(clan), Some(not)) {
            self.broker.replace(place, now);
        }
    }

    /// Somebody's memory becomes another.
    fn grow(&mut self) {
        let (who, mib) = (self.chance.below(1 << 20), self.chance.below(1_500));
        let world = self.world();
        let living = world.living();
        if let Some(who) = usize::try_from(who).unwrap().checked_rem(living.len()) {
            world.host.set_memory(world.lives[living[who]].pid, mib << 20);
        }
    }
}

pub(super) fn named(world: &World, life: usize) -> Named {
    let start_ticks = start_ticks(&world.lives[life]);
    Named { life, pid: world.lives[life].pid, start_ticks, boot: world.host.boot() }
}
