//! Finds agents by the programs that processes run, where no registry names them.
//!
//! At every `registry.refresh` all processes are gone through. What one runs is asked once, and again when it may have
//! become another: its name changed, it was told to have execed, or it was young. So a quiet host costs a scan.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::Duration;

use crate::config::{self, MatchBy};
use crate::model::{AgentId, JsonObject, Mono, Now, OwnState, Pid, ProcessKey, ProcessRow, ProcessState, Timestamp};
use crate::process::{ProcessSource, ReadError, Watch};
use crate::recognise::{Family, OwnRule, Part, Recognised, Relative, Rules, Sign, families};
use crate::timers::Timer;
use crate::tree::{AgentIndex, Owner};
use crate::verdict::{Fact, mismatch};

use super::agent::Agent;
use super::resume::ago;
use super::{Monitor, count_failure};

/// A process may still become what it is to be: a shell execs, a script writes its title.
const YOUTH: Duration = Duration::from_secs(10);

/// How long an agent stays in the lists after its end.
const LINGER: Duration = Duration::from_secs(600);

/// What was found out about every process.
pub(super) struct Matching {
    rules: Rules,
    timer: Timer,
    /// Registries that were not heard by then are not waited for: what they name is not to be found here as well.
    patience: Mono,
    /// Whether the next pass searches.
    searching: bool,
    /// Counts the searches.
    search: u64,
    known: HashMap<Pid, Known>,
}

/// What a process was found to run.
struct Known {
    key: ProcessKey,
    /// Its name then.
    name: Box<str>,
    /// Whether it is to be asked again.
    again: bool,
    /// The last search that saw it.
    search: u64,
    fit: Option<Box<Fit>>,
}

/// A process that runs an agent's program.
struct Fit {
    recognised: Recognised,
    exe: Option<Box<str>>,
    command: u64,
    parent: Option<Pid>,
    session: Option<Pid>,
}

impl Matching {
    /// None when the sources name agents and none is to be found.
    pub(super) fn new(registry: &config::Registry, now: Mono) -> Option<Matching> {
        let own = |source: &config::Source| {
            let config::Source::Match { agent, by } = source else { return None };
            let sign = match by {
                MatchBy::Program(name) => Sign::Program(name.as_str().into()),
                MatchBy::CommandLine(pattern) => Sign::CommandLine(config::command_line_regex(pattern).ok()?),
            };
            Some(OwnRule { agent: agent.as_str().into(), sign })
        };
        let own: Vec<OwnRule> = registry.sources.iter().filter_map(own).collect();
        let rules = match own.is_empty() {
            true if registry.sources.is_empty() => Rules::BuiltIn,
            true => return None,
            false => Rules::Own(own),
        };
        Some(Matching {
            rules,
            timer: Timer::new(registry.refresh, now),
            patience: now + registry.refresh,
            searching: false,
            search: 0,
            known: HashMap::new(),
        })
    }

    fn due(&self, heard: bool) -> Mono {
        if heard { self.timer.due() } else { self.timer.due().max(self.patience) }
    }

    /// Finds out what a process runs, if that is not known. `held`: the agent that was found and whose root it is. True
    /// when it is no longer what it was.
    fn identify(
        &mut self,
        processes: &mut dyn ProcessSource,
        row: &ProcessRow,
        held: Option<&str>,
        own: &mut OwnState,
    ) -> bool {
        let search = self.search;
        if let Some(known) = self.known.get_mut(&row.key.pid).filter(|known| known.key == row.key)
            && !known.again
            && known.name == row.name
        {
            known.search = search;
            if let Some(fit) = &mut known.fit {
                (fit.parent, fit.session) = (row.parent, row.session);
            }
            return false;
        }
        let before = self.known.remove(&row.key.pid).filter(|known| known.key == row.key);
        let before = before.and_then(|known| known.fit);
        let was = before.as_ref().map(|fit| Arc::clone(&fit.recognised.agent));
        let mut again = row.age < YOUTH;
        let fit = match processes.image(row.key) {
            Ok(image) => {
                // In the middle of execve(2) there is no command line for a moment.
                again |= image.words.is_empty();
                let same = before.filter(|before| before.exe == image.exe).map(|before| before.recognised);
                let found = self.rules.recognise(&image, same.as_ref());
                staying(found, same, held, was.is_some()).map(|recognised| {
                    Box::new(Fit {
                        recognised,
                        command: BuildHasherDefault::<DefaultHasher>::new().hash_one(&image.words),
                        exe: image.exe,
                        parent: row.parent,
                        session: row.session,
                    })
                })
            }
            Err(ReadError::Gone) => return false,
            Err(error) => {
                // Another time it may be to be had: now it waits for something, perhaps.
                again |= !matches!(error, ReadError::Denied { .. });
                count_failure(own, &error);
                before
            }
        };
        let is = fit.as_ref().map(|fit| &fit.recognised.agent);
        let changed = was.is_some() && was.as_ref() != is;
        self.known.insert(row.key.pid, Known { key: row.key, name: row.name.clone(), again, search, fit });
        changed
    }

    /// What a process was last found to run.
    fn fit(&self, process: ProcessKey) -> Option<&Fit> {
        self.known.get(&process.pid).filter(|known| known.key == process)?.fit.as_deref()
    }

    /// Those that run an agent's program, put together.
    fn families(&self) -> Vec<Family> {
        let relatives = self.known.values().filter_map(|known| Some(known.fit.as_ref()?.relative(known.key)));
        families(&relatives.collect::<Vec<_>>())
    }
}

impl Fit {
    fn relative(&self, key: ProcessKey) -> Relative<'_> {
        Relative {
            key,
            parent: self.parent,
            session: self.session,
            recognised: &self.recognised,
            exe: self.exe.as_deref(),
            command: self.command,
        }
    }
}

/// What a process is now. `same`: what it was, running the same executable. `known`: it was something before.
///
/// The root of an agent stays that while it runs the same executable, whatever it writes over its command line; one of
/// which only the last daemon, or the rules before a reload, knew what it ran stays in any case.
fn staying(found: Option<Recognised>, same: Option<Recognised>, held: Option<&str>, known: bool) -> Option<Recognised> {
    match held {
        None => found,
        Some(_) if known => same.or(found),
        Some(agent) => {
            let still = found.filter(|found| *found.agent == *agent && found.part == Part::Agent);
            Some(still.unwrap_or_else(|| Recognised { agent: agent.into(), part: Part::Agent, launcher: true }))
        }
    }
}

impl Monitor {
    /// When agents are to be searched for next.
    pub(super) fn search_due(&self) -> Option<Mono> {
        self.matching.as_ref().map(|matching| matching.due(self.roster.heard()))
    }

    /// Says that the next pass is to search among all processes, if that is due.
    pub(super) fn search_if_due(&mut self, now: Now) -> bool {
        let heard = self.roster.heard();
        let Some(matching) = &mut self.matching else { return false };
        matching.searching |= matching.due(heard) <= now.mono && matching.timer.fire(now.mono).is_some();
        matching.searching
    }

    /// Whether this pass searches among all processes.
    pub(super) fn is_searching(&self) -> bool {
        self.matching.as_ref().is_some_and(|matching| matching.searching)
    }

    /// A process became another program.
    pub(super) fn recognise_again(&mut self, pid: Pid) {
        if let Some(known) = self.matching.as_mut().and_then(|matching| matching.known.get_mut(&pid)) {
            known.again = true;
        }
    }

    /// Finds agents among all processes, if this pass is to search.
    pub(super) fn find_agents(&mut self, rows: &[ProcessRow], now: Now) {
        let Some(matching) = self.matching.as_mut().filter(|matching| matching.searching) else { return };
        matching.searching = false;
        matching.search += 1;
        let mut became_another = Vec::new();
        for row in rows.iter().filter(|row| !row.kernel && row.state != ProcessState::Zombie) {
            let root_of = self.roots.by_key.get(&row.key).map(|index| &self.agents[*index]);
            let held = root_of.filter(|agent| agent.root() == Some(row.key)).and_then(Agent::found_as);
            if matching.identify(&mut *self.processes, row, held, &mut self.own) && held.is_some() {
                became_another.push(row.key);
            }
        }
        let search = matching.search;
        matching.known.retain(|_, known| known.search == search);
        let families = matching.families();
        let recognised: HashMap<ProcessKey, &ProcessRow> =
            rows.iter().filter(|row| matching.fit(row.key).is_some()).map(|row| (row.key, row)).collect();
        for root in became_another {
            self.give_up(self.roots.by_key[&root], now);
        }
        for family in families {
            self.take_family(&family, &recognised, now);
        }
        let agents = &self.agents;
        let of = |source: &str| {
            let found = agents.iter().filter(|agent| agent.is_found() && agent.root().is_some());
            found.filter(|agent| source == "match" || *agent.stored.source == *source).count()
        };
        self.roster.searched(of, now);
    }

    /// Makes the processes of one agent that one, or a new one.
    fn take_family(&mut self, family: &Family, rows: &HashMap<ProcessKey, &ProcessRow>, now: Now) {
        let index = match family.members.iter().find_map(|key| self.agent_of_root(*key)) {
            Some(index) => index,
            None if self.loses_its_root(family, rows) => return,
            None => match self.begin_found(&family.agent, rows[&family.root], now) {
                Some(index) => index,
                None => return,
            },
        };
        // One that a registry names is no business of ours.
        if !self.agents[index].is_found() {
            return;
        }
        let owner = Owner::tree(index);
        if self.agents[index].root() == Some(family.root)
            && let Some(program) = family.program
        {
            self.watch_program(index, rows[&program], now);
        }
        for keeper in &family.keepers {
            if self.forest.get(*keeper).is_none() {
                self.take_in(rows[keeper], owner, Watch::Counters, now);
            } else if self.forest.get(*keeper).is_some_and(|member| member.owner.agent != index) {
                self.regroup(*keeper, owner, now);
            }
        }
    }

    /// Whether these are of an agent whose root is gone without its end having been told yet: it died while the processes
    /// were listed. Who goes on is decided when that is taken in.
    fn loses_its_root(&self, family: &Family, rows: &HashMap<ProcessKey, &ProcessRow>) -> bool {
        let Some(member) = self.forest.get(family.root).filter(|member| !member.owner.leftover) else { return false };
        let agent = &self.agents[member.owner.agent];
        let root_gone = agent.root().is_some_and(|root| !rows.contains_key(&root));
        root_gone && agent.found_as() == Some(&*family.agent)
    }

    /// A new agent, whose root this process is.
    fn begin_found(&mut self, agent: &str, row: &ProcessRow, now: Now) -> Option<AgentIndex> {
        let source: Arc<str> = format!("match:{agent}").into();
        let index = self.free_id(agent, &source).and_then(|id| self.agent_or_new(&id, &source, now))?;
        let found = self.agent(index);
        found.program = None;
        found.stored.metadata = JsonObject::default();
        self.begin_run(index, row, now);
        let found = self.agent(index);
        found.listing.lingers = found.root().is_some();
        found.root().map(|_| index)
    }

    /// `<agent>-<n>` with the lowest number that nobody in the lists has.
    fn free_id(&self, agent: &str, source: &Arc<str>) -> Option<AgentId> {
        let free = |id: &AgentId| {
            let known = self.agents.of_id(id).map(|index| &self.agents[index]);
            known.is_none_or(|known| known.is_found() && known.stored.source == *source && !known.is_listed())
        };
        (1..=self.agents.len() + 1).filter_map(|n| AgentId::new(&format!("{agent}-{n}")).ok()).find(free)
    }

    /// What a registry names is not also found: an agent that was found at the process of this claim gives it up.
    pub(super) fn make_way(&mut self, index: AgentIndex, now: Now) {
        let claimer = &self.agents[index];
        let pid = match claimer.inner_pid() {
            None => claimer.claimed_pid(),
            Some(inner) => self.processes.look_inside(inner).ok().map(|row| row.key.pid),
        };
        let Some(record) = claimer.claim.as_ref().map(|claim| &claim.record) else { return };
        let Some(member) = pid.and_then(|pid| self.forest.at(pid)) else { return };
        let found = self.forest.get(member).expect("it is at its pid").owner.agent;
        let other = &self.agents[found];
        let Some(root) = other.root().filter(|_| found != index && other.is_found()) else { return };
        let program = other.program.as_ref().is_some_and(|program| program.key == member && program.end.is_none());
        let guard = record.guard.clone();
        let Some(row) = self.look_at(member) else { return };
        let stranger = mismatch(&guard, row.key, &self.boot, now.wall - row.age, row.kernel).is_some();
        if stranger || member != root && !program {
            return;
        }
        self.give_up(found, now);
        self.agent(found).listing.lingers = false;
        if member != root {
            // The launcher is nobody's: what is claimed is the program.
            self.forest.remove(root);
            self.processes.release(root);
        }
    }

    /// An agent's process is not it any more, though it lives.
    fn give_up(&mut self, index: AgentIndex, now: Now) {
        self.supersede_run(index, now);
        self.agent(index).observe(Fact::NoPid, now);
    }

    /// Lets agents that were found leave the lists when they ended a while ago.
    pub(super) fn let_found_go(&mut self, now: Now) {
        let is_over = |agent: &Agent| agent.gone_at.is_none_or(|at| now.mono.since(at) >= LINGER);
        for index in self.agents.indices() {
            let agent = &self.agents[index];
            if agent.listing.lingers && agent.root().is_none() && is_over(agent) {
                self.agents[index].listing.lingers = false;
                self.outcome.changed = true;
            }
        }
    }

    /// One that was found stays in the lists as long as it would have under the daemon before. `ended_at`: its end.
    pub(super) fn resume_lingering(&mut self, index: AgentIndex, ended_at: Option<Timestamp>, now: Now) {
        let agent = self.agent(index);
        let since = ended_at.map(|at| now.wall.since(at));
        agent.listing.lingers = agent.is_found() && since.is_none_or(|since| since < LINGER);
        if let Some(ended_at) = ended_at.filter(|_| agent.is_found()) {
            agent.gone_at = Some(ago(ended_at, now));
        }
    }

    /// The process that `root`, which ended, started to be the agent in its place, of those that no search has seen yet.
    pub(super) fn unseen_program(&mut self, index: AgentIndex, root: ProcessKey) -> Option<ProcessRow> {
        let launcher = self.matching.as_ref()?.fit(root).filter(|fit| fit.recognised.launcher)?;
        let (agent, session) = (Arc::clone(&launcher.recognised.agent), launcher.session);
        let command = launcher.command;
        let members = self.forest.of(Owner::tree(index)).map(|(key, _)| key);
        let members: Vec<ProcessKey> = members.filter(|key| *key != root).collect();
        let matching = self.matching.as_mut()?;
        members.into_iter().find_map(|key| {
            let row = self.processes.look(key.pid).ok()?;
            if row.key != key || row.state == ProcessState::Zombie || row.session != session {
                return None;
            }
            matching.identify(&mut *self.processes, &row, None, &mut self.own);
            let fit = matching.fit(key)?;
            let fits = fit.recognised.agent == agent && fit.recognised.part == Part::Agent && fit.command != command;
            fits.then_some(row)
        })
    }
}
