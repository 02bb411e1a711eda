//! The machine as a source of process facts.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Host;
use super::table::Process;
use crate::clock::Clock;
use crate::model::{
    BootId, HostPressure, HostReading, Image, InnerPid, IoReading, Mono, Pid, ProcessEvent, ProcessKey, ProcessRow,
    PssCounts, PssReading, Reading,
};
use crate::process::{ProcessSource, ReadError, Scan, ScanCount, Watch};

/// The machine as one monitor looks at it.
pub(super) struct TableSource {
    host: Host,
    measures_pss: bool,
}

impl TableSource {
    /// Nothing is told to it that came before; one that was there is told no more.
    pub(super) fn new(host: Host) -> TableSource {
        {
            let mut table = host.lock();
            table.watched.clear();
            table.followed.clear();
            table.events.clear();
            table.shown.clear();
        }
        TableSource { host, measures_pss: false }
    }

    fn now(&self) -> Mono {
        self.host.clock.now().mono
    }

    fn row(&self, process: &Process) -> ProcessRow {
        ProcessRow { age: self.now().since(process.started), ..process.row.clone() }
    }
}

impl ProcessSource for TableSource {
    fn boot(&self) -> BootId {
        self.host.boot()
    }

    fn own_pid(&self) -> Option<Pid> {
        self.host.lock().own_pid
    }

    fn host(&mut self) -> HostReading {
        HostReading {
            load_1m: Some(0.5),
            load_5m: Some(0.25),
            load_15m: None,
            memory_total_bytes: Some(8 << 30),
            memory_available_bytes: Some(self.host.lock().available_bytes),
            uptime: Some(Duration::from_nanos(self.now().0)),
            cpu_count: Some(2),
        }
    }

    fn pressure(&mut self) -> HostPressure {
        self.host.lock().pressure
    }

    fn scan(&mut self, scope: Scan, found: &mut Vec<ProcessRow>) -> Result<ScanCount, ReadError> {
        let ending = std::mem::take(&mut self.host.lock().ending_when_listed);
        ending.into_iter().for_each(|(pid, status)| self.host.finish(pid, status));
        let mut table = self.host.lock();
        let mut count = ScanCount::default();
        let living: BTreeSet<ProcessKey> = table.processes.values().map(|process| process.row.key).collect();
        table.shown.retain(|key| living.contains(key));
        for process in table.processes.values() {
            if process.denied {
                count.denied += 1;
            } else if scope == Scan::All || !table.shown.contains(&process.row.key) {
                found.push(self.row(process));
            }
        }
        table.shown = living;
        Ok(count)
    }

    fn look(&mut self, pid: Pid) -> Result<ProcessRow, ReadError> {
        Ok(self.row(self.host.lock().find(pid)?))
    }

    fn look_inside(&mut self, process: InnerPid) -> Result<ProcessRow, ReadError> {
        let found =
            self.host.lock().processes.iter().find(|(_, found)| found.inner == Some(process)).map(|(pid, _)| *pid);
        self.look(found.ok_or(ReadError::Gone)?)
    }

    fn image(&mut self, process: ProcessKey) -> Result<Image, ReadError> {
        let table = self.host.lock();
        let found = table.find(process.pid)?;
        if found.row.key != process {
            return Err(ReadError::Gone);
        }
        let name = &found.row.name;
        let named = || Image { exe: Some(format!("/usr/bin/{name}").into()), words: vec![name.clone()], script: None };
        Ok(found.image.clone().unwrap_or_else(named))
    }

    fn keep(&mut self, process: ProcessKey, watch: Watch) -> Result<(), ReadError> {
        let mut table = self.host.lock();
        if table.find(process.pid)?.row.key != process {
            return Err(ReadError::Gone);
        }
        if watch == Watch::Exit {
            table.watched.insert(process);
        }
        if table.find(process.pid)?.status.is_none() {
            table.followed.insert(process.pid, Some(process));
        }
        Ok(())
    }

    fn read(&mut self, process: ProcessKey, io: bool) -> Result<Reading, ReadError> {
        let ending = self.host.lock().ending_when_read.remove(&process.pid);
        if let Some(status) = ending {
            self.host.finish(process.pid, status);
        }
        let mut table = self.host.lock();
        let found = table.find(process.pid)?;
        if found.row.key != process {
            return Err(ReadError::Gone);
        }
        let reading = Reading {
            read_at: self.now(),
            parent: found.row.parent,
            group: found.row.group,
            session: found.row.session,
            state: found.row.state,
            cpu: found.cpu,
            rss_bytes: found.rss_bytes,
            pss: if self.measures_pss { found.pss } else { PssReading::Unknown },
            threads: Some(found.threads),
            io: if io { IoReading::Known(found.io) } else { IoReading::Skipped },
        };
        let ending = table.ending_once_read.remove(&process.pid);
        drop(table);
        if let Some(status) = ending {
            self.host.end(process.pid, status);
        }
        Ok(reading)
    }

    fn measure_pss(&mut self, every: Option<Duration>) {
        self.measures_pss = every.is_some();
    }

    fn pss_counts(&self) -> PssCounts {
        PssCounts::default()
    }

    fn oom_kills(&mut self, _: ProcessKey) -> Option<u64> {
        self.host.lock().oom_kills
    }

    fn release(&mut self, process: ProcessKey) {
        let mut table = self.host.lock();
        table.watched.remove(&process);
        if table.followed.get(&process.pid) == Some(&Some(process)) {
            table.followed.remove(&process.pid);
        }
    }

    fn drain(&mut self, events: &mut Vec<ProcessEvent>) {
        events.append(&mut self.host.lock().events);
    }

    fn tells_forks(&self) -> bool {
        self.host.lock().tells_forks
    }
}
