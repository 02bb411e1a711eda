//! What is counted.

use std::path::Path;
use std::sync::mpsc::channel;
use std::sync::{Arc, atomic::Ordering};

use agent_monitor::clock::{Clock, ManualClock};
use agent_monitor::config::{Config, Directories};
use agent_monitor::feed::Present;
use agent_monitor::model::Pid;
use agent_monitor::monitor::Answer;
use agent_monitor::openmetrics::{self, Format, Own};
use agent_monitor::process::here::raise_open_files;
use agent_monitor::process::linux::{Forks, LinuxSource};
use agent_monitor::process::{ProcessSource, Watch};
use agent_monitor::store::{Op, Opened, StateLock, open};
use agent_monitor::{api, fingerprint};

#[path = "../../tests/bench/mod.rs"]
mod bench;

use bench::{Bench, NEW_YEAR, SECOND, record};

const AGENTS: u32 = 1_000;
/// Ticks whose rows there are to be stored.
const TICKS: u32 = 60;

/// One path.
pub(crate) struct Piece {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// Few and many.
    pub(crate) repetitions: [u32; 2],
    /// How many of what is named one repetition does.
    pub(crate) each: u32,
    pub(crate) run: fn(u32),
}

pub(crate) const PIECES: &[Piece] = &[
    Piece {
        name: "reading",
        what: "a member read, its files kept",
        repetitions: [1_000, 11_000],
        each: 1,
        run: readings,
    },
    Piece {
        name: "tick",
        what: "an agent's tick, its host in memory, without storing",
        repetitions: [10, 10 + TICKS],
        each: AGENTS,
        run: |repetitions| drop(ticks(repetitions)),
    },
    Piece { name: "row", what: "a sample stored", repetitions: [10, TICKS], each: AGENTS, run: rows },
    Piece {
        name: "fingerprint",
        what: "an error's fingerprint, of a trace of 16 lines",
        repetitions: [100, 1_100],
        each: 1,
        run: fingerprints,
    },
    Piece { name: "dashboard", what: "an agent on the dashboard", repetitions: [5, 25], each: AGENTS, run: dashboards },
    Piece { name: "metrics", what: "an agent in /metrics", repetitions: [5, 25], each: AGENTS, run: pages },
];

fn readings(repetitions: u32) {
    let mut source = LinuxSource::new(raise_open_files(), Forks::Scanned, Arc::new(|| ())).unwrap();
    let key = source.look(Pid::new(std::process::id().into()).unwrap()).unwrap().key;
    source.keep(key, Watch::Counters).unwrap();
    for _ in 0..repetitions {
        source.read(key, false).unwrap();
    }
}

/// A thousand agents, a third of them busy in each second.
fn ticks(repetitions: u32) -> Bench {
    let directories = Directories { state: "/state".into(), runtime: "/run".into() };
    let text =
        "[registry]\n[[registry.source]]\nkind = \"file\"\npath = \"/agents.json\"\n[sampling]\ninterval = \"1s\"\n";
    let config = Config::parse(text, Path::new("a text"), &directories).unwrap();
    let mut bench = Bench::watching(Arc::new(ManualClock::new(NEW_YEAR)), config);
    bench.clock.advance(SECOND);
    let pids: Vec<Pid> = (0..AGENTS).map(|_| bench.host.start("agent")).collect();
    let known = |(number, pid): (usize, &Pid)| record(&format!("agent-{number}"), "online", Some(*pid));
    bench.registry(pids.iter().enumerate().map(known).collect());
    for repetition in 0..repetitions as usize {
        for pid in pids.iter().skip(repetition % 3).step_by(3) {
            bench.host.burn(*pid, SECOND / 4);
            bench.host.set_memory(*pid, (100 + repetition as u64) << 20);
        }
        bench.pass(SECOND);
    }
    bench
}

fn rows(repetitions: u32) {
    let batches = ticks(TICKS).stored;
    let directory = tempfile::tempdir().unwrap();
    let lock = StateLock::acquire(directory.path()).unwrap();
    let Opened { writer, handle, stats, .. } = open(lock, Box::new(drop)).unwrap();
    let thread = std::thread::spawn(|| writer.run());
    let (sender, done) = channel();
    let mut ticks = 0;
    for batch in batches {
        ticks += u32::from(!batch.samples.is_empty());
        let sender = sender.clone();
        let reply = Some(Answer::new(move |result: Result<_, _>| drop(sender.send(result.map(drop)))));
        assert!(handle.submit(Op::Store { batch, reply }).is_ok());
        done.recv().unwrap().unwrap();
        if ticks == repetitions {
            break;
        }
    }
    drop(handle);
    thread.join().unwrap();
    assert!(stats.database_size_bytes.load(Ordering::Relaxed) > 0);
}

fn fingerprints(repetitions: u32) {
    let message = "request 4711 of session 0x7f3a11 to https://registry.example:8443/v2/items failed after 3012 ms";
    let frames = (1..15)
        .map(|n| format!("    at Parser.step{n} (file:///home/someone/project/dist/parser.{n}.js:{}:{n})\n", 100 * n));
    let stack = format!("TypeError: {message}\n{}", frames.collect::<String>());
    for _ in 0..repetitions {
        assert_eq!(fingerprint::of("coder", "TypeError", message, Some(&stack)).len(), 32);
    }
}

fn dashboards(repetitions: u32) {
    let bench = ticks(3);
    let present = Present::alone(Arc::clone(bench.snapshot.as_ref().unwrap()));
    for _ in 0..repetitions {
        assert!(api::dashboard(&present).len() > 100 * AGENTS as usize);
    }
}

fn pages(repetitions: u32) {
    let bench = ticks(3);
    let own = Own {
        version: "0",
        now: bench.clock.now().wall,
        tick: None,
        database_bytes: 0,
        queue_length: 0,
        dropped: &[],
        reloaded: true,
    };
    for _ in 0..repetitions {
        assert!(openmetrics::render(Format::OpenMetrics, bench.snapshot(), &own).len() > 100 * AGENTS as usize);
    }
}
