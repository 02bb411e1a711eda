//! Tells the program which commit it is made of, for `--version`: what AGENT_MONITOR_COMMIT says, else what `git archive` wrote
//! into packaging/commit, else, for a release build, what git says. None of them is needed. A development build asks no git: it
//! would be made anew, with all its tests, at each commit.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={ARCHIVED}");
    println!("cargo::rerun-if-env-changed=AGENT_MONITOR_COMMIT");
    let is_release = std::env::var_os("PROFILE").is_some_and(|profile| profile == "release");
    let given = std::env::var_os("AGENT_MONITOR_COMMIT").and_then(|commit| commit.into_string().ok());
    let commit =
        given.filter(|commit| !commit.is_empty()).or_else(archived).or_else(|| is_release.then(checked_out)?);
    let Some(commit) = commit else { return };
    if (7..=64).contains(&commit.len()) && commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        println!("cargo::rustc-env=AGENT_MONITOR_MADE_OF={:.12}", commit.to_ascii_lowercase());
    } else {
        println!("cargo::warning={commit:?} is no commit: left out of --version");
    }
}

/// Where `git archive` writes the commit, gitattributes(5): until then it is a pattern.
const ARCHIVED: &str = "packaging/commit";

fn archived() -> Option<String> {
    let text = std::fs::read_to_string(ARCHIVED).ok()?;
    Some(text.trim().to_owned()).filter(|commit| !commit.starts_with('$'))
}

fn checked_out() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("rev-parse").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    // Sources that were unpacked inside another project's repository are not of its commit.
    let top = std::fs::canonicalize(git(&["--show-toplevel"])?).ok()?;
    if top != std::env::current_dir().ok()?.canonicalize().ok()? {
        return None;
    }
    // HEAD changes with the branch, its log with each commit. A file that is not there would count as changed each time.
    for file in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["--git-path", file]).filter(|path| Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["HEAD"])
}
