//! What the screen looks like.

use agent_monitor::model::Timestamp;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Table, Wrap};
use serde_json::Value;

use super::state::{Sort, State};
use crate::environment::variable;
use crate::view::bars::bars;
use crate::view::screen::{Colour, Look, Screen};
use crate::view::text::{UNKNOWN, counted, printable, shown, width};
use crate::{agent, agents};

/// Below this nothing readable fits.
const LEAST: (u16, u16) = (20, 4);

/// Alerts that are shown; of more, only how many.
const ALERTS: usize = 3;

const TRAIL: usize = 12;

pub(super) fn draw(state: &mut State, frame: &mut Frame<'_>) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        frame.render_widget(Paragraph::new("too small"), area);
        return;
    }
    let alerts = if state.opened().is_some() { Vec::new() } else { alerts(&state.dashboard) };
    let height = u16::try_from(alerts.len()).unwrap_or(0);
    let rows = [Constraint::Length(1), Constraint::Length(height), Constraint::Min(1), Constraint::Length(1)];
    let [head, above, middle, help] = Layout::vertical(rows).areas(area);
    frame.render_widget(Paragraph::new(header(state)), head);
    frame.render_widget(Paragraph::new(alerts), above);
    match state.opened().map(str::to_owned) {
        Some(id) => page(state, &id, frame, middle),
        None => list(state, frame, middle),
    }
    frame.render_widget(Paragraph::new(keys(state)), help);
}

/// Colours of the terminal's own palette, unless nobody wants any: no-color.org.
fn coloured(colour: Color) -> Style {
    if variable("NO_COLOR").is_some() { Style::new() } else { Style::new().fg(colour) }
}

fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

fn header(state: &State) -> Line<'static> {
    if let Some(trouble) = &state.trouble {
        let first = printable(trouble.lines().next().unwrap_or_default());
        return Line::styled(format!("no answer, what is below is old: {first}"), coloured(Color::Red));
    }
    let host = &state.dashboard["systemMetrics"];
    let count = |key: &str| state.dashboard[key].as_array().map_or(0, Vec::len) as u64;
    let number = |key: &str, digits: usize| {
        host[key].as_f64().map_or_else(|| UNKNOWN.to_owned(), |number| format!("{number:.digits$}"))
    };
    // The time of day, of the daemon's answer.
    let time = state.dashboard["generatedAt"].as_str().and_then(|at| at.get(11..19)).unwrap_or(UNKNOWN).to_owned();
    let rest = format!(
        "  {time} UTC  {}, {} firing  load {}  {} of {} MiB free",
        counted(count("agents"), "agent"),
        counted(count("alerts"), "alert"),
        number("cpuUsage", 2),
        number("freeMemory", 0),
        number("totalMemory", 0),
    );
    Line::from(vec![Span::styled("agent-monitor", bold()), Span::raw(rest)])
}

fn firing(dashboard: &Value) -> &[Value] {
    dashboard["alerts"].as_array().map_or(&[][..], Vec::as_slice)
}

fn alerts(dashboard: &Value) -> Vec<Line<'static>> {
    let firing = firing(dashboard);
    let word = |value: &Value| value.as_str().map(printable).unwrap_or_default();
    let line = |alert: &Value| {
        let colour = if alert["severity"] == "critical" { Color::Red } else { Color::Yellow };
        let name = format!("{} {}", word(&alert["severity"]), word(&alert["type"]));
        Line::from(vec![Span::styled(name, coloured(colour)), Span::raw(format!("  {}", word(&alert["message"])))])
    };
    let mut lines: Vec<Line<'static>> = firing.iter().take(ALERTS).map(line).collect();
    if firing.len() > ALERTS {
        lines.push(Line::raw(format!("and {} more", firing.len() - ALERTS)));
    }
    lines
}

/// A column, and the width of the screen from which on there is room for it.
struct Column {
    title: &'static str,
    width: Constraint,
    from: u16,
    cell: fn(&Value, &State) -> Cell<'static>,
}

const COLUMNS: [Column; 9] = [
    Column { title: "AGENT", width: Constraint::Max(28), from: 0, cell: |agent, _| text(&agent["agentId"]) },
    Column { title: "STATUS", width: Constraint::Length(10), from: 30, cell: |agent, _| status(agent) },
    Column {
        title: "  CPU %",
        width: Constraint::Length(7),
        from: 0,
        cell: |agent, _| number(&agent["metrics"]["cpuPercent"], 7, 1),
    },
    Column {
        title: "",
        width: Constraint::Length(12),
        from: 90,
        cell: |agent, state| trail(agent, state, |trail| &trail.cpu),
    },
    Column {
        title: "     MiB",
        width: Constraint::Length(8),
        from: 40,
        cell: |agent, _| number(&agent["metrics"]["memoryMb"], 8, 1),
    },
    Column {
        title: "",
        width: Constraint::Length(12),
        from: 110,
        cell: |agent, state| trail(agent, state, |trail| &trail.memory),
    },
    Column {
        title: "PROCS",
        width: Constraint::Length(5),
        from: 56,
        cell: |agent, _| number(&agent["metrics"]["processCount"], 5, 0),
    },
    Column {
        title: "ERRORS",
        width: Constraint::Length(6),
        from: 64,
        cell: |agent, _| number(&agent["metrics"]["errorCount"], 6, 0),
    },
    Column { title: "NOTES", width: Constraint::Fill(1), from: 72, cell: |agent, _| Cell::new(agents::notes(agent)) },
];

fn list(state: &mut State, frame: &mut Frame<'_>, area: Rect) {
    let columns: Vec<&Column> = COLUMNS.iter().filter(|column| area.width >= column.from).collect();
    let agents = state.agents();
    if agents.is_empty() {
        let none = if state.filter.is_empty() { "No agents." } else { "No agent fits the filter; Esc shows all." };
        let none = if state.dashboard.is_null() { "Waiting for the daemon." } else { none };
        frame.render_widget(Paragraph::new(none), area);
        return;
    }
    let row = |agent: &&Value| Row::new(columns.iter().map(|column| (column.cell)(agent, state)).collect::<Vec<_>>());
    let rows: Vec<Row<'_>> = agents.iter().map(row).collect();
    let names = agents.iter().filter_map(|agent| agent["agentId"].as_str()).map(|id| width(&printable(id)));
    let longest = u16::try_from(names.max().unwrap_or(0)).unwrap_or(u16::MAX).clamp(8, 28);
    let room = |(place, column): (usize, &&Column)| if place == 0 { Constraint::Max(longest) } else { column.width };
    let table = Table::new(rows, columns.iter().enumerate().map(room))
        .header(Row::new(columns.iter().map(|column| column.title)).style(bold()))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    frame.render_stateful_widget(table, area, &mut state.table);
}

fn text(value: &Value) -> Cell<'static> {
    Cell::new(shown(value))
}

fn number(value: &Value, width: usize, digits: usize) -> Cell<'static> {
    let text = value.as_f64().map_or_else(|| UNKNOWN.to_owned(), |number| format!("{number:.digits$}"));
    Cell::new(format!("{text:>width$}"))
}

fn status(agent: &Value) -> Cell<'static> {
    let style = match agents::look(agent) {
        Look::Good => coloured(Color::Green),
        Look::Bad => coloured(Color::Red),
        _ => Style::new(),
    };
    text(&agent["status"]).style(style)
}

fn trail(
    agent: &Value,
    state: &State,
    of: fn(&super::state::Trail) -> &std::collections::VecDeque<Option<f64>>,
) -> Cell<'static> {
    let trail = agent["agentId"].as_str().and_then(|id| state.trail(id)).map(of);
    let values: Vec<Option<f64>> = trail.into_iter().flatten().copied().collect();
    let from = values.len().saturating_sub(TRAIL);
    Cell::new(bars(&values[from..])).style(coloured(Color::Cyan))
}

fn page(state: &mut State, id: &str, frame: &mut Frame<'_>, area: Rect) {
    let Some(document) = state.page() else {
        let said = match &state.page_trouble {
            Some(trouble) => format!("{}: {}", printable(id), printable(trouble)),
            None => format!("Asking for {}.", printable(id)),
        };
        frame.render_widget(Paragraph::new(said).wrap(Wrap::default()), area);
        return;
    };
    let alerts: Vec<Value> = firing(&state.dashboard).iter().filter(|alert| alert["agent_id"] == id).cloned().collect();
    let now = state.dashboard["generatedAt"].as_str().and_then(|at| Timestamp::parse(at).ok()).unwrap_or_default();
    let screen = Screen::part(Colour(variable("NO_COLOR").is_none()), area.width.into(), now);
    let text = agent::page(document, &alerts, None, screen);
    let lines: Vec<Line<'static>> = text.lines().map(styled).collect();
    let last = u16::try_from(lines.len()).unwrap_or(u16::MAX).saturating_sub(area.height);
    state.scroll = state.scroll.min(last);
    frame.render_widget(Paragraph::new(lines).scroll((state.scroll, 0)), area);
}

/// A line with the looks of [`Colour::paint`]; agents' text has no escapes of its own any more.
fn styled(line: &str) -> Line<'static> {
    let mut parts = line.split('\u{1b}');
    let mut spans = vec![Span::raw(parts.next().unwrap_or_default().to_owned())];
    for part in parts {
        let (code, text) = part.strip_prefix('[').and_then(|part| part.split_once('m')).unwrap_or(("", part));
        let style = match code {
            "1" => bold(),
            "31" => Style::new().fg(Color::Red),
            "32" => Style::new().fg(Color::Green),
            "33" => Style::new().fg(Color::Yellow),
            _ => Style::new(),
        };
        spans.push(Span::styled(text.to_owned(), style));
    }
    Line::from(spans)
}

fn keys(state: &State) -> Line<'static> {
    if state.writing {
        return Line::raw(format!("filter: {}_   Enter keeps it, Esc drops it", printable(&state.filter)));
    }
    if state.opened().is_some() {
        return Line::raw("Esc back  ↑↓ scroll  q quit");
    }
    let sort = match state.sort {
        Sort::Name => "name",
        Sort::Cpu => "CPU",
        Sort::Memory => "memory",
        Sort::Errors => "errors",
    };
    let filter = if state.filter.is_empty() { String::new() } else { format!(" ({})", printable(&state.filter)) };
    let order = if state.reversed { ", reversed" } else { "" };
    Line::raw(format!("q quit  ↑↓ Enter open  / filter{filter}  sort: n c m e, r ({sort}{order})"))
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::json;

    use super::super::state::Views;
    use super::super::state::tests::{agent, heard, press};
    use super::*;

    fn screen(state: &mut State, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(state, frame)).unwrap();
        terminal.backend().to_string()
    }

    fn some() -> State {
        let mut state = State::default();
        for at in 0_u32..20 {
            let mut all =
                [agent("coder", Some(f64::from(at) * 10.0), Some(914.2), at), agent("planner", None, None, at)];
            all[0]["alerts"] = json!(["high_cpu"]);
            all[1]["leftovers"]["processCount"] = json!(2);
            state.take(heard(&all));
        }
        state.dashboard["alerts"] = json!([{"severity": "warning", "type": "high_cpu", "message": "coder: cpu_percent 190.0 above \u{1b}[2J80 for 5m"}]);
        state
    }

    #[test]
    fn a_wide_and_a_narrow_screen() {
        insta::assert_snapshot!("wide", screen(&mut some(), 120, 8));
        insta::assert_snapshot!("narrow", screen(&mut some(), 42, 7));
        let (mut state, sizes) = (some(), [(1, 1), (19, 9), (20, 4), (300, 2), (20, 3), (500, 100)]);
        for (width, height) in sizes {
            screen(&mut state, width, height);
        }
        assert!(screen(&mut state, 19, 9).contains("too small"));
    }

    #[test]
    fn the_page_of_an_agent() {
        let mut state = some();
        press(&mut state, "\n");
        assert!(screen(&mut state, 60, 5).contains("Asking for coder."));
        let page = json!({"agentId": "coder", "status": "online", "state": "running", "pid": 7, "latest": {}, "runs": [],
            "metrics": [{"timestamp": "t2", "cpu_percent": 80.0, "memory_mb": 4.0}, {"timestamp": "t1", "cpu_percent": null, "memory_mb": 2.0}],
            "processes": [{"pid": 7, "ppid": 1, "command": "node", "state": "sleeping", "user": "me", "cpuPercent": 80.0, "memoryMb": 4.0, "threadCount": 3}],
            "events": [], "errors": [], "leftovers": []});
        let dashboard = state.dashboard.clone();
        state.take(Ok(Views { dashboard, page: Some(Ok(page)) }));
        insta::assert_snapshot!("page", screen(&mut state, 78, 24));
        state.scroll = u16::MAX;
        let end = screen(&mut state, 78, 8);
        assert!(end.contains("t1") && !end.contains("registry"), "{end}");
        let dashboard = state.dashboard.clone();
        state.take(Ok(Views { dashboard, page: Some(Err("404: no such agent".to_owned())) }));
        assert!(screen(&mut state, 60, 5).contains("coder: 404: no such agent"));
    }

    #[test]
    fn what_is_said_instead() {
        let mut state = State::default();
        assert!(screen(&mut state, 60, 5).contains("Waiting for the daemon."));
        state.take(heard(&[]));
        assert!(screen(&mut state, 60, 5).contains("No agents."));
        state.take(heard(&[agent("a", None, None, 1)]));
        press(&mut state, "/zz");
        let text = screen(&mut state, 60, 5);
        assert!(text.contains("No agent fits") && text.contains("filter: zz_"), "{text}");
        state.take(Err("gone\nmore".to_owned()));
        assert!(screen(&mut state, 60, 5).contains("no answer, what is below is old: gone"));
    }
}
