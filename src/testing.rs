//! A machine that exists only in memory: for tests of this crate and of programs that embed it.
//!
//! The table behaves as the kernel does where it matters: a child that ends is a zombie until its parent waits for it,
//! its time then counts as the parent's children's, orphans go to process 1 or who takes them in above them, ticks of the start time are 10 ms long.

mod source;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::clock::{Clock, ManualClock};
use crate::model::{
    BootId, Cpu, ExitStatus, HostPressure, Image, InnerPid, Io, Mono, Pid, ProcessEvent, ProcessKey, ProcessRow,
    ProcessState, PssReading,
};
use crate::process::ProcessSource;

use source::TableSource;
use table::{Process, Table};

const TICK_NS: u64 = 10_000_000;

/// The machine. Clones are the same machine.
#[derive(Clone)]
pub struct Host {
    clock: Arc<ManualClock>,
    table: Arc<Mutex<Table>>,
}

impl Host {
    /// A machine on which only process 1 runs.
    pub fn new(clock: Arc<ManualClock>) -> Host {
        let table = Table {
            processes: BTreeMap::new(),
            next_pid: 1,
            boots: 1,
            events: Vec::new(),
            watched: BTreeSet::new(),
            followed: BTreeMap::new(),
            own_pid: None,
            ending_when_listed: BTreeMap::new(),
            ending_when_read: BTreeMap::new(),
            ending_once_read: BTreeMap::new(),
            shown: BTreeSet::new(),
            burned_us: 0,
            tells_forks: false,
            oom_kills: Some(0),
            available_bytes: 4 << 30,
            pressure: HostPressure::default(),
        };
        let host = Host { clock, table: Arc::new(Mutex::new(table)) };
        host.spawn(None, "init");
        host
    }

    /// Where the monitor looks at this machine.
    pub fn source(&self) -> Box<dyn ProcessSource> {
        Box::new(TableSource::new(self.clone()))
    }

    /// From now on the machine tells of every fork of a kept process or of what descends from one, as the Linux source
    /// does where the kernel lets it.
    pub fn tell_forks(&self) {
        self.lock().tells_forks = true;
    }

    /// Kills a process for memory. It stays a zombie until [`reap`](Host::reap).
    pub fn kill_for_memory(&self, pid: Pid) {
        {
            let mut table = self.lock();
            table.oom_kills = table.oom_kills.map(|count| count + 1);
        }
        self.end(pid, ExitStatus::Signal(9));
    }

    /// Sets how much memory can be had, and how much has to wait.
    pub fn strain(&self, available_bytes: u64, pressure: HostPressure) {
        let mut table = self.lock();
        table.available_bytes = available_bytes;
        table.pressure = pressure;
    }

    /// From now on nobody can know how many processes were killed for memory.
    pub fn hide_memory_kills(&self) {
        self.lock().oom_kills = None;
    }

    /// Loses the events that wait to be told.
    pub fn lose_events(&self) {
        self.lock().events = vec![ProcessEvent::Lost];
    }

    /// Starts a process below process 1, in a session of its own.
    pub fn start(&self, name: &str) -> Pid {
        let pid = self.spawn(Pid::new(1), name);
        self.set_session(pid);
        pid
    }

    /// Starts a child, in its parent's session and group.
    ///
    /// # Panics
    /// When the parent does not live.
    pub fn fork(&self, parent: Pid) -> Pid {
        let name = self.lock().processes[&parent].row.name.clone();
        self.spawn(Some(parent), &name)
    }

    /// Makes a process the leader of a new session, as setsid(2) does.
    pub fn set_session(&self, pid: Pid) {
        let mut table = self.lock();
        let row = &mut table.living(pid).row;
        row.session = Some(pid);
        row.group = Some(pid);
    }

    /// Lets a process use processor time.
    pub fn burn(&self, pid: Pid, span: Duration) {
        let us = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        let mut table = self.lock();
        table.living(pid).cpu.own_us += us;
        table.burned_us += us;
    }

    /// Lets a process read from and write to storage.
    pub fn transfer(&self, pid: Pid, read_bytes: u64, written_bytes: u64) {
        let mut table = self.lock();
        let io = &mut table.living(pid).io;
        io.read_bytes += read_bytes;
        io.written_bytes += written_bytes;
    }

    /// Sets the resident memory of a process.
    pub fn set_memory(&self, pid: Pid, rss_bytes: u64) {
        self.lock().living(pid).rss_bytes = rss_bytes;
    }

    /// Says what is known of the proportional set size of a process, to a monitor that asks for it.
    pub fn set_pss(&self, pid: Pid, pss: PssReading) {
        self.lock().living(pid).pss = pss;
    }

    /// Says which process the monitor runs in.
    pub fn set_own(&self, pid: Pid) {
        self.lock().own_pid = Some(pid);
    }

    /// Forbids or allows to read a process.
    pub fn set_denied(&self, pid: Pid, denied: bool) {
        self.lock().living(pid).denied = denied;
    }

    /// Says what a process is called in a pid namespace of its own.
    pub fn set_inner(&self, pid: Pid, inner: InnerPid) {
        self.lock().living(pid).inner = Some(inner);
    }

    /// Makes a process another program, as execve(2) does, and tells it.
    pub fn exec(&self, pid: Pid, name: &str, image: Image) {
        let mut table = self.lock();
        let process = table.living(pid);
        process.row.name = name.into();
        process.image = Some(image);
        table.events.push(ProcessEvent::Execed(pid));
    }

    /// Changes what can be known of a process's program without a word: a title written over its command line, or an
    /// exec where the kernel tells of none. By default it is a native program of the process's name.
    pub fn set_image(&self, pid: Pid, name: &str, image: Image) {
        let mut table = self.lock();
        let process = table.living(pid);
        process.row.name = name.into();
        process.image = Some(image);
    }

    /// From now on a process takes in what descends from it and is orphaned: `PR_SET_CHILD_SUBREAPER` of prctl(2), and
    /// what process 1 of a pid namespace does.
    pub fn set_reaper(&self, pid: Pid) {
        self.lock().living(pid).reaper = true;
    }

    /// Ends a process. It stays a zombie until [`reap`](Host::reap). Its children go to the nearest above it that takes
    /// orphans in: process 1, but for [`set_reaper`](Host::set_reaper).
    pub fn end(&self, pid: Pid, status: ExitStatus) {
        self.end_as(pid, status, false);
    }

    /// The same, but its status is told only when it is reaped, as for a process of another user.
    pub fn end_hidden(&self, pid: Pid, status: ExitStatus) {
        self.end_as(pid, status, true);
    }

    fn end_as(&self, pid: Pid, status: ExitStatus, hidden: bool) {
        let mut table = self.lock();
        let guardian = table.guardian(pid);
        for process in table.processes.values_mut() {
            if process.row.parent == Some(pid) {
                process.row.parent = guardian;
            }
        }
        table.followed.remove(&pid);
        let process = table.living(pid);
        process.row.state = ProcessState::Zombie;
        process.rss_bytes = 0;
        process.status = Some(status);
        process.hidden = hidden;
        let key = process.row.key;
        if table.watched.contains(&key) {
            table.events.push(ProcessEvent::Exited { process: key, status: Some(status).filter(|_| !hidden) });
        }
    }

    /// Its parent waits for a process that ended.
    ///
    /// # Panics
    /// When there is no such process.
    pub fn reap(&self, pid: Pid) {
        self.reap_as(pid, false);
    }

    /// The same where it is told without its status even then. Who it was.
    ///
    /// # Panics
    /// When there is no such process.
    pub fn reap_hidden(&self, pid: Pid) -> ProcessKey {
        self.reap_as(pid, true)
    }

    /// Tells of an end once more, as one does who hears of it in another way.
    pub fn tell_end(&self, process: ProcessKey, status: Option<ExitStatus>) {
        self.lock().events.push(ProcessEvent::Exited { process, status });
    }

    fn reap_as(&self, pid: Pid, hidden: bool) -> ProcessKey {
        let mut table = self.lock();
        let gone = table.processes.remove(&pid).expect("there is a process to wait for");
        let process = gone.row.key;
        if gone.hidden && table.watched.contains(&process) {
            table.events.push(ProcessEvent::Exited { process, status: gone.status.filter(|_| !hidden) });
        }
        if let Some(parent) = gone.row.parent.and_then(|parent| table.processes.get_mut(&parent)) {
            parent.cpu.children_us += gone.cpu.own_us + gone.cpu.children_us;
            parent.io.read_bytes += gone.io.read_bytes;
            parent.io.written_bytes += gone.io.written_bytes;
        }
        process
    }

    /// Ends a process whose parent ignores the end of its children: nobody waits for it.
    pub fn vanish(&self, pid: Pid) {
        self.end(pid, ExitStatus::Code(0));
        self.lock().processes.remove(&pid);
    }

    /// Ends a process, unless it has ended, and lets its parent wait for it at once.
    pub fn finish(&self, pid: Pid, status: ExitStatus) {
        if self.lock().processes.get(&pid).is_some_and(|process| process.status.is_none()) {
            self.end(pid, status);
        }
        self.reap(pid);
    }

    /// The same in the middle of a pass, at the moment when the process is to be read.
    pub fn finish_when_read(&self, pid: Pid, status: ExitStatus) {
        self.lock().ending_when_read.insert(pid, status);
    }

    /// The same just before the processes are next listed.
    pub fn finish_when_listed(&self, pid: Pid, status: ExitStatus) {
        self.lock().ending_when_listed.insert(pid, status);
    }

    /// Ends a process in the middle of a pass, right after it was read. It stays a zombie until [`reap`](Host::reap).
    pub fn end_once_read(&self, pid: Pid, status: ExitStatus) {
        self.lock().ending_once_read.insert(pid, status);
    }

    /// The next process gets this pid, as if the numbers had come round.
    pub fn set_next_pid(&self, pid: Pid) {
        self.lock().next_pid = i64::from(pid.get());
    }

    /// Starts the machine again: nothing but process 1 runs, and the boot id is another.
    pub fn reboot(&self) {
        {
            let mut table = self.lock();
            table.processes.clear();
            table.watched.clear();
            table.followed.clear();
            table.shown.clear();
            table.events.clear();
            table.next_pid = 1;
            table.boots += 1;
        }
        self.spawn(None, "init");
    }

    /// How this boot is called, as the kernel writes it.
    pub fn boot(&self) -> BootId {
        format!("{:08x}-2222-3333-4444-555555555555", self.lock().boots).into()
    }

    /// Processor time used by all processes ever, microseconds.
    pub fn burned_us(&self) -> u64 {
        self.lock().burned_us
    }

    fn spawn(&self, parent: Option<Pid>, name: &str) -> Pid {
        let now = self.clock.now().mono;
        let mut table = self.lock();
        let pid = loop {
            let pid = Pid::new(table.next_pid).expect("tests stay within the numbers");
            table.next_pid += 1;
            if !table.processes.contains_key(&pid) {
                break pid;
            }
        };
        let above = parent.map(|parent| table.living(parent).row.clone());
        let row = ProcessRow {
            key: ProcessKey { pid, start_ticks: now.0 / TICK_NS },
            parent,
            group: above.as_ref().and_then(|above| above.group).or(Some(pid)),
            session: above.as_ref().and_then(|above| above.session).or(Some(pid)),
            state: ProcessState::Sleeping,
            kernel: false,
            name: name.into(),
            uid: Some(1000),
            age: Duration::ZERO,
        };
        let process = Process {
            row,
            started: Mono(now.0 / TICK_NS * TICK_NS),
            cpu: Cpu::default(),
            io: Io::default(),
            rss_bytes: 1 << 20,
            pss: PssReading::Unknown,
            threads: 1,
            denied: false,
            inner: None,
            image: parent.and_then(|parent| table.living(parent).image.clone()),
            status: None,
            hidden: false,
            reaper: false,
        };
        table.processes.insert(pid, process);
        table.followed.remove(&pid);
        if let Some(parent) = parent.filter(|parent| table.tells_forks && table.followed.contains_key(parent)) {
            table.followed.insert(pid, None);
            table.events.push(ProcessEvent::Forked { parent, child: pid, at: now });
        }
        pid
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("no holder of this lock panics")
    }
}
