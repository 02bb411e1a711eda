//! Counters, descriptors, and the machine.

use std::fs;
use std::io::Read;
use std::process::Stdio;
use std::time::Duration;

use agent_monitor::model::{HostPressure, IoReading, ProcessKey, ProcessState};
use agent_monitor::process::here::raise_open_files;
use agent_monitor::process::linux::LinuxSource;
use agent_monitor::process::{ProcessSource, Watch};
use rustix::process::WaitIdOptions;

use super::children::{Sleeper, assert_gone, ends, files_open, sh, source, source_and_wakes, watched};

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
