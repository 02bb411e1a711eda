//! `event`, `error`, `resolve`: what a script or a hook tells the daemon, over its Unix socket. Without a runtime or an
//! HTTP library: it is one short request, and hooks run often.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};
use serde_json::{Map, Value};

use crate::cli::{Reach, TellOptions};
use crate::client::{announced, encoded};
use crate::failure::{Failure, Kind};
use crate::output::print;
use crate::view::text::{harmless_json, printable};

/// For the answer, which comes when what was told is on disk …
const TIMEOUT: Duration = Duration::from_secs(15);

/// … and where it does not matter so much.
const SHORT_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest answer that is taken, bytes.
const ANSWER_BYTES: u64 = 1 << 20;

/// A stack that is longer is told without its middle, bytes of JSON: a body has at most 64 KiB.
const STACK_BYTES: usize = 48 << 10;

/// As much of a stack as is read at all, bytes.
const STACK_LIMIT_BYTES: u64 = 8 << 20;

/// Tells of an event.
pub(crate) fn event(id: &str, kind: &str, message: &str, options: TellOptions) -> Result<(), Failure> {
    let body = Map::from_iter([("eventType".to_owned(), kind.into()), ("message".to_owned(), message.into())]);
    tell(&format!("/api/monitoring/agents/{}/events", encoded(id)), body, options)
}

/// Tells of an error.
pub(crate) fn error(
    id: &str,
    name: &str,
    message: &str,
    stack: Option<&Path>,
    fingerprint: Option<&str>,
    options: TellOptions,
) -> Result<(), Failure> {
    let mut error = Map::from_iter([("name".to_owned(), name.into()), ("message".to_owned(), message.into())]);
    if let Some(path) = stack {
        error.insert("stack".to_owned(), read_stack(path)?.into());
    }
    let mut body = Map::from_iter([("error".to_owned(), Value::Object(error))]);
    body.extend(fingerprint.map(|text| ("fingerprint".to_owned(), text.into())));
    tell(&format!("/api/monitoring/agents/{}/errors", encoded(id)), body, options)
}

/// Says that an error is dealt with: an occurrence, or all of a problem.
pub(crate) fn resolve(what: &str, group: bool, agent: Option<&str>, reach: &Reach) -> Result<(), Failure> {
    let is_number = !what.is_empty() && what.len() < 20 && what.bytes().all(|byte| byte.is_ascii_digit());
    let route = if is_number && !group {
        format!("/api/monitoring/errors/{what}/resolve")
    } else {
        let of = agent.map(|id| format!("?agent={}", encoded(id))).unwrap_or_default();
        format!("/api/monitoring/error-groups/{}/resolve{of}", encoded(what))
    };
    send("PATCH", &route, "", reach)
}

fn tell(route: &str, mut body: Map<String, Value>, options: TellOptions) -> Result<(), Failure> {
    let TellOptions { metadata, client_id, timestamp, reach } = options;
    body.extend(metadata.map(|metadata| ("metadata".to_owned(), Value::Object(metadata))));
    body.extend(client_id.map(|id| ("id".to_owned(), id.into())));
    body.extend(timestamp.map(|at| ("timestamp".to_owned(), at.into())));
    send("POST", route, &Value::Object(body).to_string(), &reach)
}

/// Sends it to the daemon; with `--best-effort`, that there is none to take it is no failure.
fn send(method: &str, route: &str, body: &str, reach: &Reach) -> Result<(), Failure> {
    match ask(method, route, body, reach) {
        Ok(answer) if reach.json => print(&format!("{}\n", harmless_json(answer.trim_end()))),
        Err(failure) if !reach.best_effort || failure.kind() != Kind::Unavailable => Err(failure),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn ask(method: &str, route: &str, body: &str, reach: &Reach) -> Result<String, Failure> {
    let mut passed = Vec::new();
    let mut stream = connect(reach, &mut passed).ok_or_else(|| {
        let error = anyhow!(
            "no daemon takes it; start one with `agent-monitor run`, or name its socket with --socket\n  {}",
            passed.join("\n  ")
        );
        Failure::new(Kind::Unavailable, error)
    })?;
    let timeout = if reach.best_effort { SHORT_TIMEOUT } else { TIMEOUT };
    let unavailable = |error: anyhow::Error| Failure::new(Kind::Unavailable, error);
    let (status, answer) = exchange(&mut stream, method, route, body, timeout)
        .context("the daemon does not answer")
        .map_err(unavailable)?;
    if (200..300).contains(&status) {
        return Ok(answer);
    }
    let problem: Value = serde_json::from_str(&answer).unwrap_or_default();
    let detail = printable(problem["detail"].as_str().unwrap_or("it does not say why"));
    // Another time it may: after a while (429), when the daemon (503) or its disk (507) has room.
    let kind = if matches!(status, 429 | 503 | 507) { Kind::Unavailable } else { Kind::Failed };
    Err(Failure::new(kind, anyhow!("{status}: {detail}")))
}

/// One request and its answer: status and body.
fn exchange(
    stream: &mut UnixStream,
    method: &str,
    route: &str,
    body: &str,
    timeout: Duration,
) -> anyhow::Result<(u16, String)> {
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let length = body.len();
    let head = format!(
        "{method} {route} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    // A daemon that refuses may answer and close before it has read all: then its answer says more than this failure.
    let sent = stream.write_all([head.as_bytes(), body.as_bytes()].concat().as_slice());
    let mut answer = String::new();
    stream.take(ANSWER_BYTES).read_to_string(&mut answer)?;
    let parsed = answer.split_once("\r\n\r\n").and_then(|(head, body)| {
        let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
        Some((status, body.to_owned()))
    });
    match (parsed, sent) {
        (Some(parsed), _) => Ok(parsed),
        (None, Err(error)) => Err(error.into()),
        (None, Ok(())) => Err(anyhow!("it closed the connection")),
    }
}

/// The first daemon that can be reached: the one that was named, else those that announced themselves.
fn connect(reach: &Reach, passed: &mut Vec<String>) -> Option<UnixStream> {
    let sockets: Vec<PathBuf> = match reach.socket.named() {
        Some(named) => vec![named],
        None => announced(passed).into_iter().map(|(_, endpoint)| endpoint.socket).collect(),
    };
    for path in sockets {
        match UnixStream::connect(&path) {
            Ok(stream) => return Some(stream),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => passed.push(forbidden(&path)),
            Err(error) => passed.push(format!("{}: {error}", path.display())),
        }
    }
    None
}

/// Who may write to a socket that we may not write to, and how to become one of them.
fn forbidden(path: &Path) -> String {
    let shown = path.display();
    let Ok(metadata) = std::fs::metadata(path) else {
        return format!(
            "{shown}: you may not enter its directory; ask who runs the daemon to set ingest.socket elsewhere"
        );
    };
    let group = nix::unistd::Group::from_gid(metadata.gid().into()).ok().flatten();
    let group = group.map_or_else(|| metadata.gid().to_string(), |group| group.name);
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten();
    let user = user.map_or_else(|| "USER".to_owned(), |user| user.name);
    if metadata.mode() & 0o020 == 0 {
        return format!("{shown}: only its owner may write to it; let ingest.mode and ingest.group admit others");
    }
    format!(
        "{shown}: only the group {group} may write to it; join it with `usermod -aG {group} {user}`, or set ingest.group"
    )
}

/// A stack from a file or standard input; of a long one, its beginning and its end.
fn read_stack(path: &Path) -> Result<String, Failure> {
    let read = |from: &mut dyn Read| {
        let mut bytes = Vec::new();
        from.take(STACK_LIMIT_BYTES).read_to_end(&mut bytes).map(|_| bytes)
    };
    let bytes = if path == Path::new("-") {
        read(&mut std::io::stdin().lock())
    } else {
        File::open(path).and_then(|mut file| read(&mut file))
    };
    let bytes = bytes.with_context(|| format!("cannot read the stack from {}", path.display()))?;
    Ok(shortened(&String::from_utf8_lossy(&bytes)))
}

/// The stack, or as much of its beginning and its end as JSON can say in [`STACK_BYTES`].
fn shortened(stack: &str) -> String {
    let fits = |text: &str| text.len() <= STACK_BYTES && Value::from(text).to_string().len() <= STACK_BYTES;
    let (mut text, mut kept) = (stack.to_owned(), STACK_BYTES);
    while !fits(&text) {
        kept = kept * 3 / 4;
        let (head, tail) =
            (stack.floor_char_boundary(kept / 2), stack.floor_char_boundary(stack.len().saturating_sub(kept / 2)));
        let left_out = tail.saturating_sub(head);
        text = format!("{}\n… {left_out} bytes left out …\n{}", &stack[..head], &stack[tail.max(head)..]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_stacks_lose_their_middle() {
        assert_eq!(shortened("short"), "short");
        let long = shortened(&format!("first\n{}\nlast", "é".repeat(STACK_BYTES)));
        assert!(
            long.starts_with("first\n") && long.ends_with("\nlast") && long.len() < STACK_BYTES + 100,
            "{}",
            long.len()
        );
    }
}
