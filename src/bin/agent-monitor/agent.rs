//! `agent ID`: one agent whole. How it is and what is wrong first, then what it is and what it did.

mod sections;

use std::fmt::Write;

use anyhow::anyhow;
use serde_json::Value;

use crate::cli::ClientOptions;
use crate::client::{Client, encoded};
use crate::failure::{Failure, Kind};
use crate::lists::{items, problems};
use crate::output::{print, print_json};
use crate::trouble::{self, Trouble};
use crate::view::bars::squeezed;
use crate::view::screen::{Look, Screen, bytes};
use crate::view::text::{UNKNOWN, figure, figure_of, printable, shown};
use crate::{agents, status};

use sections::SECTIONS;

/// Problems that are shown, those seen last.
const GROUPS: u32 = 20;

/// Bars of the last hour.
const BARS: usize = 60;

/// Asks and prints.
pub(crate) fn agent(options: &ClientOptions, id: &str) -> Result<(), Failure> {
    let mut client = Client::find(options)?;
    let document = client.get(&format!("/api/monitoring/agents/{}", encoded(id))).map_err(|failure| {
        let hint = anyhow!("{}: {failure}; `agent-monitor status` lists those that are known", printable(id));
        if failure.kind() == Kind::Failed { hint.into() } else { failure }
    })?;
    if options.json {
        return print_json(&document);
    }
    let mut agent = document.value;
    put_host_beside_ends(&mut agent);
    let id = encoded(id);
    // Watching goes on without the database; so does this.
    let mut list = |name: &str, filter: &str| {
        client.get(&format!("/api/monitoring/{name}?limit={GROUPS}&agent={id}{filter}")).ok().map(|list| list.value)
    };
    let alerts = list("alerts", "&state=firing").unwrap_or_default();
    let groups = list("error-groups", "").unwrap_or_default();
    let screen = Screen::of_stdout(options.times);
    print(&page(&agent, items(&alerts), Some(items(&groups)), screen))
}

/// The document has the host beside the runs; a line of the table is about one run.
pub(crate) fn put_host_beside_ends(agent: &mut Value) {
    let mut host = agent["host"].take();
    for (place, run) in agent["runs"].as_array_mut().into_iter().flatten().enumerate() {
        run["host"] = host.get_mut(place).map(Value::take).unwrap_or_default();
    }
}

/// The whole page as text; with the alerts of this agent that fire, and its problems, if those were asked for.
pub(crate) fn page(agent: &Value, alerts: &[Value], groups: Option<&[Value]>, screen: Screen) -> String {
    let mut text = String::new();
    verdict(agent, alerts, screen, &mut text);
    for (name, said) in facts(agent, screen) {
        status::entry(name, Look::Plain, &said, screen, &mut text);
    }
    for section in SECTIONS {
        if let Some(groups) = groups.filter(|groups| section.key == "errors" && !groups.is_empty()) {
            let _ = write!(text, "\n{}\n{}", screen.paint(Look::Bold, "Problems"), problems(groups, false, screen));
        }
        section.write(agent, screen, &mut text);
    }
    text
}

fn verdict(agent: &Value, alerts: &[Value], screen: Screen, text: &mut String) {
    let reason = agent["stateReason"].as_str().map(|reason| format!(": {}", printable(reason))).unwrap_or_default();
    let mut said = format!("{} is {}{reason}", shown(&agent["agentId"]), shown(&agent["status"]));
    let names = agent["alerts"].as_array().map_or(0, Vec::len) as u64;
    let mut troubles: Vec<Trouble> = alerts.iter().map(|alert| Trouble::of_alert(alert, true, screen)).collect();
    if let Some(firing) = trouble::firing(alerts) {
        said.push_str(&format!("; {firing}"));
    } else if names > 0 {
        // Their list cannot be had; their names stand in the page.
        let names: Vec<String> = agent["alerts"].as_array().into_iter().flatten().map(shown).collect();
        troubles.push(Trouble::warning(
            format!("alerts: {}", names.join(", ")),
            "",
            "`agent-monitor status` has them whole",
        ));
    } else if agents::is_down(agent) && agent["registryStatus"].is_string() {
        troubles.push(Trouble::warning("its registry says that it runs", "", "agent_down fires if that lasts"));
    }
    trouble::write(&said, &troubles, screen, text);
}

/// What it is and what it uses, by name.
fn facts(agent: &Value, screen: Screen) -> Vec<(&'static str, String)> {
    let latest = &agent["latest"];
    let mut facts = Vec::new();
    if agent["name"].is_string() {
        facts.push(("name", shown(&agent["name"])));
    }
    let claim = match agent["registryStatus"].as_str() {
        Some(word) => format!("says {}, ", printable(word)),
        None => String::new(),
    };
    facts.push(("registry", format!("{claim}{}", shown(&agent["source"]))));
    let started = match agent["startedAt"].as_str() {
        Some(_) => format!(", started {}", screen.moment(&agent["startedAt"])),
        None => String::new(),
    };
    let process = if agent["pid"].is_null() { "none is known".to_owned() } else { figure(&agent["pid"]) };
    let restarts = figure_of(&agent["restarts"], "restart");
    facts.push(("process", format!("{process}, {}{started}, {restarts}", shown(&agent["state"]))));
    let method = latest["memoryMethod"].as_str().map(|method| format!(" ({})", printable(method))).unwrap_or_default();
    // Of one that does not run there is nothing to say.
    if ["cpuPercent", "memoryMb", "processCount"].iter().any(|key| latest[*key].is_number()) {
        facts.push((
            "now",
            format!(
                "{} % CPU, {} MiB{method}, {}, {}",
                figure(&latest["cpuPercent"]),
                figure(&latest["memoryMb"]),
                figure_of(&latest["processCount"], "process"),
                figure_of(&latest["threadCount"], "thread"),
            ),
        ));
    }
    let size = |key: &str| latest[key].as_u64().map_or_else(|| UNKNOWN.to_owned(), bytes);
    facts.push((
        "in all",
        format!(
            "{} s CPU, {} read, {} written, {}, {}",
            figure(&latest["cpuSeconds"]),
            size("readBytes"),
            size("writtenBytes"),
            figure_of(&latest["errorCount"], "unresolved error"),
            figure_of(&latest["messageCount"], "message"),
        ),
    ));
    // The last hour, newest first.
    let samples = agent["metrics"].as_array().map_or(&[][..], Vec::as_slice);
    for (name, key, unit) in [("CPU", "cpu_percent", "%"), ("memory", "memory_mb", "MiB")] {
        let values: Vec<Option<f64>> = samples.iter().rev().map(|sample| sample[key].as_f64()).collect();
        if let Some(most) = values.iter().flatten().copied().max_by(f64::total_cmp) {
            let said = format!(" up to {most:.1} {unit}");
            let room = screen.width.map_or(BARS, |width| width.saturating_sub(12 + said.len())).min(BARS);
            facts.push((name, format!("{}{said}", squeezed(&values, room))));
        }
    }
    if agent["metadata"].as_object().is_some_and(|metadata| !metadata.is_empty()) {
        facts.push(("metadata", printable(&agent["metadata"].to_string())));
    }
    facts
}
