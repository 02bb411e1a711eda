use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use agent_monitor::clock::monotonic;
use agent_monitor::monitor::SourceReading;
use agent_monitor::registry::file::{self, FileRegistry, Fingerprint};
use agent_monitor::registry::{LIMIT_BYTES, LIMIT_RECORDS};

use super::*;

#[test]
fn files_that_are_none_are_refused_at_once() {
    let (folder, path) = folder();
    let at = |name: &str| folder.path().join(name);
    rustix::fs::mkfifoat(rustix::fs::CWD, at("fifo"), rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    let _socket = UnixListener::bind(at("socket")).unwrap();
    symlink("loop", at("loop")).unwrap();
    symlink("fifo", at("link-to-fifo")).unwrap();
    fs::write(at("file"), LIST).unwrap();
    let began = monotonic();
    let mut struck = 0;
    for (path, expected) in [
        (at("fifo"), "it is a FIFO, and only regular files and folders are read"),
        (at("link-to-fifo"), "it is a FIFO, and only regular files and folders are read"),
        (at("socket"), "it is a socket, and only regular files and folders are read"),
        (PathBuf::from("/dev/zero"), "it is a device, and only regular files and folders are read"),
        (PathBuf::from("/dev/tty"), "it is a device, and only regular files and folders are read"),
        (at("missing"), "No such file or directory (os error 2)"),
        (at("file/below"), "Not a directory (os error 20)"),
        (at("loop"), "Too many levels of symbolic links (os error 40)"),
    ] {
        let error = chain(&file::read(&path).unwrap_err());
        assert!(error.contains(&*path.to_string_lossy()) && error.ends_with(expected), "{error}");
        struck += 1;
    }
    assert!(monotonic().since(began) < DEADLINE);
    fs::write(&path, LIST).unwrap();
    assert_eq!(ids(&file::read(&path).unwrap()), ["a", "b"]);
    println!("{struck} things that are no files were refused");
}

#[test]
fn contents_that_are_no_registry() {
    let (_folder, path) = folder();
    let nested = "[".repeat(10_000) + &"]".repeat(10_000);
    let mut struck = 0;
    for (content, expected) in [
        (&b""[..], "line 1, column 1: it is empty"),
        (b"[{\"id\": \"a\xff\"}]", "line 1, column 11: not UTF-8"),
        (b"[{\"id\": \"a\"}", "line 1, column 12: EOF while parsing a list"),
        (nested.as_bytes(), "none of its 1 records can be used, the first: record 1: it is not an object"),
    ] {
        fs::write(&path, content).unwrap();
        let error = chain(&file::read(&path).unwrap_err());
        assert_eq!(error, format!("cannot use {}: {expected}", path.display()));
        struck += 1;
    }
    println!("{struck} contents were refused");
}

#[test]
fn a_half_written_file_is_never_a_shorter_list() {
    let (_folder, path) = folder();
    let mut refused = 0;
    for end in 0..LIST.len() {
        fs::write(&path, &LIST[..end]).unwrap();
        assert!(chain(&file::read(&path).unwrap_err()).contains("line 1, column "), "cut at {end}");
        refused += 1;
    }
    fs::write(&path, LIST).unwrap();
    assert_eq!(file::read(&path).unwrap().records.len(), 2);
    println!("{refused} halves were refused");
}

#[test]
fn a_file_that_says_the_same_is_not_understood_anew() {
    let (_folder, path) = folder();
    let mut registry = FileRegistry::new(path.clone());
    assert!(registry.read().is_err());
    fs::write(&path, LIST).unwrap();
    let first = registry.read().unwrap().records;
    assert!(Arc::ptr_eq(&first, &registry.read().unwrap().records), "understood anew");
    fs::write(&path, LIST.replace("\"a\"", "\"c\"")).unwrap();
    assert_eq!(ids(&registry.read().unwrap()), ["c", "b"]);
    fs::write(&path, "[").unwrap();
    assert!(registry.read().is_err());
    fs::write(&path, LIST).unwrap();
    assert_eq!(registry.read().unwrap().records, first);
    fs::remove_file(&path).unwrap();
    assert!(registry.read().is_err(), "a file that is gone says nothing any more");
}

#[test]
fn large_files() {
    let _alone = peak();
    let (_folder, path) = folder();
    let record = |n: usize| format!(r#"{{"id":"agent-{n}","pid":{},"metadata":{{"x":"{}"}}}}"#, n + 1, "y".repeat(480));
    let list: Vec<String> = (0..LIMIT_RECORDS).map(record).collect();
    let list = format!("[{}]", list.join(",\n"));
    assert!(list.len() > 10 << 20 && list.len() < LIMIT_BYTES, "{}", list.len());
    fs::write(&path, list).unwrap();
    let reading = file::read(&path).unwrap();
    assert_eq!((reading.records.len(), reading.skipped.len()), (LIMIT_RECORDS, 0));
    drop(reading);

    let before = reset_peak_kib();
    for size in [LIMIT_BYTES as u64 + 1, 1 << 30] {
        let sparse = File::create(&path).unwrap();
        sparse.set_len(size).unwrap();
        let error = chain(&file::read(&path).unwrap_err());
        assert!(error.ends_with(" MiB, at most 16 MiB are read"), "{error}");
    }
    grew_little("2 sparse files", before);
}

/// Documents made to be dear: each would be hundreds of megabytes as a tree.
#[test]
fn documents_made_to_be_dear() {
    let _alone = peak();
    let (_folder, path) = folder();
    let fill = |open: &str, element: &str, close: &str| {
        let count = (LIMIT_BYTES - open.len() - close.len()) / element.len();
        let text = open.to_owned() + &element.repeat(count);
        text.trim_end_matches(',').to_owned() + close
    };
    for (text, expected) in [
        (fill("[", "0,", "]"), Some("records, at most 20000 are read")),
        (fill("{", "\"\":0,", "}"), Some("records, at most 20000 are read")),
        (fill("[", "[],", "]"), Some("records, at most 20000 are read")),
        (fill("[", "[", ""), Some("EOF while parsing a list")),
        (fill("[{\"id\":\"a\",\"x\":[", "0,", "]}]"), None),
        (fill("[{\"id\":\"a\",\"metadata\":{\"pid\":7,\"x\":[", "{},", "]}}]"), None),
        (fill("[{\"id\":\"a\",", "\"\":0,", "}]"), None),
    ] {
        fs::write(&path, &text).unwrap();
        let what = text[..40].to_owned();
        drop(text);
        let before = reset_peak_kib();
        let read = file::read(&path);
        grew_little(&what, before);
        match (read, expected) {
            (Ok(reading), None) => {
                assert_eq!((ids(&reading), reading.skipped.len()), (vec!["a"], 1), "{what}");
                assert!(reading.skipped[0].contains("its metadata is left out"), "{what}");
            }
            (Err(error), Some(expected)) => assert!(chain(&error).ends_with(expected), "{what}: {}", chain(&error)),
            (read, _) => panic!("{what}: {read:?}"),
        }
    }
}

#[test]
fn a_folder_has_one_record_per_file() {
    let (folder, _) = folder();
    let at = |name: &str| folder.path().join(name);
    assert_eq!(file::read(folder.path()).unwrap(), SourceReading::default());
    fs::write(at("b.json"), r#"{"id":"b","pid":2}"#).unwrap();
    fs::write(at("a.json"), "\u{feff}{\"id\":\"a\",\"pid\":1}").unwrap();
    fs::write(at("c.json"), r#"{"id":"b","pid":3}"#).unwrap();
    fs::write(at("half.json"), r#"{"id":"half","pid""#).unwrap();
    fs::write(at("list.json"), "[]").unwrap();
    fs::write(at("no\nid.json"), r#"{"pid":4}"#).unwrap();
    File::create(at("large.json")).unwrap().set_len(1 << 30).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, at("fifo.json"), rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    fs::create_dir(at("folder.json")).unwrap();
    fs::write(at("folder.json/z.json"), r#"{"id":"z"}"#).unwrap();
    symlink("nowhere", at("dangling.json")).unwrap();
    fs::write(at(".hidden.json"), r#"{"id":"hidden"}"#).unwrap();
    fs::write(at("d.json.tmp"), r#"{"id":"tmp"}"#).unwrap();
    let reading = file::read(folder.path()).unwrap();
    assert_eq!(ids(&reading), ["a", "b"]);
    let pid = reading.records[1].pid.unwrap().get();
    assert_eq!(pid, 2, "the first by name wins");
    let shown = folder.path().display();
    assert_eq!(
        reading.skipped.iter().map(|note| &**note).collect::<Vec<_>>(),
        [
            r#"file "c.json" (id "b"): the same id as file "b.json" (id "b"), which counts"#,
            r#"file "fifo.json": it is a FIFO"#,
            r#"file "folder.json": it is a folder"#,
            r#"file "half.json": line 1, column 18: EOF while parsing an object"#,
            &format!(r#"file "large.json": cannot read {shown}/large.json: it has 1024 MiB, at most 16 MiB are read"#),
            r#"file "list.json": it is not an object"#,
            "file \"no\u{fffd}id.json\": it has no id: none of agentId, agent_id, id, name, sessionId",
        ]
    );
    fs::remove_file(at("a.json")).unwrap();
    fs::remove_file(at("b.json")).unwrap();
    fs::remove_file(at("c.json")).unwrap();
    let error = chain(&file::read(folder.path()).unwrap_err());
    assert!(
        error.contains("none of its 6 records can be used, the first: file \"fifo.json\": it is a FIFO"),
        "{error}"
    );
}

#[test]
fn a_folder_has_at_most_20_000_files() {
    // In memory, if there is such a place: so many files keep a disk busy for seconds.
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    for n in 0..LIMIT_RECORDS {
        fs::write(folder.path().join(format!("{n}.json")), format!(r#"{{"id":{n}}}"#)).unwrap();
    }
    assert_eq!(file::read(folder.path()).unwrap().records.len(), LIMIT_RECORDS);
    fs::write(folder.path().join("x.json"), r#"{"id":"x"}"#).unwrap();
    assert!(chain(&file::read(folder.path()).unwrap_err()).ends_with("it has more than 20000 files"));
}

#[test]
fn what_changes_a_fingerprint() {
    let (folder, path) = folder();
    let one = path.as_path();
    let all = folder.path();
    let mut seen = vec![(Fingerprint::of(one), Fingerprint::of(all))];
    let mut step = |what: &str, both: bool| {
        let looks = (Fingerprint::of(one), Fingerprint::of(all));
        assert_eq!(looks, (Fingerprint::of(one), Fingerprint::of(all)), "{what}: not stable");
        let before = seen.last().unwrap();
        assert_eq!((looks.0 != before.0, looks.1 != before.1), (both, true), "{what}");
        seen.push(looks);
    };
    fs::write(one, LIST).unwrap();
    step("it appears", true);
    fs::write(one, "[]").unwrap();
    step("it is rewritten", true);
    replace(one, b"{}");
    step("another takes its place", true);
    fs::set_permissions(one, fs::Permissions::from_mode(0o600)).unwrap();
    step("its mode changes", true);
    fs::write(all.join("b.json"), "{}").unwrap();
    step("another appears in the folder", false);
    fs::rename(all.join("b.json"), all.join("c.json")).unwrap();
    step("one changes its name", false);
    fs::remove_file(one).unwrap();
    step("it is removed", true);
}

#[test]
fn replaced_again_and_again_it_is_always_whole() {
    let (_folder, path) = folder();
    let of = |round: usize| {
        let records: Vec<String> = (0..50).map(|n| format!(r#"{{"id":"{n}","pid":{}}}"#, round + 1)).collect();
        format!("[{}]", records.join(","))
    };
    replace(&path, of(0).as_bytes());
    let target = path.clone();
    let rounds = 1000;
    let writer = thread::spawn(move || (0..rounds).for_each(|round| replace(&target, of(round).as_bytes())));
    let mut versions = Vec::new();
    while versions.last() != Some(&rounds) {
        let reading = file::read(&path).unwrap();
        let pids: Vec<usize> = reading.records.iter().map(|record| record.pid.unwrap().get() as usize).collect();
        assert_eq!((pids.len(), reading.skipped.len()), (50, 0));
        assert!(pids.iter().all(|pid| *pid == pids[0]), "two versions in one reading: {pids:?}");
        assert!(versions.last().is_none_or(|before| *before <= pids[0]));
        versions.push(pids[0]);
    }
    writer.join().unwrap();
    let reads = versions.len();
    versions.dedup();
    assert!(versions.len() > 1, "never seen to change");
    println!("{} versions seen in {reads} reads of {rounds} replacements", versions.len());
}
