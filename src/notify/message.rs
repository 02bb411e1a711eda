//! An alert as both kinds of receivers read it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::{Notification, Origin, digest};
use crate::model::{Timestamp, Transition};

/// An alert of Alertmanager's.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Alert<'n> {
    /// Only in webhooks: the API does not know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<&'static str>,
    pub(super) labels: BTreeMap<&'static str, &'n str>,
    pub(super) annotations: BTreeMap<&'static str, String>,
    pub(super) starts_at: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ends_at: Option<Time>,
    #[serde(rename = "generatorURL")]
    pub(super) generator_url: String,
    /// Only in webhooks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fingerprint: Option<String>,
}

impl<'n> Alert<'n> {
    pub(super) fn new(notification: &'n Notification, origin: &'n Origin) -> Alert<'n> {
        let over = notification.transition == Transition::Resolved;
        Alert {
            status: None,
            labels: notification.labels(origin),
            annotations: notification.annotations(),
            starts_at: Time(notification.since),
            ends_at: over.then_some(Time(notification.at)),
            generator_url: notification.page(origin),
            fingerprint: None,
        }
    }

    /// While it fires: over at this time unless it is told again until then.
    pub(super) fn lasting(mut self, now: Timestamp, span: Duration) -> Alert<'n> {
        self.ends_at = self.ends_at.or(Some(Time(now + span)));
        self
    }

    /// As a webhook has it.
    pub(super) fn of_webhook(mut self, status: &'static str) -> Alert<'n> {
        let texts: Vec<&str> = self.labels.iter().flat_map(|(name, value)| [*name, *value]).collect();
        // Alertmanager's has 16 digits too.
        self.fingerprint = Some(digest(&texts)[..16].to_owned());
        self.status = Some(status);
        self
    }
}

/// RFC 3339.
pub(super) struct Time(Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// What has only texts as keys always has a JSON form.
pub(super) fn json(shape: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(shape).expect("texts always have a JSON form")
}
