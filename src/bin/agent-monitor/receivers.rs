//! `alerts --test`: one message through every receiver, without a daemon.

use std::fmt::Write;

use agent_monitor::clock::{Clock, SystemClock};
use agent_monitor::config::Receiver;
use agent_monitor::daemon::host_name;
use agent_monitor::model::in_one_line;
use agent_monitor::notify::{Notification, Notifier, Origin, Outcome};
use anyhow::anyhow;

use crate::configuration::ConfigOptions;
use crate::failure::Failure;
use crate::output::print;
use crate::runtime;
use crate::view::text::printable;

/// Tells every receiver of the configuration that this is a test, and what came back. It is asked from here, with the
/// rights of whoever asks, so that it can be tried before a daemon runs.
///
/// # Errors
/// When one of them does not take it, or there is none.
pub(crate) fn test(options: &ConfigOptions) -> Result<(), Failure> {
    let config = options.read()?;
    let receivers = config.alerts.receivers;
    if receivers.is_empty() {
        return Err(anyhow!("no receiver is configured: there is no [[alerts.notify]]").into());
    }
    let origin = Origin { url: format!("http://{}/", config.api.listen), instance: host_name() };
    let runtime = runtime()?;
    let mut failed = 0;
    for receiver in receivers {
        let name = Notifier::name(&receiver);
        let outcome = runtime.block_on(tell(receiver, &origin));
        failed += usize::from(outcome.is_err());
        let (Ok(came_back) | Err(came_back)) = &outcome;
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        let mut line = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(line, "{word:6}  {}: {}", printable(&name), printable(came_back));
        print(&line)?;
    }
    runtime.shutdown_background();
    match failed {
        0 => Ok(()),
        1 => Err(anyhow!("one receiver did not take the message").into()),
        more => Err(anyhow!("{more} receivers did not take the message").into()),
    }
}

/// What came back.
async fn tell(receiver: Receiver, origin: &Origin) -> Result<String, String> {
    let notifier = Notifier::new(receiver, origin.clone()).map_err(|error| in_one_line(&error).to_string())?;
    let now = SystemClock.now();
    let answer = notifier.tell(&Notification::test(now.wall), now.wall).await;
    let took = SystemClock.now().mono.since(now.mono).as_millis();
    match answer {
        Outcome::Taken(status) => Ok(format!("{status} after {took} ms")),
        Outcome::Refused(reason) => Err(format!("{reason}; it would not be tried again")),
        Outcome::Failed { reason, .. } => Err(format!("{reason}; it would be tried again")),
    }
}
