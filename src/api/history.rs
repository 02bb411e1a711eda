//! One agent's past in buckets.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;

use super::agent::AgentPath;
use super::error::Problem;
use super::routes::Shared;
use super::wire;
use crate::model::{AgentId, Step, Timestamp};

/// How far back an answer goes when nothing says.
const RANGE: Duration = Duration::from_secs(3600);

/// Which part of an agent's past is asked for: [from, to).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HistoryQuery {
    /// Whose.
    pub agent: AgentId,
    /// The beginning.
    pub from: Timestamp,
    /// The end.
    pub to: Timestamp,
    /// How long the buckets are to be.
    pub step: Step,
}

/// What is asked. An empty value is as good as none.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Asked {
    from: String,
    to: String,
    step: String,
}

pub(super) async fn history(
    State(shared): State<Arc<Shared>>,
    AgentPath(agent): AgentPath,
    asked: Result<Query<Asked>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Query(asked) = asked?;
    let query = asked.query(agent, shared.sources.clock.now().wall, (shared.sources.interval)())?;
    let look = Arc::clone(&shared.sources.history);
    let listed = shared.sources.feed.present().snapshot;
    let text = shared.answers.look_up("an agent's past", move || {
        let history = look(&query)?;
        // One that was first seen a moment ago is in the lists before it is in the database.
        let known = history.is_some() || listed.agents.iter().any(|view| view.id == query.agent);
        Ok(known.then(|| wire::text(&wire::History::new(&query, history.as_ref()))))
    });
    match text.await? {
        Some(text) => shared.answers.json_unless_known(&headers, text),
        None => Err(Problem::not_found("no agent of this id was ever seen")),
    }
}

impl Asked {
    fn query(&self, agent: AgentId, now: Timestamp, interval: Duration) -> Result<HistoryQuery, Problem> {
        let moment = |name: &str, text: &str, otherwise: Timestamp| match text {
            "" => Ok(otherwise),
            text => moment(text, now).ok_or_else(|| {
                let forms =
                    "RFC 3339 (a plus sign as %2B), seconds or milliseconds since 1970, now, or a time ago as -15m";
                Problem::bad_request(format!("{name} is a time: {forms}"))
            }),
        };
        let to = moment("to", &self.to, now)?;
        let from = moment("from", &self.from, to - RANGE)?;
        let step = match &*self.step {
            "" | "auto" => Step::Auto { interval },
            text => match humantime::parse_duration(text) {
                Ok(step) if !step.is_zero() => Step::Exactly(step),
                _ => return Err(Problem::bad_request("step is a duration such as 30s, or auto")),
            },
        };
        if from >= to {
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "from must be before to"));
        }
        Ok(HistoryQuery { agent, from, to, step })
    }
}

/// A moment as people write it: RFC 3339, a number since 1970, `now`, or how long before it, as `-15m`. Numbers from 1e11
/// on are milliseconds, lower ones seconds: the year 5138, and March 1973.
pub fn moment(text: &str, now: Timestamp) -> Option<Timestamp> {
    if text == "now" {
        return Some(now);
    }
    if let Some(ago) = text.strip_prefix('-') {
        return humantime::parse_duration(ago).ok().map(|ago| now - ago);
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let number: i64 = text.parse().ok()?;
        let ms = if number < 100_000_000_000 { number * 1000 } else { number };
        return Some(Timestamp::from_unix_ms(ms));
    }
    Timestamp::parse(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_ms(1_767_225_600_000);

    #[test]
    fn moments() {
        let at = |text: &str| moment(text, NOW).map(Timestamp::unix_ms);
        let now = NOW.unix_ms();
        for (text, expected) in [
            ("now", now),
            ("-0s", now),
            ("-15m", now - 900_000),
            ("-1h 30m", now - 5_400_000),
            ("-7d", now - 7 * 86_400_000),
            ("1767225600", now),
            ("1767225600000", now),
            ("0", 0),
            ("2026-01-01T00:00:00Z", now),
            ("2026-01-01T01:00:00.000+01:00", now),
            ("2026-01-01 00:00:00.000", now),
        ] {
            assert_eq!(at(text), Some(expected), "{text}");
        }
        for text in ["", "-", "15m", "--15m", "-15", "yesterday", "1e9", "1.5", "2026-01-01", "99999999999999999999"] {
            assert_eq!(at(text), None, "{text}");
        }
        // As far as times go, and no further.
        assert_eq!(at("9223372036854775807"), Some(Timestamp::from_unix_ms(i64::MAX).unix_ms()));
        assert_eq!(at("-500000y"), Some(Timestamp::from_unix_ms(i64::MIN).unix_ms()));
    }

    #[test]
    fn questions() {
        let query = |from: &str, to: &str, step: &str| {
            let asked = Asked { from: from.into(), to: to.into(), step: step.into() };
            asked.query(AgentId::new("a").unwrap(), NOW, Duration::from_secs(10)).ok()
        };
        let hour = query("", "", "").unwrap();
        assert_eq!((hour.from, hour.to), (NOW - RANGE, NOW));
        assert_eq!(hour.step, Step::Auto { interval: Duration::from_secs(10) });
        assert_eq!(query("", "-1h", "auto").unwrap().from, NOW - 2 * RANGE);
        assert_eq!(query("-1d", "", "90s").unwrap().step, Step::Exactly(Duration::from_secs(90)));
        assert_eq!(query("now", "now", ""), None);
        assert_eq!(query("now", "-1m", ""), None);
        for step in ["0s", "-1s", "1", "often"] {
            assert_eq!(query("", "", step), None, "{step}");
        }
    }
}
