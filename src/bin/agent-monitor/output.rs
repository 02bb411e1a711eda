//! Results go to standard output, whole.

use std::io::{ErrorKind, Write};

use anyhow::Context;

use crate::client::Document;
use crate::failure::Failure;
use crate::table::harmless_json;

/// Prints a result. A reader that has had enough, such as `head`, is no failure.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written.context("cannot write to standard output")?),
    }
}

/// Prints the document of a route.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn print_json(document: &Document) -> Result<(), Failure> {
    print(&format!("{}\n", harmless_json(document.text.trim_end())))
}
