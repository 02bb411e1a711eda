//! What occurrences of the same problem have in common. Pure, and the same on every host.
//!
//! An error is told again and again with other numbers, paths and ids in it, from other directories and other versions of
//! the same source. What stays is the agent, the type, the words of the message, and where it came up: the innermost
//! functions of the program itself. Those are hashed; whatever varies is taken out before.

mod frames;
mod words;

use std::fmt::Write;

use crate::model::{AgentId, ErrorReport};

/// The rule below. Another one would give every problem a second group.
const VERSION: &str = "1";

/// The innermost frames that tell one place from another. More would tell apart the ways that lead there.
const FRAMES: usize = 3;

/// The fingerprint of an error: 32 hex digits.
///
/// ```
/// use agent_monitor::fingerprint::of;
///
/// let first = of("coder", "Timeout", "no answer from 10.0.0.7:443 after 30 s", None);
/// assert_eq!(first, of("coder", "Timeout", "no answer from 10.0.0.9:8443 after 45 s", None));
/// assert_ne!(first, of("coder", "Timeout", "no answer from the database", None));
/// ```
pub fn of(agent: &str, error_type: &str, message: &str, stack: Option<&str>) -> String {
    let mut hash = Fnv::new();
    for part in [VERSION, agent, error_type, &essence(message, stack)] {
        hash.add(part);
    }
    format!("{:032x}", hash.0)
}

/// Gives an error of an agent its fingerprint, unless the writer gave one.
pub fn complete(error: &mut ErrorReport, agent: &AgentId) {
    if error.fingerprint.is_none() {
        let fingerprint = of(agent.as_str(), &error.error_type, &error.message, error.stack.as_deref());
        error.fingerprint = Some(fingerprint.into());
    }
}

/// The words and frames that the fingerprint is over, as text.
fn essence(message: &str, stack: Option<&str>) -> String {
    let mut text = words::lasting(message);
    let Some(stack) = stack else { return text };
    let trace = frames::parse(stack);
    for cause in &trace.causes {
        let _ = write!(text, "\n^ {}", words::lasting(cause));
    }
    let frames = trace.innermost(FRAMES);
    if frames.is_empty() && text.is_empty() {
        // Not a stack of a language that we know: better than nothing.
        return words::lasting(stack);
    }
    for frame in frames {
        let _ = write!(text, "\n@ {frame}");
    }
    text
}

/// FNV-1a, 128 bits (RFC 9923): the hash need not withstand an enemy, since an agent can only mix up its own errors.
struct Fnv(u128);

impl Fnv {
    const fn new() -> Fnv {
        Fnv(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }

    /// Adds a text and its end.
    fn add(&mut self, text: &str) {
        for byte in text.bytes().chain([0xff]) {
            self.0 = (self.0 ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_one_that_is_published() {
        // RFC 9923, appendix C: "" and "foobar", here with the byte that ends a text taken back.
        let plain = |text: &str| {
            let mut hash = Fnv::new();
            for byte in text.bytes() {
                hash.0 = (hash.0 ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
            }
            hash.0
        };
        assert_eq!(plain(""), 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
        assert_eq!(plain("a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
        assert_eq!(plain("foobar"), 0x343e_1662_793c_64bf_6f0d_3597_ba44_6f18);
    }

    /// Fingerprints are kept for months: the rule must not change without its version.
    #[test]
    fn the_rule_stays() {
        let stack = "Error: x\n    at f (/srv/a.js:1:2)\n    at node:internal/main:1:1";
        assert_eq!(essence("no agent 7", Some(stack)), "no agent ~\n@ f a.js");
        assert_eq!(of("a", "Error", "no agent 7", Some(stack)), of("a", "Error", "no agent 8", Some(stack)));
        let fixed = of("a", "Error", "no agent 7", Some(stack));
        assert_eq!(fixed.len(), 32);
        for (agent, kind, message) in
            [("b", "Error", "no agent 7"), ("a", "E", "no agent 7"), ("a", "Error", "no task 7")]
        {
            assert_ne!(of(agent, kind, message, Some(stack)), fixed);
        }
        assert_ne!(of("ab", "c", "", None), of("a", "bc", "", None), "the parts are told apart");
    }
}
