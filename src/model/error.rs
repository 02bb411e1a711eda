//! Errors as text.

use std::error::Error;
use std::fmt::Write;
use std::sync::Arc;

/// An error with all its causes, in one line: `cannot use /run/agents.json: line 7, column 3: not UTF-8`.
pub fn in_one_line(error: &dyn Error) -> Arc<str> {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text.into()
}
