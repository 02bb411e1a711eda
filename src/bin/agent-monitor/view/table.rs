//! Tables: as wide as what is in them, or as the screen.

use serde_json::Value;

use super::screen::{Look, Screen};
use super::text::{UNKNOWN, cut, figure, shown, width, wrap};

/// Between two columns.
const GAP: &str = "  ";

/// Lines that a field may take; of more, only the beginning is shown.
const LINES: usize = 4;

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

    /// With another line below it.
    pub(crate) fn below(self, line: &str) -> Cell {
        Cell { text: format!("{}\n{line}", self.text), ..self }
    }

    #[cfg(test)]
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

/// A column, and what becomes of it where there is no room. Numbers stand to the right, and are never cut.
#[derive(Clone, Copy)]
pub(crate) struct Column {
    title: &'static str,
    is_number: bool,
    least: Option<usize>,
    rank: u8,
    wraps: bool,
}

impl Column {
    pub(crate) const fn words(title: &'static str) -> Column {
        Column { title, is_number: false, least: None, rank: 0, wraps: false }
    }

    pub(crate) const fn numbers(title: &'static str) -> Column {
        Column { is_number: true, ..Column::words(title) }
    }

    pub(crate) const fn title(&self) -> &'static str {
        self.title
    }

    /// It may be cut to so many cells.
    pub(crate) const fn least(self, cells: usize) -> Column {
        Column { least: Some(cells), ..self }
    }

    /// It may be left out, after those of a higher rank.
    pub(crate) const fn rank(self, rank: u8) -> Column {
        Column { rank, ..self }
    }

    /// Its fields may take several lines, each of which has at least so many cells.
    pub(crate) const fn wrapping(self, cells: usize) -> Column {
        Column { wraps: true, ..self.least(cells) }
    }
}

/// A line for each row below a line of headings. The last column is not padded.
pub(crate) fn table(columns: &[Column], rows: Vec<Vec<Cell>>, screen: Screen) -> String {
    let heading = |column: &Column| Cell::new(column.title).looking(Look::Bold);
    let rows: Vec<Vec<Cell>> = std::iter::once(columns.iter().map(heading).collect()).chain(rows).collect();
    let widest = |place: usize| rows.iter().flat_map(|row| row[place].text.split('\n')).map(width).max().unwrap_or(0);
    let wanted: Vec<usize> = (0..columns.len()).map(widest).collect();
    let fitting = fit(columns, wanted, screen.width);
    let mut text = String::new();
    for row in &rows {
        let fields: Vec<Vec<String>> =
            fitting.iter().map(|&(place, room)| lines(&columns[place], &row[place], room)).collect();
        for line in 0..fields.iter().map(Vec::len).max().unwrap_or(0) {
            let field = |place: usize| fields[place].get(line).map_or("", String::as_str);
            let last = (0..fields.len()).rfind(|place| !field(*place).is_empty()).unwrap_or(0);
            for (place, &(column, room)) in fitting.iter().enumerate().take(last + 1) {
                let gap = " ".repeat(room.saturating_sub(width(field(place))));
                let look = if field(place).is_empty() { Look::Plain } else { row[column].look };
                let painted = screen.paint(look, field(place));
                match columns[column].is_number {
                    true => text.extend([gap.as_str(), painted.as_str()]),
                    false if place == last => text.push_str(&painted),
                    false => text.extend([painted.as_str(), gap.as_str()]),
                }
                if place < last {
                    text.push_str(GAP);
                }
            }
            text.push('\n');
        }
    }
    text
}

/// The columns that there is room for, and how much each of them gets.
fn fit(columns: &[Column], mut wanted: Vec<usize>, room: Option<usize>) -> Vec<(usize, usize)> {
    let mut shown: Vec<usize> = (0..columns.len()).collect();
    let gaps = |shown: &[usize]| GAP.len() * shown.len().saturating_sub(1);
    let Some(room) = room else { return shown.into_iter().map(|place| (place, wanted[place])).collect() };
    let least =
        |place: usize, wanted: &[usize]| columns[place].least.map_or(wanted[place], |least| least.min(wanted[place]));
    while shown.iter().map(|&place| least(place, &wanted)).sum::<usize>() + gaps(&shown) > room {
        let Some(place) =
            shown.iter().copied().filter(|&place| columns[place].rank > 0).max_by_key(|&place| columns[place].rank)
        else {
            break;
        };
        shown.retain(|&other| other != place);
    }
    // The widest gives way first.
    while shown.iter().map(|&place| wanted[place]).sum::<usize>() + gaps(&shown) > room {
        let gives = |place: &usize| wanted[*place] > least(*place, &wanted);
        let Some(place) = shown.iter().copied().filter(gives).max_by_key(|&place| wanted[place]) else { break };
        wanted[place] -= 1;
    }
    shown.into_iter().map(|place| (place, wanted[place])).collect()
}

/// A field in the room that its column has.
fn lines(column: &Column, cell: &Cell, room: usize) -> Vec<String> {
    if !column.wraps {
        return vec![if column.is_number { cell.text.clone() } else { cut(&cell.text, room) }];
    }
    // Agents' text has no line breaks any more: those that are here are ours.
    let some = |text: &str| {
        let mut lines = wrap(text, room);
        if lines.len() > LINES {
            lines.truncate(LINES);
            lines[LINES - 1].push_str(" …");
            lines[LINES - 1] = cut(&lines[LINES - 1], room);
        }
        lines
    };
    cell.text.split('\n').flat_map(some).collect()
}

/// A text, made harmless; a dash for none.
pub(crate) fn word(value: &Value) -> Cell {
    Cell::new(shown(value))
}

/// A number as it is; a dash for none.
pub(crate) fn number(value: &Value) -> Cell {
    Cell::new(figure(value))
}

/// A number with one decimal; a dash for none.
pub(crate) fn tenths(value: &Value) -> Cell {
    Cell::new(value.as_f64().map_or_else(|| UNKNOWN.to_owned(), |number| format!("{number:.1}")))
}

#[cfg(test)]
mod tests {
    use agent_monitor::model::Timestamp;

    use super::super::screen::Colour;
    use super::*;

    const COLUMNS: [Column; 4] = [
        Column::words("A").least(3),
        Column::numbers("N"),
        Column::numbers("RARE").rank(1),
        Column::words("REASON").wrapping(6),
    ];

    fn at(width: usize) -> Screen {
        Screen::plain(width, Timestamp::default())
    }

    fn rows() -> Vec<Vec<Cell>> {
        vec![
            vec![Cell::new("e\u{301}").looking(Look::Bad), Cell::new("1.5"), Cell::new("7"), Cell::new("why\nnot")],
            vec![Cell::new("界界"), Cell::new("10.25"), Cell::new("–"), Cell::new("")],
        ]
    }

    #[test]
    fn columns_line_up_with_and_without_colour() {
        let text = table(&COLUMNS, rows(), Screen::pipe());
        assert_eq!(
            text,
            "A         N  RARE  REASON\ne\u{301}       1.5     7  why\n                   not\n界界  10.25     –\n",
        );
        let coloured = table(&COLUMNS, rows(), Screen::part(Colour(true), 80, Timestamp::default()));
        assert!(coloured.contains("\u{1b}[31me\u{301}\u{1b}[0m     "), "{coloured:?}");
    }

    #[test]
    fn narrow_screens_lose_words_before_columns() {
        let wide = [vec![Cell::new("abcdef"), Cell::new("1"), Cell::new("2"), Cell::new("one two three")]];
        let text = |width| {
            let rows = wide.iter().map(|row| row.iter().map(|cell| Cell::new(cell.text.clone())).collect()).collect();
            table(&COLUMNS, rows, at(width))
        };
        assert_eq!(text(80), "A       N  RARE  REASON\nabcdef  1     2  one two three\n");
        assert_eq!(text(25), "A       N  RARE  REASON\nabcdef  1     2  one two\n                 three\n");
        assert_eq!(text(20), "A    N  RARE  REASON\nab…  1     2  one\n              two\n              three\n");
        assert_eq!(text(19), "A       N  REASON\nabcdef  1  one two\n           three\n", "the column goes that may");
        assert_eq!(text(1).lines().next(), Some("A    N  REASON"), "what is left is not less than readable");
        assert!((20..80).all(|width| text(width).lines().all(|line| super::width(line) <= width)));
    }

    #[test]
    fn long_fields_end() {
        let long = vec![vec![Cell::new("a"), Cell::new("1"), Cell::new("2"), Cell::new("word ".repeat(50))]];
        let text = table(&COLUMNS, long, at(30));
        assert!(text.lines().count() == 1 + LINES && text.ends_with("…\n"), "{text}");
    }
}
