//! The long-running readers of registries: one for each source, so that none waits for another.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::model::{AgentId, JsonObject, Pid, Record, StartGuard, in_one_line};
use crate::monitor::SourceReading;
use crate::registry::file::{FileRegistry, Fingerprint};
use crate::registry::http::HttpRegistry;
use crate::timers::back_off;

/// A changed file is noticed within this time.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The first wait after a failure over HTTP; each further failure doubles it.
const BACK_OFF_FIRST: Duration = Duration::from_secs(1);

/// The longest wait after a failure over HTTP.
const BACK_OFF_LAST: Duration = Duration::from_secs(60);

/// What came of reading a source: its list, or what went wrong, in one line.
pub type Reading = Result<SourceReading, Arc<str>>;

/// Reads a file or folder now, whenever it looks different, and every `refresh` in any case, until `stop` closes: the
/// body of a thread of its own, since a file system can be slow. One that hangs in the system cannot be stopped.
///
/// Every read is sent, good or bad: it is also the sign that the source was read. Nothing need ever be sent on `stop`;
/// what is sent makes it read at once.
pub fn poll_file(path: &Path, refresh: Duration, stop: &Receiver<()>, mut send: impl FnMut(Reading)) {
    let look_every = LOOK_EVERY.min(refresh).max(Duration::from_millis(1));
    let looks_per_refresh = refresh.as_nanos().div_ceil(look_every.as_nanos()).max(1);
    let mut looks_left = 0;
    let mut registry = FileRegistry::new(path.to_owned());
    let mut read = None;
    loop {
        // Before the read, so that a change during it is seen at the next look.
        let look = Fingerprint::of(path);
        if looks_left == 0 || read != Some(look) {
            send(registry.read().map_err(|error| in_one_line(&error)));
            read = Some(look);
            looks_left = looks_per_refresh;
        }
        match stop.recv_timeout(look_every) {
            Err(RecvTimeoutError::Timeout) => looks_left -= 1,
            Err(RecvTimeoutError::Disconnected) => return,
            Ok(()) => looks_left = 0,
        }
    }
}

/// A source behind a URL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpSource {
    /// `http` or `https`.
    pub url: String,
    /// A file with the token to send as Bearer, read each time.
    pub token_file: Option<PathBuf>,
    /// For the whole request.
    pub timeout: Duration,
}

/// Asks a URL now and every `refresh`; after a failure again after 1 s, doubling up to 60 s, moved by up to a fifth so
/// that many hosts do not ask at once (`seed` decides how). Ends at once when `stop` is cancelled, also amid a request.
///
/// Every answer or failure is sent; `send` must not wait.
pub async fn poll_http(
    source: HttpSource,
    refresh: Duration,
    seed: u64,
    stop: CancellationToken,
    mut send: impl FnMut(Reading),
) {
    let polling = async {
        let mut registry = None;
        let mut failures = 0;
        loop {
            let reading = match &registry {
                Some(registry) => HttpRegistry::read(registry).await,
                // Can fail for want of certificates, which an administrator may mend.
                None => match HttpRegistry::new(&source.url, source.token_file.clone(), source.timeout) {
                    Ok(new) => registry.insert(new).read().await,
                    Err(error) => Err(error),
                },
            };
            failures = if reading.is_ok() { 0 } else { failures + 1 };
            send(reading.map_err(|error| in_one_line(&error)));
            tokio::time::sleep(if failures == 0 {
                refresh
            } else {
                back_off(failures, BACK_OFF_FIRST, BACK_OFF_LAST, seed)
            })
            .await;
        }
    };
    stop.run_until_cancelled(polling).await;
}

/// Asks a URL once.
///
/// # Errors
/// What went wrong, in one line.
pub async fn read_http(source: &HttpSource) -> Reading {
    let registry = HttpRegistry::new(&source.url, source.token_file.clone(), source.timeout);
    let read = async { registry?.read().await };
    read.await.map_err(|error| in_one_line(&error))
}

/// What `--agent ID=PID` says, always: these agents, `online`, at these processes.
pub fn flags(agents: &[(AgentId, Pid)]) -> SourceReading {
    let record = |(agent, pid): &(AgentId, Pid)| Record {
        id: agent.clone(),
        name: None,
        pid: Some(*pid),
        pid_namespace: None,
        status: Some("online".into()),
        guard: StartGuard::default(),
        message_count: None,
        metadata: JsonObject::default(),
    };
    SourceReading { records: agents.iter().map(record).map(Arc::new).collect(), skipped: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_can_be_spawned() {
        fn spawnable(_: impl Future<Output = ()> + Send) {}
        let source = HttpSource { url: String::new(), token_file: None, timeout: Duration::ZERO };
        spawnable(poll_http(source, Duration::ZERO, 0, CancellationToken::new(), |_| ()));
    }

    #[test]
    fn a_flag_is_a_constant_claim() {
        let (agent, pid) = (AgentId::new("planner").unwrap(), Pid::new(42).unwrap());
        let reading = flags(&[(agent.clone(), pid)]);
        assert_eq!(reading.records.len(), 1);
        assert_eq!((&reading.records[0].id, reading.records[0].pid), (&agent, Some(pid)));
        assert_eq!(reading.records[0].status.as_deref(), Some("online"));
    }
}
