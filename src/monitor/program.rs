//! Launchers and programs: two processes that are one agent.
//!
//! The launcher is the root. When it ends first the agent goes on with the program as its root, in the same run; when
//! both end, the program's end is the agent's, since a launcher's exit code may hide a signal.

use std::time::Duration;

use serde_json::Value;

use crate::model::{ExitStatus, Mono, Now, Pid, ProcessKey, ProcessRow, RunRow};
use crate::process::Watch;
use crate::tree::{AgentIndex, Owner};

use super::Monitor;
use super::agent::Agent;

/// A launcher ends right after its program. One that goes on for longer does something of its own.
const TOGETHER: Duration = Duration::from_secs(5);

const PROGRAM_PID: &str = "programPid";
const PROGRAM_START: &str = "programStartTicks";
const LAUNCHER_ENDED: &str = "launcherEnded";

/// A process that a launcher started to be the agent in its place: its end is the agent's.
#[derive(Clone, Debug)]
pub(super) struct Program {
    /// Who it is.
    pub key: ProcessKey,
    /// Its end, once that was told.
    pub end: Option<ProgramEnd>,
    /// How the launcher ended, should it never be known how the program did.
    pub launcher: Option<ExitStatus>,
}

/// The end of a program, as far as it was told.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProgramEnd {
    /// When it was told first.
    pub at: Mono,
    /// How it ended.
    pub status: Option<ExitStatus>,
    /// Whether nothing more will be told.
    pub settled: bool,
}

impl Monitor {
    /// From now on this process, which the root started, is the agent's program.
    pub(super) fn watch_program(&mut self, index: AgentIndex, row: &ProcessRow, now: Now) {
        let known = self.agents[index].program.as_ref().is_some_and(|program| program.key == row.key);
        let tree = Owner::tree(index);
        let elsewhere = self.forest.get(row.key).is_some_and(|member| member.owner != tree);
        if known || elsewhere || !self.take_in(row, tree, Watch::Exit, now) {
            return;
        }
        let agent = self.agent(index);
        agent.program = Some(Box::new(Program { key: row.key, end: None, launcher: None }));
        self.note_program(index, row.key, false, now);
    }

    /// Takes in what was told of the end of a process, if it is an agent's program.
    pub(super) fn note_program_end(&mut self, process: ProcessKey, status: Option<ExitStatus>, now: Now) {
        if self.roots.by_key.contains_key(&process) {
            return;
        }
        let is_program = |agent: &Agent| agent.program.as_ref().is_some_and(|program| program.key == process);
        let Some(index) = self.agents.iter().position(is_program).map(AgentIndex) else { return };
        let agent = self.agent(index);
        let Some(program) = &mut agent.program else { return };
        let settled = status.is_some() || program.end.is_some();
        let at = program.end.map_or(now.mono, |end| end.at);
        program.end = Some(ProgramEnd { at, status, settled });
        // Its launcher ended before this was told, and waits for it.
        let waiting = agent.run.as_ref().filter(|_| settled && agent.awaited().is_some());
        if let Some(root) = waiting.map(|run| run.root) {
            self.end_run(index, root, None, now);
            self.tell_end(index, now);
        }
    }

    /// What the end of a root means, told or found out. None: its program goes on as the same agent. Else how the agent
    /// ended.
    pub(super) fn cause_of_end(
        &mut self,
        index: AgentIndex,
        root: ProcessKey,
        status: Option<ExitStatus>,
        now: Now,
    ) -> Option<Option<ExitStatus>> {
        let agent = &self.agents[index];
        let is_root = agent.run.as_ref().is_some_and(|run| run.root == root);
        if !is_root || !agent.is_found() {
            return Some(status);
        }
        if agent.root() == Some(root)
            && let Some(program) = self.living_program(index, root)
            && self.hand_over(index, &program, now)
        {
            return None;
        }
        let Some(program) = &mut self.agent(index).program else { return Some(status) };
        let own = program.launcher.or(status);
        program.launcher = own;
        match program.end {
            Some(end) if now.mono.since(end.at) > TOGETHER => Some(own),
            Some(end) if end.settled => Some(end.status.or(own)),
            // It is about to be told.
            _ => Some(None),
        }
    }

    /// The program of an agent whose root ended, if it lives.
    fn living_program(&mut self, index: AgentIndex, root: ProcessKey) -> Option<ProcessRow> {
        match self.agents[index].program.as_ref().map(|program| program.key) {
            Some(key) => self.alive(key),
            None => self.unseen_program(index, root),
        }
    }

    /// The launcher ended: its program is the root now. False when that has just ended too.
    fn hand_over(&mut self, index: AgentIndex, program: &ProcessRow, now: Now) -> bool {
        if self.agents[index].program.is_none() && self.processes.keep(program.key, Watch::Exit).is_err() {
            return false;
        }
        let agent = self.agent(index);
        agent.program = None;
        agent.listing.stale = true;
        let Some(run) = agent.run.as_mut() else { return false };
        let launcher = std::mem::replace(&mut run.root, program.key);
        self.roots.by_key.remove(&launcher);
        self.roots.by_key.insert(program.key, index);
        self.outcome.changed = true;
        self.note_program(index, program.key, true, now);
        self.write_run(index);
        let message = format!("its launcher, process {}, ended; process {} goes on", launcher.pid, program.key.pid);
        self.warn(index, "launcher_ended", &message, now);
        true
    }

    /// Writes down which process the program is, for people and for the daemon after this one.
    fn note_program(&mut self, index: AgentIndex, program: ProcessKey, launcher_ended: bool, now: Now) {
        let mut facts = serde_json::Map::new();
        facts.insert(PROGRAM_PID.to_owned(), program.pid.get().into());
        facts.insert(PROGRAM_START.to_owned(), program.start_ticks.into());
        if launcher_ended {
            facts.insert(LAUNCHER_ENDED.to_owned(), true.into());
        }
        let agent = self.agent(index);
        agent.stored.metadata = facts.into();
        agent.listing.stale = true;
        self.write_agent(index, now);
    }

    /// The process with which a run that the last daemon watched goes on: its root, or its program if that outlived it.
    pub(super) fn root_to_resume(&mut self, index: AgentIndex, row: &RunRow, now: Now) -> ProcessKey {
        self.resume_lingering(index, row.end.as_ref().map(|end| end.at), now);
        let agent = &self.agents[index];
        let Some((program, launcher_ended)) = noted_program(agent) else { return row.root };
        if !agent.is_found() || row.boot != self.boot || row.end.is_some() {
            return row.root;
        }
        let launcher_lives = !launcher_ended && self.alive(row.root).is_some();
        if launcher_lives || self.alive(program).is_none() { row.root } else { program }
    }
}

/// The program that was written down for an agent, and whether its launcher had ended.
fn noted_program(agent: &Agent) -> Option<(ProcessKey, bool)> {
    let facts: Value = serde_json::from_str(agent.stored.metadata.as_str()).ok()?;
    let pid = Pid::new(facts.get(PROGRAM_PID)?.as_i64()?)?;
    let start_ticks = facts.get(PROGRAM_START)?.as_u64()?;
    Some((ProcessKey { pid, start_ticks }, facts.get(LAUNCHER_ENDED).is_some()))
}
