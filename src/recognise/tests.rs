use super::*;
use crate::model::{Pid, ProcessKey, Script};

const BIN: &str = "/usr/local/bin";
const LIB: &str = "/usr/local/lib/node_modules";

/// An image whose command line is split at blanks. `script`: what the script's path resolves to.
fn image(exe: &str, line: &str, script: &str) -> Image {
    let words: Vec<Box<str>> = line.split(' ').filter(|word| !word.is_empty()).map(Into::into).collect();
    let exe = Some(exe).filter(|exe| !exe.is_empty());
    let given = program::script(exe, &words).map(|word| {
        let path = if word.starts_with('/') { word.to_owned() } else { format!("/home/me/{word}") };
        let resolved = if script.is_empty() { None } else { Some(script.into()) };
        Script { path: path.into(), resolved }
    });
    Image { exe: exe.map(Into::into), script: given, words }
}

fn said(rules: &Rules, image: &Image) -> String {
    match rules.recognise(image, None) {
        None => "-".to_owned(),
        Some(Recognised { agent, part: Part::Agent, .. }) => agent.to_string(),
        Some(Recognised { agent, part, .. }) => format!("{agent} {part:?}"),
    }
}

/// Every process of the trees that were measured at their first screen, and the headless forms.
#[test]
fn agents_are_recognised() {
    let (node, bun, deno) = ("/usr/bin/node", "/opt/bun/bin/bun.exe", "/usr/bin/deno");
    let codex = "/usr/local/lib/node_modules/@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex";
    let daemon = "/home/me/.codex/packages/app-server-daemon/releases/0.169.0-x86_64-unknown-linux-musl/bin/codex";
    let copilot = "/usr/local/lib/node_modules/@github/copilot-linux-x64/copilot";
    let versions = "/home/me/.local/share/claude/versions/2.1.197";
    let entry = |path: &str| format!("{LIB}/{path}");
    let codex_js = entry("@openai/codex/bin/codex.js");
    let gemini_js = entry("@google/gemini-cli/bundle/gemini.js");
    let copilot_js = entry("@github/copilot/npm-loader.js");
    let pi_js = entry("@mariozechner/pi-coding-agent/dist/cli.js");
    for (exe, line, script, expected) in [
        (&*entry("@anthropic-ai/claude-code/bin/claude.exe"), "claude", "", "claude"),
        (versions, "/home/me/.local/bin/claude", "", "claude"),
        (versions, versions, "", "claude"),
        (versions, "claude -p hello --output-format json", "", "claude"),
        (node, &format!("node {BIN}/claude"), &entry("@anthropic-ai/claude-code/cli.js"), "claude"),
        (node, &format!("node {BIN}/claude"), &entry("@anthropic-ai/claude-code/cli-wrapper.cjs"), "claude"),
        (node, &format!("node {BIN}/codex"), &codex_js, "codex"),
        (node, &format!("node {BIN}/codex exec hello"), &codex_js, "codex"),
        (node, "node /home/me/project/node_modules/.bin/codex", &codex_js, "codex"),
        (codex, codex, "", "codex"),
        (codex, &format!("{codex} exec hello"), "", "codex"),
        (codex, &format!("{codex} app-server"), "", "codex"),
        ("/opt/codex-x86_64-unknown-linux-musl", "codex-x86_64-unknown-linux-musl resume", "", "codex"),
        (daemon, &format!("{daemon} app-server --listen unix:///run/x --managed-daemon"), "", "codex-daemon"),
        (node, &format!("node {BIN}/gemini"), &gemini_js, "gemini"),
        (node, &format!("/usr/bin/node --max-old-space-size=4096 {BIN}/gemini"), &gemini_js, "gemini"),
        (node, &format!("node {BIN}/gemini -p hello"), &gemini_js, "gemini"),
        (node, &format!("node {BIN}/gemini"), &entry("@google/gemini-cli/dist/index.js"), "gemini"),
        (bun, &format!("bun {BIN}/gemini"), &gemini_js, "gemini"),
        (bun, &format!("{bun} --smol {gemini_js}"), &gemini_js, "gemini"),
        (deno, &format!("deno run -A {gemini_js}"), &gemini_js, "gemini"),
        (deno, &format!("deno run -A --unstable-x --v8-flags=--y {gemini_js}"), &gemini_js, "gemini"),
        (&*entry("opencode-ai/bin/opencode.exe"), "opencode", "", "opencode"),
        (&*entry("opencode-ai/bin/opencode.exe"), "opencode serve", "", "opencode"),
        (node, &format!("node {BIN}/opencode"), &entry("opencode-ai/bin/opencode"), "opencode"),
        (&*entry("@ampcode/cli/bin/amp.exe"), "amp -x hello", "", "amp"),
        ("/home/me/.amp/bin/amp", "amp", "", "amp"),
        (node, &format!("node {BIN}/amp"), &entry("@sourcegraph/amp/dist/main.js"), "amp"),
        (node, &format!("node {BIN}/copilot -p hello"), &copilot_js, "copilot"),
        (node, &format!("node {BIN}/copilot"), &entry("@github/copilot/index.js"), "copilot"),
        (copilot, copilot, "", "copilot"),
        ("/home/me/.cache/copilot/pkg/linux-x64/1.0.102/copilot", "copilot", "", "copilot"),
        ("/usr/bin/python3.11", "/v/bin/python3 /v/bin/aider --message x", "/v/bin/aider", "aider"),
        ("/usr/bin/python3.11", "/v/bin/python3 /home/me/.local/bin/aider", "/v/bin/aider", "aider"),
        ("/usr/bin/python3.11", "python3 -m aider", "", "aider"),
        (node, &format!("node {BIN}/pi -p hello"), &pi_js, "pi"),
        (node, "pi", "", "pi"),
        (&*entry("droid/bin/droid"), "droid exec hello", "", "droid"),
        ("/home/me/.factory/bin/droid", "droid", "", "droid"),
    ] {
        assert_eq!(said(&Rules::BuiltIn, &image(exe, line, script)), expected, "{exe}: {line}");
    }
}

#[test]
fn helpers_are_told_from_agents() {
    let codex = "/opt/bin/codex";
    let claude = "/opt/bin/claude";
    let node = "/usr/bin/node";
    let codex_js = "/usr/lib/node_modules/@openai/codex/bin/codex.js";
    for (exe, line, script, expected) in [
        (codex, "/opt/bin/codex --version", "", "codex Helper"),
        (codex, "codex --help", "", "codex Helper"),
        (codex, "codex login", "", "codex Helper"),
        (codex, "codex app-server daemon start", "", "codex Helper"),
        (codex, "codex app-server daemon pid-update-loop", "", "codex-daemon Keeper"),
        (node, "node /usr/bin/codex mcp", codex_js, "codex Helper"),
        (claude, "claude mcp serve", "", "claude Helper"),
        (claude, "claude update", "", "claude Helper"),
        (claude, "claude -p update", "", "claude"),
        ("/opt/opencode", "opencode models", "", "opencode Helper"),
        ("/l/@github/copilot-linux-x64/copilot", "copilot --binary-version", "", "copilot Helper"),
        ("/l/droid/bin/droid", "droid search", "", "droid Helper"),
        ("/l/droid/bin/droid", "droid daemon", "", "droid"),
        ("/usr/bin/python3", "python3 -m aider --version", "", "aider Helper"),
    ] {
        assert_eq!(said(&Rules::BuiltIn, &image(exe, line, script)), expected, "{line}");
    }
}

/// What looks like an agent and is none.
#[test]
fn near_misses_are_missed() {
    let (node, python, claude) = ("/usr/bin/node", "/usr/bin/python3.11", "/opt/claude-code/bin/claude.exe");
    let npm = "/usr/lib/node_modules/npm/bin/npm-cli.js";
    for (exe, line, script) in [
        ("/usr/bin/vim.basic", "vim claude.md", ""),
        ("/usr/bin/less", "less /usr/local/bin/claude", ""),
        ("/usr/bin/tail", "tail -f claude.log", ""),
        ("/usr/bin/man", "man opencode", ""),
        ("/usr/bin/grep", "grep -r codex .", ""),
        ("/usr/bin/ps", "ps aux", ""),
        ("/usr/bin/dash", "sh -c ps aux | grep -E 'code|cursor|claude|codex'", ""),
        (node, "node some-other/gemini.js", "/home/me/some-other/gemini.js"),
        (node, "node /home/me/app/gemini", "/home/me/app/gemini"),
        (python, "python3 /home/me/claude/run.py", "/home/me/claude/run.py"),
        (python, "python3 -m aider_stats", ""),
        (python, "python3 /home/me/aider", "/home/me/aider"),
        (python, "python3 /home/me/sbin/aider", "/home/me/sbin/aider"),
        (node, "node /v/bin/aider", "/v/bin/aider"),
        (node, r#"node -e require("@openai/codex")"#, ""),
        (node, "node /usr/bin/npm view @anthropic-ai/claude-code@latest version", npm),
        (node, "node /usr/bin/npm exec codex", npm),
        ("/usr/bin/dash", "sh -c codex", ""),
        (node, "node /l/@openai/codex/bin/update-check.js", "/l/@openai/codex/bin/update-check.js"),
        (node, "node /l/@google/gemini-cli/bundle/worker.js", "/l/@google/gemini-cli/bundle/worker.js"),
        (node, "node /l/@sourcegraph/amp/postinstall.js", "/l/@sourcegraph/amp/postinstall.js"),
        (node, "node /l/not@google/gemini-cli/bundle/gemini.js", "/l/not@google/gemini-cli/bundle/gemini.js"),
        (claude, "rg --files /home/me", ""),
        ("/opt/bin/codex", "/tmp/arg0/codex-linux-sandbox --sandbox-policy x", ""),
        ("/opt/bin/codex", "apply_patch x", ""),
        ("/usr/bin/bash", "/bin/bash -c source /home/me/.claude/shell-snapshots/s.sh && eval 'claude'", ""),
        ("/usr/bin/git", "git clone https://example.org/claude-plugins-official", ""),
        ("/usr/bin/ssh", "ssh host claude", ""),
        ("/usr/bin/docker", "docker run IMAGE claude", ""),
        ("/usr/bin/tmux", "tmux new-session claude", ""),
        ("/usr/bin/timeout", "timeout 60 claude", ""),
        ("/usr/bin/strace", "strace claude", ""),
        ("/usr/bin/bash", "bash -c 'claude -p hi'", ""),
        ("/home/me/.vscode/copilot-language-server", "copilot-language-server --stdio", ""),
        ("/l/@github/copilot-language-server-linux-x64/bin/copilot-language-server", "copilot-language-server", ""),
        ("/usr/local/bin/copilot", "copilot svc deploy", ""),
        ("/usr/bin/goose", "goose up", ""),
        ("/usr/bin/amp", "amp", ""),
        ("/usr/local/bin/pi", "pi 1000", ""),
        ("/usr/local/bin/droid", "droid", ""),
        ("/usr/local/bin/gemini", "gemini", ""),
        (python, "pi", ""),
        (node, "gemini", ""),
        ("/usr/lib/claude-desktop/claude-desktop", "claude-desktop --type=renderer", ""),
        ("/usr/share/cursor/cursor", "cursor --type=renderer", ""),
        ("/usr/share/code/code", "/usr/share/code/code --type=renderer", ""),
        ("/opt/2.1.197", "2.1.197", ""),
        ("/opt/claude/versions/latest", "claude", ""),
        ("/opt/codex-linux-sandbox", "codex-linux-sandbox", ""),
        (node, "node", ""),
        ("", "", ""),
    ] {
        assert_eq!(said(&Rules::BuiltIn, &image(exe, line, script)), "-", "{exe}: {line}");
    }
    // One word with blanks in it: what npm writes over its command line.
    for title in ["npm exec codex", "npm view @anthropic-ai/claude-code@latest version"] {
        let image = Image { exe: Some(node.into()), words: vec![title.into()], script: None };
        assert_eq!(said(&Rules::BuiltIn, &image), "-", "{title}");
    }
}

#[test]
fn where_the_executable_may_not_be_read_only_distinct_names_count() {
    for (line, expected) in [
        ("claude", "claude"),
        ("/usr/local/bin/codex exec", "codex"),
        ("opencode serve", "opencode"),
        ("node /usr/local/bin/codex", "codex"),
        ("/v/bin/python3 /v/bin/aider", "aider"),
        ("python3 -m aider", "aider"),
        ("claude mcp serve", "claude Helper"),
        ("2.1.197", "-"),
        ("amp", "-"),
        ("node /usr/local/bin/gemini", "-"),
        ("node /usr/local/bin/aider", "-"),
        ("pi", "-"),
        ("vim claude", "-"),
    ] {
        assert_eq!(said(&Rules::BuiltIn, &image("", line, "")), expected, "{line}");
    }
}

#[test]
fn a_title_keeps_what_the_process_was() {
    let rules = Rules::BuiltIn;
    let before = rules.recognise(&image("/usr/bin/python3", "python3 -m aider", ""), None).unwrap();
    let titled = Image { exe: Some("/usr/bin/python3".into()), words: vec!["aider: busy".into()], script: None };
    assert_eq!(rules.recognise(&titled, Some(&before)).unwrap().agent, "aider".into());
    assert_eq!(rules.recognise(&titled, None), None);
    let other = image("/usr/bin/python3", "python3 -m http.server", "");
    assert_eq!(rules.recognise(&other, Some(&before)), None);
}

#[test]
fn users_own_rules() {
    let rules = |sign: Sign| Rules::Own(vec![OwnRule { agent: "mine".into(), sign }]);
    let program = |name: &str| rules(Sign::Program(name.into()));
    let line = |text: &str| rules(Sign::CommandLine(regex_lite::Regex::new(text).unwrap()));
    let linked = image("/usr/bin/node", "node /usr/local/bin/my-agent --x", "/opt/my/dist/main.mjs");
    let native = image("/opt/bin/my-agent", "my-agent --x", "");
    for (rules, image, expected) in [
        (program("my-agent"), native.clone(), true),
        (program("my-agent"), image("/opt/bin/my-agent-1.2", "my-agent", ""), false),
        (program("my-agent"), image("/opt/bin/my-agent", "my-tool", ""), false),
        (program("my-agent"), image("", "my-agent", ""), true),
        (program("my-agent"), linked.clone(), true),
        (program("main"), linked.clone(), true),
        (program("main.mjs"), linked.clone(), false),
        (program("my-agent"), image("/usr/bin/python3", "python3 my-agent.py", ""), true),
        (program("my.agent"), image("/usr/bin/python3", "python3 -m my.agent", ""), true),
        (program("my-agent"), image("/usr/bin/vim", "vim my-agent", ""), false),
        (program("my-agent"), image("/usr/bin/node", "my-agent", ""), false),
        (line(r"^[^ ]*/my-agent( |$)"), native.clone(), true),
        (line(r"^[^ ]*/my-agent( |$)"), linked.clone(), true),
        (line(r".*/main\.mjs --x$"), linked.clone(), true),
        (line(r"/usr/local/bin/my-agent --x"), linked.clone(), true),
        (line(r"my-agent"), native.clone(), false),
        (line(r".*claude"), image("/usr/bin/vim", "vim /srv/claude", ""), true),
        (line(r"(^|/)claude( |$)"), image("/usr/bin/vim", "vim /srv/claude", ""), false),
        (line(r"(^|/)claude( |$)"), image("/usr/bin/timeout", "timeout 60 /usr/local/bin/claude -p hi", ""), false),
        (line(r"my\.agent serve"), image("/usr/bin/python3", "python3 -u -m my.agent serve", ""), true),
        (line(r".*"), image("/usr/bin/node", "a title", "").with_words(&["a title"]), false),
        (line(r".*"), image("/usr/bin/node", "node -e 1", ""), false),
    ] {
        assert_eq!(rules.recognise(&image, None).is_some(), expected, "{rules:?}: {image:?}");
    }
    let huge = image("/opt/bin/my-agent", &format!("my-agent {}", "é".repeat(1 << 20)), "");
    assert!(line(r"/opt/bin/my-agent é+$").recognise(&huge, None).is_some());
    let first = Rules::Own(vec![
        OwnRule { agent: "one".into(), sign: Sign::Program("my-agent".into()) },
        OwnRule { agent: "two".into(), sign: Sign::Program("my-agent".into()) },
    ]);
    assert_eq!(first.recognise(&native, None).unwrap().agent, "one".into());
}

impl Image {
    fn with_words(mut self, words: &[&str]) -> Image {
        self.words = words.iter().map(|word| (*word).into()).collect();
        self
    }
}

/// A process: pid and start, parent, session, what it is, its command line as a number.
fn relative(pid: i64, parent: i64, session: i64, recognised: &Recognised, command: u64) -> Relative<'_> {
    let key = ProcessKey { start_ticks: pid.unsigned_abs(), pid: Pid::new(pid).unwrap() };
    let (parent, session) = (Pid::new(parent), Pid::new(session));
    Relative { key, parent, session, recognised, exe: Some("/opt/bin/codex"), command }
}

/// `root: program, members, keepers` of each family.
fn roots(relatives: &[Relative<'_>]) -> Vec<String> {
    let numbers = |keys: &[ProcessKey]| keys.iter().map(|key| key.pid.to_string()).collect::<Vec<_>>().join(" ");
    let line = |family: Family| {
        let program = family.program.map_or("-".to_owned(), |key| key.pid.to_string());
        format!("{}: {program}, {}, {}", family.root.pid, numbers(&family.members), numbers(&family.keepers))
    };
    families(relatives).into_iter().map(line).collect()
}

#[test]
fn who_is_the_root() {
    let is = |agent: &str, part, launcher| Recognised { agent: agent.into(), part, launcher };
    let wrapper = &is("codex", Part::Agent, true);
    let native = &is("codex", Part::Agent, false);
    let helper = &is("codex", Part::Helper, false);
    let daemon = &is("codex-daemon", Part::Agent, false);
    let keeper = &is("codex-daemon", Part::Keeper, false);
    let claude = &is("claude", Part::Agent, false);
    // A wrapper and its program, below launchers that are not seen; started in one tick, listed in any order.
    assert_eq!(roots(&[relative(31, 30, 5, native, 2), relative(30, 20, 5, wrapper, 1)]), ["30: 31, 30 31, "]);
    // One that execs is one process.
    assert_eq!(roots(&[relative(30, 20, 5, native, 1)]), ["30: -, 30, "]);
    // A helper in between, one that hangs below, one that nobody has.
    let helpers = [relative(30, 20, 5, native, 1), relative(31, 30, 5, helper, 2), relative(32, 31, 5, native, 3)];
    assert_eq!(roots(&helpers), ["30: -, 30 31 32, "]);
    assert_eq!(roots(&[relative(31, 1, 5, helper, 2)]), [""; 0]);
    assert_eq!(roots(&[relative(31, 1, 5, helper, 2), relative(32, 31, 5, native, 3)]), ["32: -, 32, "]);
    // The daemon and its keeper below a window, and after it.
    let window = [relative(30, 20, 5, native, 1), relative(31, 30, 31, daemon, 2), relative(32, 30, 32, keeper, 3)];
    assert_eq!(roots(&window), ["30: -, 30, ", "31: -, 31, 32"]);
    assert_eq!(roots(&[relative(31, 1, 31, daemon, 2), relative(32, 1, 32, keeper, 3)]), ["31: -, 31, 32"]);
    // By a shell tool: a session of its own, or a shell that does not fit between.
    let inner = [relative(30, 20, 5, native, 1), relative(32, 30, 32, native, 2), relative(34, 33, 5, native, 2)];
    assert_eq!(roots(&inner), ["30: -, 30, ", "32: -, 32, ", "34: -, 34, "]);
    // A copy of itself that already has the session of the tool it is about to become; it is no program either.
    let copy = [relative(30, 20, 5, wrapper, 1), relative(31, 30, 31, wrapper, 1), relative(32, 30, 5, native, 2)];
    assert_eq!(roots(&copy), ["30: 32, 30 31 32, "]);
    // Different agents next to each other; a parent that is younger than its child; a ring.
    assert_eq!(
        roots(&[relative(30, 20, 5, native, 1), relative(31, 30, 5, claude, 2)]),
        ["30: -, 30, ", "31: -, 31, "]
    );
    assert_eq!(roots(&[relative(30, 31, 5, native, 1), relative(31, 1, 5, native, 2)]), ["30: -, 30, ", "31: -, 31, "]);
    let mut ring = [relative(30, 31, 5, native, 1), relative(31, 30, 5, native, 2)];
    ring[0].key.start_ticks = 31;
    assert_eq!(roots(&ring).len(), 1);
}
