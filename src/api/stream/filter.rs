//! What of a stream a client wants, and where it left off.

use axum::http::HeaderMap;
use serde::Deserialize;

use super::message::{Kind, Message};
use crate::api::error::Problem;
use crate::model::{AgentId, ReplayQuery};

/// What a stream is asked with. An empty value is as good as none.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(in crate::api) struct Asked {
    agent: String,
    r#type: String,
    after: String,
}

/// What a client wants to hear.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Filter {
    /// Only this agent's.
    pub(super) agent: Option<AgentId>,
    kinds: Vec<Kind>,
}

impl Asked {
    pub(super) fn filter(&self) -> Result<Filter, Problem> {
        let agent = match &*self.agent {
            "" => None,
            text => Some(AgentId::new(text).map_err(|error| Problem::bad_request(format!("agent: {error}")))?),
        };
        let kind = |word: &str| {
            Kind::named(word).ok_or_else(|| {
                Problem::bad_request("type is any of metrics_update, event, agent_error, alert, parted by commas")
            })
        };
        let kinds = match &*self.r#type {
            "" => Kind::ALL.to_vec(),
            words => words.split(',').map(kind).collect::<Result<_, _>>()?,
        };
        Ok(Filter { agent, kinds })
    }

    /// The last line of the journal that the client has: what it says when it comes back by itself counts more than the
    /// address it came back to.
    pub(super) fn after(&self, headers: &HeaderMap) -> Result<Option<i64>, Problem> {
        let last = headers.get("last-event-id").map(|value| value.to_str().unwrap_or("?"));
        match last.filter(|last| !last.is_empty()).unwrap_or(&self.after) {
            "" => Ok(None),
            text => match text.parse() {
                Ok(id @ 0..) => Ok(Some(id)),
                _ => Err(Problem::bad_request("after, and Last-Event-ID, is the id of a message of a stream, or 0")),
            },
        }
    }
}

impl Filter {
    pub(super) fn takes(&self, message: &Message) -> bool {
        let wanted = message.kind.is_none_or(|kind| self.kinds.contains(&kind));
        let ours = match (&self.agent, message.kind) {
            (None, _) | (_, None) => true,
            (Some(agent), Some(Kind::Metrics)) => message.part(agent).is_some(),
            (Some(agent), Some(_)) => message.agent.as_ref() == Some(agent),
        };
        wanted && ours
    }

    /// Which lines of the journal it missed.
    pub(super) fn missed(&self, after: i64, limit: u32) -> ReplayQuery {
        let wants = |kind| self.kinds.contains(&kind);
        ReplayQuery {
            after,
            agent: self.agent.clone(),
            events: wants(Kind::Event),
            errors: wants(Kind::Error),
            alerts: wants(Kind::Alert),
            limit,
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use axum::response::IntoResponse;

    use super::*;

    #[test]
    fn where_a_client_left_off() {
        let after = |header: Option<&'static str>, query: &str| {
            let mut headers = HeaderMap::new();
            if let Some(value) = header {
                headers.insert("last-event-id", HeaderValue::from_static(value));
            }
            let asked = Asked { after: query.into(), ..Asked::default() };
            asked.after(&headers).map_err(|problem| problem.into_response().status().as_u16())
        };
        assert_eq!(after(None, ""), Ok(None));
        assert_eq!(after(None, "0"), Ok(Some(0)));
        assert_eq!(after(Some("17"), "3"), Ok(Some(17)));
        assert_eq!(after(Some(""), "3"), Ok(Some(3)));
        for wrong in ["-1", "x", "1.5", "9223372036854775808", " 1"] {
            assert_eq!(after(Some("x"), wrong), Err(400));
            assert_eq!(after(None, wrong), Err(400), "{wrong}");
        }
    }

    #[test]
    fn kinds_have_names_and_nothing_else_is_one() {
        let filter = |words: &str| Asked { r#type: words.into(), ..Asked::default() }.filter();
        assert_eq!(filter("").unwrap().kinds, Kind::ALL);
        assert_eq!(filter("event,agent_error,error").unwrap().kinds, [Kind::Event, Kind::Error, Kind::Error]);
        for wrong in ["events", "event,", ",", "event, alert", "hello"] {
            assert!(filter(wrong).is_err(), "{wrong}");
        }
    }
}
