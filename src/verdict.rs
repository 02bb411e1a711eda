//! What to say of an agent: the registry's claim held against what the kernel shows.

use std::fmt::{self, Display};
use std::sync::Arc;
use std::time::Duration;

use crate::model::{AgentId, ExitStatus, Observed, ProcessKey, StartGuard, Timestamp};

/// Words that mean that an agent is not expected to run. Every other word, unknown ones too, means that it is.
const ENDED_WORDS: [&str; 10] =
    ["offline", "stopped", "ended", "completed", "done", "failed", "exited", "inactive", "dead", "terminated"];

/// A process may begin this much after the time its record gives for it: records are often written first.
const GUARD_SLACK: Duration = Duration::from_secs(60);

/// What the kernel shows of an agent.
#[derive(Clone, PartialEq, Debug)]
pub enum Fact {
    /// There is no pid to look at.
    NoPid,
    /// The process lives.
    Running,
    /// It ended and was not waited for.
    Zombie(Option<ExitStatus>),
    /// It is gone. `seen`: we watched it live.
    Exited {
        /// How it ended, if that could be known.
        status: Option<ExitStatus>,
        /// Whether it was ever seen alive.
        seen: bool,
    },
    /// The pid belongs to another process than the one that was meant.
    Replaced(Mismatch),
    /// It is there, and we may not look.
    Denied,
    /// Looking failed in another way: what was tried, and what the system said.
    Unreadable(Arc<str>),
    /// It is the monitor's own process, which is not watched.
    Ourselves,
    /// Another agent has the same process and had it first.
    Shared {
        /// The one it is counted for.
        owner: AgentId,
        /// What is observed of that process.
        state: Observed,
    },
}

/// How a pid was found to be another process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mismatch {
    /// Its start is not the one the record gives.
    StartTicks,
    /// It began after the time the record gives.
    StartedAt,
    /// The record's boot is not this one.
    Boot,
    /// A thread of the kernel.
    Kernel,
}

/// What is reported.
#[derive(Clone, PartialEq, Debug)]
pub struct Verdict {
    /// The registry's word, or `offline` where the fact contradicts it.
    pub status: Arc<str>,
    /// What was observed.
    pub state: Observed,
    /// Why, where the two words alone do not say it.
    pub reason: Option<Arc<str>>,
    /// Whether the agent should run and does not.
    pub down: bool,
}

/// Whether an agent of this status word should be running.
pub fn is_expected(status: &str) -> bool {
    let status = status.trim();
    !ENDED_WORDS.iter().any(|word| word.eq_ignore_ascii_case(status))
}

/// Holds a claim against a fact. `claim`: the registry's word; none for an agent that nobody claims anything of. `pid`:
/// what its process is called.
pub fn judge(claim: Option<&Arc<str>>, pid: Option<impl Display>, fact: &Fact) -> Verdict {
    let pid = fmt::from_fn(move |f| match &pid {
        Some(pid) => pid.fmt(f),
        None => f.write_str("?"),
    });
    let state = match fact {
        Fact::NoPid => Observed::NoPid,
        Fact::Running | Fact::Ourselves => Observed::Running,
        Fact::Zombie(_) => Observed::Zombie,
        Fact::Exited { .. } => Observed::Exited,
        Fact::Replaced(_) => Observed::Replaced,
        Fact::Denied | Fact::Unreadable(_) => Observed::Unknown,
        Fact::Shared { state, .. } => *state,
    };
    let gone = matches!(state, Observed::Exited | Observed::Zombie | Observed::Replaced);
    let Some(word) = claim else {
        let status = if state == Observed::Running { "online" } else { "offline" };
        return Verdict { status: status.into(), state, reason: reason(&pid, fact), down: false };
    };
    let expected = is_expected(word);
    let down = expected && gone;
    let status = if down { "offline".into() } else { Arc::clone(word) };
    let reason = if !expected && state == Observed::Running && !matches!(fact, Fact::Shared { .. }) {
        Some(format!("said to be {word}, but process {pid} runs").into())
    } else {
        reason(&pid, fact)
    };
    Verdict { status, state, reason, down }
}

/// Why the process at a claimed pid is not the one that the record means; none if it may be.
pub fn mismatch(
    guard: &StartGuard,
    process: ProcessKey,
    boot: &str,
    started_at: Timestamp,
    kernel: bool,
) -> Option<Mismatch> {
    if kernel {
        return Some(Mismatch::Kernel);
    }
    start_mismatch(guard, process, boot).or_else(|| {
        let began_later = guard.started_at.is_some_and(|claimed| started_at > claimed + GUARD_SLACK);
        began_later.then_some(Mismatch::StartedAt)
    })
}

/// The same by what must be equal alone: for a process that was the one.
pub fn start_mismatch(guard: &StartGuard, process: ProcessKey, boot: &str) -> Option<Mismatch> {
    if guard.boot.as_deref().is_some_and(|claimed| claimed != boot) {
        Some(Mismatch::Boot)
    } else if guard.start_ticks.is_some_and(|claimed| claimed != process.start_ticks) {
        Some(Mismatch::StartTicks)
    } else {
        None
    }
}

fn reason(pid: &impl Display, fact: &Fact) -> Option<Arc<str>> {
    let text = match fact {
        Fact::Running => return None,
        Fact::NoPid => "no process id is known".to_owned(),
        Fact::Zombie(None) => format!("process {pid} ended and its parent has not waited for it"),
        Fact::Zombie(Some(status)) => format!("process {pid} ended ({status}) and its parent has not waited for it"),
        Fact::Exited { seen: false, .. } => format!("there is no process {pid}"),
        Fact::Exited { status: None, .. } => format!("process {pid} ended; how is not known"),
        Fact::Exited { status: Some(status), .. } => format!("process {pid} ended ({status})"),
        Fact::Replaced(Mismatch::StartTicks) => format!("process {pid} is another one: its start differs"),
        Fact::Replaced(Mismatch::StartedAt) => format!("process {pid} is another one: it began later than the agent"),
        Fact::Replaced(Mismatch::Boot) => format!("process {pid} is another one: the agent's was of another boot"),
        Fact::Replaced(Mismatch::Kernel) => format!("process {pid} is a thread of the kernel"),
        Fact::Ourselves => format!("process {pid} is agent-monitor itself, which is not watched"),
        Fact::Denied => format!("not permitted to look at process {pid}"),
        Fact::Unreadable(why) => format!("process {pid} cannot be looked at: {why}"),
        Fact::Shared { owner, .. } => format!("shares process {pid} with {owner}"),
    };
    Some(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{InnerPid, Pid};

    fn check(claim: Option<&str>, fact: &Fact, expected: (&str, Observed, Option<&str>, bool)) {
        let word = claim.map(Arc::from);
        let verdict = judge(word.as_ref(), Pid::new(7), fact);
        let said = (&*verdict.status, verdict.state, verdict.reason.as_deref(), verdict.down);
        assert_eq!(said, expected, "{claim:?} × {fact:?}");
    }

    #[test]
    fn every_claim_against_every_fact() {
        use Observed::{Exited, NoPid, Replaced, Running, Unknown, Zombie};
        let killed = &Fact::Exited { status: Some(ExitStatus::Signal(9)), seen: true };
        let shared = &Fact::Shared { owner: AgentId::new("a").unwrap(), state: Running };
        check(Some("busy"), &Fact::Running, ("busy", Running, None, false));
        check(Some("busy"), killed, ("offline", Exited, Some("process 7 ended (SIGKILL)"), true));
        check(
            Some("online"),
            &Fact::Exited { status: None, seen: false },
            ("offline", Exited, Some("there is no process 7"), true),
        );
        check(
            Some("online"),
            &Fact::Zombie(Some(ExitStatus::Code(3))),
            ("offline", Zombie, Some("process 7 ended (exit code 3) and its parent has not waited for it"), true),
        );
        check(
            Some("online"),
            &Fact::Replaced(Mismatch::StartTicks),
            ("offline", Replaced, Some("process 7 is another one: its start differs"), true),
        );
        check(Some("online"), &Fact::Denied, ("online", Unknown, Some("not permitted to look at process 7"), false));
        let unreadable = Fact::Unreadable("cannot read /proc/7/stat: Input/output error".into());
        let why = "process 7 cannot be looked at: cannot read /proc/7/stat: Input/output error";
        check(Some("online"), &unreadable, ("online", Unknown, Some(why), false));
        check(Some("online"), &Fact::NoPid, ("online", NoPid, Some("no process id is known"), false));
        check(
            Some("online"),
            &Fact::Ourselves,
            ("online", Running, Some("process 7 is agent-monitor itself, which is not watched"), false),
        );
        check(Some("online"), shared, ("online", Running, Some("shares process 7 with a"), false));
        check(
            Some("Stopped"),
            &Fact::Running,
            ("Stopped", Running, Some("said to be Stopped, but process 7 runs"), false),
        );
        check(Some("stopped"), killed, ("stopped", Exited, Some("process 7 ended (SIGKILL)"), false));
        let inner = Pid::new(7).map(|pid| InnerPid { namespace: 4_026_532_001, pid });
        let said = judge(Some(&"online".into()), inner, &Fact::Exited { status: None, seen: false }).reason;
        assert_eq!(said.as_deref(), Some("there is no process 7 of pid namespace 4026532001"));
        check(None, &Fact::Running, ("online", Running, None, false));
        check(None, killed, ("offline", Exited, Some("process 7 ended (SIGKILL)"), false));
        check(None, &Fact::NoPid, ("offline", NoPid, Some("no process id is known"), false));
    }

    #[test]
    fn guards() {
        let process = ProcessKey { pid: Pid::new(7).unwrap(), start_ticks: 100 };
        let at = |s: i64| Timestamp::from_unix_ms(s * 1000);
        let ask = |guard: StartGuard, kernel| mismatch(&guard, process, "boot", at(1000), kernel);
        let ticks = |start_ticks| StartGuard { start_ticks: Some(start_ticks), ..StartGuard::default() };
        let boot = |boot: &str| StartGuard { boot: Some(boot.into()), ..ticks(100) };
        let time = |s| StartGuard { started_at: Some(at(s)), ..StartGuard::default() };
        assert_eq!(ask(StartGuard::default(), false), None);
        assert_eq!(ask(StartGuard::default(), true), Some(Mismatch::Kernel));
        assert_eq!((ask(ticks(100), false), ask(ticks(101), false)), (None, Some(Mismatch::StartTicks)));
        assert_eq!((ask(boot("boot"), false), ask(boot("other"), false)), (None, Some(Mismatch::Boot)));
        assert_eq!((ask(time(940), false), ask(time(939), false)), (None, Some(Mismatch::StartedAt)));
        assert_eq!(ask(time(2000), false), None, "an older process may be meant: agents register late");
    }
}
