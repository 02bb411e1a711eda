//! Where text for people goes: how wide it is there, whether colour may be used, and how times are told.

use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::time::Duration;

use agent_monitor::clock::{Clock, SystemClock};
use agent_monitor::model::Timestamp;
use rustix::termios::tcgetwinsize;
use serde_json::Value;

use super::text::shown;
use crate::environment::variable;

/// The narrowest a text is made to be, cells.
const LEAST: usize = 20;

/// How text looks, where colour may be used.
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

/// How moments are told.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum, Debug)]
pub(crate) enum Times {
    /// How long ago they were
    Ages,
    /// As RFC 3339, in UTC
    Utc,
}

/// Where text goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Screen {
    pub(crate) colour: Colour,
    /// Cells of a line; none where nobody looks, and nothing may be left out.
    pub(crate) width: Option<usize>,
    /// What ages are counted back from; none where times are told as they are.
    now: Option<Timestamp>,
}

impl Screen {
    /// Standard output. In a pipe times are told as they are, unless ages are wanted.
    pub(crate) fn of_stdout(times: Option<Times>) -> Screen {
        Screen::of(&std::io::stdout(), times)
    }

    pub(crate) fn of_stderr() -> Screen {
        Screen::of(&std::io::stderr(), None)
    }

    fn of(stream: &(impl IsTerminal + AsFd), times: Option<Times>) -> Screen {
        let is_terminal = stream.is_terminal();
        // A line of a serial console says that it has no width.
        let size = || tcgetwinsize(stream).ok().map(|size| usize::from(size.ws_col)).filter(|width| *width > 0);
        let times = times.unwrap_or(if is_terminal { Times::Ages } else { Times::Utc });
        Screen {
            colour: Colour::of(stream),
            width: if is_terminal { size() } else { None },
            now: (times == Times::Ages).then(|| SystemClock.now().wall),
        }
    }

    /// A part of a screen of somebody who draws it.
    pub(crate) fn part(colour: Colour, width: usize, now: Timestamp) -> Screen {
        Screen { colour, width: Some(width), now: Some(now) }
    }

    /// A screen without colour.
    #[cfg(test)]
    pub(crate) fn plain(width: usize, now: Timestamp) -> Screen {
        Screen::part(Colour(false), width, now)
    }

    /// Where nobody looks.
    #[cfg(test)]
    pub(crate) fn pipe() -> Screen {
        Screen { colour: Colour(false), width: None, now: None }
    }

    /// What is left of a line beside so many cells, and never less than a text can be read in.
    pub(crate) fn room(self, beside: usize) -> usize {
        self.width.map_or(usize::MAX, |width| width.saturating_sub(beside).max(LEAST))
    }

    pub(crate) fn paint(self, look: Look, text: &str) -> String {
        self.colour.paint(look, text)
    }

    /// A moment, such as `3m 2s ago`.
    pub(crate) fn moment(self, at: &Value) -> String {
        match self.age(at) {
            Some(age) => format!("{} ago", rough(age)),
            None => shown(at),
        }
    }

    /// How long ago it was, where that is wanted.
    fn age(self, at: &Value) -> Option<Duration> {
        Some(self.now?.since(Timestamp::parse(at.as_str()?).ok()?))
    }
}

/// From one moment to another, if both are known.
pub(crate) fn between(from: &Value, to: &Value) -> Option<Duration> {
    let time = |value: &Value| Timestamp::parse(value.as_str()?).ok();
    Some(time(to)?.since(time(from)?))
}

/// In the two largest units that matter, such as `3h 5m`.
pub(crate) fn rough(span: Duration) -> String {
    let s = span.as_secs();
    match (s / 86_400, s / 3_600 % 24, s / 60 % 60, s % 60) {
        (0, 0, 0, s) => format!("{s}s"),
        (0, 0, m, s) => format!("{m}m {s}s"),
        (0, h, m, _) => format!("{h}h {m}m"),
        (d, h, _, _) => format!("{d}d {h}h"),
    }
}

/// In the largest unit that keeps it readable, such as `1.5 GiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let unit = (0..UNITS.len()).rfind(|unit| count >> (10 * unit) > 0).unwrap_or(0);
    if unit == 0 {
        return format!("{count} B");
    }
    // Tenths, without losing what a float cannot hold.
    let tenths = (u128::from(count) * 10) >> (10 * unit);
    if tenths < 100 {
        format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
    } else {
        format!("{} {}", tenths / 10, UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn spans_are_rough() {
        for (seconds, expected) in
            [(0, "0s"), (59, "59s"), (61, "1m 1s"), (3_661, "1h 1m"), (90_061, "1d 1h"), (8_640_000, "100d 0h")]
        {
            assert_eq!(rough(Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn sizes_are_rough() {
        for (count, expected) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (123_456, "120 KiB"),
            (5 << 20, "5.0 MiB"),
            (1_610_612_736, "1.5 GiB"),
            (u64::MAX, "16777215 TiB"),
        ] {
            assert_eq!(bytes(count), expected);
        }
    }

    #[test]
    fn moments_are_ages_or_as_they_are() {
        let (at, later) = (json!("2026-01-01T00:00:00.000Z"), Timestamp::from_unix_ms(1_767_225_723_000));
        assert_eq!(Screen::plain(80, later).moment(&at), "2m 3s ago");
        assert_eq!(Screen::pipe().moment(&at), "2026-01-01T00:00:00.000Z");
        assert_eq!(Screen::plain(80, later).moment(&json!("\u{1b}")), "\u{fffd}", "no time is told as it is");
        assert_eq!(Screen::plain(80, later).moment(&Value::Null), super::super::text::UNKNOWN);
        assert_eq!(between(&at, &json!("2026-01-01T00:01:00Z")), Some(Duration::from_secs(60)));
        assert_eq!(between(&at, &Value::Null), None);
    }
}
