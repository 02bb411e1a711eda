//! What outlives its agent: whose it is, what it uses, until it ends.

use std::process::Command;

use serde_json::{Value, json};

use super::harness::{BRISK, Daemon, PATIENCE, Place, Way, outcome, program, until};
use super::tree::{Strays, Tree, child};

const LEFTOVERS_SOON: &str = "\n[[alerts.rule]]\nname = \"leftovers\"\nfor = \"1s\"\n";

/// What an agent may leave behind that either way sees. Each says a pid.
const LEAVES: [&str; 5] = [
    "sleep 1000 & echo $!",
    "setsid sleep 1000 & echo $!",
    "sh -c 'nohup sleep 1000 2>/dev/null & echo $!'",
    "sh -c 'sleep 1000 & echo $!'",
    // The shell in between is one too.
    "setsid sh -c 'sleep 1000 & echo $!; wait' &",
];

/// And what is only seen where every fork is told.
const DAEMONS: [&str; 3] = [
    "setsid sh -c 'sleep 1000 & echo $!'",
    "(setsid sleep 1000 & echo $!)",
    "(setsid sh -c '(setsid sleep 1000 & echo $!)')",
];

fn leftovers(daemon: &Daemon) -> Vec<Value> {
    daemon.page("a")["leftovers"].as_array().unwrap().clone()
}

fn of(leftovers: &[Value], pid: u32) -> &Value {
    leftovers.iter().find(|left| left["pid"] == pid).unwrap_or_else(|| panic!("{pid} is not in {leftovers:#?}"))
}

fn kill(pid: u32) {
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
}

#[test]
fn what_outlives_its_agent_is_its_until_it_ends() {
    Way::each(outlives);
}

fn outlives(way: Way) {
    let mut strays = Strays::default();
    let mut tree = Tree::start();
    let place = Place::of(way);
    place.configure(&format!("{BRISK}{LEFTOVERS_SOON}"));
    place.register(&json!([{ "id": "a", "pid": tree.pid() }]));
    let daemon = place.start_with_registry();
    daemon.until_known("a");
    let told = if way == Way::Told { &DAEMONS[..] } else { &[] };
    let mut left: Vec<u32> = LEAVES.iter().chain(told).map(|how| tree.ask(how).parse().unwrap()).collect();
    // One that works when it is told to.
    let fifo = place.path("go");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let work = child(&format!("echo \\$\\$; read -r go <{}; burn 30; sleep 1000 & wait", fifo.display()));
    let worker: u32 = tree.ask(&format!("setsid {work} &")).parse().unwrap();
    left.push(worker);
    left.iter().for_each(|pid| strays.take(*pid));
    // Between: the shell that waits.
    let count = left.len() + 1;
    daemon.until("a", "all are members", |agent| agent["metrics"]["processCount"] == count + 1);
    let used = daemon.agent("a")["metrics"]["cpuSeconds"].as_f64().unwrap();

    tree.kill();
    tree.wait();
    let view = daemon.until("a", "all are left over", |agent| agent["leftovers"]["processCount"] == count);
    assert_eq!((&view["state"], &view["metrics"]["processCount"]), (&json!("exited"), &Value::Null));
    assert!(view["leftovers"]["memoryMb"].as_f64().unwrap() > 0.0, "{view:#}");
    let page = daemon.page("a");
    let rows = leftovers(&daemon);
    let between: Vec<&Value> = rows.iter().filter(|row| !left.iter().any(|pid| row["pid"] == *pid)).collect();
    assert_eq!(between.len(), 1, "{rows:#?}");
    strays.take(between[0]["pid"].as_u64().unwrap().try_into().unwrap());
    for pid in &left {
        let row = of(&rows, *pid);
        let command = if *pid == worker { "sh" } else { "sleep" };
        // Where nobody tells that it became another program, it keeps the name that it was found under.
        let before = way == Way::Scanned && row["command"] == "nohup";
        assert!(row["command"] == command || before, "{row:#}");
        assert_eq!((&row["agent_id"], &row["ended_at"]), (&json!("a"), &Value::Null));
        assert_eq!(row["since"], page["runs"][0]["ended_at"], "since its agent ended");
        assert!(row["memory_mb"].as_f64().unwrap() > 0.0, "{row:#}");
    }
    daemon.until("a", "that is an alert", |agent| agent["alerts"].as_array().unwrap().contains(&json!("leftovers")));

    // What they use, and start, is theirs and not the agent's.
    std::fs::write(&fifo, "go\n").unwrap();
    let busy = daemon.until("a", "one works", |agent| {
        agent["leftovers"]["cpuSeconds"].as_f64() >= Some(0.3) && agent["leftovers"]["processCount"] == count + 1
    });
    assert!(busy["metrics"]["cpuSeconds"].as_f64().unwrap() < used + 0.1, "{used}, then {busy:#}");
    let rows = until("its row has it", || {
        let rows = leftovers(&daemon);
        if of(&rows, worker)["cpu_seconds"].as_f64() >= Some(0.3) { Ok(rows) } else { Err(format!("{rows:#?}")) }
    });
    let started = rows.iter().filter(|row| row["command"] == "sleep").map(|row| row["pid"].as_u64().unwrap());
    started.for_each(|pid| strays.take(pid.try_into().unwrap()));

    // Another daemon knows them again, and that one ended while nobody looked.
    daemon.stop();
    kill(left[0]);
    let daemon = place.start_with_registry();
    daemon.until("a", "they are known again", |agent| agent["leftovers"]["processCount"] == count);
    let again = leftovers(&daemon);
    assert_eq!(again.len(), count, "{again:#?}");
    for row in &again {
        let before = of(&rows, row["pid"].as_u64().unwrap().try_into().unwrap());
        assert_eq!(
            (&row["agent_id"], &row["since"], &row["command"]),
            (&json!("a"), &before["since"], &before["command"])
        );
        assert!(row["cpu_seconds"].as_f64() >= before["cpu_seconds"].as_f64(), "{before:#}, then {row:#}");
    }
    // They stay what they are when the agent is started again.
    let next = Tree::start();
    place.register(&json!([{ "id": "a", "pid": next.pid() }]));
    let view = daemon.until("a", "its next run", |agent| agent["metrics"]["processCount"] == 1);
    assert_eq!((&view["restarts"], &view["leftovers"]["processCount"]), (&json!(1), &json!(count)));

    // Until they end.
    for row in &again {
        kill(row["pid"].as_u64().unwrap().try_into().unwrap());
    }
    let view = daemon
        .until("a", "none is left", |agent| agent["leftovers"]["processCount"] == 0 && agent["alerts"] == json!([]));
    assert_eq!((&view["leftovers"]["memoryMb"], &view["state"]), (&json!(0.0), &json!("running")));
    daemon.stop();
    assert_eq!(place.count("select count(*) from leftovers where ended_at is null"), 0);
    assert_eq!(usize::try_from(place.count("select count(*) from leftovers")).unwrap(), count + 1);
    let told = "select count(*) from agent_events where json_extract(metadata, '$.reason') = 'leftovers_found'";
    assert_eq!(place.count(told), 1, "told once, over two daemons");
}

/// What somebody sees who asks how an agent ended, of the daemon after the one that saw it: found either way, and after
/// an orderly end or a kill of the first.
#[test]
fn the_story_of_an_agent_that_was_killed() {
    let mut strays = Strays::default();
    let mut shell = Tree::start();
    let ends: [fn(Daemon); 2] = [Daemon::kill, |daemon| drop(daemon.stop())];
    let mut watches = Vec::new();
    for way in Way::all() {
        for end in ends {
            let place = Place::of(*way);
            place.register(&json!([{ "id": "worker", "pid": shell.pid() }]));
            let daemon = place.start_with_registry();
            daemon.until_known("worker");
            watches.push((way, place, daemon, end));
        }
    }
    shell.tell("for i in $(seq 100); do sh -c 'i=0; while [ $i -lt 5000 ]; do i=$((i+1)); done'; done; echo done");
    shell.hear_within(PATIENCE * 10);
    let left: u32 = shell.spawn("setsid sleep 600");
    strays.take(left);
    // By the kernel's own account, which is in hundredths of a second: the shell, and all that it waited for.
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", shell.pid())).unwrap();
    let ticks: u32 = stat.split(' ').skip(13).take(4).map(|field| field.parse::<u32>().unwrap()).sum();
    let burned = f64::from(ticks) / rustix::param::clock_ticks_per_second() as f64;
    assert!(burned > 0.5, "{burned} s");
    // Who waits for it at once may be quicker than a last reading: what it used is to be known before.
    watches.iter().for_each(|(_, _, daemon, _)| drop(daemon.readings("worker", 2)));
    shell.kill();
    shell.wait();
    for (way, place, daemon, end) in watches {
        let view = daemon.until("worker", "what it left", |agent| agent["leftovers"]["processCount"] == 1);
        let before = view["metrics"]["cpuSeconds"].as_f64().unwrap();
        place.until_stored("select count(*) from agent_runs where exit_signal = 'SIGKILL'", 1);
        place.until_stored("select count(*) from leftovers where ended_at is null", 1);
        end(daemon);
        let daemon = place.start_with_registry();
        daemon.until("worker", "what it left is known again", |agent| agent["leftovers"]["processCount"] == 1);
        let shown = told(&place, shell.pid(), left);
        println!("{way:?}: {burned} s burned, {before} s shown, then {shown} s");
        assert!((shown - before).abs() < 0.0015, "{before} s, and {shown} s of the next daemon");
        assert!(shown <= burned + 0.021 && shown >= burned * 0.995 - 0.04, "{burned}, shown {shown}");
    }
}

/// What is told of that agent: one run with its cause, and one leftover. Returns the time it used.
fn told(place: &Place, root: u32, left: u32) -> f64 {
    let asked = |more: &[&str]| {
        let (code, text, log) =
            outcome(program().args(["agent", "worker", "--socket"]).arg(place.path("s")).args(more));
        assert_eq!(code, Some(0), "{log}");
        text
    };
    let page: Value = serde_json::from_str(&asked(&["--json"])).unwrap();
    let shown = page["latest"]["cpuSeconds"].as_f64().unwrap();
    assert_eq!((page["runs"].as_array().unwrap().len(), page["leftovers"].as_array().unwrap().len()), (1, 1));
    let text = asked(&[]);
    let section = |title: &str| -> Vec<Vec<&str>> {
        let lines = text.lines().skip_while(|line| *line != title).skip(2).take_while(|line| !line.is_empty());
        lines.map(|line| line.split_whitespace().collect()).collect()
    };
    let runs = section("Runs");
    assert!(runs.len() == 1 && runs[0][0] == root.to_string() && runs[0].contains(&"SIGKILL"), "{text}");
    assert!(runs[0].contains(&&*format!("{shown:.1}")), "{text}");
    let rows = section("Leftovers");
    assert!(rows.len() == 1 && rows[0][..2] == [&*left.to_string(), "sleep"], "{text}");
    shown
}
