//! Tells receivers of alerts: what is said, and how each kind is spoken to. One message at a time; when and in which
//! order is for others to decide.

mod alertmanager;
mod message;
mod notifier;
mod webhook;

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::model::{ActiveAlert, AgentId, Body, Recorded, Severity, Timestamp, Transition};

pub use notifier::{Notifier, NotifyError, Outcome, TIMEOUT, key};

/// Who tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    /// The dashboard's address, with a slash at its end.
    pub url: String,
    /// The name of this host: agents of the same id on two hosts are two.
    pub instance: String,
}

/// What is told of an alert.
#[derive(Clone, PartialEq, Debug)]
pub struct Notification {
    /// What happened.
    pub transition: Transition,
    /// The rule's name.
    pub rule: Arc<str>,
    /// Whose; none for the daemon's own.
    pub agent: Option<AgentId>,
    /// The registry source, where it is about one.
    pub source: Option<Arc<str>>,
    /// How much it matters.
    pub severity: Severity,
    /// When it fired.
    pub since: Timestamp,
    /// When this happened.
    pub at: Timestamp,
    /// All of it in words.
    pub message: Arc<str>,
    /// The number that was seen, where there is one.
    pub value: Option<f64>,
    /// The number it was held against, where there is one.
    pub threshold: Option<f64>,
}

impl Notification {
    /// What an entry of the journal tells; `None` when it is not about an alert.
    pub fn of(recorded: &Recorded) -> Option<Notification> {
        let Body::Alert(note) = &recorded.entry.body else { return None };
        Some(Notification {
            transition: note.transition,
            rule: Arc::clone(&note.rule),
            agent: recorded.entry.agent.as_ref().map(|(_, id)| id.clone()),
            source: note.source.clone(),
            severity: note.severity,
            since: note.since,
            at: recorded.entry.at,
            message: Arc::clone(&note.message),
            value: note.value,
            threshold: note.threshold,
        })
    }

    /// That an alert still fires.
    pub fn still(alert: &ActiveAlert, at: Timestamp) -> Notification {
        Notification {
            transition: Transition::Repeated,
            rule: Arc::clone(&alert.rule),
            agent: alert.agent.clone(),
            source: alert.source.clone(),
            severity: alert.severity,
            since: alert.since,
            at,
            message: Arc::clone(&alert.message),
            value: alert.value,
            threshold: alert.threshold,
        }
    }

    /// One that is about nothing, to see whether it arrives.
    pub fn test(at: Timestamp) -> Notification {
        Notification {
            transition: Transition::Fired,
            rule: "test".into(),
            agent: None,
            source: None,
            severity: Severity::Info,
            since: at,
            at,
            message: "agent-monitor: a test of this receiver; nothing is wrong".into(),
            value: None,
            threshold: None,
        }
    }

    /// The same whenever this is told again for want of an answer, before and after a restart: 32 hex digits.
    pub fn key(&self, origin: &Origin) -> String {
        let transition = match self.transition {
            Transition::Fired => "fired",
            Transition::Repeated => "repeated",
            Transition::Resolved => "resolved",
        };
        digest(&[
            &origin.instance,
            &self.rule,
            self.agent.as_ref().map_or("", AgentId::as_str),
            self.source.as_deref().unwrap_or(""),
            transition,
            &self.since.unix_ms().to_string(),
            &self.at.unix_ms().to_string(),
        ])
    }

    /// What names the alert, over all its episodes. No number that was seen, no process: those would make it another
    /// alert each time.
    fn labels<'n>(&'n self, origin: &'n Origin) -> BTreeMap<&'static str, &'n str> {
        let mut labels = self.group();
        labels.insert("severity", self.severity.word());
        labels.insert("instance", &origin.instance);
        labels
    }

    /// The labels by which those who receive webhooks tell apart what belongs together.
    fn group(&self) -> BTreeMap<&'static str, &str> {
        let agent = self.agent.as_ref().map(|agent| ("agent", agent.as_str()));
        let source = self.source.as_deref().map(|source| ("source", source));
        [("alertname", &*self.rule)].into_iter().chain(agent).chain(source).collect()
    }

    /// What is said of it besides.
    fn annotations(&self) -> BTreeMap<&'static str, String> {
        let number = |name, number: Option<f64>| Some((name, decimal(number?)));
        let all = [
            Some(("summary", self.message.to_string())),
            number("value", self.value),
            number("threshold", self.threshold),
        ];
        all.into_iter().flatten().collect()
    }

    /// Where the agent can be looked at.
    fn page(&self, origin: &Origin) -> String {
        let Some(agent) = &self.agent else { return origin.url.clone() };
        let Ok(mut url) = reqwest::Url::parse(&origin.url) else { return origin.url.clone() };
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push("agents").push(agent.as_str());
        }
        url.into()
    }
}

/// One decimal, as everywhere, and none where it says nothing.
fn decimal(number: f64) -> String {
    let text = format!("{number:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

/// The first 32 hex digits of a digest of some texts, whatever is in them.
fn digest(texts: &[&str]) -> String {
    let mut digest = Sha256::new();
    for text in texts {
        digest.update((text.len() as u64).to_be_bytes());
        digest.update(text.as_bytes());
    }
    digest.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        Origin { url: "http://127.0.0.1:7717/".into(), instance: "host-1".into() }
    }

    fn notification() -> Notification {
        let agent = Some(AgentId::new("a/b é").unwrap());
        Notification {
            agent,
            value: Some(91.25),
            threshold: Some(80.0),
            ..Notification::test(Timestamp::from_unix_ms(1))
        }
    }

    #[test]
    fn a_key_is_that_of_one_turn_of_one_alert() {
        let one = notification();
        let key = |change: fn(&mut Notification)| {
            let mut other = one.clone();
            change(&mut other);
            other.key(&origin())
        };
        let first = one.key(&origin());
        assert_eq!(key(|other| other.message = "in other words".into()), first, "words are not what it is");
        let others = [
            key(|other| other.transition = Transition::Repeated),
            key(|other| other.transition = Transition::Resolved),
            key(|other| other.rule = "tes".into()),
            key(|other| other.agent = None),
            key(|other| other.source = Some("file:/x".into())),
            key(|other| other.since = Timestamp::from_unix_ms(0)),
            key(|other| other.at = Timestamp::from_unix_ms(2)),
            one.key(&Origin { instance: "host-2".into(), ..origin() }),
            first.clone(),
        ];
        let different: std::collections::BTreeSet<_> = others.iter().collect();
        assert_eq!(different.len(), others.len());
        assert_eq!(first.len(), 32);
    }

    #[test]
    fn labels_hold_no_number_and_the_page_no_foreign_path() {
        let notification = notification();
        let labels = format!("{:?}", notification.labels(&origin()));
        let expected = r#"{"agent": "a/b é", "alertname": "test", "instance": "host-1", "severity": "info"}"#;
        assert_eq!(labels, expected);
        assert_eq!(notification.annotations()["value"], "91.2");
        assert_eq!(notification.annotations()["threshold"], "80");
        assert_eq!(notification.page(&origin()), "http://127.0.0.1:7717/agents/a%2Fb%20%C3%A9");
        assert_eq!(Notification { agent: None, ..notification }.page(&origin()), "http://127.0.0.1:7717/");
    }
}
