//! What the daemon holds, second by second.

use std::fs;

use crate::harness::{Daemon, Place};

const MIB: u64 = 1 << 20;

/// What it holds at one moment.
struct Look {
    resident: u64,
    files: u64,
    threads: u64,
    log: u64,
    database: u64,
    waiting: u64,
    skipped: u64,
    dropped: u64,
}

/// One look after the other.
#[derive(Default)]
pub(crate) struct Course(Vec<Look>);

impl Course {
    pub(crate) fn look(&mut self, daemon: &Daemon, place: &Place) {
        let text = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse::<u64>().unwrap()
        };
        let files = fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count() as u64;
        let size = |name: &str| fs::metadata(place.state().join(name)).map_or(0, |file| file.len());
        // Over the socket, so that it does not wait for a place.
        let status = place.get("/api/monitoring/status");
        let number = |pointer: &str| status.pointer(pointer).unwrap().as_u64().unwrap();
        self.0.push(Look {
            resident: field("VmRSS:") * 1024,
            files,
            threads: field("Threads:"),
            log: size("agent-monitor.db-wal"),
            database: size("agent-monitor.db"),
            waiting: number("/database/queueLength"),
            skipped: number("/counters/ticksSkipped"),
            dropped: number("/counters/streamsDropped"),
        });
    }

    pub(crate) fn print_last(&self, second: u64) {
        let look = self.0.last().unwrap();
        println!(
            "{second:>5} s: {:>4} MiB resident, {:>4} descriptors, {:>3} threads, log {:>3} MiB, database {:>5} MiB, \
             {:>3} wait, {} passes skipped, {} streams let go",
            look.resident / MIB,
            look.files,
            look.threads,
            look.log / MIB,
            look.database / MIB,
            look.waiting,
            look.skipped,
            look.dropped
        );
    }

    /// The second half against the first, without its beginning.
    pub(crate) fn judge(&self) {
        let from = self.0.len() / 10;
        let (first, second) = self.0[from..].split_at((self.0.len() - from) / 2);
        let median = |looks: &[Look], of: fn(&Look) -> u64| {
            let mut all: Vec<u64> = looks.iter().map(of).collect();
            all.sort_unstable();
            all[all.len() / 2]
        };
        let most = |looks: &[Look], of: fn(&Look) -> u64| looks.iter().map(of).max().unwrap();
        for (what, of, slack) in [
            ("resident bytes", (|look: &Look| look.resident) as fn(&Look) -> u64, 8 * MIB),
            ("descriptors", |look| look.files, 8),
            ("threads", |look| look.threads, 8),
            ("bytes of the log", |look| look.log, 8 * MIB),
        ] {
            let (before, after) = (median(first, of), median(second, of));
            println!(
                "{what}: half of the time at most {before}, then {after}; most {} and {}",
                most(first, of),
                most(second, of)
            );
            assert!(after <= before + before / 10 + slack, "{what} grow from {before} to {after}");
        }
        assert!(most(&self.0, |look| look.log) < 64 * MIB, "the log is written back");
    }
}
