//! What is wrong with a configuration, told so that it can be mended: where, which key, what, and what to write.

use std::fmt;
use std::path::PathBuf;

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The file; none when the value came from a flag or the environment.
    pub file: Option<PathBuf>,
    /// Where in the file; none when it is about the file as a whole.
    pub place: Option<Place>,
    /// The key, such as `alerts.rule[0].for`, or the flag or variable; empty when it is about no key.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// A place in the file, with the line it stands in. Lines and columns count from 1, columns in characters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
    /// The line's text, made fit for a terminal and cut to what surrounds the place.
    pub excerpt: String,
    /// The characters of `excerpt` that are meant: the first, and how many.
    pub marked: (usize, usize),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}:", file.display())?;
            if let Some(place) = &self.place {
                write!(f, "{}:{}:", place.line, place.column)?;
            }
            f.write_str(" ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        if let Some(Place { line, excerpt, marked: (from, width), .. }) = &self.place {
            let margin = line.to_string().len();
            let marks = "^".repeat((*width).max(1));
            write!(f, "\n  {line} | {excerpt}\n  {:margin$} | {:from$}{marks}", "", "")?;
        }
        Ok(())
    }
}

/// Everything that is wrong, in the order of the file. Never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigErrors {
    problems: Vec<Problem>,
    untold: usize,
}

impl ConfigErrors {
    /// The most that are kept: a file of another kind, given by mistake, must not fill a terminal.
    pub const LIMIT: usize = 100;

    /// `None` when nothing is wrong. `untold` are those that were found beyond [`LIMIT`](ConfigErrors::LIMIT).
    pub(super) fn new(mut problems: Vec<Problem>, untold: usize) -> Option<ConfigErrors> {
        problems.sort_by_key(|problem| problem.place.as_ref().map(|place| (place.line, place.column)));
        (!problems.is_empty()).then_some(ConfigErrors { problems, untold })
    }

    /// The problems; at least one, at most [`LIMIT`](ConfigErrors::LIMIT).
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl From<Problem> for ConfigErrors {
    fn from(problem: Problem) -> ConfigErrors {
        ConfigErrors { problems: vec![problem], untold: 0 }
    }
}

/// Each problem with its line of the file, then how many there are.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(f, "{problem}")?;
        }
        match (self.problems.len(), self.untold) {
            (1, 0) => f.write_str("1 problem"),
            (told, 0) => write!(f, "{told} problems"),
            (told, untold) => write!(f, "{} problems, of which the first {told} are shown", told + untold),
        }
    }
}

impl std::error::Error for ConfigErrors {}
