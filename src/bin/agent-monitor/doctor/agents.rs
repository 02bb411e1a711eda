//! The agents that the registry names: whether it can be read, whether their processes are here, what of them can be seen,
//! and whether they can write to us.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use agent_monitor::config::{Config, Source};
use agent_monitor::model::AgentId;

use super::Check;
use super::account::Account;
use super::seen::{Claim, Seen, look};
use crate::failure::Failure;
use crate::once::read_source;
use crate::view::text::counted;

/// Agents that are named in a message; of more, only how many.
const NAMED: usize = 5;

/// What cannot be seen of other users' processes without rights, and which rights those are.
#[cfg(target_os = "linux")]
const BLIND: &str = "null, and so is exact memory (pss), for processes of other users";
#[cfg(target_os = "linux")]
const SIGHT: &str = "give it CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH (AmbientCapabilities= in the unit); for exact memory, the first will do";
#[cfg(not(target_os = "linux"))]
const BLIND: &str = "null, and on macOS so is every other number, for processes of other users";
#[cfg(not(target_os = "linux"))]
const SIGHT: &str = "run the daemon as root";

/// `unit` is that of the service, `daemon` the account that it has.
pub(super) fn checks(config: &Config, unit: Option<&str>, daemon: &Account) -> Result<Vec<Check>, Failure> {
    let mut checks = Vec::new();
    let mut claimed = Vec::new();
    for source in &config.registry.sources {
        let Some(reading) = read_source(source)? else { continue };
        let name = source.name();
        let hidden = match source {
            Source::File { path } if !daemon.reads(path) => Some((
                format!("user {} may not read it", daemon.uid),
                "open it, and every folder above it, to that user",
            )),
            Source::File { path } => unit.and_then(|unit| hidden_by(unit, path)).map(|setting| {
                let remedy = "keep it below /run or /var/lib, or change that with `systemctl edit agent-monitor`";
                (format!("its unit has {setting}"), remedy)
            }),
            _ => None,
        };
        let open = match source {
            Source::File { path } => fs::metadata(path).is_ok_and(|there| there.mode() & 0o002 != 0).then_some(path),
            _ => None,
        };
        checks.push(match reading {
            Err(error) => {
                let remedy = "see that the broker writes or answers there, and that the daemon's user may read it";
                Check::fail("registry", format!("{name}: {error}"), remedy)
            }
            Ok(reading) => {
                let found = format!("{name}: {}", counted(reading.records.len() as u64, "record"));
                let claims = reading.records.iter().filter_map(|record| {
                    Some(Claim { agent: record.id.clone(), pid: record.pid?, namespace: record.pid_namespace })
                });
                claimed.extend(claims);
                match (hidden, reading.skipped.first(), open) {
                    (Some((why, remedy)), ..) => {
                        Check::warn("registry", format!("{found}, but the service cannot see it: {why}"), remedy)
                    }
                    (None, Some(first), _) => Check::warn(
                        "registry",
                        format!("{found}, {} unusable: {first}", reading.skipped.len()),
                        "correct these records",
                    ),
                    (None, None, Some(path)) => Check::warn(
                        "registry",
                        format!("{found}, and everyone on this host can say what they are"),
                        format!("chmod o-w {}", path.display()),
                    ),
                    (None, None, None) => Check::pass("registry", found),
                }
            }
        });
    }
    if config.registry.sources.is_empty() {
        checks.push(Check::pass("registry", "none: agents are recognised by their programs"));
    }
    if !claimed.is_empty() {
        checks.extend(processes(&claimed, look(), &Door::of(config), daemon));
    }
    Ok(checks)
}

/// The setting of a unit that hides this path from its service: systemd.exec(5).
fn hidden_by(unit: &str, path: &Path) -> Option<String> {
    let hides = |line: &str| {
        let (key, value) = line.trim().split_once('=')?;
        let (places, values): (&[&str], &[&str]) = match key.trim() {
            "ProtectHome" => (&["/home", "/root", "/run/user"], &["yes", "true", "on", "1", "tmpfs"]),
            "PrivateTmp" => (&["/tmp", "/var/tmp"], &["yes", "true", "on", "1", "disconnected"]),
            _ => return None,
        };
        let is_below = places.iter().any(|place| path.starts_with(place));
        Some((key.trim().to_owned(), value.trim().to_owned(), is_below && values.contains(&value.trim())))
    };
    // Of the same setting, the last counts.
    let settings: Vec<_> = unit.lines().filter_map(hides).collect();
    let last = |place: &usize| !settings[place + 1..].iter().any(|later| later.0 == settings[*place].0);
    let found = (0..settings.len()).filter(last).find(|place| settings[*place].2)?;
    Some(format!("{}={}", settings[found].0, settings[found].1))
}

fn processes(
    claimed: &[Claim],
    mut look: impl FnMut(&Claim) -> Option<Seen>,
    door: &Door,
    daemon: &Account,
) -> Vec<Check> {
    let (mut absent, mut strange, mut outside, mut blind) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut told = false;
    for claim in claimed {
        let agent = &claim.agent;
        let Some(seen) = look(claim) else {
            absent.push(agent);
            continue;
        };
        if seen.systems {
            strange.push(agent);
            continue;
        }
        told |= seen.account.is_some();
        if seen.account.as_ref().is_some_and(|account| !door.lets_in(account)) {
            outside.push(agent);
        }
        if seen.blind || seen.account.is_some_and(|account| !daemon.reads_storage_of(&account)) {
            blind.push(agent);
        }
    }
    let wrong: Vec<String> = [("no such process here", &absent), ("processes of the system, not of agents", &strange)]
        .into_iter()
        .filter(|(_, agents)| !agents.is_empty())
        .map(|(what, agents)| format!("{what}: {}", named(agents)))
        .collect();
    let here = match wrong.is_empty() {
        true => Check::pass("claimed pids", format!("all {} are here", claimed.len())),
        false => Check::warn(
            "claimed pids",
            wrong.join("; "),
            "if they have ended, the broker should say so; one in a container must register the pid that the host sees \
             (NSpid in the host's /proc/PID/status shows both), or its pid namespace beside its own number (pidNs)",
        ),
    };
    // Only Linux tells on whose behalf a process opens files.
    let writers = told.then(|| match outside.len() {
        0 => Check::pass("agents' access", "every agent's user may write to the socket"),
        _ => Check::warn(
            "agents' access",
            format!("may not write events to {}: {}", door.socket.display(), named(&outside)),
            "set ingest.group to a group that their users are in (`usermod -aG GROUP USER`), or ingest.mode to \"0666\"",
        ),
    });
    let seen = match blind.len() {
        0 => Check::pass("storage I/O", "of every agent can be read"),
        _ => Check::warn("storage I/O", format!("{BLIND}: {}", named(&blind)), SIGHT),
    };
    [here].into_iter().chain(writers).chain([seen]).collect()
}

fn named(agents: &[&AgentId]) -> String {
    let names: Vec<&str> = agents.iter().take(NAMED).map(|agent| agent.as_str()).collect();
    match agents.len().saturating_sub(NAMED) {
        0 => names.join(", "),
        more => format!("{}, and {more} more", names.join(", ")),
    }
}

/// The socket as it is, or will be, and the way to it.
struct Door {
    socket: PathBuf,
    mode: u32,
    uid: u32,
    gid: u32,
    /// The directories above it, where they are there.
    way: Vec<Metadata>,
}

impl Door {
    fn of(config: &Config) -> Door {
        let socket = config.ingest.socket.clone();
        let way = socket.ancestors().skip(1).filter_map(|above| fs::metadata(above).ok()).collect();
        let group = config.ingest.group.as_deref().and_then(|name| nix::unistd::Group::from_name(name).ok().flatten());
        let (mode, uid, gid) = match fs::metadata(&socket) {
            Ok(there) => (there.mode(), there.uid(), there.gid()),
            Err(_) => (
                config.ingest.mode,
                rustix::process::geteuid().as_raw(),
                group.map_or_else(|| rustix::process::getegid().as_raw(), |group| group.gid.as_raw()),
            ),
        };
        Door { socket, mode, uid, gid, way }
    }

    fn lets_in(&self, who: &Account) -> bool {
        let passes = |above: &Metadata| who.may(above.mode(), above.uid(), above.gid(), 0o1);
        self.way.iter().all(passes) && who.may(self.mode, self.uid, self.gid, 0o2)
    }
}

#[cfg(test)]
mod tests {
    use agent_monitor::model::Pid;

    use super::super::Outcome;
    use super::super::seen::{by_source, in_proc};
    use super::*;

    #[test]
    fn what_a_unit_hides() {
        let hidden = |unit: &str, path: &str| hidden_by(unit, Path::new(path));
        assert_eq!(hidden("[Service]\nProtectHome=true\n", "/home/me/a.json").as_deref(), Some("ProtectHome=true"));
        assert_eq!(hidden("PrivateTmp = yes", "/tmp/a.json").as_deref(), Some("PrivateTmp=yes"));
        assert_eq!(hidden("ProtectHome=true", "/run/broker/agents.json"), None);
        assert_eq!(hidden("ProtectHome=read-only", "/root/a.json"), None, "reading is all that is needed");
        assert_eq!(hidden("ProtectHome=yes\nProtectHome=no", "/root/a.json"), None, "the last one counts");
        assert_eq!(hidden("", "/root/a.json"), None);
    }

    #[test]
    fn many_are_counted() {
        let ids: Vec<AgentId> = (0..7).map(|n| AgentId::new(&format!("a{n}")).unwrap()).collect();
        let all: Vec<&AgentId> = ids.iter().collect();
        assert_eq!(named(&all), "a0, a1, a2, a3, a4, and 2 more");
        assert_eq!(named(&all[..2]), "a0, a1");
    }

    /// As on other systems, here by the source of this one: ourselves, the first process, and one that is nowhere.
    #[test]
    fn as_the_daemon_looks() {
        let claim = |id: &str, pid: i64| Claim {
            agent: AgentId::new(id).unwrap(),
            pid: Pid::new(pid).unwrap(),
            namespace: None,
        };
        let mut source = agent_monitor::process::here::source(std::sync::Arc::new(|| ())).unwrap();
        let door = Door { socket: "/run/s".into(), mode: 0o600, uid: 1, gid: 1, way: Vec::new() };
        let mut outcomes = |claimed: &[Claim]| {
            processes(claimed, |claim| by_source::seen(claim, &mut *source), &door, &Account::ours())
        };
        let fine = outcomes(&[claim("us", std::process::id().into())]);
        let names: Vec<&str> = fine.iter().map(|check| check.name).collect();
        assert_eq!(names, ["claimed pids", "storage I/O"], "nobody told on whose behalf we open files");
        assert!(fine.iter().all(|check| check.outcome == Outcome::Pass), "{fine:?}");
        let odd = &outcomes(&[claim("first", 1), claim("gone", i32::MAX.into())])[0].found;
        assert_eq!(odd, "no such process here: gone; processes of the system, not of agents: first");
    }

    /// The table of processes is a directory like any other: one with what another user's process shows.
    #[test]
    fn processes_that_are_here_or_not() {
        let proc = tempfile::tempdir().unwrap();
        let agent =
            |id: &str, pid| Claim { agent: AgentId::new(id).unwrap(), pid: Pid::new(pid).unwrap(), namespace: None };
        let show = |pid: &str, uid: u32| {
            let process = proc.path().join(pid);
            fs::create_dir(&process).unwrap();
            let status = format!("Uid:\t{uid}\t{uid}\nGid:\t9\t9\nGroups:\t\nNSpid:\t{pid}\t3\nVmSize:\t7 kB\n");
            fs::write(process.join("status"), status).unwrap();
            fs::create_dir(process.join("ns")).unwrap();
            std::os::unix::fs::symlink(format!("pid:[40{pid}]"), process.join("ns/pid")).unwrap();
            fs::write(process.join("io"), "").unwrap();
        };
        show("7", 1_000);
        show("8", 1_001);
        let door = Door { socket: "/run/s".into(), mode: 0o660, uid: 1_000, gid: 5, way: Vec::new() };
        let root = Account::parse("Uid:\t0\nGid:\t0\nGroups:\t\nCapEff:\tffffffffffffffff\n").unwrap();
        let look = |claim: &Claim| in_proc::seen(claim, proc.path());
        let outcomes = |claimed: &[Claim]| processes(claimed, look, &door, &root);
        let fine = outcomes(&[agent("in", 7)]);
        assert!(fine.iter().all(|check| check.outcome == Outcome::Pass), "{fine:?}");
        let odd = outcomes(&[agent("in", 7), agent("out", 8), agent("gone", 9)]);
        let told = |name: &str| odd.iter().find(|check| check.name == name).unwrap();
        assert!(told("claimed pids").found.ends_with(": gone"), "{odd:?}");
        assert!(told("agents' access").found.ends_with("/run/s: out"), "{odd:?}");
        // In a container: both are called 3 there, each in its own.
        let within = |id: &str, namespace| Claim { namespace: Some(namespace), ..agent(id, 3) };
        assert_eq!(outcomes(&[within("in", 407)])[0].outcome, Outcome::Pass);
        assert!(outcomes(&[within("out", 408)])[1].found.ends_with("/run/s: out"), "it is that one");
        assert!(outcomes(&[within("nowhere", 409)])[0].found.ends_with(": nowhere"));
        // A number of a container that is somebody else's here.
        show("1", 0);
        show("2", 0);
        fs::write(proc.path().join("2/status"), "Uid:\t0\nGid:\t0\nGroups:\t\n").unwrap();
        let found = &outcomes(&[agent("first", 1), agent("kernels", 2), agent("gone", 9)])[0].found;
        assert_eq!(found, "no such process here: gone; processes of the system, not of agents: first, kernels");
    }
}
