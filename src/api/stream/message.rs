//! Messages of streams as text, one form for each format.

use std::ops::Range;
use std::sync::Arc;

use axum::body::Bytes;
use serde::Serialize;

use crate::api::wire::{self, Gap};
use crate::model::{AgentId, AgentView, Body, JournalLine, SharedList, Snapshot};

/// How messages are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Format {
    /// Server-Sent Events, <https://html.spec.whatwg.org/multipage/server-sent-events.html>.
    Sse,
    /// `{type, data}`, a message each.
    Ws,
}

impl Format {
    pub(super) const ALL: [Format; 2] = [Format::Sse, Format::Ws];
}

/// What messages are about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Metrics,
    Event,
    Error,
    Alert,
}

impl Kind {
    pub(super) const ALL: [Kind; 4] = [Kind::Metrics, Kind::Event, Kind::Error, Kind::Alert];

    fn word(self, format: Format) -> &'static str {
        match (self, format) {
            (Kind::Metrics, _) => "metrics_update",
            (Kind::Event, _) => "event",
            // An `error` of an EventSource is its own.
            (Kind::Error, Format::Sse) => "agent_error",
            (Kind::Error, Format::Ws) => "error",
            (Kind::Alert, _) => "alert",
        }
    }

    /// By the word of either format.
    pub(super) fn named(word: &str) -> Option<Kind> {
        let is = |kind: &Kind| Format::ALL.iter().any(|format| kind.word(*format) == word);
        Kind::ALL.into_iter().find(is)
    }
}

/// One thing that happened, as text.
#[derive(Debug)]
pub(super) struct Message {
    /// What it is about; a heartbeat is about nothing.
    pub(super) kind: Option<Kind>,
    /// Its line of the journal, if it has one.
    pub(super) id: Option<i64>,
    /// Whose it is, if it is one agent's.
    pub(super) agent: Option<AgentId>,
    /// All of it. In the format of WebSocket, metrics are a message for each agent, one after the other.
    pub(super) text: Bytes,
    /// Of metrics: where each agent is in the text, by id.
    parts: Vec<(AgentId, Range<usize>)>,
}

/// What is different in a snapshot.
pub(super) struct Changes {
    now: Arc<Snapshot>,
    /// By id.
    pub(super) agents: Vec<Arc<AgentView>>,
    /// Those that left the lists.
    removed: Vec<AgentId>,
    ticked: bool,
}

impl Changes {
    pub(super) fn between(before: &Snapshot, now: Arc<Snapshot>) -> Changes {
        let (mut agents, mut removed) = (Vec::new(), Vec::new());
        // Both are by id, and share the views in which nothing changed.
        let (old, new) = SharedList::apart(&before.agents, &now.agents);
        let mut old = old.peekable();
        for view in new {
            // Nearly all, and found to be so without a look at them.
            if old.next_if(|old| Arc::ptr_eq(old, view)).is_some() {
                continue;
            }
            while let Some(gone) = old.next_if(|old| old.id < view.id) {
                removed.push(gone.id.clone());
            }
            old.next_if(|old| old.id == view.id);
            agents.push(Arc::clone(view));
        }
        removed.extend(old.map(|gone| gone.id.clone()));
        let ticked = before.own.last_tick_mono != now.own.last_tick_mono;
        Changes { now, agents, removed, ticked }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.agents.is_empty() && self.removed.is_empty() && !self.ticked
    }
}

impl Message {
    pub(super) fn changes(format: Format, changes: &Changes) -> Message {
        let mut text = Vec::new();
        let mut parts = Vec::with_capacity(changes.agents.len());
        match format {
            Format::Sse => {
                text.extend_from_slice(b"event: metrics_update\ndata: {\"timestamp\":");
                json(&mut text, &wire::moment(changes.now.at));
                text.extend_from_slice(b",\"agents\":[");
                for view in &changes.agents {
                    if !parts.is_empty() {
                        text.push(b',');
                    }
                    parts.push(part(&mut text, view, &wire::ChangedAgent::from(&**view)));
                }
                text.extend_from_slice(b"],\"removed\":");
                json(&mut text, &changes.removed.iter().map(AgentId::as_str).collect::<Vec<_>>());
                text.extend_from_slice(b",\"systemMetrics\":");
                json(&mut text, &wire::system_metrics(&changes.now.host));
                text.extend_from_slice(b"}\n\n");
            }
            Format::Ws => {
                for view in &changes.agents {
                    let data = wire::AgentMetricsUpdate::from(&**view);
                    parts.push(part(&mut text, view, &typed(Kind::Metrics.word(format), &data)));
                }
            }
        }
        Message { kind: Some(Kind::Metrics), id: None, agent: None, text: text.into(), parts }
    }

    pub(super) fn line(format: Format, line: &JournalLine) -> Message {
        let id = line.recorded.id;
        let kind = match line.recorded.entry.body {
            Body::Event(_) => Kind::Event,
            Body::Error(_) => Kind::Error,
            Body::Alert(_) => Kind::Alert,
        };
        let text = framed(format, kind.word(format), id, &wire::line(line));
        let agent = line.recorded.entry.agent.as_ref().map(|(_, id)| id.clone());
        Message { kind: Some(kind), id, agent, text, parts: Vec::new() }
    }

    /// Something to be said, so that both ends see that the other is there.
    pub(super) fn heartbeat(format: Format) -> Message {
        let text = match format {
            Format::Sse => Bytes::from_static(b":\n\n"),
            Format::Ws => Bytes::new(),
        };
        Message { kind: None, id: None, agent: None, text, parts: Vec::new() }
    }

    /// The text about one agent.
    pub(super) fn part(&self, agent: &AgentId) -> Option<Bytes> {
        let place = self.parts.binary_search_by(|(id, _)| id.cmp(agent)).ok()?;
        self.parts.get(place).map(|(_, range)| self.text.slice(range.clone()))
    }

    /// The texts about every agent.
    pub(super) fn all_parts(&self) -> impl Iterator<Item = Bytes> {
        self.parts.iter().map(|(_, range)| self.text.slice(range.clone()))
    }

    /// In the format of Server-Sent Events: the same with one agent only.
    pub(super) fn only(&self, agent: &AgentId) -> Option<Bytes> {
        let (first, last) = (self.parts.first()?, self.parts.last()?);
        let part = self.part(agent)?;
        Some([self.text.get(..first.1.start)?, &part, self.text.get(last.1.end..)?].concat().into())
    }
}

/// The first message of a stream of Server-Sent Events, and how long to wait before coming back.
pub(super) fn hello(data: &impl Serialize) -> Bytes {
    let text = framed(Format::Sse, "hello", None, data);
    [b"retry: 2000\n", &text[..]].concat().into()
}

/// Lines of the journal that are not told again: the lists may have them.
pub(super) fn gap(format: Format, from: i64, to: i64) -> Bytes {
    framed(format, "gap", None, &Gap { from, to })
}

fn framed(format: Format, word: &str, id: Option<i64>, data: &impl Serialize) -> Bytes {
    let mut text = Vec::new();
    match format {
        Format::Sse => {
            if let Some(id) = id {
                text.extend_from_slice(format!("id: {id}\n").as_bytes());
            }
            text.extend_from_slice(format!("event: {word}\ndata: ").as_bytes());
            json(&mut text, data);
            text.extend_from_slice(b"\n\n");
        }
        Format::Ws => json(&mut text, &typed(word, data)),
    }
    text.into()
}

fn typed<'a, T: Serialize>(word: &'a str, data: &'a T) -> wire::Typed<'a, T> {
    wire::Typed { r#type: word, data }
}

/// Appends what is said of an agent, and says where it is.
fn part(text: &mut Vec<u8>, view: &AgentView, shape: &impl Serialize) -> (AgentId, Range<usize>) {
    let start = text.len();
    json(text, shape);
    (view.id.clone(), start..text.len())
}

/// Appends it on one line: JSON escapes line breaks in strings, and a `JsonObject` has none between its parts.
fn json(text: &mut Vec<u8>, shape: &impl Serialize) {
    serde_json::to_writer(text, shape).expect("these shapes have string keys and valid raw parts only");
}
