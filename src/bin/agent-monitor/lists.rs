//! `events`, `errors`, `alerts`: the latest of each, newest first, or as they happen.

use std::fmt::Write;

use serde_json::Value;

use crate::cli::ListOptions;
use crate::client::{Client, encoded};
use crate::failure::Failure;
use crate::follow::{Followed, Told, follow};
use crate::output::{print, print_json};
use crate::trouble::{self, Trouble};
use crate::view::screen::{Look, Screen};
use crate::view::table::{Cell, Column, number, table, tenths, word};
use crate::view::text::{UNKNOWN, counted, printable, shown};

/// The latest events.
pub(crate) fn events(options: &ListOptions, kind: Option<&str>, follows: bool) -> Result<(), Failure> {
    let filters = [("type", kind)];
    if follows {
        let wants = |event: &Value| kind.is_none_or(|kind| event["event_type"] == kind);
        let tell =
            |event: &Value| told(event, "timestamp", &event["event_type"], look_of_event(event), &event["message"]);
        return follow(&Followed { options, list: "events", filters: &filters, event: "event", wants: &wants, tell });
    }
    list(options, "events", &filters, "No events.", event_lines)
}

/// The problems, and the latest occurrences of errors: those that are unresolved, or all.
pub(crate) fn errors(options: &ListOptions, all: bool, only_groups: bool, follows: bool) -> Result<(), Failure> {
    let filter = [("resolved", (!all).then_some("false"))];
    if follows {
        let tell = |error: &Value| told(error, "timestamp", &error["error_type"], Look::Bad, &error["message"]);
        return follow(&Followed {
            options,
            list: "errors",
            filters: &filter,
            event: "agent_error",
            wants: &|_| true,
            tell,
        });
    }
    let none = if all { "No errors." } else { "No unresolved errors." };
    if only_groups {
        return list(options, "error-groups", &filter, none, |groups, screen| problems_and_errors(groups, &[], screen));
    }
    if options.client.json {
        return list(options, "errors", &filter, none, |errors, screen| problems_and_errors(&[], errors, screen));
    }
    let mut client = Client::find(&options.client)?;
    let mut ask = |name: &str| client.get(&route(options, name, &filter));
    let (groups, errors) = (ask("error-groups")?, ask("errors")?);
    match (items(&groups.value), items(&errors.value)) {
        ([], []) => print(&format!("{none}\n")),
        (groups, errors) => print(&problems_and_errors(groups, errors, Screen::of_stdout(options.client.times))),
    }
}

/// The alerts that fire, or the latest of all.
pub(crate) fn alerts(options: &ListOptions, all: bool, follows: bool) -> Result<(), Failure> {
    let filter = [("state", (!all).then_some("firing"))];
    if follows {
        let tell = |alert: &Value| {
            let (at, look, word) = match alert["state"].as_str() {
                Some("firing") => ("started_at", look_of_alert(alert), &alert["severity"]),
                _ => ("resolved_at", Look::Good, &alert["state"]),
            };
            let text = |value: &Value| value.as_str().unwrap_or(UNKNOWN).to_owned();
            let kind = Value::from(format!("{} {}", text(word), text(&alert["type"])));
            told(alert, at, &kind, look, &alert["message"])
        };
        return follow(&Followed { options, list: "alerts", filters: &filter, event: "alert", wants: &|_| true, tell });
    }
    list(options, "alerts", &filter, if all { "No alerts." } else { "No alert fires." }, alert_lines)
}

fn list(
    options: &ListOptions,
    name: &str,
    filters: &[(&str, Option<&str>)],
    none: &str,
    lines: impl Fn(&[Value], Screen) -> String,
) -> Result<(), Failure> {
    let document = Client::find(&options.client)?.get(&route(options, name, filters))?;
    if options.client.json {
        return print_json(&document);
    }
    match items(&document.value) {
        [] => print(&format!("{none}\n")),
        items => print(&lines(items, Screen::of_stdout(options.client.times))),
    }
}

pub(crate) fn event_lines(events: &[Value], screen: Screen) -> String {
    let columns = [
        Column::words("TIME"),
        Column::words("AGENT").least(8),
        Column::words("TYPE").least(8),
        Column::words("MESSAGE").wrapping(20),
    ];
    let row = |event: &Value| {
        let time = Cell::new(screen.moment(&event["timestamp"]));
        vec![time, word(&event["agent_id"]), kind_of_event(event), word(&event["message"])]
    };
    table(&columns, events.iter().map(row).collect(), screen)
}

pub(crate) fn problems_and_errors(groups: &[Value], errors: &[Value], screen: Screen) -> String {
    let open: u64 = groups.iter().filter_map(|group| group["unresolved"].as_u64()).sum();
    let said = format!("{}, {} unresolved", counted(groups.len() as u64, "problem"), counted(open, "error"));
    let mut text = headline(screen, (!groups.is_empty()).then_some(said));
    if !groups.is_empty() {
        text.push_str(&problems(groups, true, screen));
    }
    if !groups.is_empty() && !errors.is_empty() {
        text.push('\n');
    }
    if !errors.is_empty() {
        text.push_str(&table(&ERROR_COLUMNS, errors.iter().map(|error| error_row(error, screen)).collect(), screen));
    }
    text
}

/// Whoever looks is told of each all there is; for a script each is a line.
pub(crate) fn alert_lines(alerts: &[Value], screen: Screen) -> String {
    if screen.width.is_none() {
        return table(&ALERT_COLUMNS, alerts.iter().map(|alert| alert_row(alert, screen)).collect(), screen);
    }
    let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
    let mut text = headline(screen, Some(trouble::firing(firing).unwrap_or_else(|| "no alert fires now".to_owned())));
    for alert in alerts {
        Trouble::of_alert(alert, false, screen).write(screen, &mut text);
    }
    text
}

/// What a list comes to, for those who look at it: in a pipe the first line is that of the headings.
fn headline(screen: Screen, said: Option<String>) -> String {
    match said {
        Some(said) if screen.width.is_some() => format!("{}\n\n", screen.paint(Look::Bold, &said)),
        _ => String::new(),
    }
}

pub(crate) fn route(options: &ListOptions, name: &str, filters: &[(&str, Option<&str>)]) -> String {
    let mut route = format!("/api/monitoring/{name}?limit={}", options.limit);
    let agent = ("agent", options.agent.as_deref());
    for (key, value) in filters.iter().chain([&agent]) {
        if let Some(value) = value {
            // Writing to a String cannot fail.
            let _ = write!(route, "&{key}={}", encoded(value));
        }
    }
    route
}

pub(crate) fn items(document: &Value) -> &[Value] {
    document["items"].as_array().map_or(&[][..], Vec::as_slice)
}

fn told(item: &Value, at: &str, kind: &Value, look: Look, message: &Value) -> Told {
    Told { at: shown(&item[at]), agent: shown(&item["agent_id"]), kind: shown(kind), look, message: shown(message) }
}

fn look_of_event(event: &Value) -> Look {
    match event["event_type"].as_str() {
        Some("error") => Look::Bad,
        Some("warning") => Look::Warning,
        _ => Look::Plain,
    }
}

pub(crate) fn kind_of_event(event: &Value) -> Cell {
    word(&event["event_type"]).looking(look_of_event(event))
}

const ERROR_COLUMNS: [Column; 5] = [
    Column::numbers("ID"),
    Column::words("TIME"),
    Column::words("AGENT").least(8),
    Column::words("RESOLVED").rank(1),
    Column::words("ERROR").wrapping(20),
];

fn error_row(error: &Value, screen: Screen) -> Vec<Cell> {
    let resolved = error["resolved"].as_bool().map_or(UNKNOWN, |resolved| if resolved { "yes" } else { "no" });
    let time = Cell::new(screen.moment(&error["timestamp"]));
    vec![number(&error["id"]), time, word(&error["agent_id"]), Cell::new(resolved), problem(error)]
}

/// The class of an error and its message.
pub(crate) fn problem(error: &Value) -> Cell {
    let text = |key: &str| error[key].as_str().map(printable).unwrap_or_default();
    Cell::new(format!("{}: {}", text("error_type"), text("message")))
}

/// A table of problems. On a screen the fingerprint stands below the problem, where it has room; for a script it is a field of
/// its own. `whose`: whether to say which agents have them.
pub(crate) fn problems(groups: &[Value], whose: bool, screen: Screen) -> String {
    let is_seen = screen.width.is_some();
    let mut columns = vec![
        Column::numbers("OPEN"),
        Column::numbers("COUNT").rank(2),
        Column::words("STATE").rank(3),
        Column::words("LAST SEEN").rank(1),
        Column::words("AGENT").least(8),
        Column::words("PROBLEM").wrapping(32),
    ];
    if !is_seen {
        columns.insert(0, Column::words("FINGERPRINT"));
    }
    columns.retain(|column| whose || column.title() != "AGENT");
    let row = |group: &Value| {
        let look = if group["state"] == "regressed" { Look::Bad } else { Look::Plain };
        let fingerprint = group["fingerprint"].as_str().map(printable).unwrap_or_default();
        let mut row = vec![
            number(&group["unresolved"]),
            number(&group["count"]),
            word(&group["state"]).looking(look),
            Cell::new(screen.moment(&group["last_seen"])),
        ];
        if whose {
            row.push(word(&group["agent_id"]));
        }
        row.push(if is_seen { problem(group).below(&fingerprint) } else { problem(group) });
        if !is_seen {
            row.insert(0, Cell::new(fingerprint));
        }
        row
    };
    table(&columns, groups.iter().map(row).collect(), screen)
}

const ALERT_COLUMNS: [Column; 7] = [
    Column::words("SINCE"),
    Column::words("UNTIL"),
    Column::words("SEVERITY"),
    Column::words("ALERT"),
    Column::words("AGENT"),
    Column::numbers("VALUE"),
    Column::words("MESSAGE"),
];

fn look_of_alert(alert: &Value) -> Look {
    match alert["severity"].as_str() {
        _ if alert["state"] != "firing" => Look::Plain,
        Some("critical") => Look::Bad,
        _ => Look::Warning,
    }
}

fn alert_row(alert: &Value, screen: Screen) -> Vec<Cell> {
    vec![
        Cell::new(screen.moment(&alert["started_at"])),
        Cell::new(screen.moment(&alert["resolved_at"])),
        word(&alert["severity"]).looking(look_of_alert(alert)),
        word(&alert["type"]),
        word(&alert["agent_id"]),
        tenths(&alert["value"]),
        word(&alert["message"]),
    ]
}
