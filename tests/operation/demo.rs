//! `demo`: what it promises can be seen, and nothing of it stays, however it ends.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::*;
use crate::terminal::Terminal;

pub(crate) struct Demo {
    pub(crate) place: Place,
    process: Killed,
    pub(crate) url: String,
}

impl Demo {
    pub(crate) fn start() -> Demo {
        let place = Place::new("this is no configuration: the demo must not read it");
        fs::create_dir(place.path("tmp")).unwrap();
        let mut command = place.command(&["demo"]);
        command.env("TMPDIR", place.path("tmp")).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Killed(command.spawn().unwrap());
        let told = lines(process.0.stderr.take());
        let url = lines(process.0.stdout.take()).recv_timeout(PATIENCE);
        let url = url.unwrap_or_else(|_| panic!("not started: {:?}", told.try_iter().collect::<Vec<_>>()));
        Demo { place, process, url }
    }

    fn get(&self, route: &str) -> Value {
        let (status, body) = get(&self.url, route, "localhost", "");
        assert_eq!(status, 200, "{route}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    fn agent(&self, id: &str) -> Value {
        let dashboard = self.get("/api/monitoring/dashboard");
        let agents = dashboard["agents"].as_array().unwrap();
        agents.iter().find(|agent| agent["agentId"] == id).cloned().unwrap_or_default()
    }

    /// Every process of it is gone, its files are, and nothing else was touched.
    fn leaves_nothing(&self) {
        eventually("all its processes are gone", || processes_of(&self.place).is_empty().then_some(()));
        let left = || fs::read_dir(self.place.path("tmp")).unwrap().count();
        eventually("its directory is gone", || (left() == 0).then_some(()));
        for name in ["state", "run"] {
            assert!(!self.place.path(name).exists(), "{name} is for a real daemon");
        }
    }
}

/// The processes that were started with this place for temporary files, but for those that have ended already.
fn processes_of(place: &Place) -> Vec<String> {
    marked(&format!("TMPDIR={}", place.path("tmp").display()))
}

/// The processes with this in their environment.
fn marked(mark: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let marked = |process: &Path| {
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
    };
    let name = |process: &Path| fs::read_to_string(process.join("comm")).unwrap_or_default().trim().to_owned();
    processes.filter(|process| marked(process)).map(|process| name(&process)).collect()
}

#[test]
fn the_minute_and_its_end() {
    let demo = Demo::start();
    eventually("a child of a busy agent works", || {
        let busy = demo.agent("busy");
        (busy["metrics"]["cpuSeconds"].as_f64()? > 0.5 && busy["metrics"]["processCount"] == 2).then_some(())
    });
    let mib = || demo.agent("growing")["metrics"]["memoryMb"].as_f64();
    // It begins anew when it has all: where it is when it is first looked at says nothing about what is to come.
    let mut least = f64::MAX;
    eventually("it grows", || {
        let now = mib()?;
        least = least.min(now);
        (now > least + 30.0).then_some(())
    });
    eventually("an alert fires, and says why", || {
        let alerts = demo.get("/api/monitoring/dashboard")["alerts"].take();
        let high = alerts.as_array()?.iter().find(|alert| alert["type"] == "high_memory")?.clone();
        assert_eq!(high["agent_id"], "growing");
        high["message"].as_str()?.contains("above 64").then_some(())
    });
    eventually("a leftover is seen, and told", || {
        let leaving = demo.agent("leaving");
        let fires = leaving["alerts"].as_array()?.iter().any(|rule| rule == "leftovers");
        (leaving["leftovers"]["processCount"] == 1 && leaving["status"] == "completed" && fires).then_some(())
    });
    eventually("crashes have their cause, and it is started again", || {
        let page = demo.get("/api/monitoring/agents/crashing");
        let runs = page["runs"].as_array()?;
        let ended = |key: &str, value: Value| runs.iter().any(|run| run[key] == value);
        let errors = page["errors"].as_array()?.iter().any(|error| error["error_type"] == "AgentCrashed");
        let caused = ended("exit_code", 1.into()) && ended("exit_signal", "SIGKILL".into());
        (caused && errors && page["restarts"].as_u64()? >= 1).then_some(())
    });
    let names = processes_of(&demo.place);
    for name in ["directory", "steady", "compiler", "growing", "browser"] {
        assert!(names.iter().any(|found| found == name), "{name} is no process of its own: {names:?}");
    }
    eventually("a loop of crashes is an alert", || {
        let alerts = demo.get("/api/monitoring/dashboard")["alerts"].take();
        let looping = alerts.as_array()?.iter().find(|alert| alert["type"] == "crash_loop")?.clone();
        (looping["agent_id"] == "crashing" && looping["severity"] == "critical").then_some(())
    });
    kill_process(Pid::from_child(&demo.process.0), Signal::INT).unwrap();
    let Demo { place, mut process, url } = demo;
    let status = eventually("it ends", || process.0.try_wait().unwrap());
    assert!(status.success(), "{status}");
    Demo { place, process, url }.leaves_nothing();
}

#[test]
fn however_a_demo_ends_it_leaves_nothing() {
    for (signal, code) in [(Signal::KILL, None), (Signal::HUP, Some(0)), (Signal::TERM, Some(0))] {
        let mut demo = Demo::start();
        eventually("the leftover is alone", || (demo.agent("leaving")["leftovers"]["processCount"] == 1).then_some(()));
        assert_eq!(fs::read_dir(demo.place.path("tmp")).unwrap().count(), 1);
        kill_process(Pid::from_child(&demo.process.0), signal).unwrap();
        let status = eventually("it ends", || demo.process.0.try_wait().unwrap());
        assert_eq!(status.code(), code, "{signal:?}");
        demo.leaves_nothing();
    }
}

/// In a terminal Ctrl-C goes to every process of the foreground.
#[test]
fn control_c_once_or_twice_in_a_terminal_leaves_nothing() {
    for keys in ["\u{3}", "\u{3}\u{3}"] {
        let place = Place::new("");
        let mut terminal = Terminal::start(&place, (100, 40), &["demo"]);
        terminal.shows("What the monitor sees:");
        terminal.shows("is running");
        terminal.press(keys);
        let status = terminal.ended();
        // The second one ends it at once, if it comes before the first has.
        assert!(matches!(status.code(), Some(0 | 1)), "{status}");
        assert!(status.success() || keys.len() > 1, "{status}");
        let mark = format!("TMPDIR={}", place.directory.path().display());
        eventually("all its processes are gone", || marked(&mark).is_empty().then_some(()));
        let left = || fs::read_dir(place.directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
        eventually("its directory is gone", || (left().collect::<Vec<_>>() == ["config.toml"]).then_some(()));
        assert!(terminal.is_as_it_was());
    }
}

#[test]
fn a_demo_without_room_says_so() {
    let place = Place::new("");
    let output = place.command(&["demo"]).env("TMPDIR", place.path("nowhere")).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{told}");
    assert!(told.contains("nowhere") && told.contains("TMPDIR"), "{told}");
}
