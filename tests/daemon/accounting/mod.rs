//! Processor time held against what the kernel charged: `cpu.stat` of a control group (cgroup v2) that the tree shares
//! only with a bystander whose own time is known.
//!
//! `AGENT_MONITOR_TEST_CPU_SECONDS` says how much each tree burns, 1 s without it. With 30 s and more, a daemon that
//! samples every ten seconds watches as well, and the budget is held without any allowance for clock ticks.

mod group;
mod storage;
mod workloads;

use std::time::Duration;

use serde_json::json;

use self::group::{scheduled_us, tick_us};
use self::workloads::{Workload, workloads};
use crate::harness::{Daemon, Place, Way};

/// From how many seconds on a clock tick weighs too little to be allowed for.
const PROOF: u32 = 30;

/// What a daemon of its own showed of each tree.
struct Watch {
    way: Way,
    interval: u32,
    place: Place,
    daemon: Daemon,
    before: Vec<f64>,
}

impl Watch {
    fn start(way: Way, interval: u32, workloads: &[Workload]) -> Watch {
        let place = Place::of(way);
        let record = |one: &Workload| json!({ "id": one.id, "pid": one.tree.pid() });
        let registry = place.register(&workloads.iter().map(record).collect());
        let every = format!("{interval}s");
        let registry = registry.to_str().unwrap();
        let daemon = place.start_as_told(place.command().args(["--interval", &every, "--registry", registry]));
        let before = workloads.iter().map(|one| {
            // What a process used before it was known is nobody's.
            daemon.until_known(one.id);
            shown_us(&daemon, one.id)
        });
        Watch { way, interval, before: before.collect(), place, daemon }
    }
}

fn shown_us(daemon: &Daemon, id: &str) -> f64 {
    daemon.agent(id)["metrics"]["cpuSeconds"].as_f64().unwrap() * 1e6
}

#[test]
#[expect(clippy::disallowed_methods, reason = "how long it takes is for who starts it to say")]
fn what_the_kernel_charged_is_what_is_shown() {
    let seconds = std::env::var("AGENT_MONITOR_TEST_CPU_SECONDS").map_or(1, |text| text.parse().unwrap());
    let intervals: &[u32] = if seconds >= PROOF { &[1, 10] } else { &[1] };
    println!("each tree burns about {seconds} s, read every {intervals:?} s");
    let longest = *intervals.last().unwrap();
    let Some(mut workloads) = workloads(seconds, longest) else {
        assert!(!rustix::process::geteuid().is_root(), "root may write to a cgroup v2: where is it mounted?");
        return println!("not root: no cgroup to compare with");
    };
    let kinds = intervals.iter().flat_map(|interval| Way::all().iter().map(|way| (*way, *interval)));
    let watches: Vec<Watch> = kinds.map(|(way, interval)| Watch::start(way, interval, &workloads)).collect();
    let mut before = Vec::new();
    for one in &mut workloads {
        let bystander = one.bystander.pid();
        before.push((one.group.used_us() - scheduled_us(bystander), one.group.shown_us(bystander)));
        one.tree.tell(&one.work);
        one.bystander.tell(&format!("burn {}; echo done", seconds * 10));
    }
    for one in &workloads {
        let patience = Duration::from_secs(60 + 60 * u64::from(seconds));
        for _ in 0..one.says {
            assert_eq!(one.tree.hear_within(patience), "done", "{}", one.id);
        }
        assert_eq!(one.bystander.hear_within(patience), "done");
    }
    let mut wrong = Vec::new();
    for watch in &watches {
        // What ended may come up in the counter of who waited for it one reading later, at the most two.
        watch.daemon.readings("steady", 3);
        println!("{:?}, every {} s:", watch.way, watch.interval);
        for ((one, (used, in_proc)), shown) in workloads.iter().zip(&before).zip(&watch.before) {
            let bystander = one.bystander.pid();
            let truth = one.group.used_us() - scheduled_us(bystander) - used;
            let in_proc = one.group.shown_us(bystander) - in_proc;
            let shown = shown_us(&watch.daemon, one.id) - shown;
            let off = |us: f64| 100.0 * (us - truth) / truth;
            println!(
                "{:12} {truth:10.0} µs charged, in /proc {:+.3} %, shown {:+.3} %",
                one.id,
                off(in_proc),
                off(shown)
            );
            // The root had used less than a tick more than each of its two counters said when it was first read.
            let unseen = watch.way == Way::Scanned && !one.by_scan;
            let above = shown > truth + 2.0 * tick_us();
            let ticks = if seconds < PROOF { f64::from(one.counters) * tick_us() } else { 0.0 };
            let below = !unseen && shown < truth * (1.0 - one.tolerance) - ticks;
            // To the tick: nothing of what the counters say is lost, whatever the tree did.
            let inexact = !unseen && one.exact && (shown - in_proc).abs() > 1.0;
            if above || below || inexact || truth < 0.25e6 * f64::from(seconds) {
                wrong.push(format!(
                    "{:?}, every {} s, {}: the kernel charged {truth:.0} µs, {in_proc:.0} are in /proc, {shown:.0} are shown",
                    watch.way, watch.interval, one.id
                ));
            }
        }
        assert_eq!(watch.place.count("select count(*) from agent_runs where ended_at is not null"), 0);
    }
    assert_eq!(wrong, [] as [String; 0]);
}
