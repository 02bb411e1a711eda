//! The end of a process, told by its pidfd.
//!
//! A pidfd turns readable when its process ends, and hangs up when that is reaped: pidfd_open(2). All are on one
//! epoll, edge-triggered, so that a zombie nobody waits for costs no second wake. One thread waits there; what it
//! finds it sends, and wakes the one who drains.
//!
//! How a process ended is known at the first edge from the zombie's `stat`, where we may see it, else at the second
//! from `PIDFD_GET_INFO` (Linux 6.15), else never. An end is told once with its status, or twice: without it, then
//! with it or, once it is certain that it stays unknown, without it again.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};
use rustix::thread::CapabilitySet;

use super::kernel::{ExitInfo, exit_info};
use super::procfs::{Credentials, Procfs, TEXT_BYTES};
use crate::model::{ExitStatus, ProcessEvent, ProcessKey, ProcessState};
use crate::process::common::{Wake, Worker};

/// Ends looked at per wake.
const BATCH: usize = 64;
/// What epoll says for the order to stop; watches count from 1.
const STOP: u64 = 0;

/// Watches the ends of processes until dropped.
pub(super) struct Exits {
    shared: Arc<Shared>,
    worker: Worker,
    /// As many as there are ends of processes that we watch.
    events: Receiver<ProcessEvent>,
    /// What epoll says for each watched process.
    numbers: HashMap<ProcessKey, u64>,
    last: u64,
}

struct Shared {
    epoll: OwnedFd,
    stop: OwnedFd,
    watched: Mutex<HashMap<u64, Watched>>,
}

struct Watched {
    process: ProcessKey,
    pidfd: OwnedFd,
    /// Its end was told, without the status.
    told: bool,
}

impl Exits {
    /// Starts the thread, which calls `wake` when there is something to drain.
    ///
    /// # Errors
    /// When the kernel has no descriptor or thread for us.
    pub(super) fn start(procfs: Arc<Procfs>, wake: Wake) -> io::Result<Exits> {
        let shared = Arc::new(Shared {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            stop: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            watched: Mutex::new(HashMap::new()),
        });
        epoll::add(&shared.epoll, &shared.stop, EventData::new_u64(STOP), EventFlags::IN)?;
        let (sender, events) = mpsc::channel();
        let waiter =
            Waiter { shared: shared.clone(), procfs, events: sender, wake: Arc::clone(&wake), access: Access::ours() };
        let worker = Worker::start("process-exits", wake, move || waiter.run())?;
        Ok(Exits { shared, worker, events, numbers: HashMap::new(), last: STOP })
    }

    /// How many pidfds are open: none for a process whose end was told in full.
    pub(super) fn pidfds(&self) -> usize {
        self.shared.lock().len()
    }

    /// Tells the end of `process`, whose pidfd this is, also if it has ended already.
    pub(super) fn watch(&mut self, process: ProcessKey, pidfd: OwnedFd) -> io::Result<()> {
        self.last += 1;
        let mut watched = self.shared.lock();
        epoll::add(&self.shared.epoll, &pidfd, EventData::new_u64(self.last), EventFlags::IN | EventFlags::ET)?;
        watched.insert(self.last, Watched { process, pidfd, told: false });
        drop(watched);
        self.numbers.insert(process, self.last);
        Ok(())
    }

    /// What was told before may still be drained.
    pub(super) fn forget(&mut self, process: ProcessKey) {
        if let Some(number) = self.numbers.remove(&process) {
            self.shared.remove(number);
        }
    }

    /// Appends the ends that were told since the last call.
    ///
    /// # Panics
    /// With the panic of the thread, if it had one.
    pub(super) fn drain(&mut self, events: &mut Vec<ProcessEvent>) {
        events.extend(self.events.try_iter());
        self.worker.check();
    }
}

impl Drop for Exits {
    fn drop(&mut self) {
        if rustix::io::write(&self.shared.stop, &1u64.to_ne_bytes()).is_ok() {
            self.worker.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Watched>> {
        self.watched.lock().expect("the other holder of this lock has panicked")
    }

    fn remove(&self, number: u64) {
        if let Some(watched) = self.lock().remove(&number) {
            // Before it is closed: a child forked at this moment has a copy, and epoll would go on with that.
            let _ = epoll::delete(&self.epoll, &watched.pidfd);
        }
    }
}

/// What the thread has.
struct Waiter {
    shared: Arc<Shared>,
    procfs: Arc<Procfs>,
    events: Sender<ProcessEvent>,
    wake: Wake,
    access: Access,
}

impl Waiter {
    fn run(self) {
        let (mut ready, mut over) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
        loop {
            ready.clear();
            match epoll::wait(&self.shared.epoll, spare_capacity(&mut ready), None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => panic!("cannot wait for the ends of processes: {errno}"),
            }
            let mut told = false;
            for &Event { data, flags, .. } in &ready {
                match data.u64() {
                    STOP => return,
                    number => told |= self.tell(number, flags.contains(EventFlags::HUP), &mut over),
                }
            }
            if told {
                (self.wake)();
            }
            // After the news, which need not wait for this.
            over.drain(..).for_each(|number| self.shared.remove(number));
        }
    }

    /// Tells what is new about an end; `reaped` is that there will be no further edge. `over`: of whom there is nothing more
    /// to tell. `false`: nothing was sent.
    fn tell(&self, number: u64, reaped: bool, over: &mut Vec<u64>) -> bool {
        let mut watched = self.shared.lock();
        // Released since epoll spoke.
        let Some(entry) = watched.get_mut(&number) else { return false };
        let status = match self.end(entry, reaped) {
            End::NotYet => return false,
            End::Final(status) => Some(status),
            End::Pending => None,
        };
        let process = entry.process;
        let send = |status| {
            // The receiver goes only with the source, which stops this thread first.
            let _ = self.events.send(ProcessEvent::Exited { process, status });
        };
        let first = !entry.told;
        entry.told = true;
        if first {
            send(status.flatten());
        }
        let Some(last) = status else { return first };
        if !first || last.is_none() {
            send(last);
        }
        over.push(number);
        true
    }

    fn end(&self, entry: &Watched, reaped: bool) -> End {
        let info = exit_info(entry.pidfd.as_fd());
        if let ExitInfo::Known(status) = info {
            return End::Final(status);
        }
        let seen = if reaped { Zombie::Unseen } else { self.zombie(entry.process) };
        match seen {
            Zombie::Alive => End::NotYet,
            Zombie::Ended(status) => End::Final(Some(status)),
            // Where the question is not understood, a reaped process may not hang up either (that is Linux 6.9).
            Zombie::Unseen if reaped || info == ExitInfo::Refused => End::Final(None),
            Zombie::Unseen => End::Pending,
        }
    }

    /// What `/proc` shows of a process whose pidfd has turned readable.
    fn zombie(&self, process: ProcessKey) -> Zombie {
        let mut buffer = [0; TEXT_BYTES];
        let Ok(file) = self.procfs.open_file(process.pid, "stat") else { return Zombie::Unseen };
        let may_see =
            self.access.everyone || self.procfs.credentials(process.pid).is_ok_and(|whose| whose == self.access.own);
        let Ok(stat) = self.procfs.stat_of(file, process, &mut buffer) else { return Zombie::Unseen };
        // Linux before 6.16 may say too early that a process ends whose first thread ended, or that calls exec on another
        // thread. Another edge follows.
        if stat.state != ProcessState::Zombie {
            return Zombie::Alive;
        }
        stat.exit(may_see).map_or(Zombie::Unseen, Zombie::Ended)
    }
}

/// What can be said of an end.
enum End {
    NotYet,
    Pending,
    Final(Option<ExitStatus>),
}

/// What is to be seen of a zombie.
enum Zombie {
    Alive,
    Ended(ExitStatus),
    Unseen,
}

/// Whose wait status the kernel shows us: that of everyone with `CAP_SYS_PTRACE`, otherwise that of our own user and
/// group. ptrace(2), "Ptrace access mode checking".
#[derive(Clone, Copy)]
struct Access {
    everyone: bool,
    own: Credentials,
}

impl Access {
    fn ours() -> Access {
        let everyone = rustix::thread::capabilities(None)
            .is_ok_and(|capabilities| capabilities.effective.contains(CapabilitySet::SYS_PTRACE));
        Access { everyone, own: Credentials { uid: geteuid().as_raw(), gid: getegid().as_raw() } }
    }
}
