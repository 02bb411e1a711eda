//! Processor time held against what the kernel charged: `cpu.stat` of a control group (cgroup v2) that the tree has to
//! itself, or shares with a bystander whose own time is known.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use super::harness::{Place, until};
use super::tree::{Tree, child, shell};

/// A control group of its own, removed when dropped.
struct Group(PathBuf);

impl Group {
    /// None where there is no cgroup v2 that we may write to.
    fn new(name: &str) -> Option<Group> {
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let root = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>()).find(|line| line[2] == "cgroup2")?[1];
        let path = Path::new(root).join(format!("agent-monitor-test-{}-{name}", std::process::id()));
        fs::create_dir(&path).ok()?;
        let group = Group(path);
        group.used_us().is_some().then_some(group)
    }

    /// A tree that is in the group from its first instruction on.
    fn tree(&self, command: &mut Command) -> Tree {
        let mut enter = Command::new("sh");
        enter.args(["-c", r#"echo $$ >"$0/cgroup.procs" && exec "$@""#]).arg(&self.0);
        Tree::of(enter.arg(command.get_program()).args(command.get_args()))
    }

    /// What the kernel charged to it.
    fn used_us(&self) -> Option<f64> {
        let stat = fs::read_to_string(self.0.join("cpu.stat")).ok()?;
        stat.lines().find_map(|line| line.strip_prefix("usage_usec "))?.parse().ok()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
        until("the group is empty", || fs::remove_dir(&self.0).map_err(|error| error.to_string()));
    }
}

/// What the kernel charged to a process of one thread, microseconds: sched-stats, `/proc/PID/schedstat`.
fn scheduled_us(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e3
}

/// A root that is told to work, and a group that tells what that took.
struct Workload {
    id: &'static str,
    tree: Tree,
    group: Group,
    /// In the same group, and of no tree.
    bystander: Option<Tree>,
    /// What the root is told. It says "done" when it has.
    work: String,
    /// How far below the truth the account may be, as a part of it.
    tolerance: f64,
    /// The counters in clock ticks that are cut down to whole ones: two of each process that is still there, or that
    /// nobody waited for, and two for all that the root waited for.
    counters: u32,
}

/// Only what nobody waits for may be lost, and only what it used after its last reading.
const AUTO_REAPING: &str = r#"
    $SIG{CHLD} = "IGNORE";
    $| = 1;
    sub used { my ($user, $system) = times; $user + $system }
    while (<STDIN>) {
        for my $child (1 .. 3) {
            if (!fork) { 1 while used() < 0.8; select(undef, undef, undef, 2.5); exit }
        }
        wait; # until there is none left: their statuses are not kept
        print "done\n";
    }"#;

fn workloads() -> Option<Vec<Workload>> {
    let new = |id, work: String| -> Option<Workload> {
        let group = Group::new(id)?;
        let tree = group.tree(&mut shell());
        Some(Workload { id, tree, group, bystander: None, work, tolerance: 0.005, counters: 4 })
    };
    let brief = child("n=0; while [ \\$n -lt 4000 ]; do n=\\$((\\$n + 1)); done");
    let mut beside = new("beside", "burn 150; echo done".into())?;
    beside.bystander = Some(beside.group.tree(&mut shell()));
    let lone = child("burn 100; echo done; sleep 1000");
    let mut all = vec![
        new("steady", "burn 200; echo done".into())?,
        new("brief", format!("i=0; while [ $i -lt 200 ]; do {brief}; sleep 0.01; i=$((i + 1)); done; echo done"))?,
        new("between", format!("for i in 1 2 3 4; do {}; sleep 0.3; done; echo done", child("burn 50")))?,
        new("execs", format!("{}; echo done", child("become 4")))?,
        beside,
        Workload { tolerance: 0.02, counters: 4 + 2 * 2, ..new("daemonised", format!("burn 50; ({lone} &)"))? },
    ];
    if Command::new("perl").arg("-e1").status().is_ok_and(|status| status.success()) {
        let reaped = new("auto-reaped", "go".into())?;
        let tree = reaped.group.tree(Command::new("perl").args(["-e", AUTO_REAPING]));
        all.push(Workload { tree, tolerance: 0.05, counters: 2 + 2 * 3, ..reaped });
    }
    Some(all)
}

#[test]
fn what_the_kernel_charged_is_what_is_shown() {
    let Some(mut workloads) = workloads() else {
        return eprintln!("no cgroup v2 that may be written to: nothing to compare with");
    };
    if workloads.iter().all(|one| one.id != "auto-reaped") {
        eprintln!("no perl: a shell cannot let its children go unwaited for");
    }
    let place = Place::new();
    let record = |one: &Workload| json!({ "id": one.id, "pid": one.tree.pid() });
    place.register(&workloads.iter().map(record).collect());
    let daemon = place.start_with_registry();
    let shown_us = |id: &str| daemon.agent(id)["metrics"]["cpuSeconds"].as_f64().unwrap() * 1e6;

    let mut before = Vec::new();
    for one in &mut workloads {
        // What a process used before it was known is nobody's.
        daemon.until_known(one.id);
        before.push((one.group.used_us().unwrap(), shown_us(one.id)));
        one.tree.tell(&one.work);
        if let Some(bystander) = &mut one.bystander {
            bystander.tell("burn 100; echo done");
        }
    }
    for one in &workloads {
        assert_eq!(one.tree.hear(), "done", "{}", one.id);
        assert!(one.bystander.as_ref().is_none_or(|bystander| bystander.hear() == "done"));
    }
    // What ended may come up in the counter of who waited for it one reading later, at the most two.
    daemon.readings("steady", 3);
    let tick_us = 1e6 / rustix::param::clock_ticks_per_second() as f64;
    let mut wrong = Vec::new();
    for (one, (truth_before, shown_before)) in workloads.iter().zip(before) {
        let strangers_us = one.bystander.as_ref().map_or(0.0, |bystander| scheduled_us(bystander.pid()));
        let truth = one.group.used_us().unwrap() - truth_before - strangers_us;
        let shown = shown_us(one.id) - shown_before;
        let off = 100.0 * (shown - truth) / truth;
        println!("{:12} {:9.0} µs charged, {:9.0} µs shown: {off:+.2} %", one.id, truth, shown);
        // The root had used less than a tick more than each of its two counters said when it was first read.
        let above = shown > truth + 2.0 * tick_us;
        let below = shown < truth * (1.0 - one.tolerance) - f64::from(one.counters) * tick_us;
        if above || below || truth < 1e6 {
            wrong.push(format!("{}: the kernel charged {truth:.0} µs, {shown:.0} µs are shown", one.id));
        }
    }
    assert_eq!(wrong, [] as [String; 0]);
}
