//! Every command and snippet of the documents, as it stands there: run, or marked with the reason why not. A comment right
//! above its fence says so: `<!-- not run: REASON -->`; `<!-- until: TEXT -->` for what goes on until it is ended, and has said
//! TEXT then; `<!-- ends: CODE -->` for what is to fail; `<!-- hooks -->` for settings that hold commands.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

use crate::harness::*;

/// The page whose snippets tell the daemon something: what was told is looked at by a test of its own.
const TELLING: &str = "docs/writing.md";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What is below a folder of the repository and has this ending.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|extension| extension == ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The documents, by their paths from the root.
fn pages() -> Vec<String> {
    let top = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path());
    let top = top.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let all = top.chain(files(&root().join("docs"), "md"));
    all.map(|path| path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned()).collect()
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Mark {
    Run,
    Until(String),
    Ends(i32),
    Hooks,
    NotRun,
}

/// What stands between two fences.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Block {
    /// Page and line, for messages.
    place: String,
    mark: Mark,
    language: String,
    text: String,
}

impl Block {
    fn is_shell(&self) -> bool {
        ["console", "sh"].contains(&&*self.language)
    }

    /// The commands of a shell: at a prompt those after it, else the whole.
    fn commands(&self) -> Vec<&str> {
        match &*self.language {
            "console" => {
                let prompts = ["$ ", "# "];
                self.text
                    .lines()
                    .filter_map(|line| prompts.iter().find_map(|prompt| line.strip_prefix(prompt)))
                    .collect()
            }
            _ => vec![&*self.text],
        }
    }
}

fn blocks(page: &str, text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut lines = text.lines().enumerate();
    let mut above = "";
    while let Some((number, line)) = lines.next() {
        let Some(language) = line.trim_start().strip_prefix("```") else {
            above = line;
            continue;
        };
        let place = format!("{page}:{}", number + 1);
        let mark = match above.trim().strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->")) {
            None => Mark::Run,
            Some("hooks") => Mark::Hooks,
            Some(words) => match words.split_once(": ") {
                Some(("not run", reason)) if reason.split(' ').count() > 2 => Mark::NotRun,
                Some(("until", text)) => Mark::Until(text.to_owned()),
                Some(("ends", code)) => Mark::Ends(code.parse().unwrap()),
                _ => panic!("{place}: what does {words:?} mean?"),
            },
        };
        let indent = line.len() - line.trim_start().len();
        let inside = lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim() != "```");
        let text = inside.map(|line| line.get(indent..).unwrap_or_default().to_owned() + "\n").collect();
        found.push(Block { place, mark, language: language.to_owned(), text });
        above = "";
    }
    found
}

fn page(name: &str) -> Vec<Block> {
    blocks(name, &fs::read_to_string(root().join(name)).unwrap())
}

/// Where the documents come true: a daemon that knows an agent called `coder`, and a receiver that is away.
struct World {
    daemon: Daemon,
}

impl World {
    fn new() -> World {
        let place = Place::new("");
        for folder in ["home", "bin", "broker", "backups"] {
            fs::create_dir(place.path(folder)).unwrap();
        }
        place.write("broker/agents.json", &us("coder"));
        let receiver = "[[alerts.notify]]\nkind = \"alertmanager\"\nurl = \"http://127.0.0.1:9\"\n";
        place.configure(&config(&(file_source(&place.path("broker/agents.json")) + receiver)));
        let daemon = place.start();
        eventually("there is something to show", || {
            if daemon.get("/api/monitoring/events")["items"][0]["agent_id"] != "coder" {
                return None;
            }
            let past = daemon.get("/api/monitoring/agents/coder/history?from=-1h");
            (!past["t"].as_array()?.is_empty()).then_some(())
        });
        World { daemon }
    }

    /// What a document names, as it is here.
    fn here(&self, text: &str) -> String {
        let path = |name| self.daemon.place.path(name).display().to_string();
        let address = self.daemon.url.trim_start_matches("http://").trim_end_matches('/');
        text.replace("cargo run --release -- ", "agent-monitor ")
            .replace("127.0.0.1:7717", address)
            .replace("/run/agent-monitor", &path("run"))
            .replace("/run/broker", &path("broker"))
            .replace("/var/backups", &path("backups"))
    }

    /// A program with a home of its own, in which `agent-monitor` is what was built.
    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let place = &self.daemon.place;
        let ours = place.command(&[]);
        let environment = ours.get_envs().filter_map(|(name, value)| Some((name, value?)));
        let bin = Path::new(env!("CARGO_BIN_EXE_agent-monitor")).parent().unwrap();
        #[expect(clippy::disallowed_methods, reason = "a test")]
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let mut command = Command::new(program);
        command.args(arguments).env_clear().envs(environment).env("PATH", path).env("HOME", place.path("home"));
        command.current_dir(place.path("home")).stdin(Stdio::null());
        command
    }

    fn output(&self, program: &str, arguments: &[&str]) -> Output {
        self.command(program, arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"))
    }

    fn shell(&self, script: &str) -> Output {
        self.output("bash", &["-euo", "pipefail", "-c", script])
    }

    /// Whether it was run.
    fn run(&self, block: &Block) -> bool {
        let place = &block.place;
        let text = self.here(&block.text);
        let code = match block.mark {
            Mark::Ends(code) => code,
            _ => 0,
        };
        match (&*block.language, &block.mark) {
            (_, Mark::NotRun) | ("text", Mark::Run) => return false,
            (_, Mark::Until(words)) => block.commands().iter().for_each(|line| self.until(&self.here(line), words)),
            ("console", _) => {
                for line in block.commands() {
                    let output = self.shell(&self.here(line));
                    assert_eq!(output.status.code(), Some(code), "{place}: {line}: {output:?}");
                    let silent = ["event ", "error ", "resolve ", "backup ", "> ", "mkdir"];
                    let is_silent = silent.iter().any(|word| line.contains(word));
                    assert_eq!(output.stdout.is_empty(), is_silent, "{place}: {line}: {output:?}");
                }
            }
            ("sh", _) => ended(place, &self.shell(&text), code),
            ("js", _) => ended(place, &self.output("node", &["-e", &text]), code),
            ("python", _) => ended(place, &self.output("python3", &["-c", &text]), code),
            ("json", Mark::Hooks) => self.hooks(&text),
            ("json", Mark::Run) => {
                serde_json::from_str::<Value>(&text).unwrap_or_else(|error| panic!("{place}: {error}"));
            }
            ("toml", Mark::Run) => {
                self.daemon.place.write("shown.toml", &text);
                let file = self.daemon.place.path("shown.toml");
                ended(place, &self.output("agent-monitor", &["check", "--config", file.to_str().unwrap()]), code);
            }
            (language, mark) => panic!("{place}: {language:?} with {mark:?}: nobody knows how to run that"),
        }
        true
    }

    /// Runs in a state of its own until it has said so, and is ended by Ctrl-C then.
    fn until(&self, line: &str, words: &str) {
        let own = tempfile::tempdir().unwrap();
        // Who is started in the background of a script is deaf to Ctrl-C, and hands that on.
        let mut command = self.command("env", &["--default-signal=INT", "bash", "-c", line]);
        command.env("STATE_DIRECTORY", own.path().join("state")).env("RUNTIME_DIRECTORY", own.path().join("run"));
        let config = own.path().join("empty.toml");
        fs::write(&config, "").unwrap();
        command.env("AGENT_MONITOR_LISTEN", "127.0.0.1:0").env("AGENT_MONITOR_CONFIG", config);
        command.stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut child = Killed(command.spawn().unwrap());
        let said = lines(child.0.stdout.take());
        eventually(&format!("{line} says {words}"), || said.try_iter().any(|line| line.contains(words)).then_some(()));
        kill_process_group(Pid::from_child(&child.0), Signal::INT).unwrap();
        let ended = eventually("it ends", || child.0.try_wait().unwrap());
        assert!(ended.success() || ended.signal() == Some(2), "{line}: {ended}");
    }

    /// Runs the commands of settings as the program that reads them would: with what happened on standard input.
    fn hooks(&self, settings: &str) {
        let settings: Value = serde_json::from_str(settings).unwrap();
        for (name, hooks) in settings["hooks"].as_object().unwrap() {
            let hook = &hooks[0]["hooks"][0];
            assert_eq!(hook["type"], "command");
            let input = json!({ "session_id": "s-1", "hook_event_name": name, "cwd": "/srv/it's \"here\"" });
            self.daemon.place.write("input", &input.to_string());
            let mut command = self.command("sh", &["-c", hook["command"].as_str().unwrap()]);
            let output = command.stdin(fs::File::open(self.daemon.place.path("input")).unwrap()).output().unwrap();
            assert!(output.status.success(), "{name}: {output:?}");
            assert!(output.stdout.is_empty(), "what a hook prints is taken for an answer");
        }
    }
}

#[track_caller]
fn ended(place: &str, output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{place}: {output:?}");
}

#[test]
fn every_snippet_works_as_written() {
    let world = World::new();
    let all: Vec<Block> = pages().iter().filter(|name| *name != TELLING).flat_map(|name| page(name)).collect();
    let ran: BTreeSet<&str> =
        all.iter().filter(|block| world.run(block)).map(|block| block.place.split(':').next().unwrap()).collect();
    // Whatever else is added: these are run, not only read.
    for page in ["README.md", "docs/command-line.md", "docs/operations.md", "docs/endpoint.md", "docs/fleet.md"] {
        assert!(ran.contains(page), "nothing of {page} was run: {ran:?}");
    }
    world.daemon.stop();
}

#[test]
fn what_the_page_on_telling_shows_is_told() {
    let world = World::new();
    let shown = page(TELLING);
    assert_eq!(shown.iter().filter(|block| world.run(block)).count(), 5);
    let told = |agent: &str| {
        let events = world.daemon.get(&format!("/api/monitoring/events?agent={agent}"));
        let kinds = events["items"].as_array().unwrap().iter().rev();
        let kinds: Vec<String> = kinds.map(|event| event["event_type"].as_str().unwrap().to_owned()).collect();
        let errors = world.daemon.get(&format!("/api/monitoring/errors?agent={agent}"));
        (kinds.join(" "), errors["items"][0]["error_type"].as_str().unwrap_or("-").to_owned())
    };
    assert_eq!(told("nightly"), ("started".to_owned(), "exit 2".to_owned()));
    assert_eq!(told("claude"), ("waiting stopped started".to_owned(), "-".to_owned()), "in the order of their names");
    assert_eq!(told("broker"), ("started".to_owned(), "SyntaxError".to_owned()));
    assert_eq!(told("worker"), ("started".to_owned(), "KeyError".to_owned()));
    assert_eq!(told("curl"), ("note".to_owned(), "-".to_owned()));
    let cwd = &world.daemon.get("/api/monitoring/events?agent=claude")["items"][0]["metadata"]["cwd"];
    assert_eq!(cwd, "/srv/it's \"here\"");
    // Without a daemon the hooks are silent.
    let script = shown.iter().find(|block| block.text.contains("--best-effort") && block.language == "sh").unwrap();
    world.daemon.signal(Signal::TERM);
    let mut world = world;
    world.daemon.wait();
    let output = world.shell(&script.text);
    assert!(output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
}

/// What of a command can be held to the repository without running it: the shell can read it, and what it names is there.
fn complaints(block: &Block) -> Vec<String> {
    let mut wrong = Vec::new();
    for command in block.commands() {
        let read = Command::new("bash").args(["-n", "-c", command]).output().unwrap();
        if !read.status.success() {
            wrong.push(String::from_utf8_lossy(&read.stderr).into_owned());
        }
        for part in command.split(['\n', ';', '|', '#']).flat_map(|line| line.split("&&")) {
            wrong.extend(missing(part));
        }
    }
    wrong.into_iter().map(|wrong| format!("{}: {wrong}", block.place)).collect()
}

/// What one command names of the repository, and is not there: a filter that fits no test passes as well as one that does.
fn missing(command: &str) -> Vec<String> {
    let words: Vec<&str> = command.split_whitespace().collect();
    let mut gone = Vec::new();
    for (flag, folder) in [("--test", "tests"), ("--bench", "benches"), ("--example", "examples")] {
        let at = words.iter().position(|word| *word == flag).filter(|_| words.contains(&"cargo"));
        let Some([target, rest @ ..]) = at.map(|at| &words[at + 1..]) else { continue };
        let folder = root().join(folder);
        let (one, many) = (folder.join(format!("{target}.rs")), folder.join(target));
        if !one.exists() && !many.join("main.rs").exists() {
            gone.push(format!("there is no {flag} {target}"));
            continue;
        }
        let sources = if many.is_dir() { files(&many, "rs") } else { vec![one] };
        let code: String = sources.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
        let words = code.split([' ', '(', ';']).collect::<Vec<_>>();
        let named = words.windows(2).filter(|pair| ["fn", "mod"].iter().any(|kind| pair[0].ends_with(kind)));
        let names: BTreeSet<&str> = named.map(|pair| pair[1]).collect();
        let filters = rest.iter().filter(|word| flag == "--test" && !word.starts_with('-'));
        for part in filters.flat_map(|word| word.split("::")) {
            if !names.iter().any(|name| name.contains(part)) {
                gone.push(format!("no test of {target} is called {part}"));
            }
        }
    }
    let ours = |word: &&&str| ["tests/", ".ci/", "benches/", "src/"].iter().any(|folder| word.starts_with(folder));
    gone.extend(words.iter().filter(ours).filter(|path| !root().join(path).exists()).map(|path| format!("no {path}")));
    let variables = words.iter().filter_map(|word| word.split_once('=')).map(|(name, _)| name);
    for name in variables.filter(|name| name.starts_with("AGENT_MONITOR_TEST_")) {
        let tests = files(&root().join("tests"), "rs");
        if !tests.iter().any(|path| fs::read_to_string(path).unwrap().contains(&format!("\"{name}\""))) {
            gone.push(format!("no test asks for {name}"));
        }
    }
    gone
}

#[test]
fn what_is_not_run_can_be_read_and_names_what_is_there() {
    let shell: Vec<Block> = pages().iter().flat_map(|name| page(name)).filter(Block::is_shell).collect();
    assert!(shell.iter().filter(|block| block.mark == Mark::NotRun).count() > 5);
    assert_eq!(shell.iter().flat_map(complaints).collect::<Vec<_>>(), [] as [String; 0]);
}

#[test]
fn the_check_of_what_is_not_run_can_fail() {
    let wrong = |command: &str| {
        let text = format!("<!-- not run: it is a test -->\n```console\n$ {command}\n```\n");
        let blocks = blocks("page", &text);
        assert_eq!((blocks.len(), &blocks[0].mark), (1, &Mark::NotRun));
        complaints(&blocks[0]).len()
    };
    assert_eq!(wrong("cargo test --locked --test tidy && tests/browser/run"), 0);
    assert_eq!(wrong("cargo test --test daemon -- accounting:: --nocapture"), 0);
    assert_eq!(wrong("echo 'never closed"), 1);
    assert_eq!(wrong("cargo test --test gone"), 1);
    assert_eq!(wrong("cargo test --test daemon no_such_test_of_it"), 1);
    assert_eq!(wrong("cargo bench --bench gone; tests/gone/run"), 2);
    assert_eq!(wrong("AGENT_MONITOR_TEST_GONE=1 cargo test"), 1);
}
