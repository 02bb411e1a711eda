//! Budgets on what watching costs, measured against a floor in the same minutes: see `docs/performance.md`.
//!
//! ```text
//! cargo bench --bench budgets -- [--check] [--json FILE] [--only B1]… [--quick]
//! cargo bench --bench budgets -- --only steps
//! ```
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a bench has nobody to tell")]

mod daemon;
mod endpoint;
mod growth;
mod herd;
mod member;
mod plain;
mod program;
mod pss;
mod report;
mod steps;
mod storage;
mod whole;

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use agent_monitor::process::here::raise_open_files;

use self::herd::{Floor, Herd};
use self::report::Report;

/// What the command line says.
#[derive(Default)]
struct Options {
    /// End with status 1 when a budget is missed.
    check: bool,
    /// Where to write the figures for a program to read.
    json: Option<PathBuf>,
    /// Only these budgets; none: all.
    only: Vec<String>,
    /// Shorter than the budgets say: for trying out.
    quick: bool,
}

impl Options {
    fn parse(args: impl Iterator<Item = String>) -> Result<Options, String> {
        let mut options = Options::default();
        let mut args = args.skip(1).filter(|arg| arg != "--bench");
        while let Some(arg) = args.next() {
            match &*arg {
                "--check" => options.check = true,
                "--quick" => options.quick = true,
                "--json" => options.json = Some(args.next().ok_or("--json needs a file")?.into()),
                "--only" => options.only.push(args.next().ok_or("--only needs a budget, such as B1")?),
                other => return Err(format!("{other} is none of --check, --json FILE, --only B1, --quick")),
            }
        }
        Ok(options)
    }

    fn wants(&self, budget: &str) -> bool {
        self.only.is_empty() || self.names(budget)
    }

    fn names(&self, part: &str) -> bool {
        self.only.iter().any(|only| only.eq_ignore_ascii_case(part))
    }
}

fn main() -> ExitCode {
    // `cargo test --all-targets` runs this too, and wants to know only that it can be built.
    if !std::env::args().any(|arg| arg == "--bench") {
        return ExitCode::SUCCESS;
    }
    let options = match Options::parse(std::env::args()) {
        Ok(options) => options,
        Err(wrong) => {
            let _ = writeln!(std::io::stderr(), "{wrong}");
            return ExitCode::from(2);
        }
    };
    raise_open_files();
    let report = measure(&options);
    let text = report.to_string() + "\n";
    stdout().write_all(text.as_bytes()).unwrap();
    if let Some(path) = &options.json {
        std::fs::write(path, report.json()).unwrap();
    }
    if options.check && report.missed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn measure(options: &Options) -> Report {
    let directory = tempfile::tempdir().unwrap();
    let floor = Floor::compile(directory.path());
    let mut report = Report::here(options.quick);
    if options.wants("B1") {
        member::measure(&mut report, &floor, options.quick);
    }
    if options.wants("B5") {
        pss::measure(&mut report, &floor, options.quick);
    }
    if options.wants("B8") || options.wants("B12") {
        storage::measure(&mut report, options.quick);
    }
    for size in whole::SIZES {
        whole::measure(&mut report, &floor, size, options);
    }
    growth::measure(&mut report, &floor, options);
    steps::measure(&mut report, &floor, options);
    program::measure(&mut report, &floor, options);
    endpoint::measure(&mut report, &floor, options);
    report
}

/// Says on standard error what is going on: it takes minutes.
fn tell(what: &str) {
    let _ = writeln!(std::io::stderr(), "{what} …");
}

/// A herd of this size, if the machine allows that many processes.
fn herd(floor: &Floor, size: usize) -> Option<Herd> {
    let most: usize = std::fs::read_to_string("/proc/sys/kernel/pid_max").unwrap().trim().parse().unwrap();
    if size > most / 2 { None } else { Herd::start(floor, size) }
}
