//! Trees of every shape, each in a control group of its own with a bystander.

use std::process::Command;

use super::group::Group;
use crate::tree::{Tree, child, shell};

/// A root that is told to work, and a group that tells what that took.
pub(super) struct Workload {
    pub(super) id: &'static str,
    pub(super) tree: Tree,
    pub(super) group: Group,
    /// In the same group, and of no tree.
    pub(super) bystander: Tree,
    /// What the root is told.
    pub(super) work: String,
    /// How many of the tree say "done" when they have.
    pub(super) says: u32,
    /// How far below the truth the account may be, as a part of it: budget B11 of docs/performance.md.
    pub(super) tolerance: f64,
    /// The counters in clock ticks that are cut down to whole ones: two of each process that is still there, or that
    /// nobody waited for, and two for all that the root waited for.
    pub(super) counters: u32,
    /// Whether all that was used is in the counters of processes that are still there.
    pub(super) exact: bool,
    /// Whether a scan finds all that belongs to it: where nobody tells of forks, what left both its session and its
    /// parents behind before it was seen is nobody's.
    pub(super) by_scan: bool,
}

/// Children that nobody waits for: what such a one uses after its last reading is lost. They burn, and stay for longer
/// than the time between two readings.
const AUTO_REAPING: &str = r#"
    my ($burn, $stay) = @ARGV;
    $SIG{CHLD} = "IGNORE";
    $| = 1;
    print "ready\n";
    sub used { my ($user, $system) = times; $user + $system }
    while (<STDIN>) {
        for my $child (1 .. 3) {
            if (!fork) { 1 while used() < $burn; select(undef, undef, undef, $stay); exit }
        }
        wait; # until there is none left: their statuses are not kept
        print "done\n";
    }"#;

/// Four threads that burn a quarter each, beside each other: hashing large data needs no lock of the interpreter.
const THREADS: &str = r#"
import hashlib, sys, threading, time
data = bytes(1 << 20)
print("ready", flush=True)
def burn():
    while time.thread_time() < float(sys.argv[1]) / 4:
        hashlib.sha256(data).digest()
for line in sys.stdin:
    threads = [threading.Thread(target=burn) for _ in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    print("done", flush=True)
"#;

/// Every shape, each burning about this many seconds, to be read at least as often as every `interval` seconds. None
/// where there is no control group to compare with.
pub(super) fn workloads(seconds: u32, interval: u32) -> Option<Vec<Workload>> {
    let of = |id, mut command: Command, work: String| -> Option<Workload> {
        let group = Group::new(id)?;
        let (tree, mut bystander) = (group.tree(&mut command), group.tree(&mut shell()));
        bystander.ask("echo ready");
        let (tolerance, counters) = (0.005, 4);
        Some(Workload { id, tree, group, bystander, work, says: 1, tolerance, counters, exact: true, by_scan: true })
    };
    let told = |id, work: String| -> Option<Workload> {
        let mut one = of(id, shell(), work)?;
        one.tree.tell("echo ready");
        Some(one)
    };
    let ticks = seconds * 100;
    let count = |loops: u32| child(&format!("n=0; while [ \\$n -lt {loops} ]; do n=\\$((\\$n + 1)); done"));
    let lone = |ticks: u32| child(&format!("burn {ticks}; echo done; sleep 1000"));
    let brief = count(4_000);
    let one_of_500 = count(seconds * 1_200);
    let seen = child(&format!("{} & sleep 1.5", lone(ticks).replace('"', "\\\"").replace('$', "\\$")));
    let orphans =
        child(&format!("for i in 1 2 3; do burn {} && echo done && sleep 1000 & done; kill -9 \\$\\$", ticks / 3));
    let mut reaping = Command::new("perl");
    reaping.args([
        "-e",
        AUTO_REAPING,
        &format!("{}", f64::from(seconds) / 3.0),
        &format!("{}", 2.5 * f64::from(interval)),
    ]);
    let mut threads = Command::new("python3");
    threads.args(["-c", THREADS, &seconds.to_string()]);
    let workloads = vec![
        told("steady", format!("burn {ticks}; echo done"))?,
        told(
            "brief",
            format!("i=0; while [ $i -lt {} ]; do {brief}; sleep 0.01; i=$((i + 1)); done; echo done", seconds * 110),
        )?,
        told(
            "between",
            format!("for i in 1 2 3 4; do {}; sleep 0.3; done; echo done", child(&format!("burn {}", ticks / 4))),
        )?,
        told(
            "crowd",
            format!(
                "for w in 1 2 3 4 5; do i=0; while [ $i -lt 100 ]; do {one_of_500} & i=$((i + 1)); done; wait; done; echo done"
            ),
        )?,
        told("execs", format!("{}; echo done", child(&format!("become {}", ticks / 40))))?,
        of("threads", threads, "go".into())?,
        Workload { tolerance: 0.02, counters: 4 + 2, ..told("daemonised", format!("({} &)", lone(ticks)))? },
        Workload {
            tolerance: 0.02,
            counters: 4 + 2,
            by_scan: false,
            ..told("own-session", format!("(setsid {} &)", lone(ticks)))?
        },
        Workload { tolerance: 0.02, counters: 4 + 2, ..told("seen-first", seen)? },
        Workload { tolerance: 0.02, counters: 4 + 2 * 3, says: 3, ..told("orphans", orphans)? },
        Workload { tolerance: 0.05, counters: 2 + 2 * 3, exact: false, ..of("auto-reaped", reaping, "go".into())? },
    ];
    // Starting is work as well, and would be between one reading and another.
    for one in &workloads {
        assert_eq!(one.tree.hear(), "ready", "{}", one.id);
    }
    Some(workloads)
}
