//! SIGHUP.

use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::*;

#[test]
fn everything_but_directory_listen_and_socket_applies_live() {
    let place = Place::new("[registry]\nrefresh = \"1s\"\n");
    place.write("agents.json", &us("coder"));
    let daemon = place.start();
    assert_eq!(daemon.status()["sampling"]["interval"], 10.0);
    let source = file_source(&daemon.place.path("agents.json"));
    daemon.reload(&config(&source));
    daemon.until("the new source is read", |status| status["registry"][0]["status"] == "ok");
    let status = daemon.until("ticks come by the second", |status| status["sampling"]["tick"].as_u64() >= Some(4));
    assert_eq!(status["sampling"]["interval"], 1.0);
    let socket = daemon.place.path("run/agent-monitor.sock");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);

    // Guard, socket and log.
    daemon.place.write("token", "s3cret\n");
    let token = daemon.place.path("token");
    let (logs, host) = (daemon.place.path("logs"), "monitor.example");
    assert_eq!(get(&daemon.url, "/api/monitoring/status", host, "").0, 403);
    let more = format!(
        "[api]\nallowed_hosts = [\"{host}\"]\ntoken_file = {token:?}\n[ingest]\nmode = \"0600\"\n[log]\ndirectory = {logs:?}\n"
    );
    daemon.place.configure(&config(&format!("{source}{more}")));
    daemon.signal(Signal::HUP);
    eventually("the guard is another", || {
        (get(&daemon.url, "/api/monitoring/status", host, "Authorization: Bearer s3cret\r\n").0 == 200).then_some(())
    });
    assert_eq!(get(&daemon.url, "/api/monitoring/status", host, "").0, 401);
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let written = eventually("the log goes on in a file", || {
        let file = std::fs::read_dir(&logs).ok()?.next()?.unwrap().path();
        Some(std::fs::read_to_string(file).unwrap()).filter(|text| text.contains("configuration was read again"))
    });
    assert_eq!(written.lines().count(), 1, "{written}");
    daemon.stop();
}

#[test]
fn what_cannot_be_changed_is_named_and_stays() {
    let daemon = Place::new("").start();
    let before = daemon.status();
    let state = daemon.place.path("elsewhere");
    let line = daemon.reload(&format!(
        "[storage]\ndirectory = {state:?}\n[ingest]\nsocket = \"/run/x.sock\"\n[log]\nlevel = \"warn\""
    ));
    assert!(line.contains("storage.directory, ingest.socket") && line.contains("WARN"), "{line}");
    let after = daemon.status();
    assert_eq!(after["config"]["needRestart"], json!(["storage.directory", "ingest.socket"]));
    assert_eq!((&after["socket"], &after["database"]["path"]), (&before["socket"], &before["database"]["path"]));
    assert!(!state.exists());
    daemon.place.configure("");
    daemon.signal(Signal::HUP);
    daemon.until("nothing waits for a restart", |status| status["config"]["needRestart"] == json!([]));
    daemon.stop();
}

#[test]
fn flags_are_applied_again() {
    let place = Place::new("[sampling]\ninterval = \"5s\"\n");
    let daemon = Daemon::start(place, |command| {
        command.args(["--interval", "2s", "--agent", "tester=1"]);
    });
    daemon.reload("[sampling]\ninterval = \"1s\"\n[[registry.source]]\nkind = \"file\"\npath = \"/nowhere\"\n");
    let status = daemon.until("its sources are known", |status| status["registry"][0]["status"] == "ok");
    assert_eq!(status["sampling"]["interval"], 2.0);
    assert_eq!(status["registry"].as_array().unwrap().len(), 1, "{status}");
    assert_eq!((&status["registry"][0]["source"], &status["registry"][0]["status"]), (&json!("flag"), &json!("ok")));
    daemon.stop();
}

#[test]
fn a_broken_file_changes_nothing_but_the_log_and_a_counter() {
    let place = Place::new("");
    place.write("agents.json", &us("coder"));
    let good = config(&file_source(&place.path("agents.json")));
    place.configure(&good);
    let daemon = place.start();
    daemon.until("the source is read", |status| status["registry"][0]["status"] == "ok");
    for (broken, word) in [
        ("[sampling]\ninterval = \"1 parsec\"\n", "sampling.interval"),
        ("[api]\ntoken_file = \"/nowhere\"\n", "token"),
        ("[ingest]\ngroup = \"no-such-group\"\n", "no-such-group"),
        ("[log]\ndirectory = \"/dev/null/x\"\n", "log"),
    ] {
        let line = daemon.reload(broken);
        assert!(line.contains("ERROR") && line.contains(word), "{line}");
        let status = daemon.until("the failure is counted", |status| status["config"]["lastReloadSuccessful"] == false);
        assert!(status["config"]["error"].as_str().unwrap().contains(word), "{status}");
        assert_eq!((&status["sampling"]["interval"], &status["registry"][0]["status"]), (&json!(1.0), &json!("ok")));
        assert_eq!(agents(&daemon.get("/api/monitoring/dashboard")), ["coder \"working\""]);
        daemon.reload(&good);
        daemon.until("it is well again", |status| status["config"]["lastReloadSuccessful"] == true);
    }
    let counters = &daemon.status()["counters"];
    assert_eq!((&counters["reloads"], &counters["reloadsFailed"]), (&json!(4), &json!(4)));
    let screen = daemon.place.told(&["status"]);
    assert!(screen.contains("reloads failed: 4"), "{screen}");
    daemon.stop();
}

#[test]
fn sources_that_stay_keep_their_list_and_others_go() {
    let place = Place::new("");
    place.write("gone.json", &us("gone"));
    let [kept, gone, new] = ["kept", "gone", "new"].map(|name| file_source(&place.path(&format!("{name}.json"))));
    place.configure(&config(&format!("{gone}{kept}")));
    let daemon = place.start();
    let dashboard = || daemon.get("/api/monitoring/dashboard");
    // All name one process: who is known first has it.
    eventually("the first is known", || (agents(&dashboard()).len() == 1).then_some(()));
    daemon.place.write("kept.json", &us("kept"));
    eventually("both are known", || (agents(&dashboard()).len() == 2).then_some(()));
    // From now on neither can be read; the one that stays moves to another place.
    for name in ["kept", "gone"] {
        std::fs::remove_file(daemon.place.path(&format!("{name}.json"))).unwrap();
    }
    daemon.until("both fail", |status| (0..2).all(|place| status["registry"][place]["status"] == "failing"));
    daemon.place.write("new.json", &us("new"));
    daemon.reload(&config(&format!("{kept}{new}")));
    let status = daemon.until("the new one is read", |status| {
        let second = &status["registry"][1];
        second["source"].as_str().is_some_and(|source| source.ends_with("/new.json")) && second["records"] == 1
    });
    assert_eq!((&status["registry"][0]["status"], &status["registry"][0]["records"]), (&json!("failing"), &json!(1)));
    let dashboard = dashboard();
    let of = |id: &str| dashboard["agents"].as_array().unwrap().iter().find(|agent| agent["agentId"] == id).cloned();
    let kept = of("kept").unwrap();
    assert_eq!(kept["registryStatus"], "working");
    assert!(kept["source"].as_str().unwrap().ends_with("/kept.json"), "{kept}");
    let new = of("new").unwrap();
    assert!(new["source"].as_str().unwrap().ends_with("/new.json"), "{new}");
    assert_eq!(of("gone").map(|agent| agent["registryStatus"].clone()), Some(Value::Null), "it lives, unnamed");
    // Readers of sources that went are gone with them: what they would find is told no more.
    daemon.place.write("gone.json", &us("gone"));
    let tick = daemon.status()["sampling"]["tick"].as_u64().unwrap();
    let later = daemon.until("time passes", |status| status["sampling"]["tick"].as_u64() > Some(tick + 2));
    assert_eq!(later["registry"].as_array().unwrap().len(), 2);
    daemon.stop();
}

#[test]
fn the_alert_of_a_rule_that_is_gone_ends() {
    let place = Place::new("");
    place.write("agents.json", &us("coder"));
    let quiet = config(&file_source(&place.path("agents.json")));
    let rule = "[alerts]\ninterval = \"1s\"\n[[alerts.rule]]\nname = \"any\"\nmetric = \"memory_mb\"\nabove = 0\nfor = \"0s\"\n";
    place.configure(&format!("{quiet}{rule}"));
    let daemon = place.start();
    daemon.until("the alert fires", |status| status["alertsFiring"] == 1);
    let alerts = |state: &str| {
        let page = daemon.get(&format!("/api/monitoring/alerts?state={state}"));
        page["items"].as_array().unwrap().len()
    };
    eventually("it is stored", || (alerts("firing") == 1).then_some(()));
    assert!(daemon.place.told(&["alerts"]).contains("coder"));
    daemon.reload(&quiet);
    daemon.until("it is over", |status| status["alertsFiring"] == 0);
    eventually("that is stored", || (alerts("firing") == 0 && alerts("resolved") == 1).then_some(()));
    assert_eq!(daemon.place.told(&["alerts"]), "No alert fires.\n");
    daemon.stop();
}

#[test]
fn many_signals_are_few_reloads() {
    let daemon = Place::new("").start();
    for _ in 0..500 {
        daemon.signal(Signal::HUP);
    }
    daemon.place.configure("[sampling]\ninterval = \"3s\"\n");
    daemon.signal(Signal::HUP);
    let status = daemon.until("the last word counts", |status| status["sampling"]["interval"] == 3.0);
    let reloads = status["counters"]["reloads"].as_u64().unwrap();
    assert!((1..400).contains(&reloads), "{reloads}");
    daemon.stop();
}
