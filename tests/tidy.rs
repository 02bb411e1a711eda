//! The rules of the house that a compiler does not know: floors, lengths, who may ask for the time or speak SQL, and a map
//! that is true.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Lowest floor first. A module may name modules of lower floors and its own family.
const FLOORS: &[&[&str]] = &[
    &["model"],
    &[
        "alerts",
        "config",
        "fingerprint",
        "ledger",
        "openmetrics",
        "recognise",
        "redact",
        "retention",
        "rollup",
        "timers",
        "verdict",
    ],
    &["intake", "tree"],
    &["clock", "process"],
    &["monitor"],
    &["web"],
    &[
        "messages",
        "notify",
        "process/common",
        "process/here",
        "process/linux",
        "process/macos",
        "process/portable",
        "registry",
        "store",
        "supervise",
        "testing",
    ],
    &["feed"],
    &["api", "delivery", "discovery", "endpoint", "engine", "ingest"],
    &["daemon"],
];

/// A file that is longer wants to be two.
const LINES: usize = 450;

struct Source {
    /// Its path from the root of the repository.
    path: String,
    text: String,
}

impl Source {
    /// The file without its tests: those may look anywhere.
    fn code(&self) -> &str {
        self.text.split("#[cfg(test)]\nmod ").next().unwrap()
    }

    /// `store` for `src/store/writer.rs`, `process/linux` for `src/process/linux/stat.rs`; none for the crate's root.
    fn module(&self) -> Option<&'static str> {
        let below = self.path.strip_prefix("src/")?.trim_end_matches(".rs");
        let fits = |name: &&str| below == *name || below.strip_prefix(*name).is_some_and(|rest| rest.starts_with('/'));
        FLOORS.iter().flat_map(|floor| floor.iter().copied()).filter(fits).max_by_key(|name| name.len())
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &str) -> Vec<Source> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut paths = Vec::new();
    walk(&root().join(folder), &mut paths);
    paths.sort();
    let read = |path: PathBuf| Source {
        path: path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned(),
        text: fs::read_to_string(&path).unwrap(),
    };
    paths.into_iter().map(read).collect()
}

fn floor(module: &str) -> usize {
    FLOORS.iter().position(|floor| floor.contains(&module)).unwrap_or_else(|| panic!("{module} is on no floor"))
}

/// The modules that a text names with `crate::`.
fn named(text: &str) -> BTreeSet<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code: String = code.collect::<Vec<_>>().join("\n");
    let word = |rest: &str| -> String { rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    let names = code.split("crate::").skip(1).map(|rest| {
        let name = word(rest);
        let nested = format!("{name}/{}", rest.strip_prefix(&format!("{name}::")).map(word).unwrap_or_default());
        if FLOORS.iter().any(|floor| floor.contains(&nested.as_str())) { nested } else { name }
    });
    names.collect()
}

fn violations(source: &Source) -> Vec<String> {
    let Some(module) = source.module() else { return Vec::new() };
    let family = module.split('/').next().unwrap();
    let own = floor(module);
    named(source.code())
        .into_iter()
        .filter_map(|used| {
            if used.is_empty() {
                return Some(format!("{}: write one `use crate::…` for each module", source.path));
            }
            let same_family = used.split('/').next() == Some(family);
            (!same_family && floor(&used) >= own).then(|| format!("{} must not use {used}", source.path))
        })
        .collect()
}

#[test]
fn modules_import_downwards_only() {
    let sources = sources("src");
    let found: Vec<String> =
        sources.iter().filter(|source| !source.path.starts_with("src/bin/")).flat_map(violations).collect();
    assert_eq!(found, [] as [String; 0]);
    let unplaced: Vec<&str> = sources
        .iter()
        .filter(|source| {
            !source.path.starts_with("src/bin/") && source.path != "src/lib.rs" && source.module().is_none()
        })
        .map(|source| &*source.path)
        .collect();
    assert_eq!(unplaced, [] as [&str; 0], "on no floor");
}

#[test]
fn the_check_of_floors_can_fail() {
    let source = |text: &str| Source { path: "src/verdict.rs".into(), text: text.into() };
    assert_eq!(violations(&source("use crate::model::Pid;")), [] as [String; 0]);
    assert_eq!(violations(&source("use crate::store::Op;")), ["src/verdict.rs must not use store"]);
    assert_eq!(violations(&source("use crate::ledger::Share;")), ["src/verdict.rs must not use ledger"]);
    assert_eq!(violations(&source("use crate::{model, store};")).len(), 1);
    let monitor = Source { path: "src/monitor/tick.rs".into(), text: "use crate::process::linux::LinuxSource;".into() };
    assert_eq!(violations(&monitor), ["src/monitor/tick.rs must not use process/linux"]);
}

#[test]
fn files_stay_readable() {
    let long: Vec<String> = sources("src")
        .iter()
        .chain(&sources("benches"))
        .map(|source| (source.code().lines().count(), &source.path))
        .filter(|(lines, _)| *lines > LINES)
        .map(|(lines, path)| format!("{path}: {lines} lines"))
        .collect();
    assert_eq!(long, [] as [String; 0]);
}

/// What takes in what comes from outside. In the two others that do, `redact` and `fingerprint`, texts are cut where something
/// was found in them: those are held to by `tests/fuzzed/main.rs`.
const TAKES_INPUT: &[&str] = &[
    "src/api/agent.rs",
    "src/api/groups.rs",
    "src/api/guard.rs",
    "src/api/history.rs",
    "src/api/lists.rs",
    "src/api/writes.rs",
    "src/config/mod.rs",
    "src/intake.rs",
    "src/messages.rs",
    "src/process/linux/stat.rs",
    "src/registry/mod.rs",
];

/// The compiler refuses what could panic in a module that says so, and in those below it.
#[test]
fn what_takes_input_denies_what_can_panic() {
    for path in TAKES_INPUT {
        let text = fs::read_to_string(root().join(path)).unwrap();
        let denied = text.split("#![deny(").nth(1).and_then(|rest| rest.split(")]").next()).unwrap_or_default();
        for lint in ["indexing_slicing", "string_slice", "unwrap_used", "panic", "unreachable"] {
            assert!(denied.contains(&format!("clippy::{lint},")), "{path} does not deny clippy::{lint}");
        }
    }
}

/// Words that only some files may say.
const OWNED: &[(&[&str], &[&str])] = &[
    (&["SystemTime::now", "Instant::now", "clock_gettime"], &["src/clock.rs", "src/process/linux/"]),
    (
        &["thread::sleep", "time::sleep"],
        &["src/api/serve.rs", "src/bin/agent-monitor/follow/", "src/delivery/", "src/discovery.rs"],
    ),
    (&["unsafe {"], &["src/process/linux/kernel.rs", "src/process/macos/kernel.rs"]),
    (&["env::var"], &["src/bin/agent-monitor/environment.rs"]),
    (&["process::exit"], &["src/bin/"]),
    (&["signal_hook"], &["src/bin/"]),
    (&["todo!(", "unimplemented!(", "dbg!("], &[]),
    (&["prepare_cached(", "\"select ", "\"insert ", "\"delete from"], &["src/store/", "src/messages.rs"]),
    (&["derive(serde", "use serde::"], &["src/api/", "src/notify/", "src/registry/", "src/endpoint.rs"]),
];

#[test]
fn each_power_has_its_owner() {
    let mut found = Vec::new();
    for source in sources("src") {
        let code: String =
            source.code().lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
        for (words, owners) in OWNED {
            for word in words.iter().filter(|word| code.contains(**word)) {
                if !owners.iter().any(|owner| source.path.starts_with(owner)) {
                    found.push(format!("{} says {word}", source.path));
                }
            }
        }
    }
    assert_eq!(found, [] as [String; 0]);
}

#[test]
fn the_lower_floors_do_no_io() {
    let mut found = Vec::new();
    for source in sources("src") {
        let Some(module) = source.module() else { continue };
        if floor(module) > floor("monitor") {
            continue;
        }
        let words = ["async ", "tokio", "rusqlite", "std::thread", "std::fs", "std::net::Tcp"];
        for word in words.into_iter().filter(|word| source.code().contains(word)) {
            // The one file that the configuration is read from.
            let config = source.path.starts_with("src/config/") && word == "std::fs";
            if !config {
                found.push(format!("{} says {word}", source.path));
            }
        }
    }
    assert_eq!(found, [] as [String; 0]);
}

#[test]
fn the_map_names_every_part_and_nothing_else() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let parts: Vec<&str> = FLOORS.iter().flat_map(|floor| floor.iter().copied()).collect();
    let missing: Vec<&&str> = parts.iter().filter(|part| !map.contains(&format!("`{part}`"))).collect();
    assert_eq!(missing, [] as [&&str; 0], "not in ARCHITECTURE.md");
    let words = map.split('`').skip(1).step_by(2);
    let paths =
        words.filter(|word| word.contains('/') && !word.contains([' ', '<', '*', ':']) && !word.starts_with('/'));
    let wrong: Vec<&str> = paths
        .filter(|path| !root().join(path).exists() && !root().join("src").join(path).exists())
        .filter(|path| !parts.contains(path))
        .collect();
    assert_eq!(wrong, [] as [&str; 0], "named in ARCHITECTURE.md and not there");
}

#[test]
fn the_tests_that_documents_name_exist() {
    let text = fs::read_to_string(root().join("docs/reliability.md")).unwrap();
    let named: Vec<&str> = text.split('`').skip(1).step_by(2).filter(|word| word.split("::").count() == 3).collect();
    assert!(named.len() > 20, "{named:?}");
    let exists = |name: &&str| {
        let [target, module, test] = name.split("::").collect::<Vec<_>>()[..] else { return false };
        let file = fs::read_to_string(root().join(format!("tests/{target}/{module}.rs"))).unwrap_or_default();
        file.contains(&format!("#[test]\nfn {test}()"))
    };
    let missing: Vec<&str> = named.into_iter().filter(|name| !exists(name)).collect();
    assert_eq!(missing, [] as [&str; 0]);
}
