//! E and F: too few descriptors, too little memory, and no room for the log.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::client::{Answer, connect, dial, get, post};
use crate::harness::{BRISK, Daemon, Deadline, PATIENCE, Place, is_root, until};
use crate::herd::Herd;
use crate::registries::resident_mib;
use crate::thorough;

/// The daemon of a place below another program, which becomes it.
fn below(program: &str, options: &[String], place: &Place, more: &[&str]) -> Command {
    let daemon = place.command();
    let mut command = Command::new(program);
    command.args(options).arg(daemon.get_program()).args(daemon.get_args()).args(["--interval", "1s"]).args(more);
    for (name, value) in daemon.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

fn status(place: &Place) -> Value {
    place.get("/api/monitoring/status")
}

/// 64 descriptors, and clients that want more of them. Watching has taken its own before.
#[test]
fn too_few_descriptors_cost_clients_and_not_agents() {
    const AGENTS: usize = 100;
    let place = Place::new();
    place.configure(BRISK);
    let herd = Herd::start(&place.path("."), AGENTS);
    let record = |(n, pid): (usize, &u32)| json!({"id": format!("a-{n:03}"), "pid": pid});
    let registry = place.register(&herd.pids.iter().enumerate().map(record).collect());
    let mut command = below("prlimit", &["--nofile=64:64".to_owned()], &place, &[]);
    let daemon = place.start_as_told(command.arg("--registry").arg(&registry));
    let known = |dashboard: &Value| {
        let agents = dashboard["agents"].as_array().unwrap();
        agents.iter().filter(|agent| agent["state"] == "running" && agent["metrics"]["cpuPercent"].is_number()).count()
    };
    until("all are known", || match known(&daemon.dashboard()) {
        AGENTS => Ok(()),
        count => Err(format!("{count}")),
    });
    let last_tick = || place.count("select max(tick) from ticks");
    let before = last_tick();
    let files = || fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count();
    let calm = files();
    // Silent, they may hold what they get for five seconds.
    let clients: Vec<TcpStream> = (0..150).map(|_| connect(daemon.address())).collect();
    let most = until("they hold all that they may", || match files() - calm {
        held @ 14.. => Ok(calm + held),
        held => Err(format!("{held} more than {calm}")),
    });
    until("watching goes on meanwhile", || match last_tick() - before {
        3.. => Ok(()),
        passes => Err(format!("{passes} passes")),
    });
    // The socket has places of its own.
    let now = place.get("/api/monitoring/status");
    drop(clients);
    println!("150 clients for 16 places; {calm} descriptors before, {most} meanwhile, of 64");
    assert_eq!((&now["counters"]["connectionsFailed"], &now["counters"]["ticksSkipped"]), (&json!(0), &json!(0)));
    assert!(most < 48, "half of them are nobody's but the daemon's");
    assert_eq!(known(&daemon.dashboard()), AGENTS, "all are watched as before");
    assert_eq!(now["counters"]["readErrors"], 0, "{now:#}");
    drop(herd);
    until("each end is seen", || {
        let dashboard = daemon.dashboard();
        let agents = dashboard["agents"].as_array().unwrap();
        let ended = agents.iter().filter(|agent| agent["state"] == "exited").count();
        if ended == AGENTS { Ok(()) } else { Err(format!("{ended}")) }
    });
    daemon.stop();
}

/// A cgroup of its own with so much memory, as far as this host allows one.
struct Cgroup {
    path: PathBuf,
    counter: &'static str,
}

impl Cgroup {
    fn make(name: &str, mib: u64) -> Option<Cgroup> {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        mounts.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            let (limit, counter) = match fields[2] {
                "cgroup" if fields[3].split(',').any(|option| option == "memory") => {
                    ("memory.limit_in_bytes", "memory.oom_control")
                }
                "cgroup2" => ("memory.max", "memory.events"),
                _ => return None,
            };
            let path = Path::new(fields[1]).join(format!("agent-monitor-{name}-{}", std::process::id()));
            fs::create_dir(&path).ok()?;
            let cgroup = Cgroup { path, counter };
            fs::write(cgroup.path.join(limit), (mib << 20).to_string()).ok()?;
            // Swap would only make it slow; not every kernel counts it.
            let _ = fs::write(cgroup.path.join("memory.swap.max"), "0");
            Some(cgroup)
        })
    }

    /// How often the kernel killed in it.
    fn kills(&self) -> u64 {
        let text = fs::read_to_string(self.path.join(self.counter)).unwrap();
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")).unwrap().trim().parse().unwrap()
    }

    fn start(&self, place: &Place) -> Daemon {
        let enter = format!(r#"echo $$ >{}/cgroup.procs && exec "$0" "$@""#, self.path.display());
        place.start_as_told(&mut below("sh", &["-c".to_owned(), enter], place, &[]))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.path);
    }
}

/// As large as it may be.
fn long_event(n: usize) -> Value {
    json!({"eventType": "note", "message": "x".repeat(60_000), "id": format!("{n}")})
}

/// A client that asks for as much as there is.
fn greedy(daemon: &Daemon, n: usize) -> Option<TcpStream> {
    let targets = [
        "/api/monitoring/events?limit=500",
        "/api/monitoring/agents/writer-0",
        "/api/monitoring/stream?after=1",
        "/api/monitoring/dashboard",
        "/metrics",
    ];
    let mut stream = TcpStream::connect(daemon.address()).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let target = targets[n % targets.len()];
    write!(stream, "GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").ok()?;
    Some(stream)
}

/// The status of an answer, of which no more is read.
fn status_of(mut stream: &TcpStream) -> Option<u16> {
    let mut head = [0; 12];
    stream.read_exact(&mut head).ok()?;
    std::str::from_utf8(&head[9..]).unwrap().parse().ok()
}

/// Tells something; whether that was acknowledged.
fn acknowledged(place: &Place, n: usize) -> bool {
    let Ok(mut stream) = UnixStream::connect(place.path("s")) else { return false };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let body = long_event(n).to_string();
    let head = format!("POST /api/monitoring/agents/writer-{}/events HTTP/1.1\r\nHost: localhost\r\n", n / 400);
    let sent = write!(stream, "{head}Connection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    sent.ok().and_then(|()| Answer::read(&mut stream)).is_some_and(|answer| answer.status == 201)
}

/// What clients make it hold is bounded, whatever they ask for and do not read.
#[test]
fn greedy_clients_do_not_exhaust_memory() {
    let large = if thorough() { 1_000 } else { 150 };
    let Some(cgroup) = Cgroup::make("greedy", 256) else {
        return println!("NOT TESTED: this host lets us make no memory cgroup");
    };
    let place = Place::new();
    let daemon = cgroup.start(&place);
    assert!((0..large).all(|n| acknowledged(&place, n)));
    let calm_mib = resident_mib(&daemon);
    let threads = || fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap().count();
    let (mut most_mib, mut most_threads, mut given, mut refused) = (0, 0, Vec::new(), 0);
    // All at once, and then one after the other.
    for batch in if thorough() { [200, 100] } else { [80, 20] } {
        let asking: Vec<TcpStream> = (0..batch).map(|n| greedy(&daemon, n).unwrap()).collect();
        for stream in asking {
            match status_of(&stream) {
                Some(200) => given.push(stream),
                Some(503) => refused += 1,
                other => panic!("{other:?}: {most_mib} MiB, {} kills", cgroup.kills()),
            }
            most_mib = most_mib.max(resident_mib(&daemon));
            most_threads = most_threads.max(threads());
        }
    }
    println!(
        "{} greedy clients and {refused} that were refused; {calm_mib} MiB resident before, {most_mib} at most; \
         {} kills; {most_threads} threads",
        given.len(),
        cgroup.kills()
    );
    assert_eq!(cgroup.kills(), 0);
    assert!(given.len() >= 20 && most_mib < 160, "{most_mib} MiB");
    assert!(most_threads < 64, "the unit allows 64: {most_threads}");
    assert_eq!(get(daemon.address(), "/readyz").json()["status"], "ready");
    // As soon as they are gone, others are answered.
    drop(given);
    until("a list is to be had", || match get(daemon.address(), "/api/monitoring/events?limit=500").status {
        200 => Ok(()),
        other => Err(format!("{other}")),
    });
    daemon.stop();
}

/// The kernel ends it for want of memory: what was acknowledged is there at the next start.
#[test]
fn a_kill_for_memory_loses_nothing_that_was_acknowledged() {
    let Some(cgroup) = Cgroup::make("killed", 24) else {
        return println!("NOT TESTED: this host lets us make no memory cgroup");
    };
    let place = Place::new();
    let daemon = cgroup.start(&place);
    let (mut told, mut held) = (Vec::new(), Vec::new());
    let mut n = 0;
    let deadline = Deadline::new();
    while cgroup.kills() == 0 {
        assert!(!deadline.is_over(), "it lives; {} told, {} held", told.len(), held.len());
        for _ in 0..20 {
            told.extend(acknowledged(&place, n).then(|| n.to_string()));
            held.extend(greedy(&daemon, n));
            n += 1;
        }
    }
    let (status, _) = daemon.ended();
    assert_eq!(status.signal(), Some(9));
    println!("killed {} times for want of memory, after {} were acknowledged", cgroup.kills(), told.len());
    assert!(!told.is_empty());
    let daemon = place.start(&[]);
    assert_eq!(daemon.get("/api/monitoring/status")["database"]["status"], "ok");
    daemon.stop();
    let database = place.database();
    let mut stored = database.prepare("select client_id from journal where client_id is not null").unwrap();
    let stored: BTreeSet<String> = stored.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert!(told.iter().all(|id| stored.contains(id)));
    assert!(stored.len() <= told.len() + 1, "{} of {}", stored.len(), told.len());
}

/// A log in files on a disk that is full: lines are lost and counted, and nothing else.
#[test]
fn a_log_without_room_costs_its_lines_only() {
    if !is_root() {
        return println!("NOT TESTED: only root can mount a small disk");
    }
    let mut place = Place::new();
    fs::create_dir(place.path("log")).unwrap();
    let log = place.path("log");
    place.change_world("--mount", &format!("mount -t tmpfs -o size=16k tmpfs {}", log.display()));
    place.configure(&format!("{BRISK}[log]\nlevel = \"debug\"\ndirectory = {log:?}\n"));
    // A second source that names the agents of the first: a line for each at debug, at every reading.
    let records: Vec<Value> = (0..500).map(|n| json!({"id": format!("double-{n}")})).collect();
    let first = place.register(&json!(records));
    let second = place.path("second.json");
    fs::copy(&first, &second).unwrap();
    let sources = ["--registry", first.to_str().unwrap(), "--registry", second.to_str().unwrap()];
    let daemon = place.start(&sources);
    let lost = until("lines are lost", || match status(&place)["counters"]["logLinesDropped"].as_u64() {
        Some(lost) if lost > 0 => Ok(lost),
        other => Err(format!("{other:?}")),
    });
    println!("{lost} lines of the log were lost");
    daemon.passes(2);
    assert_eq!(get(daemon.address(), "/readyz").json()["status"], "ready");
    let mut told = dial(&place.path("s"));
    let note = json!({"eventType": "note", "message": "m"});
    assert_eq!(post(&mut told, "/api/monitoring/agents/double-1/events", &note).status, 201);
    daemon.stop();
}
