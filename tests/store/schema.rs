//! A database of each released schema is kept, as statements: it opens, with its rows, in every later version.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use agent_monitor::model::{
    AlertKey, AlertState, Batch, Delivered, HostMinute, HostPressure, HostReading, LeftoverRow, Pid, ProcessKey,
    Severity, StoredAlert,
};
use agent_monitor::store::FILE_NAME;
use rusqlite::Connection;

use crate::support::{NOON, Store, account_of, after, ask, error, event, number, of_agent, pass, run_of, transition};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/store/schemas")
}

/// Something in every table.
fn fill(directory: &Path) {
    let store = Store::start(directory);
    let key = AlertKey { agent: None, source: None, rule: "open".into() };
    let firing = AlertState::Firing {
        since: NOON,
        notified_at: NOON,
        severity: Severity::Critical,
        value: None,
        threshold: None,
        message: "…".into(),
    };
    let leftover = LeftoverRow {
        agent: number(1),
        process: ProcessKey { start_ticks: 7, pid: Pid::new(8).unwrap() },
        boot: "0e4b7c3a-boot".into(),
        name: "it's".into(),
        since: NOON,
        memory_bytes: 9,
        cpu_us: 10,
        used_before_us: 11,
        ended_at: None,
    };
    let opening = agent_monitor::model::Entry { agent: None, at: NOON, body: transition("open", true) };
    let batch = Batch {
        runs: vec![run_of(1, 100)],
        leftovers: vec![leftover],
        accounts: vec![account_of(1)],
        host: vec![HostMinute { at: NOON, host: HostReading::default(), pressure: HostPressure::default() }],
        entries: vec![
            of_agent(1, after(1), event("an event; with 'quotes'\nand lines")),
            of_agent(2, after(2), error("an error")),
            opening,
        ],
        alerts: vec![StoredAlert { key, state: Some(firing), episode: None }],
        delivered: vec![Delivered { receiver: "r".into(), up_to: Some(3) }],
        ..pass(1, after(3), &[1, 2])
    };
    store.store(batch).unwrap();
    // The next hour, so that there are rows of the one before.
    store.store(pass(2, after(3_600), &[1, 2])).unwrap();
    store.flush();
    store.stop();
}

/// All that a database is made of, as statements.
fn dump(directory: &Path) -> String {
    let connection = Connection::open(directory.join(FILE_NAME)).unwrap();
    let lines = |sql: &str| -> Vec<String> {
        let mut statement = connection.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
    let mut text = String::new();
    for name in ["auto_vacuum", "application_id", "user_version"] {
        writeln!(text, "pragma {name} = {};", number(name)).unwrap();
    }
    for sql in lines("select sql from sqlite_schema where sql is not null and name not like 'sqlite_%' order by rowid")
    {
        writeln!(text, "{sql};").unwrap();
    }
    for table in lines("select name from sqlite_schema where type = 'table' order by name") {
        let columns = lines(&format!("select 'quote(' || name || ')' from pragma_table_info('{table}')"));
        let values = columns.join(" || ', ' || ");
        for row in lines(&format!("select {values} from {table} order by 1")) {
            writeln!(text, "insert into {table} values ({row});").unwrap();
        }
    }
    text
}

#[test]
fn the_schema_of_this_version_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    fill(directory.path());
    let text = dump(directory.path());
    let version = &ask(directory.path(), "pragma user_version")[0];
    let path = folder().join(format!("{version}.sql"));
    if std::env::var_os("WRITE_SCHEMA").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap();
    assert!(kept == text, "{}: write it with WRITE_SCHEMA=1, unless it was released", path.display());
}

#[test]
fn a_database_of_each_schema_opens_and_keeps_its_rows() {
    let kept: Vec<PathBuf> = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!kept.is_empty());
    for path in kept {
        let directory = tempfile::tempdir().unwrap();
        let connection = Connection::open(directory.path().join(FILE_NAME)).unwrap();
        connection.execute_batch(&std::fs::read_to_string(&path).unwrap()).unwrap();
        connection.close().unwrap();
        let store = Store::start(directory.path());
        assert_eq!((store.resume.last_tick, store.resume.last_entry), (2, 3), "{}", path.display());
        assert_eq!((store.resume.agents.len(), store.resume.alerts.len(), store.resume.leftovers.len()), (2, 1, 1));
        assert!(store.resume.agents[0].account.is_some() && store.resume.agents[0].run.is_some());
        store.store(pass(3, after(3_610), &[1])).unwrap();
        store.stop();
        let count = |what: &str| ask(directory.path(), &format!("select count(*) from {what}"))[0].clone();
        let all = ["agent_metrics", "agent_metrics_minute", "agent_events", "error_logs", "alerts", "agent_runs"];
        assert_eq!(all.map(count), ["5", "4", "1", "1", "1", "1"], "{}", path.display());
        assert_eq!(ask(directory.path(), "pragma integrity_check"), ["ok"]);
    }
}
