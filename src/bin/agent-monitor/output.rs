//! Results go to standard output, whole.

use std::io::{ErrorKind, Write};

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::client::Document;
use crate::failure::Failure;
use crate::view::text::harmless_json;

/// Prints a result. A reader that has had enough, such as `head`, is no failure.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    print_more(text).map(drop)
}

/// Prints a part of a result; false when nobody reads any more.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn print_more(text: &str) -> Result<bool, Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        written => Ok(written.map(|()| true).context("cannot write to standard output")?),
    }
}

/// Whether anybody still reads: of a pipe whose reader is gone, nothing but that is told, poll(2).
pub(crate) fn is_read() -> bool {
    let stdout = std::io::stdout();
    let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
    let gone = poll(&mut fds, Some(&Timespec::default())).is_ok() && fds[0].revents().contains(PollFlags::ERR);
    !gone
}

/// Prints the document of a route.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn print_json(document: &Document) -> Result<(), Failure> {
    print(&format!("{}\n", harmless_json(document.text.trim_end())))
}
