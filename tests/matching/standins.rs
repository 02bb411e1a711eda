//! Real processes in the shapes that were measured on real agents.

use std::process::{Command, Stdio};

use agent_monitor::config::{MatchBy, Source};
use agent_monitor::model::{Observed, Pid};
use agent_monitor::process::linux::Forks;
use serde_json::Value;

use crate::programs::{Machine, Prefix, Running, children, comm, need};

const TRIPLE: &str = "lib/node_modules/@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex";

/// A launcher as npm packages have them: starts this program and waits for it.
fn launcher(program: &str) -> String {
    format!(
        "#!/usr/bin/env node\nconst {{spawn}} = require('node:child_process');\n\
         const child = spawn({program}, {{stdio: 'inherit'}});\n\
         child.on('exit', (code) => process.exit(code ?? 1));\n"
    )
}

/// A script that says that it is there and waits.
const WAITS: &str = "process.stdin.resume(); process.stdin.on('end', () => process.exit(0)); console.log('ready');\n";

/// Codex as npm installs it: a link to a script that starts a native program.
fn codex(prefix: &Prefix) -> std::path::PathBuf {
    let native = prefix.standin(TRIPLE);
    let entry = prefix.script("lib/node_modules/@openai/codex/bin/codex.js", &launcher(&format!("{native:?}, []")));
    prefix.link("bin/codex", &entry)
}

/// Once where every fork is told, once where children are looked for.
fn in_both_ways(test: impl Fn(Forks)) {
    [Forks::Told, Forks::Scanned].into_iter().for_each(test);
}

fn one(machine: &Machine, name: &str, pids: &[Pid]) {
    assert_eq!(machine.agents_at(pids), [(name.to_owned(), pids[0])]);
}

#[test]
fn a_native_program_named_by_its_version() {
    let prefix = Prefix::new();
    let file = prefix.standin("home/.local/share/claude/versions/2.1.197");
    let claude = prefix.link("home/.local/bin/claude", &file);
    let running = Running::start(&mut Command::new(claude));
    assert_eq!(comm(running.pid()), "claude");
    one(&Machine::watch(Vec::new()), "claude", &[running.pid()]);
}

/// An update under a running agent.
#[test]
fn a_program_whose_file_was_deleted() {
    let prefix = Prefix::new();
    let file = prefix.standin("claude-code/bin/claude.exe");
    let claude = prefix.link("bin/claude", &file);
    let running = Running::start(&mut Command::new(claude));
    std::fs::remove_file(file).unwrap();
    one(&Machine::watch(Vec::new()), "claude", &[running.pid()]);
}

#[test]
fn the_same_program_under_another_name_is_a_member() {
    let prefix = Prefix::new();
    let file = prefix.standin("claude-code/bin/claude.exe");
    let orders = format!("start={},rg,--files", file.display());
    let running = Running::start(Command::new(prefix.link("bin/claude", &file)).env("STANDIN", orders));
    let rg = children(running.pid())[0];
    assert_eq!(comm(rg), "claude.exe");
    let mut machine = Machine::watch(Vec::new());
    let root = running.pid();
    machine.until("both are members", |machine| {
        machine.agent(root).is_some_and(|agent| agent.metrics.process_count == Some(2))
    });
    one(&machine, "claude", &[root, rg]);
}

#[test]
fn a_launcher_under_node_and_its_native_program() {
    in_both_ways(launcher_and_program);
}

fn launcher_and_program(forks: Forks) {
    need("node");
    let prefix = Prefix::new();
    let mut running = Running::start(&mut Command::new(codex(&prefix)));
    let (root, program) = (running.pid(), children(running.pid())[0]);
    let mut machine = Machine::watch_by(forks, Vec::new());
    one(&machine, "codex", &[root, program]);
    // SIGKILL for the program; what its launcher then exits with says nothing of it.
    machine.look_around();
    assert!(Command::new("kill").args(["-KILL", &program.to_string()]).status().unwrap().success());
    running.wait();
    machine.until("its end is told", |machine| machine.events.contains(&format!("process {root} ended: SIGKILL")));
    assert_eq!(machine.agent(root).unwrap().state, Observed::Exited);
}

#[test]
fn a_program_goes_on_without_its_launcher() {
    in_both_ways(program_alone);
}

fn program_alone(forks: Forks) {
    need("node");
    let prefix = Prefix::new();
    let mut running = Running::start(&mut Command::new(codex(&prefix)));
    let (root, program) = (running.pid(), children(running.pid())[0]);
    let mut machine = Machine::watch_by(forks, Vec::new());
    one(&machine, "codex", &[root, program]);
    let id = machine.agent(root).unwrap().id.clone();
    running.kill();
    machine.until("the program is the root", |machine| machine.agent(program).is_some());
    machine.look_around();
    let agent = machine.agent(program).unwrap();
    assert_eq!((&agent.id, agent.state, agent.restarts), (&id, Observed::Running, 0));
    one(&machine, "codex", &[program, root]);
    assert!(Command::new("kill").args(["-TERM", &program.to_string()]).status().unwrap().success());
    machine.until("its end is told", |machine| {
        machine.events.iter().any(|line| line.contains(&format!("{program} ended")))
    });
}

#[test]
fn a_program_that_calls_itself_otherwise() {
    need("node");
    let prefix = Prefix::new();
    let native = prefix.standin("lib/node_modules/@github/copilot-linux-x64/copilot");
    let entry = prefix.script("lib/node_modules/@github/copilot/npm-loader.js", &launcher(&format!("{native:?}, []")));
    let copilot = prefix.link("bin/copilot", &entry);
    let running = Running::start(Command::new(copilot).env("STANDIN", "name=MainThread"));
    let program = children(running.pid())[0];
    assert_eq!(comm(program), "MainThread");
    one(&Machine::watch(Vec::new()), "copilot", &[running.pid(), program]);
}

#[test]
fn a_launcher_and_its_program_both_under_node() {
    need("node");
    let prefix = Prefix::new();
    let again = "process.execPath, ['--max-old-space-size=256', process.argv[1], '-p', 'x']";
    let text = launcher(again).replace(
        "const child",
        "if (process.argv[2]) {\n process.stdin.resume(); console.log('ready'); return;\n}\nconst child",
    );
    let entry = prefix.script("lib/node_modules/@google/gemini-cli/bundle/gemini.js", &text);
    let running = Running::start(&mut Command::new(prefix.link("bin/gemini", &entry)));
    let program = children(running.pid())[0];
    let machine = Machine::watch(Vec::new());
    one(&machine, "gemini", &[running.pid(), program]);
    let noted = machine.agent(running.pid()).unwrap().metadata.as_str().contains(&program.to_string());
    assert!(noted, "the second one is the program");
}

#[test]
fn a_title_over_the_command_line() {
    need("node");
    let prefix = Prefix::new();
    let entry = prefix.script(
        "lib/node_modules/@mariozechner/pi-coding-agent/dist/cli.js",
        "#!/usr/bin/env node\nconsole.log('ready');\n\
         process.stdin.on('data', () => { process.title = 'pi'; console.log('ready'); });\n",
    );
    let mut running = Running::start(Command::new(prefix.link("bin/pi", &entry)).args(["-p", "a longer prompt"]));
    let pid = running.pid();
    let mut machine = Machine::watch(Vec::new());
    one(&machine, "pi", &[pid]);
    running.go_on();
    running.ready();
    assert_eq!(std::fs::read(format!("/proc/{pid}/cmdline")).unwrap()[..3], *b"pi\0");
    machine.look_around();
    one(&machine, "pi", &[pid]);
    assert_eq!(machine.events.iter().filter(|line| line.contains(&format!("process {pid} "))).count(), 1);
    one(&Machine::watch(Vec::new()), "pi", &[pid]);
}

#[test]
fn python_scripts_and_modules() {
    need("python3");
    let prefix = Prefix::new();
    let base = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output().unwrap();
    let base = String::from_utf8(base.stdout).unwrap();
    let python = prefix.link("venv/bin/python3", base.trim().as_ref());
    let waits = "import sys\nprint('ready', flush=True)\nsys.stdin.read()\n";
    let console = prefix.script("venv/bin/aider", &format!("#!{}\n{waits}", python.display()));
    prefix.script("modules/aider.py", waits);
    prefix.script("modules/aider_stats.py", waits);
    prefix.script("claude/run.py", waits);
    let script = Running::start(&mut Command::new(console));
    assert_eq!(comm(script.pid()), "aider");
    let module = |name: &str| {
        Running::start(Command::new(&python).args(["-W", "ignore", "-m", name]).env("PYTHONPATH", prefix.at("modules")))
    };
    let (module, near) = (module("aider"), module("aider_stats"));
    let other = Running::start(Command::new(&python).arg("run.py").current_dir(prefix.at("claude")));
    let machine = Machine::watch(Vec::new());
    one(&machine, "aider", &[script.pid()]);
    one(&machine, "aider", &[module.pid()]);
    assert_eq!(machine.agents_at(&[near.pid(), other.pid()]), []);
}

#[test]
fn the_agent_is_below_what_npx_starts() {
    need("node");
    let prefix = Prefix::new();
    let codex = codex(&prefix);
    prefix.link("project/node_modules/.bin/codex", &codex);
    let npm = prefix.script(
        "lib/node_modules/npm/bin/npx-cli.js",
        &launcher("'sh', ['-c', 'codex; exit $?']")
            .replace("const child", "process.title = 'npm exec codex';\nconst child"),
    );
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", prefix.at("project/node_modules/.bin").display());
    let running = Running::start(Command::new(prefix.link("bin/npx", &npm)).arg("codex").env("PATH", path));
    let npx = running.pid();
    assert_eq!(comm(npx), "npm exec codex");
    let shell = children(npx)[0];
    let wrapper = children(shell)[0];
    let program = children(wrapper)[0];
    one(&Machine::watch(Vec::new()), "codex", &[wrapper, npx, shell, program]);
}

#[test]
fn a_launcher_that_becomes_its_program() {
    let prefix = Prefix::new();
    let native = prefix.standin(TRIPLE);
    let node = prefix.standin("runtime/node");
    let entry = prefix.script("lib/node_modules/@openai/codex/bin/codex.js", "");
    let codex = prefix.link("bin/codex", &entry);
    let mut running = Running::start(
        Command::new("sh")
            .args(["-c", "echo ready; exec \"$0\" \"$1\""])
            .args([node, codex])
            .env("STANDIN", format!("line exec={}", native.display())),
    );
    let pid = running.pid();
    let mut machine = Machine::watch(Vec::new());
    machine.until("the launcher is found", |machine| machine.agent(pid).is_some());
    running.go_on();
    running.ready();
    assert_eq!(comm(pid), "codex");
    machine.look_around();
    one(&machine, "codex", &[pid]);
    let told = machine.events.iter().filter(|line| line.contains(&format!("process {pid} "))).count();
    assert_eq!(told, 1, "it is found once, and is no other: {:?}", machine.events);
}

#[test]
fn a_daemon_that_outlives_the_window_that_started_it() {
    in_both_ways(daemon_of_a_window);
}

fn daemon_of_a_window(forks: Forks) {
    let prefix = Prefix::new();
    let window = prefix.standin("bin/codex");
    let home = prefix.standin(".codex/packages/app-server-daemon/releases/1/bin/codex");
    let orders = format!("start={0},{0},app-server,--listen,unix://,--managed-daemon", home.display());
    let mut running = Running::start(Command::new(window).env("STANDIN", orders).env("STANDIN_CHILD", "setsid"));
    let (root, daemon) = (running.pid(), children(running.pid())[0]);
    let mut machine = Machine::watch_by(forks, Vec::new());
    let both = |machine: &Machine| machine.agents_at(&[root, daemon]);
    let expected = [("codex".to_owned(), root), ("codex-daemon".to_owned(), daemon)];
    assert_eq!(both(&machine), expected);
    running.kill();
    machine.until("the window's end is seen", |machine| machine.agent(root).unwrap().state == Observed::Exited);
    machine.look_around();
    assert_eq!(both(&machine), expected);
    assert_eq!(machine.agent(root).unwrap().leftovers.process_count, 0);
    let agent = machine.agent(daemon).unwrap();
    assert_eq!((agent.state, agent.metrics.process_count), (Observed::Running, Some(1)));
}

#[test]
fn near_misses_among_real_processes() {
    let prefix = Prefix::new();
    let rg = prefix.standin("claude-code/bin/claude.exe");
    let sandbox = prefix.standin("bin/codex");
    let mut missed = vec![
        Running::start(&mut Command::new(prefix.link("bin/rg", &rg))),
        Running::start(&mut Command::new(prefix.link("bin/codex-linux-sandbox", &sandbox))),
        Running::start(&mut Command::new(prefix.standin("usr/bin/amp"))),
        Running::start(&mut Command::new(prefix.standin("claude/versions/latest"))),
        Running::start(Command::new(&sandbox).arg("--version")),
        Running::start(Command::new("sh").args(["-c", "echo ready; read claude; : /usr/bin/claude"])),
    ];
    need("node");
    let script = prefix.script("other/gemini.js", WAITS);
    missed.push(Running::start(Command::new("node").arg(script)));
    prefix.script("@google/gemini-cli/bundle/worker.js", WAITS);
    missed.push(Running::start(Command::new("node").arg(prefix.at("@google/gemini-cli/bundle/worker.js"))));
    missed.push(Running::start(Command::new("node").args(["-e", WAITS, "@openai/codex/bin/codex.js"])));
    let pids: Vec<Pid> = missed.iter().map(Running::pid).collect();
    assert_eq!(Machine::watch(Vec::new()).agents_at(&pids), []);
}

#[test]
fn users_own_rules_on_real_processes() {
    let prefix = Prefix::new();
    let by = |agent: &str, by| Source::Match { agent: agent.to_owned(), by };
    let line = format!("^{}/[a-z]+ --serve( |$)", prefix.at("srv").display());
    let sources = vec![by("mine", MatchBy::Program("mine".to_owned())), by("line", MatchBy::CommandLine(line))];
    let native = Running::start(&mut Command::new(prefix.standin("bin/mine")));
    let served = Running::start(Command::new(prefix.standin("srv/thing")).args(["--serve", "x"]));
    let near = Running::start(Command::new(prefix.at("srv/thing")).arg("--x"));
    let machine = Machine::watch(sources);
    one(&machine, "mine", &[native.pid()]);
    one(&machine, "line", &[served.pid(), near.pid()]);
}

/// The program itself, without any configuration.
#[test]
fn the_program_finds_agents_by_itself() {
    let prefix = Prefix::new();
    let running = Running::start(&mut Command::new(prefix.standin("bin/opencode")));
    let config = prefix.script("empty.toml", "");
    let shown = Command::new(env!("CARGO_BIN_EXE_agent-monitor"))
        .args(["run", "--once", "--json", "--config"])
        .arg(config)
        .env("HOME", prefix.at("home"))
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let document: Value = serde_json::from_slice(&shown.stdout).unwrap();
    let agents = document["agents"].as_array().unwrap();
    let agent = agents.iter().find(|agent| agent["pid"] == running.pid().get()).expect("it is found");
    assert_eq!((&agent["source"], &agent["status"]), (&"match:opencode".into(), &"online".into()));
    assert_eq!((&agent["registryStatus"], &agent["metrics"]["processCount"]), (&Value::Null, &1.into()));
    assert!(agent["metrics"]["cpuPercent"].is_number(), "{agent}");
}
