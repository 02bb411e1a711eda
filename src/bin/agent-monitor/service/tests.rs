use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::plan::Plan;
use super::*;

/// A root of a file system that is empty, and a service of the host or of a user in it.
fn place(user: bool) -> (tempfile::TempDir, Place) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().to_owned();
    let scope = match user {
        true => Scope::User { folder: root.join("home"), uid: 501 },
        false => Scope::Host,
    };
    (directory, Place { root, program: PathBuf::from("/opt/a b/agent-monitor"), scope, is_running: true })
}

/// The plan in words, below the root of the test.
fn words(place: &Place, plan: &Plan) -> Vec<String> {
    let root = format!("{}/", place.root.display());
    let step = |step: &Step| match step {
        Step::Write { path, .. } => format!("write {}", path.display()),
        Step::WriteBeside { path, beside, .. } => format!("keep {} write {}", path.display(), beside.display()),
        Step::Keep { path, .. } => format!("keep {}", path.display()),
        Step::Remove { path } => format!("remove {}", path.display()),
        Step::MoveAside { path, to } => format!("move {} {}", path.display(), to.display()),
        Step::Run(words) => words.join(" "),
        Step::Try(words) => format!("try {}", words.join(" ")),
    };
    plan.steps.iter().map(|it| step(it).replace(&root, "")).collect()
}

/// Takes the steps that change files.
fn write(plan: Plan) {
    let steps = plan.steps.into_iter().filter(|step| !matches!(step, Step::Run(_) | Step::Try(_))).collect();
    Plan { steps, hint: String::new() }.carry_out(false).unwrap();
}

fn edit(path: &Path) {
    let text = fs::read_to_string(path).unwrap();
    fs::write(path, format!("{text}\n# mine\n")).unwrap();
}

#[test]
fn a_unit_of_the_host() {
    let (_directory, place) = place(false);
    let plan = systemd::install(&place).unwrap();
    let told = ["systemctl daemon-reload", "systemctl enable agent-monitor", "systemctl restart agent-monitor"];
    let first = [
        "write etc/agent-monitor.toml",
        "write etc/sysusers.d/agent-monitor.conf",
        "systemd-sysusers etc/sysusers.d/agent-monitor.conf",
        "write etc/systemd/system/agent-monitor.service",
    ];
    assert_eq!(words(&place, &plan), [&first[..], &told].concat());
    write(plan);
    let unit = place.file("etc/systemd/system/agent-monitor.service");
    let text = fs::read_to_string(&unit).unwrap();
    assert!(
        text.contains("\nExecStart=\"/opt/a b/agent-monitor\" run\n") && text.contains("\nUser=agent-monitor\n"),
        "{text}"
    );
    assert_eq!(fs::metadata(&unit).unwrap().permissions().mode() & 0o777, 0o644);
    assert_eq!(fs::read_to_string(place.file(CONFIG_PATH)).unwrap(), CONFIG);

    // Again: nothing is written, and what runs is started anew.
    let again = words(&place, &systemd::install(&place).unwrap());
    assert!(!again.iter().any(|step| step.starts_with("write")), "{again:?}");
    // Another version of ours is replaced.
    let moved = Place {
        program: PathBuf::from("/usr/local/bin/agent-monitor"),
        root: place.root.clone(),
        scope: Scope::Host,
        ..place
    };
    assert!(
        words(&moved, &systemd::install(&moved).unwrap())
            .contains(&"write etc/systemd/system/agent-monitor.service".to_owned())
    );

    // What somebody edited stays, whatever is installed or removed.
    edit(&unit);
    edit(&moved.file(CONFIG_PATH));
    let (unit_text, config_text) = (fs::read(&unit).unwrap(), fs::read(moved.file(CONFIG_PATH)).unwrap());
    let plan = systemd::install(&moved).unwrap();
    let expected = "keep etc/systemd/system/agent-monitor.service write etc/systemd/system/agent-monitor.service.new";
    assert!(words(&moved, &plan).contains(&expected.to_owned()), "{:?}", words(&moved, &plan));
    write(plan);
    assert_eq!(fs::read(&unit).unwrap(), unit_text);
    assert_eq!(fs::read(moved.file(CONFIG_PATH)).unwrap(), config_text);
    fs::create_dir_all(moved.file("var/lib/agent-monitor")).unwrap();
    let plan = systemd::uninstall(&moved).unwrap();
    let expected = [
        "systemctl stop agent-monitor",
        "systemctl disable agent-monitor",
        "move etc/systemd/system/agent-monitor.service etc/systemd/system/agent-monitor.service.saved",
        "systemctl daemon-reload",
        "remove etc/sysusers.d/agent-monitor.conf",
        "keep etc/agent-monitor.toml",
        "keep var/lib/agent-monitor",
    ];
    assert_eq!(words(&moved, &plan), expected);
    write(plan);
    assert_eq!(fs::read(moved.file(CONFIG_PATH)).unwrap(), config_text);
    let none = systemd::uninstall(&moved).unwrap();
    assert!(none.steps.is_empty() && none.hint.contains("no service"), "{}", none.hint);
}

#[test]
fn a_unit_of_a_user() {
    let (_directory, place) = place(true);
    let plan = systemd::install(&place).unwrap();
    let expected = [
        "write home/systemd/user/agent-monitor.service",
        "systemctl --user daemon-reload",
        "systemctl --user enable agent-monitor",
        "systemctl --user restart agent-monitor",
    ];
    assert_eq!(words(&place, &plan), expected);
    write(plan);
    let removed = words(&place, &systemd::uninstall(&place).unwrap());
    assert_eq!(removed[2], "remove home/systemd/user/agent-monitor.service");
    let asleep = Place { is_running: false, ..place };
    assert_eq!(
        words(&asleep, &systemd::install(&asleep).unwrap()).last().unwrap(),
        "systemctl --user enable agent-monitor"
    );
}

#[test]
fn a_unit_of_a_package_is_left_to_it() {
    for (user, folder) in [(false, "usr/lib/systemd/system"), (true, "lib/systemd/user")] {
        let (_directory, place) = place(user);
        fs::create_dir_all(place.file(folder)).unwrap();
        fs::write(place.file(folder).join("agent-monitor.service"), "").unwrap();
        for plan in [systemd::install(&place), systemd::uninstall(&place)] {
            let error = plan.err().unwrap().to_string();
            assert!(error.contains("a package brought") && error.contains("remove the package"), "{error}");
        }
    }
}

#[test]
fn a_daemon_and_an_agent_of_launchd() {
    let (_directory, host) = place(false);
    let plan = launchd::install(&host).unwrap();
    let expected = [
        "write etc/agent-monitor.toml",
        "write Library/LaunchDaemons/agent-monitor.plist",
        "launchctl enable system/agent-monitor",
        "launchctl bootstrap system Library/LaunchDaemons/agent-monitor.plist",
    ];
    assert_eq!(words(&host, &plan), expected);
    write(plan);
    edit(&host.file(CONFIG_PATH));
    let again = words(&host, &launchd::install(&host).unwrap());
    assert_eq!(
        again[..3],
        [
            "keep etc/agent-monitor.toml",
            "keep Library/LaunchDaemons/agent-monitor.plist",
            "try launchctl bootout system/agent-monitor"
        ]
    );
    edit(&host.file("Library/LaunchDaemons/agent-monitor.plist"));
    let removed = words(&host, &launchd::uninstall(&host).unwrap());
    assert_eq!(
        removed[1],
        "move Library/LaunchDaemons/agent-monitor.plist Library/LaunchDaemons/agent-monitor.plist.saved"
    );

    let (_directory, user) = place(true);
    let user = Place { program: PathBuf::from("/opt/a&b/agent-monitor"), ..user };
    let plan = launchd::install(&user).unwrap();
    let steps = words(&user, &plan);
    let expected = [
        "write home/Library/LaunchAgents/agent-monitor.user.plist",
        "launchctl enable gui/501/agent-monitor.user",
        "launchctl bootstrap gui/501 home/Library/LaunchAgents/agent-monitor.user.plist",
    ];
    assert_eq!(steps, expected);
    write(plan);
    // The one that is in the repository, but for where its program and its log are.
    let text = fs::read_to_string(user.file("home/Library/LaunchAgents/agent-monitor.user.plist")).unwrap();
    let ours = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/launchd/agent-monitor.user.plist")).unwrap();
    let changed: Vec<&str> = text.lines().filter(|line| !ours.lines().any(|known| known == *line)).collect();
    let log = format!("\t<string>{}/home/Library/Logs/agent-monitor.log</string>", user.root.display());
    assert_eq!(changed[..2], ["\t\t<string>/opt/a&amp;b/agent-monitor</string>", &*log]);
    assert!(changed.len() == 3 && changed[2].starts_with("<!-- "), "and its seal: {changed:?}");
    let removed = words(&user, &launchd::uninstall(&user).unwrap());
    assert_eq!(
        removed,
        [
            "try launchctl bootout gui/501/agent-monitor.user",
            "remove home/Library/LaunchAgents/agent-monitor.user.plist"
        ]
    );
}

#[test]
fn programs_that_others_can_change() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("agent-monitor");
    fs::write(&program, "").unwrap();
    let error = trust(&program).unwrap_err().to_string();
    assert!(error.contains("install -m 755"), "{error}");
    trust(Path::new("/bin/sh")).unwrap();
}
