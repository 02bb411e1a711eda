//! What holds for any text, and for any configuration.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use agent_monitor::config::{LogLevel, MatchBy, Source, format_duration, format_size, parse_duration, parse_size};
use proptest::prelude::*;

use super::{good, parse, switched_on};

/// Text with whatever TOML has to escape.
fn any_text() -> impl Strategy<Value = String> {
    "[a-z\\PC \"'\\\\#=\\[\\]\\n\\t\u{7f}\u{1b}]{1,20}"
}

fn any_path() -> impl Strategy<Value = PathBuf> {
    any_text().prop_map(|text| PathBuf::from(format!("/{text}")))
}

fn any_duration(from_s: u64, to_s: u64) -> impl Strategy<Value = Duration> {
    prop_oneof![
        (from_s..=to_s).prop_map(Duration::from_secs),
        (from_s * 1_000..=to_s * 1_000).prop_map(Duration::from_millis),
    ]
}

fn any_source() -> impl Strategy<Value = Source> {
    let name = "[a-zé*\"' ]{1,20}";
    prop_oneof![
        any_path().prop_map(|path| Source::File { path }),
        ("https?://[a-z]{1,9}/[a-z?&=%\"']{0,9}", prop::option::of(any_path()), any_duration(1, 300))
            .prop_map(|(url, token_file, timeout)| Source::Http { url, token_file, timeout }),
        (name, any_text())
            .prop_map(|(agent, text)| { Source::Match { agent, by: MatchBy::Program(text.replace('/', "|")) } }),
        (name, "[a-z.*\"'^$ ]{1,9}").prop_map(|(agent, text)| Source::Match {
            agent,
            by: MatchBy::CommandLine(format!("x{text}").replace("**", ""))
        }),
    ]
}

prop_compose! {
    fn any_rule_text()(
        name in "[a-c]|high_cpu|agent_down|crash_loop",
        limit in 0.001..1e12f64, gap in 0.0..1.0f64, above in any::<bool>(),
        hold in any_duration(0, 86_400), repeat in any_duration(60, 86_400), enabled in any::<bool>(),
        agents in prop::collection::btree_set("[a-z*]{1,5}", 0..3),
    ) -> (String, String) {
        let mut text = format!("[[alerts.rule]]\nname = '{name}'\nfor = '{}'\nrepeat = '{}'\nenabled = {enabled}\n",
            format_duration(hold), format_duration(repeat));
        if name.len() == 1 || name == "high_cpu" {
            let (side, clear) = if above { ("above", limit * gap) } else { ("below", limit + gap) };
            text += &format!("metric = 'read_bytes'\n{side} = {limit:?}\nclear = {clear:?}\n");
        }
        let agents = Vec::from_iter(agents);
        if !agents.is_empty() {
            text += &format!("agents = {agents:?}\n");
        }
        (format!("{name} {agents:?}"), text)
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}|(?s).{0,200}") {
        if let Err(errors) = parse(&text) {
            prop_assert!(!errors.to_string().is_empty());
        }
    }

    /// Pieces of a good file in the wrong places, cut anywhere, reach further than noise.
    #[test]
    fn no_mangled_file_makes_it_panic(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0..40usize, "[\\PC\"'\\[\\]{}=\\n]{0,3}"), 1..5),
    ) {
        let mut chars: Vec<char> = switched_on().chars().collect();
        for (at, length, put) in cuts {
            let at = at.index(chars.len());
            let end = (at + length).min(chars.len());
            chars.splice(at..end, put.chars());
        }
        if let Err(errors) = parse(&chars.into_iter().collect::<String>()) {
            prop_assert!(errors.to_string().lines().count() >= 2);
        }
    }

    #[test]
    fn durations_are_read_as_written(seconds in 0..100_000_000_000u64, nanos in 0..1_000_000_000u32) {
        for duration in [Duration::new(seconds, nanos), Duration::new(seconds, 0), Duration::new(0, nanos)] {
            prop_assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
        }
    }

    #[test]
    fn sizes_are_read_as_written(bytes: u64, shift in 0..50u32) {
        for bytes in [bytes, bytes >> shift << shift, (bytes >> 30) * 1_000_000] {
            prop_assert_eq!(parse_size(&format_size(bytes)), Some(bytes));
        }
    }

    #[test]
    fn no_text_is_a_unit_that_panics(text in "[0-9]{0,25} ?[a-zA-ZµäM.]{0,4}|\\PC{0,9}") {
        let _ = (parse_duration(&text), parse_size(&text));
    }

    /// What `to_toml` writes is the same configuration.
    #[test]
    fn what_is_in_force_is_read_as_written(
        sources in prop::collection::vec(any_source(), 0..4),
        rules in prop::collection::vec(any_rule_text(), 0..6),
        paths in prop::collection::vec(prop::option::of(any_path()), 4),
        socket in any_path(), directory in any_path(), mode in 0..=0o777u32,
        interval in any_duration(1, 3_600), refresh in any_duration(1, 3_600), retention in any_duration(3_600, 1 << 31),
        size in (16u64 << 20)..=(256 << 40), port: u16, level in 0..5usize,
    ) {
        let mut seen = BTreeSet::new();
        let rules: String = rules.into_iter().filter(|(key, _)| seen.insert(key.clone())).map(|(_, text)| text).collect();
        let mut config = good(&rules);
        config.registry.sources = sources;
        config.registry.refresh = refresh;
        config.registry.stale_after = refresh * 2;
        config.sampling.interval = interval;
        config.storage.directory = directory;
        config.storage.retention = retention;
        config.storage.rollup_retention = retention;
        config.storage.max_size_bytes = size;
        config.api.listen.set_port(port);
        config.ingest.socket = socket;
        config.ingest.mode = mode;
        config.log.level = [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace][level];
        let [messages, token, log, _] = paths.try_into().expect("four");
        config.messages.database = messages;
        config.api.token_file = token;
        config.log.directory = log;
        let text = config.to_toml();
        prop_assert_eq!(parse(&text).map_err(|errors| format!("{errors}\n{text}")), Ok(config));
    }
}
