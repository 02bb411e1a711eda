//! What the service manager is told, sd_notify(3): that the daemon is ready, reloads, stops, and that it is alive.
//! Without `NOTIFY_SOCKET` all of this does nothing.

use std::path::PathBuf;
use std::time::Duration;

use agent_monitor::daemon::Handle;
use anyhow::anyhow;
use sd_notify::NotifyState;

use crate::client::answers;
use crate::environment::variable;
use crate::view::text::counted;

/// How often the words about the state are brought up to date without a watchdog.
const REGULARLY: Duration = Duration::from_secs(30);

/// How long the engine or the API may take to answer the watchdog.
const TIMEOUT: Duration = Duration::from_secs(5);

/// It is up, and can be asked.
pub(crate) fn ready(handle: &Handle) {
    tell(&[NotifyState::Ready, NotifyState::Status(&words(handle))]);
}

/// It takes another configuration; [`ready`] follows.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now, NotifyState::Status("reloading the configuration")]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// It stops.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// Tells for ever how the daemon is, and feeds the watchdog at half its interval: only while watching goes on and the
/// API answers. The disk has no part in it, since a restart would not mend it.
pub(crate) async fn keep_telling(handle: Handle, socket: PathBuf) {
    if variable("NOTIFY_SOCKET").is_none() {
        return std::future::pending().await;
    }
    let watchdog = sd_notify::watchdog_enabled();
    let mut moments = tokio::time::interval(watchdog.map_or(REGULARLY, |interval| interval / 2));
    moments.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let timeout = watchdog.map_or(TIMEOUT, |interval| TIMEOUT.min(interval / 2));
    let (mut told, mut well) = (String::new(), true);
    loop {
        moments.tick().await;
        let words = words(&handle);
        if words != told {
            tell(&[NotifyState::Status(&words)]);
            told = words;
        }
        if watchdog.is_none() {
            continue;
        }
        let alive = tokio::time::timeout(timeout, alive(&handle, &socket)).await;
        match alive.unwrap_or_else(|_| Err(anyhow!("no answer within {}s", timeout.as_secs_f32()))) {
            Ok(()) => {
                tell(&[NotifyState::Watchdog]);
                if !std::mem::replace(&mut well, true) {
                    tracing::info!("the watchdog is fed again");
                }
            }
            Err(error) => {
                if std::mem::replace(&mut well, false) {
                    tracing::error!(error = %format!("{error:#}"), "the watchdog is not fed");
                }
            }
        }
    }
}

/// Whether watching goes on and the API answers.
async fn alive(handle: &Handle, socket: &std::path::Path) -> Result<(), anyhow::Error> {
    handle.watching().await.map_err(anyhow::Error::msg)?;
    // A real request over the socket, whose permissions keep strangers from crowding us out.
    answers(socket).await
}

/// The state in a few words.
fn words(handle: &Handle) -> String {
    let now = handle.latest();
    let failing = now.own.sources.iter().filter(|source| source.error.is_some()).count();
    let mut words = format!("watching {}", counted(now.agents.len() as u64, "agent"));
    for (count, what, does) in [(now.alerts.len(), "alert", "firing"), (failing, "registry source", "failing")] {
        if count > 0 {
            words.push_str(&format!(", {} {does}", counted(count as u64, what)));
        }
    }
    words
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "cannot notify the service manager");
    }
}
