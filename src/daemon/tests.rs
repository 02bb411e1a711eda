//! The whole daemon on the portable source: as it is on systems that have none of their own.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::*;
use crate::config::{Directories, Overrides, Setting};
use crate::model::{AgentId, AgentView, MemoryMethod, Observed, Pid};
use crate::process::portable::PortableSource;

/// Long enough for the slowest machine; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Does not outlive its test.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn until(handle: &Handle, what: &str, seen: impl Fn(&AgentView) -> bool) -> AgentView {
    let mut updates = handle.subscribe();
    let waited = tokio::time::timeout(PATIENCE, async {
        loop {
            let now = handle.latest();
            if let Some(agent) = now.agents.iter().next().filter(|agent| seen(agent)) {
                return AgentView::clone(agent);
            }
            let _ = updates.recv().await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{what}: {:#?}", handle.latest()))
}

/// A shell that works, with a child that does as much, and ends at its cue with code 7.
#[tokio::test]
async fn an_agent_from_its_start_to_its_end() {
    let directory = tempfile::tempdir().unwrap();
    // It ends with the directory, whatever becomes of the test.
    let script = "(while [ -e here ]; do :; done) & read line; rm here; wait; exit 7";
    std::fs::write(directory.path().join("here"), "").unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).current_dir(directory.path()).stdin(Stdio::piped());
    let mut agent = Agent(shell.spawn().unwrap());
    let pid = Pid::new(agent.0.id().into()).unwrap();

    let directories = Directories { state: directory.path().join("state"), runtime: directory.path().to_owned() };
    let mut config = Config::defaults(&directories);
    let overrides = Overrides {
        agents: vec![(AgentId::new("coder").unwrap(), pid)],
        interval: Some(Setting::new("1s", "--interval")),
        listen: Some(Setting::new("127.0.0.1:0", "--listen")),
        ..Overrides::default()
    };
    overrides.apply(&mut config).unwrap();
    let parts = Parts { clock: Arc::new(SystemClock), processes: Box::new(|_| Ok(Box::new(PortableSource::new()?))) };
    let daemon = Daemon::bind(config, parts).await.unwrap();
    let handle = daemon.handle();
    let (stop, stopped) = oneshot::channel::<()>();
    let story = async {
        let busy = until(&handle, "its child is found and works", |agent| {
            agent.metrics.process_count == Some(2) && agent.metrics.cpu_percent.is_some_and(|percent| percent > 5.0)
        });
        let busy = busy.await;
        assert_eq!((busy.state, busy.pid), (Observed::Running, Some(pid)));
        assert_eq!((busy.metrics.thread_count, busy.metrics.io), (Some(2), None), "storage I/O is not known");
        assert!(busy.metrics.memory_bytes > Some(0) && busy.metrics.memory_method == MemoryMethod::Rss);
        assert!(busy.metrics.cpu_us > Some(0));
        drop(agent.0.stdin.take());
        let ended = agent.0.wait().unwrap();
        assert_eq!(ended.code(), Some(7));
        let gone = until(&handle, "its end is noticed", |agent| agent.state == Observed::Exited).await;
        assert_eq!(&*gone.status, "offline");
        let reason = gone.state_reason.as_deref().unwrap_or_default();
        assert!(!reason.is_empty() && !reason.contains("code"), "how it ended is not told: {reason}");
        assert_eq!((gone.metrics.memory_bytes, gone.metrics.thread_count), (None, None));
        assert!(gone.metrics.cpu_us >= busy.metrics.cpu_us, "what was used stays");
        drop(stop);
    };
    let (ended, ()) = tokio::join!(daemon.run(async { drop(stopped.await) }), story);
    ended.unwrap();
}
