//! Text for people: tables, a little colour, and nothing that could steer a terminal.

use std::io::IsTerminal;

use serde_json::Value;

use crate::environment::variable;

/// What is not known.
pub(crate) const UNKNOWN: &str = "–";

/// How a cell looks, where colour may be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Look {
    Plain,
    Bold,
    Good,
    Warning,
    Bad,
}

/// Whether colour may be used: on a terminal that can, where nobody forbade it (no-color.org).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Colour(pub(crate) bool);

impl Colour {
    pub(crate) fn of_stdout() -> Colour {
        Colour::of(&std::io::stdout())
    }

    pub(crate) fn of_stderr() -> Colour {
        Colour::of(&std::io::stderr())
    }

    fn of(stream: &impl IsTerminal) -> Colour {
        let dumb = variable("TERM").is_none_or(|term| term == "dumb");
        Colour(variable("NO_COLOR").is_none() && !dumb && stream.is_terminal())
    }

    /// The text in this look: ECMA-48, SGR.
    pub(crate) fn paint(self, look: Look, text: &str) -> String {
        let code = match look {
            Look::Plain => "",
            Look::Bold => "1",
            Look::Good => "32",
            Look::Warning => "33",
            Look::Bad => "31",
        };
        if self.0 && !code.is_empty() { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// One field of a table.
pub(crate) struct Cell {
    text: String,
    look: Look,
}

impl Cell {
    pub(crate) fn new(text: impl Into<String>) -> Cell {
        Cell { text: text.into(), look: Look::Plain }
    }

    pub(crate) fn looking(self, look: Look) -> Cell {
        Cell { look, ..self }
    }
}

/// A column's heading; numbers stand to the right.
pub(crate) enum Column {
    Words(&'static str),
    Numbers(&'static str),
}

/// A line for each row below a line of headings. The last column is not padded.
pub(crate) fn table(columns: &[Column], rows: Vec<Vec<Cell>>, colour: Colour) -> String {
    let heading = |column: &Column| match column {
        Column::Words(name) | Column::Numbers(name) => Cell::new(*name).looking(Look::Bold),
    };
    let rows: Vec<Vec<Cell>> = std::iter::once(columns.iter().map(heading).collect()).chain(rows).collect();
    let width = |place: usize| rows.iter().map(|row| row[place].text.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let last = row.iter().rposition(|cell| !cell.text.is_empty()).unwrap_or(0);
        for (place, cell) in row.iter().enumerate().take(last + 1) {
            let gap = " ".repeat(widths[place] - cell.text.chars().count());
            let painted = colour.paint(cell.look, &cell.text);
            match columns[place] {
                Column::Numbers(_) => text.extend([gap.as_str(), painted.as_str()]),
                Column::Words(_) if place == last => text.push_str(&painted),
                Column::Words(_) => text.extend([painted.as_str(), gap.as_str()]),
            }
            if place < last {
                text.push_str("  ");
            }
        }
        text.push('\n');
    }
    text
}

/// A line per agent of the dashboard document; a sentence when there is none.
pub(crate) fn agents(dashboard: &Value, colour: Colour) -> String {
    let Some(agents) = dashboard["agents"].as_array().filter(|agents| !agents.is_empty()) else {
        return "No agents. Name some with --agent ID=PID or --registry FILE.\n".to_owned();
    };
    let columns = [
        Column::Words("AGENT"),
        Column::Words("STATUS"),
        Column::Numbers("PID"),
        Column::Numbers("CPU %"),
        Column::Numbers("MEMORY MiB"),
        Column::Numbers("PROCS"),
        Column::Words("REASON"),
    ];
    let row = |agent: &Value| {
        let metrics = &agent["metrics"];
        let gone = matches!(agent["state"].as_str(), Some("exited" | "zombie" | "replaced"));
        let look = match agent["status"].as_str() {
            Some("offline") if gone => Look::Bad,
            Some("offline") => Look::Plain,
            _ if agent["state"] == "running" => Look::Good,
            _ => Look::Plain,
        };
        vec![
            word(&agent["agentId"]),
            word(&agent["status"]).looking(look),
            number(&agent["pid"]),
            tenths(&metrics["cpuPercent"]),
            tenths(&metrics["memoryMb"]),
            number(&metrics["processCount"]),
            Cell::new(agent["stateReason"].as_str().map(printable).unwrap_or_default()),
        ]
    };
    table(&columns, agents.iter().map(row).collect(), colour)
}

/// A text, made harmless; a dash for none.
pub(crate) fn word(value: &Value) -> Cell {
    Cell::new(value.as_str().map_or_else(|| UNKNOWN.to_owned(), printable))
}

/// A number as it is; a dash for none.
pub(crate) fn number(value: &Value) -> Cell {
    Cell::new(if value.is_number() { value.to_string() } else { UNKNOWN.to_owned() })
}

/// A number with one decimal; a dash for none.
pub(crate) fn tenths(value: &Value) -> Cell {
    Cell::new(value.as_f64().map_or_else(|| UNKNOWN.to_owned(), |number| format!("{number:.1}")))
}

/// `1 record`, `2 records`.
pub(crate) fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Agents' text as it may go to a terminal: whatever could steer it is shown, not obeyed.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

/// A JSON document as it may go to a terminal. What steers one stands only within its strings, where an escape means the
/// same (RFC 8259, 7).
pub(crate) fn harmless_json(document: &str) -> String {
    let mut text = String::with_capacity(document.len());
    for c in document.chars() {
        if steers(c) {
            text.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            text.push(c);
        }
    }
    text
}

/// Control characters, and those that turn the direction of text (Unicode 9, UAX #9).
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_steer_a_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\r\n\u{202e}c\u{9b}31m"), "a\u{fffd}[2Jb\u{fffd}\u{fffd}\u{fffd}c\u{fffd}31m");
        let document = serde_json::json!({"a": "\u{9b}31m \u{202e} \u{1b} é\n\"\\"});
        let text = harmless_json(&document.to_string());
        assert!(!text.chars().any(steers), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), document, "and it says the same");
    }

    #[test]
    fn columns_line_up_with_and_without_colour() {
        let rows = || {
            vec![
                vec![Cell::new("é").looking(Look::Bad), Cell::new("1.5"), Cell::new("why")],
                vec![Cell::new("bcd"), Cell::new("10.25"), Cell::new("")],
            ]
        };
        let columns = [Column::Words("A"), Column::Numbers("N"), Column::Words("REASON")];
        assert_eq!(table(&columns, rows(), Colour(false)), "A        N  REASON\né      1.5  why\nbcd  10.25\n");
        let coloured = table(&columns, rows(), Colour(true));
        assert!(coloured.contains("\u{1b}[31mé\u{1b}[0m  "), "{coloured:?}");
    }
}
