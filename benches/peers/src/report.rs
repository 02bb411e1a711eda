//! What was measured, for people and for programs.

use std::fmt;

use serde_json::{Value, json};

/// What one takes.
pub struct Row {
    pub name: &'static str,
    /// Microseconds of processor time for each process and round.
    pub us: f64,
    pub memory_mb: f64,
    pub note: String,
}

impl Row {
    fn json(&self) -> Value {
        json!({"name": self.name, "us": self.us, "memoryMb": self.memory_mb, "note": self.note})
    }
}

pub struct Report {
    machine: String,
    agents: usize,
    costs: Vec<Row>,
    /// Name, seconds shown, seconds charged.
    accuracy: Vec<(&'static str, f64, f64)>,
}

impl Report {
    /// Nothing measured yet, on this machine.
    pub fn here(agents: usize) -> Report {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let info = text("/proc/cpuinfo");
        let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let machine = format!(
            "{}, {cores} cores, Linux {}, load {}",
            model.map_or("?", |(_, model)| model),
            text("/proc/sys/kernel/osrelease").trim(),
            text("/proc/loadavg").split(' ').next().unwrap_or("?"),
        );
        Report { machine, agents, costs: Vec::new(), accuracy: Vec::new() }
    }

    /// Says it on standard error too: it takes minutes.
    pub fn cost(&mut self, row: Row) {
        eprintln!("{:20} {:10.2} µs {:8.1} MB  {}", row.name, row.us, row.memory_mb, row.note);
        self.costs.push(row);
    }

    pub fn accuracy(&mut self, name: &'static str, shown: f64, charged: f64) {
        self.accuracy.push((name, shown, charged));
    }

    fn floor(&self) -> f64 {
        self.costs.iter().find(|row| row.name == "floor").map_or(f64::NAN, |row| row.us)
    }

    pub fn json(&self) -> String {
        let accuracy = self
            .accuracy
            .iter()
            .map(|(name, shown, charged)| json!({"name": name, "shownSeconds": shown, "chargedSeconds": charged}));
        json!({"machine": self.machine, "agents": self.agents, "costs": self.costs.iter().map(Row::json).collect::<Vec<_>>(),
               "accuracy": accuracy.collect::<Vec<_>>()})
        .to_string()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{} processes, each round\n", self.machine, self.agents)?;
        writeln!(f, "{:20} {:>12} {:>9} {:>11}", "", "µs a process", "× floor", "memory, MB")?;
        let mut costs: Vec<&Row> = self.costs.iter().collect();
        costs.sort_by(|a, b| a.us.total_cmp(&b.us));
        for Row { name, us, memory_mb, note } in costs {
            writeln!(f, "{name:20} {us:12.2} {:9.1} {memory_mb:11.1}  {note}", us / self.floor())?;
        }
        writeln!(f, "\nan agent's processor time, all in short children: shown against charged\n")?;
        for (name, shown, charged) in &self.accuracy {
            writeln!(f, "{name:20} {shown:9.2} s of {charged:.2} s {:+9.2} %", 100.0 * (shown - charged) / charged)?;
        }
        Ok(())
    }
}

/// The middle one.
pub fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
