//! Proportional set sizes of real processes, and of some that cannot be measured.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use agent_monitor::model::{ProcessKey, ProcessState, PssCounts, PssReading};
use agent_monitor::process::linux::{LinuxSource, Machine};
use agent_monitor::process::{ProcessSource, ReadError, Watch};

use crate::children::{ENOUGH, Holder, Sleeper, pid, source, until};

const AT_ONCE: Option<Duration> = Some(Duration::ZERO);
const MIB: u64 = 1 << 20;

/// Waits until a kept process was measured; how many bytes.
fn measured(source: &mut LinuxSource, process: ProcessKey) -> u64 {
    until("it is measured", || match source.read(process, false).unwrap().pss {
        PssReading::Known { bytes, .. } => Some(bytes),
        PssReading::Denied => panic!("may not be seen"),
        PssReading::Unknown => None,
    })
}

/// A process that touched 16 MiB and forked: the pages are there once, and in the resident memory of both.
#[test]
fn pages_that_two_share_count_once() {
    let script = "import os, sys\nheld = b'x' * (16 << 20)\nchild = os.fork()\nif child: print(child, flush=True)\n\
                  sys.stdin.read()";
    let mut parent = Sleeper(
        Command::new("python3").args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap(),
    );
    let mut line = String::new();
    BufReader::new(parent.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let mut source = source();
    let both = [parent.pid(), pid(line.trim().parse().unwrap())].map(|pid| source.look(pid).unwrap().key);
    source.keep(both[0], Watch::Exit).unwrap();
    assert_eq!(source.read(both[0], false).unwrap().pss, PssReading::Unknown, "nobody asks");
    // Those that are kept already, and those that come.
    source.measure_pss(AT_ONCE);
    source.keep(both[1], Watch::Counters).unwrap();
    let pss: u64 = both.iter().map(|key| measured(&mut source, *key)).sum();
    let rss: u64 = both.iter().map(|key| source.read(*key, false).unwrap().rss_bytes).sum();
    assert!((16 * MIB..48 * MIB).contains(&pss), "{pss} bytes for both, and 16 MiB were touched");
    assert!(rss > 32 * MIB && rss > pss + 12 * MIB, "{rss} bytes resident, {pss} in proportion");
    assert_eq!(source.pss_counts(), PssCounts::default());

    source.measure_pss(None);
    assert_eq!(source.read(both[0], false).unwrap().pss, PssReading::Unknown, "nobody asks any more");
    source.measure_pss(AT_ONCE);
    assert!(measured(&mut source, both[0]) > 4 * MIB);
    drop(parent.0.stdin.take());
}

/// Its lock is held in the kernel for as long as the test wants.
#[test]
fn a_process_whose_memory_lock_is_held_holds_up_nobody() {
    let Some(mut holder) = Holder::start() else {
        return println!("NOT TESTED: this host lets us mount no file system of our own (FUSE)");
    };
    let (mut source, other) = (source(), Sleeper::start());
    let [held, other] = [holder.held, other.pid()].map(|pid| source.look(pid).unwrap().key);
    source.measure_pss(AT_ONCE);
    // A root: it is measured first.
    source.keep(held, Watch::Exit).unwrap();
    source.keep(other, Watch::Counters).unwrap();
    until("the other is measured", || {
        source.drain(&mut Vec::new());
        let reading = source.read(held, true).unwrap();
        assert_eq!((reading.state, reading.pss), (ProcessState::Waiting, PssReading::Unknown));
        let known = matches!(source.read(other, false).unwrap().pss, PssReading::Known { .. });
        (known && source.pss_counts().overdue == 1).then_some(())
    });
    holder.let_go();
    until("it is gone", || matches!(source.read(held, false), Err(ReadError::Gone)).then_some(()));
    assert_eq!(source.pss_counts(), PssCounts { overdue: 1, ..PssCounts::default() });
}

/// The same without a right: an `smaps_rollup` that is a pipe, which nobody writes to, in a `/proc` of our own.
#[test]
fn a_read_that_hangs_holds_up_nobody() {
    let root = tempfile::tempdir().unwrap();
    let put = |path: &str, text: &str| {
        let path = root.path().join("proc").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    put("sys/kernel/random/boot_id", "a-boot\n");
    for number in [7, 8] {
        put(&format!("{number}/stat"), &format!("{number} (x) S 1 7 7 0 -1 0 0 0 0 0 1 1 0 0 20 0 1 0 1000 0 0 0\n"));
        put(&format!("{number}/statm"), "900 5 3 1 0 9 0\n");
    }
    let pipe = root.path().join("proc/7/smaps_rollup");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    put("8/smaps_rollup", "0-1 ---p 0 00:00 0 [rollup]\nRss:  9 kB\nPss:  5 kB\nPss_Anon:  3 kB\n");

    let mut source = LinuxSource::rooted(root.path(), Machine::here(), ENOUGH).unwrap();
    let [hangs, other] = [7, 8].map(|number| ProcessKey { start_ticks: 1000, pid: pid(number) });
    source.measure_pss(AT_ONCE);
    source.keep(hangs, Watch::Exit).unwrap();
    source.keep(other, Watch::Counters).unwrap();
    let bytes = until("the other is measured", || {
        source.drain(&mut Vec::new());
        // Readings go on all the time.
        assert_eq!(source.read(hangs, false).unwrap().pss, PssReading::Unknown);
        match source.read(other, false).unwrap().pss {
            PssReading::Known { bytes, .. } if source.pss_counts().overdue == 1 => Some(bytes),
            _ => None,
        }
    });
    assert_eq!(bytes, 5 * 1024);
    assert_eq!(source.pss_counts(), PssCounts { overdue: 1, ..PssCounts::default() });

    // It returns after all: what it says is taken, and it has its place in the row again.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let writer = OpenOptions::new().write(true).custom_flags(flags).open(&pipe).expect("somebody waits for it");
    fs::remove_file(&pipe).unwrap();
    put("7/smaps_rollup", "Pss: 6 kB\n");
    drop(writer);
    assert_eq!(measured(&mut source, hangs), 6 * 1024);
    assert_eq!(source.pss_counts().overdue, 1);
    assert_eq!(source.pss_counts().failed, 1, "a pipe has no beginning to be read from");
}
