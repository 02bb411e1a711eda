use std::sync::mpsc::{SyncSender, sync_channel};

use tokio_util::sync::CancellationToken;

use super::RunError;
use crate::config::{Config, Source};
use crate::discovery::{self, HttpSource};
use crate::engine::Message;
use crate::monitor::Input;
use crate::supervise::{Failure, Parts};

/// Starts a part for each registry source.
pub(super) fn discover(
    parts: &mut Parts,
    config: &Config,
    inbox: &SyncSender<Message>,
    stop: &CancellationToken,
) -> Result<(), RunError> {
    let refresh = config.registry.refresh;
    let mut file_stops = Vec::new();
    for (index, source) in config.registry.sources.iter().enumerate() {
        let inbox = inbox.clone();
        match source {
            Source::File { path } => {
                let (file_stop, stopped) = sync_channel(0);
                file_stops.push(file_stop);
                let path = path.clone();
                parts.spawn_thread("registry", move || {
                    // The engine ends before this part only when everything ends.
                    let send = |input| drop(inbox.send(Message::Input(input)));
                    discovery::poll_file(index, &path, refresh, &stopped, send);
                    Ok::<(), Failure>(())
                })?;
            }
            Source::Http { url, token_file, timeout } => {
                let http = HttpSource { url: url.clone(), token_file: token_file.clone(), timeout: *timeout };
                let (stop, seed) = (stop.clone(), u64::from(std::process::id()) + index as u64);
                parts.spawn("registry", async move {
                    // What does not fit now comes again at the next refresh.
                    let send = |input| drop(inbox.try_send(Message::Input(input)));
                    discovery::poll_http(index, http, refresh, seed, stop, send).await;
                    Ok::<(), Failure>(())
                });
            }
            Source::Flags(agents) => {
                let reading = Ok(discovery::flags(agents));
                // The inbox is as good as empty: nothing runs yet.
                let _ = inbox.try_send(Message::Input(Input::Source { index, reading }));
            }
            Source::Match { .. } => {}
        }
    }
    let stop = stop.clone();
    parts.spawn("registry-stop", async move {
        stop.cancelled().await;
        drop(file_stops);
        Ok::<(), Failure>(())
    });
    Ok(())
}
