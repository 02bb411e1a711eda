//! What processes run, also of those that cannot be asked now.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::process::Command;

use agent_monitor::model::ProcessKey;
use agent_monitor::process::linux::{LinuxSource, Machine};
use agent_monitor::process::{ProcessSource, ReadError};

use crate::children::{ENOUGH, Holder, Sleeper, pid, source, until};

fn is_overdue(source: &mut LinuxSource, process: ProcessKey) -> bool {
    matches!(source.image(process), Err(ReadError::Io { source, .. }) if source.kind() == ErrorKind::TimedOut)
}

#[test]
fn a_process_whose_memory_lock_is_held_holds_up_nobody() {
    let Some(mut holder) = Holder::start() else {
        return println!("NOT TESTED: this host lets us mount no file system of our own (FUSE)");
    };
    let (mut source, other) = (source(), Sleeper::start());
    let [held, other] = [holder.held, other.pid()].map(|pid| source.look(pid).unwrap().key);
    for _ in 0..10 {
        assert!(is_overdue(&mut source, held));
        assert_eq!(&*source.image(other).unwrap().words[0], "sleep");
    }
    holder.let_go();
    until("it is gone", || matches!(source.image(held), Err(ReadError::Gone)).then_some(()));
}

/// The same without a right: command lines that are pipes, which nobody writes to, in a `/proc` of our own.
#[test]
fn reads_that_hang_are_few_and_end() {
    const PIPES: u32 = 6;
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| root.path().join("proc").join(path);
    fs::create_dir_all(at("sys/kernel/random")).unwrap();
    fs::write(at("sys/kernel/random/boot_id"), "a-boot\n").unwrap();
    let cmdline = |number: u32| at(&format!("{number}/cmdline"));
    for number in 1..=PIPES + 1 {
        fs::create_dir(at(&number.to_string())).unwrap();
        let stat = format!("{number} (x) S 1 7 7 0 -1 0 0 0 0 0 1 1 0 0 20 0 1 0 1000 0 0 0\n");
        fs::write(at(&format!("{number}/stat")), stat).unwrap();
        symlink("/bin/x", at(&format!("{number}/exe"))).unwrap();
    }
    for number in 1..=PIPES {
        assert!(Command::new("mkfifo").arg(cmdline(number)).status().unwrap().success());
    }
    fs::write(cmdline(PIPES + 1), "x\0").unwrap();
    let mut source = LinuxSource::rooted(root.path(), Machine::here(), ENOUGH).unwrap();
    let key = |number| ProcessKey { start_ticks: 1000, pid: pid(number) };

    assert!(is_overdue(&mut source, key(1)));
    assert_eq!(&*source.image(key(PIPES + 1)).unwrap().words[0], "x", "the others are read");
    for number in 1..=PIPES {
        assert!(is_overdue(&mut source, key(number)), "{number}");
    }
    assert!(is_overdue(&mut source, key(PIPES + 1)), "so many hang that nobody is read");

    // Each that was asked returns after all, and can be asked again.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let writer = |number| OpenOptions::new().write(true).custom_flags(flags).open(cmdline(number));
    let open: Vec<u32> = (1..=PIPES).filter(|number| writer(*number).is_ok()).collect();
    assert_eq!(open, [1, 2, 3, 4], "no more than four hang");
    until("the others are read again", || source.image(key(PIPES + 1)).ok());
    fs::remove_file(cmdline(1)).unwrap();
    fs::File::create(cmdline(1)).unwrap().write_all(b"x\0late\0").unwrap();
    let image = until("the first is read again", || source.image(key(1)).ok());
    assert_eq!(image.words.last().map(|word| &**word), Some("late"));
}
