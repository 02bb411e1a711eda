//! Alertmanager's API, version 2: `POST /api/v2/alerts`, <https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml>.
//!
//! It is told that an alert fires as long as it does, <https://prometheus.io/docs/alerting/latest/clients/>: what it does not
//! hear of any more is over for it at `endsAt`.

use std::time::Duration;

use super::message::{Alert, json};
use super::{Notification, Origin};
use crate::model::Timestamp;

/// Below the base address of the server.
pub(super) const PATH: &str = "api/v2/alerts";

/// An alert that is not told again for so long is over: five times the pause between two tellings, so that a restart of
/// this daemon or of Alertmanager resolves nothing.
const LASTING: Duration = Duration::from_secs(300);

/// Of some alerts, as they are at `now`.
pub(super) fn body(notifications: &[Notification], origin: &Origin, now: Timestamp) -> Vec<u8> {
    let alert = |notification| Alert::new(notification, origin).lasting(now, LASTING);
    json(&notifications.iter().map(alert).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Transition;

    #[test]
    fn what_fires_lasts_five_minutes_and_what_is_over_has_its_end() {
        let origin = Origin { url: "http://127.0.0.1:7717/".into(), instance: "host-1".into() };
        let at = |s: i64| Timestamp::from_unix_ms(s * 1000);
        let fires = Notification::test(at(100));
        let over = Notification { transition: Transition::Resolved, at: at(160), value: Some(3.0), ..fires.clone() };
        let text = String::from_utf8(body(&[fires, over], &origin, at(1_000))).unwrap();
        let labels = r#"{"alertname":"test","instance":"host-1","severity":"info"}"#;
        let summary = r#""summary":"agent-monitor: a test of this receiver; nothing is wrong""#;
        let rest = r#""generatorURL":"http://127.0.0.1:7717/""#;
        let expected = format!(
            "[{{\"labels\":{labels},\"annotations\":{{{summary}}},\"startsAt\":\"1970-01-01T00:01:40.000Z\",\
             \"endsAt\":\"1970-01-01T00:21:40.000Z\",{rest}}},\
             {{\"labels\":{labels},\"annotations\":{{{summary},\"value\":\"3\"}},\
             \"startsAt\":\"1970-01-01T00:01:40.000Z\",\"endsAt\":\"1970-01-01T00:02:40.000Z\",{rest}}}]"
        );
        assert_eq!(text, expected);
    }
}
