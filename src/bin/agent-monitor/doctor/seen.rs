//! What is seen of the process of a claim: on Linux by `/proc`, elsewhere as the daemon itself looks.

use agent_monitor::model::{AgentId, Pid};

use super::account::Account;

#[cfg(target_os = "linux")]
pub(super) use in_proc::look;

/// What a registry says of an agent's process.
pub(super) struct Claim {
    pub(super) agent: AgentId,
    pub(super) pid: Pid,
    /// The pid namespace that calls it so; none for the host's.
    pub(super) namespace: Option<u64>,
}

/// What is seen of a process that is here.
pub(super) struct Seen {
    /// Whether it belongs to the system.
    pub(super) systems: bool,
    /// On whose behalf it opens files; none where that is not told.
    pub(super) account: Option<Account>,
    /// Whether it may not be measured in full.
    pub(super) blind: bool,
}

/// How the process of a claim is looked at on this system; none when it is not here.
#[cfg(not(target_os = "linux"))]
pub(super) fn look() -> impl FnMut(&Claim) -> Option<Seen> {
    let mut source = agent_monitor::process::here::source(std::sync::Arc::new(|| ())).ok();
    move |claim| by_source::seen(claim, source.as_deref_mut()?)
}

#[cfg(target_os = "linux")]
pub(super) mod in_proc {
    use std::fs;
    use std::io::ErrorKind;
    use std::path::{Path, PathBuf};

    use agent_monitor::model::Pid;

    use super::{Claim, Seen};
    use crate::doctor::account::Account;

    /// How the process of a claim is looked at on this system; none when it is not here.
    pub(in super::super) fn look() -> impl FnMut(&Claim) -> Option<Seen> {
        |claim| seen(claim, Path::new("/proc"))
    }

    pub(in super::super) fn seen(claim: &Claim, proc: &Path) -> Option<Seen> {
        let process = place(claim, proc)?;
        let status = fs::read_to_string(process.join("status")).ok()?;
        let refused = fs::read(process.join("io")).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied);
        Some(Seen {
            systems: claim.namespace.is_none() && is_systems(claim.pid, &status),
            account: Some(Account::parse(&status)?),
            blind: refused,
        })
    }

    /// Where its process is here: that of a container by what the container calls it, pid_namespaces(7).
    fn place(claim: &Claim, proc: &Path) -> Option<PathBuf> {
        let Some(namespace) = claim.namespace else { return Some(proc.join(claim.pid.to_string())) };
        let (link, inner) = (format!("pid:[{namespace}]"), claim.pid.to_string());
        let is_it = |process: &PathBuf| {
            let called = fs::read_to_string(process.join("status")).unwrap_or_default();
            let called = called.lines().find_map(|line| line.strip_prefix("NSpid:")?.split_whitespace().last());
            called == Some(&inner) && fs::read_link(process.join("ns/pid")).is_ok_and(|found| found == Path::new(&link))
        };
        fs::read_dir(proc).ok()?.filter_map(|entry| Some(entry.ok()?.path())).find(is_it)
    }

    /// Whether a process belongs to the system rather than to an agent: its first one, or one of the kernel's own, which
    /// has no memory. What runs in a container often registers such a number: there it is another process.
    fn is_systems(pid: Pid, status: &str) -> bool {
        let has = |key: &str| status.lines().any(|line| line.starts_with(key));
        pid.get() == 1 || !has("VmSize:") && !status.lines().any(|line| line.starts_with("State:\tZ"))
    }
}

/// As the daemon itself looks at it.
#[cfg(any(not(target_os = "linux"), test))]
pub(super) mod by_source {
    use agent_monitor::model::{InnerPid, IoReading};
    use agent_monitor::process::{ProcessSource, ReadError};

    use super::{Claim, Seen};

    pub(in super::super) fn seen(claim: &Claim, source: &mut dyn ProcessSource) -> Option<Seen> {
        let row = match claim.namespace {
            None => source.look(claim.pid),
            Some(namespace) => source.look_inside(InnerPid { namespace, pid: claim.pid }),
        };
        let row = row.ok()?;
        let blind = match source.read(row.key, true) {
            Ok(reading) => reading.io == IoReading::Denied,
            Err(error) => matches!(error, ReadError::Denied { .. }),
        };
        let systems = claim.namespace.is_none() && (row.kernel || row.key.pid.get() == 1);
        Some(Seen { systems, account: None, blind })
    }
}
