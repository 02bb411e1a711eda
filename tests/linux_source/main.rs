//! The Linux process source against real processes.
#![cfg(target_os = "linux")]

mod births;
mod children;
mod foreign;
mod images;
mod memory;
mod namespaces;
mod odd;
mod pss;
mod resident;

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use agent_monitor::model::{ExitStatus, HostPressure, IoReading, Pid, ProcessKey, ProcessState};
use agent_monitor::process::here::raise_open_files;
use agent_monitor::process::linux::{Forks, LinuxSource};
use agent_monitor::process::{ProcessSource, Scan, Watch};
use rustix::process::{WaitIdOptions, geteuid};

use self::children::{
    ENOUGH, PATIENCE, Sleeper, assert_gone, ends, files_open, pid, scan, sh, source, source_and_wakes,
    status_rss_bytes, watched,
};

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

    // Its pages come while it starts: what was the same before and after is what it was in between.
    let (reading, rss_bytes) = loop {
        let before = status_rss_bytes(child.pid());
        let reading = watched(&mut source, &child, Watch::Counters);
        if status_rss_bytes(child.pid()) == before {
            break (reading, before);
        }
    };
    assert_eq!((reading.threads, reading.io), (Some(1), IoReading::Skipped));
    assert_eq!(reading.rss_bytes, rss_bytes);
    assert!(reading.read_at <= agent_monitor::clock::monotonic());
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

/// The pid of a process that ended is given to another one: in a pid namespace of its own, where nobody else takes it.
#[test]
fn a_pid_that_is_used_again() {
    const INSIDE: &str = "AGENT_MONITOR_TEST_INSIDE";
    if !geteuid().is_root() {
        return eprintln!("NOT TESTED: only root can choose a pid");
    }
    if std::env::var_os(INSIDE).is_none() {
        let test = std::env::current_exe().unwrap();
        let mut inside = Command::new("unshare");
        inside.args(["--pid", "--fork", "--kill-child", "--mount-proc"]).arg(test).env(INSIDE, "yes");
        let told = inside.args(["--exact", "a_pid_that_is_used_again"]).output().unwrap();
        let said = String::from_utf8_lossy(&told.stdout);
        return assert!(told.status.success() && said.contains("1 passed"), "{said}");
    }
    let mut source = source();
    let (old, reborn) = loop {
        let mut child = Sleeper::start();
        let old = source.look(child.pid()).unwrap().key;
        source.keep(old, Watch::Counters).unwrap();
        scan(&mut source, Scan::New);
        // Start ticks are 10 ms: the next one must begin in another.
        Command::new("sleep").arg("0.03").status().unwrap();
        child.end();
        // Another thread of this test may take it: another one, then.
        if let Some(reborn) = Sleeper::start_as(old.pid).unwrap() {
            break (old, reborn);
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
    assert_eq!(reading.threads, Some(1));
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

// ---- what they run

#[test]
fn the_program_of_a_process() {
    let script = "echo ready; read line";
    let mut child = Sleeper(sh(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
    // In the middle of execve(2) there is no command line for a moment.
    child.0.stdout.take().unwrap().read_exact(&mut [0; 6]).unwrap();
    let mut source = source();
    let key = source.look(child.pid()).unwrap().key;
    let image = source.image(key).unwrap();
    let exe = fs::read_link(format!("/proc/{}/exe", child.pid())).unwrap();
    assert_eq!(image.exe.as_deref(), exe.to_str());
    assert_eq!(image.words, ["sh", "-c", script].map(Into::into));
    assert_eq!(image.script, None);
    assert_gone(source.image(ProcessKey { start_ticks: key.start_ticks + 1, ..key }));
    child.0.kill().unwrap();
    child.until(WaitIdOptions::EXITED);
    assert_gone(source.image(key));
    child.end();
    assert_gone(source.image(key));
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
    assert_eq!(new(&mut source, &[&first, &looked_at]), [1, 1], "a look is no scan");
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

/// Each is reaped at once, perhaps just while the source asks how it ended.
#[test]
fn no_status_is_lost_to_a_parent_that_waits_quickly() {
    const CHILDREN: usize = 300;
    let release = rustix::system::uname().release().to_str().unwrap().to_owned();
    let mut version = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    if (version.next(), version.next()) < (Some(6), Some(15)) {
        return eprintln!("{release} does not tell how a process ended that was reaped");
    }
    let (mut source, woken) = source_and_wakes(ENOUGH);
    let waiting = || Sleeper(sh("read line; exit 3").stdin(Stdio::piped()).spawn().unwrap());
    let mut children: Vec<Sleeper> = (0..CHILDREN).map(|_| waiting()).collect();
    for child in &children {
        watched(&mut source, child, Watch::Exit);
    }
    for child in &mut children {
        drop(child.0.stdin.take());
        child.0.wait().unwrap();
    }
    let mut known = 0;
    let mut unknown = HashMap::new();
    while known < CHILDREN {
        for (process, status) in ends(&mut source, &woken, 1) {
            known += usize::from(status == Some(ExitStatus::Code(3)));
            let times = unknown.entry(process).or_insert(0);
            *times += usize::from(status.is_none());
            assert!(*times < 2, "told twice that it is not known: {} of {CHILDREN} are", known);
        }
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
    let source = LinuxSource::new(ENOUGH, Forks::Told, wake.clone()).unwrap();
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
    let mut source = LinuxSource::new(ENOUGH, Forks::Scanned, Arc::new(wake)).unwrap();
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
    let read = |source: &mut LinuxSource, key: &ProcessKey| {
        assert!(source.read(*key, false).unwrap().rss_bytes > 0);
    };
    for key in [first, second] {
        read(&mut source, key);
    }
    assert_eq!([first, second, root].map(files_open), [2, 2, 0]);
    source.keep(*root, Watch::Exit).unwrap();
    assert_eq!(
        [first, second, root].map(files_open),
        [0, 0, 1],
        "three descriptors beside the pidfd, two for the root"
    );
    for key in [first, second, root] {
        read(&mut source, key);
    }
    assert_eq!([first, second, root].map(files_open), [0, 0, 2], "a member displaces no root");
    source.release(*root);
    read(&mut source, second);
    assert!(files_open(second) > 0, "room again");
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
    assert!(host.load_1m.unwrap() >= 0.0 && host.load_5m.is_some() && host.load_15m.is_some());
    assert!(host.uptime.unwrap() > Duration::ZERO);
    let processors = fs::read_to_string("/proc/stat").unwrap().lines().filter(|line| line.starts_with("cpu")).count();
    assert_eq!(host.cpu_count.unwrap() as usize, processors - 1, "and a line for all of them");
    let HostPressure { cpu_some, memory_some, memory_full, io_some, io_full } = source.pressure();
    for (file, percents) in
        [("cpu", &[cpu_some][..]), ("memory", &[memory_some, memory_full]), ("io", &[io_some, io_full])]
    {
        // A kernel may be built or started without.
        let known = fs::read(format!("/proc/pressure/{file}")).is_ok();
        let fits = |percent: &Option<f64>| percent.map_or(!known, |percent| known && (0.0..=100.0).contains(&percent));
        assert!(percents.iter().all(fits), "{file}: {percents:?}");
    }
    assert_eq!(&*source.boot(), fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim());
}
