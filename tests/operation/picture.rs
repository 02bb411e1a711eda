//! The picture of `top` in the README, made of what the program shows in a terminal beside a demo:
//! `cargo test --locked --test operation picture; cp target/tmp/top.svg docs/top.svg`.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use vt100::{Cell, Color, Screen};

use crate::demo::Demo;
use crate::terminal::Terminal;

const SIZE: (u16, u16) = (112, 14);

/// A cell of the picture, in its units.
const CELL: (usize, usize) = (8, 18);

const MARGIN: usize = 12;

const BACKGROUND: &str = "#1c2128";
const FOREGROUND: &str = "#cdd9e5";

#[test]
fn top_beside_the_demo() {
    let demo = Demo::start();
    let mut terminal = Terminal::start(&demo.place, SIZE, &["top", "--url", &demo.url]);
    for words in ["critical crash_loop", "high_memory", "leftovers", "5 agents"] {
        terminal.shows(words);
    }
    terminal.press("c");
    terminal.shows("r (CPU)");
    let screen = terminal.screen();
    for agent in ["steady", "busy", "growing", "crashing", "leaving"] {
        assert!(screen.contents().contains(agent), "{}", screen.contents());
    }
    let picture = draw(screen);
    // What stands in the repository must be this program's: all that does not change from one demo to the next.
    let kept = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/top.svg")).unwrap_or_default();
    fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("top.svg"), &picture).unwrap();
    let rows: Vec<String> = screen.rows(0, SIZE.0).collect();
    let heading = rows.iter().find(|row| row.starts_with("AGENT")).unwrap();
    for words in
        heading.split_whitespace().chain(rows.last().unwrap().split_whitespace()).chain(["growing", "crash_loop"])
    {
        for (name, text) in [("this one", &picture), ("docs/top.svg", &kept)] {
            assert!(text.contains(&format!(">{}<", escaped(words))), "{name} does not show {words:?}: make it again");
        }
    }
    terminal.press("q");
    terminal.ends();
}

fn draw(screen: &Screen) -> String {
    let (columns, rows) = (usize::from(SIZE.0), usize::from(SIZE.1));
    let (width, height) = (columns * CELL.0 + 2 * MARGIN, rows * CELL.1 + 2 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
         aria-label=\"agent-monitor top\">\n<rect width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"{BACKGROUND}\"/>\n\
         <g font-family=\"ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace\" font-size=\"13\">\n"
    );
    for row in 0..SIZE.1 {
        let mut column = 0;
        while column < SIZE.0 {
            let cell = screen.cell(row, column).unwrap();
            let same = |next: &u16| look(screen.cell(row, *next).unwrap()) == look(cell);
            let end = (column..SIZE.0).take_while(same).last().unwrap() + 1;
            let text: String = (column..end).map(|place| shown(screen.cell(row, place).unwrap())).collect();
            run(&mut svg, (usize::from(column), usize::from(row)), look(cell), &text);
            column = end;
        }
    }
    svg.push_str("</g>\n</svg>\n");
    svg
}

/// Neighbours that look the same, as a rectangle where that is not the background, and words of exactly their width.
fn run(svg: &mut String, (column, row): (usize, usize), (colour, bold, inverse): (&str, bool, bool), text: &str) {
    let (x, y, width) = (MARGIN + column * CELL.0, MARGIN + row * CELL.1, text.chars().count() * CELL.0);
    if inverse {
        writeln!(svg, "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{}\" fill=\"{colour}\"/>", CELL.1).unwrap();
    }
    let fill = if inverse { BACKGROUND } else { colour };
    let weight = if bold { " font-weight=\"bold\"" } else { "" };
    let base = y + 13;
    // Word by word: what draws it may have another idea of blanks.
    let mut place = 0;
    for word in text.split_inclusive(' ') {
        let (at, length) = (x + place * CELL.0, word.trim_end().chars().count() * CELL.0);
        place += word.chars().count();
        if length > 0 {
            let word = escaped(word.trim_end());
            writeln!(
                svg,
                "<text x=\"{at}\" y=\"{base}\" textLength=\"{length}\" fill=\"{fill}\"{weight}>{word}</text>"
            )
            .unwrap();
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

fn shown(cell: &Cell) -> &str {
    if cell.has_contents() { cell.contents() } else { " " }
}

fn look(cell: &Cell) -> (&'static str, bool, bool) {
    let colour = match cell.fgcolor() {
        Color::Idx(1) => "#f47067",
        Color::Idx(2) => "#6bc46d",
        Color::Idx(3) => "#daaa3f",
        Color::Idx(6) => "#76e3ea",
        _ => FOREGROUND,
    };
    (colour, cell.bold(), cell.inverse())
}
