//! Agents as a table for people.

use std::fmt::Write;

use agent_monitor::model::{AgentView, Snapshot};

/// A line per agent below a line of headings; a sentence when there is none.
pub(crate) fn agents(snapshot: &Snapshot) -> String {
    if snapshot.agents.is_empty() {
        return "No agents. Name some with --agent ID=PID or --registry FILE.\n".to_owned();
    }
    let headings = ["AGENT", "STATUS", "PID", "CPU %", "MEMORY MiB", "PROCS", "REASON"].map(str::to_owned);
    let rows: Vec<[String; 7]> =
        std::iter::once(headings).chain(snapshot.agents.iter().map(|view| row(view))).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 7] = std::array::from_fn(width);
    let mut table = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            // Numbers to the right, words to the left.
            let _ = if (2..=5).contains(&column) {
                write!(line, "{cell:>width$}  ")
            } else {
                write!(line, "{cell:<width$}  ")
            };
        }
        table.push_str(line.trim_end());
        table.push('\n');
    }
    table
}

fn row(view: &AgentView) -> [String; 7] {
    let metrics = &view.metrics;
    let known = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
    #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let mebibytes = |bytes: u64| format!("{:.1}", bytes as f64 / 1_048_576.0);
    [
        printable(view.id.as_str()),
        printable(&view.status),
        known(view.pid.map(|pid| pid.to_string())),
        known(metrics.cpu_percent.map(|percent| format!("{percent:.1}"))),
        known(metrics.memory_bytes.map(mebibytes)),
        known(metrics.process_count.map(|count| count.to_string())),
        printable(view.state_reason.as_deref().unwrap_or("")),
    ]
}

/// Agents' text as it may go to a terminal: whatever could steer it is shown, not obeyed.
fn printable(text: &str) -> String {
    let steers = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_steer_a_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\r\n\u{202e}c"), "a\u{fffd}[2Jb\u{fffd}\u{fffd}\u{fffd}c");
    }
}
