//! Who is above whom.

use std::collections::{BTreeSet, HashMap};

use super::{AgentIndex, Forest};
use crate::model::{Pid, ProcessKey};

/// What a look at all members changed: whose parents they were before it.
#[derive(Clone, Default, Debug)]
pub(crate) struct Changes {
    /// Those that are gone, by their numbers.
    pub(crate) gone: HashMap<Pid, Option<Pid>>,
    /// Those that have another parent now, or one that could not be seen.
    pub(crate) moved: HashMap<ProcessKey, Option<Pid>>,
}

/// The members above a process: see [`Forest::ancestors`].
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Ancestors {
    /// Nearest first.
    pub(crate) members: Vec<ProcessKey>,
    /// Whether one of it just left, or its end is not known: who was given what those left behind was not seen.
    pub(crate) open: bool,
}

impl Forest {
    /// Who was above a process at the last look, and so whoever can have waited for it or for one between: orphans go
    /// upwards. Nobody is younger than who descends from it: a younger one has got the number of one that is gone.
    pub(crate) fn ancestors(&self, process: ProcessKey, parent: Option<Pid>, since: &Changes) -> Ancestors {
        let mut found = Ancestors::default();
        let (mut below, mut above, mut passed) = (process, parent, 0);
        while let Some(pid) = above {
            let member = self.at(pid).filter(|key| key.start_ticks <= below.start_ticks);
            if let Some(key) = member.filter(|key| !found.members.contains(key)) {
                found.members.push(key);
                let known = |then: &&Option<Pid>| {
                    then.is_some_and(|pid| self.at(pid).is_some() || since.gone.contains_key(&pid))
                };
                let then = since.moved.get(&key).filter(known);
                (below, above) = (key, *then.unwrap_or(&self.members[&key].parent));
            } else if let Some(parent) = since.gone.get(&pid).filter(|_| passed < since.gone.len()) {
                found.open = true;
                (above, passed) = (*parent, passed + 1);
            } else {
                found.open |= self.former.contains_key(&pid);
                return found;
            }
        }
        found.open = true;
        found
    }

    /// The agents of which one has a member below another's, or in a session or group that another's leads or led.
    pub(crate) fn nested(&self) -> BTreeSet<AgentIndex> {
        let mut nested = BTreeSet::new();
        for member in self.members.values() {
            let own = member.owner.agent;
            let parent = member.parent.and_then(|pid| self.owner_at(pid));
            let leaders = member.groups.into_iter().flatten().filter_map(|pid| self.last_owner(pid));
            for other in parent.into_iter().chain(leaders).filter(|other| other.agent != own) {
                nested.extend([own, other.agent]);
            }
        }
        nested
    }
}
