//! What the machine in memory knows of its processes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::model::{
    Cpu, ExitStatus, HostPressure, Image, InnerPid, Io, Mono, Pid, ProcessEvent, ProcessKey, ProcessRow, ProcessState,
    PssReading,
};
use crate::process::ReadError;

/// The processes, and what is to become of them.
pub(super) struct Table {
    pub(super) processes: BTreeMap<Pid, Process>,
    pub(super) next_pid: i64,
    pub(super) boots: u32,
    pub(super) events: Vec<ProcessEvent>,
    pub(super) watched: BTreeSet<ProcessKey>,
    /// Whose forks are told: the kept processes, and what they started since, which is not known by more than its pid.
    pub(super) followed: BTreeMap<Pid, Option<ProcessKey>>,
    pub(super) own_pid: Option<Pid>,
    /// Those that end when the processes are next listed, and how.
    pub(super) ending_when_listed: BTreeMap<Pid, ExitStatus>,
    /// Those that end at their next reading.
    pub(super) ending_when_read: BTreeMap<Pid, ExitStatus>,
    /// Those that end right after it.
    pub(super) ending_once_read: BTreeMap<Pid, ExitStatus>,
    /// Identities that a scan has shown.
    pub(super) shown: BTreeSet<ProcessKey>,
    pub(super) burned_us: u64,
    pub(super) tells_forks: bool,
    pub(super) oom_kills: Option<u64>,
    pub(super) available_bytes: u64,
    pub(super) pressure: HostPressure,
}

/// One of them.
#[derive(Clone)]
pub(super) struct Process {
    pub(super) row: ProcessRow,
    pub(super) started: Mono,
    pub(super) cpu: Cpu,
    pub(super) io: Io,
    pub(super) rss_bytes: u64,
    pub(super) pss: PssReading,
    pub(super) threads: u32,
    pub(super) denied: bool,
    /// None: it is in the namespace of the machine.
    pub(super) inner: Option<InnerPid>,
    /// None: as its name says.
    pub(super) image: Option<Image>,
    pub(super) status: Option<ExitStatus>,
    /// Its end was told without the status.
    pub(super) hidden: bool,
    /// It takes orphans in.
    pub(super) reaper: bool,
}

impl Table {
    pub(super) fn living(&mut self, pid: Pid) -> &mut Process {
        self.processes.get_mut(&pid).expect("the test names a process that is there")
    }

    /// Who takes in the children of one that ends.
    pub(super) fn guardian(&self, pid: Pid) -> Option<Pid> {
        let above = |process: &Process| self.processes.get(&process.row.parent?);
        let chain = std::iter::successors(self.processes.get(&pid).and_then(above), |process| above(process));
        let mut living = chain.filter(|process| process.row.state != ProcessState::Zombie);
        living.find(|process| process.reaper).map_or(Pid::new(1), |process| Some(process.row.key.pid))
    }

    pub(super) fn find(&self, pid: Pid) -> Result<&Process, ReadError> {
        let process = self.processes.get(&pid).ok_or(ReadError::Gone)?;
        if process.denied {
            return Err(ReadError::Denied { path: PathBuf::from(format!("/proc/{pid}/stat")) });
        }
        Ok(process)
    }
}
