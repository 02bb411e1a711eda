//! Who the daemon is, and the agents are, when it comes to opening files.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use agent_monitor::endpoint::Endpoint;

/// Bits of capabilities(7).
const DAC_OVERRIDE: u64 = 1 << 1;
const DAC_READ_SEARCH: u64 = 1 << 2;
const SYS_PTRACE: u64 = 1 << 19;

/// On whose behalf a process opens files: proc_pid_status(5).
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Account {
    pub(super) uid: u32,
    groups: Vec<u32>,
    /// The effective capabilities, capabilities(7).
    capabilities: u64,
}

impl Account {
    /// That of this process.
    pub(super) fn ours() -> Account {
        Account::of_process(std::process::id()).unwrap_or_else(|| Account {
            uid: rustix::process::geteuid().as_raw(),
            groups: vec![rustix::process::getegid().as_raw()],
            capabilities: 0,
        })
    }

    /// That of the daemon: of the one that runs, else, for root, of the user that the service's unit names, else ours.
    pub(super) fn of_daemon(daemon: Option<&Endpoint>, unit: Option<&str>) -> Account {
        let running = daemon.and_then(|daemon| Account::of_process(daemon.process.pid.get()));
        let ours = Account::ours();
        running.or_else(|| if ours.uid == 0 { Account::of_unit(unit?) } else { None }).unwrap_or(ours)
    }

    fn of_process(pid: u32) -> Option<Account> {
        Account::parse(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
    }

    /// That of the user in `User=`, with no more than its first group.
    fn of_unit(unit: &str) -> Option<Account> {
        let name = unit.lines().filter_map(|line| line.trim().strip_prefix("User=")).next_back()?;
        let user = nix::unistd::User::from_name(name).ok().flatten()?;
        let named =
            |capability| unit.lines().any(|line| line.starts_with("AmbientCapabilities=") && line.contains(capability));
        let bit = |(capability, bit)| if named(capability) { bit } else { 0 };
        let capabilities = [("CAP_SYS_PTRACE", SYS_PTRACE), ("CAP_DAC_READ_SEARCH", DAC_READ_SEARCH)].map(bit);
        Some(Account {
            uid: user.uid.as_raw(),
            groups: vec![user.gid.as_raw()],
            capabilities: capabilities[0] | capabilities[1],
        })
    }

    /// Whether it may read this file, by the permissions on the way to it. What is not there may be made so.
    pub(super) fn reads(&self, path: &Path) -> bool {
        let may = |path: &Path, wanted| {
            fs::metadata(path).map_or(true, |there| self.may(there.mode(), there.uid(), there.gid(), wanted))
        };
        self.capabilities & (DAC_READ_SEARCH | DAC_OVERRIDE) != 0
            || may(path, 0o4) && path.ancestors().skip(1).all(|above| may(above, 0o1))
    }

    /// Whether it may read what such a process reads from and writes to storage: ptrace(2), and the file is its owner's.
    pub(super) fn reads_storage_of(&self, other: &Account) -> bool {
        let has = |bits| self.capabilities & bits != 0;
        self.uid == other.uid || has(SYS_PTRACE) && has(DAC_READ_SEARCH | DAC_OVERRIDE)
    }

    pub(super) fn parse(status: &str) -> Option<Account> {
        let numbers = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.split_whitespace().map(|number| number.parse::<u32>().ok()).collect::<Option<Vec<u32>>>()
        };
        // Real, effective, saved and that of the file system: the last one counts.
        let last = |key: &str| numbers(key)?.last().copied();
        let mut groups = numbers("Groups:")?;
        groups.push(last("Gid:")?);
        let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        let capabilities = set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(0);
        Some(Account { uid: last("Uid:")?, groups, capabilities })
    }

    /// The bits of `wanted` (of `0o7`) by owner, group or the rest, whichever comes first: path_resolution(7).
    pub(super) fn may(&self, mode: u32, uid: u32, gid: u32, wanted: u32) -> bool {
        let shift = if self.uid == uid {
            6
        } else if self.groups.contains(&gid) {
            3
        } else {
            0
        };
        self.uid == 0 || mode >> shift & wanted == wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_write() {
        let status = "Name:\tx\nUid:\t7\t8\t9\t10\nGid:\t1\t2\t3\t4\nGroups:\t5 6 \nCapEff:\t0000000000080004\n";
        let account = Account::parse(status).unwrap();
        assert_eq!(account, Account { uid: 10, groups: vec![5, 6, 4], capabilities: SYS_PTRACE | DAC_READ_SEARCH });
        assert_eq!(Account::parse("Uid:\tx\nGid:\t1\nGroups:\n"), None);
        assert!(account.may(0o620, 0, 5, 0o2) && account.may(0o602, 0, 0, 0o2) && account.may(0o200, 10, 0, 0o2));
        assert!(!account.may(0o660, 0, 0, 0o2) && !account.may(0o066, 10, 5, 0o2), "the owner's bits, not the group's");
        assert!(Account { uid: 0, groups: vec![], capabilities: 0 }.may(0, 1, 1, 0o2));
    }

    #[test]
    fn who_may_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agents.json");
        fs::write(&path, "[]").unwrap();
        let open = |path: &Path, mode| {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
            fs::set_permissions(path, mode).unwrap();
        };
        let stranger = Account { uid: 4_000_000, groups: vec![], capabilities: 0 };
        let ours = Account::ours();
        for (above, file, may) in [(0o711, 0o604, true), (0o711, 0o600, false), (0o700, 0o604, false)] {
            open(folder.path(), above);
            open(&path, file);
            assert_eq!((stranger.reads(&path), ours.reads(&path)), (may, true), "{above:o} {file:o}");
        }
        let privileged = Account { capabilities: DAC_READ_SEARCH, ..stranger };
        assert!(privileged.reads(&path) && !privileged.reads_storage_of(&ours), "the file is not all of it");
        assert!(Account { capabilities: DAC_READ_SEARCH | SYS_PTRACE, ..privileged }.reads_storage_of(&ours));
    }

    #[test]
    fn who_the_service_is() {
        let unit = "[Service]\nUser=root\nUser=nobody\nCapabilityBoundingSet=CAP_SYS_PTRACE\n";
        let nobody = Account::of_unit(unit).unwrap();
        assert_eq!((nobody.uid, nobody.capabilities), (65_534, 0), "the bounds of a right are none");
        let rights = format!("{unit}AmbientCapabilities=CAP_SYS_PTRACE CAP_DAC_READ_SEARCH\n");
        assert_eq!(Account::of_unit(&rights).unwrap().capabilities, SYS_PTRACE | DAC_READ_SEARCH);
        assert_eq!(Account::of_unit("[Service]\n"), None);
        assert_eq!(Account::of_unit("User=no such user\n"), None);
        assert_eq!(Account::of_daemon(None, None), Account::ours());
    }
}
