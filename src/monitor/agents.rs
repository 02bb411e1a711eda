//! The agents that are known, by their places, ids and numbers.
//!
//! With thousands of agents, what happens to one of them must not cost a look at each: whoever is handed out to be changed
//! is noted, and a snapshot looks at nobody else.

use std::collections::{BTreeMap, HashMap};
use std::ops::{Index, IndexMut};

use crate::model::{AgentId, AgentNumber};
use crate::tree::{AgentIndex, Owner};

use super::account::Account;
use super::agent::Agent;

/// All of them.
#[derive(Default)]
pub(super) struct Agents {
    /// Those that are known, and `vacant` places among them.
    places: Vec<Agent>,
    /// Places of agents that were forgotten.
    vacant: Vec<AgentIndex>,
    by_id: BTreeMap<AgentId, AgentIndex>,
    by_number: HashMap<AgentNumber, AgentIndex>,
    /// Who may have changed since the last snapshot, each once, …
    touched: Vec<AgentIndex>,
    /// … and whether that is so, by their places.
    is_touched: Vec<bool>,
    /// Whether somebody came or went since.
    reordered: bool,
}

impl Agents {
    /// Places, vacant ones among them.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// How many are known.
    pub(super) fn count(&self) -> usize {
        self.by_id.len()
    }

    /// All places, vacant ones among them.
    pub(super) fn indices(&self) -> impl Iterator<Item = AgentIndex> + use<> {
        (0..self.places.len()).map(AgentIndex)
    }

    /// By their ids.
    pub(super) fn in_order(&self) -> impl Iterator<Item = (&AgentId, AgentIndex)> {
        self.by_id.iter().map(|(id, index)| (id, *index))
    }

    pub(super) fn of_id(&self, id: &AgentId) -> Option<AgentIndex> {
        self.by_id.get(id).copied()
    }

    pub(super) fn of_number(&self, number: AgentNumber) -> Option<AgentIndex> {
        self.by_number.get(&number).copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Agent> {
        self.places.iter()
    }

    /// The account that a member is charged to.
    pub(super) fn account(&mut self, owner: Owner) -> &mut Account {
        &mut self[owner.agent].usage(owner.leftover).account
    }

    /// The number of the next one to come in, if it takes the place of one that was forgotten.
    pub(super) fn free_number(&self) -> Option<AgentNumber> {
        self.vacant.last().map(|index| self[*index].stored.number)
    }

    /// Takes one in that is not known.
    pub(super) fn admit(&mut self, agent: Agent) -> AgentIndex {
        let (id, number) = (agent.stored.id.clone(), agent.stored.number);
        let index = match self.vacant.pop() {
            Some(index) => {
                self[index] = agent;
                index
            }
            None => {
                self.places.push(agent);
                self.is_touched.push(false);
                AgentIndex(self.places.len() - 1)
            }
        };
        self.by_id.insert(id, index);
        self.by_number.insert(number, index);
        self.reordered = true;
        index
    }

    /// Forgets one; `nobody` keeps its place and number for the next.
    pub(super) fn forget(&mut self, index: AgentIndex, nobody: Agent) {
        let stored = &self.places[index.0].stored;
        self.by_id.remove(&stored.id);
        self.by_number.remove(&stored.number);
        self[index] = nobody;
        self.vacant.push(index);
        self.reordered = true;
    }

    /// Who may have changed since this was last asked; none when somebody came or went meanwhile: anybody may have.
    pub(super) fn take_touched(&mut self) -> Option<Vec<AgentIndex>> {
        let touched = std::mem::take(&mut self.touched);
        touched.iter().for_each(|index| self.is_touched[index.0] = false);
        (!std::mem::take(&mut self.reordered)).then_some(touched)
    }

    /// Notes what a snapshot shows of one: its place in the list, if it is in it.
    pub(super) fn shown(&mut self, index: AgentIndex, place: Option<usize>) {
        let agent = &mut self.places[index.0];
        (agent.listing.place, agent.listing.stale) = (place, false);
    }
}

impl Index<AgentIndex> for Agents {
    type Output = Agent;

    fn index(&self, index: AgentIndex) -> &Agent {
        &self.places[index.0]
    }
}

impl IndexMut<AgentIndex> for Agents {
    fn index_mut(&mut self, index: AgentIndex) -> &mut Agent {
        if !std::mem::replace(&mut self.is_touched[index.0], true) {
            self.touched.push(index);
        }
        &mut self.places[index.0]
    }
}
