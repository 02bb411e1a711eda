//! What others take for the work that the monitor does: cost, memory, and how much of an agent's processor time they see.
//!
//! ```text
//! peers [--agents N] [--seconds S] [--json FILE] [--monitor PROGRAM] [--python DIRECTORY]
//! ```
//!
//! Each peer runs in a control group of its own, on the same processes, in the same minutes; what it costs is what the
//! kernel charged to the group. Run as root on Linux with cgroup v2, with `run`, which installs what is needed.

mod group;
mod libraries;
mod measure;
mod report;
mod rounds;
mod services;

use std::env;
use std::path::{Path, PathBuf};

use report::Report;
use services::Programs;

/// What the command line says.
struct Options {
    /// How many processes are watched.
    agents: usize,
    /// How many rounds, and how long each service is watched.
    seconds: usize,
    json: Option<PathBuf>,
    programs: Programs,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Options {
        let monitor = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/release/agent-monitor");
        let programs = Programs { monitor, python: "/usr/bin".into() };
        let mut options = Options { agents: 1000, seconds: 30, json: None, programs };
        while let Some(name) = args.next() {
            let value = args.next().unwrap_or_else(|| panic!("{name} needs a value"));
            match &*name {
                "--agents" => options.agents = value.parse().expect("a number"),
                "--seconds" => options.seconds = value.parse().expect("a number"),
                "--json" => options.json = Some(value.into()),
                "--monitor" => options.programs.monitor = value.into(),
                // Absolute: services begin in directories of their own.
                "--python" => options.programs.python = Path::new(&value).canonicalize().expect("a directory"),
                _ => panic!("{name} is not known"),
            }
        }
        options
    }
}

fn main() {
    let mut args = env::args().skip(1).peekable();
    if args.peek().is_some_and(|first| first == "rounds") {
        let name = args.nth(1).expect("a library");
        return rounds::serve(&mut *libraries::library(&name).expect("a library that is known"), args);
    }
    let options = Options::parse(args);
    let directory = tempfile::tempdir().expect("a place");
    let mut report = Report::here(options.agents);
    measure::cost(&mut report, &options, directory.path());
    measure::accuracy(&mut report, &options, directory.path());
    println!("{report}");
    if let Some(path) = &options.json {
        std::fs::write(path, report.json()).expect("the file can be written");
    }
}
