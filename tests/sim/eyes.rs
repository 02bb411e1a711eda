//! What the monitor sees of the world, if it may look.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_monitor::model::{
    BootId, HostPressure, HostReading, Image, InnerPid, Pid, ProcessEvent, ProcessKey, ProcessRow, PssCounts, Reading,
};
use agent_monitor::process::{ProcessSource, ReadError, Scan, ScanCount, Watch};

use super::mistakes::{Mistake, Onlooker};
use super::world::World;

/// What may not be seen, and how often that was refused.
#[derive(Default)]
pub(crate) struct Sight {
    pub(crate) blind: bool,
    pub(crate) hidden: BTreeSet<ProcessKey>,
    pub(crate) scans_refused: u64,
    pub(crate) reads_refused: u64,
}

pub(crate) struct Eyes {
    inner: Onlooker,
    sight: Arc<Mutex<Sight>>,
}

impl Eyes {
    pub(crate) fn of(world: &Arc<Mutex<World>>, sight: &Arc<Mutex<Sight>>) -> Box<dyn ProcessSource> {
        Box::new(Eyes { inner: Onlooker::new(Arc::clone(world), Mistake::None), sight: Arc::clone(sight) })
    }

    /// What is there can be refused; what is gone is gone.
    fn refuse<T>(&self, key: ProcessKey, seen: T) -> Result<T, ReadError> {
        let mut sight = self.sight.lock().unwrap();
        if !sight.hidden.contains(&key) {
            return Ok(seen);
        }
        sight.reads_refused += 1;
        Err(ReadError::Denied { path: format!("/proc/{}/stat", key.pid).into() })
    }
}

impl ProcessSource for Eyes {
    fn scan(&mut self, scope: Scan, found: &mut Vec<ProcessRow>) -> Result<ScanCount, ReadError> {
        {
            let mut sight = self.sight.lock().unwrap();
            if sight.blind {
                sight.scans_refused += 1;
                return Err(ReadError::Denied { path: "/proc".into() });
            }
        }
        let count = self.inner.scan(scope, found)?;
        let sight = self.sight.lock().unwrap();
        let before = found.len();
        found.retain(|row| !sight.hidden.contains(&row.key));
        Ok(ScanCount { denied: count.denied + u64::try_from(before - found.len()).unwrap(), ..count })
    }

    fn look(&mut self, pid: Pid) -> Result<ProcessRow, ReadError> {
        let row = self.inner.look(pid)?;
        self.refuse(row.key, row)
    }

    fn read(&mut self, process: ProcessKey, io: bool) -> Result<Reading, ReadError> {
        let reading = self.inner.read(process, io)?;
        self.refuse(process, reading)
    }

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

    fn look_inside(&mut self, process: InnerPid) -> Result<ProcessRow, ReadError> {
        self.inner.look_inside(process)
    }

    fn image(&mut self, process: ProcessKey) -> Result<Image, ReadError> {
        self.inner.image(process)
    }

    fn keep(&mut self, process: ProcessKey, watch: Watch) -> Result<(), ReadError> {
        self.inner.keep(process, watch)
    }

    fn measure_pss(&mut self, every: Option<Duration>) {
        self.inner.measure_pss(every);
    }

    fn pss_counts(&self) -> PssCounts {
        self.inner.pss_counts()
    }

    fn oom_kills(&mut self, process: ProcessKey) -> Option<u64> {
        self.inner.oom_kills(process)
    }

    fn release(&mut self, process: ProcessKey) {
        self.inner.release(process);
    }

    fn drain(&mut self, events: &mut Vec<ProcessEvent>) {
        self.inner.drain(events);
    }

    fn tells_forks(&self) -> bool {
        self.inner.tells_forks()
    }
}
