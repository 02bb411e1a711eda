//! What was measured, for people and for programs.

use std::fmt;
use std::fs;
use std::io::{Write, stderr};

use serde_json::{Value, json};

/// Everything that was measured, and where.
pub(crate) struct Report {
    machine: String,
    load: String,
    quick: bool,
    measured: Vec<Measured>,
    left_out: Vec<(&'static str, String)>,
}

/// One figure held against its budget.
pub(crate) struct Measured {
    pub(crate) budget: &'static str,
    pub(crate) what: String,
    pub(crate) ours: f64,
    pub(crate) unit: &'static str,
    pub(crate) bound: Bound,
    pub(crate) notes: Vec<String>,
}

/// What a figure is held against.
pub(crate) enum Bound {
    /// So many times the floor.
    Ratio {
        /// In the same unit.
        floor: f64,
        /// What that is.
        of: &'static str,
        most: f64,
    },
    /// In its own unit.
    Most(f64),
    /// Against nothing: to be looked at beside a floor.
    Beside {
        /// In the same unit.
        floor: f64,
        /// What that is.
        of: &'static str,
    },
}

impl Measured {
    fn ratio(&self) -> Option<f64> {
        match self.bound {
            Bound::Ratio { floor, .. } | Bound::Beside { floor, .. } => Some(self.ours / floor),
            Bound::Most(_) => None,
        }
    }

    fn holds(&self) -> bool {
        match self.bound {
            Bound::Ratio { floor, most, .. } => self.ours <= most * floor,
            Bound::Most(most) => self.ours <= most,
            Bound::Beside { .. } => true,
        }
    }

    fn json(&self) -> Value {
        let (floor, of, most) = match self.bound {
            Bound::Ratio { floor, of, most } => (Some(floor), Some(of), Some(most)),
            Bound::Most(most) => (None, None, Some(most)),
            Bound::Beside { floor, of } => (Some(floor), Some(of), None),
        };
        json!({"budget": self.budget, "what": self.what, "ours": self.ours, "unit": self.unit, "floor": floor,
               "floorIs": of, "ratio": self.ratio(), "most": most, "ok": most.map(|_| self.holds()), "notes": self.notes})
    }
}

impl Report {
    /// Nothing measured yet, on this machine.
    pub(crate) fn here(quick: bool) -> Report {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let after = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':')).map_or("?".to_owned(), |(_, value)| value.trim().to_owned())
        };
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let machine = format!(
            "{}, {cores} cores, {} memory, Linux {}",
            after(&text("/proc/cpuinfo"), "model name"),
            after(&text("/proc/meminfo"), "MemTotal"),
            text("/proc/sys/kernel/osrelease").trim(),
        );
        let load = text("/proc/loadavg").split(' ').next().unwrap_or("?").to_owned();
        Report { machine, load, quick, measured: Vec::new(), left_out: Vec::new() }
    }

    /// Says it on standard error too: it takes minutes, and a later part may fail.
    pub(crate) fn add(&mut self, measured: Measured) {
        let _ = write!(stderr(), "{measured}");
        self.measured.push(measured);
    }

    pub(crate) fn leave_out(&mut self, budget: &'static str, why: &str) {
        self.left_out.push((budget, why.to_owned()));
    }

    /// Whether a budget that was measured is missed.
    pub(crate) fn missed(&self) -> bool {
        !self.measured.iter().all(Measured::holds)
    }

    pub(crate) fn json(&self) -> String {
        let left_out = self.left_out.iter().map(|(budget, why)| json!({"budget": budget, "why": why}));
        json!({"version": env!("CARGO_PKG_VERSION"), "machine": self.machine, "load": self.load, "quick": self.quick,
               "measured": self.measured.iter().map(Measured::json).collect::<Vec<_>>(),
               "leftOut": left_out.collect::<Vec<_>>()})
        .to_string()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, load {} at the start", self.machine, self.load)?;
        if self.quick {
            writeln!(f, "--quick: shorter than the budgets say, so these figures decide nothing")?;
        }
        writeln!(f, "\n{:<4} {:<52} {:>9} {:>9} {:>6} {:>8}", "", "", "ours", "floor", "ratio", "budget")?;
        for measured in &self.measured {
            write!(f, "{measured}")?;
        }
        for (budget, why) in &self.left_out {
            writeln!(f, "{budget:<4} not measured: {why}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Measured { budget, what, ours, unit, bound, notes } = self;
        let (floor, ratio, most) = match bound {
            Bound::Ratio { floor, most, .. } => {
                (format!("{floor:.2} {unit}"), format!("{:.2}", ours / floor), format!("{most:.1}"))
            }
            Bound::Most(most) => (String::new(), String::new(), format!("{most} {unit}")),
            Bound::Beside { floor, .. } => {
                (format!("{floor:.2} {unit}"), format!("{:.2}", ours / floor), String::new())
            }
        };
        let ours = format!("{ours:.2} {unit}");
        let verdict = match (bound, self.holds()) {
            (Bound::Beside { .. }, _) => "",
            (_, true) => "ok",
            (_, false) => "OVER",
        };
        writeln!(f, "{budget:<4} {what:<52} {ours:>9} {floor:>9} {ratio:>6} {most:>8} {verdict}")?;
        if let Bound::Ratio { of, .. } | Bound::Beside { of, .. } = bound {
            writeln!(f, "     floor: {of}")?;
        }
        for note in notes {
            writeln!(f, "     {note}")?;
        }
        Ok(())
    }
}

/// The middle one, or the mean of the two in the middle.
pub(crate) fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

#[expect(clippy::cast_precision_loss, reason = "a number of rounds")]
pub(crate) fn mean(figures: &[f64]) -> f64 {
    figures.iter().sum::<f64>() / figures.len() as f64
}
