//! Results go to standard output, whole.

use std::io::{ErrorKind, Write};

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::retry_on_intr;
use tokio::sync::oneshot;

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

/// Completes when nobody reads any more: of a pipe whose reader is gone, nothing but that is told, poll(2).
pub(crate) async fn unread() {
    let (tell, told) = oneshot::channel();
    // A thread of its own: what standard output is may be nothing that a runtime can wait for.
    std::thread::spawn(move || {
        let stdout = std::io::stdout();
        let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
        let polled = retry_on_intr(|| poll(&mut fds, None));
        if polled.is_ok() && fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) {
            let _ = tell.send(()); // whoever waited may have ended
        }
    });
    if told.await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Prints the document of a route.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn print_json(document: &Document) -> Result<(), Failure> {
    print(&format!("{}\n", harmless_json(document.text.trim_end())))
}
