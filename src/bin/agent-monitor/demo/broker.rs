//! The demo's broker: starts the agents, starts some again when they end, and writes the registry.

use std::fs;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::time::Duration;

use agent_monitor::clock::monotonic;
use agent_monitor::model::{Mono, Observed, Pid, Snapshot};
use anyhow::{Context, anyhow};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};

use super::part::{self, Part};
use crate::failure::Failure;

/// How long the processes have to end before they are killed.
const PATIENCE: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// From the end of an agent that crashes to its next life: three ends within the first seconds, so that a loop of them is
/// seen, and then what a broker does that has noticed.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(1), Duration::from_secs(20)];

/// From the moment an agent was shown with all its processes to its cue.
const BEFORE_CUE: Duration = Duration::from_secs(1);

/// All agents. They end when this is dropped, or when the process does, however that happens.
pub(super) struct Broker {
    directory: PathBuf,
    agents: Vec<Agent>,
    /// Ends when the last process has ended, whoever started it.
    alive: PipeReader,
    /// What each of them has a copy of.
    alive_here: Option<PipeWriter>,
    /// Whoever removes the directory.
    keeper: Child,
}

/// An agent of the demo.
pub(super) struct Agent {
    pub(super) id: &'static str,
    /// In a few words.
    pub(super) does: &'static str,
    /// What it plays, life after life.
    parts: &'static [Part],
    /// How many processes it is when it is whole.
    processes: u32,
    /// Its lives so far.
    lives: usize,
    process: Option<Child>,
    /// Its process now, or last.
    pid: Option<u32>,
    /// Its end is the end of all processes that the agent started; a byte is the agent's cue.
    line: Option<ChildStdin>,
    /// When it was first shown whole, in this life.
    seen: Option<Mono>,
    cued: bool,
    ended: Option<Mono>,
    /// What the registry says.
    status: &'static str,
}

/// An agent that ended badly.
pub(super) struct Crash {
    pub(super) id: &'static str,
    pub(super) status: ExitStatus,
}

impl Broker {
    /// Makes the directory. Nobody plays yet.
    ///
    /// # Errors
    /// When the system refuses a process or the directory.
    pub(super) fn open() -> Result<Broker, Failure> {
        let (alive, alive_here) = std::io::pipe().context("cannot make a pipe")?;
        let mut command = part::command(Part::Directory)?;
        // A group of its own: Ctrl-C is for the demo, which then ends all in order.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut keeper = command.spawn().context("cannot start a process")?;
        let mut line = String::new();
        if let Some(stdout) = keeper.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).context("cannot hear where the directory is")?;
        }
        let directory = PathBuf::from(line.trim_end_matches('\n'));
        if directory.as_os_str().is_empty() {
            let _ = keeper.wait();
            return Err(anyhow!("there is no directory for what the demo writes; set TMPDIR to one").into());
        }
        let agent = |id, does, parts, processes| Agent {
            id,
            does,
            parts,
            processes,
            lives: 0,
            process: None,
            pid: None,
            line: None,
            seen: None,
            cued: false,
            ended: None,
            status: "online",
        };
        let agents = vec![
            agent("steady", "works a little, now and then", &[Part::Steady], 1),
            agent("busy", "has a compiler that takes most of a processor", &[Part::Busy], 2),
            agent("growing", "takes 16 MiB more each second", &[Part::Growing], 1),
            agent("crashing", "crashes, and is started again", &[Part::Failing, Part::Killed], 1),
            agent("leaving", "ends in order, but leaves a browser behind", &[Part::Leaving], 2),
        ];
        Ok(Broker { directory, agents, alive, alive_here: Some(alive_here), keeper })
    }

    pub(super) fn agents(&self) -> &[Agent] {
        &self.agents
    }

    /// For everything that the demo writes.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn registry(&self) -> PathBuf {
        self.directory.join("agents.json")
    }

    /// Goes on: starts who is to run, gives the cue to who was shown long enough, writes the registry when it changed.
    /// Returns who crashed.
    ///
    /// # Errors
    /// When a process cannot be started, or the registry not be written.
    pub(super) fn go_on(&mut self, shown: &Snapshot) -> Result<Vec<Crash>, Failure> {
        let now = monotonic();
        let (mut crashes, mut changed) = (Vec::new(), false);
        for agent in &mut self.agents {
            if let Some(status) = agent.reap(now)? {
                changed = true;
                if !status.success() {
                    crashes.push(Crash { id: agent.id, status });
                }
            }
            if agent.is_due(now) {
                let alive = self.alive_here.as_ref().context("the demo is over")?;
                agent.start(alive.try_clone().context("cannot share a pipe")?)?;
                changed = true;
            }
            agent.cue(shown, now);
        }
        if changed {
            self.write()?;
        }
        Ok(crashes)
    }

    /// In one step, as a broker should: a reader sees the old list or the new one.
    fn write(&self) -> Result<(), Failure> {
        let records: Vec<Value> = self.agents.iter().map(Agent::record).collect();
        let new = self.directory.join(".agents.json");
        fs::write(&new, Value::from(records).to_string())
            .and_then(|()| fs::rename(&new, self.registry()))
            .with_context(|| format!("cannot write {}", self.registry().display()))?;
        Ok(())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.alive_here = None;
        self.agents.iter_mut().for_each(|agent| agent.line = None);
        let mut fds = [PollFd::new(&self.alive, PollFlags::IN)];
        // Nothing is ever written there: what comes is the end.
        let all_ended = matches!(poll(&mut fds, Some(&PATIENCE)), Ok(1)) && self.alive.read(&mut [0]).is_ok();
        for process in self.agents.iter_mut().filter_map(|agent| agent.process.as_mut()) {
            if !all_ended {
                let _ = process.kill();
            }
            let _ = process.wait();
        }
        // Its line goes with this, and it removes the directory.
        let _ = self.keeper.wait();
        // If somebody killed it.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Agent {
    /// How it ended, if it just did.
    fn reap(&mut self, now: Mono) -> Result<Option<ExitStatus>, Failure> {
        let Some(process) = &mut self.process else { return Ok(None) };
        let status = process.try_wait().with_context(|| format!("cannot wait for {}", self.id))?;
        if let Some(status) = status {
            self.process = None;
            self.ended = Some(now);
            if status.success() {
                self.status = "completed";
            }
        }
        Ok(status)
    }

    fn is_due(&self, now: Mono) -> bool {
        let pause = PAUSES[self.lives.clamp(1, PAUSES.len()) - 1];
        let paused = self.ended.is_none_or(|ended| now.since(ended) >= pause);
        self.process.is_none() && self.status == "online" && paused
    }

    fn start(&mut self, alive: PipeWriter) -> Result<(), Failure> {
        let mut command = part::command(self.parts[self.lives % self.parts.len()])?;
        command.stdin(Stdio::piped()).stdout(alive).stderr(Stdio::null()).process_group(0);
        let mut process = command.spawn().with_context(|| format!("cannot start {}", self.id))?;
        self.line = process.stdin.take();
        self.pid = Some(process.id());
        self.process = Some(process);
        self.lives += 1;
        (self.seen, self.cued) = (None, false);
        Ok(())
    }

    /// Those that do not wait for it do not mind a cue.
    fn cue(&mut self, shown: &Snapshot, now: Mono) {
        let is_whole = shown.agents.iter().any(|view| {
            view.id.as_str() == self.id
                && view.state == Observed::Running
                && view.pid.map(Pid::get) == self.pid
                && view.metrics.process_count.is_some_and(|count| count >= self.processes)
        });
        match self.seen {
            None if is_whole => self.seen = Some(now),
            Some(seen) if !self.cued && now.since(seen) >= BEFORE_CUE => {
                self.cued = true;
                if let Some(line) = &mut self.line {
                    // One that has just ended needs none.
                    let _ = line.write_all(b".");
                }
            }
            _ => {}
        }
    }

    fn record(&self) -> Value {
        json!({"agentId": self.id, "status": self.status, "metadata": {"pid": self.pid, "does": self.does}})
    }
}
