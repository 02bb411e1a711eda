//! The source itself.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::events::Events;
use super::facts::Facts;
use super::kernel::{self, Host, Name};
use super::units::Timebase;
use super::{arguments, host, reading, table};
use crate::clock::{Clock, SystemClock, monotonic};
use crate::model::{
    BootId, HostPressure, HostReading, Image, InnerPid, Pid, ProcessEvent, ProcessKey, ProcessRow, ProcessState,
    PssCounts, Reading, Script, Timestamp,
};
use crate::process::common::{Images, Shown, Wake, groups, line};
use crate::process::{ProcessSource, ReadError, Scan, ScanCount, Watch};
use crate::recognise;

/// The processes of this machine.
pub struct MacSource {
    boot: BootId,
    own_pid: Option<Pid>,
    timebase: Timebase,
    host: Host,
    shown: Shown,
    images: Images,
    events: Events,
}

/// Why the source cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The `sysctl` that tells one boot from another.
    #[error("kern.bootsessionuuid cannot be read")]
    Boot(#[source] io::Error),
    /// Without it no processor time can be told.
    #[error("mach_timebase_info does not say what a tick lasts")]
    Timebase,
    /// The queue and the thread that wait for the ends of processes.
    #[error("cannot wait for the ends of processes")]
    Events(#[source] io::Error),
}

impl MacSource {
    /// The processes of this machine. `wake` is called when one that is watched has ended.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn new(wake: Wake) -> Result<MacSource, StartError> {
        let place = |process: ProcessKey| what(process.pid, "command line");
        Ok(MacSource {
            boot: boot().map_err(StartError::Boot)?,
            own_pid: Pid::new(i64::from(std::process::id())),
            timebase: kernel::timebase().ok_or(StartError::Timebase)?,
            host: Host::this(),
            shown: Shown::default(),
            images: Images::new(image, place),
            events: Events::start(wake).map_err(StartError::Events)?,
        })
    }
}

impl ProcessSource for MacSource {
    /// `kern.bootsessionuuid`.
    fn boot(&self) -> BootId {
        self.boot.clone()
    }

    fn own_pid(&self) -> Option<Pid> {
        self.own_pid
    }

    fn host(&mut self) -> HostReading {
        host::read(self.host, SystemClock.now().wall)
    }

    /// Not known here.
    fn pressure(&mut self) -> HostPressure {
        HostPressure::default()
    }

    fn scan(&mut self, scope: Scan, found: &mut Vec<ProcessRow>) -> Result<ScanCount, ReadError> {
        let (all, failed) = table::all().map_err(|source| ReadError::Io { path: "kern.proc.all".into(), source })?;
        let now = SystemClock.now().wall;
        self.shown.begin();
        for facts in all {
            if self.shown.is_new(facts.key()) || scope == Scan::All {
                found.push(row(&facts, now));
            }
        }
        Ok(ScanCount { denied: 0, failed })
    }

    fn look(&mut self, pid: Pid) -> Result<ProcessRow, ReadError> {
        let facts = table::facts(pid).map_err(|error| refused(error, pid, "entry in kern.proc"))?;
        Ok(row(&facts, SystemClock.now().wall))
    }

    /// There are no other namespaces: nothing is ever there.
    fn look_inside(&mut self, _: InnerPid) -> Result<ProcessRow, ReadError> {
        Err(ReadError::Gone)
    }

    fn image(&mut self, process: ProcessKey) -> Result<Image, ReadError> {
        self.images.read(process)
    }

    fn keep(&mut self, process: ProcessKey, watch: Watch) -> Result<(), ReadError> {
        self.release(process);
        self.events.watch(process, watch);
        // Read last: whoever is shown had this number before, so it is the one that is watched.
        match table::facts(process.pid) {
            Ok(facts) if facts.key() == process => {
                if facts.state(None) == ProcessState::Zombie && watch == Watch::Exit {
                    self.events.tell_ended(process, facts.ended());
                }
                Ok(())
            }
            other => {
                self.release(process);
                Err(other.err().map_or(ReadError::Gone, |error| refused(error, process.pid, "entry in kern.proc")))
            }
        }
    }

    fn read(&mut self, process: ProcessKey, io: bool) -> Result<Reading, ReadError> {
        let pid = process.pid;
        let usage = kernel::usage(pid).map_err(|error| refused(error, pid, "proc_pid_rusage"))?;
        let threads = match kernel::threads(pid) {
            // It has ended, or is about to: of those nothing is told but what they used.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => None,
            known => Some(known.map_err(|error| refused(error, pid, "PROC_PIDTASKINFO"))?),
        };
        let read_at = monotonic();
        // Read last: whoever is shown had this number before, so the rest is its own.
        let facts = table::facts(pid).map_err(|error| refused(error, pid, "entry in kern.proc"))?;
        if facts.key() != process {
            return Err(ReadError::Gone);
        }
        Ok(reading::reading(&facts, groups::session(pid), &usage, threads, self.timebase, read_at, io))
    }

    /// There are none: memory is added up as resident pages.
    fn measure_pss(&mut self, _: Option<Duration>) {}

    fn pss_counts(&self) -> PssCounts {
        PssCounts::default()
    }

    /// Not counted here.
    fn oom_kills(&mut self, _: ProcessKey) -> Option<u64> {
        None
    }

    fn release(&mut self, process: ProcessKey) {
        self.events.forget(process);
    }

    /// # Panics
    /// With the panic of the thread of the source, if it had one.
    fn drain(&mut self, events: &mut Vec<ProcessEvent>) {
        self.events.drain(events);
    }

    /// Of a fork of a process that is kept it is told, but not always soon enough to see who was born.
    fn tells_forks(&self) -> bool {
        false
    }
}

/// Which process has this pid now, and in which boot of the machine.
///
/// # Errors
/// As [`look`](ProcessSource::look).
pub fn identify(pid: Pid) -> Result<(ProcessKey, BootId), ReadError> {
    let facts = table::facts(pid).map_err(|error| refused(error, pid, "entry in kern.proc"))?;
    let boot = boot().map_err(|source| ReadError::Io { path: "kern.bootsessionuuid".into(), source })?;
    Ok((facts.key(), boot))
}

/// The resident memory of this process, bytes.
///
/// # Errors
/// When the kernel does not say.
pub fn own_memory_bytes() -> Result<u64, ReadError> {
    let pid = Pid::new(i64::from(std::process::id())).ok_or(ReadError::Gone)?;
    let usage = kernel::usage(pid).map_err(|error| refused(error, pid, "proc_pid_rusage"))?;
    Ok(usage.resident_bytes)
}

fn boot() -> io::Result<BootId> {
    let bytes = kernel::sysctl(Name::Text(c"kern.bootsessionuuid"))?;
    let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    if text.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(text).into())
}

fn row(facts: &Facts, now: Timestamp) -> ProcessRow {
    let started = Timestamp::from_unix_ms(i64::try_from(facts.start_us / 1_000).unwrap_or(i64::MAX));
    ProcessRow {
        key: facts.key(),
        parent: facts.parent,
        group: facts.group,
        session: groups::session(facts.pid),
        state: facts.state(None),
        kernel: facts.kernel,
        name: facts.name.clone(),
        uid: Some(facts.uid),
        age: now.since(started),
    }
}

/// What is known of the program of a process. May wait for the file system its script is on.
fn image(process: ProcessKey) -> Result<Image, ReadError> {
    let pid = process.pid;
    let text = |path: Vec<u8>| -> Box<str> { String::from_utf8_lossy(&path).into() };
    let exe = kernel::path(pid).ok().map(text);
    let numbers = [libc::CTL_KERN, libc::KERN_PROCARGS2, pid.get().cast_signed()];
    let words = match kernel::sysctl(Name::Numbers(&numbers)) {
        Ok(bytes) => arguments::words(&bytes),
        // EINVAL: of another user's, of one that has ended, and of one that is none.
        Err(_) => None,
    };
    let script = recognise::script(exe.as_deref(), words.as_deref().unwrap_or_default());
    let script = script.and_then(|word| script_of(pid, word));
    // Read last: whoever is shown had this number before, so the rest is its own.
    let facts = table::facts(pid).map_err(|error| refused(error, pid, "entry in kern.proc"))?;
    if facts.key() != process || facts.state(None) == ProcessState::Zombie {
        return Err(ReadError::Gone);
    }
    let words = words.ok_or_else(|| ReadError::Denied { path: what(pid, "command line") })?;
    Ok(Image { exe, words, script })
}

/// The script's path made absolute, and resolved. None where its folder may not be known.
fn script_of(pid: Pid, word: &str) -> Option<Script> {
    let path = line::absolute(word, || kernel::folder(pid).ok().filter(|folder| !folder.is_empty()))?;
    let resolved = std::fs::canonicalize(&path).ok();
    Some(Script { path: path.into(), resolved: resolved.map(|path| path.to_string_lossy().into()) })
}

fn refused(error: io::Error, pid: Pid, part: &str) -> ReadError {
    match (error.raw_os_error(), error.kind()) {
        (Some(libc::ESRCH), _) | (_, io::ErrorKind::NotFound) => ReadError::Gone,
        (_, io::ErrorKind::PermissionDenied) => ReadError::Denied { path: what(pid, part) },
        _ => ReadError::Io { path: what(pid, part), source: error },
    }
}

/// What was read, for errors.
fn what(pid: Pid, part: &str) -> PathBuf {
    format!("{part} of process {pid}").into()
}
