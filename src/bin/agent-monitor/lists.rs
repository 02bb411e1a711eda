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

/// The latest errors: those that are unresolved, or all.
pub(crate) fn errors(options: &ListOptions, all: bool) -> Result<(), Failure> {
    let columns = [
        Column::Numbers("ID"),
        Column::Words("TIME"),
        Column::Words("AGENT"),
        Column::Words("RESOLVED"),
        Column::Words("ERROR"),
    ];
    let filter = [("resolved", (!all).then_some("false"))];
    list(options, "errors", &filter, if all { "No errors." } else { "No unresolved errors." }, &columns, error_row)
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
    let mut route = format!("/api/monitoring/{name}?limit={}", options.limit);
    let agent = ("agent", options.agent.as_deref());
    for (key, value) in filters.iter().chain([&agent]) {
        if let Some(value) = value {
            // Writing to a String cannot fail.
            let _ = write!(route, "&{key}={}", encoded(value));
        }
    }
    let document = Client::find(&options.client)?.get(&route)?;
    if options.client.json {
        return print_json(&document);
    }
    let items = document.value["items"].as_array().map_or(&[][..], Vec::as_slice);
    if items.is_empty() {
        return print(&format!("{none}\n"));
    }
    print(&table(columns, items.iter().map(row).collect(), Colour::of_stdout()))
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
