//! Those who listen, and come back when they were let go.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use serde_json::Value;

use crate::Over;
use crate::harness::{Deadline, Place, pace};
use crate::line::Line;

/// What one of them heard.
#[derive(Default)]
pub(crate) struct Heard {
    /// Lines of the journal.
    lines: u64,
    /// The first one and the last one.
    first: i64,
    last: i64,
    /// Lines that did not come, from and to.
    missed: Vec<(i64, i64)>,
    /// Lines of which it was told that they do not come.
    gaps: Vec<(i64, i64)>,
    /// How often it came back.
    returns: u64,
}

/// Listens until the last line comes, or long has not come after all is over.
pub(crate) fn listen(address: SocketAddr, over: &Over) -> Heard {
    let (mut heard, mut deadline) = (Heard::default(), None);
    loop {
        if over.load(Ordering::Relaxed) && deadline.get_or_insert_with(Deadline::new).is_over() {
            return heard;
        }
        match open(address, heard.last) {
            None => pace(),
            Some(lines) => {
                if hear(lines, &mut heard, over) {
                    return heard;
                }
                heard.returns += 1;
            }
        }
    }
}

fn open(address: SocketAddr, last: i64) -> Option<impl Iterator<Item = String>> {
    let mut line = Line::dial_tcp(address)?;
    let after = if last > 0 { format!("Last-Event-ID: {last}\r\n") } else { String::new() };
    line.say(&format!("GET /api/monitoring/stream HTTP/1.0\r\nHost: localhost\r\n{after}\r\n"))?;
    let mut lines = line.lines();
    // Its former seat may not be free yet.
    lines.next()?.contains(" 200 ").then_some(lines)
}

/// Whether that was the last line. What counts is a message that came to its empty line.
fn hear(lines: impl Iterator<Item = String>, heard: &mut Heard, over: &Over) -> bool {
    let (mut id, mut is_gap, mut data) = (None, false, String::new());
    let mut deadline = None;
    for line in lines {
        if over.load(Ordering::Relaxed) && deadline.get_or_insert_with(Deadline::new).is_over() {
            return false;
        }
        if let Some(number) = line.strip_prefix("id: ") {
            id = Some(number.parse::<i64>().unwrap());
        } else if line == "event: gap" {
            is_gap = true;
        } else if let Some(text) = line.strip_prefix("data: ") {
            text.clone_into(&mut data);
        } else if line.is_empty() {
            if std::mem::take(&mut is_gap) {
                let gap: Value = serde_json::from_str(&data).unwrap();
                heard.gaps.push((gap["from"].as_i64().unwrap(), gap["to"].as_i64().unwrap()));
            }
            if let Some(id) = id.take() {
                heard.take(id);
                if data.contains("\"the last one\"") {
                    return true;
                }
            }
        }
    }
    false
}

impl Heard {
    fn take(&mut self, id: i64) {
        if self.lines == 0 {
            self.first = id;
        } else {
            assert!(id > self.last, "{id} comes after {}", self.last);
            if id > self.last + 1 {
                self.missed.push((self.last + 1, id - 1));
            }
        }
        self.lines += 1;
        self.last = id;
    }
}

/// Everyone has every line of the journal from its first one on, but for those of which it was told.
pub(crate) fn judge(all: &[Heard], place: &Place, last: i64) {
    let (mut lines, mut told, mut returns) = (0, 0, 0);
    for heard in all {
        assert_eq!(heard.last, last);
        for (from, to) in &heard.missed {
            let is_told = heard.gaps.iter().any(|(start, end)| start <= from && to <= end);
            let stored = || place.count(&format!("select count(*) from journal where id between {from} and {to}"));
            assert!(is_told || stored() == 0, "{from} to {to} did not come, and nobody said so: {:?}", heard.gaps);
            told += if is_told { to - from + 1 } else { 0 };
        }
        lines += heard.lines;
        returns += heard.returns;
    }
    let first = all.iter().map(|heard| heard.first).max().unwrap();
    println!(
        "{} streams heard {lines} lines, each from {first} at the latest to {last}; {told} were told as gaps; \
         they came back {returns} times",
        all.len()
    );
}
