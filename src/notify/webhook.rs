//! Webhooks in Alertmanager's format, version 4, <https://prometheus.io/docs/alerting/latest/configuration/#webhook_config>,
//! signed as Standard Webhooks are, <https://www.standardwebhooks.com/>.

use std::collections::BTreeMap;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use sha2::Sha256;

use super::message::{Alert, json};
use super::{Notification, Origin};
use crate::model::{Timestamp, Transition};

/// The same for every attempt to deliver one message: who has seen it need not look again.
pub(super) const ID: &str = "webhook-id";
/// Seconds since the Unix epoch: of this attempt.
pub(super) const TIMESTAMP: &str = "webhook-timestamp";
/// Over both of these and the body.
pub(super) const SIGNATURE: &str = "webhook-signature";

/// How a secret begins that is the base64 of its bytes.
const SECRET_PREFIX: &str = "whsec_";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Webhook<'n> {
    version: &'static str,
    group_key: String,
    truncated_alerts: u32,
    status: &'static str,
    receiver: &'static str,
    group_labels: BTreeMap<&'static str, &'n str>,
    common_labels: BTreeMap<&'static str, &'n str>,
    common_annotations: BTreeMap<&'static str, String>,
    #[serde(rename = "externalURL")]
    external_url: &'n str,
    alerts: [WebhookAlert<'n>; 1],
}

/// An alert that has an end, even if it fires: Go's zero time.
#[derive(Serialize)]
#[serde(untagged)]
enum WebhookAlert<'n> {
    Over(Alert<'n>),
    Fires {
        #[serde(flatten)]
        alert: Alert<'n>,
        #[serde(rename = "endsAt")]
        ends_at: &'static str,
    },
}

/// Of one notification.
pub(super) fn body(notification: &Notification, origin: &Origin) -> Vec<u8> {
    let over = notification.transition == Transition::Resolved;
    let status = if over { "resolved" } else { "firing" };
    let alert = Alert::new(notification, origin).of_webhook(status);
    json(&Webhook {
        version: "4",
        group_key: group_key(notification),
        truncated_alerts: 0,
        status,
        receiver: "agent-monitor",
        group_labels: notification.group(),
        common_labels: notification.labels(origin),
        common_annotations: notification.annotations(),
        external_url: &origin.url,
        alerts: [if over {
            WebhookAlert::Over(alert)
        } else {
            WebhookAlert::Fires { alert, ends_at: "0001-01-01T00:00:00Z" }
        }],
    })
}

/// `{}:{agent="coder", alertname="high_cpu"}`, as Alertmanager writes it.
fn group_key(notification: &Notification) -> String {
    let mut key = "{}:{".to_owned();
    for (place, (name, value)) in notification.group().into_iter().enumerate() {
        let comma = if place == 0 { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(key, "{comma}{name}={value:?}");
    }
    key + "}"
}

/// `v1,` and the base64 of the HMAC-SHA256 (RFC 2104) of id, timestamp and body, joined by dots.
pub(super) fn signature(secret: &str, id: &str, at: Timestamp, body: &[u8]) -> String {
    let decoded = secret.strip_prefix(SECRET_PREFIX).and_then(|text| STANDARD.decode(text).ok());
    let secret = decoded.unwrap_or_else(|| secret.as_bytes().to_vec());
    let mut mac = Hmac::<Sha256>::new_from_slice(&secret).expect("a key of any length will do");
    mac.update(format!("{id}.{}.", seconds(at)).as_bytes());
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

pub(super) fn seconds(at: Timestamp) -> i64 {
    at.unix_ms().div_euclid(1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AgentId;

    #[test]
    fn signatures_are_those_of_the_standard() {
        // The example of its reference libraries.
        let at = Timestamp::from_unix_ms(1_614_265_330_000);
        let body = br#"{"test": 2432232314}"#;
        let signed = signature("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", at, body);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_ne!(signature("another", "msg_p5jXN8AQM9LWM0D4loKWxJek", at, body), signed);
        assert_eq!(
            signature("plain", "i", at, body),
            signature("whsec_cGxhaW4=", "i", at, body),
            "as it is, or base64"
        );
    }

    #[test]
    fn the_body_is_that_of_alertmanager() {
        let origin = Origin { url: "http://127.0.0.1:7717/".into(), instance: "host-1".into() };
        let fires = Notification {
            agent: Some(AgentId::new("a\"b").unwrap()),
            value: Some(91.0),
            threshold: Some(80.0),
            ..Notification::test(Timestamp::from_unix_ms(0))
        };
        let text = |notification: &Notification| -> serde_json::Value {
            serde_json::from_slice(&body(notification, &origin)).unwrap()
        };
        let firing = text(&fires);
        let bytes = body(&fires, &origin);
        let named = |name: &str| String::from_utf8_lossy(&bytes).matches(name).count();
        assert_eq!((named("\"endsAt\""), named("\"startsAt\"")), (1, 1), "each key once");
        let labels =
            serde_json::json!({"alertname": "test", "agent": "a\"b", "severity": "info", "instance": "host-1"});
        let annotations = serde_json::json!({"summary": &*fires.message, "value": "91", "threshold": "80"});
        let fingerprint = firing["alerts"][0]["fingerprint"].clone();
        assert_eq!(fingerprint.as_str().unwrap().len(), 16);
        let expected = serde_json::json!({
            "version": "4",
            "groupKey": r#"{}:{agent="a\"b", alertname="test"}"#,
            "truncatedAlerts": 0,
            "status": "firing",
            "receiver": "agent-monitor",
            "groupLabels": {"alertname": "test", "agent": "a\"b"},
            "commonLabels": labels,
            "commonAnnotations": annotations,
            "externalURL": "http://127.0.0.1:7717/",
            "alerts": [{
                "status": "firing",
                "labels": labels,
                "annotations": annotations,
                "startsAt": "1970-01-01T00:00:00.000Z",
                "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": "http://127.0.0.1:7717/agents/a%22b",
                "fingerprint": fingerprint,
            }],
        });
        assert_eq!(firing, expected);
        let over =
            text(&Notification { transition: Transition::Resolved, at: Timestamp::from_unix_ms(9_000), ..fires });
        assert_eq!((&over["status"], &over["alerts"][0]["status"]), (&"resolved".into(), &"resolved".into()));
        assert_eq!(over["alerts"][0]["endsAt"], "1970-01-01T00:00:09.000Z");
        assert_eq!(over["alerts"][0]["fingerprint"], fingerprint, "the same alert");
        assert_eq!(over["groupKey"], firing["groupKey"]);
    }
}
