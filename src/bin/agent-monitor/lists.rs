//! `events`, `errors`, `alerts`: the latest of each, newest first.

use std::fmt::Write;

use serde_json::Value;

use crate::cli::ListOptions;
use crate::client::{Client, encoded};
use crate::failure::Failure;
use crate::output::{print, print_json};
use crate::table::{Cell, Colour, Column, Look, number, printable, table, tenths, word};

/// The latest events.
pub(crate) fn events(options: &ListOptions, kind: Option<&str>) -> Result<(), Failure> {
    let columns = [Column::Words("TIME"), Column::Words("AGENT"), Column::Words("TYPE"), Column::Words("MESSAGE")];
    list(options, "events", &[("type", kind)], "No events.", &columns, event_row)
}

/// The problems, and the latest occurrences of errors: those that are unresolved, or all.
pub(crate) fn errors(options: &ListOptions, all: bool, only_groups: bool) -> Result<(), Failure> {
    let filter = [("resolved", (!all).then_some("false"))];
    let none = if all { "No errors." } else { "No unresolved errors." };
    if only_groups {
        return list(options, "error-groups", &filter, none, &GROUP_COLUMNS, group_row);
    }
    if options.client.json {
        return list(options, "errors", &filter, none, &ERROR_COLUMNS, error_row);
    }
    let mut client = Client::find(&options.client)?;
    let mut ask = |name: &str| client.get(&route(options, name, &filter));
    let (groups, errors) = (ask("error-groups")?, ask("errors")?);
    let (groups, errors) = (items(&groups.value), items(&errors.value));
    if groups.is_empty() && errors.is_empty() {
        return print(&format!("{none}\n"));
    }
    let colour = Colour::of_stdout();
    let groups = table(&GROUP_COLUMNS, groups.iter().map(group_row).collect(), colour);
    let errors = table(&ERROR_COLUMNS, errors.iter().map(error_row).collect(), colour);
    print(&format!("{groups}\n{errors}"))
}

/// The alerts that fire, or the latest of all.
pub(crate) fn alerts(options: &ListOptions, all: bool) -> Result<(), Failure> {
    let columns = [
        Column::Words("SINCE"),
        Column::Words("UNTIL"),
        Column::Words("SEVERITY"),
        Column::Words("ALERT"),
        Column::Words("AGENT"),
        Column::Numbers("VALUE"),
        Column::Words("MESSAGE"),
    ];
    let filter = [("state", (!all).then_some("firing"))];
    list(options, "alerts", &filter, if all { "No alerts." } else { "No alert fires." }, &columns, alert_row)
}

fn list(
    options: &ListOptions,
    name: &str,
    filters: &[(&str, Option<&str>)],
    none: &str,
    columns: &[Column],
    row: fn(&Value) -> Vec<Cell>,
) -> Result<(), Failure> {
    let document = Client::find(&options.client)?.get(&route(options, name, filters))?;
    if options.client.json {
        return print_json(&document);
    }
    let items = items(&document.value);
    if items.is_empty() {
        return print(&format!("{none}\n"));
    }
    print(&table(columns, items.iter().map(row).collect(), Colour::of_stdout()))
}

fn route(options: &ListOptions, name: &str, filters: &[(&str, Option<&str>)]) -> String {
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

fn items(document: &Value) -> &[Value] {
    document["items"].as_array().map_or(&[][..], Vec::as_slice)
}

pub(crate) fn event_row(event: &Value) -> Vec<Cell> {
    let look = match event["event_type"].as_str() {
        Some("error") => Look::Bad,
        Some("warning") => Look::Warning,
        _ => Look::Plain,
    };
    let kind = word(&event["event_type"]).looking(look);
    vec![word(&event["timestamp"]), word(&event["agent_id"]), kind, word(&event["message"])]
}

const ERROR_COLUMNS: [Column; 5] = [
    Column::Numbers("ID"),
    Column::Words("TIME"),
    Column::Words("AGENT"),
    Column::Words("RESOLVED"),
    Column::Words("ERROR"),
];

/// What a table of problems shows.
pub(crate) const GROUP_COLUMNS: [Column; 7] = [
    Column::Words("FINGERPRINT"),
    Column::Numbers("COUNT"),
    Column::Numbers("OPEN"),
    Column::Words("STATE"),
    Column::Words("LAST SEEN"),
    Column::Words("AGENT"),
    Column::Words("PROBLEM"),
];

pub(crate) fn group_row(group: &Value) -> Vec<Cell> {
    let look = if group["state"] == "regressed" { Look::Bad } else { Look::Plain };
    let text = |key: &str| group[key].as_str().map(printable).unwrap_or_default();
    vec![
        word(&group["fingerprint"]),
        number(&group["count"]),
        number(&group["unresolved"]),
        word(&group["state"]).looking(look),
        word(&group["last_seen"]),
        word(&group["agent_id"]),
        Cell::new(format!("{}: {}", text("error_type"), text("message"))),
    ]
}

pub(crate) fn error_row(error: &Value) -> Vec<Cell> {
    let resolved = error["resolved"].as_bool().map_or("–", |resolved| if resolved { "yes" } else { "no" });
    let text = |key: &str| error[key].as_str().map(printable).unwrap_or_default();
    vec![
        number(&error["id"]),
        word(&error["timestamp"]),
        word(&error["agent_id"]),
        Cell::new(resolved),
        Cell::new(format!("{}: {}", text("error_type"), text("message"))),
    ]
}

fn alert_row(alert: &Value) -> Vec<Cell> {
    let look = match alert["severity"].as_str() {
        _ if alert["state"] != "firing" => Look::Plain,
        Some("critical") => Look::Bad,
        _ => Look::Warning,
    };
    vec![
        word(&alert["started_at"]),
        word(&alert["resolved_at"]),
        word(&alert["severity"]).looking(look),
        word(&alert["type"]),
        word(&alert["agent_id"]),
        tenths(&alert["value"]),
        word(&alert["message"]),
    ]
}
