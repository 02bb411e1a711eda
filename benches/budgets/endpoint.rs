//! B9: what the dashboard costs those who ask. B10: how soon the end of an agent is on the stream.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use agent_monitor::clock::monotonic;
use axum::Router;
use axum::body::Bytes;
use axum::routing::get;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::daemon::Daemon;
use super::herd::{Ends, Floor};
use super::report::{Bound, Measured, Report, mean, median};
use super::{Options, herd, tell};

const B9: (usize, f64) = (1_000, 1.3);
/// Agents, and how many times as long it may take until somebody else hears of an end as one who only waits for it.
const B10: (usize, f64) = (4_000, 4.0);
const DASHBOARD: &str = "/api/monitoring/dashboard";

pub(crate) fn measure(report: &mut Report, floor: &Floor, options: &Options) {
    if options.wants("B9") {
        dashboard(report, floor, options.quick);
    }
    if options.wants("B10") {
        exits(report, floor, options.quick);
    }
}

/// The same document from the daemon and from axum with nothing behind it, by turns, each over one connection.
fn dashboard(report: &mut Report, floor: &Floor, quick: bool) {
    let (size, most) = B9;
    tell(&format!("B9: the dashboard of {size} agents"));
    let Some(herd) = herd(floor, size) else { return report.leave_out("B9", "too few processes are allowed") };
    let daemon = Daemon::start(&herd, "1s");
    let mut ours = Asker::connect(daemon.address);
    let document = loop {
        let document = ours.get(DASHBOARD);
        // All have two readings.
        if document.windows(10).filter(|window| window == b"cpuPercent").count() == size
            && !document.windows(17).any(|window| window == b"\"cpuPercent\":null")
        {
            break document;
        }
    };
    let mut bare = Asker::connect(prebuilt(document.clone()));
    let rounds = if quick { 200 } else { 4_000 };
    let (mut ours_us, mut bare_us) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        ours_us.push(timed_us(|| drop(ours.get(DASHBOARD))));
        bare_us.push(timed_us(|| drop(bare.get(DASHBOARD))));
    }
    report.add(Measured {
        budget: "B9",
        what: format!("the dashboard of {size} agents, {} KB", document.len() / 1000),
        ours: mean(&ours_us),
        unit: "µs",
        bound: Bound::Ratio { floor: mean(&bare_us), of: "axum sending the same bytes prebuilt", most },
        notes: vec![format!(
            "means of {rounds} requests each, by turns, a second's rendering included; medians {:.0} and {:.0} µs",
            median(&ours_us),
            median(&bare_us)
        )],
    });
    daemon.stop();
}

/// From the kill to the line of the stream that says that the agent is down.
fn exits(report: &mut Report, floor: &Floor, quick: bool) {
    let (size, most) = B10;
    tell(&format!("B10: exits with {size} agents"));
    let count = if quick { 100 } else { 1_000 };
    // Of the same size: the more that were forked by one, the dearer can the end of each be to the kernel.
    let (Some(herd), Some(bare)) = (herd(floor, size), herd(floor, size)) else {
        return report.leave_out("B10", "too few processes are allowed");
    };
    let daemon = Daemon::start(&herd, "10s");
    let mut asker = Asker::connect(daemon.address);
    while !contains(&asker.get(DASHBOARD), &format!("\"agentId\":\"agent-{:05}\"", size - 1)) {}
    let mut stream = BufReader::new(TcpStream::connect(daemon.address).unwrap());
    let ask = "GET /api/monitoring/stream?type=metrics_update HTTP/1.0\r\nHost: localhost\r\n\r\n";
    stream.get_mut().write_all(ask.as_bytes()).unwrap();
    let mut line = Vec::new();
    let mut until = |text: &str| loop {
        line.clear();
        assert!(stream.read_until(b'\n', &mut line).unwrap() > 0, "the stream goes on");
        if contains(&line, text) {
            return;
        }
    };
    until("event: hello");
    let mut ends = Ends::start(floor, &bare);
    let (mut took_ms, mut bare_ms) = (Vec::new(), Vec::new());
    for (number, (pid, bare)) in herd.pids.iter().zip(&bare.pids).take(count).enumerate() {
        let down = format!("{{\"agentId\":\"agent-{number:05}\",\"status\":\"offline\"");
        took_ms.push(end_ms(*pid, || until(&down)));
        // One at a time, and not in step with the daemon.
        super::whole::pause(Duration::from_millis(20));
        bare_ms.push(end_ms(*bare, || ends.until(&bare.to_string())));
        super::whole::pause(Duration::from_millis(20));
    }
    took_ms.sort_by(f64::total_cmp);
    bare_ms.sort_by(f64::total_cmp);
    for (part, place) in [("p50", count / 2), ("p99", count * 99 / 100)] {
        report.add(Measured {
            budget: "B10",
            what: format!("exit to the stream with {size} agents, {part}"),
            ours: took_ms[place],
            unit: "ms",
            bound: Bound::Ratio { floor: bare_ms[place], of: "one who only waits for pidfds", most },
            notes: vec![format!(
                "{count} kills at an interval of 10 s, slowest {:.2} and {:.2} ms",
                took_ms[count - 1],
                bare_ms[count - 1]
            )],
        });
    }
    daemon.stop();
}

/// Kills a process, and returns how long it took until that was told.
fn end_ms(pid: u32, told: impl FnOnce()) -> f64 {
    let pid = Pid::from_raw(pid.try_into().unwrap());
    timed_us(|| {
        kill(pid, Signal::SIGKILL).unwrap();
        told();
    }) / 1000.0
}

fn timed_us(work: impl FnOnce()) -> f64 {
    let before = monotonic();
    work();
    monotonic().since(before).as_secs_f64() * 1e6
}

fn contains(text: &[u8], part: &str) -> bool {
    // The lines of a tick are long, and what is looked for begins with a rare byte.
    std::str::from_utf8(text).unwrap().contains(part)
}

/// axum, and bytes that it has already.
fn prebuilt(document: Vec<u8>) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let document = Bytes::from(document);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let router = Router::new().route(DASHBOARD, get(move || async move { document.clone() }));
            axum::serve(tokio::net::TcpListener::from_std(listener).unwrap(), router).await
        })
    });
    address
}

/// Asks over one connection that stays open.
struct Asker(BufReader<TcpStream>);

impl Asker {
    fn connect(address: SocketAddr) -> Asker {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Asker(BufReader::with_capacity(1 << 16, stream))
    }

    fn get(&mut self, target: &str) -> Vec<u8> {
        write!(self.0.get_mut(), "GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            match line.trim_end().to_lowercase().split_once(": ") {
                Some(("content-length", value)) => length = value.parse().unwrap(),
                Some(_) => {}
                None if line.trim_end().is_empty() => break,
                None => assert!(line.contains("200"), "{line}"),
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        body
    }
}
