//! The bench with the built-in rules and two sources, and what is told of alerts there.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agent_monitor::clock::ManualClock;
use agent_monitor::config::{Config, Directories, Source};
use agent_monitor::model::{ActiveAlert, AlertNote, Body, ExitStatus, Pid, Record, Transition};
use agent_monitor::monitor::Input;

#[path = "../bench/mod.rs"]
mod shared;

use shared::NEW_YEAR;
pub(crate) use shared::{Bench, MINUTE, SECOND};

/// The built-in rules with these changes, and two sources.
pub(crate) fn config(rules: &str) -> Config {
    let directories = Directories { state: PathBuf::from("/state"), runtime: PathBuf::from("/run") };
    let mut config = Config::parse(rules, Path::new("test"), &directories).unwrap();
    config.registry.sources =
        ["/one.json", "/two.json"].map(|path| Source::File { path: PathBuf::from(path) }).to_vec();
    config
}

pub(crate) fn record(id: &str, pid: Pid) -> Record {
    shared::record(id, "busy", Some(pid))
}

pub(crate) fn crash() -> ExitStatus {
    ExitStatus::Signal(11)
}

impl Bench {
    pub(crate) fn new(rules: &str) -> Bench {
        let clock = Arc::new(ManualClock::new(NEW_YEAR));
        // As long after the boot as an alert can look back.
        clock.advance(60 * MINUTE);
        Bench::watching(clock, config(rules))
    }

    pub(crate) fn fail(&mut self, index: usize) {
        self.tell(Input::Source { index, reading: Err("cannot open it".into()) });
    }

    /// Lets time pass, and the sources be read every ten seconds: the first says this, the second nothing.
    pub(crate) fn pass_reading(&mut self, span: Duration, records: &[Record]) {
        for _ in 0..span.as_secs() / 10 {
            self.read(0, records);
            self.read(1, &[]);
            self.pass(10 * SECOND);
        }
    }

    pub(crate) fn restart(&mut self) {
        self.start_again();
    }

    pub(crate) fn reconfigure(&mut self, config: Config) {
        self.config = Arc::new(config);
        self.tell(Input::Settings(Arc::clone(&self.config)));
    }

    fn notes(&self) -> Vec<(Option<String>, AlertNote)> {
        let notes = self.entries().filter_map(|entry| match &entry.body {
            Body::Alert(note) => Some((entry.agent.as_ref().map(|(_, id)| id.as_str().to_owned()), note.clone())),
            _ => None,
        });
        notes.collect()
    }

    /// What was told since this was asked last.
    pub(crate) fn told(&mut self) -> Vec<AlertNote> {
        let notes = self.notes();
        let new = notes[self.heard..].iter().map(|(_, note)| note.clone()).collect();
        self.heard = notes.len();
        new
    }

    /// The same in short: `agent_down of a fired`.
    pub(crate) fn heard(&mut self) -> Vec<String> {
        let notes = self.notes();
        let short = |(agent, note): &(Option<String>, AlertNote)| {
            let whose = agent.as_deref().or(note.source.as_deref()).map(|whose| format!(" of {whose}"));
            let transition = match note.transition {
                Transition::Fired => "fired",
                Transition::Repeated => "repeated",
                Transition::Resolved => "resolved",
            };
            format!("{}{} {transition}", note.rule, whose.unwrap_or_default())
        };
        let new = notes[self.heard..].iter().map(short).collect();
        self.heard = notes.len();
        new
    }

    pub(crate) fn firing(&self) -> Vec<ActiveAlert> {
        self.snapshot().alerts.clone()
    }
}
