//! `export` and `backup`: take data out of the database, whether a daemon runs or not.

use std::io::{BufWriter, ErrorKind, IsTerminal, Write};
use std::path::Path;

use agent_monitor::api::moment;
use agent_monitor::clock::{Clock, SystemClock};
use agent_monitor::config::Config;
use agent_monitor::model::{AgentId, Metrics, Tick, Timestamp};
use agent_monitor::store::{self, FILE_NAME, Reader, Selection, StoreError};
use anyhow::{Context, anyhow};
use serde_json::{Map, Value, json};

use crate::cli::Format;
use crate::failure::{Failure, Kind};

/// Rows between two words about how far it has come.
const ROWS_PER_WORD: u64 = 1_000_000;

/// Writes a copy of the database.
pub(crate) fn backup(file: &Path, config: &Config) -> Result<(), Failure> {
    let directory = &config.storage.directory;
    let mut words = Some(std::io::stderr()).filter(IsTerminal::is_terminal);
    let mut tenths = Tenths::default();
    let done = store::backup(directory, file, move |written, all| {
        if let (Some(words), Some(line)) = (&mut words, tenths.after(written, all)) {
            let _ = writeln!(words, "{line}");
        }
    });
    done.with_context(|| format!("cannot copy the database in {}", directory.display()))?;
    Ok(())
}

/// How far a copy has come, told once for each tenth of it.
#[derive(Default)]
struct Tenths(u64);

impl Tenths {
    /// What there is to tell after so many bytes of all.
    fn after(&mut self, written: u64, all: u64) -> Option<String> {
        let tenths = (written * 10).checked_div(all)?.min(10);
        if tenths <= self.0 {
            return None;
        }
        self.0 = tenths;
        Some(format!("{tenths}0 %, {} MB of {} at most", written / 1_000_000, all / 1_000_000))
    }
}

/// Writes samples to standard output.
pub(crate) fn export(
    format: Format,
    agent: Option<&str>,
    (from, to): (&str, &str),
    config: &Config,
) -> Result<(), Failure> {
    let now = SystemClock.now().wall;
    let moment = |text: &str, flag| {
        let forms = "a time (RFC 3339), seconds or milliseconds since 1970, now, or how long ago, such as -7d";
        moment(text, now).ok_or_else(|| anyhow!("{flag} {text:?} is not {forms}"))
    };
    let time = moment(from, "--from")?..moment(to, "--to")?;
    let agent = agent.map(AgentId::new).transpose().context("--agent")?;
    let path = config.storage.directory.join(FILE_NAME);
    if let Err(error) = path.symlink_metadata() {
        let error = anyhow!(error).context(format!("no database in {}", config.storage.directory.display()));
        return Err(Failure::new(Kind::Unusable, error));
    }
    let mut terminal = Some(std::io::stderr()).filter(IsTerminal::is_terminal);
    let words = terminal.as_mut().map(|terminal| terminal as &mut dyn Write);
    let mut out = Out { lines: BufWriter::new(std::io::stdout().lock()), words, rows: 0 };
    let reader = Reader::new(&config.storage.directory);
    let known = reader.agent_ids().map_err(|error| unusable(&error))?;
    if let Some(missing) = agent.as_ref().filter(|id| !known.contains(id)) {
        return Err(anyhow!("agent {missing:?} was never seen, or is forgotten", missing = missing.as_str()).into());
    }
    let selection = Selection { agent, time };
    let written = match format {
        Format::Csv => out.line(&COLUMNS.join(",")).and_then(|()| walk(&reader, &selection, &mut out, csv)),
        Format::Json => walk(&reader, &selection, &mut out, json_line),
        Format::Openmetrics => openmetrics(&reader, &selection, known, &mut out),
    };
    match written.and_then(|()| Ok(out.lines.flush()?)) {
        Err(Trouble::Output(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(Trouble::Output(error)) => Err(anyhow!(error).context("cannot write to standard output").into()),
        Err(Trouble::Store(error)) => Err(unusable(&error)),
        Ok(()) => Ok(()),
    }
}

fn unusable(error: &StoreError) -> Failure {
    Failure::new(Kind::Unusable, anyhow!("{}", error.chain()))
}

enum Trouble {
    Output(std::io::Error),
    Store(StoreError),
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Trouble {
        Trouble::Output(error)
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Trouble {
        Trouble::Store(error)
    }
}

/// Where lines go, and how many samples were written.
struct Out<'w, W> {
    lines: W,
    /// Who is told how far it has come, if somebody watches.
    words: Option<&'w mut dyn Write>,
    rows: u64,
}

impl<W: Write> Out<'_, W> {
    fn line(&mut self, line: &str) -> Result<(), Trouble> {
        Ok(writeln!(self.lines, "{line}")?)
    }

    fn count(&mut self, at: Timestamp) {
        self.rows += 1;
        if self.rows.is_multiple_of(ROWS_PER_WORD)
            && let Some(words) = &mut self.words
        {
            let _ = writeln!(words, "{} samples, up to {at}", self.rows);
        }
    }
}

/// Writes a line for each sample for which there is one.
fn walk<W: Write>(
    reader: &Reader,
    selection: &Selection,
    out: &mut Out<'_, W>,
    line: impl Fn(&AgentId, &Metrics) -> Option<String>,
) -> Result<(), Trouble> {
    let mut after: Option<Tick> = None;
    loop {
        let page = reader.export(selection, after)?;
        for (agent, metrics) in &page.rows {
            out.count(metrics.at);
            if let Some(line) = line(agent, metrics) {
                out.line(&line)?;
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// Those of the view `agent_metrics`.
const COLUMNS: [&str; 13] = [
    "agent_id",
    "timestamp",
    "cpu_percent",
    "memory_mb",
    "memory_method",
    "status",
    "error_count",
    "message_count",
    "process_count",
    "thread_count",
    "cpu_seconds",
    "read_bytes",
    "written_bytes",
];

#[expect(clippy::cast_precision_loss, reason = "shown with one decimal, and seconds of processor time")]
fn values(agent: &AgentId, metrics: &Metrics) -> [Value; 13] {
    [
        json!(agent.as_str()),
        json!(metrics.at.to_string()),
        json!(metrics.cpu_percent),
        json!(metrics.memory_bytes.map(|bytes| (bytes as f64 / 104_857.6).round() / 10.0)),
        json!(metrics.memory_method.word()),
        json!(&*metrics.status),
        json!(metrics.error_count),
        json!(metrics.message_count),
        json!(metrics.process_count),
        json!(metrics.thread_count),
        json!(metrics.cpu_us.map(|us| us as f64 / 1e6)),
        json!(metrics.io.map(|io| io.read_bytes)),
        json!(metrics.io.map(|io| io.written_bytes)),
    ]
}

#[expect(clippy::unnecessary_wraps, reason = "one of several kinds of line")]
fn json_line(agent: &AgentId, metrics: &Metrics) -> Option<String> {
    let names = COLUMNS.iter().map(|name| (*name).to_owned());
    Some(Value::Object(names.zip(values(agent, metrics)).collect::<Map<_, _>>()).to_string())
}

#[expect(clippy::unnecessary_wraps, reason = "one of several kinds of line")]
fn csv(agent: &AgentId, metrics: &Metrics) -> Option<String> {
    let cell = |value: Value| match value {
        Value::Null => String::new(),
        Value::String(text) if text.contains(['"', ',', '\n', '\r']) => format!("\"{}\"", text.replace('"', "\"\"")),
        Value::String(text) => text,
        other => other.to_string(),
    };
    Some(values(agent, metrics).map(cell).join(","))
}

/// Name, type, unit, help, and the value of a sample.
type Family = (&'static str, &'static str, &'static str, &'static str, fn(&Metrics) -> Option<f64>);

#[expect(clippy::cast_precision_loss, reason = "the format has floating point numbers")]
const FAMILIES: [Family; 6] = [
    ("agent_cpu_seconds", "counter", "seconds", "Processor time of the process tree.", |m| {
        m.cpu_us.map(|us| us as f64 / 1e6)
    }),
    ("agent_memory_bytes", "gauge", "bytes", "Memory of the process tree.", |m| {
        m.memory_bytes.map(|bytes| bytes as f64)
    }),
    ("agent_processes", "gauge", "", "Processes of the tree.", |m| m.process_count.map(f64::from)),
    ("agent_threads", "gauge", "", "Threads of the tree.", |m| m.thread_count.map(f64::from)),
    ("agent_read_bytes", "counter", "bytes", "Read from storage.", |m| m.io.map(|io| io.read_bytes as f64)),
    ("agent_written_bytes", "counter", "bytes", "Written to storage.", |m| m.io.map(|io| io.written_bytes as f64)),
];

/// A family after the other, and in it an agent after the other: neither may be interleaved, OpenMetrics 1.0.0.
fn openmetrics<W: Write>(
    reader: &Reader,
    selection: &Selection,
    agents: Vec<AgentId>,
    out: &mut Out<'_, W>,
) -> Result<(), Trouble> {
    let agents = selection.agent.clone().map_or(agents, |agent| vec![agent]);
    for (name, kind, unit, help, value) in FAMILIES {
        let name = format!("agent_monitor_{name}");
        out.line(&format!("# TYPE {name} {kind}"))?;
        if !unit.is_empty() {
            out.line(&format!("# UNIT {name} {unit}"))?;
        }
        out.line(&format!("# HELP {name} {help}"))?;
        let rest = if kind == "counter" { "_total" } else { "" };
        for agent in &agents {
            let label = agent.as_str().replace('\\', r"\\").replace('"', "\\\"");
            let one = Selection { agent: Some(agent.clone()), time: selection.time.clone() };
            walk(reader, &one, out, |_, metrics| {
                let ms = metrics.at.unix_ms();
                let at = format!("{}.{:03}", ms.div_euclid(1000), ms.rem_euclid(1000));
                Some(format!("{name}{rest}{{agent=\"{label}\"}} {} {at}", value(metrics)?))
            })?;
        }
    }
    out.line("# EOF")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_watches_is_told_how_far_it_has_come() {
        let at = Timestamp::parse("2026-01-31T09:30:00Z").unwrap();
        let mut told = Vec::new();
        let mut out = Out { lines: Vec::new(), words: Some(&mut told), rows: 0 };
        (0..2 * ROWS_PER_WORD + 5).for_each(|_| out.count(at));
        let told = String::from_utf8(told).unwrap();
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines, ["1000000", "2000000"].map(|count| format!("{count} samples, up to {at}")));
    }

    #[test]
    fn each_tenth_of_a_copy_is_told_once() {
        let mut tenths = Tenths::default();
        let told: Vec<Option<String>> =
            [0, 99, 100, 101, 450, 999, 1_200].map(|mb| tenths.after(mb * 1_000_000, 1_000_000_000)).into();
        let told: Vec<&str> = told.iter().flatten().map(String::as_str).collect();
        assert_eq!(
            told,
            [
                "10 %, 100 MB of 1000 at most",
                "40 %, 450 MB of 1000 at most",
                "90 %, 999 MB of 1000 at most",
                "100 %, 1200 MB of 1000 at most"
            ]
        );
        assert_eq!(tenths.after(5, 0), None, "an empty database has no tenths");
    }
}
