//! From what the file says to what holds: defaults, ranges, and what must fit together.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::notes::{At, Complaint, Notes, shown};
use super::raw::{self, Kind, SourceKind};
use super::read::{Field, FromToml, Given, Word as _, choices};
use super::text::{Mode, Size};
use super::{
    Alerts, Api, Config, Directories, Ingest, Log, LogFormat, LogLevel, MatchBy, Messages, Receiver, Registry,
    Sampling, Source, Storage, command_line_regex, rules, units,
};
use crate::model::{AgentId, MemoryMethod};

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(3_600);
pub(super) const DAY: Duration = Duration::from_secs(86_400);
const MIB: u64 = 1 << 20;

/// For the whole request to a registry, where the file says nothing.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

/// The largest database that SQLite can hold is 281 TB: 4,294,967,294 pages of 64 KiB (sqlite.org/limits.html).
const MAX_SIZE: Size = Size(256 << 40);

/// A hundred years: whoever wants to keep everything can say so, and sums of moments and ages stay in range.
const FOR_EVER: Duration = Duration::from_secs(36_500 * 86_400);

/// The longest path of a Unix socket, bytes: `sun_path` without its NUL, unix(7).
const SOCKET_PATH_BYTES: usize = if cfg!(target_os = "macos") { 103 } else { 107 };

/// Everything, where nothing says otherwise the default.
pub(super) fn config(file: raw::File, directories: &Directories, notes: &mut Notes<'_>) -> Config {
    Config {
        registry: registry(file.registry.or_default(), notes),
        sampling: sampling(file.sampling.or_default(), notes),
        messages: Messages { database: file.messages.or_default().database.value() },
        storage: storage(file.storage.or_default(), directories, notes),
        alerts: alerts(file.alerts.or_default(), notes),
        api: api(file.api.or_default(), notes),
        ingest: ingest(file.ingest.or_default(), directories, notes),
        log: log(file.log.or_default()),
    }
}

fn registry(raw: raw::Registry, notes: &mut Notes<'_>) -> Registry {
    let refresh = raw.refresh.check(within(SECOND..=HOUR), notes);
    let stale_after = raw.stale_after.check(within(SECOND..=DAY * 7), notes);
    let (refresh_or, stale_or) = (10 * SECOND, 5 * MINUTE);
    // A source is read once in each `refresh`: one that is stale any sooner would be so between two good reads.
    at_least(("stale_after", &stale_after, stale_or), 2, ("refresh", &refresh, refresh_or), notes);
    Registry {
        refresh: refresh.or(refresh_or),
        stale_after: stale_after.or(stale_or),
        sources: elements(raw.source, source, notes),
    }
}

fn source(Given { value: raw, at }: Given<raw::Source>, notes: &mut Notes<'_>) -> Option<Source> {
    let kind = kind(&raw.kind, &raw.present(), &at, notes)?;
    let why = format!("kind {:?} needs it", kind.word());
    match kind {
        SourceKind::File => Some(Source::File { path: needed(raw.path, "path", &why, &at, notes)? }),
        SourceKind::Http => {
            let url = needed(raw.url.check(web_url, notes), "url", &why, &at, notes);
            let timeout = raw.timeout.check(within(Duration::from_millis(100)..=5 * MINUTE), notes);
            Some(Source::Http { url: url?, token_file: raw.token_file.value(), timeout: timeout.or(TIMEOUT) })
        }
        SourceKind::Match => {
            let agent = needed(raw.agent.check(agent_name, notes), "agent", &why, &at, notes);
            if let (Some(_), Some(second)) = (raw.program.given(), raw.command_line.given()) {
                let both = Complaint::new("`program` is given as well").hint("one source recognises by one of them");
                notes.note(&second.at, both);
            }
            let by = if raw.command_line.is_absent() {
                needed(raw.program.check(program_name, notes), "program", "or `command_line`", &at, notes)
                    .map(MatchBy::Program)
            } else {
                raw.command_line.check(command_line, notes).value().map(MatchBy::CommandLine)
            };
            Some(Source::Match { agent: agent?, by: by? })
        }
    }
}

fn sampling(raw: raw::Sampling, notes: &mut Notes<'_>) -> Sampling {
    Sampling {
        interval: raw.interval.check(sampling_interval, notes).or(10 * SECOND),
        memory: raw.memory.or(MemoryMethod::Rss),
    }
}

fn storage(raw: raw::Storage, directories: &Directories, notes: &mut Notes<'_>) -> Storage {
    let retention = raw.retention.check(within(HOUR..=FOR_EVER), notes);
    let rollup_retention = raw.rollup_retention.check(within(HOUR..=FOR_EVER), notes);
    let (retention_or, rollup_or) = (7 * DAY, 90 * DAY);
    at_least(("rollup_retention", &rollup_retention, rollup_or), 1, ("retention", &retention, retention_or), notes);
    Storage {
        directory: raw.directory.value().unwrap_or_else(|| directories.state.clone()),
        retention: retention.or(retention_or),
        rollup_retention: rollup_retention.or(rollup_or),
        max_size_bytes: raw.max_size.check(within(Size(16 * MIB)..=MAX_SIZE), notes).or(Size(1024 * MIB)).0,
    }
}

fn alerts(raw: raw::Alerts, notes: &mut Notes<'_>) -> Alerts {
    Alerts {
        interval: raw.interval.check(within(SECOND..=HOUR), notes).or(10 * SECOND),
        rules: rules::rules(raw.rule, notes),
        receivers: elements(raw.notify, receiver, notes),
    }
}

fn receiver(Given { value: raw, at }: Given<raw::Receiver>, notes: &mut Notes<'_>) -> Option<Receiver> {
    let kind = kind(&raw.kind, &raw.present(), &at, notes);
    let url = needed(raw.url.check(web_url, notes), "url", "every receiver needs it", &at, notes);
    Some(Receiver { kind: kind?, url: url?, secret_file: raw.secret_file.value(), token_file: raw.token_file.value() })
}

fn api(raw: raw::Api, notes: &mut Notes<'_>) -> Api {
    let has_token = !raw.token_file.is_absent();
    Api {
        listen: raw
            .listen
            .check(|listen| guarded(listen, has_token), notes)
            .or(SocketAddr::from(([127, 0, 0, 1], 7717))),
        allowed_hosts: elements(
            raw.allowed_hosts,
            |host, notes| Field::Given(host).check(|host| host_name(&host), notes).value(),
            notes,
        ),
        token_file: raw.token_file.value(),
    }
}

fn ingest(raw: raw::Ingest, directories: &Directories, notes: &mut Notes<'_>) -> Ingest {
    Ingest {
        socket: raw
            .socket
            .check(socket_path, notes)
            .value()
            .unwrap_or_else(|| directories.runtime.join("agent-monitor.sock")),
        mode: raw.mode.or(Mode(0o660)).0,
        group: raw.group.check(group_name, notes).value(),
    }
}

fn log(raw: raw::Log) -> Log {
    Log {
        level: raw.level.or(LogLevel::Info),
        format: raw.format.or(LogFormat::Text),
        directory: raw.directory.value(),
    }
}

/// A value that has a range.
pub(super) trait Written: PartialOrd {
    /// As the file writes it.
    fn written(&self) -> String;
}

impl Written for Duration {
    fn written(&self) -> String {
        units::format_duration(*self)
    }
}

impl Written for Size {
    fn written(&self) -> String {
        units::format_size(self.0)
    }
}

/// A check that a value lies in a range.
pub(super) fn within<T: Written>(range: RangeInclusive<T>) -> impl FnOnce(T) -> Result<T, Complaint> {
    move |value| {
        if range.contains(&value) {
            return Ok(value);
        }
        let (least, most) = (range.start().written(), range.end().written());
        Err(Complaint::new(format!("must be from {least} to {most}, not {}", value.written())))
    }
}

/// The range of `sampling.interval`, which a flag can set too.
pub(super) fn sampling_interval(interval: Duration) -> Result<Duration, Complaint> {
    within(SECOND..=HOUR)(interval)
}

/// Whether only those can read everything who may: on loopback, or with a token.
pub(crate) fn is_guarded(listen: SocketAddr, has_token: bool) -> bool {
    has_token || listen.ip().to_canonical().is_loopback()
}

/// What is listened on beyond loopback needs a token.
pub(super) fn guarded(listen: SocketAddr, has_token: bool) -> Result<SocketAddr, Complaint> {
    if is_guarded(listen, has_token) {
        return Ok(listen);
    }
    Err(Complaint::new(format!("{listen} can be reached from beyond this host, and no token is asked for"))
        .hint("set api.token_file, or listen on 127.0.0.1"))
}

/// Where a process of this id makes a socket before it goes to its place in `directory`: nobody else may enter.
pub(crate) fn socket_workshop(directory: &Path, pid: u32) -> PathBuf {
    directory.join(format!(".agent-monitor-{pid}"))
}

/// The largest process id that there is: proc_sys_kernel(5).
const LARGEST_PID: u32 = 1 << 22;

/// A path that a Unix socket can have, and so can be the one beside it at which it is made.
pub(super) fn socket_path(path: PathBuf) -> Result<PathBuf, Complaint> {
    let bytes = path.as_os_str().len();
    if bytes > SOCKET_PATH_BYTES {
        return Err(Complaint::new(format!(
            "a socket's path has at most {SOCKET_PATH_BYTES} bytes, this one has {bytes}"
        )));
    }
    let made = path.parent().map_or(0, |parent| socket_workshop(parent, LARGEST_PID).join("s").as_os_str().len());
    if made > SOCKET_PATH_BYTES {
        return Err(Complaint::new(format!(
            "a socket is made beside its place, and that path would have {made} bytes: at most {SOCKET_PATH_BYTES} are possible"
        ))
        .hint("a directory with a shorter path"));
    }
    Ok(path)
}

/// A URL that can be asked.
pub(super) fn web_url(text: String) -> Result<String, Complaint> {
    let example = "for example \"http://127.0.0.1:3000/api/agents\"";
    let url = url::Url::parse(&text)
        .map_err(|error| Complaint::new(format!("{} is not a URL: {error}", shown(&text))).hint(example))?;
    match url.scheme() {
        "http" | "https" => Ok(text),
        other => Err(Complaint::new(format!("must be http or https, not {}", shown(other))).hint(example)),
    }
}

/// What agents found by a match source are called: with `-<n>` behind it, still an agent id.
fn agent_name(text: String) -> Result<String, Complaint> {
    // `-1048575`, the highest number there is.
    let room = AgentId::LIMIT_BYTES - 8;
    match AgentId::new(&text) {
        Ok(_) if text.len() <= room => Ok(text),
        Ok(_) => Err(Complaint::new(format!("has at most {room} bytes, this one has {}", text.len()))),
        Err(error) => Err(Complaint::new(error.to_string())),
    }
}

fn program_name(text: String) -> Result<String, Complaint> {
    if text.is_empty() || text.contains(['/', '\0']) {
        let complaint = Complaint::new(format!("{} is not a file name", shown(&text)));
        return Err(complaint.hint("the last part of the program's path; for more, use `command_line`"));
    }
    Ok(text)
}

fn command_line(text: String) -> Result<String, Complaint> {
    match command_line_regex(&text) {
        _ if text.is_empty() => Err(Complaint::new("an empty expression would fit every process")),
        Ok(_) => Ok(text),
        Err(error) => Err(Complaint::new(format!("is not a regular expression: {error}"))),
    }
}

/// RFC 9110, 7.2: `Host` is a host and a port; we compare the host.
fn host_name(text: &str) -> Result<String, Complaint> {
    let literal = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let valid = match literal {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
            (1..=253).contains(&text.len()) && text.chars().all(part)
        }
    };
    if valid {
        return Ok(text.to_ascii_lowercase());
    }
    Err(Complaint::new(format!("{} is not a host name", shown(text)))
        .hint("an exact name without scheme, port and *, for example \"monitor.example.org\""))
}

fn group_name(text: String) -> Result<String, Complaint> {
    if text.is_empty() || text.chars().any(|c| c.is_control() || c.is_whitespace() || c == ':') {
        return Err(Complaint::new(format!("{} is not a group", shown(&text))));
    }
    Ok(text)
}

/// A key with what the file says and its default.
type Pair<'f> = (&'static str, &'f Field<Duration>, Duration);

/// Notes when a duration is less than `times` another of the same table.
fn at_least(
    (key, field, default): Pair<'_>,
    times: u32,
    (other_key, other, other_default): Pair<'_>,
    notes: &mut Notes<'_>,
) {
    if field.is_wrong() || other.is_wrong() {
        return;
    }
    let value = field.given().map_or(default, |given| given.value);
    let least = other.given().map_or(other_default, |given| given.value) * times;
    if value >= least {
        return;
    }
    let bound = match times {
        1 => format!("`{other_key}`, {}", least.written()),
        _ => format!("{times} × `{other_key}`, {}", least.written()),
    };
    if let Some(at) = field.at() {
        notes.note(at, Complaint::new(format!("must be at least {bound}, not {}", value.written())));
    } else if let Some(at) = other.at() {
        let complaint = Complaint::new(format!("`{key}`, by default {}, must be at least {bound}", value.written()));
        notes.note(at, complaint.hint(format!("set `{key}` too")));
    }
}

/// The kind of a table, after noting the keys that another kind would have.
fn kind<K: Kind>(kind: &Field<K>, present: &[(&'static str, &At)], at: &At, notes: &mut Notes<'_>) -> Option<K> {
    if kind.is_absent() {
        missing("kind", at, format!("write {}", choices::<K>()), notes);
    }
    let kind = kind.given()?.value;
    for (key, at) in present {
        if *key == "kind" || kind.keys().contains(key) {
            continue;
        }
        let owners = K::ALL.iter().filter(|other| other.keys().contains(key));
        let owners: Vec<String> = owners.map(|other| format!("{:?}", other.word())).collect();
        let complaint = Complaint::new(format!("does not go with kind {:?}", kind.word()));
        notes.note(at, complaint.hint(format!("only with {}", owners.join(" and "))));
    }
    Some(kind)
}

/// The value of a key that has no default.
fn needed<T>(field: Field<T>, key: &str, hint: &str, table: &At, notes: &mut Notes<'_>) -> Option<T> {
    if field.is_absent() {
        missing(key, table, hint, notes);
    }
    field.value()
}

/// Notes that a key is not there.
pub(super) fn missing(key: &str, table: &At, hint: impl Into<String>, notes: &mut Notes<'_>) {
    notes.note(&table.key(key, table.span.clone()), Complaint::new("is missing").hint(hint));
}

/// Each element of a list that can be taken.
fn elements<T, U>(
    list: Field<raw::List<T>>,
    mut take: impl FnMut(Given<T>, &mut Notes<'_>) -> Option<U>,
    notes: &mut Notes<'_>,
) -> Vec<U>
where
    raw::List<T>: FromToml,
{
    list.or_default().into_iter().filter_map(|element| take(element, notes)).collect()
}
