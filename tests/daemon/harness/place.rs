//! Where daemons keep their files, who they run as, and how they find children.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use tempfile::TempDir;

use super::daemon::{Daemon, exchange};
use super::{bare, binary, is_root, until};

/// Rules and sources at a test's pace.
pub(crate) const BRISK: &str = r#"
[registry]
refresh = "1s"
[alerts]
interval = "1s"
[[alerts.rule]]
name = "agent_down"
for = "1s"
"#;

/// How a daemon finds the children of members.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// The kernel tells of every fork.
    Told,
    /// The daemon looks for what is new at every pass. Forced by a network namespace of its own: there the kernel tells
    /// nothing.
    Scanned,
}

impl Way {
    /// Those that can be had here.
    pub(crate) fn all() -> &'static [Way] {
        if is_root() {
            return &[Way::Told, Way::Scanned];
        }
        println!("NOT TESTED: the scan, because only root can make a network namespace");
        &[Way::Told]
    }

    /// Does a test once for each, beside each other: a test mostly waits.
    pub(crate) fn each(test: impl Fn(Way) + Sync) {
        let test = &test;
        thread::scope(|scope| {
            for way in Way::all() {
                thread::Builder::new().name(format!("{way:?}")).spawn_scoped(scope, || test(*way)).unwrap();
            }
        });
    }

    /// As `status` has it.
    fn word(self) -> &'static str {
        match self {
            Way::Told => "events",
            Way::Scanned => "scan",
        }
    }
}

/// Where one daemon, or several in turn, keep their files.
pub(crate) struct Place {
    directory: TempDir,
    /// How its daemons must find children; none: as they can.
    way: Option<Way>,
    /// Who they run as; none: as the test.
    user: Option<u32>,
    /// The world they see: a namespace of their own, as an option of unshare(1), and what is done in it first.
    world: Vec<(&'static str, String)>,
}

impl Place {
    pub(crate) fn new() -> Place {
        let place = Place { directory: tempfile::tempdir().unwrap(), way: None, user: None, world: Vec::new() };
        place.configure("");
        place
    }

    pub(crate) fn of(way: Way) -> Place {
        let mut place = Place { way: Some(way), ..Place::new() };
        if way == Way::Scanned {
            place.change_world("--net", "ip link set lo up");
        }
        place
    }

    /// From now on its daemons have a namespace of their own, in which this is done first. Needs root.
    pub(crate) fn change_world(&mut self, namespace: &'static str, first: &str) {
        self.world.push((namespace, first.to_owned()));
    }

    /// The same for daemons of another user, who can use everything in it. Needs root.
    pub(crate) fn of_user(way: Way, user: u32) -> Place {
        let place = Place { user: Some(user), ..Place::of(way) };
        fs::set_permissions(place.path("."), Permissions::from_mode(0o777)).unwrap();
        // Copied by another program: a file that this one wrote could not be run while any child of it, forked at that
        // moment, still has it open.
        let copied = Command::new("cp").arg(binary()).arg(place.path("agent-monitor")).status().unwrap();
        assert!(copied.success());
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// What stands in the configuration file.
    pub(crate) fn configure(&self, text: &str) {
        fs::write(self.path("config.toml"), text).unwrap();
    }

    /// Puts a registry file in its place at once, as a careful broker does.
    pub(crate) fn register(&self, document: &Value) -> PathBuf {
        self.register_text(&document.to_string())
    }

    pub(crate) fn register_text(&self, text: &str) -> PathBuf {
        fs::write(self.path("agents.new"), text).unwrap();
        fs::rename(self.path("agents.new"), self.path("agents.json")).unwrap();
        self.path("agents.json")
    }

    /// `agent-monitor run` with everything in this place, at the default interval.
    pub(crate) fn command(&self) -> Command {
        let mut words: Vec<OsString> = Vec::new();
        if !self.world.is_empty() {
            let steps: Vec<&str> = self.world.iter().map(|(_, first)| &**first).collect();
            words.push("unshare".into());
            words.extend(self.world.iter().map(|(namespace, _)| OsString::from(namespace)));
            words.extend(["sh", "-c"].map(OsString::from));
            words.push(format!(r#"{} && exec "$0" "$@""#, steps.join(" && ")).into());
        }
        match self.user {
            None => words.push(binary().into()),
            Some(user) => {
                let (user, group) = (format!("--reuid={user}"), format!("--regid={user}"));
                let become_user = ["setpriv", &user, &group, "--clear-groups", "--inh-caps=-all"];
                words.extend(become_user.map(OsString::from));
                words.push(self.path("agent-monitor").into());
            }
        }
        let mut command = bare(Command::new(&words[0]));
        command.args(&words[1..]).arg("run").arg("--config").arg(self.path("config.toml"));
        command.args(["--listen", "127.0.0.1:0"]);
        command.arg("--state-dir").arg(self.state()).arg("--socket").arg(self.path("s"));
        command
    }

    /// Starts a daemon that samples every second.
    pub(crate) fn start(&self, options: &[&str]) -> Daemon {
        self.start_as_told(self.command().args(["--interval", "1s"]).args(options))
    }

    /// Starts this, which is made of [`command`](Place::command).
    pub(crate) fn start_as_told(&self, command: &mut Command) -> Daemon {
        let mut daemon = Daemon::start(command);
        if let Some(way) = self.way {
            // Its address is that of another network.
            daemon.socket = Some(self.path("s"));
            let discovery = until("it says how it finds children", || {
                let word = daemon.get("/api/monitoring/status")["sampling"]["discovery"].as_str().map(str::to_owned);
                word.ok_or_else(|| daemon.log_so_far())
            });
            assert_eq!(discovery, way.word());
        }
        daemon
    }

    /// [`command`](Place::command) for a shell.
    pub(crate) fn command_line(&self) -> String {
        let command = self.command();
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words.map(|word| format!("'{}' ", word.to_str().unwrap())).collect()
    }

    /// A document of the daemon that has its socket here.
    pub(crate) fn get(&self, path: &str) -> Value {
        exchange(UnixStream::connect(self.path("s")).unwrap(), path).1
    }

    pub(crate) fn start_with_registry(&self) -> Daemon {
        self.start(&["--registry", self.path("agents.json").to_str().unwrap()])
    }

    /// The database, for reading.
    pub(crate) fn database(&self) -> Connection {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Connection::open_with_flags(self.state().join("agent-monitor.db"), flags).unwrap()
    }

    /// One number from the database.
    pub(crate) fn count(&self, sql: &str) -> i64 {
        self.database().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// Waits until a number in the database is this one: what is shown already may still be on its way to the disk.
    pub(crate) fn until_stored(&self, sql: &str, expected: i64) {
        until(sql, || match self.count(sql) {
            count if count == expected => Ok(()),
            count => Err(format!("{count}, not {expected}")),
        });
    }
}
