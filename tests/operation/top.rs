//! `top` in a terminal: a pseudo-terminal, of which it is the controlling process.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};

use nix::pty::{Winsize, openpty};
use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{LocalModes, tcgetattr, tcsetwinsize};

use crate::harness::*;

/// As a terminal is told to take its other screen, and to come back from it: xterm's control sequences, DECSET 1049.
const TAKEN: &str = "\u{1b}[?1049h";
const GIVEN_BACK: &str = "\u{1b}[?1049l";

struct Terminal {
    process: Killed,
    /// Our end.
    master: File,
    /// Theirs.
    slave: OwnedFd,
    output: Receiver<Vec<u8>>,
}

impl Terminal {
    fn start(place: &Place, arguments: &[&str]) -> Terminal {
        let size = Winsize { ws_row: 24, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).unwrap();
        let theirs = || Stdio::from(pty.slave.try_clone().unwrap());
        let environment = place.command(&[]);
        let mut command = Command::new("/usr/bin/setsid");
        command.args(["--ctty", env!("CARGO_BIN_EXE_agent-monitor")]).args(arguments).env_clear();
        command.envs(environment.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("TERM", "xterm");
        let process = Killed(command.stdin(theirs()).stdout(theirs()).stderr(theirs()).spawn().unwrap());
        let master = File::from(pty.master);
        let mut read = master.try_clone().unwrap();
        let (send, output) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = read.read(&mut buffer) {
                if send.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Terminal { process, master, slave: pty.slave, output }
    }

    /// Waits until this was written, and returns all that was since the last time.
    fn until(&self, words: &str) -> String {
        let mut all = Vec::new();
        // It writes something about once a second, so that waiting for silence would be for ever.
        for _ in 0..PATIENCE.as_secs() * 4 {
            let text = String::from_utf8_lossy(&all);
            if text.contains(words) {
                return text.into_owned();
            }
            match self.output.recv_timeout(PATIENCE) {
                Ok(more) => all.extend(more),
                Err(error) => panic!("{words:?} was not shown ({error}): {text:?}"),
            }
        }
        panic!("{words:?} was not shown: {:?}", String::from_utf8_lossy(&all));
    }

    fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Whether keys are shown and taken by lines: how a shell wants it.
    fn is_as_it_was(&self) -> bool {
        tcgetattr(&self.slave).unwrap().local_modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG)
    }

    /// Waits for its end, well or not, and for the terminal to be given back.
    fn ends(&mut self) {
        let status = eventually("top ends", || self.process.0.try_wait().unwrap());
        assert!(status.success(), "{status}");
        self.until(GIVEN_BACK);
        assert!(self.is_as_it_was(), "the terminal is left in another mode");
    }
}

/// Only cells that change are written: its name shares no letter, place by place, with what is shown in
/// its stead, and what is waited for has no blanks.
fn daemon() -> Daemon {
    let place = Place::new("");
    place.write("agents.json", &us("xyzzy"));
    place.configure(&config(&file_source(&place.path("agents.json"))));
    let daemon = place.start();
    daemon.until("it has read its registry", |own| own["agents"] == 1 && own["status"] == "ready");
    daemon
}

#[test]
fn keys_sizes_and_the_way_out() {
    let daemon = daemon();
    let mut terminal = Terminal::start(&daemon.place, &["top"]);
    terminal.until(TAKEN);
    assert!(!terminal.is_as_it_was(), "keys come one by one");
    terminal.until("xyzzy");
    terminal.press("/zzz");
    terminal.until("filter;");
    terminal.press("\u{1b}");
    terminal.until("xyzzy");
    terminal.press("\r");
    // The page, from its line of identity to its processes.
    terminal.until("(registry:");
    tcsetwinsize(&terminal.master, rustix::termios::Winsize { ws_row: 3, ws_col: 15, ws_xpixel: 0, ws_ypixel: 0 })
        .unwrap();
    terminal.until("small");
    tcsetwinsize(&terminal.master, rustix::termios::Winsize { ws_row: 30, ws_col: 90, ws_xpixel: 0, ws_ypixel: 0 })
        .unwrap();
    terminal.until("(registry:");
    terminal.press("q");
    terminal.ends();
    daemon.stop();
}

#[test]
fn a_signal_and_control_c_give_the_terminal_back() {
    let daemon = daemon();
    for signal in [Some(Signal::TERM), Some(Signal::HUP), None] {
        let mut terminal = Terminal::start(&daemon.place, &["top"]);
        terminal.until("xyzzy");
        match signal {
            Some(signal) => kill_process(Pid::from_child(&terminal.process.0), signal).unwrap(),
            None => terminal.press("\u{3}"),
        }
        terminal.ends();
    }
    daemon.stop();
}

#[test]
fn a_daemon_that_goes_is_told_and_the_old_numbers_stay() {
    let daemon = daemon();
    let url = daemon.url.clone();
    let mut terminal = Terminal::start(&daemon.place, &["top", "--url", &url]);
    terminal.until("xyzzy");
    drop(daemon);
    terminal.until("answer,");
    terminal.press("q");
    terminal.ends();
}

#[test]
fn without_a_terminal_it_is_status() {
    let daemon = daemon();
    let told = daemon.place.told(&["top"]);
    assert!(told.starts_with("daemon    ") && told.contains("xyzzy") && !told.contains('\u{1b}'), "{told}");
    let none = Place::new("").output(&["top", "--url", "http://127.0.0.1:1/"]);
    assert_eq!(none.status.code(), Some(69));
    daemon.stop();
}
