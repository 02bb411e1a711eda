//! `top` in a terminal.

use rustix::process::Signal;

use crate::harness::*;
use crate::terminal::Terminal;

fn daemon() -> Daemon {
    let place = Place::new("");
    place.write("agents.json", &us("xyzzy"));
    place.configure(&config(&file_source(&place.path("agents.json"))));
    let daemon = place.start();
    daemon.until("it has read its registry", |own| own["agents"] == 1 && own["status"] == "ready");
    daemon
}

#[test]
fn keys_sizes_and_the_way_out() {
    let daemon = daemon();
    let mut terminal = Terminal::start(&daemon.place, (120, 24), &["top"]);
    terminal.until("it does not take the screen", vt100::Screen::alternate_screen);
    terminal.shows("xyzzy");
    assert!(!terminal.is_as_it_was(), "keys come one by one");
    terminal.press("/zzz");
    terminal.shows("filter: zzz");
    terminal.hides("xyzzy");
    terminal.press("\u{1b}");
    terminal.shows("xyzzy");
    terminal.press("\r");
    terminal.shows("xyzzy is working");
    for size in [(1, 1), (300, 1), (1, 100), (15, 3)] {
        terminal.resize(size);
        // Too small for anything else: as much of that as there is room for.
        terminal.until("it is not redrawn", |screen| {
            "too small".starts_with(screen.contents().trim_end()) && screen.contents().starts_with('t')
        });
    }
    terminal.resize((90, 30));
    terminal.shows("xyzzy is working");
    terminal.shows("Esc back");
    terminal.press("q");
    terminal.ends();
    daemon.stop();
}

#[test]
fn a_signal_and_control_c_give_the_terminal_back() {
    let daemon = daemon();
    for signal in [Some(Signal::TERM), Some(Signal::HUP), Some(Signal::INT), None] {
        let mut terminal = Terminal::start(&daemon.place, (80, 24), &["top"]);
        terminal.shows("xyzzy");
        match signal {
            Some(signal) => terminal.signal(signal),
            None => terminal.press("\u{3}"),
        }
        terminal.ends();
    }
    daemon.stop();
}

#[test]
fn a_daemon_that_goes_and_comes_back_is_told_and_the_old_numbers_stay() {
    let mut daemon = daemon();
    let mut terminal = Terminal::start(&daemon.place, (80, 24), &["top"]);
    terminal.shows("1 agent");
    daemon.signal(Signal::KILL);
    daemon.wait();
    terminal.shows("no answer, what is below is old");
    terminal.shows("xyzzy");
    // Keys go on meanwhile.
    terminal.press("r");
    terminal.shows("name, reversed");
    let place = std::mem::replace(&mut daemon.place, Place::new(""));
    place.write("agents.json", &us("plugh"));
    let daemon = place.start();
    terminal.shows("plugh");
    terminal.hides("no answer");
    terminal.press("q");
    terminal.ends();
    daemon.stop();
}

#[test]
fn without_a_terminal_it_is_status() {
    let daemon = daemon();
    let told = daemon.place.told(&["top"]);
    assert!(told.starts_with("✓ all is well") && told.contains("xyzzy") && !told.contains('\u{1b}'), "{told}");
    let none = Place::new("").output(&["top", "--url", "http://127.0.0.1:1/"]);
    assert_eq!(none.status.code(), Some(69));
    daemon.stop();
}

/// A screen of text has the width and the colours of its terminal, and neither where somebody wants none.
#[test]
fn status_in_a_terminal() {
    let daemon = daemon();
    for width in [60, 100] {
        let mut terminal = Terminal::start(&daemon.place, (width, 50), &["status"]);
        assert!(terminal.ended().success());
        terminal.shows("database");
        let written = terminal.written();
        assert!(written.contains("\u{1b}[32m") && written.contains(" ago"), "{written:?}");
        let wrapped = terminal.screen().rows_formatted(0, width).count();
        assert!((0..wrapped).all(|row| !terminal.screen().row_wrapped(u16::try_from(row).unwrap())), "{written}");
    }
    let mut bare = Terminal::start(&daemon.place, (80, 50), &["status", "--times", "utc"]);
    assert!(bare.ended().success());
    bare.shows("database");
    assert!(!bare.written().contains(" ago"), "{}", bare.written());
    daemon.stop();
}
