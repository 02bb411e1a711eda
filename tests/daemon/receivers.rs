//! Receivers of alerts: slow, broken and away, and a daemon that ends in between.

use base64::Engine;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};

use super::agents::{Agent, HIGH_CPU, register};
use super::harness::{BRISK, Daemon, Place, outcome, program, until};
use super::hook::{Hook, Manner, OK, config, free_address};

/// A place with one agent that is watched, and these receivers.
fn watched(receivers: &str) -> (Place, Daemon, Agent) {
    let place = Place::new();
    place.configure(&format!("{BRISK}{receivers}"));
    let agent = Agent::start();
    register(&place, &[("coder", &agent)]);
    let daemon = place.start_with_registry();
    daemon.until_known("coder");
    (place, daemon, agent)
}

/// The one receiver as the daemon describes it.
fn receiver(daemon: &Daemon) -> Value {
    daemon.get("/api/monitoring/status")["receivers"][0].clone()
}

pub(crate) fn until_receiver(daemon: &Daemon, what: &str, seen: impl Fn(&Value) -> bool) -> Value {
    until(what, || {
        let now = receiver(daemon);
        if seen(&now) { Ok(now) } else { Err(now.to_string()) }
    })
}

#[test]
fn a_message_says_all_and_is_signed() {
    let hook = Hook::start(&[]);
    let place = Place::new();
    std::fs::write(place.path("secret"), "hunter2\n").unwrap();
    std::fs::write(place.path("token"), "swordfish\n").unwrap();
    let files = format!("secret_file = {:?}\ntoken_file = {:?}", place.path("secret"), place.path("token"));
    place.configure(&format!("{BRISK}{HIGH_CPU}{}", hook.config(&files)));
    let mut busy = Agent::busy();
    register(&place, &[("a/b", &busy)]);
    let daemon = place.start_with_registry();
    let told = hook.hears("high_cpu firing");
    let pid = busy.pid();
    let alert = &told.body["alerts"][0];
    let summary = alert["annotations"]["summary"].as_str().unwrap();
    for part in ["a/b: cpu_percent ", " above 0.5 for 2s, since 2", &format!("; heaviest: perl ({pid}) ")] {
        assert!(summary.contains(part), "{summary}");
    }
    assert!(alert["annotations"]["value"].as_str().unwrap().parse::<f64>().unwrap() > 0.5);
    assert_eq!(alert["annotations"]["threshold"], "0.5");
    let page = daemon.get("/api/monitoring/status")["url"].as_str().unwrap().to_owned() + "agents/a%2Fb";
    assert_eq!(alert["generatorURL"], *page);
    let labels = alert["labels"].as_object().unwrap();
    let names: Vec<&String> = labels.keys().collect();
    assert_eq!(names, ["agent", "alertname", "instance", "severity"], "nothing that changes");
    assert_eq!((&labels["agent"], &labels["severity"]), (&"a/b".into(), &"warning".into()));

    assert_eq!(told.header("authorization"), "Bearer swordfish");
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"hunter2").unwrap();
    mac.update(format!("{}.{}.{}", told.id(), told.header("webhook-timestamp"), told.text).as_bytes());
    let expected = base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes());
    assert_eq!(told.header("webhook-signature"), format!("v1,{expected}"));

    busy.kill();
    place.register(&json!([]));
    let over = hook.hears("high_cpu resolved");
    assert_eq!(over.body["alerts"][0]["fingerprint"], alert["fingerprint"]);
    assert_eq!(over.body["alerts"][0]["startsAt"], alert["startsAt"]);
    assert_ne!(over.id(), told.id());
}

#[test]
fn what_fails_is_tried_again() {
    let unavailable = Manner::Answer("503 Service Unavailable", "");
    let busy = Manner::Answer("429 Too Many Requests", "Retry-After: 3\r\n");
    let hook = Hook::start(&[busy, unavailable, Manner::Reset, OK]);
    let (_place, daemon, mut agent) = watched(&hook.config(""));
    agent.kill();
    let attempts: Vec<_> = (0..4).map(|_| hook.next()).collect();
    assert!(attempts.iter().all(|told| told.what() == "agent_down firing"), "{attempts:#?}");
    assert!(attempts.iter().all(|told| told.id() == attempts[0].id() && told.text == attempts[0].text));
    let seconds = |at: usize| attempts[at].header("webhook-timestamp").parse::<i64>().unwrap();
    assert!(seconds(1) - seconds(0) >= 3, "it is left alone for as long as it asked: by itself it would be a second");
    let now = until_receiver(&daemon, "it is well again", |now| now["status"] == "ok" && now["delivered"] == 1);
    assert_eq!((&now["retried"], &now["refused"], &now["lost"]), (&3.into(), &0.into(), &0.into()));
    assert_eq!(hook.rest().len(), 0);
}

#[test]
fn what_is_refused_is_not_tried_again() {
    let hook = Hook::start(&[Manner::Answer("400 Bad Request", "")]);
    let (place, daemon, mut agent) = watched(&hook.config(""));
    agent.kill();
    assert_eq!(hook.next().what(), "agent_down firing");
    let now = until_receiver(&daemon, "it refused", |now| now["refused"] == 1);
    assert_eq!((&now["status"], &now["error"]), (&"failing".into(), &"400 Bad Request".into()));
    place.register(&json!([]));
    assert_eq!(hook.next().what(), "agent_down resolved", "the next one goes on");

    // A redirect is refused too: nobody is led elsewhere.
    let elsewhere = Hook::start(&[]);
    let to = Box::leak(format!("Location: http://{}/\r\n", elsewhere_address(&elsewhere)).into_boxed_str());
    hook.behave(&[Manner::Answer("307 Temporary Redirect", to)]);
    let mut next = Agent::start();
    register(&place, &[("next", &next)]);
    daemon.until_known("next");
    next.kill();
    assert_eq!(hook.next().what(), "agent_down firing");
    until_receiver(&daemon, "it refused again", |now| now["refused"] == 2);
    place.register(&json!([]));
    assert_eq!(hook.next().what(), "agent_down resolved", "the next one goes on");
    assert_eq!((hook.rest().len(), elsewhere.rest().len()), (0, 0));
}

fn elsewhere_address(hook: &Hook) -> String {
    hook.config("").split('/').nth(2).unwrap().to_owned()
}

#[test]
fn a_receiver_that_was_away_hears_everything_in_order() {
    let address = free_address();
    let (place, daemon, mut first) = watched(&config(address, ""));
    let mut second = Agent::start();
    register(&place, &[("coder", &first), ("other", &second)]);
    daemon.until_known("other");
    first.kill();
    daemon.until_logged("alert=agent_down agent=\"coder\"");
    second.kill();
    daemon.until_logged("alert=agent_down agent=\"other\"");
    until_receiver(&daemon, "it cannot be told", |now| now["status"] == "failing" && now["waiting"] == 1);
    let daemon = restart(daemon, &place);
    place.register(&json!([]));
    daemon.until_logged("coder: agent_down is over");
    daemon.until_logged("other: agent_down is over");

    let hook = Hook::at(address, &[]);
    let told: Vec<_> = (0..4).map(|_| hook.next()).collect();
    let heard: Vec<String> =
        told.iter().map(|told| format!("{} {}", told.body["commonLabels"]["agent"], told.what())).collect();
    assert_eq!(heard[..2], ["\"coder\" agent_down firing", "\"other\" agent_down firing"]);
    assert!(heard[2].ends_with("resolved") && heard[3].ends_with("resolved") && heard[2] != heard[3], "{heard:?}");
    until_receiver(&daemon, "all is delivered", |now| now["delivered"] == 4 && now["waiting"] == 0);
    assert_eq!(hook.rest().len(), 0);
}

fn restart(daemon: Daemon, place: &Place) -> Daemon {
    daemon.kill();
    let daemon = place.start_with_registry();
    until("the registry is read", || {
        let read = daemon.get("/api/monitoring/status")["registry"][0]["status"].clone();
        if read == "ok" { Ok(()) } else { Err(read.to_string()) }
    });
    daemon
}

#[test]
fn a_daemon_that_dies_before_delivery_delivers_and_one_that_dies_after_it_does_not() {
    let unavailable = [Manner::Answer("500 Internal Server Error", ""); 100];
    let hook = Hook::start(&unavailable);
    let (place, daemon, mut agent) = watched(&hook.config(""));
    agent.kill();
    let first = hook.next();
    assert_eq!(first.what(), "agent_down firing");
    daemon.kill();
    hook.behave(&[]);
    let before = hook.rest();
    let daemon = place.start_with_registry();
    let again = hook.next();
    assert!(before.iter().chain([&again]).all(|told| told.id() == first.id()), "{again:#?}");
    assert_eq!(again.body["commonAnnotations"], first.body["commonAnnotations"]);
    until_receiver(&daemon, "it is delivered", |now| now["delivered"] == 1);
    // On disk as well: the next write goes behind it in the same queue.
    daemon.passes(3);
    let daemon = restart(daemon, &place);
    daemon.passes(3);
    assert_eq!(daemon.dashboard()["alerts"][0]["type"], "agent_down", "it fires still");
    assert_eq!(hook.rest().len(), 0, "and was told");
    assert_eq!(place.count("select count(*) from journal where kind in (2, 3, 4)"), 1);
    place.register(&json!([]));
    assert_eq!(hook.next().what(), "agent_down resolved");
}

#[test]
fn one_that_never_answers_holds_up_nobody() {
    let (silent, endless, good) =
        (Hook::start(&[Manner::Silent; 9]), Hook::start(&[Manner::Endless; 9]), Hook::start(&[]));
    let receivers = [silent.config(""), endless.config(""), good.config("")].concat();
    let (place, daemon, mut agent) = watched(&receivers);
    let steady = Agent::start();
    register(&place, &[("coder", &agent), ("steady", &steady)]);
    daemon.until_known("steady");
    agent.kill();
    assert_eq!(silent.next().what(), "agent_down firing");
    assert_eq!(endless.next().what(), "agent_down firing");
    assert_eq!(good.next().what(), "agent_down firing");
    let skipped = || daemon.get("/api/monitoring/status")["counters"]["ticksSkipped"].as_u64().unwrap();
    let before = skipped();
    place.register(&json!([{ "agentId": "steady", "pid": steady.pid() }]));
    assert_eq!(good.next().what(), "agent_down resolved", "the others still wait for their first answer");
    daemon.readings("steady", 3);
    // A machine that is busy with other things may skip one as well.
    assert!(skipped() - before <= 2, "{} passes were skipped", skipped() - before);
    let one = silent.next();
    assert_eq!(one.what(), "agent_down firing", "given up after ten seconds, and tried again");
    assert!(daemon.stop().contains("no answer within 10s"), "and a stop does not wait for it");
}

/// Ten GiB, of which it reads what fits a message.
#[test]
fn an_answer_without_end_is_not_read_to_it() {
    let hook = Hook::start(&[Manner::Flood("500 Internal Server Error"), Manner::Flood("200 OK"), OK]);
    let (place, daemon, mut agent) = watched(&hook.config(""));
    agent.kill();
    assert_eq!(hook.next().what(), "agent_down firing");
    let now = until_receiver(&daemon, "it failed", |now| now["status"] == "failing");
    let error = now["error"].as_str().unwrap();
    assert_eq!(error, format!("500 Internal Server Error: {}", "x".repeat(200)));
    assert_eq!(hook.next().what(), "agent_down firing", "once more, and that is a success, however long");
    until_receiver(&daemon, "it is delivered", |now| now["delivered"] == 1);
    place.register(&json!([]));
    assert_eq!(hook.next().what(), "agent_down resolved", "the next one is not held up");
}

#[test]
fn receivers_change_while_the_daemon_runs() {
    let (old, new) = (Hook::start(&[]), Hook::start(&[]));
    let (place, daemon, mut agent) = watched(&old.config(""));
    agent.kill();
    assert_eq!(old.next().what(), "agent_down firing");
    until_receiver(&daemon, "it is delivered", |now| now["delivered"] == 1);
    place.configure(&format!("{BRISK}{}", new.config("")));
    daemon.signal(rustix::process::Signal::HUP);
    daemon.until_logged("the configuration was read again");
    place.register(&json!([]));
    assert_eq!(new.next().what(), "agent_down resolved", "from now on, and nothing that was");
    assert_eq!(old.rest().len(), 0);
    until_receiver(&daemon, "it is counted for the new one", |now| now["delivered"] == 1);
    until("the old one is forgotten", || match place.count("select count(*) from receiver") {
        1 => Ok(()),
        other => Err(other.to_string()),
    });
}

#[test]
fn what_cannot_be_stored_is_delivered_all_the_same() {
    let hook = Hook::start(&[]);
    let (place, daemon, mut agent) = watched(&hook.config(""));
    let other = rusqlite::Connection::open(place.state().join("agent-monitor.db")).unwrap();
    // The writer waits five seconds for the lock, then tells that nothing can be stored.
    other.execute_batch("begin immediate").unwrap();
    let told = hook.next();
    assert_eq!(told.what(), "storage_degraded firing");
    assert!(told.body["commonAnnotations"]["summary"].as_str().unwrap().contains("agent-monitor cannot store"));
    agent.kill();
    assert_eq!(hook.next().what(), "agent_down firing");
    assert_eq!(daemon.get("/api/monitoring/alerts")["items"], json!([]), "it is in no journal");
    other.execute_batch("rollback").unwrap();
    assert_eq!(hook.next().what(), "storage_degraded resolved");
    place.register(&json!([]));
    assert_eq!(hook.next().what(), "agent_down resolved");
    assert_eq!(hook.rest().len(), 0, "nothing twice");
}

/// It has its place in the journal later, and is told there to nobody who heard it before.
#[test]
fn what_is_stored_after_it_was_told_is_not_told_again_by_the_next_daemon() {
    let hook = Hook::start(&[]);
    // Its end would be told with a place beyond, and hide it.
    let quiet = "[[alerts.rule]]\nname = \"storage_degraded\"\nenabled = false\n";
    let (place, daemon, mut agent) = watched(&format!("{quiet}{}", hook.config("")));
    let other = rusqlite::Connection::open(place.state().join("agent-monitor.db")).unwrap();
    other.execute_batch("begin immediate").unwrap();
    agent.kill();
    assert_eq!(hook.next().what(), "agent_down firing");
    other.execute_batch("rollback").unwrap();
    let entry = "select id from journal where fired is null and kind = 2";
    place.until_stored(&format!("select count(*) from ({entry})"), 1);
    place.until_stored(&format!("select count(*) from receiver where up_to = ({entry})"), 1);
    daemon.stop();
    let daemon = place.start_with_registry();
    daemon.passes(3);
    assert_eq!(hook.rest().len(), 0, "nothing twice");
}

/// A receiver that gets another worker goes on hearing what is in no journal: what was on its way, and what waited.
#[test]
fn what_cannot_be_stored_outlives_a_reload() {
    let unavailable = [Manner::Answer("503 Service Unavailable", ""); 100];
    let hook = Hook::start(&unavailable);
    let (place, daemon, mut agent) = watched(&hook.config(""));
    let other = rusqlite::Connection::open(place.state().join("agent-monitor.db")).unwrap();
    other.execute_batch("begin immediate").unwrap();
    assert_eq!(hook.next().what(), "storage_degraded firing");
    agent.kill();
    until_receiver(&daemon, "both wait", |now| now["status"] == "failing" && now["waiting"] == 1);
    std::fs::write(place.path("token"), "swordfish\n").unwrap();
    place.configure(&format!("{BRISK}{}", hook.config(&format!("token_file = {:?}", place.path("token")))));
    daemon.signal(rustix::process::Signal::HUP);
    daemon.until_logged("the configuration was read again");
    hook.behave(&[]);
    let last = hook.hears("agent_down firing");
    assert_eq!(last.header("authorization"), "Bearer swordfish", "by the new worker");
    until_receiver(&daemon, "none is lost", |now| now["delivered"] == 2 && now["waiting"] == 0 && now["lost"] == 0);
    other.execute_batch("rollback").unwrap();
    assert_eq!(hook.next().what(), "storage_degraded resolved");
}

#[test]
fn what_could_not_be_delivered_for_a_day_is_given_up() {
    let hook = Hook::start(&[]);
    let (place, daemon, _agent) = watched(&hook.config(""));
    daemon.passes(1);
    daemon.stop();
    let database = rusqlite::Connection::open(place.state().join("agent-monitor.db")).unwrap();
    for (rule, hours) in [("old", 25), ("young", 23)] {
        let sql = "insert into journal (timestamp, kind, type, message, severity)
                   values (strftime('%Y-%m-%d %H:%M:%f', 'now', ?2), 2, ?1, ?1, 1)";
        database.execute(sql, (rule, format!("-{hours} hours"))).unwrap();
    }
    drop(database);
    let unavailable = Manner::Answer("503 Service Unavailable", "");
    hook.behave(&[unavailable, unavailable, OK]);
    let daemon = place.start_with_registry();
    let told: Vec<String> = (0..3).map(|_| hook.next().what()).collect();
    assert_eq!(told, ["old firing", "young firing", "young firing"], "tried once in any case");
    let now = until_receiver(&daemon, "one of them is delivered", |now| now["delivered"] == 1);
    assert_eq!((&now["lost"], &now["retried"]), (&1.into(), &1.into()));
}

#[test]
fn a_test_says_what_came_back() {
    let place = Place::new();
    let (good, bad) = (Hook::start(&[]), Hook::start(&[Manner::Answer("401 Unauthorized", "")]));
    let away = free_address();
    place.configure(&[good.config(""), bad.config(""), config(away, "")].concat());
    let test = |place: &Place| outcome(program().args(["alerts", "--test", "--config"]).arg(place.path("config.toml")));
    let (code, told, error) = test(&place);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(code, Some(1));
    assert!(
        lines[0].starts_with("ok      webhook http://127.0.0.1:") && lines[0].contains("/hook: 200 OK after "),
        "{told}"
    );
    assert!(lines[1].ends_with("/hook: 401 Unauthorized; it would not be tried again"), "{told}");
    assert!(
        lines[2].starts_with("FAILED") && lines[2].contains("refused") && lines[2].ends_with("it would be tried again"),
        "{told}"
    );
    assert_eq!(error, "agent-monitor: 2 receivers did not take the message\n");
    let message = good.next();
    assert_eq!(
        (message.what(), message.body["commonLabels"]["severity"].as_str()),
        ("test firing".into(), Some("info"))
    );
    place.configure(&good.config(""));
    assert_eq!(test(&place).0, Some(0));
    place.configure("");
    let (code, _, error) = test(&place);
    assert_eq!((code, &*error), (Some(1), "agent-monitor: no receiver is configured: there is no [[alerts.notify]]\n"));
}
