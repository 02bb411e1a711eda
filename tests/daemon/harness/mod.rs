//! A daemon as a child, and what an operator can ask of it.

mod daemon;
mod place;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel, sync_channel};
use std::time::Duration;

use agent_monitor::clock::monotonic;
use agent_monitor::model::Mono;
use rustix::process::{Pid, Signal, kill_process};

pub(crate) use daemon::{Daemon, agent, get};
pub(crate) use place::{BRISK, Place, Way};

/// Longer than anything takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Ends when it is over or has taken far too long.
pub(crate) struct Deadline(Mono);

impl Deadline {
    pub(crate) fn new() -> Deadline {
        Deadline::after(PATIENCE)
    }

    pub(crate) fn after(span: Duration) -> Deadline {
        Deadline(monotonic() + span)
    }

    pub(crate) fn is_over(&self) -> bool {
        monotonic() >= self.0
    }
}

/// How often something is asked.
const PACE: Duration = Duration::from_millis(40);

/// Lets a moment pass before something is asked again.
pub(crate) fn pace() {
    pause(PACE);
}

fn pause(span: Duration) {
    let (_open, nothing) = sync_channel::<()>(0);
    assert_eq!(nothing.recv_timeout(span), Err(RecvTimeoutError::Timeout));
}

/// Asks until there is an answer.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Deadline::new();
    loop {
        let asked = monotonic();
        match ask() {
            Ok(answer) => return answer,
            Err(instead) => assert!(!deadline.is_over(), "waited in vain: {what}; instead: {instead}"),
        }
        // Where asking takes long it must not keep others from what is waited for.
        pause(PACE.max(4 * monotonic().since(asked)));
    }
}

/// A user who owns nothing.
pub(crate) const NOBODY: u32 = 65_534;

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_agent-monitor")
}

/// The program, with nothing of this shell's settings.
pub(crate) fn program() -> Command {
    bare(Command::new(binary()))
}

fn bare(mut command: Command) -> Command {
    for name in ["CONFIG", "REGISTRY", "INTERVAL", "LISTEN", "SOCKET", "STATE_DIR", "LOG"] {
        command.env_remove(format!("AGENT_MONITOR_{name}"));
    }
    command.env_remove("STATE_DIRECTORY").env_remove("RUNTIME_DIRECTORY").stdin(Stdio::null());
    command
}

/// Runs it to its end, which must come by itself.
pub(crate) fn outcome(command: &mut Command) -> (Option<i32>, String, String) {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (tell, told) = channel();
    let pid = child.id();
    std::thread::spawn(move || tell.send(child.wait_with_output()));
    let Ok(output) = told.recv_timeout(PATIENCE) else {
        signal(pid, Signal::KILL);
        panic!("{command:?} does not end");
    };
    let Output { status, stdout, stderr } = output.unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

pub(crate) fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), signal).unwrap();
}

/// What is written there, line by line, as it comes.
pub(crate) fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if tell.send(line).is_err() {
                return;
            }
        }
    });
    told
}

/// What is in a directory, by name.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
