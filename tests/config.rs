//! The configuration file: what it may say, what it means, and how mistakes are told.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent_monitor::config::{self, Config, ConfigErrors, Directories, LogLevel, Overrides, Setting, Source};
use agent_monitor::model::{AgentId, Condition, Metric, Pid, Rule, Severity};

#[path = "config/properties.rs"]
mod properties;

const SHIPPED: &str = include_str!("../packaging/agent-monitor.toml");
const MANUAL: &str = include_str!("../docs/configuration.md");

fn directories() -> Directories {
    Directories { state: "/var/lib/agent-monitor".into(), runtime: "/run/agent-monitor".into() }
}

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    Config::parse(text, Path::new("agent-monitor.toml"), &directories())
}

#[track_caller]
fn good(text: &str) -> Config {
    match parse(text) {
        Ok(config) => config,
        Err(errors) => panic!("{errors}"),
    }
}

#[track_caller]
fn keys_of_problems(text: &str) -> Vec<String> {
    let errors = parse(text).expect_err("it is wrong");
    errors.problems().iter().map(|problem| problem.key.clone()).collect()
}

/// Every broken file of `tests/config`, with its messages.
#[test]
fn broken_files() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files: BTreeSet<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "toml")).collect();
    assert!(files.len() > 10);
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let errors = Config::parse(&text, Path::new(name), &directories()).expect_err(name);
        insta::assert_snapshot!(name.trim_end_matches(".toml"), errors.to_string());
    }
}

#[test]
fn eight_mistakes_are_eight_problems() {
    assert_eq!(
        keys_of_problems(include_str!("config/eight-mistakes.toml")),
        [
            "sampling.intervall",
            "sampling.memory",
            "storage.retention",
            "storage.max_size",
            "alerts.rule[0].metric",
            "alerts.rule[1].for",
            "api.listen",
            "registry.source[0].command_line",
        ]
    );
}

#[test]
fn a_file_that_cannot_be_taken_as_text() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent-monitor.toml");
    let told = |path: &Path| {
        let errors = Config::load(path, &directories()).expect_err("it cannot be used").to_string();
        errors.replace(folder.path().to_str().unwrap(), "…")
    };
    insta::assert_snapshot!(told(&path), @r"
    …/agent-monitor.toml: cannot be read: No such file or directory (os error 2)
    1 problem
    ");
    insta::assert_snapshot!(told(folder.path()), @r"
    …: cannot be read: Is a directory (os error 21)
    1 problem
    ");
    std::fs::write(&path, b"[log]\nlevel = \"\xff\"\n").unwrap();
    insta::assert_snapshot!(told(&path), @r#"
    …/agent-monitor.toml:2:10: is not UTF-8
      2 | level = "�"
        |          ^
    1 problem
    "#);
    std::fs::write(&path, "#".repeat(1 << 20)).unwrap();
    assert_eq!(Config::load(&path, &directories()), Ok(Config::defaults(&directories())));
    std::fs::write(&path, "#".repeat((1 << 20) + 1)).unwrap();
    insta::assert_snapshot!(told(&path), @r"
    …/agent-monitor.toml: is larger than 1MiB
    1 problem
    ");
}

#[test]
fn a_flood_of_problems_is_cut() {
    let garbage = "=\n".repeat(1 << 18);
    assert_eq!(parse(&garbage).expect_err("it is no TOML").problems().len(), 1);
    let text: String = (0..150).map(|n| format!("x{n} = 1\n")).collect();
    let errors = parse(&text).expect_err("nothing of it is known");
    assert_eq!(errors.problems().len(), ConfigErrors::LIMIT);
    assert!(errors.to_string().ends_with("\n150 problems, of which the first 100 are shown"));
}

#[test]
fn defaults_are_those_of_the_contract() {
    let config = good("");
    assert_eq!(config, Config::defaults(&directories()));
    assert_eq!(config.sampling.interval, Duration::from_secs(10));
    assert_eq!(config.registry.refresh, Duration::from_secs(10));
    assert_eq!(config.registry.stale_after, Duration::from_secs(300));
    assert_eq!(config.storage.retention, Duration::from_secs(7 * 86_400));
    assert_eq!(config.storage.rollup_retention, Duration::from_secs(90 * 86_400));
    assert_eq!(config.storage.max_size_bytes, 1 << 30);
    assert_eq!(config.storage.directory, Path::new("/var/lib/agent-monitor"));
    assert_eq!(config.ingest.socket, Path::new("/run/agent-monitor/agent-monitor.sock"));
    assert_eq!(config.ingest.mode, 0o660);
    assert_eq!(config.api.listen, SocketAddr::from(([127, 0, 0, 1], 7717)));
    let rules: Vec<_> = config.alerts.rules.iter().map(|r| (&*r.name, r.hold.as_secs(), r.severity.word())).collect();
    assert_eq!(
        rules,
        [
            ("high_cpu", 300, "warning"),
            ("high_memory", 300, "warning"),
            ("high_errors", 0, "critical"),
            ("agent_down", 10, "critical"),
            ("crash_loop", 0, "critical"),
            ("leftovers", 60, "warning"),
            ("memory_growth", 0, "warning"),
            ("registry_stale", 0, "warning"),
            ("storage_degraded", 0, "critical"),
            ("monitor_lagging", 0, "warning"),
        ]
    );
    assert!(config.alerts.rules.iter().all(|rule| rule.enabled && rule.repeat == Duration::from_secs(4 * 3_600)));
    let high_cpu = Condition::Above { metric: Metric::CpuPercent, limit: 80.0, clear: 70.0 };
    assert_eq!(config.alerts.rules[0].condition, high_cpu);
}

#[test]
fn the_shipped_file_says_the_defaults() {
    assert_eq!(good(SHIPPED), Config::defaults(&directories()));
}

/// The shipped file with every commented-out key and table in force: those with no space behind the `#`.
fn switched_on() -> String {
    let line = |line: &'static str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c == '[' || c.is_ascii_lowercase()) => rest,
        _ => line,
    };
    SHIPPED.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_shipped_file_knows_every_key() {
    let config = good(&switched_on());
    assert_eq!(config.registry.sources.len(), 4);
    assert_eq!(config.alerts.receivers.len(), 1);
    let mut found = BTreeSet::new();
    collect("", &switched_on().parse::<toml::Table>().unwrap(), &mut found);
    let known: BTreeSet<String> = config::keys().iter().cloned().collect();
    assert_eq!(found, known);
}

fn collect(prefix: &str, table: &toml::Table, found: &mut BTreeSet<String>) {
    for (key, value) in table {
        let key = format!("{prefix}{key}");
        let values = match value {
            toml::Value::Array(elements) => elements.as_slice(),
            other => std::slice::from_ref(other),
        };
        for table in values.iter().filter_map(toml::Value::as_table) {
            collect(&format!("{key}."), table, found);
        }
        found.insert(key);
    }
}

#[test]
fn the_manual_knows_every_key_and_no_other() {
    let known: BTreeSet<&str> = config::keys().iter().map(String::as_str).collect();
    for key in &known {
        assert!(MANUAL.contains(&format!("`{key}`")), "docs/configuration.md does not explain {key}");
    }
    let rows = MANUAL.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    for (key, _) in rows.filter(|(key, _)| key.contains('.')) {
        assert!(known.contains(key), "docs/configuration.md explains {key}, which there is not");
    }
    let rules = good("").alerts.rules;
    for name in Metric::ALL.map(Metric::name).into_iter().chain(rules.iter().map(|rule| &*rule.name)) {
        assert!(MANUAL.contains(&format!("`{name}`")), "docs/configuration.md does not name {name}");
        assert!(SHIPPED.contains(name), "packaging/agent-monitor.toml does not name {name}");
    }
}

#[test]
fn the_manual_shows_what_is_printed() {
    let text = "[sampling]\nintervall = \"5s\"\n\n[storage]\nretention = 7\n";
    let errors = Config::parse(text, Path::new("/etc/agent-monitor.toml"), &directories()).expect_err("two mistakes");
    let shown = MANUAL.split("```text\n").nth(1).unwrap().split("```").next();
    assert_eq!(shown, Some(&*format!("{errors}\n")));
}

#[test]
fn a_rule_of_a_built_in_name_changes_what_it_gives() {
    let rules = good("[[alerts.rule]]\nname = 'high_cpu'\nfor = '1m'\n").alerts.rules;
    let mut expected = Config::defaults(&directories()).alerts.rules;
    expected[0].hold = Duration::from_secs(60);
    assert_eq!(rules, expected);
}

#[test]
fn a_variant_inherits_from_the_rule_of_its_name_wherever_that_stands() {
    let text = "
        [[alerts.rule]]
        name = 'high_cpu'
        agents = ['coder-*']
        above = 250
        [[alerts.rule]]
        name = 'own'
        agents = ['planner']
        enabled = false
        [[alerts.rule]]
        name = 'high_cpu'
        for = '2m'
        severity = 'critical'
        [[alerts.rule]]
        name = 'own'
        metric = 'thread_count'
        below = 3
        clear = 4.5
    ";
    let rules = good(text).alerts.rules;
    let names: Vec<&str> = rules.iter().map(|rule| &*rule.name).collect();
    assert_eq!(names[..3], ["high_cpu", "high_cpu", "high_memory"]);
    assert_eq!(names[names.len() - 2..], ["own", "own"]);
    assert!(rules[0].agents.is_empty());
    let Rule { condition, hold, severity, agents, .. } = &rules[1];
    assert_eq!(*condition, Condition::Above { metric: Metric::CpuPercent, limit: 250.0, clear: 70.0 });
    assert_eq!((hold.as_secs(), *severity, agents[0].as_str()), (120, Severity::Critical, "coder-*"));
    let own = &rules[names.len() - 1];
    assert_eq!(own.condition, Condition::Below { metric: Metric::ThreadCount, limit: 3.0, clear: 4.5 });
    assert!(!own.enabled && rules[names.len() - 2].enabled);
}

#[test]
fn another_metric_or_side_starts_afresh() {
    let text = "
        [[alerts.rule]]
        name = 'leftovers'
        metric = 'leftover_memory_mb'
        above = 100
        [[alerts.rule]]
        name = 'high_cpu'
        below = 5
    ";
    let rules = good(text).alerts.rules;
    assert_eq!(rules[5].condition, Condition::Above { metric: Metric::LeftoverMemoryMb, limit: 100.0, clear: 100.0 });
    assert_eq!(rules[0].condition, Condition::Below { metric: Metric::CpuPercent, limit: 5.0, clear: 5.0 });
}

#[test]
fn beyond_loopback_only_with_a_token() {
    for listen in ["127.0.0.1:0", "127.1.2.3:80", "[::1]:7717", "[::ffff:127.0.0.1]:7717"] {
        assert_eq!(good(&format!("api.listen = '{listen}'")).api.listen, listen.parse().unwrap());
    }
    for listen in ["0.0.0.0:7717", "192.0.2.1:7717", "[::]:7717", "[::ffff:192.0.2.1]:7717"] {
        let text = format!("api.listen = '{listen}'");
        assert_eq!(keys_of_problems(&text), ["api.listen"]);
        good(&format!("{text}\napi.token_file = '/etc/agent-monitor/token'"));
    }
}

#[test]
fn overrides_beat_the_file() {
    let mut config = good("registry.source = [{ kind = 'file', path = '/a' }]");
    let planner = AgentId::new("planner").unwrap();
    let pid = Pid::new(42).unwrap();
    let overrides = Overrides {
        registry: vec![Setting::new("https://broker/api", "--registry"), Setting::new("/b", "--registry")],
        agents: vec![(planner.clone(), pid)],
        interval: Some(Setting::new("1s", "--interval")),
        listen: Some(Setting::new("127.0.0.1:0", "--listen")),
        socket: Some(Setting::new("s.sock", "--socket")),
        state_dir: Some(Setting::new("/s", "AGENT_MONITOR_STATE_DIR")),
        log: Some(Setting::new("debug", "AGENT_MONITOR_LOG")),
    };
    overrides.apply(&mut config).unwrap();
    assert_eq!(
        config.registry.sources,
        [
            Source::Flags(vec![(planner, pid)]),
            Source::Http { url: "https://broker/api".into(), token_file: None, timeout: Duration::from_secs(5) },
            Source::File { path: "/b".into() },
        ]
    );
    assert_eq!(config.sampling.interval, Duration::from_secs(1));
    assert_eq!(config.api.listen.port(), 0);
    assert_eq!(config.ingest.socket, std::env::current_dir().unwrap().join("s.sock"));
    assert_eq!(config.storage.directory, Path::new("/s"));
    assert_eq!(config.log.level, LogLevel::Debug);

    let before = good("registry.source = [{ kind = 'file', path = '/a' }]");
    let mut config = before.clone();
    Overrides::default().apply(&mut config).unwrap();
    assert_eq!(config, before);
}

#[test]
fn overrides_are_checked_by_their_own_names() {
    let mut config = good("");
    let planner = AgentId::new("planner").unwrap();
    let pid = Pid::new(42).unwrap();
    let overrides = Overrides {
        registry: vec![Setting::new("http://", "AGENT_MONITOR_REGISTRY"), Setting::new("", "--registry")],
        agents: vec![(planner.clone(), pid), (planner, pid)],
        interval: Some(Setting::new("10", "AGENT_MONITOR_INTERVAL")),
        listen: Some(Setting::new("0.0.0.0:80", "--listen")),
        socket: Some(Setting::new(format!("/{}", "s".repeat(200)), "--socket")),
        state_dir: Some(Setting::new("", "--state-dir")),
        log: Some(Setting::new("wran", "--log")),
    };
    let errors = overrides.apply(&mut config).expect_err("all of it is wrong");
    assert_eq!(config, good(""));
    insta::assert_snapshot!(errors, @r#"
    AGENT_MONITOR_REGISTRY: "http://" is not a URL: empty host (for example "http://127.0.0.1:3000/api/agents")
    --registry: is empty (it needs a path)
    --agent: planner is given twice
    AGENT_MONITOR_INTERVAL: "10" is not a duration (a number and a unit, for example "10s", "5m", "2h" or "7d")
    --listen: 0.0.0.0:80 can be reached from beyond this host, and no token is asked for (set api.token_file, or listen on 127.0.0.1)
    --socket: a socket's path has at most 107 bytes, this one has 201
    --state-dir: is empty (it needs a path)
    --log: "wran" is not a log level (did you mean "warn"?)
    8 problems
    "#);
}

/// Whoever says that a configuration can be used has thought of the place, too, where the socket is made.
#[test]
fn a_socket_is_made_beside_its_place() {
    for (length, fits) in [(81, true), (82, false)] {
        let socket = Some(Setting::new(format!("/{}/s", "d".repeat(length)), "--socket"));
        let said =
            Overrides { socket, ..Overrides::default() }.apply(&mut good("")).map_err(|errors| errors.to_string());
        assert_eq!(said.is_ok(), fits, "{said:?}");
        assert!(fits || said.unwrap_err().contains("would have 108 bytes"));
    }
}

#[test]
fn what_a_file_cannot_say_is_a_comment() {
    let mut config = good("");
    let flag = Source::Flags(vec![(AgentId::new("planner").unwrap(), Pid::new(42).unwrap())]);
    config.registry.sources = vec![flag, Source::File { path: "/b".into() }];
    let text = config.to_toml();
    assert!(text.contains("\n# from the command line: agent planner is process 42\n"), "{text}");
    assert_eq!(good(&text).registry.sources, [Source::File { path: "/b".into() }]);
}

#[test]
fn what_is_in_force_as_text() {
    insta::assert_snapshot!("effective", good(&switched_on()).to_toml());
}
