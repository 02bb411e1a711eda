//! The libraries, and `ps`.

use std::collections::HashMap;
use std::process::Command;

use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};

use crate::rounds::{Library, Seen};

/// The library of this name.
pub fn library(name: &str) -> Option<Box<dyn Library>> {
    match name {
        "procfs" => Some(Box::new(Procfs::default())),
        "sysinfo" => Some(Box::new(Sysinfo(System::new().expect("a /proc")))),
        "ps" => Some(Box::new(Ps)),
        _ => None,
    }
}

/// `procfs`, its `Process` values kept.
#[derive(Default)]
struct Procfs(HashMap<u32, procfs::process::Process>);

fn of_stat(stat: &procfs::process::Stat) -> Seen {
    let ticks = (stat.utime + stat.stime) as f64;
    Seen {
        pid: stat.pid.cast_unsigned(),
        parent: stat.ppid.cast_unsigned(),
        cpu: ticks / procfs::ticks_per_second() as f64,
        rss: stat.rss * procfs::page_size(),
    }
}

impl Library for Procfs {
    fn some(&mut self, pids: &[u32]) -> Vec<Seen> {
        let read = |pid: &u32| {
            let kept = self.0.entry(*pid);
            let process = kept.or_insert_with(|| procfs::process::Process::new(pid.cast_signed()).expect("it lives"));
            process.stat().ok().map(|stat| of_stat(&stat))
        };
        pids.iter().filter_map(read).collect()
    }

    fn all(&mut self) -> Vec<Seen> {
        let all = procfs::process::all_processes().expect("a /proc").flatten();
        all.filter_map(|process| process.stat().ok()).map(|stat| of_stat(&stat)).collect()
    }
}

/// `sysinfo`, without tasks, processor time and memory.
struct Sysinfo(System);

impl Sysinfo {
    fn refreshed(&mut self, which: ProcessesToUpdate<'_>) -> &System {
        let what = ProcessRefreshKind::nothing().without_tasks().with_cpu().with_memory();
        self.0.refresh_processes_specifics(which, true, what);
        &self.0
    }
}

fn of_process((pid, process): (&sysinfo::Pid, &sysinfo::Process)) -> Seen {
    Seen {
        pid: pid.as_u32(),
        parent: process.parent().map_or(0, sysinfo::Pid::as_u32),
        cpu: process.accumulated_cpu_time() as f64 / 1e3,
        rss: process.memory(),
    }
}

impl Library for Sysinfo {
    fn some(&mut self, pids: &[u32]) -> Vec<Seen> {
        let pids: Vec<_> = pids.iter().map(|pid| sysinfo::Pid::from_u32(*pid)).collect();
        self.refreshed(ProcessesToUpdate::Some(&pids)).processes().iter().map(of_process).collect()
    }

    fn all(&mut self) -> Vec<Seen> {
        self.refreshed(ProcessesToUpdate::All).processes().iter().map(of_process).collect()
    }
}

/// A `ps` for each process, as brokers do it. It knows whole seconds, and of a process only itself.
struct Ps;

impl Library for Ps {
    fn some(&mut self, pids: &[u32]) -> Vec<Seen> {
        let read = |pid: &u32| {
            let output = Command::new("ps").args(["-o", "cputimes=,rss=", "-p", &pid.to_string()]).output().ok()?;
            let text = String::from_utf8(output.stdout).ok()?;
            let mut fields = text.split_whitespace().map(str::parse::<u64>);
            let (cpu, rss) = (fields.next()?.ok()?, fields.next()?.ok()?);
            Some(Seen { pid: *pid, parent: 0, cpu: cpu as f64, rss: rss * 1024 })
        };
        pids.iter().filter_map(read).collect()
    }

    fn all(&mut self) -> Vec<Seen> {
        Vec::new()
    }
}
