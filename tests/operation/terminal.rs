//! A program in a terminal: a pseudo-terminal, of which it is the controlling process, and what can be seen there.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};

use nix::pty::{Winsize, openpty};
use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{LocalModes, tcgetattr, tcsetwinsize};

use crate::harness::*;

fn cells(count: u16) -> NonZero<u16> {
    NonZero::new(count).unwrap()
}

pub(crate) struct Terminal {
    process: Killed,
    /// Our end.
    master: File,
    /// Theirs.
    slave: OwnedFd,
    output: Receiver<Vec<u8>>,
    seen: vt100::Parser,
    /// Everything that was written.
    written: Vec<u8>,
}

impl Terminal {
    pub(crate) fn start(place: &Place, (columns, rows): (u16, u16), arguments: &[&str]) -> Terminal {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).unwrap();
        let theirs = || Stdio::from(pty.slave.try_clone().unwrap());
        let environment = place.command(&[]);
        let mut command = Command::new("/usr/bin/setsid");
        command.args(["--ctty", env!("CARGO_BIN_EXE_agent-monitor")]).args(arguments).env_clear();
        command.envs(environment.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("TERM", "xterm");
        command.env("TMPDIR", place.directory.path());
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
        let seen = vt100::Parser::new(cells(rows), cells(columns), 0);
        Terminal { process, master, slave: pty.slave, output, seen, written: Vec::new() }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.seen.process(bytes);
        self.written.extend_from_slice(bytes);
    }

    /// What can be seen.
    pub(crate) fn screen(&self) -> &vt100::Screen {
        self.seen.screen()
    }

    /// Waits until what can be seen is as it should be.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, is_so: impl Fn(&vt100::Screen) -> bool) {
        let deadline = agent_monitor::clock::monotonic() + PATIENCE;
        while !is_so(self.screen()) {
            let left = deadline.since(agent_monitor::clock::monotonic());
            match self.output.recv_timeout(left) {
                Ok(more) => self.take(&more),
                Err(error) => panic!("{what} ({error}): this is seen instead:\n{}", self.screen().contents()),
            }
        }
    }

    #[track_caller]
    pub(crate) fn shows(&mut self, words: &str) {
        self.until(&format!("{words:?} is not shown"), |screen| screen.contents().contains(words));
    }

    #[track_caller]
    pub(crate) fn hides(&mut self, words: &str) {
        self.until(&format!("{words:?} is still shown"), |screen| !screen.contents().contains(words));
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    pub(crate) fn resize(&mut self, (columns, rows): (u16, u16)) {
        let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.master, size).unwrap();
        self.seen.screen_mut().set_size(cells(rows), cells(columns));
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process.0), signal).unwrap();
    }

    /// Whether keys are shown and taken by lines: how a shell wants it.
    pub(crate) fn is_as_it_was(&self) -> bool {
        tcgetattr(&self.slave).unwrap().local_modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG)
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> std::process::ExitStatus {
        eventually("it ends", || {
            let more: Vec<Vec<u8>> = self.output.try_iter().collect();
            more.iter().for_each(|bytes| self.take(bytes));
            self.process.0.try_wait().unwrap()
        })
    }

    /// Waits for its end, which is well, and for the terminal to be given back.
    pub(crate) fn ends(&mut self) {
        let status = self.ended();
        assert!(status.success(), "{status}");
        self.until("it is still its screen", |screen| !screen.alternate_screen());
        assert!(self.is_as_it_was(), "the terminal is left in another mode");
        assert!(!self.screen().hide_cursor(), "there is no cursor any more");
    }

    /// All that was written, as text.
    pub(crate) fn written(&self) -> String {
        String::from_utf8_lossy(&self.written).into_owned()
    }
}
