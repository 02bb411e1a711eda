//! Every fork, exec and exit on the host, told by the kernel's proc connector: Documentation/driver-api/connector.rst
//! and include/uapi/linux/cn_proc.h.
//!
//! What a process of ours starts is ours, even if it belongs to process 1 a millisecond later: only the fork itself says
//! so. Since Linux 6.6 listening needs no right; before that, `CAP_NET_ADMIN`. It works in the host's own namespaces
//! only. One thread listens. It passes on what concerns the kept processes and whatever descends from them, and sleeps a
//! moment between two looks while there is much to hear: woken for each event it would cost five times as much.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with};

use crate::model::{ExitStatus, Mono, Pid, ProcessEvent, ProcessKey};
use crate::process::common::{EVENTS, Wake, Worker};

/// `CN_IDX_PROC`, also the number of the multicast group, and `CN_VAL_PROC`.
const CONNECTOR: u32 = 1;
/// `PROC_CN_MCAST_LISTEN`, and the kinds of events: `enum proc_cn_event`.
const LISTEN: u32 = 1;
const FORK: u32 = 0x0000_0001;
const EXEC: u32 = 0x0000_0002;
const EXIT: u32 = 0x8000_0000;

/// `nlmsghdr` and `cn_msg`, before the event.
const HEADER_BYTES: usize = 16 + 20;
/// Where the acknowledgement number of a `cn_msg` stands: an answer has that of its request plus one.
const ACKNOWLEDGED_AT: usize = 16 + 12;
/// Where the event's own data begin: after its kind, a processor and a time.
const DATA_AT: usize = 16;

/// Room for the events of a busy moment, if the kernel grants it.
const BUFFER_BYTES: usize = 4 << 20;

/// How long the kernel may take to confirm that we listen. It does so before it returns.
const CONFIRMATION: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

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
    /// Of whom events are passed on: the kept processes, with their identity, and what they started since, without.
    followed: Mutex<HashMap<Pid, Option<ProcessKey>>>,
}

impl Connector {
    /// Starts listening. `None` where the kernel does not let us.
    ///
    /// # Errors
    /// When the kernel has no thread for us.
    pub(super) fn start(wake: Wake) -> io::Result<Option<Connector>> {
        let Ok(socket) = listen() else { return Ok(None) };
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let shared = Arc::new(Shared { socket, stop, followed: Mutex::new(HashMap::new()) });
        let (sender, events) = mpsc::sync_channel(EVENTS);
        let listener = Listener { shared: Arc::clone(&shared), events: sender, wake: Arc::clone(&wake), lost: false };
        let worker = Worker::start("process-forks", wake, move || listener.run())?;
        Ok(Some(Connector { shared, worker, events }))
    }

    /// From now on events of this process and of what it starts are passed on. Whether those of its number were before.
    pub(super) fn follow(&self, process: ProcessKey) -> bool {
        self.shared.followed().insert(process.pid, Some(process)).is_some()
    }

    /// It turned out to have ended. `known`: what [`follow`](Connector::follow) said. If its end was heard of already,
    /// nobody will take its number out again.
    pub(super) fn take_back(&self, process: ProcessKey, known: bool) {
        if known {
            return self.forget(process);
        }
        let mut followed = self.shared.followed();
        if followed.get(&process.pid) == Some(&Some(process)) {
            followed.remove(&process.pid);
        }
    }

    /// This process is not kept any more. What it started is still followed, also if that is heard of later than that it
    /// ended: so its number stays until its end is heard of.
    pub(super) fn forget(&self, process: ProcessKey) {
        let mut followed = self.shared.followed();
        if let Some(entry) = followed.get_mut(&process.pid).filter(|entry| **entry == Some(process)) {
            *entry = None;
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
    fn followed(&self) -> MutexGuard<'_, HashMap<Pid, Option<ProcessKey>>> {
        self.followed.lock().expect("the other holder of this lock has panicked")
    }
}

/// What the thread has.
struct Listener {
    shared: Arc<Shared>,
    events: SyncSender<ProcessEvent>,
    wake: Wake,
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
                if followed.get(&child) == Some(&None) {
                    followed.remove(&child);
                }
                return false;
            }
            Heard::Fork { parent, child, at } => {
                followed.insert(child, None);
                ProcessEvent::Forked { parent, child, at }
            }
            Heard::Exec(pid) if followed.contains_key(&pid) => ProcessEvent::Execed(pid),
            Heard::Exec(_) => return false,
            Heard::Exit { pid, status } => match followed.remove(&pid) {
                Some(Some(process)) => ProcessEvent::Exited { process, status },
                Some(None) | None => return false,
            },
        };
        drop(followed);
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

/// What the kernel tells of a process. Of threads it tells the same, which is left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Heard {
    Fork { parent: Pid, child: Pid, at: Mono },
    Exec(Pid),
    Exit { pid: Pid, status: Option<ExitStatus> },
}

impl Heard {
    /// Reads a message with a `struct proc_event`; `None` for all else.
    fn parse(message: &[u8]) -> Option<Heard> {
        let event = message.get(HEADER_BYTES..)?;
        let word = |index: usize| number(event, DATA_AT + 4 * index);
        let pid = |index| Pid::new(i64::from(word(index)?));
        match number(event, 0)? {
            // Of four numbers: the parent's thread and process, the child's thread and process.
            FORK if word(2) == word(3) => {
                let at = u64::from_ne_bytes(*event.get(8..)?.first_chunk()?);
                Some(Heard::Fork { parent: pid(1)?, child: pid(3)?, at: Mono(at) })
            }
            EXEC => Some(Heard::Exec(pid(1)?)),
            EXIT if word(0) == word(1) => {
                let status = ExitStatus::from_wait(i32::from_ne_bytes(word(2)?.to_ne_bytes()));
                Some(Heard::Exit { pid: pid(1)?, status })
            }
            _ => None,
        }
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A socket on which the kernel tells forks, execs and exits.
fn listen() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(netlink::CONNECTOR))?;
    // Beyond the usual limit only with the right to; as much as there is otherwise.
    let _ = set_socket_recv_buffer_size_force(&socket, BUFFER_BYTES)
        .or_else(|_| set_socket_recv_buffer_size(&socket, BUFFER_BYTES));
    bind(&socket, &SocketAddrNetlink::new(0, CONNECTOR))?;
    sendto(&socket, &asking(&[LISTEN]), SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    if !is_confirmed(&socket)? {
        return Err(Errno::PERM);
    }
    // A choice of kinds is not confirmed, because the answer is none of them; before Linux 6.6 it is passed over.
    sendto(&socket, &asking(&[LISTEN, FORK | EXEC | EXIT]), SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    Ok(socket)
}

/// Whether the kernel said that it will tell us. Real events may come before it says so, and answers to others.
fn is_confirmed(socket: &OwnedFd) -> Result<bool, Errno> {
    let mut buffer = [0; 512];
    while wait(&[socket], Some(&CONFIRMATION))[0] {
        let (_, length) = match recv(socket, &mut buffer[..], RecvFlags::DONTWAIT) {
            Err(Errno::NOBUFS | Errno::AGAIN | Errno::INTR) => continue,
            known => known?,
        };
        let message = buffer.get(..length).unwrap_or_default();
        let event = message.get(HEADER_BYTES..).unwrap_or_default();
        // An event of no kind is the answer to a request: its data are an errno.
        if number(event, 0) == Some(0) && number(message, ACKNOWLEDGED_AT) == Some(token() + 1) {
            return Ok(number(event, DATA_AT) == Some(0));
        }
    }
    Ok(false)
}

/// Tells the answers to our requests from those to others, which come to everyone who listens.
fn token() -> u32 {
    std::process::id()
}

/// A message to the connector: netlink(7), and `struct cn_msg` of include/uapi/linux/connector.h.
fn asking(request: &[u32]) -> Vec<u8> {
    const DONE: u16 = 3; // NLMSG_DONE
    let data: Vec<u8> = request.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let length = u32::try_from(HEADER_BYTES + data.len()).expect("a few bytes");
    let data_length = u16::try_from(data.len()).expect("a few bytes");
    let mut message = Vec::with_capacity(HEADER_BYTES + data.len());
    message.extend(length.to_ne_bytes());
    message.extend(DONE.to_ne_bytes());
    message.extend([0; 10]); // flags, sequence, port
    message.extend(CONNECTOR.to_ne_bytes());
    message.extend(CONNECTOR.to_ne_bytes());
    message.extend([0; 4]); // sequence
    message.extend(token().to_ne_bytes());
    message.extend(data_length.to_ne_bytes());
    message.extend([0; 2]); // flags
    message.extend(data);
    message
}

/// Waits until one of the files has something to read, and says which.
fn wait<const N: usize>(files: &[&OwnedFd; N], time: Option<&Timespec>) -> [bool; N] {
    let mut polled = files.map(|file| PollFd::new(file, PollFlags::IN));
    match poll(&mut polled, time) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => panic!("cannot wait for forks: {errno}"),
    }
    polled.map(|file| !file.revents().is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(kind: u32, data: &[u32]) -> Vec<u8> {
        let mut message = vec![0; HEADER_BYTES];
        message.extend(kind.to_ne_bytes());
        message.extend(0u32.to_ne_bytes());
        message.extend(77u64.to_ne_bytes());
        message.extend(data.iter().flat_map(|word| word.to_ne_bytes()));
        message
    }

    #[test]
    fn events() {
        let pid = |number| Pid::new(number).unwrap();
        let forked = Heard::Fork { parent: pid(10), child: pid(20), at: Mono(77) };
        let exited = |status| Heard::Exit { pid: pid(20), status: Some(status) };
        for (message, expected) in [
            (message(FORK, &[11, 10, 20, 20]), Some(forked)),
            (message(FORK, &[10, 10, 21, 20]), None), // a thread
            (message(EXEC, &[21, 20]), Some(Heard::Exec(pid(20)))),
            (message(EXIT, &[20, 20, 9, 17, 1, 1]), Some(exited(ExitStatus::Signal(9)))),
            (message(EXIT, &[20, 20, 7 << 8, 17, 1, 1]), Some(exited(ExitStatus::Code(7)))),
            (message(EXIT, &[21, 20, 0, 0, 1, 1]), None), // a thread
            (message(0, &[0]), None),
            (message(FORK, &[1, 1, 2]), None),
            (Vec::new(), None),
        ] {
            assert_eq!(Heard::parse(&message), expected);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(message in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = Heard::parse(&message);
        }
    }
}
