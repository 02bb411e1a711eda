//! Every fork, exec and exit on the host, told by the kernel's proc connector: Documentation/driver-api/connector.rst
//! and include/uapi/linux/cn_proc.h.
//!
//! What a process of ours starts is ours, even if it belongs to process 1 a millisecond later: only the fork itself says
//! so. Since Linux 6.6 listening needs no right; before that, `CAP_NET_ADMIN`. It works in the host's own namespaces
//! only. One thread listens. It passes on what concerns the kept processes and whatever descends from them, and sleeps a
//! moment between two looks while there is much to hear: woken for each event it would cost five times as much.

mod wire;

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard};

use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::procfs::{Procfs, TEXT_BYTES};
use crate::model::{ExitStatus, Pid, ProcessEvent, ProcessKey, ProcessState};
use crate::process::Watch;
use crate::process::common::{EVENTS, Wake, Worker};

use wire::{Heard, listen, wait};

/// Between two looks, while there is something to hear; shorter when there was much, so that the buffer does not fill.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
const SHORT_PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
const MUCH: usize = 128;

/// Listens until dropped.
pub(super) struct Connector {
    shared: Arc<Shared>,
    worker: Worker,
    /// Bounded, since anyone can fork much.
    events: Receiver<ProcessEvent>,
}

struct Shared {
    socket: OwnedFd,
    stop: OwnedFd,
    /// Of whom events are passed on: the kept processes, and what they started since.
    followed: Mutex<HashMap<Pid, Followed>>,
}

#[derive(Clone, Copy, Default)]
struct Followed {
    /// Who it is, if it is kept. Of what those started only the number is known.
    kept: Option<ProcessKey>,
    /// Whether its end is told.
    ends: bool,
    /// Whether it may have had more than one thread.
    threads: bool,
}

/// The first thread of a process ended, and it may go on.
struct Doubt {
    /// How it ended, if it did.
    status: Option<ExitStatus>,
    /// Whether something was heard of it since it was looked at.
    heard: bool,
}

impl Connector {
    /// Starts listening. `None` where the kernel does not let us.
    ///
    /// # Errors
    /// When the kernel has no thread for us.
    pub(super) fn start(procfs: Arc<Procfs>, wake: Wake) -> io::Result<Option<Connector>> {
        let Ok(socket) = listen() else { return Ok(None) };
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let shared = Arc::new(Shared { socket, stop, followed: Mutex::new(HashMap::new()) });
        let (sender, events) = mpsc::sync_channel(EVENTS);
        let listener = Listener {
            shared: Arc::clone(&shared),
            procfs,
            events: sender,
            wake: Arc::clone(&wake),
            doubts: HashMap::new(),
            lost: false,
        };
        let worker = Worker::start("process-forks", wake, move || listener.run())?;
        Ok(Some(Connector { shared, worker, events }))
    }

    /// From now on events of this process and of what it starts are passed on. Whether those of its number were before.
    pub(super) fn follow(&self, process: ProcessKey, watch: Watch) -> bool {
        let mut followed = self.shared.followed();
        let before = followed.get(&process.pid).copied();
        // Whoever was not heard of before may have threads that were not either.
        let threads = before.is_none_or(|entry| entry.threads);
        followed.insert(process.pid, Followed { kept: Some(process), ends: watch == Watch::Exit, threads });
        before.is_some()
    }

    /// It turned out to have ended. `known`: what [`follow`](Connector::follow) said. If its end was heard of already,
    /// nobody will take its number out again.
    pub(super) fn take_back(&self, process: ProcessKey, known: bool) {
        if known {
            return self.forget(process);
        }
        let mut followed = self.shared.followed();
        if followed.get(&process.pid).is_some_and(|entry| entry.kept == Some(process)) {
            followed.remove(&process.pid);
        }
    }

    /// This process is not kept any more. What it started is still followed, also if that is heard of later than that it
    /// ended: so its number stays until its end is heard of.
    pub(super) fn forget(&self, process: ProcessKey) {
        let mut followed = self.shared.followed();
        if let Some(entry) = followed.get_mut(&process.pid).filter(|entry| entry.kept == Some(process)) {
            entry.kept = None;
        }
    }

    /// Appends what was heard since the last call.
    ///
    /// # Panics
    /// With the panic of the thread, if it had one.
    pub(super) fn drain(&mut self, events: &mut Vec<ProcessEvent>) {
        events.extend(self.events.try_iter());
        self.worker.check();
    }
}

impl Drop for Connector {
    fn drop(&mut self) {
        if rustix::io::write(&self.shared.stop, &1u64.to_ne_bytes()).is_ok() {
            self.worker.join();
        }
    }
}

impl Shared {
    fn followed(&self) -> MutexGuard<'_, HashMap<Pid, Followed>> {
        self.followed.lock().expect("the other holder of this lock has panicked")
    }
}

/// What the thread has.
struct Listener {
    shared: Arc<Shared>,
    procfs: Arc<Procfs>,
    events: SyncSender<ProcessEvent>,
    wake: Wake,
    doubts: HashMap<Pid, Doubt>,
    /// Whether events were lost that could not be told yet.
    lost: bool,
}

impl Listener {
    fn run(mut self) {
        let mut buffer = [0; 512];
        loop {
            if wait(&[&self.shared.socket, &self.shared.stop], None)[1] {
                return;
            }
            let (heard, told) = self.hear(&mut buffer);
            if told {
                (self.wake)();
            }
            let pause = if heard < MUCH { PAUSE } else { SHORT_PAUSE };
            if wait(&[&self.shared.stop], Some(&pause))[0] {
                return;
            }
            if self.settle_doubts() {
                (self.wake)();
            }
        }
    }

    /// Takes everything that waits. Returns how much that was, and whether something was passed on.
    fn hear(&mut self, buffer: &mut [u8; 512]) -> (usize, bool) {
        let (mut heard, mut told) = (0, false);
        loop {
            match recv(&self.shared.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((_, length)) => {
                    heard += 1;
                    if let Some(heard) = Heard::parse(&buffer[..length.min(512)]) {
                        told |= self.pass_on(heard);
                    }
                }
                // The buffer was full: what came then is gone.
                Err(Errno::NOBUFS) => {
                    heard += MUCH;
                    self.lost = true;
                    // Of their threads as well.
                    self.shared.followed().values_mut().for_each(|entry| entry.threads = true);
                    self.doubts.values_mut().for_each(|doubt| doubt.heard = true);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(errno) => panic!("cannot hear of forks: {errno}"),
            }
        }
        if self.lost && self.events.try_send(ProcessEvent::Lost).is_ok() {
            self.lost = false;
            told = true;
        }
        (heard, told)
    }

    /// Passes on what concerns a process that is followed.
    fn pass_on(&mut self, heard: Heard) -> bool {
        let mut followed = self.shared.followed();
        let event = match heard {
            Heard::Fork { parent, child, .. } if !followed.contains_key(&parent) => {
                // The number may have been that of one whose end was not heard of. One that is kept is known by more than
                // its number: this may be its own birth, heard of late.
                if followed.get(&child).is_some_and(|entry| entry.kept.is_none()) {
                    followed.remove(&child);
                }
                return false;
            }
            Heard::Fork { parent, child, at } => {
                // Its birth may be heard of late here as well.
                followed.entry(child).or_default();
                ProcessEvent::Forked { parent, child, at }
            }
            Heard::Thread(pid) => {
                followed.entry(pid).and_modify(|entry| entry.threads = true);
                return false;
            }
            Heard::Exec(pid) if followed.contains_key(&pid) => {
                self.doubts.remove(&pid);
                ProcessEvent::Execed(pid)
            }
            Heard::Exec(_) => return false,
            Heard::Exit { pid, status } => {
                let Some(entry) = followed.get(&pid).copied() else { return false };
                drop(followed);
                if entry.threads && self.goes_on(pid, entry.kept) {
                    self.doubts.insert(pid, Doubt { status, heard: true });
                    return false;
                }
                return self.end(pid, status);
            }
            Heard::ThreadExit { pid, status } => {
                if let Some(doubt) = self.doubts.get_mut(&pid) {
                    doubt.heard = true;
                    // Threads that are made to end together end alike: wait(2). Of others nobody knows which counts.
                    doubt.status = doubt.status.filter(|before| Some(*before) == status);
                }
                return false;
            }
        };
        drop(followed);
        self.send(event)
    }

    /// Whether the process has not ended. Not certain of one that is about to: its threads end one after the other.
    fn goes_on(&self, pid: Pid, known: Option<ProcessKey>) -> bool {
        let mut buffer = [0; TEXT_BYTES];
        let stat = self.procfs.open_file(pid, "stat").and_then(|file| self.procfs.stat(file, pid, &mut buffer));
        stat.is_ok_and(|stat| {
            let same = known.is_none_or(|process| process.start_ticks == stat.start_ticks);
            same && stat.state != ProcessState::Zombie
        })
    }

    /// Looks again at those that may go on, if something was heard of them. Returns whether something was passed on.
    fn settle_doubts(&mut self) -> bool {
        let heard: Vec<Pid> = self.doubts.iter().filter(|(_, doubt)| doubt.heard).map(|(pid, _)| *pid).collect();
        let mut told = false;
        for pid in heard {
            let known = self.shared.followed().get(&pid).and_then(|entry| entry.kept);
            if self.goes_on(pid, known) {
                self.doubts.entry(pid).and_modify(|doubt| doubt.heard = false);
            } else {
                let status = self.doubts.get(&pid).and_then(|doubt| doubt.status);
                told |= self.end(pid, status);
            }
        }
        told
    }

    /// It has ended: it is followed no more, and if that is asked for, told.
    fn end(&mut self, pid: Pid, status: Option<ExitStatus>) -> bool {
        self.doubts.remove(&pid);
        let ended = self.shared.followed().remove(&pid).filter(|entry| entry.ends);
        match ended.and_then(|entry| entry.kept) {
            Some(process) => self.send(ProcessEvent::Exited { process, status }),
            None => false,
        }
    }

    fn send(&mut self, event: ProcessEvent) -> bool {
        match self.events.try_send(event) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                self.lost = true;
                true
            }
            // The receiver goes only with the source, which stops this thread first.
            Err(TrySendError::Disconnected(_)) => false,
        }
    }
}
