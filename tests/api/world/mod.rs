//! A server on a real socket, what it answers from, and a client that hides nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use agent_monitor::api::{
    AgentHistory, Api, Counts, DatabaseFacts, Guard, Limits, Listener, Lists, OwnFacts, ReceiverFacts, Reloads,
    Sources, Writes, serve,
};
use agent_monitor::clock::{Clock, ManualClock};
use agent_monitor::feed::{EpisodeKey, Episodes, Feed};
use agent_monitor::model::*;
use agent_monitor::monitor::AgentDetail;
use tokio_util::sync::CancellationToken;

/// How long a client waits for anything.
pub(crate) const GENEROUS: Duration = Duration::from_secs(30);

/// 2026-01-01T00:00:00.000Z
pub(crate) const NEW_YEAR: Timestamp = Timestamp::from_unix_ms(1_767_225_600_000);

pub(crate) fn after(ms: u64) -> Timestamp {
    NEW_YEAR + Duration::from_millis(ms)
}

pub(crate) fn id(text: &str) -> AgentId {
    AgentId::new(text).unwrap()
}

fn number(number: u32) -> AgentNumber {
    AgentNumber::new(number).unwrap()
}

fn pid(number: i64) -> Pid {
    Pid::new(number).unwrap()
}

/// An agent of which everything is known.
pub(crate) fn known() -> AgentView {
    AgentView {
        number: number(1),
        id: id("coder-1"),
        name: Some("Coder".into()),
        source: "file:/run/broker/agents.json".into(),
        status: "working".into(),
        registry_status: Some("working".into()),
        state: Observed::Running,
        state_reason: Some("shares process 7 with planner".into()),
        pid: Some(pid(4242)),
        started_at: Some(after(1)),
        restarts: 3,
        metadata: JsonObject::parse(r#"{"model":"x","deep":{"n":[1,2.50,null]}}"#).unwrap(),
        metrics: Metrics {
            at: after(5_000),
            cpu_percent: Some(123.456),
            memory_bytes: Some(300 * 1_048_576 + 52_429),
            memory_method: MemoryMethod::Pss,
            process_count: Some(6),
            thread_count: Some(17),
            cpu_us: Some(61_234_567),
            io: Some(Io { read_bytes: 1 << 40, written_bytes: 7 }),
            status: "working".into(),
            error_count: 2,
            message_count: Some(9),
        },
        leftovers: Leftovers { process_count: 1, memory_bytes: 1_048_576, cpu_us: 1_500_000 },
        alerts: vec!["high_cpu".into()],
    }
}

/// The agents of a snapshot, with another one in this place.
pub(crate) fn replaced(now: &Snapshot, place: usize, agent: AgentView) -> SharedList<AgentView> {
    let mut agents: Vec<Arc<AgentView>> = now.agents.iter().cloned().collect();
    agents[place] = Arc::new(agent);
    agents.into_iter().collect()
}

/// An agent of which nothing is known that can be unknown.
pub(crate) fn unknown(text: &str) -> AgentView {
    AgentView {
        number: number(2),
        id: id(text),
        name: None,
        source: "match:my-agent".into(),
        status: "unknown".into(),
        registry_status: None,
        state: Observed::NoPid,
        state_reason: None,
        pid: None,
        started_at: None,
        restarts: 0,
        metadata: JsonObject::default(),
        metrics: Metrics {
            at: NEW_YEAR,
            cpu_percent: None,
            memory_bytes: None,
            memory_method: MemoryMethod::Rss,
            process_count: None,
            thread_count: None,
            cpu_us: None,
            io: None,
            status: "unknown".into(),
            error_count: 0,
            message_count: None,
        },
        leftovers: Leftovers::default(),
        alerts: Vec::new(),
    }
}

pub(crate) fn event(seq: Option<i64>, agent: Option<&str>, message: &str) -> Recorded {
    let metadata = JsonObject::parse(r#"{"reason":"started"}"#).unwrap();
    let body = Body::Event(EventReport { event_type: "started".into(), message: message.into(), metadata });
    Recorded { id: seq, entry: Entry { agent: agent.map(|text| (number(1), id(text))), at: after(7), body } }
}

fn error(seq: i64, agent: Option<&str>, at: Timestamp, report: ErrorReport, resolved: bool) -> JournalLine {
    let entry = Entry { agent: agent.map(|text| (number(1), id(text))), at, body: Body::Error(report) };
    JournalLine { recorded: Recorded { id: Some(seq), entry }, resolved, fired: None }
}

/// One agent of each kind, an alert of each kind, a host of which all is known; the first tick ended at the new year.
pub(crate) fn snapshot() -> Snapshot {
    let alert = |rule: &str, agent: Option<&str>, value, threshold| ActiveAlert {
        rule: rule.into(),
        agent: agent.map(id),
        source: None,
        severity: Severity::Critical,
        message: format!("{rule} fires").into(),
        value,
        threshold,
        since: after(3),
    };
    Snapshot {
        tick: 1,
        at: after(5_001),
        agents: [known(), unknown("a/b <c>")].into_iter().map(Arc::new).collect(),
        alerts: vec![
            alert("high_cpu", Some("coder-1"), Some(123.456), Some(80.0)),
            alert("storage_degraded", None, None, None),
        ],
        host: HostReading {
            load_1m: Some(0.42),
            load_5m: Some(0.5),
            load_15m: None,
            memory_total_bytes: Some(16 << 30),
            memory_available_bytes: Some((8 << 30) + 52_429),
            uptime: Some(Duration::from_millis(86_400_999)),
            cpu_count: Some(8),
        },
        pressure: HostPressure { cpu_some: Some(12.34), memory_some: Some(0.0), ..HostPressure::default() },
        own: OwnState {
            last_tick_at: Some(NEW_YEAR),
            last_tick_mono: Some(clock().now().mono),
            discovery: "events",
            sources: vec![SourceState {
                name: "file:/run/broker/agents.json".into(),
                good_at: Some(NEW_YEAR),
                error: None,
                failing_since: None,
                records: 2,
                skipped: 0,
            }],
            ..OwnState::default()
        },
    }
}

pub(crate) fn feed(snapshot: Snapshot) -> Feed {
    let recent = [event(None, None, "clock jumped"), event(Some(12), Some("coder-1"), "started")];
    let feed = Feed::new(Arc::new(snapshot));
    feed.go_on(
        &recent,
        Episodes::from([(EpisodeKey { rule: "high_cpu".into(), agent: Some(id("coder-1")), source: None }, 11)]),
    );
    feed
}

pub(crate) fn clock() -> ManualClock {
    ManualClock::new(NEW_YEAR)
}

/// What the database has of [`known`].
pub(crate) fn history() -> AgentHistory {
    let root = ProcessKey { start_ticks: 99, pid: pid(4242) };
    let run = |end| RunRow {
        agent: number(1),
        root,
        boot: "b00t".into(),
        started_at: after(1),
        end,
        cpu_us: 1_234_567,
        peak_memory_bytes: Some(2_097_152),
        last_memory_bytes: None,
        memory_method: MemoryMethod::Rss,
    };
    let end =
        |status, oom_killed, reason: &str| Some(RunEnd { at: after(9), status, oom_killed, reason: reason.into() });
    let report = ErrorReport {
        error_type: "TypeError".into(),
        message: "x is not a function".into(),
        stack: Some("at f (a.js:1:2)\nat g".into()),
        metadata: JsonObject::default(),
        fingerprint: Some("00ff".into()),
    };
    let bare = ErrorReport { stack: None, fingerprint: None, ..report.clone() };
    AgentHistory {
        agent: StoredAgent {
            number: number(1),
            id: id("coder-1"),
            name: Some("Coder".into()),
            source: "file:/run/broker/agents.json".into(),
            registry_status: Some("working".into()),
            first_seen: NEW_YEAR,
            last_seen: after(8),
            metadata: JsonObject::default(),
            restarts: 3,
            cpu_us: 5,
            io: Io::default(),
        },
        unresolved: 2,
        metrics: vec![known().metrics, unknown("x").metrics],
        events: vec![event(Some(12), Some("coder-1"), "started")],
        errors: vec![
            error(31, Some("coder-1"), after(4), report, false),
            error(30, Some("coder-1"), after(3), bare, true),
        ],
        runs: vec![
            run(None),
            run(end(Some(ExitStatus::Code(7)), Some(false), "error")),
            run(end(Some(ExitStatus::Signal(9)), Some(true), "error")),
            run(end(None, None, "unobserved")),
        ],
        host: vec![
            None,
            Some(HostMinute { at: NEW_YEAR, host: HostReading::default(), pressure: HostPressure::default() }),
            Some(HostMinute {
                at: NEW_YEAR,
                host: HostReading {
                    load_1m: Some(7.25),
                    load_5m: Some(3.5),
                    load_15m: Some(0.0),
                    memory_total_bytes: Some(16 << 30),
                    memory_available_bytes: Some(52_429),
                    uptime: None,
                    cpu_count: Some(8),
                },
                pressure: HostPressure {
                    cpu_some: Some(0.0),
                    memory_some: Some(98.76),
                    memory_full: Some(45.6),
                    io_some: Some(12.0),
                    io_full: Some(0.04),
                },
            }),
            None,
        ],
    }
}

/// What the heart has of [`known`]. Account 0 has a name everywhere; 4,000,000,000 nowhere.
pub(crate) fn detail() -> AgentDetail {
    let process = |number, parent, uid, name: &str| ProcessView {
        pid: pid(number),
        parent,
        name: name.into(),
        state: ProcessState::Sleeping,
        uid,
        started_at: after(1),
        cpu_percent: parent.map(|_| 0.04),
        memory_bytes: 10 * 1_048_576,
        thread_count: Some(2),
    };
    AgentDetail {
        view: known(),
        run: Some(RunRow { cpu_us: 7_654_321, ..history().runs[0].clone() }),
        processes: vec![
            process(4242, None, Some(0), "node) \u{1b}[31m"),
            process(4243, Some(pid(4242)), Some(4_000_000_000), "sh"),
            process(4244, Some(pid(4242)), None, "<b>"),
        ],
        leftovers: vec![LeftoverRow {
            agent: number(1),
            process: ProcessKey { pid: pid(4250), start_ticks: 1 },
            boot: "boot".into(),
            name: "sleep".into(),
            since: after(3),
            memory_bytes: 1 << 20,
            cpu_us: 1_500_000,
            used_before_us: 0,
            ended_at: None,
        }],
    }
}

/// Everything is well, and `coder-1` has a past.
pub(crate) fn sources() -> Sources {
    Sources {
        feed: feed(snapshot()),
        clock: Arc::new(clock()),
        interval: Arc::new(|| Duration::from_secs(10)),
        storage: Arc::new(|| Ok(())),
        agent: Arc::new(|id| Ok((id.as_str() == "coder-1").then(history))),
        user_name: Arc::new(|uid| (uid == 0).then(|| "root".to_owned())),
        inspect: Arc::new(|id, answer| answer.send((id.as_str() == "coder-1").then(detail))),
        lists: lists(),
        writes: Writes {
            record: Arc::new(|_| Box::pin(async { Ok(Receipt { id: 40, duplicate: false }) })),
            resolve: Arc::new(|_| Box::pin(async { Ok(()) })),
        },
        history: Arc::new(|query| Ok((query.agent.as_str() == "coder-1").then(past_of_known))),
        replay: Arc::new(|missed| Ok(replay(missed, 7))),
        own: Arc::new(own),
    }
}

/// Three minutes, in one of which nothing was observed.
fn past_of_known() -> History {
    let minute = |n: u64| NEW_YEAR + Duration::from_secs(60 * n);
    let seen = HistoryPoint {
        at: minute(0),
        cpu_percent_avg: Some(12.345),
        cpu_percent_max: Some(100.0),
        memory_bytes_avg: Some(1_572_864.5),
        memory_bytes_max: Some(2 << 20),
        process_count_max: Some(3),
    };
    let unseen = HistoryPoint { at: minute(1), ..HistoryPoint::default() };
    let points = vec![seen, unseen, HistoryPoint { at: minute(2), ..seen }];
    History { from: minute(0), to: minute(3), step: Duration::from_secs(60), points }
}

/// A journal with events 1 to `last`, of which none was deleted.
pub(crate) fn replay(missed: &ReplayQuery, last: i64) -> Replay {
    let first = (missed.after + 1).max(last + 1 - i64::from(missed.limit));
    let gap = (first > missed.after + 1).then_some((missed.after + 1, first - 1));
    let line = |id| JournalLine { recorded: event(Some(id), Some("coder-1"), "started"), resolved: false, fired: None };
    Replay { after: missed.after, gap, lines: (first..=last).filter(|_| missed.events).map(line).collect() }
}

/// Rows with the ids from `page.before` down to 1, at most `page.limit`.
fn rows<R>(page: &Page, highest: i64, row: impl FnMut(i64) -> R) -> Rows<R> {
    first(page.limit, (1..=page.before.map_or(highest, |before| before - 1)).rev(), row)
}

/// The first of them.
fn first<R>(limit: u32, mut ids: impl Iterator<Item = i64>, row: impl FnMut(i64) -> R) -> Rows<R> {
    let rows = ids.by_ref().take(limit as usize).map(row).collect();
    Rows { rows, more: ids.next().is_some() }
}

/// A database with seven of everything, which looks at nothing but the page's place and length.
fn lists() -> Lists {
    let kept = history();
    let Body::Error(report) = kept.errors[0].recorded.entry.body.clone() else { panic!("no error") };
    let report = ErrorReport { fingerprint: None, ..report };
    let run = kept.runs[1].clone();
    let left = detail().leftovers.remove(0);
    Lists {
        events: Arc::new(|page| Ok(rows(page, 7, |id| event(Some(id), Some("coder-1"), "started")))),
        errors: Arc::new(move |page| {
            let whose = |row_id| (row_id != 6).then_some("coder-1");
            let row = |row_id| error(row_id, whose(row_id), after(4), report.clone(), row_id % 2 == 0);
            Ok(rows(page, 7, row))
        }),
        groups: Arc::new(|page| Ok(groups(page))),
        alerts: Arc::new(|page| {
            let episode = |row_id| AlertEpisode {
                id: row_id,
                agent: (row_id != 6).then(|| id("coder-1")),
                rule: "high_cpu".into(),
                severity: Severity::Warning,
                firing: row_id == 7,
                message: "coder-1: cpu_percent is 123.5, above 80".into(),
                value: Some(123.456),
                threshold: Some(80.0),
                started_at: after(3),
                ended_at: (row_id < 6).then(|| after(5)),
            };
            Ok(rows(page, 7, episode))
        }),
        runs: Arc::new(move |page| {
            let listed = |row_id| ListedRun { id: row_id, agent: id("coder-1"), run: run.clone() };
            Ok(rows(page, 7, listed))
        }),
        leftovers: Arc::new(move |page| {
            let ended_at = |row_id| (row_id < 7).then(|| after(8));
            let leftover = |row_id| LeftoverRow { ended_at: ended_at(row_id), ..left.clone() };
            let listed = |row_id| ListedLeftover { id: row_id, agent: id("coder-1"), leftover: leftover(row_id) };
            Ok(rows(page, 7, listed))
        }),
    }
}

/// Seven problems, the latest first, one of each state among them.
fn groups(page: &GroupPage) -> Rows<ErrorGroup> {
    let group = |row_id: i64| ErrorGroup {
        id: row_id,
        agent: (row_id != 6).then(|| id("coder-1")),
        fingerprint: format!("{row_id:032x}").into(),
        error_type: "TypeError".into(),
        message: "x is not a function".into(),
        state: GroupState::ALL[usize::try_from(row_id % 3).unwrap()],
        count: 5,
        unresolved: if row_id % 3 == 1 { 0 } else { 2 },
        first_seen: after(1),
        last_seen: after(4),
        resolved_at: (row_id % 3 != 0).then(|| after(3)),
        first_usage: Usage::default(),
        last_usage: Usage { cpu_percent: Some(123.456), memory_bytes: Some(300 << 20) },
    };
    first(page.limit, (1..=page.before.map_or(7, |(_, before)| before - 1)).rev(), group)
}

pub(crate) fn own() -> OwnFacts {
    OwnFacts {
        hostname: "workshop".into(),
        pid: 4711,
        started_at: NEW_YEAR,
        uptime: Duration::from_millis(65_999),
        cpu: Duration::from_micros(1_234_567),
        memory_bytes: Some(9 << 20),
        url: "http://127.0.0.1:7717/".into(),
        socket: "/run/agent-monitor/agent-monitor.sock".into(),
        database: DatabaseFacts {
            path: "/var/lib/agent-monitor/agent-monitor.db".into(),
            size_bytes: 123_456,
            log_bytes: 23_456,
            reserve_bytes: 8_192,
            checked_at: Some(NEW_YEAR),
            longest_pause: Duration::from_micros(1_500),
            samples_waiting: 10,
            entries_waiting: 11,
            queue_length: 1,
            commits: 2,
            expired_rows: 3,
            samples_dropped: 4,
            entries_dropped: 5,
            runs_dropped: 6,
        },
        receivers: vec![ReceiverFacts {
            name: "webhook http://127.0.0.1:9000/hook".into(),
            error: Some("503 Service Unavailable".into()),
            delivered: 9,
            retried: 8,
            refused: 7,
            lost: 6,
            waiting: 5,
        }],
        reloads: Reloads::default(),
        log_lines_dropped: Some(7),
    }
}

/// Serves until dropped.
pub(crate) struct Server {
    pub(crate) tcp: SocketAddr,
    pub(crate) socket: PathBuf,
    pub(crate) counts: Arc<Counts>,
    pub(crate) stop: CancellationToken,
    ended: mpsc::Receiver<std::io::Result<()>>,
    thread: Option<JoinHandle<()>>,
    _directory: tempfile::TempDir,
}

impl Server {
    pub(crate) fn start(sources: Sources) -> Server {
        Server::with(sources, Limits::default(), Guard::new(&[], None))
    }

    pub(crate) fn with(sources: Sources, limits: Limits, guard: Guard) -> Server {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("api.sock");
        let api = Api::new(sources, limits);
        let (counts, stop) = (api.counts(), CancellationToken::new());
        let (bound, started) = mpsc::channel();
        let (finished, ended) = mpsc::channel();
        let (path, asked, count) = (socket.clone(), stop.clone(), Arc::clone(&counts));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let outcome = runtime.block_on(async {
                let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                let unix = tokio::net::UnixListener::bind(path).unwrap();
                bound.send(tcp.local_addr().unwrap()).unwrap();
                let over_tcp = api.over_tcp(guard);
                let one = serve(Listener::Tcp(tcp), over_tcp, limits, Arc::clone(&count), asked.clone());
                let other = serve(Listener::Unix(unix), api.over_socket(), limits, count, asked);
                tokio::try_join!(one, other).map(|_| ())
            });
            let _ = finished.send(outcome);
        });
        let tcp = started.recv_timeout(GENEROUS).unwrap();
        Server { tcp, socket, counts, stop, ended, thread: Some(thread), _directory: directory }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.tcp).unwrap();
        stream.set_read_timeout(Some(GENEROUS)).unwrap();
        stream.set_write_timeout(Some(GENEROUS)).unwrap();
        stream
    }

    /// Sends these bytes over TCP, and reads until the server closes the connection.
    pub(crate) fn raw(&self, request: &str) -> Answer {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        Answer::read(&mut stream)
    }

    /// One request over TCP, headers as `Name: value` lines.
    pub(crate) fn ask(&self, method: &str, target: &str, headers: &[&str]) -> Answer {
        self.raw(&head(method, target, &format!("localhost:{}", self.tcp.port()), headers))
    }

    pub(crate) fn get(&self, target: &str) -> Answer {
        self.ask("GET", target, &[])
    }

    /// One request over the Unix socket.
    pub(crate) fn ask_socket(&self, method: &str, target: &str, host: &str) -> Answer {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(GENEROUS)).unwrap();
        stream.write_all(head(method, target, host, &[]).as_bytes()).unwrap();
        Answer::read(&mut stream)
    }

    pub(crate) fn panics(&self) -> u64 {
        self.counts.panics.load(Ordering::Relaxed)
    }

    /// Waits until both listeners ended.
    pub(crate) fn wait(&self) -> std::io::Result<()> {
        self.ended.recv_timeout(GENEROUS).expect("the server ends")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
        let outcome = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            outcome.unwrap().expect("the server does not panic");
        }
    }
}

pub(crate) fn head(method: &str, target: &str, host: &str, headers: &[&str]) -> String {
    let more: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{more}Connection: close\r\n\r\n")
}

/// An answer, taken apart without a library.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    /// Reads until the end.
    pub(crate) fn read(stream: &mut impl Read) -> Answer {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("the server answers and closes");
        Answer::parse(&String::from_utf8(bytes).unwrap())
    }

    pub(crate) fn parse(text: &str) -> Answer {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let pair = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        Answer { status, headers: lines.map(|line| pair(line).unwrap()).collect(), body: body.to_owned() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// For snapshots: status, content type, and the document for human eyes.
    pub(crate) fn shown(&self) -> String {
        let kind = self.header("content-type").unwrap_or("-");
        format!("{} {kind}\n{}", self.status, serde_json::to_string_pretty(&self.json()).unwrap())
    }
}
