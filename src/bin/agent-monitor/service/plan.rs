//! What is to be done, in order: shown, or done.

use std::fmt::Write;
use std::fs::{self, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, anyhow};

use super::added;
use crate::failure::Failure;
use crate::output::print;

/// One thing to do.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// A file, new or instead of an older one of ours; readable by everyone.
    Write { path: PathBuf, text: String },
    /// An edited file stays; what would be written now goes beside it.
    WriteBeside { path: PathBuf, beside: PathBuf, text: String },
    /// A file or directory stays as it is.
    Keep { path: PathBuf, why: String },
    /// A file of ours goes.
    Remove { path: PathBuf },
    /// An edited file goes out of the way.
    MoveAside { path: PathBuf, to: PathBuf },
    /// A command of the manager's.
    Run(Vec<String>),
    /// A command whose failure is no obstacle.
    Try(Vec<String>),
}

/// Steps, and what to tell whoever took them.
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    pub(super) hint: String,
}

impl Plan {
    /// Takes the steps and prints each as it is done; or prints only what they would be.
    ///
    /// # Errors
    /// At the first step that fails, which it names. Those before it are done; all can be done again.
    pub(super) fn carry_out(&self, dry: bool) -> Result<(), Failure> {
        for step in &self.steps {
            if dry {
                print(&step.announced())?;
            } else {
                let done = step.take()?;
                print(&format!("{done}\n"))?;
            }
        }
        print(&format!("{}\n", self.hint))
    }
}

impl Step {
    /// A command.
    pub(super) fn run(words: &[&str]) -> Step {
        Step::Run(words.iter().map(|&word| word.to_owned()).collect())
    }

    /// What would be done, with the text of files.
    fn announced(&self) -> String {
        let file = |path: &Path, text: &str| {
            text.lines().fold(format!("write {}:\n", path.display()), |mut shown, line| {
                // Writing to a String cannot fail.
                let _ = writeln!(shown, "    {line}");
                shown
            })
        };
        match self {
            Step::Write { path, text } => file(path, text),
            Step::WriteBeside { path, beside, text } => {
                format!("keep {}: it was edited\n{}", path.display(), file(beside, text))
            }
            Step::Keep { path, why } => format!("keep {}: {why}\n", path.display()),
            Step::Remove { path } => format!("remove {}\n", path.display()),
            Step::MoveAside { path, to } => format!("move {} to {}: it was edited\n", path.display(), to.display()),
            Step::Run(words) | Step::Try(words) => format!("run {}\n", words.join(" ")),
        }
    }

    /// Does it, and says so.
    fn take(&self) -> Result<String, anyhow::Error> {
        match self {
            Step::Write { path, text } => {
                replace(path, text).with_context(|| format!("cannot write {}", path.display()))?;
                Ok(format!("wrote {}", path.display()))
            }
            Step::WriteBeside { path, beside, text } => {
                replace(beside, text).with_context(|| format!("cannot write {}", beside.display()))?;
                Ok(format!("kept {}: it was edited; {} is what it would be", path.display(), beside.display()))
            }
            Step::Keep { path, why } => Ok(format!("kept {}: {why}", path.display())),
            Step::Remove { path } => {
                fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
                Ok(format!("removed {}", path.display()))
            }
            Step::MoveAside { path, to } => {
                fs::rename(path, to).with_context(|| format!("cannot move {}", path.display()))?;
                Ok(format!("moved {} to {}: it was edited", path.display(), to.display()))
            }
            Step::Run(words) => execute(words).map(|()| format!("ran {}", words.join(" "))),
            Step::Try(words) => Ok(match execute(words) {
                Ok(()) => format!("ran {}", words.join(" ")),
                Err(error) => format!("tried {error:#}"),
            }),
        }
    }
}

/// The file appears whole, or not at all.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(above) = path.parent() {
        fs::create_dir_all(above)?;
    }
    let part = added(path, "part");
    // One of an earlier try that was cut short.
    let _ = fs::remove_file(&part);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&part)?;
    file.write_all(text.as_bytes())?;
    // Whatever the umask: the service's user reads it.
    file.set_permissions(Permissions::from_mode(0o644))?;
    file.sync_all()?;
    fs::rename(&part, path)
}

fn execute(words: &[String]) -> Result<(), anyhow::Error> {
    let line = words.join(" ");
    let (program, arguments) = words.split_first().context("an empty command")?;
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {line}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(anyhow!("{line}: {}{}{said}", output.status, if said.is_empty() { "" } else { ": " }))
}
