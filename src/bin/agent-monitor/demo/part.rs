//! What each process of the demo does. The other end of its standard input is held by the demo alone: when the demo ends,
//! in whatever way, the kernel closes it, and every process sees that and ends too.

use std::ffi::CString;
use std::fs::{self, DirBuilder};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use agent_monitor::clock::monotonic;
use agent_monitor::process::here::name_this_process;
use anyhow::Context;
use clap::ValueEnum;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, getpid, kill_process};

use crate::environment;
use crate::failure::Failure;

/// One process.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
pub(crate) enum Part {
    /// Makes the directory of the demo, says where it is, and removes it at the end.
    Directory,
    /// A little work now and then.
    Steady,
    /// Starts a compiler.
    Busy,
    /// Uses most of a processor.
    Compiler,
    /// Takes more and more memory, keeps it for a while, gives it back and begins again.
    Growing,
    /// Ends with exit code 1 at its cue.
    Failing,
    /// Is killed by a signal at its cue.
    Killed,
    /// Starts a browser, and ends in order at its cue.
    Leaving,
    /// Has some memory, and does nothing.
    Browser,
}

/// What a growing one takes each second, and a browser has, bytes.
const STEP_BYTES: usize = 16 << 20;

/// How often it does.
const STEPS: usize = 12;

/// How long it keeps all of it.
const KEPT: Duration = Duration::from_secs(30);

/// Directories of other demos that may be in the way: those that ended with their directory's keeper, by a power failure.
const ATTEMPTS: u32 = 100;

impl Part {
    /// As it is called on the command line, and by the system.
    pub(super) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// Plays a part until the demo ends, or gives the cue.
///
/// # Errors
/// When the system refuses what the part needs.
pub(crate) fn play(part: Part) -> Result<(), Failure> {
    // What `ps` and the daemon show of it: the program is the same for all.
    if let Ok(name) = CString::new(part.name()) {
        name_this_process(&name);
    }
    match part {
        Part::Directory => keep_directory()?,
        Part::Steady => work(Duration::from_millis(5), Duration::from_millis(500)),
        Part::Busy => {
            let mut compiler = start(Part::Compiler)?;
            until_over();
            compiler.wait().context("cannot wait for the compiler")?;
        }
        Part::Compiler => work(Duration::from_millis(90), Duration::from_millis(10)),
        Part::Growing => grow(),
        Part::Failing if cue() => std::process::exit(1),
        Part::Killed if cue() => kill_process(getpid(), Signal::KILL).context("cannot be killed")?,
        Part::Failing | Part::Killed => {}
        Part::Leaving => {
            // Nobody waits for it: it is what is left behind.
            let _browser = start(Part::Browser)?;
            cue();
        }
        Part::Browser => {
            let _memory = vec![1u8; STEP_BYTES];
            until_over();
        }
    }
    Ok(())
}

/// Another part, held by the same end of the same demo.
fn start(part: Part) -> Result<Child, Failure> {
    Ok(command(part)?.spawn().with_context(|| format!("cannot start {part:?}"))?)
}

/// This program in a part.
pub(super) fn command(part: Part) -> Result<Command, Failure> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut command = Command::new(program);
    command.args(["demo-part", &part.name()]);
    Ok(command)
}

/// Works and rests in turn.
fn work(work: Duration, rest: Duration) {
    while !over(rest) {
        let begun = monotonic();
        while monotonic().since(begun) < work {
            std::hint::spin_loop();
        }
    }
}

fn grow() {
    loop {
        let mut memory = Vec::new();
        for _ in 0..STEPS {
            if over(Duration::from_secs(1)) {
                return;
            }
            memory.push(vec![1u8; STEP_BYTES]);
        }
        if over(KEPT) {
            return;
        }
    }
}

/// Makes the directory, prints its path, and removes it when the demo is over. It only ever removes what it made.
fn keep_directory() -> Result<(), Failure> {
    let directory = make_directory()?;
    let told = writeln!(std::io::stdout(), "{}", directory.display());
    if told.is_ok() {
        until_over();
    }
    match fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(anyhow::Error::from(error).context(format!("cannot remove {}", directory.display())).into())
        }
        _ => Ok(()),
    }
}

/// Nobody else may look into it, and it is new: nobody can have put anything there.
fn make_directory() -> Result<PathBuf, Failure> {
    let temporary = environment::temporary();
    let mut outcome = Err(ErrorKind::AlreadyExists.into());
    for attempt in 0..ATTEMPTS {
        let directory = temporary.join(format!("agent-monitor-demo-{}-{attempt}", std::process::id()));
        match DirBuilder::new().mode(0o700).create(&directory) {
            Ok(()) => return Ok(directory),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            failed => {
                outcome = failed;
                break;
            }
        }
    }
    outcome.with_context(|| format!("cannot make a directory in {}", temporary.display()))?;
    unreachable!("every way out of the loop but the return leaves an error")
}

/// Waits for the cue; false when the demo ended instead.
fn cue() -> bool {
    matches!(std::io::stdin().read(&mut [0]), Ok(1))
}

fn until_over() {
    while !over(Duration::from_secs(3_600)) {}
}

/// Waits this long; true at once when the demo is over. Reads nothing: a cue may be waiting there for another process.
fn over(span: Duration) -> bool {
    let stdin = std::io::stdin();
    let mut fds = [PollFd::new(&stdin, PollFlags::empty())];
    let span = Timespec::try_from(span).ok();
    // Interrupted, it waited less: no harm.
    poll(&mut fds, span.as_ref()).is_ok() && !fds[0].revents().is_empty()
}
