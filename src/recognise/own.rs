//! The user's own rules.

use std::sync::Arc;

use super::program::{Program, file_name};
use super::{Part, Recognised};
use crate::model::{Image, Script};

/// As much of a command line as an expression is held against, bytes: behind the program there are mostly prompts.
const LINE_BYTES: usize = 4096;

/// One rule.
#[derive(Clone, Debug)]
pub struct OwnRule {
    /// What agents found by it are called.
    pub agent: Arc<str>,
    /// How they are recognised.
    pub sign: Sign,
}

/// What a program is recognised by.
#[derive(Clone, Debug)]
pub enum Sign {
    /// The file name of an executable and of its `argv[0]`; of a script, as given or with its links resolved, without
    /// `.js`, `.mjs`, `.cjs` and `.py`; or the name of a module.
    Program(Box<str>),
    /// An expression that fits from the start of the path of the program, the script as given or resolved, or the name of
    /// the module, and then the arguments, one blank between them.
    CommandLine(regex_lite::Regex),
}

pub(super) fn recognise(rules: &[OwnRule], image: &Image) -> Option<Recognised> {
    let program = Program::of(image);
    let rule = rules.iter().find(|rule| match &rule.sign {
        Sign::Program(name) => is_named(program, image, name),
        Sign::CommandLine(expression) => fits(program, image, expression),
    })?;
    let launcher = matches!(program, Program::Script { .. });
    Some(Recognised { agent: Arc::clone(&rule.agent), part: Part::Agent, launcher })
}

fn is_named(program: Program<'_>, image: &Image, wanted: &str) -> bool {
    match program {
        Program::Native { name, exe, .. } => name == wanted && exe.is_none_or(|exe| file_name(exe) == wanted),
        Program::Script { word, .. } => {
            let resolved = image.script.as_ref().and_then(|script| script.resolved.as_deref());
            [Some(word), resolved].into_iter().flatten().any(|path| script_name(path) == wanted)
        }
        Program::Module { name, .. } => name == wanted,
        Program::Title { .. } | Program::Nothing => false,
    }
}

fn fits(program: Program<'_>, image: &Image, expression: &regex_lite::Regex) -> bool {
    let fits = |program: &str, arguments: &[Box<str>]| {
        let found = expression.find(&line(program, arguments)).map(|found| found.start());
        found == Some(0)
    };
    match program {
        Program::Native { exe, arguments, .. } => {
            exe.or(image.words.first().map(|word| &**word)).is_some_and(|program| fits(program, arguments))
        }
        Program::Script { word, arguments, .. } => match &image.script {
            Some(Script { path, resolved }) => {
                fits(path, arguments) || resolved.as_ref().is_some_and(|path| fits(path, arguments))
            }
            None => fits(word, arguments),
        },
        Program::Module { name, arguments } => fits(name, arguments),
        Program::Title { .. } | Program::Nothing => false,
    }
}

fn line(program: &str, arguments: &[Box<str>]) -> String {
    let mut line = program.to_owned();
    for argument in arguments {
        if line.len() > LINE_BYTES {
            break;
        }
        line.push(' ');
        line.push_str(argument);
    }
    line.truncate(line.floor_char_boundary(LINE_BYTES));
    line
}

fn script_name(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    let endings = [".js", ".mjs", ".cjs", ".py"];
    endings.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name)
}
