//! `status`: one screen. How the daemon is, what is wrong, a line for each agent.

use std::fmt::Write;
use std::time::Duration;

use agent_monitor::config::{format_duration, format_size};
use agent_monitor::model::Timestamp;
use serde_json::Value;

use crate::cli::ClientOptions;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{print, print_json};
use crate::table::{Colour, Look, UNKNOWN, agents, counted, printable};

/// Asks and prints.
pub(crate) fn status(options: &ClientOptions) -> Result<(), Failure> {
    let mut client = Client::find(options)?;
    let own = client.get("/api/monitoring/status")?;
    if options.json {
        return print_json(&own);
    }
    let dashboard = client.get("/api/monitoring/dashboard")?;
    print(&screen(&own.value, &dashboard.value, Colour::of_stdout()))
}

fn screen(own: &Value, dashboard: &Value, colour: Colour) -> String {
    let mut text = String::new();
    let word = own["status"].as_str().unwrap_or(UNKNOWN);
    let look = match word {
        "ready" => Look::Good,
        "degraded" => Look::Warning,
        _ => Look::Bad,
    };
    let line = |text: &mut String, name: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<9} {value}");
    };
    let up = own["uptime"].as_u64().map_or_else(|| UNKNOWN.to_owned(), |s| rough(Duration::from_secs(s)));
    let daemon = format!(
        "{}, version {}, process {}, up {up}, {}",
        colour.paint(look, &printable(word)),
        shown(&own["version"]),
        own["pid"],
        shown(&own["url"]),
    );
    line(&mut text, "daemon", &daemon);
    line(&mut text, "cost", &format!("{} s CPU, {} MiB", own["cpuSeconds"], unit(&own["memoryMb"])));
    line(&mut text, "sampling", &sampling(own, colour));
    line(&mut text, "host", &host(&own["host"]));
    for source in own["registry"].as_array().into_iter().flatten() {
        line(&mut text, "registry", &registry(source, own, colour));
    }
    line(&mut text, "database", &database(&own["database"], colour));
    for receiver in own["receivers"].as_array().into_iter().flatten() {
        if let Some(told) = receiver_trouble(receiver) {
            line(&mut text, "receiver", &colour.paint(Look::Bad, &told));
        }
    }
    if let Some(error) = own["config"]["error"].as_str() {
        let told = format!("the last reload failed {}: {}", ago(&own["config"]["lastReloadAt"], own), inline(error));
        line(&mut text, "config", &colour.paint(Look::Bad, &told));
    }
    if let Some(keys) = own["config"]["needRestart"].as_array().filter(|keys| !keys.is_empty()) {
        let keys: Vec<String> = keys.iter().map(shown).collect();
        line(&mut text, "config", &format!("changed, and in force from the next start: {}", keys.join(", ")));
    }
    let lost = lost(&own["counters"]);
    if !lost.is_empty() {
        line(&mut text, "counters", &colour.paint(Look::Warning, &lost));
    }
    text.push('\n');
    for alert in dashboard["alerts"].as_array().into_iter().flatten() {
        let look = if alert["severity"] == "critical" { Look::Bad } else { Look::Warning };
        let severity = colour.paint(look, &shown(&alert["severity"]));
        // The message names the agent.
        let (rule, since) = (shown(&alert["type"]), ago(&alert["started_at"], own));
        let _ = writeln!(text, "{severity} {rule} {since}: {}", shown(&alert["message"]));
    }
    if dashboard["alerts"].as_array().is_some_and(|alerts| !alerts.is_empty()) {
        text.push('\n');
    }
    text.push_str(&agents(dashboard, colour));
    text
}

/// What is wrong with a receiver of alerts, and what was lost on the way to it.
fn receiver_trouble(receiver: &Value) -> Option<String> {
    let name = shown(&receiver["receiver"]);
    let lost: u64 = ["refused", "lost"].iter().filter_map(|key| receiver[key].as_u64()).sum();
    let lost = if lost == 0 { String::new() } else { format!("{} not delivered", counted(lost, "message")) };
    match (receiver["error"].as_str(), &*lost) {
        (None, "") => None,
        (None, lost) => Some(format!("{name}: {lost}")),
        (Some(error), "") => Some(format!("{name}: {}", inline(error))),
        (Some(error), lost) => Some(format!("{name}: {}; {lost}", inline(error))),
    }
}

fn sampling(own: &Value, colour: Colour) -> String {
    let sampling = &own["sampling"];
    let every = sampling["interval"].as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let every = every.map_or_else(|| UNKNOWN.to_owned(), format_duration);
    let last = match sampling["lastTickAt"].as_str() {
        Some(_) => format!("last {}", ago(&sampling["lastTickAt"], own)),
        None => "none yet".to_owned(),
    };
    let look = if own["status"] == "failing" { Look::Bad } else { Look::Plain };
    let found = match sampling["discovery"].as_str() {
        Some("events") => ", the kernel tells of every fork",
        Some("scan") => ", children are looked for: one left behind between two passes may be missed",
        _ => "",
    };
    format!("every {every}, {}{found}", colour.paint(look, &last))
}

fn host(host: &Value) -> String {
    let mib = |key: &str| host[key].as_f64().map_or_else(|| UNKNOWN.to_owned(), |mib| format!("{mib:.0}"));
    let percent = |key: &str| host[key].as_f64().map_or_else(|| UNKNOWN.to_owned(), |percent| format!("{percent} %"));
    format!(
        "load {} on {} processors, {} of {} MiB available, pressure: processor {}, memory {}, storage {}",
        unit(&host["load1"]),
        unit(&host["cpuCount"]),
        mib("memoryAvailableMb"),
        mib("memoryTotalMb"),
        percent("cpuPressure"),
        percent("memoryPressure"),
        percent("ioPressure"),
    )
}

fn registry(source: &Value, own: &Value, colour: Colour) -> String {
    let name = shown(&source["source"]);
    let skipped = match source["recordsSkipped"].as_u64() {
        Some(0) | None => String::new(),
        Some(count) => colour.paint(Look::Warning, &format!(", {} unusable", counted(count, "record"))),
    };
    let read = match source["readAt"].as_str() {
        Some(_) => {
            let records = counted(source["records"].as_u64().unwrap_or(0), "record");
            format!("{records}, read {}", ago(&source["readAt"], own))
        }
        None => "not read yet".to_owned(),
    };
    match source["error"].as_str() {
        None => format!("{name}: {read}{skipped}"),
        Some(error) => {
            let failing = format!("failing {}: {}", since(&source["failingSince"], own), inline(error));
            format!("{name}: {}; last good list: {read}{skipped}", colour.paint(Look::Bad, &failing))
        }
    }
}

fn database(database: &Value, colour: Colour) -> String {
    let size = database["sizeBytes"].as_u64().map_or_else(|| UNKNOWN.to_owned(), rough_size);
    let waiting = match database["queueLength"].as_u64() {
        Some(0) | None => String::new(),
        Some(count) => format!(", {} waiting", counted(count, "write")),
    };
    let trouble = match database["error"].as_str() {
        None => "ok".to_owned(),
        Some(error) => colour.paint(Look::Bad, &format!("cannot be written: {}", inline(error))),
    };
    format!("{trouble}, {size}{waiting}, {}", shown(&database["path"]))
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
        ("logLinesDropped", "log lines lost"),
        ("reloadsFailed", "reloads failed"),
        ("requestsRefused", "requests refused"),
        ("requestsPanicked", "requests panicked"),
        ("connectionsFailed", "connections failed"),
    ];
    let counted = names.iter().filter_map(|(key, meaning)| {
        let count = counters[*key].as_u64().filter(|count| *count > 0)?;
        Some(format!("{meaning}: {count}"))
    });
    counted.collect::<Vec<_>>().join(", ")
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| UNKNOWN.to_owned(), printable)
}

fn unit(value: &Value) -> String {
    if value.is_number() { value.to_string() } else { UNKNOWN.to_owned() }
}

/// Several lines on one.
fn inline(text: &str) -> String {
    printable(&text.split('\n').map(str::trim).collect::<Vec<_>>().join(" "))
}

/// How long before the daemon's answer something was: its clock, not ours.
fn age(at: &Value, own: &Value) -> Option<Duration> {
    let time = |value: &Value| Timestamp::parse(value.as_str()?).ok();
    Some(time(&own["generatedAt"])?.since(time(at)?))
}

fn ago(at: &Value, own: &Value) -> String {
    age(at, own).map_or_else(|| UNKNOWN.to_owned(), |age| format!("{} ago", rough(age)))
}

fn since(at: &Value, own: &Value) -> String {
    age(at, own).map_or_else(|| UNKNOWN.to_owned(), |age| format!("since {} ({} ago)", shown(at), rough(age)))
}

/// In the two largest units that matter, such as `3h 5m`.
fn rough(span: Duration) -> String {
    let s = span.as_secs();
    match (s / 86_400, s / 3_600 % 24, s / 60 % 60, s % 60) {
        (0, 0, 0, s) => format!("{s}s"),
        (0, 0, m, s) => format!("{m}m {s}s"),
        (0, h, m, _) => format!("{h}h {m}m"),
        (d, h, _, _) => format!("{d}d {h}h"),
    }
}

fn rough_size(bytes: u64) -> String {
    match bytes >> 20 {
        0 => format_size(bytes >> 10 << 10),
        mib => format!("{mib}MiB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_pressure() {
        let own = serde_json::json!({"load1": 0.5, "cpuCount": 2, "memoryAvailableMb": 4096.4, "memoryTotalMb": 8192.0,
                                     "cpuPressure": 12.3, "memoryPressure": null});
        let text =
            "load 0.5 on 2 processors, 4096 of 8192 MiB available, pressure: processor 12.3 %, memory –, storage –";
        assert_eq!(host(&own), text);
    }

    #[test]
    fn spans_are_rough() {
        for (seconds, expected) in
            [(0, "0s"), (59, "59s"), (61, "1m 1s"), (3_661, "1h 1m"), (90_061, "1d 1h"), (8_640_000, "100d 0h")]
        {
            assert_eq!(rough(Duration::from_secs(seconds)), expected);
        }
        assert_eq!((rough_size(123_456), rough_size(5 << 20)), ("120KiB".to_owned(), "5MiB".to_owned()));
    }
}
