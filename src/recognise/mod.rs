//! Recognises agent programs: by what a process runs, never by what its arguments say or its threads are called.
//!
//! [`Rules::recognise`] says what one process is, from its [`Image`]; [`families`] says which of the processes so
//! recognised are one agent, and which of them is its root.

mod family;
mod own;
mod program;
mod table;

use std::sync::Arc;

use crate::model::Image;

pub use family::{Family, Relative, families};
pub use own::{OwnRule, Sign};
pub use program::script;
pub use table::names as known;

/// What a process was recognised as.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recognised {
    /// Which agent. Processes of one name are of one rule.
    pub agent: Arc<str>,
    /// Its part in it.
    pub part: Part,
    /// Whether it may have started another process to be the agent in its place: a script, which can do little but that.
    pub launcher: bool,
}

/// What a process is to its agent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// The agent, or a process of it that fits as well.
    Agent,
    /// The same program doing something else: printing its version, logging in, updating itself. Never a root.
    Helper,
    /// A helper that belongs to the agent of the same executable, wherever it hangs.
    Keeper,
}

/// The rules in use.
#[derive(Debug)]
pub enum Rules {
    /// Those for the agents that are known from the start.
    BuiltIn,
    /// The user's own, in order of precedence.
    Own(Vec<OwnRule>),
}

impl Rules {
    /// What a process is. `before`: what the same process was recognised as, running the same executable. It stays that
    /// when it writes a title over its command line.
    pub fn recognise(&self, image: &Image, before: Option<&Recognised>) -> Option<Recognised> {
        let found = match self {
            Rules::BuiltIn => table::recognise(image),
            Rules::Own(rules) => own::recognise(rules, image),
        };
        let is_titled = || matches!(program::Program::of(image), program::Program::Title { .. });
        found.or_else(|| before.filter(|_| is_titled()).cloned())
    }
}

#[cfg(test)]
mod tests;
