//! Which of the recognised processes are one agent.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Part, Recognised};
use crate::model::{Pid, ProcessKey};

/// A recognised process among the others.
#[derive(Clone, Copy, Debug)]
pub struct Relative<'a> {
    /// Who it is.
    pub key: ProcessKey,
    /// Its parent.
    pub parent: Option<Pid>,
    /// Its session.
    pub session: Option<Pid>,
    /// What it was recognised as.
    pub recognised: &'a Recognised,
    /// Its executable; none where that may not be read.
    pub exe: Option<&'a str>,
    /// What is the same for a process and the copy of itself that fork(2) makes: something of its command line.
    pub command: u64,
}

/// The processes of one agent that were recognised as such.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Family {
    /// Which agent.
    pub agent: Arc<str>,
    /// The topmost.
    pub root: ProcessKey,
    /// The process that the root started to be the agent in its place, where it is a launcher.
    pub program: Option<ProcessKey>,
    /// All that hang together, the root too, oldest first.
    pub members: Vec<ProcessKey>,
    /// Those beside it that keep it running.
    pub keepers: Vec<ProcessKey>,
}

/// Puts recognised processes together, oldest root first.
///
/// A process belongs to its parent's agent when that was recognised as the same, in the same session: a launcher and its
/// program, a helper, a copy just forked. A helper whose parent is no such process is nobody's.
pub fn families(relatives: &[Relative<'_>]) -> Vec<Family> {
    let by_pid: HashMap<Pid, &Relative<'_>> = relatives.iter().map(|relative| (relative.key.pid, relative)).collect();
    let parent_of = |child: &Relative<'_>| -> Option<&Relative<'_>> {
        let parent = *by_pid.get(&child.parent?)?;
        // The rows were not read in one moment: a parent that is younger is another process.
        let older = parent.key.start_ticks <= child.key.start_ticks;
        let fits = older && parent.recognised.agent == child.recognised.agent;
        // A copy that is about to become a tool may have its own session already.
        let near = parent.session == child.session || parent.command == child.command;
        (fits && near).then_some(parent)
    };
    let mut found: HashMap<ProcessKey, Vec<&Relative<'_>>> = HashMap::new();
    // The root that each belongs to, as far as it is known: anybody may make a chain of thousands.
    let mut roots: HashMap<ProcessKey, Option<ProcessKey>> = HashMap::new();
    for relative in relatives {
        let (mut root, mut path) = (None, Vec::new());
        let mut at = Some(relative);
        while let Some(here) = at {
            if let Some(known) = roots.get(&here.key) {
                root = *known;
                break;
            }
            // For the time being: it ends a ring, which rows of different moments may make.
            roots.insert(here.key, None);
            path.push(here);
            at = parent_of(here);
        }
        for here in path.into_iter().rev() {
            root = root.or((here.recognised.part == Part::Agent).then_some(here.key));
            roots.insert(here.key, root);
        }
        if let Some(root) = root {
            found.entry(root).or_default().push(relative);
        }
    }
    let mut families: Vec<Family> = found.into_iter().map(|(root, members)| family(root, members)).collect();
    families.sort_by_key(|family| family.root);
    for keeper in relatives.iter().filter(|relative| relative.recognised.part == Part::Keeper) {
        let keeps = |family: &&mut Family| {
            let root = by_pid[&family.root.pid];
            root.recognised.agent == keeper.recognised.agent && root.exe == keeper.exe
        };
        if let Some(family) = families.iter_mut().find(keeps) {
            family.keepers.push(keeper.key);
        }
    }
    families
}

fn family(root: ProcessKey, mut members: Vec<&Relative<'_>>) -> Family {
    members.sort_by_key(|member| member.key);
    let top = members.iter().find(|member| member.key == root).copied();
    let program = top.filter(|top| top.recognised.launcher).and_then(|top| {
        members.iter().find(|member| {
            member.parent == Some(root.pid)
                && member.key != root
                && member.recognised.part == Part::Agent
                && member.command != top.command
        })
    });
    let program = program.map(|program| program.key);
    let agent = Arc::clone(&members[0].recognised.agent);
    Family { agent, root, program, members: members.iter().map(|member| member.key).collect(), keepers: Vec::new() }
}
