//! Every view of documents that a real daemon gave (a demo, and somebody who tells of a hostile id, type and message), as wide as
//! a good terminal, as a narrow one, and in a pipe.

use agent_monitor::model::Timestamp;
use serde_json::Value;

use super::screen::{Colour, Screen};
use super::text::width;
use crate::{agent, lists, status};

fn real() -> Value {
    serde_json::from_str(include_str!("real.json")).unwrap()
}

/// Each view by its name, on a screen.
fn views(real: &Value, screen: Screen) -> Vec<(&'static str, String)> {
    let items = |name: &str| lists::items(&real[name]);
    let of = |list: &str, id: &str| -> Vec<Value> {
        items(list).iter().filter(|item| item["agent_id"] == id).cloned().collect()
    };
    let firing: Vec<Value> = of("alerts", "crashing").into_iter().filter(|alert| alert["state"] == "firing").collect();
    let mut crashing = real["agent"].clone();
    agent::put_host_beside_ends(&mut crashing);
    vec![
        ("status", status::screenful(&real["status"], &real["dashboard"], screen)),
        ("agent", agent::page(&crashing, &firing, Some(&of("error-groups", "crashing")), screen)),
        ("events", lists::event_lines(items("events"), screen)),
        ("errors", lists::problems_and_errors(items("error-groups"), items("errors"), screen)),
        ("alerts", lists::alert_lines(items("alerts"), screen)),
    ]
}

/// When the documents were asked for.
fn then(real: &Value) -> Timestamp {
    Timestamp::parse(real["status"]["generatedAt"].as_str().unwrap()).unwrap()
}

#[test]
fn wide_narrow_and_in_a_pipe() {
    let real = real();
    let screens =
        [("100", Screen::plain(100, then(&real))), ("60", Screen::plain(60, then(&real))), ("pipe", Screen::pipe())];
    for (size, screen) in screens {
        for (view, text) in views(&real, screen) {
            insta::assert_snapshot!(format!("{view}-{size}"), text);
        }
    }
}

#[test]
fn nothing_is_wider_than_the_screen_or_steers_it() {
    let real = real();
    for size in [40, 60, 80, 100, 200] {
        let painted = Screen::part(Colour(true), size, then(&real));
        for (view, text) in views(&real, Screen::plain(size, then(&real))) {
            for line in text.lines() {
                // Tables keep what makes them readable, whatever the width.
                assert!(width(line) <= size || size < 60, "{view} at {size}: {line:?}");
            }
        }
        for (view, text) in views(&real, painted) {
            let steering = |c: char| {
                c.is_control() && c != '\n' && c != '\u{1b}' || matches!(c, '\u{202e}' | '\u{200b}' | '\u{200d}')
            };
            assert!(!text.contains(steering), "{view}: {text:?}");
            // Only what we paint ourselves.
            for escape in text.split('\u{1b}').skip(1) {
                let ours = ["[0m", "[1m", "[31m", "[32m", "[33m"].iter().any(|code| escape.starts_with(code));
                assert!(ours, "{view}: {escape:?}");
            }
            let bare = ["[0m", "[1m", "[31m", "[32m", "[33m"]
                .iter()
                .fold(text, |text, code| text.replace(&format!("\u{1b}{code}"), ""));
            let plain = views(&real, Screen::plain(size, then(&real))).into_iter().find(|(name, _)| *name == view);
            assert_eq!(Some((view, bare)), plain, "colour changes nothing but colour");
        }
    }
}

#[test]
fn a_script_finds_everything_in_a_pipe() {
    let real = real();
    let views = views(&real, Screen::pipe());
    let text = |name: &str| &views.iter().find(|(view, _)| *view == name).unwrap().1;
    for event in lists::items(&real["events"]) {
        let (at, message) = (event["timestamp"].as_str().unwrap(), event["message"].as_str().unwrap());
        let found =
            text("events").lines().any(|line| line.starts_with(at) && line.ends_with(&super::text::printable(message)));
        assert!(found, "{event}: {}", text("events"));
    }
    for group in lists::items(&real["error-groups"]) {
        let fingerprint = group["fingerprint"].as_str().unwrap();
        assert!(text("errors").lines().any(|line| line.starts_with(fingerprint)), "{fingerprint}: {}", text("errors"));
    }
    assert!(!views.iter().any(|(_, text)| text.contains(" ago") || text.contains('…')));
}
