//! `--follow`: what happens, as it happens. A daemon that goes is waited for, and what was missed meanwhile is told when it
//! is back: messages have a place in its journal.

mod sse;

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, anyhow};
use axum::body::Body;
use futures_util::StreamExt;
use serde_json::Value;

use crate::cli::ListOptions;
use crate::client::{Connection, Home, encoded};
use crate::failure::{Failure, Kind};
use crate::lists::{items, route};
use crate::output::{print_more, unread};
use crate::view::screen::{Look, Screen};
use crate::view::text::{harmless_json, printable, width};
use crate::{runtime, signals};

use sse::{Message, Parser};

/// A daemon says something every 15 s, if only that it is there. One that is silent for longer is not.
const SILENCE: Duration = Duration::from_secs(45);

/// From one attempt to find a daemon again to the next.
const PAUSE: Duration = Duration::from_millis(500);

/// Every list is a part of one journal.
const LISTS: [&str; 3] = ["events", "errors", "alerts"];

/// What is followed.
pub(crate) struct Followed<'a> {
    pub(crate) options: &'a ListOptions,
    /// The list that is shown at first.
    pub(crate) list: &'static str,
    /// What of it.
    pub(crate) filters: &'a [(&'a str, Option<&'a str>)],
    /// What the stream calls its messages.
    pub(crate) event: &'static str,
    /// Whether a message is wanted; the stream knows of agents only.
    pub(crate) wants: &'a dyn Fn(&Value) -> bool,
    /// A message, as a moment, whose it is, what it is, how that looks, and what it says.
    pub(crate) tell: fn(&Value) -> Told,
}

/// A message in words.
pub(crate) struct Told {
    pub(crate) at: String,
    pub(crate) agent: String,
    pub(crate) kind: String,
    pub(crate) look: Look,
    pub(crate) message: String,
}

/// Tells until a signal, or nobody reads any more.
///
/// # Errors
/// When no daemon answers at first, or the question is wrong.
pub(crate) fn follow(followed: &Followed<'_>) -> Result<(), Failure> {
    let runtime = runtime()?;
    signals::end_well().context("cannot handle signals")?;
    runtime.block_on(async {
        tokio::select! {
            ended = Follower::new(followed).follow() => ended,
            () = unread() => Ok(()),
        }
    })
}

/// How a stream ended.
enum End {
    /// Nobody reads any more.
    Unread,
    /// The daemon went, or let us go.
    Gone(anyhow::Error),
}

struct Follower<'a> {
    followed: &'a Followed<'a>,
    screen: Screen,
    /// Where the daemon was found.
    home: Option<Home>,
    /// The last message that was heard, in the journal.
    last: Option<u64>,
    /// How wide agents and kinds were so far.
    widths: (usize, usize),
}

impl<'a> Follower<'a> {
    fn new(followed: &'a Followed<'a>) -> Follower<'a> {
        // Ages would be old as soon as they are read.
        Follower { followed, screen: Screen::of_stdout(None), home: None, last: None, widths: (12, 8) }
    }

    async fn follow(mut self) -> Result<(), Failure> {
        let Some(mut stream) = self.begin().await? else { return Ok(()) };
        // What the list has is told again by a stream that began before it.
        let mut listed = self.last;
        loop {
            match self.hear(stream, listed.take()).await? {
                End::Unread => return Ok(()),
                End::Gone(error) => say(&format!("the daemon went away: {error:#}; waiting for it")),
            }
            stream = self.come_back().await?;
        }
    }

    /// The stream, and before it the latest of what there is; none when nobody reads.
    async fn begin(&mut self) -> Result<Option<Body>, Failure> {
        let Followed { options, list, filters, .. } = self.followed;
        let mut connection = Connection::find(&options.client, None).await?;
        self.home = Some(connection.home().clone());
        // Where the journal is at. Nothing is told of what stands before it.
        for list in LISTS {
            let newest = connection.get(&format!("/api/monitoring/{list}?limit=1")).await?.value;
            self.last = self.last.max(items(&newest).first().and_then(|item| item["id"].as_u64()));
        }
        self.last.get_or_insert(0);
        // Before the list is asked for, so that nothing falls between the two.
        let stream = self.open(None).await?;
        let latest = connection.get(&route(options, list, filters)).await?.value;
        for item in items(&latest).iter().rev() {
            self.last = self.last.max(item["id"].as_u64());
            if !self.print(item)? {
                return Ok(None);
            }
        }
        Ok(Some(stream))
    }

    async fn open(&self, last: Option<u64>) -> Result<axum::body::Body, Failure> {
        let Followed { options, event, .. } = self.followed;
        let agent = options.agent.as_deref().map(|id| format!("&agent={}", encoded(id))).unwrap_or_default();
        let connection = Connection::find(&options.client, self.home.as_ref()).await?;
        connection.stream(&format!("/api/monitoring/stream?type={event}{agent}"), last).await
    }

    /// The stream of a daemon that is there again, from where the last one broke off.
    async fn come_back(&mut self) -> Result<Body, Failure> {
        loop {
            match self.open(self.last).await {
                Ok(stream) => {
                    say("the daemon is back");
                    return Ok(stream);
                }
                Err(failure) if failure.kind() == Kind::Unavailable => {}
                Err(failure) => return Err(failure),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn hear(&mut self, body: Body, listed: Option<u64>) -> Result<End, Failure> {
        let mut pieces = body.into_data_stream();
        let mut parser = Parser::default();
        loop {
            let piece = match tokio::time::timeout(SILENCE, pieces.next()).await {
                Ok(Some(Ok(piece))) => piece,
                Ok(Some(Err(error))) => return Ok(End::Gone(error.into())),
                Ok(None) => return Ok(End::Gone(anyhow!("it ended the stream"))),
                Err(_) => return Ok(End::Gone(anyhow!("it is silent"))),
            };
            let messages = match parser.push(&piece) {
                Ok(messages) => messages,
                Err(error) => return Ok(End::Gone(error)),
            };
            for message in messages {
                if !self.take(&message, listed)? {
                    return Ok(End::Unread);
                }
            }
        }
    }

    /// Tells a message; false when nobody reads any more.
    fn take(&mut self, message: &Message, listed: Option<u64>) -> Result<bool, Failure> {
        let Ok(data) = serde_json::from_str::<Value>(&message.data) else { return Ok(true) };
        if message.event == "gap" {
            return self.gap(&data);
        }
        if message.event != self.followed.event || (message.id.is_some() && message.id <= listed) {
            return Ok(true);
        }
        // Not the higher one: a database that was replaced begins anew.
        self.last = message.id.or(self.last);
        if (self.followed.wants)(&data) { self.print(&data) } else { Ok(true) }
    }

    fn print(&mut self, item: &Value) -> Result<bool, Failure> {
        if self.followed.options.client.json {
            return print_more(&format!("{}\n", harmless_json(&item.to_string())));
        }
        let Told { at, agent, kind, look, message } = (self.followed.tell)(item);
        self.widths = (self.widths.0.max(width(&agent)).min(24), self.widths.1.max(width(&kind)).min(24));
        let gap = |text: &str, room: usize| " ".repeat(room.saturating_sub(width(text)));
        let (after_agent, after_kind) = (gap(&agent, self.widths.0), gap(&kind, self.widths.1));
        let kind = self.screen.paint(look, &kind);
        print_more(&format!("{at}  {agent}{after_agent}  {kind}{after_kind}  {message}\n"))
    }

    /// What is lost is told as lost.
    fn gap(&mut self, data: &Value) -> Result<bool, Failure> {
        if self.followed.options.client.json {
            return print_more(&format!("{}\n", harmless_json(&serde_json::json!({ "gap": data }).to_string())));
        }
        let said = format!(
            "… entries {} to {} of the journal were missed and cannot be told any more …",
            data["from"], data["to"]
        );
        print_more(&format!("{}\n", self.screen.paint(Look::Warning, &printable(&said))))
    }
}

/// What is no result. A closed standard error is no reason to stop.
fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "agent-monitor: {what}");
}
