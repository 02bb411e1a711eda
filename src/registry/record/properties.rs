//! Whatever a registry may hold: nothing of it ends the reading.

use proptest::prelude::*;

use super::super::fields::KNOWN;
use super::super::metadata;
use super::*;

fn is_syntax(error: &InvalidDocument) -> bool {
    matches!(error, InvalidDocument::Syntax { .. })
}

/// JSON that looks like a registry, mostly wrong.
fn near_registry() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        3 => proptest::sample::select(&KNOWN[..]).prop_map(str::to_owned),
        1 => proptest::sample::select(&["agents", "data", "workers", "token", "é"][..]).prop_map(str::to_owned),
        1 => "\\PC{0,4}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0..100_i64).prop_map(Value::from),
        "[0-9T:.Zé+-]{0,30}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 8, move |inner| {
        let object = proptest::collection::vec((key.clone(), inner.clone()), 0..8);
        prop_oneof![
            proptest::collection::vec(inner, 0..8).prop_map(Value::from),
            object.prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_bytes_cause_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn no_text_causes_a_panic(text in "[\\[\\]{}\",:a-z0-9\\\\ \n.eu-]{0,200}") {
        let _ = parse(text.as_bytes());
    }

    #[test]
    fn what_is_read_keeps_its_bounds(value in near_registry()) {
        let text = serde_json::to_string_pretty(&value).unwrap();
        if let Ok(reading) = parse(text.as_bytes()) {
            let mut ids: Vec<_> = reading.records.iter().map(|record| record.id.clone()).collect();
            ids.sort();
            ids.dedup();
            prop_assert_eq!(ids.len(), reading.records.len());
            for record in reading.records.iter() {
                let words = [record.status.as_deref(), record.name.as_deref()];
                let bounded = |word: &&str| (1..=LIMIT_WORD_BYTES).contains(&word.len());
                let harmless = |word: &&str| !word.contains(char::is_control);
                prop_assert!(words.iter().flatten().all(|word| bounded(word) && harmless(word)));
                prop_assert!(record.metadata.as_str().len() <= metadata::LIMIT_BYTES);
                prop_assert!(JsonObject::parse(record.metadata.as_str()).is_ok());
            }
            prop_assert!(reading.skipped.iter().all(|note| !note.contains(char::is_control)));
        }
    }

    #[test]
    fn every_cut_of_what_is_read_is_an_error(value in near_registry(), at in any::<proptest::sample::Index>()) {
        let text = value.to_string();
        prop_assume!(text.starts_with(['[', '{']));
        let cut = parse(&text.as_bytes()[..at.index(text.len())]);
        prop_assert!(cut.is_err_and(|error| is_syntax(&error)));
    }
}
