//! What becomes of the processes that are kept, told by kqueue(2), `EVFILT_PROC`.
//!
//! One thread waits. Of a root it hears the end and, since macOS lets whoever may signal a process ask for it
//! (`filt_procattach` of Apple's xnu; before, its parent alone), how it ended; where it may not, that stands in the process
//! table until somebody has waited for it, for all to see. An end is told as the trait wants it: once with its status, or
//! twice without.
//!
//! Of every process that is kept it hears that it forked, not whom: its children are looked at then, and those that are
//! new are told. One that is given away by its parent sooner than that is missed, so scans go on. Nobody is woken for it.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard};

use nix::errno::Errno;
use nix::sys::event::{EvFlags, EventFilter, FilterFlag, KEvent, Kqueue};

use super::facts::Facts;
use super::kernel;
use super::table;
use crate::clock::monotonic;
use crate::model::{ExitStatus, Pid, ProcessEvent, ProcessKey};
use crate::process::Watch;
use crate::process::common::{EVENTS, Wake, Worker};

/// Events looked at per wake.
const BATCH: usize = 64;
/// The number of the order to stop; watches count from 1.
const STOP: isize = 0;

/// Watches processes until dropped.
pub(super) struct Events {
    shared: Arc<Shared>,
    worker: Worker,
    /// The number that is said for each.
    numbers: HashMap<ProcessKey, isize>,
    last: isize,
    /// Of those that had ended before they could be watched.
    exits: Sender<ProcessEvent>,
    /// As many as there are ends of processes that we watch.
    ended: Receiver<ProcessEvent>,
    /// All else: bounded, since anyone can fork much.
    others: Receiver<ProcessEvent>,
    wake: Wake,
}

struct Shared {
    queue: Kqueue,
    watched: Mutex<HashMap<isize, Watched>>,
}

struct Watched {
    process: ProcessKey,
    watch: Watch,
    /// Those it had when it was last looked at.
    children: HashSet<Pid>,
}

impl Events {
    /// Starts the thread, which calls `wake` when there is an end to drain.
    ///
    /// # Errors
    /// When the kernel has no queue or thread for us.
    pub(super) fn start(wake: Wake) -> io::Result<Events> {
        let shared = Arc::new(Shared { queue: Kqueue::new()?, watched: Mutex::new(HashMap::new()) });
        shared.change(EventFilter::EVFILT_USER, 0, EvFlags::EV_ADD | EvFlags::EV_CLEAR, FilterFlag::empty(), STOP)?;
        let (exits, ended) = mpsc::channel();
        let (told, others) = mpsc::sync_channel(EVENTS);
        let waiter = Waiter {
            shared: Arc::clone(&shared),
            exits: exits.clone(),
            others: told,
            lost: false,
            wake: Arc::clone(&wake),
        };
        let worker = Worker::start("process-events", Arc::clone(&wake), move || waiter.run())?;
        Ok(Events { shared, worker, numbers: HashMap::new(), last: STOP, exits, ended, others, wake })
    }

    /// Begins to watch `process`, if the kernel can: it does not know the dead any more. Whether it is that process is
    /// still to be seen.
    pub(super) fn watch(&mut self, process: ProcessKey, watch: Watch) {
        self.last += 1;
        let number = self.last;
        let wanted = FilterFlag::NOTE_FORK | FilterFlag::NOTE_EXEC;
        let end = FilterFlag::NOTE_EXIT;
        let add = |flags| {
            let pid = process.pid.get() as usize;
            self.shared.change(EventFilter::EVFILT_PROC, pid, EvFlags::EV_ADD, flags, number)
        };
        let children = kernel::children(process.pid).into_iter().collect();
        // Before it is asked for: what is told is of one that is known.
        self.shared.lock().insert(number, Watched { process, watch, children });
        let added = match watch {
            Watch::Counters => add(wanted),
            Watch::Exit => match add(wanted | end | FilterFlag::NOTE_EXITSTATUS) {
                Err(Errno::EACCES) => add(wanted | end),
                added => added,
            },
        };
        match added {
            Ok(()) => drop(self.numbers.insert(process, number)),
            // Without a place in the queue it is as one that nothing is told of: reading finds it gone.
            Err(_) => drop(self.shared.lock().remove(&number)),
        }
    }

    /// Tells the end of one that had ended before it could be watched.
    pub(super) fn tell_ended(&mut self, process: ProcessKey, status: Option<ExitStatus>) {
        let told_by_thread = self.numbers.remove(&process).is_some_and(|number| self.shared.take(number).is_none());
        if !told_by_thread {
            send_end(&self.exits, process, status);
            (self.wake)();
        }
    }

    /// What was told before may still be drained.
    pub(super) fn forget(&mut self, process: ProcessKey) {
        if let Some(number) = self.numbers.remove(&process) {
            self.shared.take(number);
        }
    }

    /// Appends what happened since the last call.
    ///
    /// # Panics
    /// With the panic of the thread, if it had one.
    pub(super) fn drain(&mut self, events: &mut Vec<ProcessEvent>) {
        events.extend(self.others.try_iter());
        events.extend(self.ended.try_iter());
        self.worker.check();
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let stop = FilterFlag::NOTE_TRIGGER;
        if self.shared.change(EventFilter::EVFILT_USER, 0, EvFlags::empty(), stop, STOP).is_ok() {
            self.worker.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashMap<isize, Watched>> {
        self.watched.lock().expect("the other holder of this lock has panicked")
    }

    fn change(
        &self,
        filter: EventFilter,
        ident: usize,
        flags: EvFlags,
        wanted: FilterFlag,
        number: isize,
    ) -> Result<(), Errno> {
        let change = KEvent::new(ident, filter, flags, wanted, 0, number);
        self.queue.kevent(&[change], &mut [], None).map(drop)
    }

    /// Ends a watch; none if it had ended.
    fn take(&self, number: isize) -> Option<Watched> {
        let taken = self.lock().remove(&number)?;
        let pid = taken.process.pid.get() as usize;
        // It may be gone, and its watch with it.
        let _ = self.change(EventFilter::EVFILT_PROC, pid, EvFlags::EV_DELETE, FilterFlag::empty(), number);
        Some(taken)
    }
}

/// What the thread has.
struct Waiter {
    shared: Arc<Shared>,
    exits: Sender<ProcessEvent>,
    others: SyncSender<ProcessEvent>,
    /// What others did not fit, which is still to be told.
    lost: bool,
    wake: Wake,
}

impl Waiter {
    fn run(mut self) {
        let nothing = KEvent::new(0, EventFilter::EVFILT_USER, EvFlags::empty(), FilterFlag::empty(), 0, STOP);
        let mut ready = [nothing; BATCH];
        loop {
            let count = match self.shared.queue.kevent(&[], &mut ready, None) {
                Ok(count) => count,
                Err(Errno::EINTR) => continue,
                Err(errno) => panic!("cannot wait for the ends of processes: {errno}"),
            };
            let mut told = false;
            for event in &ready[..count] {
                match event.udata() {
                    STOP => return,
                    number => told |= self.tell(number, event.fflags(), event.data()),
                }
            }
            if told {
                (self.wake)();
            }
        }
    }

    /// Tells what happened to one; whether that was its end.
    fn tell(&mut self, number: isize, what: FilterFlag, data: isize) -> bool {
        let mut watched = self.shared.lock();
        // Released since the kernel spoke.
        let Some(entry) = watched.get_mut(&number) else { return false };
        let (process, watch) = (entry.process, entry.watch);
        let mut others = Vec::new();
        if what.contains(FilterFlag::NOTE_FORK) {
            let children: HashSet<Pid> = kernel::children(process.pid).into_iter().collect();
            let at = monotonic();
            let new = children.difference(&entry.children);
            others.extend(new.map(|child| ProcessEvent::Forked { parent: process.pid, child: *child, at }));
            entry.children = children;
        }
        if what.contains(FilterFlag::NOTE_EXEC) {
            others.push(ProcessEvent::Execed(process.pid));
        }
        let ended = what.contains(FilterFlag::NOTE_EXIT) && watch == Watch::Exit;
        if ended {
            // The kernel has taken its own side of it out already.
            watched.remove(&number);
        }
        drop(watched);
        others.into_iter().for_each(|event| self.tell_other(event));
        if ended {
            let told = what.contains(FilterFlag::NOTE_EXITSTATUS);
            // The lower half: above are reasons that we did not ask for.
            let status =
                if told { ExitStatus::from_wait(i32::try_from(data & 0xffff).unwrap_or(0)) } else { seen(process) };
            send_end(&self.exits, process, status);
        }
        ended
    }

    fn tell_other(&mut self, event: ProcessEvent) {
        if self.lost && self.others.try_send(ProcessEvent::Lost).is_ok() {
            self.lost = false;
        }
        // The receiver goes only with the source, which stops this thread first.
        if let Err(TrySendError::Full(_)) = self.others.try_send(event) {
            self.lost = true;
        }
    }
}

/// How a process ended, as far as the table of processes still shows it.
fn seen(process: ProcessKey) -> Option<ExitStatus> {
    table::facts(process.pid).ok().filter(|facts| facts.key() == process).as_ref().and_then(Facts::ended)
}

/// Once with a status; twice without, since there will be none.
fn send_end(exits: &Sender<ProcessEvent>, process: ProcessKey, status: Option<ExitStatus>) {
    for _ in 0..if status.is_some() { 1 } else { 2 } {
        // The receiver goes only with the source, which ends this first.
        let _ = exits.send(ProcessEvent::Exited { process, status });
    }
}
