//! Receivers over TLS, whose certificates an authority of this test has signed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tempfile::TempDir;

use super::agents::{Agent, register};
use super::alertmanager::Alertmanager;
use super::harness::{BRISK, Daemon, Place, is_root, outcome, program};
use super::hook::Hook;
use super::receivers::until_receiver;

/// Signs certificates of servers on this machine.
struct Authority(TempDir);

impl Authority {
    fn new() -> Authority {
        let authority = Authority(tempfile::tempdir().unwrap());
        let (certificate, key) = (authority.certificate(), authority.path("key"));
        authority.make(&certificate, &key, &["-addext", "keyUsage=critical,keyCertSign"]);
        authority
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Its own, by which others know it.
    fn certificate(&self) -> PathBuf {
        self.path("authority.pem")
    }

    /// A certificate for servers of this name, and its key.
    fn sign(&self, name: &str) -> (PathBuf, PathBuf) {
        let (certificate, key) = (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")));
        let (ours, with) = (self.certificate(), self.path("key"));
        let name = format!("subjectAltName=DNS:{name}");
        let by_us = ["-CA", ours.to_str().unwrap(), "-CAkey", with.to_str().unwrap()];
        let for_server = ["-addext", &name, "-addext", "basicConstraints=critical,CA:FALSE"];
        self.make(&certificate, &key, &[by_us, for_server].concat());
        (certificate, key)
    }

    fn make(&self, certificate: &Path, key: &Path, options: &[&str]) {
        // No two authorities of one name.
        let subject = format!("/CN={}", self.0.path().file_name().unwrap().to_str().unwrap());
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-days", "2", "-subj", &subject, "-nodes", "-newkey", "ec", "-pkeyopt"]);
        openssl.args(["ec_paramgen_curve:P-256", "-keyout"]).arg(key).arg("-out");
        let made = openssl.arg(certificate).args(options).current_dir(&self.0).output().expect("openssl");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    /// What a server of this name shows.
    fn server(&self, name: &str) -> Arc<ServerConfig> {
        let (certificate, key) = self.sign(name);
        let certificates = vec![CertificateDer::from_pem_file(certificate).unwrap()];
        let key = PrivateKeyDer::from_pem_file(key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        Arc::new(config.with_no_client_auth().with_single_cert(certificates, key).unwrap())
    }
}

/// A receiver that can be given another certificate.
fn hook(server: Arc<ServerConfig>) -> (Hook, Arc<Mutex<Arc<ServerConfig>>>) {
    let shown = Arc::new(Mutex::new(server));
    (Hook::over_tls(Arc::clone(&shown)), shown)
}

fn webhook(hook: &Hook) -> String {
    format!("[[alerts.notify]]\nkind = \"webhook\"\nurl = \"https://localhost:{}/hook\"\n", hook.port())
}

/// A daemon that watches one agent, and knows these authorities; none: those of the system.
fn watched(place: &Place, receivers: &str, authorities: Option<&Path>) -> (Daemon, Agent) {
    place.configure(&format!("{BRISK}{receivers}"));
    let agent = Agent::start();
    register(place, &[("coder", &agent)]);
    let mut command = place.command();
    command.env_remove("SSL_CERT_FILE").env_remove("SSL_CERT_DIR");
    if let Some(file) = authorities {
        command.env("SSL_CERT_FILE", file);
    }
    command.args(["--interval", "1s", "--registry"]).arg(place.path("agents.json"));
    let daemon = place.start_as_told(&mut command);
    daemon.until_known("coder");
    (daemon, agent)
}

#[test]
fn receivers_are_told_over_tls_by_an_authority_of_ones_own() {
    let authority = Authority::new();
    let (hook, _) = hook(authority.server("localhost"));
    let behind = Hook::start(&[]);
    let (certificate, key) = authority.sign("localhost");
    let web = format!("tls_server_config:\n  cert_file: {}\n  key_file: {}\n", certificate.display(), key.display());
    std::fs::write(authority.path("web.yml"), web).unwrap();
    let options =
        [format!("--web.config.file={}", authority.path("web.yml").display()), "--web.route-prefix=/am".into()];
    let alertmanager = Alertmanager::with(&behind, &options);
    let url = format!("https://localhost:{}/am/", alertmanager.address.port());
    let receivers = format!("{}[[alerts.notify]]\nkind = \"alertmanager\"\nurl = \"{url}\"\n", webhook(&hook));
    let place = Place::new();
    let (daemon, mut agent) = watched(&place, &receivers, Some(&authority.certificate()));
    agent.kill();
    assert_eq!(hook.next().what(), "agent_down firing");
    assert_eq!(behind.next().what(), "agent_down firing", "by way of Alertmanager");
    place.register(&json!([]));
    assert_eq!(hook.next().what(), "agent_down resolved");
    assert_eq!(behind.next().what(), "agent_down resolved");
    daemon.stop();
}

/// What `update-ca-certificates` puts together is what is trusted when nothing else is said.
#[test]
fn the_authorities_of_the_system_are_known() {
    if !is_root() {
        println!("only root can give a daemon another /etc/ssl/certs");
        return;
    }
    let authority = Authority::new();
    let (hook, _) = hook(authority.server("localhost"));
    let mut place = Place::new();
    std::fs::create_dir(place.path("certs")).unwrap();
    std::fs::copy(authority.certificate(), place.path("certs/ca-certificates.crt")).unwrap();
    let mount = format!("mount --bind '{}' /etc/ssl/certs", place.path("certs").display());
    place.change_world("--mount", &mount);
    let (daemon, mut agent) = watched(&place, &webhook(&hook), None);
    agent.kill();
    assert_eq!(hook.next().what(), "agent_down firing");
    daemon.stop();
}

#[test]
fn a_certificate_that_does_not_fit_is_refused_and_said() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (hook, shown) = hook(stranger.server("localhost"));
    let place = Place::new();
    let (daemon, mut agent) = watched(&place, &webhook(&hook), Some(&authority.certificate()));
    agent.kill();
    let refused = |reason: &str| {
        let now =
            until_receiver(&daemon, reason, |now| now["error"].as_str().is_some_and(|error| error.contains(reason)));
        assert_eq!((&now["status"], &now["delivered"]), (&"failing".into(), &0.into()), "{now}");
    };
    refused("invalid peer certificate: UnknownIssuer");
    *shown.lock().unwrap() = authority.server("other.example");
    refused("certificate not valid for name \"localhost\"");
    assert_eq!(hook.rest().len(), 0, "neither heard a word");

    let test = || {
        let mut command = program();
        command.args(["alerts", "--test", "--config"]).arg(place.path("config.toml"));
        outcome(command.env("SSL_CERT_FILE", authority.certificate()))
    };
    let (code, told, _) = test();
    assert_eq!(code, Some(1));
    assert!(told.starts_with("FAILED  webhook https://localhost:") && told.contains("not valid for name"), "{told}");
    *shown.lock().unwrap() = authority.server("localhost");
    assert_eq!(test().0, Some(0));
    assert_eq!(hook.hears("agent_down firing").what(), "agent_down firing", "nothing is lost meanwhile");
    until_receiver(&daemon, "it is well again", |now| now["status"] == "ok" && now["delivered"] == 1);
}

#[test]
fn without_any_authority_a_receiver_is_not_taken_for_well() {
    let authority = Authority::new();
    let (hook, _) = hook(authority.server("localhost"));
    let place = Place::new();
    std::fs::write(place.path("none.pem"), "").unwrap();
    let (daemon, _agent) = watched(&place, &webhook(&hook), Some(&place.path("none.pem")));
    let now = until_receiver(&daemon, "it cannot be used", |now| now["status"] == "failing");
    let error = now["error"].as_str().unwrap();
    assert!(error.starts_with("cannot prepare to tell https://") && error.contains("No CA certificates"), "{now}");
    daemon.until_logged("a receiver cannot be used");
}
