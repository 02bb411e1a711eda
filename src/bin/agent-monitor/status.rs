//! `status`: one screen. Whether all is well, and if not what is wrong and what to do; a line for each agent; how the daemon
//! is.

use std::fmt::Write;
use std::time::Duration;

use agent_monitor::config::format_duration;
use serde_json::Value;

use crate::agents::{agents, is_down};
use crate::cli::ClientOptions;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{print, print_json};
use crate::trouble::{self, Trouble};
use crate::view::screen::{Look, Screen, bytes, rough};
use crate::view::text::{UNKNOWN, counted, figure, printable, shown, wrap};

/// Asks and prints.
pub(crate) fn status(options: &ClientOptions) -> Result<(), Failure> {
    let mut client = Client::find(options)?;
    let own = client.get("/api/monitoring/status")?;
    if options.json {
        return print_json(&own);
    }
    let dashboard = client.get("/api/monitoring/dashboard")?;
    print(&screenful(&own.value, &dashboard.value, Screen::of_stdout(options.times)))
}

pub(crate) fn screenful(own: &Value, dashboard: &Value, screen: Screen) -> String {
    let mut text = String::new();
    let (verdict, troubles) = verdict(own, dashboard, screen);
    trouble::write(&verdict, &troubles, screen, &mut text);
    text.push_str(&agents(dashboard, screen));
    text.push('\n');
    for (name, look, said) in daemon(own, screen) {
        entry(name, look, &said, screen, &mut text);
    }
    text
}

/// A name and what is said of it, in as many lines as that takes.
pub(crate) fn entry(name: &str, look: Look, said: &str, screen: Screen, text: &mut String) {
    const NAME: usize = 11;
    for (place, line) in wrap(said, screen.room(NAME)).into_iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:<NAME$}{}", if place == 0 { name } else { "" }, screen.paint(look, &line));
    }
}

/// How things are in a sentence, and everything that is wrong.
fn verdict(own: &Value, dashboard: &Value, screen: Screen) -> (String, Vec<Trouble>) {
    let list = |key: &str| dashboard[key].as_array().map_or(&[][..], Vec::as_slice);
    let (alerts, agents) = (list("alerts"), list("agents"));
    let fires = |rule: &str| alerts.iter().any(|alert| alert["type"] == rule);
    let mut said = Vec::new();
    match own["status"].as_str() {
        Some("ready") => {}
        Some(word) => said.push(format!("the daemon is {}", printable(word))),
        None => said.push("the daemon does not say how it is".to_owned()),
    }
    said.extend(trouble::firing(alerts));
    // Before their alert fires, or where none of their rules does.
    let silent = |agent: &&Value| {
        let quiet = agent["alerts"].as_array().is_none_or(Vec::is_empty);
        is_down(agent) && agent["registryStatus"].is_string() && quiet
    };
    match agents.iter().filter(silent).count() {
        0 => {}
        1 => said.push("1 agent is down".to_owned()),
        down => said.push(format!("{down} agents are down")),
    }
    let mut troubles = of_daemon(own, &fires, screen);
    troubles.extend(alerts.iter().map(|alert| Trouble::of_alert(alert, false, screen)));
    for agent in agents.iter().filter(silent) {
        let why = agent["stateReason"].as_str().map(printable).unwrap_or_default();
        let what = format!("{} is down", shown(&agent["agentId"]));
        troubles.push(Trouble::warning(what, why, "agent_down fires if that lasts"));
    }
    // The most urgent first.
    troubles.sort_by_key(|trouble| trouble.look != Look::Bad);
    match (said.is_empty(), troubles.len() as u64) {
        (true, 0) if agents.is_empty() => said.push("all is well, and no agent runs that is known here".to_owned()),
        (true, 0) => said.push(format!("all is well: {}, no alert fires", counted(agents.len() as u64, "agent"))),
        (true, count) => said.push(format!("the agents are well, the daemon has {}", counted(count, "complaint"))),
        (false, _) => {}
    }
    (said.join(", "), troubles)
}

/// What is wrong with the daemon, but for what an alert says already.
fn of_daemon(own: &Value, fires: &impl Fn(&str) -> bool, screen: Screen) -> Vec<Trouble> {
    let mut troubles = Vec::new();
    if own["status"] == "failing" {
        let why = match own["sampling"]["lastTickAt"].as_str() {
            Some(_) => format!("the last sampling pass was {}", screen.moment(&own["sampling"]["lastTickAt"])),
            None => "no sampling pass has ended yet".to_owned(),
        };
        troubles.push(Trouble::bad("sampling", why, "wait a moment; if it stays so, its log says why"));
    }
    if let Some(error) = own["database"]["error"].as_str().filter(|_| !fires("storage_degraded")) {
        let remedy = "watching goes on without it; `agent-monitor doctor` looks at the disk and the database";
        troubles.push(Trouble::bad("the database cannot be written", inline(error), remedy));
    }
    for source in own["registry"].as_array().into_iter().flatten() {
        let name = shown(&source["source"]);
        match source["error"].as_str() {
            Some(error) if !fires("registry_stale") => {
                let what = format!("registry {name}, failing since {}", screen.moment(&source["failingSince"]));
                troubles.push(Trouble::warning(
                    what,
                    inline(error),
                    "the last good list stays in force; `agent-monitor doctor` tries every source",
                ));
            }
            Some(_) => {}
            None => {
                if let Some(count) = source["recordsSkipped"].as_u64().filter(|count| *count > 0) {
                    let what = format!("registry {name}: {} unusable", counted(count, "record"));
                    troubles.push(Trouble::warning(what, "", "`agent-monitor doctor` names the first, the log each"));
                }
            }
        }
    }
    if let Some(error) = own["messages"]["error"].as_str() {
        let what = "messages cannot be counted";
        troubles.push(Trouble::warning(what, inline(error), "messages.database names the broker's database"));
    }
    for receiver in own["receivers"].as_array().into_iter().flatten() {
        if let Some(why) = receiver_trouble(receiver) {
            let what = format!("receiver {}", shown(&receiver["receiver"]));
            troubles.push(Trouble::bad(what, why, "`agent-monitor alerts --test` sends it a message"));
        }
    }
    if let Some(error) = own["config"]["error"].as_str() {
        let what = format!("the configuration was not taken, {}", screen.moment(&own["config"]["lastReloadAt"]));
        troubles.push(Trouble::bad(
            what,
            inline(error),
            "the old one is in force; `agent-monitor check` names every problem",
        ));
    }
    if let Some(keys) = own["config"]["needRestart"].as_array().filter(|keys| !keys.is_empty()) {
        let keys: Vec<String> = keys.iter().map(shown).collect();
        troubles.push(Trouble::warning("the configuration waits for a restart", keys.join(", "), "restart the daemon"));
    }
    troubles
}

/// What is wrong with a receiver of alerts, and what was lost on the way to it.
fn receiver_trouble(receiver: &Value) -> Option<String> {
    let lost: u64 = ["refused", "lost"].iter().filter_map(|key| receiver[key].as_u64()).sum();
    let lost = (lost > 0).then(|| format!("{} not delivered", counted(lost, "message")));
    let said: Vec<String> = receiver["error"].as_str().map(inline).into_iter().chain(lost).collect();
    (!said.is_empty()).then(|| said.join("; "))
}

/// How the daemon and its host are: what, and whether that is well.
fn daemon(own: &Value, screen: Screen) -> Vec<(&'static str, Look, String)> {
    let up = own["uptime"].as_u64().map_or_else(|| UNKNOWN.to_owned(), |s| rough(Duration::from_secs(s)));
    let daemon = format!(
        "{}, version {}, process {}, up {up}",
        shown(&own["status"]),
        shown(&own["version"]),
        figure(&own["pid"])
    );
    let look = |of: &Value| if of["error"].is_string() { Look::Bad } else { Look::Plain };
    let mut said = vec![
        ("daemon", Look::Plain, daemon),
        ("dashboard", Look::Plain, shown(&own["url"])),
        ("cost", Look::Plain, format!("{} s CPU, {} MiB", figure(&own["cpuSeconds"]), figure(&own["memoryMb"]))),
        ("sampling", Look::Plain, sampling(&own["sampling"], screen)),
        ("host", Look::Plain, host(&own["host"])),
    ];
    let sources = own["registry"].as_array().into_iter().flatten();
    said.extend(sources.map(|source| ("registry", look(source), registry(source, screen))));
    said.push(("database", look(&own["database"]), database(&own["database"])));
    // Since the start: that it happened need not mean that something is wrong now.
    let lost = lost(&own["counters"]);
    if !lost.is_empty() {
        said.push(("counters", Look::Warning, lost));
    }
    said
}

fn sampling(sampling: &Value, screen: Screen) -> String {
    let every = sampling["interval"].as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let every = every.map_or_else(|| UNKNOWN.to_owned(), format_duration);
    let last = match sampling["lastTickAt"].as_str() {
        Some(_) => format!("last {}", screen.moment(&sampling["lastTickAt"])),
        None => "none yet".to_owned(),
    };
    let found = match sampling["discovery"].as_str() {
        Some("events") => ", the kernel tells of every fork",
        Some("scan") => ", children are looked for: one left behind between two passes may be missed",
        _ => "",
    };
    format!("every {every}, {last}{found}")
}

fn host(host: &Value) -> String {
    let mib = |key: &str| host[key].as_f64().map_or_else(|| UNKNOWN.to_owned(), |mib| format!("{mib:.0}"));
    let percent = |key: &str| host[key].as_f64().map_or_else(|| UNKNOWN.to_owned(), |percent| format!("{percent} %"));
    format!(
        "load {} on {} processors, {} of {} MiB available, pressure: processor {}, memory {}, storage {}",
        figure(&host["load1"]),
        figure(&host["cpuCount"]),
        mib("memoryAvailableMb"),
        mib("memoryTotalMb"),
        percent("cpuPressure"),
        percent("memoryPressure"),
        percent("ioPressure"),
    )
}

fn registry(source: &Value, screen: Screen) -> String {
    let name = shown(&source["source"]);
    let read = match source["readAt"].as_str() {
        Some(_) => {
            let records = counted(source["records"].as_u64().unwrap_or(0), "record");
            format!("{records}, read {}", screen.moment(&source["readAt"]))
        }
        None => "not read yet".to_owned(),
    };
    if source["error"].is_string() {
        format!("{name}: failing; last good list: {read}")
    } else {
        format!("{name}: {read}")
    }
}

fn database(database: &Value) -> String {
    let size = database["sizeBytes"].as_u64().map_or_else(|| UNKNOWN.to_owned(), bytes);
    let waiting = match database["queueLength"].as_u64() {
        Some(0) | None => String::new(),
        Some(count) => format!(", {} waiting", counted(count, "write")),
    };
    let word = if database["error"].is_string() { "cannot be written" } else { "ok" };
    format!("{word}, {size}{waiting}, {}", shown(&database["path"]))
}

/// What was lost, skipped or refused, where it is not zero.
fn lost(counters: &Value) -> String {
    let names = [
        ("ticksSkipped", "sampling passes skipped"),
        ("readErrors", "reads of processes failed"),
        ("readsDenied", "reads of processes denied"),
        ("eventsLost", "times that forks were lost"),
        ("agentsRefused", "agents not watched for want of room"),
        ("pssReadsDenied", "measurings of memory (pss) denied"),
        ("pssReadsFailed", "measurings of memory failed"),
        ("pssReadsOverdue", "measurings of memory too slow"),
        ("samplesDropped", "samples lost"),
        ("entriesDropped", "events, errors or alerts lost"),
        ("runsDropped", "runs lost"),
        ("writesFailed", "writes that could not be stored"),
        ("writesLimited", "writes refused for being too many"),
        ("logLinesDropped", "log lines lost"),
        ("reloadsFailed", "reloads failed"),
        ("requestsRefused", "requests refused"),
        ("requestsPanicked", "requests panicked"),
        ("connectionsFailed", "connections failed"),
        ("answersRefused", "answers refused"),
        ("streamsRefused", "streams refused"),
        ("streamsDropped", "streams that could not keep up"),
    ];
    let counted = names.iter().filter_map(|(key, meaning)| {
        let count = counters[*key].as_u64().filter(|count| *count > 0)?;
        Some(format!("{meaning}: {count}"))
    });
    counted.collect::<Vec<_>>().join(", ")
}

/// Several lines on one.
fn inline(text: &str) -> String {
    printable(&text.split('\n').map(str::trim).collect::<Vec<_>>().join(" "))
}
