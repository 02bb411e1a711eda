//! Cost and memory with many agents, and accuracy with one that is busy.

use std::env;
use std::io::{PipeWriter, pipe};
use std::path::Path;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::Options;
use crate::group::Grouped;
use crate::report::{Report, Row, median};
use crate::services::{Kind, Programs, Service, WATCHED};

/// A `ps` for each of a thousand would take longer than a round may.
const PS_PROCESSES: usize = 50;
const SECOND: Duration = Duration::from_secs(1);

/// The floor, and those that are asked for a round.
fn asked(what: &str, pids: &[u32], programs: &Programs, floor: Option<&Path>) -> Vec<(&'static str, usize, Grouped)> {
    let own = env::current_exe().expect("ourselves");
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let library = |name: &'static str, program: &Path, first: &[&str], count: usize| {
        let mut command = Command::new(program);
        command.args(first).arg(what).args(pids[..count].iter().map(u32::to_string));
        (name, count, Grouped::start(name, &command))
    };
    let all = pids.len();
    let mut asked = Vec::new();
    if let Some(floor) = floor {
        let mut command = Command::new(floor);
        command.arg("open").args(pids.iter().map(u32::to_string));
        asked.push(("floor", all, Grouped::start("floor", &command)));
        asked.push(library("ps", &own, &["rounds", "ps"], all.min(PS_PROCESSES)));
    }
    asked.push(library("procfs", &own, &["rounds", "procfs"], all));
    asked.push(library("sysinfo", &own, &["rounds", "sysinfo"], all));
    asked.push(library("heim", &here.join("heim/target/release/heim-peer"), &[], all));
    let script = here.join("psutil_rounds.py");
    asked.push(library("psutil", &programs.python.join("python3"), &[&script.to_string_lossy()], all));
    asked
}

/// Microseconds for each process and round, and memory.
pub fn cost(report: &mut Report, options: &Options, directory: &Path) {
    let watched = directory.join(WATCHED);
    let floor = directory.join("floor");
    for (program, source) in [
        (&watched, concat!(env!("CARGO_MANIFEST_DIR"), "/../herd.c")),
        (&floor, concat!(env!("CARGO_MANIFEST_DIR"), "/../floor.c")),
    ] {
        let status = Command::new("cc").args(["-O2", "-o"]).arg(program).arg(source).status();
        assert!(status.expect("a C compiler").success(), "{source} cannot be compiled");
    }
    let herd = Herd::start(&watched, options.agents);
    let mut peers = asked("herd", &herd.pids, &options.programs, Some(&floor));
    let mut costs: Vec<Vec<f64>> = vec![Vec::new(); peers.len()];
    for round in 0..=options.seconds {
        for ((_, count, group), costs) in peers.iter_mut().zip(&mut costs) {
            let before = group.used_us();
            assert!(!group.ask("").is_empty(), "it answers");
            // The first round opens and learns.
            if round > 0 {
                costs.push((group.used_us() - before) / *count as f64);
            }
        }
    }
    for ((name, count, group), costs) in peers.iter().zip(&costs) {
        let note = if *count < options.agents { format!("{count} of the processes") } else { String::new() };
        report.cost(Row { name, us: median(costs), memory_mb: group.resident_mb(), note });
    }
    let mut floors = peers.swap_remove(0).2;
    drop(peers);
    for kind in Kind::ALL {
        let mut service = Service::start(kind, &options.programs, &herd.pids);
        let started = Instant::now();
        while service.watches() < options.agents {
            assert!(started.elapsed() < 120 * SECOND, "{} watches {}", kind.name(), service.watches());
            sleep(SECOND);
        }
        let (before, start) = (service.group.used_us(), Instant::now());
        let mut floor_us = Vec::new();
        for second in 1..=options.seconds {
            let floor_before = floors.used_us();
            floors.ask("");
            floor_us.push((floors.used_us() - floor_before) / options.agents as f64);
            service.second();
            sleep((start + SECOND * u32::try_from(second).expect("a few")).saturating_duration_since(Instant::now()));
        }
        let looks = start.elapsed().as_secs_f64() / kind.interval();
        let us = (service.group.used_us() - before) / looks / options.agents as f64;
        let note = format!("all of it, every {} s; the floor meanwhile {:.2} µs", kind.interval(), median(&floor_us));
        report.cost(Row { name: kind.name(), us, memory_mb: service.group.resident_mb(), note });
    }
}

/// One agent that starts short children, shown by all at the same time, against what the kernel charged to it.
pub fn accuracy(report: &mut Report, options: &Options, directory: &Path) {
    let shell = directory.join("agent").join(WATCHED);
    std::fs::create_dir(directory.join("agent")).and_then(|()| std::fs::copy("/bin/sh", &shell)).expect("a shell");
    let count = options.seconds * 30;
    let work = format!(
        "read go; for i in $(seq {count}); do /bin/sh -c 'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done'; done; \
         echo done; read end"
    );
    let mut agent = Grouped::start("agent", Command::new(&shell).args(["-c", &work]));
    let mut services: Vec<Service> =
        Kind::ALL.iter().map(|kind| Service::start(*kind, &options.programs, &[agent.pid()])).collect();
    let mut libraries = asked("tree", &[agent.pid()], &options.programs, None);
    let started = Instant::now();
    while services.iter().any(|service| service.watches() < 1) {
        assert!(started.elapsed() < 60 * SECOND, "all watch");
        sleep(SECOND);
    }
    let seen = |services: &mut [Service], libraries: &mut [(&str, usize, Grouped)]| -> Vec<f64> {
        let mut all: Vec<f64> = services.iter_mut().map(Service::shown).collect();
        all.extend(libraries.iter_mut().map(|(_, _, group)| group.ask("").parse::<f64>().expect("a number")));
        all
    };
    let (truth_before, before) = (agent.used_us(), seen(&mut services, &mut libraries));
    let worker = std::thread::spawn(move || {
        assert_eq!(agent.ask("go"), "done");
        agent
    });
    let mut second = 0;
    // Three more, for those that look seldom.
    let mut rest = 3;
    while rest > 0 {
        sleep(SECOND);
        second += 1;
        if worker.is_finished() {
            rest -= 1;
        }
        seen(&mut services, &mut libraries);
        services.iter_mut().for_each(Service::second);
        if second % 3 == 0 {
            services.iter_mut().for_each(Service::add_up);
        }
    }
    let agent = worker.join().expect("it worked");
    let truth = (agent.used_us() - truth_before) / 1e6;
    let after = seen(&mut services, &mut libraries);
    let names = services.iter().map(|service| service.kind.name()).chain(libraries.iter().map(|(name, ..)| *name));
    for (name, (before, after)) in names.zip(before.into_iter().zip(after)) {
        report.accuracy(name, after - before, truth);
    }
}

/// Processes that sleep until it is dropped, no child of one another.
struct Herd {
    children: Vec<Child>,
    pids: Vec<u32>,
    end: Option<PipeWriter>,
}

impl Herd {
    fn start(program: &Path, count: usize) -> Herd {
        let (input, end) = pipe().expect("a pipe");
        let start = |_| {
            let mut command = Command::new(program);
            command.arg("0").stdin(input.try_clone().expect("a descriptor"));
            command.spawn().expect("another process")
        };
        let children: Vec<Child> = (0..count).map(start).collect();
        Herd { pids: children.iter().map(Child::id).collect(), children, end: Some(end) }
    }
}

impl Drop for Herd {
    fn drop(&mut self) {
        drop(self.end.take());
        for child in &mut self.children {
            let _ = child.wait();
        }
    }
}
