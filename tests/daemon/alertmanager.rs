//! A real Alertmanager, with a webhook behind it.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::agents::{Agent, HIGH_CPU, register};
use super::harness::{BRISK, Place, get, until};
use super::hook::{Hook, free_address};

/// The program of Debian's package.
const PROGRAM: &str = "prometheus-alertmanager";

/// Killed when dropped.
pub(crate) struct Alertmanager {
    child: Child,
    pub(crate) address: SocketAddr,
    _directory: TempDir,
}

impl Alertmanager {
    /// Tells the hook of every alert, after a second.
    fn start(hook: &Hook) -> Alertmanager {
        let alertmanager = Alertmanager::with(hook, &[]);
        let address = alertmanager.address;
        until("Alertmanager answers", || match std::net::TcpStream::connect(address) {
            Ok(_) if get_json(address, "/api/v2/status").is_some() => Ok(()),
            other => Err(format!("{other:?}")),
        });
        alertmanager
    }

    /// The same with these options; it may not answer yet.
    pub(crate) fn with(hook: &Hook, options: &[String]) -> Alertmanager {
        let directory = tempfile::tempdir().unwrap();
        let url = hook.config("").split('"').nth(3).unwrap().to_owned();
        let config = format!(
            "route:\n  receiver: hook\n  group_by: [alertname, agent]\n  group_wait: 1s\n  group_interval: 1s\n\
             receivers:\n  - name: hook\n    webhook_configs:\n      - url: {url}\n"
        );
        std::fs::write(directory.path().join("config.yml"), config).unwrap();
        let address = free_address();
        let child = Command::new(PROGRAM)
            .arg(format!("--config.file={}", directory.path().join("config.yml").display()))
            .arg(format!("--storage.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--cluster.listen-address=")
            .args(options)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{PROGRAM} of Debian's package of that name: {error}"));
        Alertmanager { child, address, _directory: directory }
    }

    /// What fires, as it shows it.
    fn alerts(&self) -> Vec<Value> {
        get(self.address, "/api/v2/alerts").1.as_array().unwrap().clone()
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn get_json(address: SocketAddr, path: &str) -> Option<Value> {
    std::panic::catch_unwind(|| get(address, path)).ok().filter(|(status, _)| *status == 200).map(|(_, body)| body)
}

#[test]
fn alertmanager_shows_high_cpu_over_a_restart_and_tells_each_turn_once() {
    let hook = Hook::start(&[]);
    let alertmanager = Alertmanager::start(&hook);
    let place = Place::new();
    let url = format!("http://{}/", alertmanager.address);
    place.configure(&format!("{BRISK}{HIGH_CPU}[[alerts.notify]]\nkind = \"alertmanager\"\nurl = \"{url}\"\n"));
    let busy = Agent::busy();
    register(&place, &[("coder", &busy)]);

    let daemon = place.start_with_registry();
    let first = hook.next();
    assert_eq!(first.what(), "high_cpu firing");
    let shown = alertmanager.alerts();
    assert_eq!(shown.len(), 1, "{shown:#?}");
    let labels = shown[0]["labels"].as_object().unwrap();
    assert_eq!(labels.keys().collect::<Vec<_>>(), ["agent", "alertname", "instance", "severity"]);
    assert!(shown[0]["generatorURL"].as_str().unwrap().ends_with("/agents/coder"));
    let fingerprint = shown[0]["fingerprint"].clone();
    let started = shown[0]["startsAt"].clone();

    daemon.kill();
    let daemon = place.start_with_registry();
    daemon.until_known("coder");
    until("the alert is told again by the new daemon", || {
        let now = alertmanager.alerts();
        let renewed = now.len() == 1 && now[0]["updatedAt"] != shown[0]["updatedAt"];
        if renewed { Ok(()) } else { Err(format!("{now:#?}")) }
    });
    let now = alertmanager.alerts();
    assert_eq!(
        (&now[0]["fingerprint"], &now[0]["startsAt"]),
        (&fingerprint, &started),
        "the same episode: {}",
        daemon.log_so_far()
    );
    assert_eq!(daemon.agent("coder")["alerts"], json!(["high_cpu"]));

    drop(busy);
    place.register(&json!([]));
    assert_eq!(hook.next().what(), "high_cpu resolved");
    until("nothing fires", || if alertmanager.alerts().is_empty() { Ok(()) } else { Err("something".to_owned()) });
    assert_eq!(hook.rest().len(), 0, "one message each");
}
