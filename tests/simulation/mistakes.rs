//! What the monitor sees of a world: the table of the tests, which may change between any two looks at it. And mistakes,
//! planted by showing the monitor the world as a wrong rule would take it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_monitor::model::{
    BootId, HostPressure, HostReading, Image, InnerPid, Pid, ProcessEvent, ProcessKey, ProcessRow, ProcessState,
    PssCounts, Reading, Resume,
};
use agent_monitor::process::{ProcessSource, ReadError, Scan, ScanCount, Watch};

use super::world::World;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mistake {
    None,
    /// Members are read youngest first: start times count backwards.
    YoungestFirst,
    /// What children brought counts as the parent's own as well.
    ChildrenTwice,
    /// What children brought counts for nobody.
    ChildrenForgotten,
    /// Who is gone is held to be there and unreadable: what it had stays, and comes again with its parent.
    GoneUnnoticed,
    /// A process is known by its number alone.
    NumberAlone,
    /// All that a process has when it is first seen counts as burned here.
    FirstSightCharged,
    /// A fork now and then is not heard of.
    ForksMissed,
    /// What children brought arrives two readings late, when nobody waits for it any more: the carry is gone.
    CarryDropped,
    /// Nobody's parent is known: what vanished is not expected further up.
    ParentsForgotten,
    /// The dead are held to live: to have waited for what others took in.
    DeadWait,
    /// What vanished in an inner agent's tree is not expected in the outer one's: its parents there are not known.
    ElsewhereForgotten,
    /// What outlives its agent is charged to its tree as well as to its leftovers.
    LeftoversTwice,
    /// What outlives its agent goes over to its leftovers as if nothing of it had been charged.
    AdoptedWithoutShares,
    /// A daemon goes on with the members of the last one as if it had charged nothing of them.
    ResumedWithoutShares,
    /// A daemon goes on with the roots alone.
    ResumedWithoutMembers,
}

impl Mistake {
    /// What a daemon would find that another wrote down wrongly.
    pub(crate) fn spoil(self, mut resume: Resume) -> Resume {
        for account in resume.agents.iter_mut().filter_map(|known| known.account.as_mut()) {
            match self {
                Mistake::ResumedWithoutShares => {
                    account.members.iter_mut().for_each(|member| (member.cpu_us, member.io_bytes) = (None, None));
                }
                Mistake::ResumedWithoutMembers => account.members.retain(|member| member.parent == Pid::new(1)),
                _ => {}
            }
        }
        resume
    }

    pub(crate) const ALL: [Mistake; 15] = [
        Mistake::YoungestFirst,
        Mistake::ChildrenTwice,
        Mistake::ChildrenForgotten,
        Mistake::GoneUnnoticed,
        Mistake::NumberAlone,
        Mistake::FirstSightCharged,
        Mistake::ForksMissed,
        Mistake::CarryDropped,
        Mistake::ParentsForgotten,
        Mistake::DeadWait,
        Mistake::ElsewhereForgotten,
        Mistake::LeftoversTwice,
        Mistake::AdoptedWithoutShares,
        Mistake::ResumedWithoutShares,
        Mistake::ResumedWithoutMembers,
    ];
}

/// What may not be seen of a world, and how often that was refused.
#[derive(Default)]
pub(crate) struct Sight {
    /// The processes cannot be listed.
    pub(crate) blind: bool,
    /// These cannot be read.
    pub(crate) hidden: BTreeSet<ProcessKey>,
    pub(crate) scans_refused: u64,
    pub(crate) reads_refused: u64,
}

impl Sight {
    /// What is there can be refused; what is gone is gone.
    fn refuse<T>(&mut self, process: ProcessKey, seen: T) -> Result<T, ReadError> {
        if !self.hidden.contains(&process) {
            return Ok(seen);
        }
        self.reads_refused += 1;
        Err(ReadError::Denied { path: format!("/proc/{}/stat", process.pid).into() })
    }
}

/// Looks at a world for a monitor.
pub(crate) struct Onlooker {
    inner: Box<dyn ProcessSource>,
    world: Arc<Mutex<World>>,
    sight: Arc<Mutex<Sight>>,
    mistake: Mistake,
    /// What children had brought at the last readings, latest last.
    brought: BTreeMap<ProcessKey, Vec<u64>>,
    forks: u64,
    /// What each leftover had used, own and children's, when it was first seen as one.
    left: BTreeMap<ProcessKey, (u64, u64)>,
}

impl Onlooker {
    pub(crate) fn of(world: &Arc<Mutex<World>>, sight: &Arc<Mutex<Sight>>, mistake: Mistake) -> Box<dyn ProcessSource> {
        let (world, sight) = (Arc::clone(world), Arc::clone(sight));
        let inner = world.lock().unwrap().host.source();
        Box::new(Onlooker { inner, world, sight, mistake, brought: BTreeMap::new(), forks: 0, left: BTreeMap::new() })
    }

    fn moment(&self) {
        self.world.lock().unwrap().moment();
    }

    /// How the monitor sees an identity, and back.
    fn key(&self, key: ProcessKey) -> ProcessKey {
        match self.mistake {
            Mistake::YoungestFirst => ProcessKey { start_ticks: u64::MAX - key.start_ticks, ..key },
            Mistake::NumberAlone => ProcessKey { start_ticks: 0, ..key },
            _ => key,
        }
    }

    fn real(&mut self, key: ProcessKey) -> Result<ProcessKey, ReadError> {
        match self.mistake {
            Mistake::NumberAlone => Ok(self.inner.look(key.pid)?.key),
            _ => Ok(self.key(key)),
        }
    }

    fn row(&self, row: ProcessRow) -> ProcessRow {
        let age = if self.mistake == Mistake::FirstSightCharged { Duration::ZERO } else { row.age };
        ProcessRow { key: self.key(row.key), age, ..row }
    }
}

impl ProcessSource for Onlooker {
    fn boot(&self) -> BootId {
        self.inner.boot()
    }

    fn own_pid(&self) -> Option<Pid> {
        self.inner.own_pid()
    }

    fn host(&mut self) -> HostReading {
        self.inner.host()
    }

    fn pressure(&mut self) -> HostPressure {
        self.inner.pressure()
    }

    fn scan(&mut self, scope: Scan, found: &mut Vec<ProcessRow>) -> Result<ScanCount, ReadError> {
        if self.sight.lock().unwrap().blind {
            self.sight.lock().unwrap().scans_refused += 1;
            return Err(ReadError::Denied { path: "/proc".into() });
        }
        self.moment();
        let mut rows = Vec::new();
        let mut count = self.inner.scan(scope, &mut rows)?;
        for row in rows {
            if self.sight.lock().unwrap().hidden.contains(&row.key) {
                count.denied += 1;
            } else {
                found.push(self.row(row));
            }
        }
        self.moment();
        Ok(count)
    }

    fn look(&mut self, pid: Pid) -> Result<ProcessRow, ReadError> {
        self.moment();
        let row = self.inner.look(pid)?;
        self.sight.lock().unwrap().refuse(row.key, self.row(row))
    }

    fn look_inside(&mut self, process: InnerPid) -> Result<ProcessRow, ReadError> {
        let row = self.inner.look_inside(process)?;
        Ok(self.row(row))
    }

    fn measure_pss(&mut self, every: Option<Duration>) {
        self.inner.measure_pss(every);
    }

    fn pss_counts(&self) -> PssCounts {
        self.inner.pss_counts()
    }

    fn image(&mut self, process: ProcessKey) -> Result<Image, ReadError> {
        let process = self.real(process)?;
        self.inner.image(process)
    }

    fn keep(&mut self, process: ProcessKey, watch: Watch) -> Result<(), ReadError> {
        self.moment();
        let process = self.real(process)?;
        self.inner.keep(process, watch)
    }

    fn read(&mut self, process: ProcessKey, io: bool) -> Result<Reading, ReadError> {
        self.moment();
        let shown = process;
        let reading = self.real(process).and_then(|process| self.inner.read(process, io));
        if let (Mistake::GoneUnnoticed, Err(ReadError::Gone)) = (self.mistake, &reading) {
            return Err(ReadError::Denied { path: "/proc".into() });
        }
        let mut reading = reading?;
        self.world
            .lock()
            .unwrap()
            .tell(|_| format!("  {} shows {:?} below {:?}", process.pid, reading.cpu, reading.parent));
        match self.mistake {
            Mistake::ChildrenTwice => reading.cpu.own_us += reading.cpu.children_us,
            Mistake::ChildrenForgotten => reading.cpu.children_us = 0,
            Mistake::ParentsForgotten => reading.parent = None,
            Mistake::DeadWait if reading.state == ProcessState::Zombie => reading.state = ProcessState::Sleeping,
            Mistake::ElsewhereForgotten if self.world.lock().unwrap().is_inner(process.pid) => reading.parent = None,
            Mistake::LeftoversTwice | Mistake::AdoptedWithoutShares
                if self.world.lock().unwrap().is_left(process.pid) =>
            {
                let now = (reading.cpu.own_us, reading.cpu.children_us);
                let then = *self.left.entry(shown).or_insert(now);
                reading.cpu.own_us += match self.mistake {
                    Mistake::LeftoversTwice => now.0 - then.0,
                    _ => then.0 + then.1,
                };
            }
            Mistake::CarryDropped => {
                let brought = self.brought.entry(shown).or_default();
                brought.push(reading.cpu.children_us);
                reading.cpu.children_us = brought[brought.len().saturating_sub(3)];
            }
            _ => {}
        }
        self.sight.lock().unwrap().refuse(process, reading)
    }

    fn oom_kills(&mut self, process: ProcessKey) -> Option<u64> {
        let process = self.real(process).ok()?;
        self.inner.oom_kills(process)
    }

    fn release(&mut self, process: ProcessKey) {
        let process = self.real(process).unwrap_or(process);
        self.inner.release(process);
    }

    fn drain(&mut self, events: &mut Vec<ProcessEvent>) {
        self.moment();
        let mut told = Vec::new();
        self.inner.drain(&mut told);
        for event in told {
            match event {
                ProcessEvent::Exited { process, status } => {
                    events.push(ProcessEvent::Exited { process: self.key(process), status });
                }
                ProcessEvent::Forked { .. } if self.mistake == Mistake::ForksMissed => {
                    self.forks += 1;
                    if !self.forks.is_multiple_of(5) {
                        events.push(event);
                    }
                }
                _ => events.push(event),
            }
        }
    }

    fn tells_forks(&self) -> bool {
        self.inner.tells_forks()
    }
}
