//! The Linux process source against real processes, and against a `/proc` of odd content.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::Read;
use std::num::NonZeroU64;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_monitor::model::{
    ExitStatus, Io, IoReading, Pid, ProcessEvent, ProcessKey, ProcessRow, ProcessState, Reading,
};
use agent_monitor::process::linux::{LinuxSource, Machine, raise_open_files};
use agent_monitor::process::{ProcessSource, ReadError, Scan, ScanCount, Watch};
use rustix::process::{WaitId, WaitIdOptions, geteuid, waitid};

/// Long enough for the slowest machine; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(30);
/// More than these tests need open at once.
const ENOUGH: usize = 4096;

// ---- who is who

#[test]
fn a_child_as_it_is() {
    let (mut source, child) = (source(), Sleeper::start());
    let row = source.look(child.pid()).unwrap();
    assert_eq!(row.key.pid, child.pid());
    assert_eq!(row.parent, Pid::new(std::process::id().into()));
    assert_eq!(&*row.name, "sleep");
    assert_eq!(row.uid, Some(geteuid().as_raw()));
    assert!(!row.kernel);
    assert!(row.age < Duration::from_secs(60), "{:?}", row.age);
    let ourselves = source.look(pid(std::process::id())).unwrap();
    assert_eq!((row.group, row.session), (ourselves.group, ourselves.session));
    assert!(ourselves.key.start_ticks <= row.key.start_ticks);

    let reading = watched(&mut source, &child, Watch::Counters);
    assert_eq!((reading.threads, reading.io), (1, IoReading::Skipped));
    assert_eq!(reading.rss_bytes, status_rss_bytes(child.pid()));
    assert!(reading.read_at <= source.now());
}

#[test]
fn who_is_not_there_is_gone() {
    let mut source = source();
    let (mut child, mut other) = (Sleeper::start(), Sleeper::start());
    let (key, unkept) = (source.look(child.pid()).unwrap().key, source.look(other.pid()).unwrap().key);
    source.keep(key, Watch::Counters).unwrap();
    child.end();
    other.end();
    assert_gone(source.read(key, true));
    assert_gone(source.read(unkept, false));
    assert_gone(source.keep(unkept, Watch::Exit));
    assert_gone(source.look(key.pid));
    assert_gone(source.look(Pid::new(i32::MAX.into()).unwrap()));
}

#[test]
fn a_thread_is_no_process() {
    let (tell, told) = mpsc::channel();
    let (stop, stopped) = mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        tell.send(rustix::thread::gettid().as_raw_nonzero().get()).unwrap();
        let _ = stopped.recv();
    });
    let number = told.recv().unwrap();
    assert!(fs::exists(format!("/proc/{number}/stat")).unwrap(), "/proc shows it all the same");
    assert_gone(source().look(Pid::new(number.into()).unwrap()));
    drop(stop);
    thread.join().unwrap();
}

/// The pid of a process that ended is given to another one.
#[test]
fn a_pid_that_is_used_again() {
    let mut source = source();
    let (old, reborn) = loop {
        let mut child = Sleeper::start();
        let old = source.look(child.pid()).unwrap().key;
        source.keep(old, Watch::Counters).unwrap();
        assert!(scan(&mut source, Scan::New).iter().all(|row| row.key != old), "a look has shown it");
        // Start ticks are 10 ms: the next one must begin in another.
        Command::new("sleep").arg("0.03").status().unwrap();
        child.end();
        match Sleeper::start_as(old.pid) {
            Ok(Some(reborn)) => break (old, reborn),
            Ok(None) => {} // somebody else has it: another one, then
            Err(error) => return eprintln!("cannot choose a pid: {error}"),
        }
    };
    assert_gone(source.read(old, true));
    assert_gone(source.keep(old, Watch::Counters));
    assert_gone(source.read(old, false));
    let found = scan(&mut source, Scan::New);
    let row = found.iter().find(|row| row.key.pid == old.pid).expect("a new process, though not a new pid");
    assert!(row.key.start_ticks > old.start_ticks);
    assert!(scan(&mut source, Scan::New).iter().all(|row| row.key.pid != old.pid));
    let reading = watched(&mut source, &reborn, Watch::Counters);
    assert_eq!(reading.threads, 1);
}

#[test]
fn the_account_even_of_a_zombie() {
    if !geteuid().is_root() {
        return eprintln!("not root: cannot start a process of another user");
    }
    let mut child = Sleeper(Command::new("sleep").arg("1000").uid(65534).gid(65534).spawn().unwrap());
    let mut source = source();
    assert_eq!(source.look(child.pid()).unwrap().uid, Some(65534));
    child.0.kill().unwrap();
    child.until(WaitIdOptions::EXITED);
    let row = source.look(child.pid()).unwrap();
    assert_eq!((row.state, row.uid), (ProcessState::Zombie, Some(65534)));
}

// ---- scans

#[test]
fn a_new_scan_shows_what_is_new() {
    let mut source = source();
    let (first, looked_at) = (Sleeper::start(), Sleeper::start());
    source.look(looked_at.pid()).unwrap();
    let new = |source: &mut LinuxSource, children: &[&Sleeper]| {
        let found = scan(source, Scan::New);
        children.iter().map(|child| found.iter().filter(|row| row.key.pid == child.pid()).count()).collect::<Vec<_>>()
    };
    assert_eq!(new(&mut source, &[&first, &looked_at]), [1, 0]);
    assert_eq!(new(&mut source, &[&first, &looked_at]), [0, 0]);
    let second = Sleeper::start();
    assert_eq!(new(&mut source, &[&first, &looked_at, &second]), [0, 0, 1]);
    let all = scan(&mut source, Scan::All);
    for child in [&first, &looked_at, &second] {
        assert_eq!(all.iter().filter(|row| row.key.pid == child.pid()).count(), 1);
    }
    assert_eq!(new(&mut source, &[&first, &looked_at, &second]), [0, 0, 0]);
}

// ---- ends

#[test]
fn an_end_is_told_once_with_its_status() {
    let (mut source, woken) = source_and_wakes(ENOUGH);
    let by_code = |code: &str| Sleeper(sh(&format!("read line; exit {code}")).stdin(Stdio::piped()).spawn().unwrap());
    for (mut child, expected) in [
        (by_code("0"), ExitStatus::Code(0)),
        (by_code("7"), ExitStatus::Code(7)),
        (Sleeper::start(), ExitStatus::Signal(9)),
    ] {
        let key = source.look(child.pid()).unwrap().key;
        source.keep(key, Watch::Exit).unwrap();
        match child.0.stdin.take() {
            Some(pipe) => drop(pipe),
            None => child.0.kill().unwrap(),
        }
        assert_eq!(ends(&mut source, &woken, 1), [(key, Some(expected))]);
        assert_eq!(source.look(key.pid).unwrap().state, ProcessState::Zombie);
        let reading = source.read(key, false).unwrap();
        assert_eq!((reading.state, reading.rss_bytes), (ProcessState::Zombie, 0));
        child.end(); // reaped: the next round would see what is told of that
        assert_gone(source.read(key, false));
    }
}

#[test]
fn who_is_a_zombie_when_kept_has_ended() {
    let (mut source, woken) = source_and_wakes(ENOUGH);
    let child = Sleeper(sh("exit 3").spawn().unwrap());
    child.until(WaitIdOptions::EXITED);
    let key = source.look(child.pid()).unwrap().key;
    source.keep(key, Watch::Exit).unwrap();
    assert_eq!(ends(&mut source, &woken, 1), [(key, Some(ExitStatus::Code(3)))]);
}

#[test]
fn who_was_released_is_not_told_of() {
    let (mut source, woken) = source_and_wakes(ENOUGH);
    let (mut released, mut kept) = (Sleeper::start(), Sleeper::start());
    for child in [&released, &kept] {
        watched(&mut source, child, Watch::Exit);
    }
    let key = source.look(kept.pid()).unwrap().key;
    let gone = source.look(released.pid()).unwrap().key;
    source.release(gone);
    source.release(gone);
    released.end();
    kept.end();
    let ends = ends(&mut source, &woken, 1);
    assert!(ends.iter().all(|(process, _)| *process == key), "{ends:?}");
}

#[test]
fn the_thread_ends_with_the_source() {
    let wake: Arc<dyn Fn() + Send + Sync> = Arc::new(|| {});
    let source = LinuxSource::new(ENOUGH, wake.clone()).unwrap();
    assert!(Arc::strong_count(&wake) > 1);
    drop(source);
    assert_eq!(Arc::strong_count(&wake), 1);
}

#[test]
fn a_panic_of_the_thread_is_heard() {
    let (tell, woken) = mpsc::channel();
    let (tell, first) = (Mutex::new(tell), AtomicBool::new(true));
    let wake = move || {
        assert!(!first.swap(false, Ordering::Relaxed), "the first wake of this test");
        tell.lock().unwrap().send(()).unwrap();
    };
    let mut source = LinuxSource::new(ENOUGH, Arc::new(wake)).unwrap();
    let mut child = Sleeper::start();
    watched(&mut source, &child, Watch::Exit);
    child.end();
    woken.recv_timeout(PATIENCE).expect("the wake of a thread that panics");
    let panic = catch_unwind(AssertUnwindSafe(|| source.drain(&mut Vec::new()))).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"the first wake of this test"));
}

// ---- counters and descriptors

/// The shell says by `times` what the kernel charged it; then it stops, so that nothing is added.
#[test]
fn processor_time_is_right_within_two_ticks() {
    let burn = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";
    let script = format!("{burn}; ({burn}; {burn}); times; exec >&-; kill -STOP $$");
    let mut child = Sleeper(sh(&script).stdout(Stdio::piped()).spawn().unwrap());
    child.until(WaitIdOptions::STOPPED);
    let mut said = String::new();
    child.0.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    let seconds: Vec<f64> = said
        .split_whitespace()
        .map(|time| time.trim_end_matches('s').split_once('m').unwrap())
        .map(|(minutes, seconds)| minutes.parse::<f64>().unwrap() * 60.0 + seconds.parse::<f64>().unwrap())
        .collect();
    let reading = watched(&mut source(), &child, Watch::Counters);
    assert_eq!(reading.state, ProcessState::Stopped);
    for (what, us, truth) in [
        ("own", reading.cpu.own_us, seconds[0] + seconds[1]),
        ("children", reading.cpu.children_us, seconds[2] + seconds[3]),
    ] {
        let seconds = Duration::from_micros(us).as_secs_f64();
        assert!(truth > 0.05, "{what} burnt only {truth} s");
        assert!((seconds - truth).abs() <= 0.02, "{what}: {seconds} s, by the shell {truth} s");
    }
}

#[test]
fn storage_io_of_our_own() {
    let (mut source, child) = (source(), Sleeper::start());
    let key = source.look(child.pid()).unwrap().key;
    source.keep(key, Watch::Counters).unwrap();
    for (asked, known) in [(true, true), (false, false), (true, true)] {
        let io = source.read(key, asked).unwrap().io;
        assert_eq!((matches!(io, IoReading::Known(_)), io == IoReading::Skipped), (known, !known));
    }
}

#[test]
fn roots_displace_members_when_descriptors_are_short() {
    const FOR_OTHERS: usize = 512;
    let (mut source, woken) = source_and_wakes(FOR_OTHERS + 4);
    let children: Vec<(Sleeper, ProcessKey)> = (0..3)
        .map(|_| {
            let child = Sleeper::start();
            let key = source.look(child.pid()).unwrap().key;
            (child, key)
        })
        .collect();
    let [(_, first), (_, second), (_, root)] = &children[..] else { unreachable!() };
    source.keep(*first, Watch::Counters).unwrap();
    source.keep(*second, Watch::Counters).unwrap();
    assert_eq!([first, second, root].map(files_open), [2, 2, 0]);
    source.keep(*root, Watch::Exit).unwrap();
    assert_eq!([first, second, root].map(files_open), [0, 0, 2], "three descriptors beside the pidfd");
    for key in [first, second, root] {
        assert!(source.read(*key, false).unwrap().rss_bytes > 0);
    }
    assert_eq!([first, second, root].map(files_open), [0, 0, 2], "a member displaces no root");
    source.release(*root);
    source.read(*second, false).unwrap();
    assert_eq!([first, second, root].map(files_open), [0, 2, 0], "room again");
    source.release(*second);

    // Without any descriptor to spare nothing is told, and reading finds it gone.
    let (mut poor, _) = source_and_wakes(FOR_OTHERS);
    poor.keep(*first, Watch::Exit).unwrap();
    source.keep(*first, Watch::Exit).unwrap();
    let expected = *first;
    drop(children);
    assert_eq!(ends(&mut source, &woken, 1)[0].0, expected, "told to one who has a pidfd");
    assert_gone(poor.read(expected, false));
    let mut events = Vec::new();
    poor.drain(&mut events);
    assert_eq!(events, []);
}

#[test]
fn the_limit_of_open_files_is_raised() {
    let raised = raise_open_files();
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    assert_eq!(limit.current, limit.maximum);
    assert_eq!(limit.current, Some(raised as u64));
}

#[test]
fn this_machine() {
    let mut source = source();
    let host = source.host();
    let total = host.memory_total_bytes.unwrap();
    assert!(host.memory_available_bytes.unwrap() <= total && total > 16 << 20);
    assert!(host.load_1m.unwrap() >= 0.0);
    assert!(host.uptime.unwrap() > Duration::ZERO);
    let processors = fs::read_to_string("/proc/stat").unwrap().lines().filter(|line| line.starts_with("cpu")).count();
    assert_eq!(host.cpu_count.unwrap() as usize, processors - 1, "and a line for all of them");
    assert_eq!(&*source.boot(), fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim());
}

// ---- a /proc of odd content

#[test]
fn odd_content() {
    let root = tempfile::tempdir().unwrap();
    let put = |path: &str, text: &[u8]| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let machine = Machine { page_bytes: 16_384, ticks_per_second: NonZeroU64::new(250).unwrap() };
    let start = || LinuxSource::rooted(root.path(), machine, ENOUGH);
    assert!(matches!(start().err().unwrap(), agent_monitor::process::linux::StartError::Table(_)));
    put("proc/sys/kernel/random/boot_id", b"a-boot\n");
    let stat = |name: &[u8], ticks: u64| {
        let tail = format!(") S 1 7 7 0 -1 4194304 0 0 0 0 500 250 25 0 20 0 3 0 {ticks} 0 0 0\n");
        [b"7 (", name, tail.as_bytes()].concat()
    };
    put("proc/7/stat", &stat(b"a) R 1 (x\n9", 1000));
    put("proc/7/statm", b"900 5 3 1 0 9 0\n");
    put("proc/7/io", b"read_bytes: 4096\nwrite_bytes: 1\n");
    put("proc/8/stat", &stat(b"\xff\xfe", 1001));
    put("proc/9/stat", b"9 (cut off) S 1 9");
    fs::create_dir_all(root.path().join("proc/10/stat")).unwrap();
    fs::create_dir_all(root.path().join("proc/11")).unwrap();
    for odd in ["0", "self", "4294967303", "99999999999999999999", "-7", "7a"] {
        put(&format!("proc/{odd}/stat"), &stat(b"no process", 1));
    }
    put("proc/loadavg", b"much\n");
    put("proc/meminfo", b"MemTotal: 4 kB\n");

    let mut source = start().unwrap();
    assert_eq!(&*source.boot(), "a-boot");
    let host = source.host();
    assert_eq!((host.load_1m, host.memory_total_bytes, host.memory_available_bytes), (None, Some(4096), None));
    assert_eq!((host.uptime, host.cpu_count), (None, None));

    let mut found = Vec::new();
    let count = source.scan(Scan::New, &mut found).unwrap();
    assert_eq!(count, ScanCount { denied: 0, failed: 2 });
    found.sort_by_key(|row| row.key.pid);
    let names: Vec<(u32, &str)> = found.iter().map(|row| (row.key.pid.get(), &*row.name)).collect();
    assert_eq!(names, [(7, "a) R 1 (x\n9"), (8, "\u{fffd}\u{fffd}")]);
    let key = ProcessKey { start_ticks: 1000, pid: pid(7) };
    assert_eq!(found[0].key, key);
    let error = source.look(pid(9)).unwrap_err();
    let path = root.path().join("proc/9/stat");
    assert_eq!(error.to_string(), format!("cannot understand {}: field 6 (session) is no number", path.display()));
    assert!(matches!(source.look(pid(10)), Err(ReadError::Io { .. })));
    assert_gone(source.look(pid(11)));

    let reading = source.read(key, true).unwrap();
    assert_eq!((reading.cpu.own_us, reading.cpu.children_us), (3_000_000, 100_000));
    assert_eq!((reading.rss_bytes, reading.threads), (5 * 16_384, 3));
    assert_eq!(reading.io, IoReading::Known(Io { read_bytes: 4096, written_bytes: 1 }));
    assert_gone(source.read(ProcessKey { start_ticks: 999, ..key }, false));

    // Who was met is not opened again, so not even this is seen.
    put("proc/8/stat", &stat(b"changed", 3000));
    assert_eq!(scan(&mut source, Scan::New), []);
    assert!(scan(&mut source, Scan::All).iter().any(|row| &*row.name == "changed"));

    // Another inode and the same process: not new. The same pid and another process: new.
    for (before, ticks, shown) in [("before", 1000, 0), ("before that", 2000, 1)] {
        fs::rename(root.path().join("proc/7"), root.path().join("proc").join(before)).unwrap();
        put("proc/7/statm", b"900 5 3 1 0 9 0\n");
        put("proc/7/stat", &stat(b"x", ticks));
        assert_eq!(scan(&mut source, Scan::New).len(), shown, "{ticks}");
    }
    assert_gone(source.read(key, false));
}

// ---- helpers

fn pid(number: u32) -> Pid {
    Pid::new(number.into()).expect("a process id")
}

fn source() -> LinuxSource {
    source_and_wakes(ENOUGH).0
}

fn source_and_wakes(open_files: usize) -> (LinuxSource, Receiver<()>) {
    let (tell, woken) = mpsc::channel();
    let tell = Mutex::new(tell);
    let wake = move || {
        let _ = tell.lock().expect("no holder panics").send(());
    };
    (LinuxSource::new(open_files, Arc::new(wake)).expect("a machine with /proc"), woken)
}

fn scan(source: &mut LinuxSource, scope: Scan) -> Vec<ProcessRow> {
    let mut found = Vec::new();
    source.scan(scope, &mut found).expect("/proc can be listed");
    found
}

fn watched(source: &mut LinuxSource, child: &Sleeper, watch: Watch) -> Reading {
    let key = source.look(child.pid()).expect("it lives").key;
    source.keep(key, watch).expect("it lives");
    source.read(key, false).expect("it lives")
}

/// Waits for `count` ends.
fn ends(source: &mut LinuxSource, woken: &Receiver<()>, count: usize) -> Vec<(ProcessKey, Option<ExitStatus>)> {
    let mut events = Vec::new();
    while events.len() < count {
        woken.recv_timeout(PATIENCE).expect("a wake");
        source.drain(&mut events);
    }
    let told = |event: &ProcessEvent| match *event {
        ProcessEvent::Exited { process, status } => (process, status),
        ref other => panic!("{other:?}"),
    };
    events.iter().map(told).collect()
}

fn assert_gone<T>(result: Result<T, ReadError>) {
    match result {
        Err(ReadError::Gone) => {}
        Err(error) => panic!("not gone: {error}"),
        Ok(_) => panic!("not gone"),
    }
}

/// How many files of this process we have open.
fn files_open(process: &ProcessKey) -> usize {
    let directory = format!("/proc/{}", process.pid);
    let ours = fs::read_dir("/proc/self/fd").expect("our own");
    ours.flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter(|path| path.starts_with(Path::new(&directory)))
        .count()
}

/// The kernel's other account of it.
fn status_rss_bytes(pid: Pid) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

/// A child that does not outlive its test.
struct Sleeper(Child);

impl Sleeper {
    fn start() -> Sleeper {
        Sleeper(Command::new("sleep").arg("1000").spawn().expect("sleep is there"))
    }

    /// One with this free pid; only root can choose, and others may be quicker.
    fn start_as(pid: Pid) -> std::io::Result<Option<Sleeper>> {
        for _ in 0..20 {
            fs::write("/proc/sys/kernel/ns_last_pid", (pid.get() - 1).to_string())?;
            let child = Sleeper::start();
            if child.pid() == pid {
                return Ok(Some(child));
            }
        }
        Ok(None)
    }

    fn pid(&self) -> Pid {
        pid(self.0.id())
    }

    /// Waits until it stopped or ended, without reaping it.
    fn until(&self, what: WaitIdOptions) {
        let id = WaitId::Pid(rustix::process::Pid::from_child(&self.0));
        waitid(id, what | WaitIdOptions::NOWAIT).expect("our child");
    }

    /// Ends and reaps it.
    fn end(&mut self) {
        let _ = self.0.kill();
        self.0.wait().expect("our child");
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
