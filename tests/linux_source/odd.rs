//! A `/proc` of odd content.

use std::fs;
use std::num::NonZeroU64;

use agent_monitor::model::{HostPressure, Io, IoReading, ProcessKey};
use agent_monitor::process::linux::{LinuxSource, Machine, StartError};
use agent_monitor::process::{ProcessSource, ReadError, Scan, ScanCount};

use crate::children::{ENOUGH, assert_gone, pid, scan};

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
    assert!(matches!(start().err().unwrap(), StartError::Table(_)));
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
    put("proc/pressure/memory", b"some avg10=12.50 avg60=0.00 avg300=0.00 total=1\nfull avg10=much\n");

    let mut source = start().unwrap();
    assert_eq!(&*source.boot(), "a-boot");
    let host = source.host();
    assert_eq!((host.load_1m, host.memory_total_bytes, host.memory_available_bytes), (None, Some(4096), None));
    assert_eq!((host.uptime, host.cpu_count), (None, None));
    assert_eq!(source.pressure(), HostPressure { memory_some: Some(12.5), ..HostPressure::default() });

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
    assert_eq!((reading.rss_bytes, reading.threads), (5 * 16_384, Some(3)));
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
