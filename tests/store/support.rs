use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use agent_monitor::model::{
    AccountRow, AgentId, AgentNumber, AlertNote, Balance, Batch, Body, Entry, ErrorReport, EventReport, Held, Io,
    JsonObject, MemberRow, MemoryMethod, Metrics, Mono, Pid, ProcessKey, Recorded, Resume, RunRow, Sample, Severity,
    StoredAgent, Sums, Tick, Timestamp, Transition,
};
use agent_monitor::monitor::{Answer, NotRecorded, Stored};
use agent_monitor::store::{
    Committed, FILE_NAME, NotTaken, Op, Opened, Reader, StateLock, StoreError, StoreStats, WriteHandle, Writer, open,
};
use rusqlite::types::Value;

/// Longer than anything takes; a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// 2026-01-01 12:00:00.
pub(crate) const NOON: Timestamp = Timestamp::from_unix_ms(1_767_268_800_000);

/// A store whose writer runs.
pub(crate) struct Store {
    pub(crate) handle: WriteHandle,
    pub(crate) reader: Reader,
    pub(crate) resume: Resume,
    pub(crate) stats: Arc<StoreStats>,
    /// What the listener heard.
    pub(crate) told: Receiver<Committed>,
    thread: JoinHandle<()>,
}

/// Opens the store without running its writer.
pub(crate) fn opened(directory: &Path) -> Result<(Opened, Receiver<Committed>), StoreError> {
    let (sender, told) = channel();
    let listener = Box::new(move |committed| drop(sender.send(committed)));
    Ok((open(StateLock::acquire(directory)?, listener)?, told))
}

pub(crate) fn run(writer: Writer) -> JoinHandle<()> {
    std::thread::spawn(|| writer.run())
}

impl Store {
    pub(crate) fn start(directory: &Path) -> Store {
        let (opened, told) = opened(directory).unwrap();
        let Opened { writer, handle, reader, resume, stats } = opened;
        Store { handle, reader, resume, stats, told, thread: run(writer) }
    }

    pub(crate) fn store(&self, batch: Batch) -> Result<Vec<Recorded>, NotRecorded> {
        answer(submit(&self.handle, batch).unwrap())
    }

    /// Brings what the daemon itself has to store: nobody waits for it.
    pub(crate) fn bring(&self, batch: Batch) {
        self.handle.submit(Op::Store { batch, reply: None }).unwrap();
    }

    /// Waits until everything is done.
    pub(crate) fn flush(&self) {
        let (sender, done) = channel();
        let answer = Answer::new(move |()| sender.send(()).expect("somebody waits"));
        self.handle.submit(Op::Flush { answer }).unwrap();
        done.recv_timeout(PATIENCE).expect("the writer works");
    }

    pub(crate) fn stop(self) {
        drop(self.handle);
        self.thread.join().expect("the writer ends in order");
    }
}

/// A directory where syncs cost nothing, for tests of much that is stored: others are on a disk.
pub(crate) fn in_memory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

/// Waits until something has become so. Nothing announces it, so this looks again and again, and lets the writer look.
pub(crate) fn until(store: &Store, what: &str, mut is_so: impl FnMut() -> bool) {
    let (_sender, never) = channel::<()>();
    for _ in 0..PATIENCE.as_millis() / 10 {
        store.flush();
        if is_so() {
            return;
        }
        let _ = never.recv_timeout(Duration::from_millis(10));
    }
    panic!("{what}: still not so; {:?}", store.stats);
}

pub(crate) type Answered = Receiver<Result<Stored, NotRecorded>>;

pub(crate) fn submit(handle: &WriteHandle, batch: Batch) -> Result<Answered, NotTaken> {
    let (sender, answered) = channel();
    let reply = Some(Answer::new(move |result| drop(sender.send(result))));
    handle.submit(Op::Store { batch, reply })?;
    Ok(answered)
}

pub(crate) fn answer(answered: Answered) -> Result<Vec<Recorded>, NotRecorded> {
    stored(answered).map(|stored| stored.entries)
}

#[expect(clippy::needless_pass_by_value, reason = "an answer is heard once")]
pub(crate) fn stored(answered: Answered) -> Result<Stored, NotRecorded> {
    answered.recv_timeout(PATIENCE).expect("the writer answers")
}

/// Asks as a user with sqlite3 would: each row as text, columns parted by `|`, null as `null`.
pub(crate) fn ask(directory: &Path, sql: &str) -> Vec<String> {
    let connection = rusqlite::Connection::open(directory.join(FILE_NAME)).unwrap();
    let mut statement = connection.prepare(sql).unwrap();
    let columns = statement.column_count();
    let line = |row: &rusqlite::Row<'_>| {
        let cell = |column| match row.get_unwrap(column) {
            Value::Null => "null".to_owned(),
            Value::Integer(number) => number.to_string(),
            Value::Real(number) => format!("{number:?}"),
            Value::Text(text) => text,
            Value::Blob(_) => "blob".to_owned(),
        };
        Ok((0..columns).map(cell).collect::<Vec<_>>().join("|"))
    };
    statement.query_map([], line).unwrap().collect::<Result<_, _>>().unwrap()
}

pub(crate) fn after(seconds: u64) -> Timestamp {
    NOON + Duration::from_secs(seconds)
}

pub(crate) fn number(number: u32) -> AgentNumber {
    AgentNumber::new(number).unwrap()
}

pub(crate) fn agent(n: u32) -> StoredAgent {
    StoredAgent {
        number: number(n),
        id: AgentId::new(&format!("agent-{n}")).unwrap(),
        name: None,
        source: "file:/run/agents.json".into(),
        registry_status: Some("online".into()),
        first_seen: NOON,
        last_seen: NOON,
        metadata: JsonObject::default(),
        restarts: 0,
        cpu_us: 0,
        io: Io::default(),
    }
}

pub(crate) fn metrics(at: Timestamp) -> Metrics {
    Metrics {
        at,
        cpu_percent: Some(12.5),
        memory_bytes: Some(300 << 20),
        memory_method: MemoryMethod::Rss,
        process_count: Some(1),
        thread_count: Some(4),
        cpu_us: Some(5_000_000),
        io: Some(Io { read_bytes: 4096, written_bytes: 8192 }),
        status: "online".into(),
        error_count: 0,
        message_count: None,
    }
}

/// One pass with a sample of each of `agents`, and the agents themselves.
pub(crate) fn pass(ordinal: u64, at: Timestamp, agents: &[u32]) -> Batch {
    Batch {
        tick: Some(Tick { ordinal, at }),
        agents: agents.iter().map(|n| StoredAgent { last_seen: at, ..agent(*n) }).collect(),
        samples: agents.iter().map(|n| Sample { agent: number(*n), metrics: metrics(at) }).collect(),
        ..Batch::default()
    }
}

pub(crate) fn of_agent(n: u32, at: Timestamp, body: Body) -> Entry {
    Entry { agent: Some((number(n), agent(n).id)), at, body }
}

pub(crate) fn event(message: &str) -> Body {
    let metadata = JsonObject::parse(r#"{"reason":"started"}"#).unwrap();
    Body::Event(EventReport { event_type: "started".into(), message: message.into(), metadata })
}

pub(crate) fn error(message: &str) -> Body {
    Body::Error(ErrorReport {
        error_type: "TypeError".into(),
        message: message.into(),
        stack: Some("at main".into()),
        metadata: JsonObject::default(),
        fingerprint: Some(message.chars().take(32).collect::<String>().into()),
    })
}

pub(crate) fn transition(rule: &str, firing: bool) -> Body {
    Body::Alert(AlertNote {
        rule: rule.into(),
        source: None,
        severity: Severity::Critical,
        transition: if firing { Transition::Fired } else { Transition::Resolved },
        since: NOON,
        message: format!("{rule} {}", if firing { "fires" } else { "is over" }).into(),
        value: Some(99.5),
        threshold: Some(80.0),
    })
}

pub(crate) fn run_of(n: u32, pid: i64) -> RunRow {
    RunRow {
        agent: number(n),
        root: ProcessKey { start_ticks: 12_345, pid: Pid::new(pid).unwrap() },
        boot: "0e4b7c3a-boot".into(),
        started_at: NOON,
        end: None,
        cpu_us: 1_500_000,
        peak_memory_bytes: Some(100 << 20),
        last_memory_bytes: None,
        memory_method: MemoryMethod::Pss,
    }
}

/// An account, with everything that can be known of a member, and what cannot.
pub(crate) fn account_of(n: u32) -> AccountRow {
    let balance = |total, coming| Balance { total, coming };
    let held = |own, children, late| Held { own, children, late };
    let member = |start_ticks, pid| MemberRow {
        process: ProcessKey { start_ticks, pid: Pid::new(pid).unwrap() },
        parent: None,
        leftover: false,
        born: false,
        cpu_us: None,
        io_bytes: None,
    };
    AccountRow {
        agent: number(n),
        boot: "0e4b7c3a-boot".into(),
        scanned_at: Mono(123_456_789_012_345),
        tree: Sums { cpu_us: balance(7, 1), read_bytes: balance(8, 2), written_bytes: balance(9, 3) },
        leftovers: Sums { cpu_us: balance(17, 11), read_bytes: balance(18, 12), written_bytes: balance(19, 13) },
        members: vec![
            MemberRow {
                parent: Pid::new(1),
                leftover: true,
                born: true,
                cpu_us: Some(held(1, 2, 3)),
                io_bytes: Some((held(0, 4, 5), held(0, 6, 7))),
                ..member(12_345, 100)
            },
            MemberRow { cpu_us: Some(held(0, 0, 0)), ..member(12_345, 101) },
            member(12_346, 99),
        ],
    }
}
