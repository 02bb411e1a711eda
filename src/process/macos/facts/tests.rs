#![allow(clippy::unwrap_used, reason = "a test")]

use std::mem::offset_of;

use super::*;

/// The structures as Apple's headers declare them, what is not looked at by its size alone: the compiler lays them out as
/// C does, so that an offset that was counted wrongly shows.
mod c {
    use std::ffi::{c_char, c_int, c_short, c_uint, c_void};

    type Pointer = *mut c_void;

    #[repr(C)]
    pub(super) struct Timeval {
        pub(super) tv_sec: i64,
        pub(super) tv_usec: i32,
    }

    #[repr(C)]
    pub(super) struct ExternProc {
        pub(super) p_starttime: Timeval,
        p_vmspace: Pointer,
        p_sigacts: Pointer,
        pub(super) p_flag: c_int,
        pub(super) p_stat: c_char,
        pub(super) p_pid: i32,
        p_oppid: i32,
        p_dupfd: c_int,
        user_stack: Pointer,
        exit_thread: Pointer,
        p_debugger: c_int,
        sigwait: c_uint,
        p_estcpu: c_uint,
        p_cpticks: c_int,
        p_pctcpu: u32,
        p_wchan: Pointer,
        p_wmesg: Pointer,
        p_swtime: c_uint,
        p_slptime: c_uint,
        p_realtimer: [Timeval; 2],
        p_rtime: Timeval,
        p_uticks: u64,
        p_sticks: u64,
        p_iticks: u64,
        p_traceflag: c_int,
        p_tracep: Pointer,
        p_siglist: c_int,
        p_textvp: Pointer,
        p_holdcnt: c_int,
        p_sigmask: u32,
        p_sigignore: u32,
        p_sigcatch: u32,
        p_priority: u8,
        p_usrpri: u8,
        p_nice: c_char,
        pub(super) p_comm: [c_char; 17],
        p_pgrp: Pointer,
        p_addr: Pointer,
        pub(super) p_xstat: u16,
        p_acflag: u16,
        p_ru: Pointer,
    }

    #[repr(C)]
    struct Pcred {
        pc_lock: [c_char; 72],
        pc_ucred: Pointer,
        p_ruid: u32,
        p_svuid: u32,
        p_rgid: u32,
        p_svgid: u32,
        p_refcnt: c_int,
    }

    #[repr(C)]
    pub(super) struct Ucred {
        cr_ref: i32,
        pub(super) cr_uid: u32,
        cr_ngroups: c_short,
        cr_groups: [u32; 16],
    }

    #[repr(C)]
    struct Vmspace {
        dummy: i32,
        dummy2: Pointer,
        dummy3: [i32; 5],
        dummy4: [Pointer; 3],
    }

    #[repr(C)]
    pub(super) struct Eproc {
        e_paddr: Pointer,
        e_sess: Pointer,
        e_pcred: Pcred,
        pub(super) e_ucred: Ucred,
        e_vm: Vmspace,
        pub(super) e_ppid: i32,
        pub(super) e_pgid: i32,
        e_jobc: c_short,
        e_tdev: i32,
        e_tpgid: i32,
        e_tsess: Pointer,
        e_wmesg: [c_char; 8],
        e_xsize: i32,
        e_xrssize: c_short,
        e_xccount: c_short,
        e_xswrss: c_short,
        e_flag: i32,
        e_login: [c_char; 12],
        e_spare: [i32; 4],
    }

    #[repr(C)]
    pub(super) struct KinfoProc {
        pub(super) kp_proc: ExternProc,
        pub(super) kp_eproc: Eproc,
    }
}

#[test]
fn everything_is_where_c_puts_it() {
    use c::{KinfoProc, Timeval};
    assert_eq!(size_of::<KinfoProc>(), KINFO_BYTES);
    let start = offset_of!(KinfoProc, kp_proc.p_starttime);
    assert_eq!(at::START_SECONDS, start + offset_of!(Timeval, tv_sec));
    assert_eq!(at::START_US, start + offset_of!(Timeval, tv_usec));
    assert_eq!(at::FLAG, offset_of!(KinfoProc, kp_proc.p_flag));
    assert_eq!(at::STAT, offset_of!(KinfoProc, kp_proc.p_stat));
    assert_eq!(at::PID, offset_of!(KinfoProc, kp_proc.p_pid));
    assert_eq!(at::COMM, offset_of!(KinfoProc, kp_proc.p_comm));
    assert_eq!(at::XSTAT, offset_of!(KinfoProc, kp_proc.p_xstat));
    assert_eq!(at::UID, offset_of!(KinfoProc, kp_eproc.e_ucred.cr_uid));
    assert_eq!(at::PPID, offset_of!(KinfoProc, kp_eproc.e_ppid));
    assert_eq!(at::PGID, offset_of!(KinfoProc, kp_eproc.e_pgid));
}

/// Process 4711, child of 1, of group 4710 and user 501, which began 1.5 s after the epoch.
pub(crate) fn kinfo() -> Vec<u8> {
    let mut bytes = vec![0; KINFO_BYTES];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(at::START_SECONDS, &1i64.to_ne_bytes());
    put(at::START_US, &500_000i32.to_ne_bytes());
    put(at::STAT, &[2]);
    put(at::PID, &4711i32.to_ne_bytes());
    put(at::COMM, b"node\0rubbish");
    put(at::UID, &501u32.to_ne_bytes());
    put(at::PPID, &1i32.to_ne_bytes());
    put(at::PGID, &4710i32.to_ne_bytes());
    bytes
}

fn with(at: usize, value: &[u8]) -> Facts {
    let mut bytes = kinfo();
    bytes[at..at + value.len()].copy_from_slice(value);
    Facts::parse(&bytes).unwrap()
}

#[test]
fn a_process_as_it_is() {
    let facts = Facts::parse(&kinfo()).unwrap();
    let pid = |number| Pid::new(number);
    assert_eq!((Some(facts.pid), facts.parent, facts.group), (pid(4711), pid(1), pid(4710)));
    assert_eq!((facts.uid, facts.start_us, &*facts.name), (501, 1_500_000, "node"));
    assert_eq!((facts.kernel, facts.exiting), (false, false));
    assert_eq!(facts.key(), ProcessKey { start_ticks: 1_500_000, pid: facts.pid });
    assert!(with(at::FLAG, &SYSTEM.to_ne_bytes()).kernel);
    assert_eq!(with(at::PPID, &0i32.to_ne_bytes()).parent, None);
    assert_eq!(&*with(at::COMM, &[b'x'; 17]).name, "x".repeat(16), "no end to it");
    assert_eq!(&*with(at::COMM, b"\xff\0").name, "\u{fffd}");
}

#[test]
fn what_it_is_doing() {
    let living = Facts::parse(&kinfo()).unwrap();
    assert_eq!(living.state(None), ProcessState::Other, "running and sleeping are not told apart");
    assert_eq!((living.state(Some(0)), living.state(Some(2))), (ProcessState::Sleeping, ProcessState::Running));
    assert_eq!(with(at::STAT, &[STOPPED]).state(Some(1)), ProcessState::Stopped);
    assert_eq!(with(at::STAT, &[ZOMBIE]).state(None), ProcessState::Zombie);
}

#[test]
fn how_it_ended() {
    let (code, signal) = (0x0700u16.to_ne_bytes(), 9u16.to_ne_bytes());
    assert_eq!(with(at::XSTAT, &code).ended(), None, "it lives, whatever stands there");
    for (at, value) in [(at::STAT, vec![ZOMBIE]), (at::FLAG, EXITING.to_ne_bytes().to_vec())] {
        let mut facts = with(at, &value);
        assert_eq!(facts.ended(), Some(ExitStatus::Code(0)));
        facts.exit = u16::from_ne_bytes(code);
        assert_eq!(facts.ended(), Some(ExitStatus::Code(7)));
        facts.exit = u16::from_ne_bytes(signal);
        assert_eq!(facts.ended(), Some(ExitStatus::Signal(9)));
    }
}

#[test]
fn a_table_of_them() {
    let kernel = vec![0; KINFO_BYTES];
    let (mut other, cut) = (kinfo(), [1; 7]);
    other[at::PID] ^= 1;
    let (found, odd) = Facts::parse_all(&[kinfo(), kernel, other, cut.to_vec()].concat());
    let pids: Vec<u32> = found.iter().map(|facts| facts.pid.get()).collect();
    assert_eq!((pids, odd), (vec![4711, 4710], 1));
    assert_eq!(Facts::parse_all(&[]), (vec![], 0));
}

#[test]
fn what_is_no_process() {
    for length in [0, 1, KINFO_BYTES - 1, KINFO_BYTES + 1] {
        assert_eq!(Facts::parse(&vec![1; length]), None, "{length}");
    }
    assert_eq!(Facts::parse(&[0; KINFO_BYTES]), None, "the kernel");
    assert_eq!(Facts::parse(&[0xff; KINFO_BYTES]), None, "a time before time, and no number");
}
