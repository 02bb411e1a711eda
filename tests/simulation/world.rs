//! A machine on which processes do as chance wants, and the truth about what they burned for whom.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use agent_monitor::clock::{Clock, ManualClock};
use agent_monitor::model::{ExitStatus, Mono, Pid};
use agent_monitor::testing::Host;

use super::chance::Chance;

/// What may happen in a world.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// Whether forks are told, or found by looking.
    pub(crate) told: bool,
    /// Whether everybody is waited for who was not seen dead, so that all that is burned can be known.
    pub(crate) tame: bool,
    /// Whether processes act between two readings of one pass.
    pub(crate) restless: bool,
    /// Whether agents begin inside other agents' trees.
    pub(crate) nested: bool,
    /// Whether events get lost.
    pub(crate) loses: bool,
    /// Whether daemons end, and others go on.
    pub(crate) restarts: bool,
    /// Whether some take orphans in, as process 1 does.
    pub(crate) reapers: bool,
}

impl Kind {
    pub(crate) fn of(chance: &mut Chance) -> Kind {
        let tame = chance.one_in(2);
        Kind {
            told: chance.one_in(2),
            tame,
            restless: !chance.one_in(4),
            nested: chance.one_in(2),
            loses: !tame && chance.one_in(3),
            restarts: !tame && chance.one_in(2),
            reapers: chance.one_in(2),
        }
    }
}

/// A process, and to whose account it burns.
#[derive(Clone, Copy)]
pub(crate) struct Life {
    pub(crate) pid: Pid,
    /// Who started it, whatever became of that one.
    mother: Option<usize>,
    /// Who can wait for it now; none: process 1.
    parent: Option<usize>,
    session: Pid,
    /// The outermost agent that it descends from.
    pub(crate) clan: Option<usize>,
    burned_us: u64,
    /// When it began.
    pub(crate) at: Mono,
    /// Regular passes when it began, and when it ended.
    began: u64,
    pub(crate) ended: Option<u64>,
    /// And when its parent ended, if that left it to another.
    orphaned: Option<u64>,
    /// Whether it takes orphans in.
    reaper: bool,
    pub(crate) reaped: Option<Mono>,
    /// Regular passes when it was waited for.
    gone: Option<u64>,
}

pub(crate) struct World {
    pub(crate) kind: Kind,
    pub(crate) host: Host,
    pub(crate) chance: Chance,
    pub(crate) lives: Vec<Life>,
    /// What each clan burned since it was known, microseconds; so many bytes it read, too.
    pub(crate) burned_us: Vec<u64>,
    /// The lives that were claimed as agents.
    pub(crate) roots: BTreeSet<usize>,
    /// Regular passes of the monitor so far.
    pub(crate) passes: u64,
    /// Whether processes act while the monitor reads.
    pub(crate) awake: bool,
    /// What happened, where somebody wants to read it.
    pub(crate) story: Option<Vec<String>>,
    clock: Arc<ManualClock>,
    next_pid: i64,
}

/// As many processes as live at most.
const CROWD: usize = 40;

impl World {
    pub(crate) fn new(seed: u64, clock: Arc<ManualClock>) -> World {
        let mut chance = Chance::new(seed);
        let kind = Kind::of(&mut chance);
        let host = Host::new(Arc::clone(&clock));
        if kind.told {
            host.tell_forks();
        }
        World {
            kind,
            host,
            chance,
            lives: Vec::new(),
            burned_us: Vec::new(),
            roots: BTreeSet::new(),
            passes: 0,
            awake: false,
            story: None,
            clock,
            next_pid: 2,
        }
    }

    /// Goes on with the story, if it is told.
    pub(crate) fn tell(&mut self, line: impl FnOnce(&World) -> String) {
        if let Some(mut story) = self.story.take() {
            let now = Duration::from_nanos(self.clock.now().mono.0).as_secs_f64();
            story.push(format!("{now:9.3}  {}", line(self)));
            self.story = Some(story);
        }
    }

    /// The monitor is reading: something may happen just now.
    pub(crate) fn moment(&mut self) {
        if self.awake && self.kind.restless && self.chance.one_in(4) {
            self.act();
        }
    }

    pub(crate) fn living(&self) -> Vec<usize> {
        (0..self.lives.len()).filter(|who| self.lives[*who].ended.is_none()).collect()
    }

    /// The life that has this pid: one that runs, or was not waited for yet.
    pub(crate) fn at(&self, pid: Pid) -> Option<&Life> {
        self.lives.iter().rev().find(|life| life.pid == pid && life.reaped.is_none())
    }

    /// Whether the process of this pid was claimed as an agent, and one of another agent's tree can wait for it.
    pub(crate) fn is_inner(&self, pid: Pid) -> bool {
        let roots = self.roots.iter().map(|root| &self.lives[*root]);
        let mut living = roots.filter(|life| life.pid == pid && life.reaped.is_none());
        living.any(|life| life.parent.is_some_and(|parent| self.lives[parent].clan == life.clan))
    }

    /// Whether the process of this pid outlived the agent that it descends from.
    pub(crate) fn is_left(&self, pid: Pid) -> bool {
        let mut above = self.lives.iter().rposition(|life| life.pid == pid && life.reaped.is_none());
        while let Some(who) = above {
            if self.roots.contains(&who) {
                return self.lives[who].ended.is_some() && self.lives[who].pid != pid;
            }
            above = self.lives[who].mother;
        }
        false
    }

    /// The machine starts again: nobody lives any more, and numbers are given from the first one on.
    pub(crate) fn reboot(&mut self) {
        self.host.reboot();
        self.next_pid = 2;
        for life in self.lives.iter_mut().filter(|life| life.reaped.is_none()) {
            life.ended.get_or_insert(self.passes);
            (life.reaped, life.gone) = (Some(Mono::default()), Some(self.passes));
        }
        self.tell(|_| "the machine starts again".to_owned());
    }

    /// One thing happens to somebody.
    pub(crate) fn act(&mut self) {
        let living = self.living();
        let Some(who) = self.chance.pick(&living) else { return };
        match self.chance.below(100) {
            0..40 => self.burn(who),
            40..62 if living.len() < CROWD => {
                self.fork(who);
            }
            62..76 => self.end_waited_for(who),
            76..80 if !self.kind.tame => self.vanish(who),
            80..84 => self.end(who),
            84..90 => self.reap_one(),
            90..94 if self.may_lead(who) => {
                self.host.set_session(self.lives[who].pid);
                self.lives[who].session = self.lives[who].pid;
                self.tell(|world| format!("{} leads a session", world.lives[who].pid));
            }
            94..97 if living.len() < CROWD => {
                self.start();
            }
            97..98 if self.kind.loses => {
                self.host.lose_events();
                self.tell(|_| "events are lost".to_owned());
            }
            98..100 if self.kind.reapers => self.take_orphans_in(who),
            _ => {}
        }
    }

    pub(crate) fn burn(&mut self, who: usize) {
        let us = 1 + self.chance.below(900_000);
        let life = &mut self.lives[who];
        life.burned_us += us;
        self.host.burn(life.pid, Duration::from_micros(us));
        self.host.transfer(life.pid, us, us);
        let (pid, clan) = (life.pid, life.clan);
        if let Some(clan) = clan {
            self.burned_us[clan] += us;
        }
        self.tell(|_| format!("{pid} burns {us} for {clan:?}"));
    }

    /// A stranger begins below process 1 and leads a session. Its number is new, or nobody has it or names it as a
    /// session's for so long that whoever led that is forgotten.
    pub(crate) fn start(&mut self) -> usize {
        let old: Vec<Pid> = if !self.kind.loses && self.chance.one_in(4) {
            self.lives.iter().map(|life| life.pid).filter(|pid| self.is_forgotten(*pid)).collect()
        } else {
            Vec::new()
        };
        let pid = self.chance.pick(&old).or(Pid::new(self.next_pid)).unwrap();
        self.host.set_next_pid(pid);
        let pid = self.host.start("stranger");
        self.begin(pid, None)
    }

    fn take_orphans_in(&mut self, who: usize) {
        self.host.set_reaper(self.lives[who].pid);
        self.lives[who].reaper = true;
        self.tell(|world| format!("{} takes orphans in", world.lives[who].pid));
    }

    pub(crate) fn fork(&mut self, parent: usize) -> usize {
        self.choose_number(parent);
        let pid = self.host.fork(self.lives[parent].pid);
        self.begin(pid, Some(parent))
    }

    /// Whether nobody has had this number, or been in a session of it, for two passes.
    fn is_forgotten(&self, pid: Pid) -> bool {
        let mut named = self.lives.iter().filter(|life| life.pid == pid || life.session == pid);
        named.all(|life| life.gone.is_some_and(|gone| self.passes >= gone + 3))
    }

    /// Whether a process can make a session of its own, and be known as its leader.
    fn may_lead(&self, who: usize) -> bool {
        let pid = self.lives[who].pid;
        let mut others = self.lives.iter().enumerate().filter(|(other, life)| *other != who && life.pid == pid);
        others.all(|(_, life)| life.gone.is_some_and(|gone| self.passes >= gone + 3))
    }

    fn begin(&mut self, pid: Pid, parent: Option<usize>) -> usize {
        self.next_pid = self.next_pid.max(i64::from(pid.get()) + 1);
        let above = parent.map(|parent| self.lives[parent]);
        self.lives.push(Life {
            pid,
            mother: parent,
            parent,
            session: above.map_or(pid, |above| above.session),
            clan: above.and_then(|above| above.clan),
            burned_us: 0,
            at: self.clock.now().mono,
            began: self.passes,
            ended: None,
            orphaned: None,
            reaper: false,
            reaped: None,
            gone: None,
        });
        self.tell(|_| match above {
            Some(above) => format!("{} starts {pid}, in session {}", above.pid, above.session),
            None => format!("{pid} starts, a stranger"),
        });
        self.lives.len() - 1
    }

    /// The next process gets a number that nobody had, or one that somebody had a while ago. As in the kernel, that of a
    /// session's leader is not given away while the session lives.
    fn choose_number(&mut self, parent: usize) {
        let now = self.clock.now().mono;
        // A number that comes round while news is lost means whom it meant before; and numbers that came round within the hundredth of a second in which a parent began sort before it.
        let again =
            !self.kind.loses && self.chance.one_in(4) && now.since(self.lives[parent].at) >= Duration::from_millis(10);
        let long_ago = |life: &Life| life.reaped.is_some_and(|at| now.since(at) >= Duration::from_millis(200));
        let free = |life: &&Life| {
            let held = |other: &Life| other.pid == life.pid && !long_ago(other);
            let leads = |other: &Life| other.reaped.is_none() && other.session == life.pid;
            !self.lives.iter().any(|other| held(other) || leads(other))
        };
        let old: Vec<Pid> =
            if again { self.lives.iter().filter(free).map(|life| life.pid).collect() } else { Vec::new() };
        let pid = self.chance.pick(&old).or(Pid::new(self.next_pid)).unwrap();
        self.host.set_next_pid(pid);
    }

    /// Whether what it started is known, so that it may end without anything getting lost.
    fn is_free_to_end(&self, who: usize) -> bool {
        let unseen = |life: &Life| {
            life.parent == Some(who) && life.reaped.is_none() && life.clan.is_some() && self.passes < life.began + 2
        };
        !self.kind.tame || self.kind.told || !self.lives.iter().any(unseen)
    }

    fn end_waited_for(&mut self, who: usize) {
        let life = self.lives[who];
        let known = life.parent.is_some_and(|parent| life.clan.is_some() && self.lives[parent].clan == life.clan);
        if self.kind.tame && life.clan.is_some() && !known {
            return self.end(who);
        }
        if self.is_free_to_end(who) {
            self.host.finish(life.pid, ExitStatus::Code(0));
            self.mark(who, true);
        }
    }

    fn vanish(&mut self, who: usize) {
        self.host.vanish(self.lives[who].pid);
        self.mark(who, true);
    }

    /// Ends, and nobody waits for it yet.
    pub(crate) fn end(&mut self, who: usize) {
        if self.is_free_to_end(who) {
            self.host.end(self.lives[who].pid, ExitStatus::Signal(9));
            self.mark(who, false);
        }
    }

    fn mark(&mut self, who: usize, reaped: bool) {
        let above = std::iter::successors(self.lives[who].parent, |above| self.lives[*above].parent);
        let guardian = above.into_iter().find(|above| self.lives[*above].ended.is_none() && self.lives[*above].reaper);
        for life in self.lives.iter_mut().filter(|life| life.parent == Some(who)) {
            life.parent = guardian;
            life.orphaned = Some(self.passes);
        }
        let now = self.clock.now().mono;
        let life = &mut self.lives[who];
        life.ended = Some(self.passes);
        life.reaped = reaped.then_some(now);
        life.gone = reaped.then_some(self.passes);
        let pid = life.pid;
        self.tell(|_| format!("{pid} ends{}", if reaped { " and is gone" } else { "" }));
    }

    /// Somebody waits for one that ended; in a tame world only after the monitor has seen it dead and whose it is then, or
    /// if it will see its time in the parent's counter. One that is gone together with its parent may have been waited for
    /// by that one, so its time is held against others'.
    fn reap_one(&mut self) {
        let may = |life: &&Life| {
            let seen = life.ended.max(life.orphaned).is_some_and(|then| self.passes >= then + 2);
            let known = life.parent.is_some_and(|parent| self.lives[parent].clan == life.clan);
            life.ended.is_some() && life.reaped.is_none() && (!self.kind.tame || seen || known || life.clan.is_none())
        };
        let dead: Vec<Pid> = self.lives.iter().filter(may).map(|life| life.pid).collect();
        let Some(pid) = self.chance.pick(&dead) else { return };
        self.host.reap(pid);
        let now = self.clock.now().mono;
        let life = self.lives.iter_mut().find(|life| life.pid == pid && life.reaped.is_none()).unwrap();
        life.reaped = Some(now);
        life.gone = Some(self.passes);
        self.tell(|_| format!("{pid} is waited for"));
    }

    /// From now on this process and all that descends from it burn for a clan. What began since the last pass, or the
    /// one before where news may have been lost, has done so from its beginning.
    /// Who is to be an agent's root, and of which clan: for an agent that begins, in a nested world, perhaps somebody in
    /// another agent's tree; else a stranger with all it has started, or a new one. Never one of this number.
    pub(crate) fn choose_root(
        &mut self,
        clan: Option<usize>,
        not: Option<Pid>,
        taken: impl Fn(usize) -> bool,
    ) -> Option<(usize, usize)> {
        let free: Vec<usize> = self.living().into_iter().filter(|who| !taken(*who)).collect();
        if clan.is_none() && self.kind.nested && self.chance.one_in(2) {
            let inside = free.iter().copied().rfind(|who| self.lives[*who].clan.is_some());
            if let Some(who) = inside {
                return Some((who, self.lives[who].clan?));
            }
        }
        let stranger = free.into_iter().find(|who| self.lives[*who].clan.is_none());
        let old = if self.kind.tame || self.chance.one_in(2) { None } else { stranger };
        let mut root = old.unwrap_or_else(|| self.start());
        // A claim without a start time cannot mean the next process of the number that its agent had.
        while not.is_some_and(|pid| pid == self.lives[root].pid) {
            root = self.start();
        }
        let clan = clan.unwrap_or(self.burned_us.len());
        if clan == self.burned_us.len() {
            self.burned_us.push(0);
        }
        self.claim(root, clan);
        Some((root, clan))
    }

    fn claim(&mut self, root: usize, clan: usize) {
        self.tell(|world| format!("{} becomes an agent's of clan {clan}", world.lives[root].pid));
        for who in root..self.lives.len() {
            let mother = self.lives[who].mother;
            let below = mother.is_some_and(|mother| self.lives[mother].clan == Some(clan));
            if who == root || below && self.lives[who].clan.is_none() {
                self.lives[who].clan = Some(clan);
                let new = self.lives[who].began + 1 + u64::from(self.kind.loses) >= self.passes;
                self.burned_us[clan] += if new { self.lives[who].burned_us } else { 0 };
            }
        }
        if self.kind.reapers && self.chance.one_in(2) {
            self.take_orphans_in(root);
        }
    }
}
