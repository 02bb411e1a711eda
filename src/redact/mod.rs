//! Takes secrets out of what is told to us, before it is stored or shown: by the names of keys, by the words before a
//! value, and by the shapes of well-known tokens. Pure.
//!
//! It is a net, not a wall: a password in the middle of a sentence cannot be told from a word. What it must not do is eat
//! the sentence.

mod keys;
mod shapes;
#[cfg(test)]
mod tests;
mod text;

use std::borrow::Cow;

use serde_json::{Map, Value};

pub use text::redact as text;

/// What stands in the place of a secret.
pub const REDACTED: &str = "[redacted]";

/// Replaces the values of keys that look secret, at every depth, which the parser bounds.
pub fn values(object: &mut Map<String, Value>) {
    each(object, &mut |_| ());
}

/// The same, and takes secrets out of all texts.
pub fn object(object: &mut Map<String, Value>) {
    each(object, &mut |string| {
        if let Cow::Owned(clean) = text(string) {
            *string = clean;
        }
    });
}

fn each(object: &mut Map<String, Value>, clean: &mut dyn FnMut(&mut String)) {
    for (key, value) in object {
        if keys::hides(key, value) {
            *value = Value::from(REDACTED);
        } else {
            inside(value, clean);
        }
    }
}

fn inside(value: &mut Value, clean: &mut dyn FnMut(&mut String)) {
    match value {
        Value::Object(object) => each(object, clean),
        Value::Array(items) => items.iter_mut().for_each(|item| inside(item, clean)),
        Value::String(string) => clean(string),
        _ => {}
    }
}
