//! What the build script says of the commit: in a repository, from an archive of it, without either. It is compiled and run
//! as cargo does, in a folder with nothing else of the project.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

struct Tree {
    folder: tempfile::TempDir,
    script: PathBuf,
}

impl Tree {
    fn new() -> Tree {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script");
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/build.rs");
        let made = Command::new(rustc).args(["--edition", "2024", source, "-o"]).arg(&script).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let tree = Tree { folder, script };
        fs::create_dir_all(tree.path("here/packaging")).unwrap();
        for file in ["packaging/commit", ".gitattributes"] {
            fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join(file), tree.path("here").join(file)).unwrap();
        }
        tree
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn git(&self, folder: &str, arguments: &[&str]) -> String {
        let mut git = Command::new("git");
        git.current_dir(self.path(folder)).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        let name = ["-c", "user.name=a", "-c", "user.email=a@example.org"];
        let output = git.args(name).args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// What the script tells cargo.
    fn says(&self, folder: &str, profile: &str, given: Option<&str>) -> String {
        let mut script = Command::new(&self.script);
        script.current_dir(self.path(folder)).env("PROFILE", profile).env_remove("AGENT_MONITOR_COMMIT");
        let output = script.envs(given.map(|commit| ("AGENT_MONITOR_COMMIT", commit))).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

/// The commit among what a script says.
fn commit(said: &str) -> Option<&str> {
    said.lines().find_map(|line| line.strip_prefix("cargo::rustc-env=AGENT_MONITOR_MADE_OF="))
}

/// The files whose change makes everything anew.
fn watched(said: &str) -> Vec<&str> {
    said.lines().filter_map(|line| line.strip_prefix("cargo::rerun-if-changed=")).collect()
}

#[test]
fn a_repository_and_an_archive_of_it() {
    let tree = Tree::new();
    tree.git("here", &["init", "-q"]);
    tree.git("here", &["add", "."]);
    tree.git("here", &["commit", "-qm", "first"]);
    let head = tree.git("here", &["rev-parse", "HEAD"]);
    let said = tree.says("here", "release", None);
    assert_eq!(commit(&said), Some(&head[..12]), "{said}");
    assert_eq!(commit(&tree.says("here", "debug", None)), None, "a development build asks no git");
    // A file that is not there would be one that changed, at each build.
    let files = watched(&said);
    assert!(files.iter().any(|file| file.ends_with("logs/HEAD")), "{files:?}");
    let missing: Vec<&&str> =
        files.iter().filter(|file| !tree.path("here").join(file).exists() && **file != "build.rs").collect();
    assert_eq!(missing, [] as [&&str; 0]);
    // Each commit changes one of them, from a worktree too.
    tree.git("here", &["worktree", "add", "-q", "../beside"]);
    for folder in ["here", "beside"] {
        let files: Vec<PathBuf> =
            watched(&tree.says(folder, "release", None)).iter().map(|file| tree.path(folder).join(file)).collect();
        let texts = || -> Vec<Option<Vec<u8>>> { files.iter().map(|file| fs::read(file).ok()).collect() };
        let before = texts();
        tree.git(folder, &["commit", "-q", "--allow-empty", "-m", "next"]);
        assert_ne!(texts(), before, "{folder}");
        let head = tree.git(folder, &["rev-parse", "HEAD"]);
        assert_eq!(commit(&tree.says(folder, "release", None)), Some(&head[..12]), "{folder}");
    }
    // An archive knows its commit without git, and inside another repository it is not of that one's.
    fs::create_dir(tree.path("other")).unwrap();
    tree.git("other", &["init", "-q"]);
    tree.git("other", &["commit", "-q", "--allow-empty", "-m", "of another project"]);
    fs::create_dir(tree.path("other/here")).unwrap();
    tree.git("here", &["archive", "-o", "../here.tar", "HEAD"]);
    let head = tree.git("here", &["rev-parse", "HEAD"]);
    let unpacked =
        Command::new("tar").arg("-xf").arg(tree.path("here.tar")).arg("-C").arg(tree.path("other/here")).status();
    assert!(unpacked.unwrap().success());
    assert_eq!(commit(&tree.says("other/here", "debug", None)), Some(&head[..12]));
    fs::remove_file(tree.path("other/here/packaging/commit")).unwrap();
    assert_eq!(commit(&tree.says("other/here", "release", None)), None, "that is another project's commit");
}

#[test]
fn whoever_builds_may_say_it() {
    let tree = Tree::new();
    assert_eq!(commit(&tree.says("here", "release", None)), None, "neither a repository nor an archive");
    let given = "0123456789ABCDEF0123456789abcdef01234567";
    assert_eq!(commit(&tree.says("here", "debug", Some(given))), Some("0123456789ab"));
    for wrong in ["HEAD", "0123456789ab\"; drop", "012345", ""] {
        let said = tree.says("here", "release", Some(wrong));
        assert_eq!((commit(&said), said.contains("cargo::warning")), (None, !wrong.is_empty()), "{said}");
    }
}
