//! What the service manager hears, and its files.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use rustix::process::Signal;

use crate::frozen::Frozen;
use crate::harness::*;

/// A service manager's ear.
struct Manager(UnixDatagram);

impl Manager {
    fn at(path: &Path) -> Manager {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Manager(socket)
    }

    fn next(&self) -> Option<String> {
        let mut buffer = [0; 4096];
        let length = self.0.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
    }

    /// Waits for a message with this line.
    fn hear(&self, line: &str) -> String {
        loop {
            let message = self.next().unwrap_or_else(|| panic!("{line} was not told"));
            if message.lines().any(|told| told == line) {
                return message;
            }
        }
    }

    /// Whether the watchdog is fed within `span`, after what is already told.
    fn is_fed(&self, span: Duration) -> bool {
        self.0.set_nonblocking(true).unwrap();
        while self.next().is_some() {}
        self.0.set_nonblocking(false).unwrap();
        self.0.set_read_timeout(Some(span)).unwrap();
        let fed = std::iter::from_fn(|| self.next()).any(|message| message.contains("WATCHDOG=1"));
        self.0.set_read_timeout(Some(PATIENCE)).unwrap();
        fed
    }
}

fn managed(config: &str, watchdog: Option<Duration>) -> (Daemon, Manager) {
    let place = Place::new(config);
    let path = place.path("notify");
    let manager = Manager::at(&path);
    let daemon = Daemon::start(place, |command| {
        command.env("NOTIFY_SOCKET", &path);
        if let Some(interval) = watchdog {
            command.env("WATCHDOG_USEC", interval.as_micros().to_string());
        }
    });
    (daemon, manager)
}

#[test]
fn it_hears_of_readiness_reloads_and_the_end() {
    let (daemon, manager) = managed("", None);
    let message = manager.hear("READY=1");
    assert!(message.contains("STATUS=watching 0 agents"), "{message}");
    assert!(daemon.place.path("run/endpoint.json").exists());
    assert_eq!(get(&daemon.url, "/healthz", "localhost", "").0, 200, "ready is ready");
    daemon.signal(Signal::HUP);
    let message = manager.hear("RELOADING=1");
    let moment = message.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).unwrap();
    assert!(moment.parse::<u64>().unwrap() > 0);
    manager.hear("READY=1");
    daemon.reload("broken");
    manager.hear("RELOADING=1");
    manager.hear("READY=1");
    daemon.signal(Signal::TERM);
    manager.hear("STOPPING=1");
}

#[test]
fn the_watchdog_is_fed_while_watching_goes_on_and_the_api_answers() {
    let interval = Duration::from_millis(800);
    let (daemon, manager) = managed(&config(""), Some(interval));
    manager.hear("READY=1");
    for _ in 0..3 {
        assert!(manager.is_fed(PATIENCE));
    }
    let process = daemon.child.id();
    let freeze = |thread| {
        let frozen = Frozen::new(process, thread);
        if frozen.is_none() {
            eprintln!("nobody may trace here: not tried");
        }
        frozen
    };
    // The disk has no part in it.
    let Some(writer) = freeze("store-writer") else { return };
    for _ in 0..4 {
        assert!(manager.is_fed(PATIENCE), "the writer hangs");
    }
    writer.thaw();
    let engine = freeze("engine").unwrap();
    daemon.hear("the watchdog is not fed");
    assert!(!manager.is_fed(interval * 4), "the engine hangs");
    engine.thaw();
    daemon.hear("the watchdog is fed again");
    assert!(manager.is_fed(PATIENCE));
    let api = freeze("agent-monitor").unwrap();
    assert!(!manager.is_fed(interval * 4), "the API hangs");
    api.thaw();
    assert!(manager.is_fed(PATIENCE));
    daemon.stop();
}

#[test]
fn no_socket_no_watchdog() {
    let (daemon, manager) = managed(&config(""), Some(Duration::from_millis(500)));
    assert!(manager.is_fed(PATIENCE));
    std::fs::remove_file(daemon.place.path("run/agent-monitor.sock")).unwrap();
    daemon.hear("the watchdog is not fed");
    assert!(!manager.is_fed(Duration::from_secs(2)));
}

fn file(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// A unit that systemd-analyze judges, in a folder of its own, with drop-ins.
struct Judged {
    folder: tempfile::TempDir,
    name: &'static str,
}

impl Judged {
    fn new(unit: &str, drop_ins: &[&str]) -> Judged {
        let name = "agent-monitor.service";
        let folder = tempfile::tempdir().unwrap();
        let text = file(unit).replace("/usr/bin/agent-monitor", env!("CARGO_BIN_EXE_agent-monitor"));
        std::fs::write(folder.path().join(name), text).unwrap();
        let beside = folder.path().join(format!("{name}.d"));
        std::fs::create_dir(&beside).unwrap();
        for drop_in in drop_ins {
            std::fs::write(beside.join(drop_in), file(&format!("systemd/drop-ins/{drop_in}"))).unwrap();
        }
        Judged { folder, name }
    }

    /// What it says; none where there is no systemd-analyze, which the gate brings.
    #[allow(clippy::print_stderr, reason = "what was not tried must be seen")]
    fn analyze(&self, arguments: &[&str]) -> Option<Output> {
        let mut command = Command::new("systemd-analyze");
        command.args(arguments).arg(self.folder.path().join(self.name)).env("XDG_RUNTIME_DIR", self.folder.path());
        match command.output() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                eprintln!("there is no systemd-analyze here: not tried");
                None
            }
            output => Some(output.unwrap()),
        }
    }
}

/// The drop-ins that are there, and what each lets the exposure be at most, in tenths.
const DROP_INS: [(&str, u32); 5] = [
    ("exact-memory.conf", 18),
    ("network.conf", 15),
    ("process-events.conf", 17),
    ("storage-io.conf", 19),
    ("tokens.conf", 15),
];

#[test]
fn the_units_are_sound() {
    for unit in ["systemd/agent-monitor.service", "systemd/user/agent-monitor.service"] {
        let text = file(unit);
        for line in [
            "Type=notify",
            "ExecStart=/usr/bin/agent-monitor run",
            "WatchdogSec=30",
            "Restart=on-failure",
            "RestartPreventExitStatus=78",
            "LimitNOFILE=65536",
        ] {
            assert!(text.lines().any(|told| told == line), "{unit}: {line}");
        }
        let manager = if unit.contains("user") { "--user" } else { "--system" };
        let Some(output) = Judged::new(unit, &[]).analyze(&[manager, "verify", "--man=no"]) else { return };
        assert!(output.status.success() && output.stderr.is_empty(), "{unit}: {output:?}");
    }
}

/// What it must not be blinded by, and how far it may be exposed.
#[test]
fn the_unit_of_the_host_is_hardened_and_sees() {
    let unit = file("systemd/agent-monitor.service");
    for line in [
        "User=agent-monitor",
        "StateDirectory=agent-monitor",
        "RuntimeDirectory=agent-monitor",
        "CapabilityBoundingSet=",
        "ProtectProc=default",
        "ProcSubset=all",
        "ProtectHome=read-only",
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    ] {
        assert!(unit.lines().any(|told| told == line), "{line}");
    }
    for blinding in ["PrivateUsers=", "PrivateNetwork=", "PrivatePIDs=", "DynamicUser="] {
        assert!(!unit.lines().any(|told| told.starts_with(blinding)), "{blinding}");
    }
    let exposed = |drop_ins: &[&str], tenths: u32| {
        let threshold = format!("--threshold={tenths}");
        let judged = Judged::new("systemd/agent-monitor.service", drop_ins);
        judged.analyze(&["security", "--offline=true", &threshold]).map(|output| (output.status.success(), output))
    };
    let Some((passes, output)) = exposed(&[], 15) else { return };
    assert!(passes, "{}", String::from_utf8_lossy(&output.stdout));
    assert!(!exposed(&[], 10).unwrap().0, "that threshold is one that can be missed");
    let mut known: Vec<&str> = DROP_INS.iter().map(|(name, _)| *name).collect();
    for (name, tenths) in DROP_INS {
        let (passes, output) = exposed(&[name], tenths).unwrap();
        assert!(passes, "{name}: {}", String::from_utf8_lossy(&output.stdout));
        let output = Judged::new("systemd/agent-monitor.service", &[name]).analyze(&["verify", "--man=no"]).unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{name}: {output:?}");
    }
    let there = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/drop-ins")).unwrap();
    let mut there: Vec<String> = there.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    there.sort();
    known.sort_unstable();
    assert_eq!(there, known);
}

#[test]
fn a_dry_run_shows_all_and_does_nothing() {
    let place = Place::new("");
    let home = place.path("home");
    std::fs::create_dir(&home).unwrap();
    let home = home.to_str().unwrap();
    let mut command = place.command(&["install-service", "--user", "--dry-run"]);
    let output = command.env("HOME", home).env_remove("XDG_CONFIG_HOME").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    let unit = format!("write {home}/.config/systemd/user/agent-monitor.service:");
    for line in [&*unit, "    [Service]", "    Type=notify"] {
        assert!(said.lines().any(|told| told == line), "{line}: {said}");
    }
    assert!(said.contains("install-service`, which leaves it alone"), "{said}");
    let mut command = place.command(&["uninstall-service", "--user", "--dry-run"]);
    let output = command.env("HOME", home).env_remove("XDG_CONFIG_HOME").output().unwrap();
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("no service"), "{output:?}");
    assert_eq!(std::fs::read_dir(home).unwrap().count(), 0);
}

/// The page for those who run it names everything that it can say.
#[test]
fn the_page_on_operations_is_complete() {
    let page = file("docs/operations.md");
    let api: serde_json::Value = serde_json::from_str(&file("src/api/openapi.json")).unwrap();
    let counters = api.pointer("/components/schemas/Status/properties/counters/properties").unwrap();
    let counters: Vec<&String> = counters.as_object().unwrap().keys().collect();
    assert!(counters.len() > 15, "{counters:?}");
    let own = ["registry_stale", "storage_degraded", "monitor_lagging"].map(str::to_owned);
    let drop_ins = DROP_INS.map(|(name, _)| name.to_owned());
    for word in counters.into_iter().chain(&own).chain(&drop_ins) {
        assert!(page.contains(&format!("`{word}`")), "{word} is not in docs/operations.md");
    }
    for code in ["69", "75", "78"] {
        assert!(page.contains(&format!("| {code} |")), "exit code {code} is not in docs/operations.md");
    }
}
