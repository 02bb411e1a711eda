//! The proc connector as it is spoken: netlink(7), include/uapi/linux/connector.h and cn_proc.h.

use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with};

use crate::model::{ExitStatus, Mono, Pid};

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

/// What the kernel tells of a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Heard {
    Fork {
        parent: Pid,
        child: Pid,
        at: Mono,
    },
    /// It has one more thread.
    Thread(Pid),
    Exec(Pid),
    /// Its first thread ended. Mostly all of it has: the others may go on, or one of them take its place to run another
    /// program.
    Exit {
        pid: Pid,
        status: Option<ExitStatus>,
    },
    /// Another of its threads ended.
    ThreadExit {
        pid: Pid,
        status: Option<ExitStatus>,
    },
}

impl Heard {
    /// Reads a message with a `struct proc_event`; `None` for all else.
    pub(super) fn parse(message: &[u8]) -> Option<Heard> {
        let event = message.get(HEADER_BYTES..)?;
        let word = |index: usize| number(event, DATA_AT + 4 * index);
        let pid = |index| Pid::new(i64::from(word(index)?));
        match number(event, 0)? {
            // Of four numbers: the parent's thread and process, the child's thread and process.
            FORK if word(2) == word(3) => {
                let at = u64::from_ne_bytes(*event.get(8..)?.first_chunk()?);
                Some(Heard::Fork { parent: pid(1)?, child: pid(3)?, at: Mono(at) })
            }
            FORK => Some(Heard::Thread(pid(3)?)),
            EXEC => Some(Heard::Exec(pid(1)?)),
            EXIT => {
                let status = ExitStatus::from_wait(i32::from_ne_bytes(word(2)?.to_ne_bytes()));
                let (pid, first) = (pid(1)?, word(0) == word(1));
                Some(if first { Heard::Exit { pid, status } } else { Heard::ThreadExit { pid, status } })
            }
            _ => None,
        }
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A socket on which the kernel tells forks, execs and exits.
pub(super) fn listen() -> Result<OwnedFd, Errno> {
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
pub(super) fn wait<const N: usize>(files: &[&OwnedFd; N], time: Option<&Timespec>) -> [bool; N] {
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
        let thread = Heard::ThreadExit { pid: pid(20), status: Some(ExitStatus::Code(0)) };
        let exited = |status| Heard::Exit { pid: pid(20), status: Some(status) };
        for (message, expected) in [
            (message(FORK, &[11, 10, 20, 20]), Some(forked)),
            (message(FORK, &[10, 10, 21, 20]), Some(Heard::Thread(pid(20)))),
            (message(EXEC, &[21, 20]), Some(Heard::Exec(pid(20)))),
            (message(EXIT, &[20, 20, 9, 17, 1, 1]), Some(exited(ExitStatus::Signal(9)))),
            (message(EXIT, &[20, 20, 7 << 8, 17, 1, 1]), Some(exited(ExitStatus::Code(7)))),
            (message(EXIT, &[21, 20, 0, 0, 1, 1]), Some(thread)),
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
