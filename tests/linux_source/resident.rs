//! Resident memory and storage counters, which are not read again while nothing shows that they are others.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::num::NonZeroU64;
use std::path::Path;
use std::process::{Command, Stdio};

use agent_monitor::model::{IoReading, ProcessKey};
use agent_monitor::process::linux::{LinuxSource, Machine};
use agent_monitor::process::{ProcessSource, Watch};

use crate::children::{ENOUGH, pid, source, status_rss_bytes};

/// As the source has it.
const IO_STANDS_IN: u8 = 5;

/// Writes a file below a root.
fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().expect("it is below the root")).expect("our own folder");
    fs::write(path, text).expect("our own file");
}

#[test]
fn memory_is_asked_for_again_when_its_sign_changes_and_when_everything_is() {
    let root = tempfile::tempdir().unwrap();
    let put = |path: &str, text: &str| put(root.path(), path, text);
    put("proc/sys/kernel/random/boot_id", "a-boot\n");
    put("proc/7/io", "read_bytes: 0\nwrite_bytes: 0\n");
    let sign = |minor: u64, major: u64, pages: u64| {
        let faults = format!("{minor} 9 {major} 9");
        put("proc/7/stat", &format!("7 (agent) S 1 7 7 0 -1 4194304 {faults} 5 2 0 0 20 0 1 0 1000 4096 {pages} 0\n"));
    };
    let resident = |pages: u64| put("proc/7/statm", &format!("900 {pages} 3 1 0 9 0\n"));
    let machine = Machine { page_bytes: 1, ticks_per_second: NonZeroU64::new(100).unwrap() };
    let mut source = LinuxSource::rooted(root.path(), machine, ENOUGH).unwrap();
    let key = ProcessKey { pid: pid(7), start_ticks: 1000 };
    sign(1, 1, 1);
    resident(10);
    source.keep(key, Watch::Counters).unwrap();
    let mut read = |io| source.read(key, io).unwrap().rss_bytes;
    assert_eq!(read(false), 10);
    // What grew while the first reading went on is seen by the second: only then it is settled.
    resident(11);
    assert_eq!(read(false), 11);
    resident(12);
    assert_eq!(read(false), 11, "nothing says that it is another");
    for changed in [(2, 1, 1), (2, 2, 1), (2, 2, 2), (2, 2, 1)] {
        resident(20);
        sign(changed.0, changed.1, changed.2);
        assert_eq!(read(false), 20, "{changed:?}");
        resident(21);
        assert_eq!(read(false), 21, "it may have grown since it was read, and before its sign was");
        resident(22);
        assert_eq!(read(false), 21);
    }
    assert_eq!(read(true), 22, "all is read with the first storage counters");
    resident(23);
    for _ in 0..IO_STANDS_IN {
        assert_eq!((read(false), read(true)), (22, 22));
    }
    assert_eq!(read(true), 23, "and now and then");
}

#[test]
fn storage_is_asked_for_again_when_its_process_worked_and_now_and_then() {
    let root = tempfile::tempdir().unwrap();
    let put = |path: &str, text: &str| put(root.path(), path, text);
    put("proc/sys/kernel/random/boot_id", "a-boot\n");
    put("proc/7/statm", "900 1 3 1 0 9 0\n");
    let work = |fields: [u64; 8]| {
        let fields = fields.map(|field| field.to_string()).join(" ");
        put("proc/7/stat", &format!("7 (agent) S 1 7 7 0 -1 4194304 {fields} 20 0 1 0 1000 4096 1 0\n"));
    };
    let written = |bytes: u64| put("proc/7/io", &format!("read_bytes: 4096\nwrite_bytes: {bytes}\n"));
    let machine = Machine { page_bytes: 1, ticks_per_second: NonZeroU64::new(100).unwrap() };
    let mut source = LinuxSource::rooted(root.path(), machine, ENOUGH).unwrap();
    let key = ProcessKey { pid: pid(7), start_ticks: 1000 };
    let mut fields = [1; 8];
    work(fields);
    source.keep(key, Watch::Counters).unwrap();
    let mut read = |io| match source.read(key, io).unwrap().io {
        IoReading::Known(io) => Some(io.written_bytes),
        IoReading::Skipped => None,
        other => panic!("{other:?}"),
    };
    written(1);
    // Whether memory is settled already or not.
    assert_eq!([read(true), read(false), read(false), read(true)], [Some(1), None, None, Some(1)]);
    for field in 0..fields.len() {
        let bytes = 10 + field as u64;
        fields[field] += 1;
        work(fields);
        written(bytes);
        assert_eq!([read(false), read(true)], [None, Some(bytes)], "field {}", 10 + field);
        written(99);
        for _ in 0..IO_STANDS_IN {
            assert_eq!([read(true), read(false)], [Some(bytes), None], "nothing says that it is another");
        }
        assert_eq!(read(true), Some(99), "now and then");
    }
}

/// Lets a child write a page into a file of its own at each line it reads.
const LETS_WRITE: &str =
    "while read number; do dd if=/dev/zero of=\"$0/$number\" bs=4096 count=1 2>/dev/null; echo; done";

#[test]
fn what_a_child_wrote_is_seen_in_its_parent_at_once() {
    let files = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut child = Command::new("sh")
        .args(["-c", LETS_WRITE])
        .arg(files.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut ask, mut answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    let mut source = source();
    let key = source.look(pid(child.id())).unwrap().key;
    source.keep(key, Watch::Counters).unwrap();
    let mut written = || match source.read(key, true).unwrap().io {
        IoReading::Known(io) => io.written_bytes,
        other => panic!("{other:?}"),
    };
    for number in 0..20 {
        // Twice, so that it is settled.
        let before = [written(), written()];
        writeln!(ask, "{number}").unwrap();
        answers.read_line(&mut String::new()).unwrap();
        let after = written();
        let told = fs::read_to_string(format!("/proc/{}/io", child.id())).unwrap();
        assert!(told.contains(&format!("\nwrite_bytes: {after}\n")), "{after}: {told}");
        assert!(before[0] == before[1] && after >= before[1] + 4096, "{before:?}, {after}");
    }
    drop(ask);
    child.wait().unwrap();
}

/// Takes memory at each line it reads, and gives it back at the next.
const BREATHES: &str = "
import mmap, sys
for line in sys.stdin:
    held = mmap.mmap(-1, 64 << 20)
    for place in range(0, len(held), 4096): held[place] = 1
    print(flush=True)
    sys.stdin.readline()
    held.close()
    print(flush=True)
";

#[test]
fn what_a_process_takes_and_gives_back_is_seen_at_once() {
    let mut child = Command::new("python3")
        .args(["-c", BREATHES])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is installed");
    let (mut ask, mut answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    let mut breathe = || {
        ask.write_all(b"\n").unwrap();
        answers.read_line(&mut String::new()).unwrap();
    };
    let mut source = source();
    let child_pid = pid(child.id());
    let key = source.look(child_pid).unwrap().key;
    source.keep(key, Watch::Counters).unwrap();
    let mut seen = Vec::new();
    for round in 0..4 {
        breathe();
        // It waits for the next line now, so that nothing changes between the two.
        let reading = source.read(key, false).unwrap();
        assert_eq!(reading.rss_bytes, status_rss_bytes(child_pid), "round {round}");
        for _ in 0..round {
            assert_eq!(source.read(key, false).unwrap().rss_bytes, reading.rss_bytes);
        }
        seen.push(reading.rss_bytes);
    }
    let (most, least) = (seen[0].min(seen[2]), seen[1].max(seen[3]));
    assert!(most >= least + (60 << 20), "{seen:?}");
    drop(ask);
    child.wait().unwrap();
}
