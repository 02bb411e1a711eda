//! Ends, told once, and the thread that tells them.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use agent_monitor::model::{ExitStatus, ProcessState};
use agent_monitor::process::linux::{Forks, LinuxSource};
use agent_monitor::process::{ProcessSource, Watch};
use rustix::process::WaitIdOptions;

use super::children::{ENOUGH, PATIENCE, Sleeper, assert_gone, ends, sh, source_and_wakes, watched};

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
