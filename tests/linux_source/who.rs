//! Who a process is, what it runs, and how it is found.

use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use agent_monitor::model::{IoReading, Pid, ProcessKey, ProcessState};
use agent_monitor::process::linux::LinuxSource;
use agent_monitor::process::{ProcessSource, Scan, Watch};
use rustix::process::{WaitIdOptions, geteuid};

use super::children::{Sleeper, assert_gone, pid, scan, sh, source, status_rss_bytes, watched};

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
        let told = inside.args(["--exact", "who::a_pid_that_is_used_again"]).output().unwrap();
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
