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
    &["supervise"],
    &["sqlite", "web"],
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
    "src/api/mod.rs",
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

fn document(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// Where a path of a document leads: from the root, or from `src`.
fn found(path: &str) -> Option<PathBuf> {
    [root().join(path), root().join("src").join(path)].into_iter().find(|path| path.exists())
}

/// Words between backticks.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn the_map_names_every_part_and_nothing_else() {
    let map = document("ARCHITECTURE.md");
    let parts: Vec<&str> = FLOORS.iter().flat_map(|floor| floor.iter().copied()).collect();
    let missing: Vec<&&str> = parts.iter().filter(|part| !map.contains(&format!("`{part}`"))).collect();
    assert_eq!(missing, [] as [&&str; 0], "not in ARCHITECTURE.md");
    for page in ["ARCHITECTURE.md", "CONTRIBUTING.md", "docs/adr/0002-heim.md"] {
        let text = document(page);
        let is_path =
            |word: &&str| word.contains('/') && !word.contains([' ', '<', '*', ':']) && !word.contains("NNNN");
        let paths = words(&text).filter(is_path).filter(|word| !word.starts_with('/'));
        let wrong: Vec<&str> = paths.filter(|path| found(path).is_none() && !parts.contains(path)).collect();
        assert_eq!(wrong, [] as [&str; 0], "named in {page} and not there");
    }
}

/// The rows of the map's table go upwards, each is of one floor, and together they have every part.
#[test]
fn the_map_has_the_floors_of_the_code() {
    let map = document("ARCHITECTURE.md");
    let table = map.split("## Floors").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| ") && line.contains('`'));
    let rows = rows.map(|line| words(line.split('|').nth(2).unwrap()).collect::<Vec<_>>());
    let rows: Vec<Vec<&str>> = rows.filter(|row| !row.contains(&"src/bin/agent-monitor/")).collect();
    let floors: Vec<BTreeSet<usize>> = rows.iter().map(|row| row.iter().map(|part| floor(part)).collect()).collect();
    assert!(floors.iter().all(|floors| floors.len() == 1), "{rows:?} are of floors {floors:?}");
    assert!(floors.is_sorted(), "{rows:?} are of floors {floors:?}");
    let (named, parts): (BTreeSet<&str>, BTreeSet<&str>) =
        (rows.concat().into_iter().collect(), FLOORS.concat().into_iter().collect());
    assert_eq!(named, parts);
}

/// What of a file the documents name after it, in brackets: `path` (`name`, …).
fn named_in_files(text: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices(".rs` (") {
        let path = text[..at + 3].rsplit('`').next().unwrap();
        let inside = text[at + 6..].split(')').next().unwrap();
        let is_name = |word: &&str| word.chars().all(|c| c.is_alphanumeric() || c == '_' || c == ':');
        found.extend(words(inside).filter(is_name).map(|name| (path, name)));
    }
    found
}

#[test]
fn what_documents_name_of_a_file_is_in_it() {
    for page in ["ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let text = document(page);
        let named = named_in_files(&text);
        assert!(named.len() > 1, "{page}: {named:?}");
        let holds = |(path, name): &(&str, &str)| {
            let code = fs::read_to_string(found(path).unwrap()).unwrap();
            name.split("::").all(|word| code.contains(word))
        };
        let gone: Vec<_> = named.into_iter().filter(|named| !holds(named)).collect();
        assert_eq!(gone, [] as [(&str, &str); 0], "{page}");
    }
}

/// The oldest Rust that builds this is what the workflows build with, and what is told to people.
#[test]
fn the_oldest_rust_is_the_same_everywhere() {
    let oldest = env!("CARGO_PKG_RUST_VERSION");
    for name in [".github/workflows/ci.yml", ".github/workflows/release.yml"] {
        let text = document(name);
        let installed = text.split("rustup toolchain install ").skip(1).map(|rest| rest.split(' ').next());
        assert!(
            text.contains("rustup toolchain install") && installed.into_iter().all(|it| it == Some(oldest)),
            "{name}"
        );
        let chosen = text.split("rustup default ").skip(1).map(|rest| rest.split_whitespace().next());
        assert!(chosen.into_iter().all(|it| it == Some(oldest)), "{name}");
    }
    for name in ["README.md", ".ci/run"] {
        assert!(document(name).contains(&format!("{oldest} or newer")), "{name}");
    }
}

/// Where a test stands that is named as cargo does: `target::module::test`, or `module::tests::test` of the library.
fn files_of_test(name: &str) -> Vec<String> {
    let parts: Vec<&str> = name.split("::").collect();
    let (modules, _) = parts.split_at(parts.len() - 1);
    let in_library = modules.strip_suffix(&["tests"]).unwrap_or(modules).join("/");
    vec![
        format!("tests/{}.rs", modules.join("/")),
        format!("src/{in_library}.rs"),
        format!("src/{in_library}/mod.rs"),
        format!("src/{in_library}/tests.rs"),
    ]
}

/// Whether a text has that test: with the attribute in one of the lines above it.
fn has_test(text: &str, test: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let is_head = |line: &str| line.trim_start_matches("async ").starts_with(&format!("fn {test}("));
    let is_test = |line: &&str| ["#[test]", "#[tokio::test]"].contains(line);
    (0..lines.len()).any(|at| is_head(lines[at]) && lines[at.saturating_sub(4)..at].iter().any(is_test))
}

/// Whether there is that test.
fn is_test(name: &str) -> bool {
    let texts = files_of_test(name).into_iter().filter_map(|path| fs::read_to_string(root().join(path)).ok());
    texts.into_iter().any(|text| has_test(&text, name.split("::").last().unwrap()))
}

#[test]
fn the_tests_that_documents_name_exist() {
    for page in ["docs/reliability.md", "docs/security.md"] {
        let text = document(page);
        // Two parts are a test's where its target is one file; else they may be a module.
        let in_one_file = |word: &str| {
            word.split_once("::").is_some_and(|(target, _)| found(&format!("tests/{target}.rs")).is_some())
        };
        let is_name = |word: &&str| word.split("::").count() > 2 || in_one_file(word);
        let named: Vec<&str> = words(&text).filter(is_name).collect();
        assert!(named.len() > 20, "{page}: {named:?}");
        let missing: Vec<&str> = named.into_iter().filter(|name| !is_test(name)).collect();
        assert_eq!(missing, [] as [&str; 0], "{page}");
    }
    for wrong in ["store::crash::nothing_at_all", "store::crash::after", "api::limits::answer", "nowhere::tests::ids"] {
        assert!(!is_test(wrong), "{wrong} is none");
    }
}

/// Every fault has a row, and every row a test.
#[test]
fn the_page_on_reliability_has_every_fault() {
    let text = document("docs/reliability.md");
    let rows: Vec<&str> = text.lines().filter(|line| is_fault(line)).collect();
    let count = |part: char| rows.iter().filter(|row| row[2..].starts_with(part)).count();
    assert_eq!(['A', 'B', 'C', 'D', 'E', 'F', 'G'].map(count), [17, 4, 17, 10, 16, 4, 7]);
    let without = |row: &&&str| !words(row).any(is_test);
    assert_eq!(rows.iter().filter(without).collect::<Vec<_>>(), [] as [&&str; 0]);
}

/// Of each promise there is a bug that breaks it, and each bug has a test that is to find it.
#[test]
fn each_promise_is_broken_on_purpose() {
    let script = document("tests/planted").replace("\\\n", "");
    let bugs = script.lines().filter_map(|line| line.strip_prefix("plant "));
    let bugs: Vec<(&str, &str)> = bugs.map(|rest| rest.split_once(' ').unwrap()).collect();
    for promise in 1..=8 {
        let name = format!("P{promise}-");
        assert!(bugs.iter().any(|(bug, _)| bug.starts_with(&name)), "no bug breaks P{promise}");
    }
    let lost: Vec<_> = bugs.iter().filter(|(_, rest)| !is_test(rest.split_whitespace().next().unwrap())).collect();
    assert_eq!(lost, [] as [&(&str, &str); 0], "its test is none");
}

/// A row of a table of faults: `| A1 | …`, where promises have a `P`.
fn is_fault(line: &str) -> bool {
    let first = line.strip_prefix("| ").and_then(|rest| rest.split(' ').next()).unwrap_or_default();
    first.starts_with(|part| ('A'..='G').contains(&part)) && first[1..].parse::<u32>().is_ok()
}
