//! The agents that are known from the start. Measured on real programs, but for what is marked otherwise.

use super::program::{Interpreter, Program, file_name};
use super::{Part, Recognised};
use crate::model::{Image, Script};

/// The codex that serves several windows, in the background.
const CODEX_DAEMON: &str = "codex-daemon";

/// How one agent is told from everything else.
struct Agent {
    name: &'static str,
    /// Whether its name alone is evidence, where the executable may not be read.
    distinct: bool,
    /// Its executable: the file name of `argv[0]`, and the path.
    native: Option<Native>,
    /// The ends of its scripts' resolved paths, run by JavaScript.
    scripts: &'static [&'static str],
    /// First arguments that make it a helper: an order to the program itself, gone within seconds or nobody's agent.
    helpers: &'static [&'static str],
}

struct Native {
    name: fn(&str) -> bool,
    path: fn(&str) -> bool,
}

const AGENTS: &[Agent] = &[
    Agent {
        name: "claude",
        distinct: true,
        native: Some(Native {
            name: |name| name == "claude" || is_version(name),
            path: |path| {
                let versions = path.rsplit_once('/').is_some_and(|(folder, _)| ends_in(folder, "claude/versions"));
                file_name(path) == "claude" || versions && is_version(file_name(path))
            },
        }),
        // Older and fallback installations; not measured.
        scripts: &["@anthropic-ai/claude-code/cli.js", "@anthropic-ai/claude-code/cli-wrapper.cjs"],
        helpers: &["mcp", "update", "doctor", "install", "auth", "setup-token", "plugin", "project"],
    },
    Agent {
        name: "codex",
        distinct: true,
        native: Some(Native { name: is_codex, path: |path| is_codex(file_name(path)) }),
        scripts: &["@openai/codex/bin/codex.js"],
        helpers: &[
            "login",
            "logout",
            "mcp",
            "plugin",
            "completion",
            "update",
            "doctor",
            "sandbox",
            "debug",
            "features",
        ],
    },
    Agent {
        name: "gemini",
        distinct: false,
        native: None,
        // The second is older; not measured.
        scripts: &["@google/gemini-cli/bundle/gemini.js", "@google/gemini-cli/dist/index.js"],
        helpers: &[],
    },
    Agent {
        name: "opencode",
        distinct: true,
        native: Some(Native { name: |name| name == "opencode", path: |path| file_name(path) == "opencode" }),
        // Older; not measured.
        scripts: &["opencode-ai/bin/opencode"],
        helpers: &["completion", "mcp", "upgrade", "models", "stats", "export", "import", "session"],
    },
    Agent {
        name: "amp",
        distinct: false,
        native: Some(Native {
            name: |name| name == "amp",
            // The second is not measured.
            path: |path| path.contains("/@ampcode/cli/") || path.contains("/.amp/bin/"),
        }),
        // Older; not measured.
        scripts: &["@sourcegraph/amp/dist/main.js"],
        helpers: &[],
    },
    Agent {
        name: "copilot",
        distinct: false,
        native: Some(Native {
            name: |name| name == "copilot",
            path: |path| {
                // The package has a second one for each platform, such as `@github/copilot-linux-x64`.
                let package = path.split_once("/@github/copilot").is_some_and(|(_, rest)| rest.starts_with(['/', '-']));
                package || path.contains("/copilot/pkg/")
            },
        }),
        // The second is older.
        scripts: &["@github/copilot/npm-loader.js", "@github/copilot/index.js"],
        helpers: &["--binary-version", "login", "update", "version", "completion", "mcp"],
    },
    Agent { name: "aider", distinct: true, native: None, scripts: &[], helpers: &[] },
    Agent { name: "pi", distinct: false, native: None, scripts: &["pi-coding-agent/dist/cli.js"], helpers: &[] },
    Agent {
        name: "droid",
        distinct: false,
        native: Some(Native {
            name: |name| name == "droid",
            // The second is not measured.
            path: |path| path.contains("/droid/bin/") || path.contains("/.factory/bin/"),
        }),
        scripts: &[],
        helpers: &["update", "mcp", "plugin", "doctor", "search"],
    },
];

/// The names of the agents that are known from the start.
pub fn names() -> impl Iterator<Item = &'static str> {
    AGENTS.iter().map(|agent| agent.name).chain([CODEX_DAEMON])
}

/// The agent that a process is, or is a helper of.
pub(super) fn recognise(image: &Image) -> Option<Recognised> {
    let program = Program::of(image);
    let (agent, arguments) = match program {
        Program::Native { name, exe, arguments } => (native(name, exe)?, arguments),
        Program::Script { interpreter, word, arguments } => (script(interpreter, word, image)?, arguments),
        Program::Module { name: "aider", arguments } => (named("aider")?, arguments),
        Program::Title { interpreter: Interpreter::Node, title: "pi" } => (named("pi")?, &[] as &[_]),
        Program::Module { .. } | Program::Title { .. } | Program::Nothing => return None,
    };
    let launcher = matches!(program, Program::Script { .. });
    let (agent, part) = role(agent, arguments);
    Some(Recognised { agent: agent.into(), part, launcher })
}

fn native(name: &str, exe: Option<&str>) -> Option<&'static Agent> {
    AGENTS.iter().find(|agent| {
        agent.native.as_ref().is_some_and(|native| match exe {
            Some(exe) => (native.name)(name) && (native.path)(exe.strip_suffix(".exe").unwrap_or(exe)),
            // A version number is nobody's name.
            None => agent.distinct && (native.name)(name) && !is_version(name),
        })
    })
}

fn script(interpreter: Interpreter, word: &str, image: &Image) -> Option<&'static Agent> {
    let name = file_name(word);
    if !interpreter.is_javascript() {
        let path = image.script.as_ref().map(|Script { path, resolved }| resolved.as_deref().unwrap_or(path));
        let installed = path.is_some_and(|path| ends_in(path, "bin/aider"));
        return named("aider").filter(|_| installed || image.exe.is_none() && name == "aider");
    }
    AGENTS.iter().find(|agent| {
        let resolved = image.script.as_ref().and_then(|script| script.resolved.as_deref());
        let entry = resolved.is_some_and(|path| agent.scripts.iter().any(|entry| ends_in(path, entry)));
        let said = image.exe.is_none() && agent.distinct && !agent.scripts.is_empty();
        entry || said && name.strip_suffix(".js").unwrap_or(name) == agent.name
    })
}

/// What an agent's first arguments make of it.
fn role(agent: &Agent, arguments: &[Box<str>]) -> (&'static str, Part) {
    let argument = |place: usize| arguments.get(place).map_or("", |word| &**word);
    let first = argument(0);
    if agent.name == "codex" && first == "app-server" {
        return match (argument(1), argument(2)) {
            ("daemon", "pid-update-loop") => (CODEX_DAEMON, Part::Keeper),
            ("daemon", _) => (agent.name, Part::Helper),
            _ if arguments.iter().any(|word| &**word == "--managed-daemon") => (CODEX_DAEMON, Part::Agent),
            _ => (agent.name, Part::Agent),
        };
    }
    let helper = matches!(first, "--version" | "--help") || agent.helpers.contains(&first);
    (agent.name, if helper { Part::Helper } else { Part::Agent })
}

fn named(name: &str) -> Option<&'static Agent> {
    AGENTS.iter().find(|agent| agent.name == name)
}

/// Whether a path ends in these whole names.
fn ends_in(path: &str, end: &str) -> bool {
    path.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
}

/// `2.1.197`, `2.2.0-beta.1`.
fn is_version(name: &str) -> bool {
    let numbers = name.split(['-', '+']).next().unwrap_or(name);
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    numbers.contains('.') && numbers.split('.').all(number)
}

/// `codex`, or `codex-` and what Rust calls a machine: `codex-x86_64-unknown-linux-musl`.
fn is_codex(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("codex") else { return false };
    let Some(triple) = rest.strip_prefix('-') else { return rest.is_empty() };
    let mut parts = triple.split('-');
    matches!(parts.next(), Some("x86_64" | "aarch64" | "armv7" | "i686" | "riscv64gc")) && parts.count() >= 2
}
