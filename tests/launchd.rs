//! The plists for launchd, held to launchd.plist(5): nothing on Linux knows its keys, and launchd itself says nothing of one
//! that it does not know.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use plist::{Dictionary, Value};
use serde::Deserialize;

/// Every key of launchd.plist(5), with its type. A macOS older than a key ignores it.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[expect(dead_code, reason = "most keys are there to be allowed")]
struct Job {
    label: String,
    disabled: Option<bool>,
    user_name: Option<String>,
    group_name: Option<String>,
    #[serde(rename = "inetdCompatibility")]
    inetd_compatibility: Option<Dictionary>,
    limit_load_to_hosts: Option<Vec<String>>,
    limit_load_from_hosts: Option<Vec<String>>,
    limit_load_to_session_type: Option<OneOrMany>,
    limit_load_to_hardware: Option<BTreeMap<String, Vec<String>>>,
    limit_load_from_hardware: Option<BTreeMap<String, Vec<String>>>,
    program: Option<String>,
    bundle_program: Option<String>,
    program_arguments: Option<Vec<String>>,
    enable_globbing: Option<bool>,
    enable_transactions: Option<bool>,
    enable_pressured_exit: Option<bool>,
    on_demand: Option<bool>,
    #[serde(rename = "ServiceIPC")]
    service_ipc: Option<bool>,
    keep_alive: Option<KeepAlive>,
    run_at_load: Option<bool>,
    root_directory: Option<String>,
    working_directory: Option<String>,
    environment_variables: Option<BTreeMap<String, String>>,
    umask: Option<Umask>,
    time_out: Option<u32>,
    exit_time_out: Option<u32>,
    throttle_interval: Option<u32>,
    init_groups: Option<bool>,
    watch_paths: Option<Vec<String>>,
    queue_directories: Option<Vec<String>>,
    start_on_mount: Option<bool>,
    start_interval: Option<u32>,
    start_calendar_interval: Option<Value>,
    standard_in_path: Option<String>,
    standard_out_path: Option<String>,
    standard_error_path: Option<String>,
    debug: Option<bool>,
    wait_for_debugger: Option<bool>,
    soft_resource_limits: Option<Limits>,
    hard_resource_limits: Option<Limits>,
    nice: Option<i8>,
    process_type: Option<ProcessType>,
    abandon_process_group: Option<bool>,
    #[serde(rename = "LowPriorityIO")]
    low_priority_io: Option<bool>,
    #[serde(rename = "LowPriorityBackgroundIO")]
    low_priority_background_io: Option<bool>,
    materialize_dataless_files: Option<bool>,
    launch_only_once: Option<bool>,
    mach_services: Option<Dictionary>,
    sockets: Option<Dictionary>,
    launch_events: Option<Dictionary>,
    hopefully_exits_last: Option<bool>,
    hopefully_exits_first: Option<bool>,
    session_create: Option<bool>,
    legacy_timers: Option<bool>,
    associated_bundle_identifiers: Option<OneOrMany>,
}

#[derive(Deserialize, Debug)]
#[serde(untagged)]
#[expect(dead_code, reason = "there to be allowed")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize, Debug)]
#[serde(untagged)]
#[expect(dead_code, reason = "there to be allowed")]
enum KeepAlive {
    Always(bool),
    If(Conditions),
}

#[derive(Deserialize, Debug)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[expect(dead_code, reason = "most keys are there to be allowed")]
struct Conditions {
    successful_exit: Option<bool>,
    crashed: Option<bool>,
    network_state: Option<bool>,
    path_state: Option<BTreeMap<String, bool>>,
    other_job_enabled: Option<BTreeMap<String, bool>>,
    after_initial_demand: Option<bool>,
}

#[derive(Deserialize, Debug)]
#[serde(untagged)]
#[expect(dead_code, reason = "there to be allowed")]
enum Umask {
    Decimal(u32),
    Octal(String),
}

#[derive(Deserialize, Debug)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[expect(dead_code, reason = "most keys are there to be allowed")]
struct Limits {
    core: Option<u64>,
    #[serde(rename = "CPU")]
    cpu: Option<u64>,
    data: Option<u64>,
    file_size: Option<u64>,
    memory_lock: Option<u64>,
    number_of_files: Option<u64>,
    number_of_processes: Option<u64>,
    resident_set_size: Option<u64>,
    stack: Option<u64>,
}

#[derive(Deserialize, PartialEq, Eq, Debug)]
enum ProcessType {
    Background,
    Standard,
    Adaptive,
    Interactive,
}

/// The daemon ends within so many seconds.
const GRACE: u32 = 10;

fn plists() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("launchd");
    let mut found: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

fn parse(text: &str) -> Result<Job, plist::Error> {
    plist::from_reader_xml(text.as_bytes())
}

#[test]
fn every_key_is_one_that_launchd_knows() {
    let plists = plists();
    let names: Vec<&str> = plists.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["agent-monitor.plist", "agent-monitor.user.plist"]);
    let mut labels = Vec::new();
    for path in &plists {
        let job =
            parse(&fs::read_to_string(path).unwrap()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        // The name by which launchd and its file are found.
        assert_eq!(path.file_stem().unwrap().to_str(), Some(&*job.label));
        assert_eq!(job.run_at_load, Some(true));
        let again = job.keep_alive;
        assert!(matches!(again, Some(KeepAlive::If(Conditions { successful_exit: Some(false), .. }))), "{again:?}");
        assert!(job.exit_time_out.unwrap() > GRACE, "killed before it has ended");
        assert_eq!(job.process_type, Some(ProcessType::Background));
        let arguments = job.program_arguments.unwrap();
        assert!(arguments[0].starts_with('/'), "launchd searches no path");
        let line = arguments.join(" ");
        assert!(line.contains("/usr/local/bin/agent-monitor run"), "{line}");
        let soft = job.soft_resource_limits.unwrap().number_of_files.unwrap();
        assert!(soft >= 4_096, "fewer than doctor wants");
        if let Some(hard) = job.hard_resource_limits {
            assert!(hard.number_of_files >= Some(soft));
        }
        labels.push(job.label);
    }
    assert_ne!(labels[0], labels[1], "both may be loaded");
}

/// Each mistake is refused for what it is: a key misspelt, one of another kind, a limit that there is not.
#[test]
fn a_mistake_is_found() {
    let text = fs::read_to_string(&plists()[0]).unwrap();
    assert!(parse(&text).is_ok());
    for (right, wrong, named) in [
        ("<key>KeepAlive</key>", "<key>KepAlive</key>", "KepAlive"),
        ("<key>RunAtLoad</key>\n\t<true/>", "<key>RunAtLoad</key>\n\t<string>yes</string>", "bool"),
        ("<key>SuccessfulExit</key>", "<key>SuccesfulExit</key>", "KeepAlive"),
        ("<key>NumberOfFiles</key>", "<key>NumberOfFile</key>", "NumberOfFile"),
        ("<string>Background</string>", "<string>background</string>", "background"),
        ("<integer>30</integer>", "<integer>-30</integer>", "u32"),
        ("</array>", "</dict>", "Xml"),
        ("<key>Label</key>\n\t<string>agent-monitor</string>", "", "Label"),
    ] {
        assert!(text.contains(right), "{right}");
        let error = parse(&text.replace(right, wrong)).expect_err(wrong);
        assert!(format!("{error:?}").contains(named), "{wrong}: {error:?}");
    }
}
