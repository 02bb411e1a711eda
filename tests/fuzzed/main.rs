//! What the fuzzers in `fuzz/` hold any input to, held to the inputs that they begin with, to those in which they found
//! something, and to a few thousand that are made of these by chance, the same each time.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::Path;

use agent_monitor::model;

#[path = "../../fuzz/checks/mod.rs"]
mod checks;

/// Numbers by chance: SplitMix64 (Steele, Lea, Flood 2014).
struct Chance(u64);

impl Chance {
    fn below(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(below.max(1)).unwrap()).unwrap()
    }
}

/// Makes another input of one: bytes are changed, taken out, put in twice, or come from another.
fn changed(input: &[u8], other: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=chance.below(4) {
        let from = chance.below(bytes.len() + 1);
        let to = (from + chance.below(12)).min(bytes.len());
        match chance.below(5) {
            0 if from < to => bytes[from] = [0, b'"', b'\\', b'{', b'9', 0x7f, 0xc3, 0xff][chance.below(8)],
            1 => drop(bytes.drain(from..to)),
            2 => {
                let part = bytes[from..to].to_vec();
                bytes.splice(from..from, part);
            }
            3 => {
                let (first, length) = (chance.below(other.len()), chance.below(20));
                let part = other[first..].iter().copied().take(length).collect::<Vec<u8>>();
                bytes.splice(from..to, part);
            }
            _ => bytes.truncate(from),
        }
    }
    bytes
}

/// Tries each input of a fuzzer, and so many that are made of them.
fn all_of(name: &str, check: fn(&[u8]), more: usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name);
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let inputs: Vec<Vec<u8>> = paths.iter().map(|path| std::fs::read(path).unwrap()).collect();
    assert!(inputs.len() > 2, "there are inputs of {name}");
    inputs.iter().for_each(|input| check(input));
    let mut chance = Chance(7);
    for _ in 0..more {
        let (one, other) = (&inputs[chance.below(inputs.len())], &inputs[chance.below(inputs.len())]);
        check(&changed(one, other, &mut chance));
    }
}

#[test]
fn any_registry_keeps_its_bounds() {
    all_of("registry", checks::registry, 3_000);
}

#[test]
fn any_stat_is_read_whatever_the_name() {
    all_of("stat", checks::stat, 3_000);
}

#[test]
fn any_configuration_is_refused_or_says_the_same_again() {
    all_of("config", checks::config, 1_000);
}

#[test]
fn any_body_is_answered() {
    all_of("bodies", checks::bodies, 500);
}

#[test]
fn any_question_is_answered() {
    all_of("questions", checks::questions, 500);
}

#[test]
fn any_head_is_answered_and_only_our_names_are_let_in() {
    all_of("heads", checks::heads, 500);
}

#[test]
fn any_error_has_a_fingerprint_without_its_numbers() {
    all_of("fingerprint", checks::fingerprint, 2_000);
}

#[test]
fn no_token_is_left_in_any_text() {
    all_of("redact", checks::redact, 2_000);
}
