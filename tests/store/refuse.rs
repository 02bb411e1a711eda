//! What is not ours, or not safe, is refused and left as it is.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use agent_monitor::store::{FILE_NAME, StateLock, StoreError};
use rusqlite::Connection;

use crate::support::{Store, after, ask, opened, pass};

fn refusal(directory: &Path) -> StoreError {
    opened(directory).err().expect("refused")
}

/// The schema that this program knows: each migration makes one.
fn version() -> String {
    std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")).unwrap().count().to_string()
}

fn is_newer(error: &StoreError) -> bool {
    matches!(error, StoreError::Newer { found: 999, known, .. } if known.to_string() == version())
}

/// What the state directory holds of the database, byte for byte.
fn bytes(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        // The index of the log is not kept data, and belongs to whoever reads.
        .filter(|name| name.starts_with(FILE_NAME) && !name.ends_with("-shm"))
        .map(|name| (name.clone(), std::fs::read(directory.join(&name)).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn a_database_of_a_newer_version() {
    let directory = tempfile::tempdir().unwrap();
    Store::start(directory.path()).stop();
    let connection = Connection::open(directory.path().join(FILE_NAME)).unwrap();
    connection.pragma_update(None, "user_version", 999).unwrap();
    // While the version is only in the log, ...
    let log = directory.path().join(format!("{FILE_NAME}-wal"));
    let before = bytes(directory.path());
    assert_eq!(before.len(), 2, "a database and its log");
    assert!(log.metadata().unwrap().len() > 0);
    let other = tempfile::tempdir().unwrap();
    for (name, content) in &before {
        std::fs::write(other.path().join(name), content).unwrap();
    }
    assert!(is_newer(&refusal(other.path())));
    assert_eq!(bytes(other.path()), before);
    // ... and when it is in the file.
    connection.close().unwrap();
    let before = bytes(directory.path());
    let error = refusal(directory.path());
    assert!(is_newer(&error), "{error}");
    assert!(error.to_string().contains("schema 999") && error.to_string().contains(FILE_NAME), "{error}");
    assert_eq!(bytes(directory.path()), before);
}

#[test]
fn files_of_others() {
    let sqlite = |sql: &str| {
        let directory = tempfile::tempdir().unwrap();
        let connection = Connection::open(directory.path().join("x")).unwrap();
        connection.execute_batch(sql).unwrap();
        connection.close().unwrap();
        std::fs::read(directory.path().join("x")).unwrap()
    };
    for (what, content) in [
        ("a database without an owner", sqlite("create table agents (id)")),
        ("one that says whose it is", sqlite("pragma application_id = 7; create table agents (id)")),
        ("one in WAL mode", sqlite("pragma journal_mode = wal; create table agents (id)")),
        ("text", b"hello\n".to_vec()),
        ("a damaged header", vec![0; 8192]),
    ] {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(FILE_NAME), &content).unwrap();
        let error = refusal(directory.path());
        assert!(matches!(error, StoreError::Foreign { .. }), "{what}: {error}");
        assert_eq!(bytes(directory.path()), [(FILE_NAME.to_owned(), content)], "{what}");
    }
}

#[test]
fn an_empty_file_is_a_new_database() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(FILE_NAME), "").unwrap();
    let store = Store::start(directory.path());
    store.store(pass(1, after(1), &[1])).unwrap();
    store.stop();
    assert_eq!(ask(directory.path(), "select agent_id from agent_metrics"), ["agent-1"]);
}

#[test]
fn opening_again_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::start(directory.path());
    store.store(pass(1, after(1), &[1])).unwrap();
    store.stop();
    let schema = "select type, name, sql from sqlite_schema order by name";
    let before = (ask(directory.path(), schema), ask(directory.path(), "select * from agent_metrics"));
    for _ in 0..3 {
        Store::start(directory.path()).stop();
    }
    assert_eq!((ask(directory.path(), schema), ask(directory.path(), "select * from agent_metrics")), before);
    assert_eq!(ask(directory.path(), "pragma user_version"), [version()]);
    assert_eq!(ask(directory.path(), "pragma auto_vacuum"), ["2"], "incremental");
    assert_eq!(ask(directory.path(), "pragma journal_mode"), ["wal"]);
}

/// The daemon was killed between the first write and the first table.
#[test]
fn a_database_without_a_schema_gets_one() {
    let directory = tempfile::tempdir().unwrap();
    let connection = Connection::open(directory.path().join(FILE_NAME)).unwrap();
    let ours = u32::from_be_bytes(*b"agmo");
    connection.execute_batch(&format!("pragma auto_vacuum = 2; pragma application_id = {ours}")).unwrap();
    connection.close().unwrap();
    Store::start(directory.path()).stop();
    assert_eq!(ask(directory.path(), "pragma user_version"), [version()]);
}

#[test]
fn places_that_others_could_change() {
    let parent = tempfile::tempdir().unwrap();
    let path = |name: &str| parent.path().join(name);
    let made = |name: &str, mode: u32| {
        std::fs::create_dir(path(name)).unwrap();
        std::fs::set_permissions(path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    made("real", 0o700);
    symlink(path("real"), path("link")).unwrap();
    std::fs::write(path("file"), "").unwrap();
    made("open", 0o777);
    made("database is a link", 0o700);
    symlink(path("real").join("elsewhere"), path("database is a link").join(FILE_NAME)).unwrap();
    made("database is a folder", 0o700);
    std::fs::create_dir(path("database is a folder").join(FILE_NAME)).unwrap();
    made("database has two names", 0o700);
    Store::start(&path("database has two names")).stop();
    let two = path("database has two names").join(FILE_NAME);
    std::fs::hard_link(&two, parent.path().join("second name")).unwrap();
    let before = std::fs::read(&two).unwrap();
    made("lock is a link", 0o700);
    symlink(path("real").join("elsewhere"), path("lock is a link").join("agent-monitor.lock")).unwrap();
    for name in [
        "link",
        "file",
        "open",
        "database is a link",
        "database is a folder",
        "database has two names",
        "lock is a link",
    ] {
        let error = refusal(&path(name));
        assert!(matches!(error, StoreError::Untrusted { .. } | StoreError::Io { .. }), "{name}: {error}");
        assert!(error.to_string().contains(parent.path().to_str().unwrap()), "{name}: {error}");
    }
    assert!(!path("real").join("elsewhere").exists(), "no link was followed");
    assert!(std::fs::read(&two).unwrap() == before, "left as it was");

    // Beside the database SQLite itself follows none; it may replace one.
    for rest in ["-wal", "-shm"] {
        let name = format!("{rest} is a link");
        made(&name, 0o700);
        std::fs::write(path("real").join("kept"), "kept").unwrap();
        symlink(path("real").join("kept"), path(&name).join(format!("{FILE_NAME}{rest}"))).unwrap();
        let _ = opened(&path(&name));
        assert_eq!(std::fs::read(path("real").join("kept")).unwrap(), b"kept", "{rest}");
    }

    if nix::unistd::Uid::effective().is_root() {
        made("of another", 0o700);
        std::os::unix::fs::chown(path("of another"), Some(65_534), None).unwrap();
        assert!(matches!(refusal(&path("of another")), StoreError::Untrusted { .. }));
    }
}

#[test]
fn what_is_made_is_private() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("state/agent-monitor");
    let store = Store::start(&directory);
    store.store(pass(1, after(1), &[1])).unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    let files: Vec<_> = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 5, "database, log, its index, lock, mark: {files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    store.stop();
}

#[test]
fn a_second_daemon() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::start(directory.path());
    let error = StateLock::acquire(directory.path()).expect_err("held");
    let own = std::process::id();
    assert!(matches!(error, StoreError::Locked { pid: Some(pid), .. } if pid == own), "{error}");
    assert!(error.to_string().contains(&format!("process {own}")), "{error}");
    store.stop();
    StateLock::acquire(directory.path()).expect("let go of at the end");
}
