//! Signals: the first SIGTERM or SIGINT asks for an orderly end, the second ends at once; SIGHUP asks for a reload.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{Stream, StreamExt};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook_tokio::Signals;

/// Completes at the first SIGTERM or SIGINT. Must be called within the runtime.
///
/// # Errors
/// When a handler cannot be installed.
pub(crate) fn shutdown() -> std::io::Result<impl Future<Output = ()> + Send> {
    first_of(&[SIGTERM, SIGINT])
}

/// The same for a command that has nothing to reload, and ends with its terminal.
///
/// # Errors
/// When a handler cannot be installed.
pub(crate) fn ended() -> std::io::Result<impl Future<Output = ()> + Send> {
    first_of(&[SIGTERM, SIGINT, SIGHUP])
}

/// Ends the program at once, and well, at the first of them: for a command that goes on until it is told to stop, and may just
/// then wait for whoever reads what it prints.
///
/// # Errors
/// When a handler cannot be installed.
pub(crate) fn end_well() -> std::io::Result<()> {
    let always = Arc::new(AtomicBool::new(true));
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register_conditional_shutdown(signal, 0, Arc::clone(&always))?;
    }
    Ok(())
}

/// Lets a file that may not grow any more be an error of whoever writes it, not the end of the program.
///
/// # Errors
/// When the handler cannot be installed.
pub(crate) fn survive_file_limits() -> std::io::Result<()> {
    signal_hook::flag::register(SIGXFSZ, Arc::default()).map(drop)
}

fn first_of(ends: &[i32]) -> std::io::Result<impl Future<Output = ()> + Send + use<>> {
    let asked = Arc::new(AtomicBool::new(false));
    for &signal in ends {
        // Installed before the stream below, so that it sees whether an earlier signal armed it.
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&asked))?;
    }
    let mut signals = Signals::new(ends)?;
    Ok(async move {
        if let Some(signal) = signals.next().await {
            asked.store(true, Ordering::SeqCst);
            tracing::info!(
                signal = signal_hook::low_level::signal_name(signal),
                "asked to stop; a second time ends at once"
            );
        }
    })
}

/// Gives something for each SIGHUP; for one, when several come while nobody looks. Must be called within the runtime.
///
/// # Errors
/// When a handler cannot be installed.
pub(crate) fn reloads() -> std::io::Result<impl Stream<Item = ()> + Unpin> {
    Ok(Signals::new([SIGHUP])?.map(drop))
}
