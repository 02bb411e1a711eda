//! Process trees that do as a test tells them.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::harness::{PATIENCE, lines, signal};

/// For shells: `burn N` uses N clock ticks of processor time, by the kernel's own count; `become N` does that as N
/// programs, one after the other in the same process.
const WORDS: &str = r#"
used() { read -r a b c d e f g h i j k l m user system rest </proc/self/stat; used=$((user + system)); }
burn() {
    used; goal=$((used + $1))
    while used; [ $used -lt $goal ]; do n=0; while [ $n -lt 1000 ]; do n=$((n + 1)); done; done
}
become() { burn 40; [ $1 -le 1 ] || exec sh -c "$WORDS become $(($1 - 1))"; }
"#;

/// A process of its own, below a [`Tree`], that runs a script which may say `burn`. The script has no quotes.
pub(crate) fn child(script: &str) -> String {
    format!("sh -c \"$WORDS {script}\"")
}

/// What such a shell runs that does what it is told, line by line.
pub(crate) fn loop_of_orders() -> String {
    format!("{WORDS}\nwhile read -r line; do eval \"$line\"; done")
}

/// A shell that does what it is told, line by line.
pub(crate) fn shell() -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(loop_of_orders());
    command
}

/// The same in a pid namespace of its own, with a `/proc` of its own. Needs root.
pub(crate) fn container() -> Tree {
    let namespace = ["--pid", "--fork", "--kill-child", "--mount-proc"];
    Tree::of(Command::new("unshare").args(namespace).args(["sh", "-c"]).arg(loop_of_orders()))
}

/// A shell in a group of its own that does what it is told, line by line, and ends when nobody can tell it anything.
pub(crate) struct Tree {
    child: Child,
    stdin: Option<ChildStdin>,
    said: Receiver<String>,
}

impl Tree {
    pub(crate) fn start() -> Tree {
        Tree::of(&mut shell())
    }

    /// The same of another program; it must end when its standard input does.
    pub(crate) fn of(command: &mut Command) -> Tree {
        command.env("WORDS", WORDS).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap();
        let said = lines(child.stdout.take().unwrap());
        Tree { stdin: child.stdin.take(), child, said }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets it do this, as far as it is not busy.
    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Waits for a line that it says.
    pub(crate) fn hear(&self) -> String {
        self.hear_within(PATIENCE)
    }

    /// The same of one that has much to do first.
    pub(crate) fn hear_within(&self, patience: Duration) -> String {
        self.said.recv_timeout(patience).unwrap()
    }

    /// Lets it do this and say that it has; returns what it said last.
    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.tell(line);
        self.hear()
    }

    /// Starts something in the background; returns its pid.
    pub(crate) fn spawn(&mut self, command: &str) -> u32 {
        self.ask(&format!("{command} & echo $!")).parse().unwrap()
    }

    /// Kills its root. It is a zombie until [`wait`](Tree::wait).
    pub(crate) fn kill(&self) {
        signal(self.pid(), Signal::KILL);
    }

    /// Waits for the end of its root.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.stdin = None;
        self.child.wait().unwrap()
    }
}

/// Processes that left the group of their tree, and must not outlive the test.
#[derive(Default)]
pub(crate) struct Strays(Vec<u32>);

impl Strays {
    pub(crate) fn take(&mut self, pid: u32) {
        self.0.push(pid);
    }
}

impl Drop for Strays {
    fn drop(&mut self) {
        for pid in &self.0 {
            let _ = kill_process(Pid::from_raw((*pid).try_into().unwrap()).unwrap(), Signal::KILL);
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        // Its group is as it was made, whether or not its root still lives; nobody else can have it while one of it does.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}
